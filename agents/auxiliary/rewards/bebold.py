"""BeBold: pays for crossing the boundary of explored regions (Zhang et al., 2020)."""

from dataclasses import dataclass
from typing import Any

from agents.auxiliary.auxiliary import Auxiliary
from agents.auxiliary.rewards import noveld
from agents.config import build
from envs.contract import EnvSpec


@dataclass(frozen=True)
class Config(noveld.Config):
    """Options of BeBold: NovelD's, with the whole of the present state's novelty taken off."""

    beta: float = 1.0
    """How much of the present state's novelty is taken off."""


def make(spec: EnvSpec, **options: Any) -> Auxiliary:
    """`r_int = max(n(o_{t+1}) - n(o_t), 0) 1[N_e(s_{t+1}) = 1]`, `n` the error of RND.

    The paper's equation has `beta` 1; its released code has 0.5, which is the later NovelD (`--bonus noveld`).
    """
    return noveld.assemble("bebold", build(Config, options), spec)
