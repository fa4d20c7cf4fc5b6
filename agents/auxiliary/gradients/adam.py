"""Adam: step sizes from running moments of the gradient (Kingma and Ba, 2015)."""

from dataclasses import dataclass
from typing import Any

import optax

from agents.config import build, require
from envs.contract import EnvSpec


@dataclass(frozen=True)
class Config:
    """Options of Adam."""

    b1: float = 0.9
    """Decay of the first moment."""
    b2: float = 0.999
    """Decay of the second moment."""
    eps: float = 1e-5
    """Added to the root of the second moment."""

    def __post_init__(self):
        require(0 <= self.b1 < 1, "b1", self.b1, "in [0, 1)")
        require(0 <= self.b2 < 1, "b2", self.b2, "in [0, 1)")
        require(self.eps > 0, "eps", self.eps, "above 0")


def make(spec: EnvSpec | None = None, **options: Any) -> optax.GradientTransformation:
    """`m / (sqrt(v) + eps)` with bias-corrected moments, not yet scaled by a learning rate."""
    config = build(Config, options)
    return optax.scale_by_adam(config.b1, config.b2, config.eps)
