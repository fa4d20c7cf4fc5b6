"""`export RUN`: writes a trained policy as one self-contained StableHLO file."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from agents.commands.output import emit
from agents.commands.parser import Parser, configured
from agents.config import require


@dataclass(frozen=True)
class Config:
    """Options of an export."""

    out: str = "policy.stablehlo"
    """The file to write."""
    checkpoint: Literal["best", "last"] = "best"
    """Which state of the run: the best evaluated one (the last where none was), or the last."""

    def __post_init__(self):
        require(self.out != "", "out", "empty", "the name of a file")


def run(argv: Sequence[str]) -> None:
    """Parses, exports and says where the file is."""
    parser = Parser("export", "RUN [options]", "Writes the policy of a run's folder, its normalisation included.")
    parser.add("export", Config)
    found = parser.parse(argv, words="the folder of a run, such as runs/rooms", most=1)
    config = configured(Config, found)

    from agents.training.export import export_run

    result = export_run(found["words"][0], config.out, config.checkpoint)
    if found["json"]:
        emit(result)
    else:
        print(f"the policy of {found['words'][0]} is in {config.out}")
