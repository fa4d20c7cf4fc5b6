"""`bank ID`: makes the levels of a MiniGrid task that is compiled together with the agent."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agents.commands.output import emit, number, table
from agents.commands.parser import Parser, configured
from agents.config import require

if TYPE_CHECKING:
    from envs.minigrid.bank import Bank


@dataclass(frozen=True)
class Config:
    """Options of a bank."""

    levels: int = 20_000
    """Levels to make, rounded up to whole parts of 100; those that are there already count."""
    seed: int = 0
    """Seed of the levels."""
    processes: int = 0
    """Processes that make levels, 0 for one per core; the levels do not depend on it."""
    out: str = ""
    """Folder of banks; if empty, the one in Auxin's cache folder."""

    def __post_init__(self):
        require(self.levels > 0, "levels", self.levels, "above 0")
        require(0 <= self.seed < 2**31, "seed", self.seed, f"between 0 and {2**31 - 1}")
        require(self.processes >= 0, "processes", self.processes, "at least 0")


def run(argv: Sequence[str]) -> None:
    """Parses, makes what is missing of the bank and prints what it holds."""
    parser = Parser("bank", "ID [options]", "Makes a bank of levels of a MiniGrid task with Farama's generators.")
    parser.add("bank", Config)
    found = parser.parse(argv, words="the id of a task, such as MiniGrid-MultiRoom-N6-v0", most=1)
    config = configured(Config, found)

    from envs.minigrid.bank import find_task, read

    task = find_task(found["words"][0])
    _build(task, config)
    report = _report(read(task, config.out, config.seed))
    if found["json"]:
        emit(report)
    else:
        _show(report)


def _build(task: Any, config: Config) -> None:
    from agents.training.progress import Progress
    from envs.minigrid.bank import PART
    from envs.minigrid.build import build

    done = 0
    with Progress(-(-config.levels // PART) * PART, "bank", unit="levels") as progress:

        def watch(there: int, total: int) -> None:
            nonlocal done
            done = there
            progress.update(there, {})

        try:
            build(task, config.out, config.seed, config.levels, config.processes, watch)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"stopped; {done:,} levels are kept, and the same command goes on.") from None


def _report(bank: "Bank") -> dict[str, Any]:
    from envs.minigrid.bank import split

    return {
        "task": bank.task,
        "seed": bank.seed,
        "minigrid": bank.version,
        "levels": bank.count,
        "distinct": bank.distinct,
        "train": len(split(bank, "train").position),
        "evaluation": len(split(bank, "evaluation").position),
        "shared": bank.shared,
        "bytes": bank.bytes,
        "hash": bank.hash,
        "folder": str(bank.folder),
    }


def _show(report: dict[str, Any]) -> None:
    names = ("levels", "distinct", "train", "evaluation", "bytes", "hash")
    title = f"{report['task']}, seed {report['seed']}, made by minigrid {report['minigrid']}"
    table(title, ["", "value"], [[name, _cell(report[name])] for name in names])
    if report["shared"]:
        print(f"There are only {report['distinct']} different levels: training and evaluation share them all.")
    print(f"the bank is in {report['folder']}")


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else number(value)
