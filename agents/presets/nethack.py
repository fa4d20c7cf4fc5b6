"""Options for NetHack."""

from typing import Any

# A step of NetHack costs less than reading its map: few passes over each unroll, and a coarse map.
BASE: dict[str, Any] = {
    "envs": 32,
    "unroll": 64,
    "encoder": "nethack",
    "nethack.embed": 8,
    "nethack.channels": (16, 32),
    "nethack.stride": 3,
    "nethack.width": 32,
    "nethack.hidden": (128,),
    "core": "lstm",
    "core_width": 128,
    "discount": 0.995,
    "epochs": 2,
    "minibatches": 4,
    "learning_rate": 5e-4,
    "entropy_cost": 0.01,
}

# Points, gold, food and map cells come in tens; the stairs and the Oracle pay 1. Values shall have size 1.
POINTS: dict[str, Any] = {**BASE, "reward_clip": 50.0, "reward_scale": 0.1}
PLACES: dict[str, Any] = {**BASE, "reward_clip": 1.0, "reward_scale": 5.0}

# Turns and messages never stop changing, and what always changes is always new: novelty looks at the map.
NOVELTY: dict[str, Any] = {
    "base": "ppo",
    "bebold.beta": 0.5,
    "bebold.hidden": (128,),
    "bebold.predictor": (128, 128),
    "bebold.squared": True,
    "bebold.minibatches": 2,
    "bebold.learning_rate": 3e-4,
    "bebold.terminal": "mask",
    "bebold.ignore": ("blstats", "message"),
}
BEBOLD: dict[str, dict[str, Any]] = {
    "NetHackStaircase*": {**PLACES, **NOVELTY, "bebold.coef": 0.001},
    "NetHackOracle*": {**PLACES, **NOVELTY, "bebold.coef": 0.001},
    "NetHack*": {**POINTS, **NOVELTY, "bebold.coef": 0.05},
}
PLAIN: dict[str, dict[str, Any]] = {
    "NetHackStaircase*": PLACES,
    "NetHackOracle*": PLACES,
    "NetHack*": POINTS,
}

# The map unread and nothing remembered: then acting on many environments at once takes a tenth of what they take.
LIGHT: dict[str, Any] = {
    "envs": 256,
    "unroll": 16,
    "nethack.crop": 7,
    "nethack.channels": (),
    "nethack.width": 16,
    "core": "none",
    "epochs": 1,
}


def lightened(tasks: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The options of each kind of task with those of `LIGHT` over them."""
    return {pattern: {**options, **LIGHT} for pattern, options in tasks.items()}
