"""NetHack's glyphs, the surroundings of the hero, the hero's numbers and the message (Küttler et al., 2020)."""

from dataclasses import dataclass
from typing import Any, Literal

from agents.config import build, require
from agents.networks import nethack
from agents.networks.torsos import TorsoEncoder
from envs.contract import EnvSpec

# ------------------------------------------------------------------------------------------------------- CONFIG


@dataclass(frozen=True)
class Config:
    """Sizes of the network; `auto` takes the same one with the agent's own options."""

    embed: int = 16
    """Width of a glyph's embedding."""
    crop: int = 9
    """Side of the square around the hero that is read place by place, odd; 0 for none."""
    channels: tuple[int, ...] = (32, 64)
    """Widths of the 3x3 convolutions over the map; none leaves the map out."""
    stride: int = 2
    """Stride of those convolutions."""
    letters: int = 80
    """Letters of the message that are read; 0 for none."""
    width: int = 64
    """Features of the hero's numbers, of the message, and of what is carried."""
    hidden: tuple[int, ...] = (256,)
    """Widths of the dense layers behind all parts."""
    activation: Literal["tanh", "relu", "elu"] = "relu"
    """Activation of every layer."""
    ignore: tuple[str, ...] = ()
    """Parts of the observation that are not read."""

    def __post_init__(self):
        require(self.embed > 0, "embed", self.embed, "above 0")
        require(self.crop >= 0, "crop", self.crop, "at least 0")
        require(self.stride > 0, "stride", self.stride, "above 0")
        require(self.letters >= 0, "letters", self.letters, "at least 0")
        require(self.width > 0, "width", self.width, "above 0")
        require(all(width > 0 for width in self.channels), "channels", self.channels, "made of widths above 0")
        require(all(width > 0 for width in self.hidden), "hidden", self.hidden, "made of widths above 0")


# --------------------------------------------------------------------------------------------------------- MAKE


def make(spec: EnvSpec, **options: Any) -> TorsoEncoder:
    """The encoder for a spec that observes `glyphs` and `blstats`.

    Raises:
      UsageError: for other observations, an even crop, or more convolutions than the map has room for.
    """
    return TorsoEncoder(nethack.torso(spec.obs, **vars(build(Config, options))))
