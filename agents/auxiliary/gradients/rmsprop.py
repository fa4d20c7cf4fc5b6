"""RMSProp: gradients divided by the root of their running mean square (Tieleman and Hinton, 2012)."""

from dataclasses import dataclass
from typing import Any

import optax

from agents.config import build, require
from envs.contract import EnvSpec


@dataclass(frozen=True)
class Config:
    """Options of RMSProp; the defaults are IMPALA's."""

    decay: float = 0.99
    """Decay of the mean square."""
    eps: float = 1e-5
    """Added to the root of the mean square."""
    momentum: float = 0.0
    """Share of the last step that is added to this one."""

    def __post_init__(self):
        require(0 <= self.decay < 1, "decay", self.decay, "in [0, 1)")
        require(self.eps > 0, "eps", self.eps, "above 0")
        require(0 <= self.momentum < 1, "momentum", self.momentum, "in [0, 1)")


def make(spec: EnvSpec | None = None, **options: Any) -> optax.GradientTransformation:
    """`g / (sqrt(v) + eps)`, not yet scaled by a learning rate."""
    config = build(Config, options)
    # The epsilon stands outside of the root, as in the implementation that IMPALA's published settings belong to.
    scale = optax.scale_by_rms(config.decay, config.eps, eps_in_sqrt=False)
    return optax.chain(scale, optax.trace(config.momentum)) if config.momentum else scale
