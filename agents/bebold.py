"""BeBold: an actor-critic that is paid for crossing the boundary of what it has explored (Zhang et al., 2020).

The bonus is `auxiliary/rewards/bebold.py`; this agent is that bonus on one of two actor-critics, with the paper's clip
of the summed reward. `ppo --bonus bebold` differs in its defaults alone.
"""

from dataclasses import dataclass
from typing import Any, Literal

from agents import impala, onpolicy, parts, ppo
from agents.agent import Agent
from envs.contract import EnvSpec

# ------------------------------------------------------------------------------------------------------- CONFIG


@dataclass(frozen=True)
class Config(ppo.Config, impala.Config):
    """Options of BeBold: those of both bases, PPO's values where they share one, and the choice between them."""

    base: Literal["ppo", "impala"] = "ppo"
    """The actor-critic below the bonus: ppo, or the paper's impala (whose values the preset `paper` sets)."""
    bonus: str = "bebold"
    """Intrinsic rewards: names of that door joined by +; each is weighted by its own coef."""
    reward_clip: float = 1.0
    """The sum of reward and bonus is clipped to plus and minus this; 0 leaves it."""


# ---------------------------------------------------------------------------------------------------------- MAKE


def make(spec: EnvSpec, **options: Any) -> Agent:
    """BeBold for an environment: `r = clip(r_ext + coef * r_int, -1, 1)`, one value head, one discount.

    Options are the fields of `Config` and `NAME.FIELD` of auxiliaries, `bebold.coef` and `bebold.beta` among them.
    """
    config, rest = parts.split(Config, options)
    base = onpolicy.base(config, spec, rest)
    return (ppo if config.base == "ppo" else impala).assemble("bebold", base)
