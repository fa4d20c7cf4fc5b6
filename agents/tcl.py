"""TCL: PEARL whose encoder also learns which windows belong to the same trajectory (Wang et al., 2021)."""

from dataclasses import dataclass
from typing import Any

from agents import parts, pearl
from agents.agent import Agent
from agents.config import require
from envs.contract import EnvSpec

# ------------------------------------------------------------------------------------------------------- CONFIG


@dataclass(frozen=True)
class Config(pearl.Config):
    """Options of TCL; those of the contrastive loss are `tcl.coef`, `tcl.window` and so on."""

    auxiliary: str = "tcl"
    """Auxiliary losses: names of that door joined by +; tcl is among them."""

    def __post_init__(self):
        super().__post_init__()
        require("tcl" in self.auxiliary.split("+"), "auxiliary", repr(self.auxiliary), "tcl, perhaps with others by +")


# ---------------------------------------------------------------------------------------------------------- MAKE


def make(spec: EnvSpec, **options: Any) -> Agent:
    """PEARL with the auxiliary loss `tcl`; options are those of `pearl` and `tcl.FIELD`.

    Raises:
      UsageError: as `pearl` and the auxiliary do.
    """
    config, rest = parts.split(Config, options)
    return pearl.build("tcl", config, spec, rest)
