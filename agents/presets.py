"""Named sets of options for an agent and a task: `--preset paper|fast`.

`paper` is what the method's authors report, as far as it fits one machine; `fast` is what learns soonest here.
"""

import fnmatch
from typing import Any, NamedTuple

from envs.errors import UsageError, nearest


class Preset(NamedTuple):
    """One line in `--help`, and the options for the first pattern of task ids that fits."""

    doc: str
    tasks: dict[str, dict[str, Any]]


_CONTINUOUS: dict[str, Any] = {
    "encoder": "mlp",
    "hidden": (64, 64),
    "activation": "tanh",
    "separate": True,
    "entropy_cost": 0.0,
    "unroll": 256,
    "envs": 8,
    "epochs": 10,
    "minibatches": 32,
}

_MINIGRID_PAPER: dict[str, Any] = {
    "base": "impala",
    "envs": 32,
    "unroll": 100,
    "optimizer": "rmsprop",
    "learning_rate": 1e-4,
    "anneal": True,
    "max_grad_norm": 40.0,
    "trace": 1.0,
    "entropy_cost": 5e-4,
    "hidden": (1024, 1024),
    "core": "lstm",
    "core_width": 1024,
    "bebold.coef": 0.05,
    "bebold.hidden": (1024, 1024),
    "bebold.predictor": (1024, 1024, 128, 128, 128),
    "bebold.target": (128, 128, 128),
}

# A wide one-hot network is the fastest on a CPU. Rewards are scaled so that values have size 1: with values of a
# hundredth, the noise of Adam's steps is larger than they are and the advantages are lost in it.
_MINIGRID_BASE: dict[str, Any] = {
    "envs": 128,
    "unroll": 64,
    "encoder": "mlp",
    "embed": 0,
    "hidden": (128, 128),
    "ignore": ("mission",),
    "epochs": 3,
    "minibatches": 4,
    "learning_rate": 5e-4,
    "entropy_cost": 0.01,
    "reward_clip": 1.0,
    "reward_scale": 20.0,
    "value_cost": 0.1,
}

# The bonus of a whole episode stays below what the task pays, and the predictor learns fast enough for what is known to
# stop paying: a bonus that stays high is collected for ever by an agent that never ends its episodes.
_MINIGRID_FAST: dict[str, Any] = {
    **_MINIGRID_BASE,
    "base": "ppo",
    "bebold.beta": 0.5,
    "bebold.coef": 0.001,
    "bebold.predictor": (128, 128),
    "bebold.squared": True,
    "bebold.minibatches": 4,
    "bebold.learning_rate": 1e-3,
    "bebold.terminal": "mask",
}

# The TensorFlow code that the authors released. A 7x7 view has room for two of its three convolutions, and it sees
# one-hot cells where the authors' network saw numbers; their stack of four frames is `--wrap frame_stack`.
_AGAC_PAPER: dict[str, Any] = {
    "envs": 1,
    "unroll": 2048,
    "epochs": 4,
    "minibatches": 8,
    "encoder": "cnn",
    "embed": 0,
    "channels": (32, 32),
    "hidden": (256,),
    "ignore": ("mission", "direction"),
    "learning_rate": 3e-4,
    "entropy_cost": 0.01,
    "value_cost": 0.5,
    "agac_c": 4e-4,
    "beta_adv": 4e-5,
    "adv_lr_scale": 0.3,
    "episodic_count.coef": 0.1,
}

# A limit on how far values may move would be in units of the scaled reward: it is left off.
_AGAC_FAST: dict[str, Any] = {
    **_MINIGRID_BASE,
    "separate": False,
    "activation": "relu",
    "value_clip": 0.0,
    "agac_c": 4e-4,
    "episodic_count.coef": 0.1,
}

# A step of NetHack costs less than reading its map: few passes over each unroll, and a coarse map.
_NETHACK_BASE: dict[str, Any] = {
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
_NETHACK_POINTS: dict[str, Any] = {**_NETHACK_BASE, "reward_clip": 50.0, "reward_scale": 0.1}
_NETHACK_PLACES: dict[str, Any] = {**_NETHACK_BASE, "reward_clip": 1.0, "reward_scale": 5.0}

# Turns and messages never stop changing, and what always changes is always new: novelty looks at the map.
_NETHACK_NOVELTY: dict[str, Any] = {
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
_NETHACK_BEBOLD: dict[str, dict[str, Any]] = {
    "NetHackStaircase*": {**_NETHACK_PLACES, **_NETHACK_NOVELTY, "bebold.coef": 0.001},
    "NetHackOracle*": {**_NETHACK_PLACES, **_NETHACK_NOVELTY, "bebold.coef": 0.001},
    "NetHack*": {**_NETHACK_POINTS, **_NETHACK_NOVELTY, "bebold.coef": 0.05},
}
_NETHACK_PLAIN: dict[str, dict[str, Any]] = {
    "NetHackStaircase*": _NETHACK_PLACES,
    "NetHackOracle*": _NETHACK_PLACES,
    "NetHack*": _NETHACK_POINTS,
}

PRESETS: dict[str, dict[str, Preset]] = {
    "ppo": {
        "paper": Preset(
            "PPO's published settings for MuJoCo (Schulman et al., 2017)",
            {"*": {**_CONTINUOUS, "envs": 1, "unroll": 2048, "anneal": True}},
        ),
        "fast": Preset(
            "settings that learn small tasks within minutes",
            {"MiniGrid-*": _MINIGRID_BASE, "*-v5": _CONTINUOUS, **_NETHACK_PLAIN},
        ),
    },
    "impala": {
        "paper": Preset("IMPALA's settings as the MiniGrid literature runs them", {"*": {"envs": 32, "unroll": 100}}),
    },
    "agac": {
        "paper": Preset(
            "the authors' settings for MiniGrid (their TensorFlow code), one environment", {"MiniGrid-*": _AGAC_PAPER}
        ),
        "fast": Preset(
            "a small one-hot network and many environments, minutes on two cores", {"MiniGrid-*": _AGAC_FAST}
        ),
    },
    "bebold": {
        "paper": Preset("the authors' IMPALA base, large network with LSTM", {"MiniGrid-*": _MINIGRID_PAPER}),
        "fast": Preset(
            "PPO base and a small network that learns within minutes on two cores",
            {"MiniGrid-*": _MINIGRID_FAST, **_NETHACK_BEBOLD},
        ),
    },
}


def names(agent: str) -> dict[str, str]:
    """The presets of an agent, each with its line of help."""
    return {name: preset.doc for name, preset in PRESETS.get(agent, {}).items()}


def find(agent: str, preset: str, env_id: str) -> dict[str, Any]:
    """The options of a preset for a task.

    Raises:
      UsageError: where the agent has no such preset, or the preset none for the task.
    """
    known = PRESETS.get(agent, {})
    if preset not in known:
        raise UsageError(f"{agent} has no preset {preset!r}: {nearest(preset, known)}")
    for pattern, options in known[preset].tasks.items():
        if fnmatch.fnmatchcase(env_id, pattern):
            return dict(options)
    patterns = " or ".join(known[preset].tasks)
    raise UsageError(f"preset {preset} of {agent} is for {patterns}, not for {env_id}.")
