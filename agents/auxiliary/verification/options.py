"""Options of the verification, in a file of their own: help shows them without importing JAX."""

from dataclasses import dataclass
from typing import Literal

from agents.config import require


@dataclass(frozen=True)
class Options:
    """Options of the verification."""

    property: tuple[str, ...] = ()
    """Files of properties, or names of those that come with Auxin: cartpole, hopper, navigation."""
    method: Literal["linear", "interval", "sample"] = "linear"
    """Linear relaxations, intervals alone, or samples of each box, which prove nothing and under-estimate."""
    split: Literal["influence", "widest"] = "influence"
    """Split boxes along the input that moves the decision most, or along the widest one."""
    precision: float = 1e-3
    """Inputs narrower than this share of their range in the property are not split further."""
    cycles: int = 35
    """Splits that a box is made by at most."""
    boxes: int = 50_000
    """Boxes of a property to look at, at most."""
    unchecked: float = 0.0
    """Stop once no larger share than this is undecided."""
    samples: int = 32
    """Points of each box, where it is sampled."""

    def __post_init__(self):
        require(0 < self.precision <= 1, "precision", self.precision, "above 0 and at most 1")
        require(0 < self.cycles <= 50, "cycles", self.cycles, "between 1 and 50")
        require(self.boxes > 0, "boxes", self.boxes, "above 0")
        require(0 <= self.unchecked < 1, "unchecked", self.unchecked, "at least 0 and below 1")
        require(self.samples > 1, "samples", self.samples, "at least 2")
