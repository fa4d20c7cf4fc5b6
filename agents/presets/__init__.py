"""Named sets of options for an agent and a task, as in `--preset fast`.

`paper` is what the method's authors report, as far as it fits one machine; `fast` is what learns soonest here by the
clock, `frugal` in the fewest steps. A preset has options for parts too, such as the bonuses that it was tuned with:
those of parts that are not asked for have nothing to say.
"""

import fnmatch
from collections.abc import Collection
from typing import Any, NamedTuple

from agents import registry
from agents.config import fields
from agents.presets import control, minigrid, nethack
from envs.errors import UsageError, nearest


class Preset(NamedTuple):
    """One line in `--help`, and the options for the first pattern of task ids that fits."""

    doc: str
    tasks: dict[str, dict[str, Any]]


_LIGHT = "a small network without map or memory: NetHack's steps hardly wait for it"
_SMALL = "small networks and few updates, for two cores"
_FRUGAL = "many small steps on few environments: MiniGrid in the fewest steps, with any bonus"

PRESETS: dict[str, dict[str, Preset]] = {
    "ppo": {
        "paper": Preset(
            "PPO's published settings for MuJoCo (Schulman et al., 2017)",
            {"*": {**control.MUJOCO, "envs": 1, "unroll": 2048, "anneal": True}},
        ),
        "fast": Preset(
            "settings that learn small tasks within minutes",
            {"MiniGrid-*": {**minigrid.FAST, **minigrid.BONUSES}, "*-v5": control.MUJOCO, **nethack.PLAIN},
        ),
        "frugal": Preset(_FRUGAL, {"MiniGrid-*": minigrid.FRUGAL}),
        "light": Preset(_LIGHT, nethack.lightened(nethack.PLAIN)),
        "deir": Preset("DEIR on its authors' PPO, GRU and small convolutions", {"MiniGrid-*": minigrid.DEIR}),
        "noveld": Preset("NovelD as DEIR's authors ran it beside theirs", {"MiniGrid-*": minigrid.NOVELD}),
    },
    "impala": {
        "paper": Preset("IMPALA's settings as the MiniGrid literature runs them", {"*": {"envs": 32, "unroll": 100}}),
        "ride": Preset("RIDE as its authors ran it, with their weights for each task", minigrid.RIDE),
    },
    "agac": {
        "paper": Preset(
            "the authors' settings for MiniGrid (their TensorFlow code), one environment",
            {"MiniGrid-*": minigrid.AGAC_PAPER},
        ),
        "fast": Preset(
            "a small one-hot network and many environments, minutes on two cores", {"MiniGrid-*": minigrid.AGAC_FAST}
        ),
        "frugal": Preset(_FRUGAL, {"MiniGrid-*": minigrid.AGAC_FRUGAL}),
    },
    "mbpo": {
        "paper": Preset("MBPO's published settings for MuJoCo (Janner et al., 2019)", control.MBPO),
        "fast": Preset("small networks and few updates, for small tasks on two cores", {"*": control.MBPO_SMALL}),
    },
    "autombpo": {
        "paper": Preset("AutoMBPO's published settings for MuJoCo (Lai et al., 2021)", control.AUTOMBPO),
        "fast": Preset("small networks and few updates, for small tasks on two cores", {"*": control.MBPO_SMALL}),
    },
    "pearl": {
        "paper": Preset("PEARL's published settings for MuJoCo's families, and TCL's for Meta-World", control.PEARL),
        "fast": Preset(_SMALL, control.PEARL_SMALL),
    },
    "tcl": {
        "paper": Preset("TCL on PEARL's published settings for MuJoCo, and its own for Meta-World", control.PEARL),
        "fast": Preset(_SMALL, control.PEARL_SMALL),
    },
    "rl2": {"fast": Preset("a small network, for point robots", control.RL2_SMALL)},
    "bebold": {
        "paper": Preset("the authors' IMPALA base, large network with LSTM", {"MiniGrid-*": minigrid.BEBOLD_PAPER}),
        "fast": Preset(
            "PPO base and a small network that learns within minutes on two cores",
            {"MiniGrid-*": minigrid.BEBOLD_FAST, **nethack.BEBOLD},
        ),
        "frugal": Preset(_FRUGAL, {"MiniGrid-*": minigrid.BEBOLD_FRUGAL}),
        "light": Preset(_LIGHT, nethack.lightened(nethack.BEBOLD)),
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


def resolve(agent: str, preset: str, env_id: str, options: dict[str, Any]) -> dict[str, Any]:
    """An agent's options: those of a preset (none if empty) under `options`.

    Raises:
      UsageError: where the agent, a part that it names, or the preset is not there.
    """
    from agents import parts  # JAX comes with it, and help must not wait for that

    config = registry.load("agent", agent).Config
    below = find(agent, preset, env_id) if preset else {}
    defaults = {field.name: field.default for field in fields(config)}
    return {**for_parts(below, parts.named({**defaults, **below, **options})), **options}


def for_parts(options: dict[str, Any], named: Collection[str]) -> dict[str, Any]:
    """A preset's options without those of parts that are not among `named`."""
    return {name: value for name, value in options.items() if "." not in name or name.partition(".")[0] in named}
