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

PRESETS: dict[str, dict[str, Preset]] = {
    "ppo": {
        "paper": Preset(
            "PPO's published settings for MuJoCo (Schulman et al., 2017)",
            {"*": {**_CONTINUOUS, "envs": 1, "unroll": 2048, "anneal": True}},
        ),
        "fast": Preset(
            "settings that learn small tasks within minutes", {"MiniGrid-*": _MINIGRID_BASE, "*-v5": _CONTINUOUS}
        ),
    },
    "impala": {
        "paper": Preset("IMPALA's settings as the MiniGrid literature runs them", {"*": {"envs": 32, "unroll": 100}}),
    },
    "bebold": {
        "paper": Preset("the authors' IMPALA base, large network with LSTM", {"MiniGrid-*": _MINIGRID_PAPER}),
        "fast": Preset(
            "PPO base and a small network that learns within minutes on two cores", {"MiniGrid-*": _MINIGRID_FAST}
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
