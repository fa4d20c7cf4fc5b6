"""MOPO: offline SAC on rollouts of a model whose rewards are lowered by its noise (Yu et al., 2020)."""

from dataclasses import dataclass
from typing import Any

from agents import mbpo, parts, schedules
from agents.agent import Agent
from envs.contract import EnvSpec

# ------------------------------------------------------------------------------------------------------- CONFIG


@dataclass(frozen=True)
class Config(mbpo.Config):
    """Options of MOPO; in an offline run a step is an update."""

    fit_every: int = 0
    """Steps between two fits of the model; 0 fits it once."""
    ratio: float = 1.0
    """Updates for each step."""
    warmup: int = 0
    """Environment steps before learning begins; until then actions are drawn evenly."""
    horizon: tuple[int, int, int, int] = (5, 5, 0, 0)
    """Steps that the model is followed at first and at last, and the epochs between which they grow."""
    rollout_every: int = 1000
    """Steps between two rollouts of the model."""
    rollouts: int = 50_000
    """States of the data that each rollout of the model begins at."""
    retain: int = 5
    """Epochs for which what the model imagined is kept."""
    penalty: float = 1.0
    """What each unit of the model's doubt takes off an imagined reward."""


# ---------------------------------------------------------------------------------------------------------- MAKE


def make(spec: EnvSpec, **options: Any) -> Agent:
    """MOPO for an environment with a bounded box of actions whose observations are one vector.

    Yu et al., "MOPO: Model-based Offline Policy Optimization", 2020. To learn from a dataset (`--data`) without an
    environment, as a plain base line of `repb_sde`: a policy is worth less where the model is unsure of what it does.

    `r~ = r - penalty max_i |deviation_i(s, a)|`, the largest noise that an elite of the ensemble predicts

    Options are the fields of `Config` and `NAME.FIELD` of its parts, such as `ensemble.doubt`. The paper tunes
    `penalty` and `horizon` for each dataset, 0.5 to 5 and 1 or 5.

    Raises:
      UsageError: where actions are no bounded box, observations no vector, or nothing says when episodes end.
    """
    config, rest = parts.split(Config, options)
    if config.model == "ensemble":
        rest = {"ensemble.doubt": "noise", "ensemble.most_holdout": 1000, **rest}
    return mbpo.build("mopo", config, spec, rest, schedules.of(config))
