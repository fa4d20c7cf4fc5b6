"""`reproduce NAME`: runs what is left of a reproduction, one seed after the other, and says what came of it."""

import importlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.commands.output import emit, table
from agents.commands.parser import Parser, configured
from agents.config import require
from envs.errors import UsageError, nearest
from scripts.entry import ended
from scripts.reproductions import studies
from scripts.reproductions.plan import Plan, shortened
from scripts.reproductions.status import Failed, Job, looked, show, unable

# A paper's module of this package, which holds its `BUDGETS`, has its name.
NAMES = ("agac", "autombpo", "bebold", "control", "genetic_soft_updates", "meta_d4pg", "repb_sde", "tcl")


@dataclass(frozen=True)
class Config:
    """Options of a reproduction."""

    budget: str = "small"
    """How much is run: small fits two cores, full is the paper's table."""
    table: str = ""
    """Tables and studies to run, names joined by +; all of them if empty."""
    trials: str = ""
    """Trials to run, labels joined by +; all of them if empty."""
    seeds: int = 0
    """Seeds of each trial; 0 takes the plan's number."""
    share: float = 1.0
    """Run this share of every trial's steps; what came of it says so."""
    out: str = ""
    """The folder for runs and results; runs/reproduce/NAME-BUDGET if empty."""
    list: bool = False
    """Show tables and what of them is done, and run nothing."""
    publish: bool = False
    """Copy the result and its pictures to docs/results."""

    def __post_init__(self):
        require(self.seeds >= 0, "seeds", self.seeds, "at least 0")
        require(0 < self.share <= 1, "share", self.share, "above 0 and at most 1")


def main(argv: Sequence[str]) -> int:
    """Runs the command and returns its exit code."""
    return ended(run, argv, "stopped; what was done is kept, and the same command goes on.")


def run(argv: Sequence[str]) -> None:
    """Parses, runs and prints."""
    parser = Parser(
        "reproduce", "", "Runs a paper's claims again, and never what is done already. Without a name it lists them."
    )
    parser.usage = "python scripts/reproduce.py [NAME] [options]"
    parser.add("reproduction", Config)
    found = parser.parse(argv, words="the name of a reproduction", least=0, most=1)
    config = configured(Config, found)
    if not found["words"]:
        _names(found["json"])
        return
    job = ask(found["words"][0], config)
    if config.list:
        show(job, unable(job), found["json"])
        return
    failed = work(job, found["json"])
    conclude(job, failed, config.publish, found["json"])
    if failed:
        reasons = "; ".join(f"{label}, for {reason}" for label, reason in failed.items())
        raise UsageError(f"some trials could not be run: {reasons}")


def budgets(name: str) -> dict[str, Callable[[], Plan]]:
    """What makes the plans of a reproduction, by budget.

    Raises:
      UsageError: if there is no such reproduction.
    """
    if name not in NAMES:
        raise UsageError(f"there is no reproduction {name!r}: {nearest(name, NAMES)}")
    return importlib.import_module(f"scripts.reproductions.{name}").BUDGETS


def ask(name: str, config: Config) -> Job:
    """What the options ask for.

    Raises:
      UsageError: for a name that is not there.
    """
    known = budgets(name)
    if config.budget not in known:
        raise UsageError(f"{name} has no budget {config.budget!r}: {nearest(config.budget, known)}")
    plan = shortened(known[config.budget](), config.share)
    asked = _named("table", config.table, {**plan.tables, **plan.studies}) or [*plan.tables, *plan.studies]
    tables = [each for each in asked if each in plan.tables]
    trials = _named("trial", config.trials, {trial.label for name in tables for trial in plan.tables[name].trials})
    # Less steps are other runs: a schedule over a run has another pace.
    share = "" if config.share == 1 else f"-{config.share:g}"
    out = Path(config.out or f"runs/reproduce/{name}-{config.budget}{share}")
    studies = [each for each in asked if each in plan.studies]
    return Job(name, config.budget, plan, tables, trials, config.seeds or plan.seeds, config.share, out, studies)


def work(job: Job, quiet: bool) -> Failed:
    """Runs every seed that is not finished, the first seeds of a table's trials first; what could not be run, and why.

    Raises:
      KeyboardInterrupt: after Ctrl-C, once everything is saved.
    """
    from scripts.reproductions.runs import finish, look
    from scripts.reproductions.scores import Asked

    for name in job.studies:
        if not quiet and not studies.found(job.out, name):
            print(f"{name}: {job.plan.studies[name].doc}", flush=True)
        studies.finish(job.out, name, job.plan.studies[name])
        write(job)
    covered = [trial for each in job.plan.tables.values() if each.coverage for trial in each.trials]
    failed = unable(job)
    for name in job.tables:
        for number in range(job.seeds):
            for trial in job.chosen(name):
                label = f"{name}/{trial.label}"
                seed = look(job.plan, job.out, trial, job.seeds)[number]
                if seed.score or label in failed:
                    continue
                if not quiet:
                    show(job, failed)
                    print(f"{label}, seed {number}: {trial.steps:,} steps of {trial.task}", flush=True)
                try:
                    finish(seed, trial, Asked(job.plan.greedy, trial in covered), quiet)
                except UsageError as error:
                    failed[label] = str(error)
                    continue
                except KeyboardInterrupt:
                    if not quiet:
                        show(job, failed)
                    raise
                write(job)
    return failed


def write(job: Job) -> tuple[dict[str, Any], list[Path]]:
    """Writes the result and the pictures of all that is done so far, and returns both."""
    from agents.training.provenance import write_json
    from scripts.reproductions import result

    seen = looked(job)
    pictures = result.draw(job.plan, seen, job.out) + studies.draw(job.out, job.plan.studies)
    found = result.collect(job, seen)
    found["pictures"] = [path.name for path in pictures]
    write_json(job.out / result.FILE, found)
    return found, pictures


def conclude(job: Job, failed: Failed, publish: bool, json: bool) -> None:
    """Writes the result, publishes it if asked, and prints it."""
    from scripts.reproductions import result

    found, pictures = write(job)
    copies = result.publish(found, job.out) if publish else []
    if json:
        emit(found)
        return
    show(job, failed)
    for name, each in found["tables"].items():
        rows = [[claim["verdict"], claim["claim"], grounds(claim)] for claim in each["claims"]]
        table(f"{name}: {each['doc']}", ["verdict", "claim", "means or 95% intervals"], rows)
    for name, each in found["studies"].items():
        columns = list(each["rows"][0])
        table(f"{name}: {each['doc']}", columns, [[_cell(row[column]) for column in columns] for row in each["rows"]])
        table("", ["verdict", "claim", "grounds"], [[c["verdict"], c["claim"], c["grounds"]] for c in each["claims"]])
    for path in (job.out / result.FILE, *pictures, *copies):
        print(path)


def grounds(claim: dict[str, Any]) -> str:
    """What a verdict rests on."""
    if claim["missing"]:
        return f"waits for {', '.join(claim['missing'])}"
    if claim["compares"] == "means":
        parts = [f"{label} {mean:.4g}" for label, mean in claim["means"].items()]
    else:
        parts = [f"{label} {low:.3g} to {high:.3g}" for label, (low, high) in claim["intervals"].items()]
    least = f", asked for {claim['least']:g}" if claim["least"] is not None else ""
    return f"{claim['measure']}: {', '.join(parts)}{least}"


def _cell(value: Any) -> str:
    """A number, text, or an interval, as a table shows it."""
    if isinstance(value, list):
        return " to ".join(_cell(bound) for bound in value)
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def _named(kind: str, names: str, known: Collection[str]) -> list[str]:
    wanted = [name.strip() for name in names.split("+")] if names.strip() else []
    for name in wanted:
        if name not in known:
            raise UsageError(f"there is no {kind} {name!r}: {nearest(name, known)}")
    return wanted


def _names(json: bool) -> None:
    plans = [(name, budget, make()) for name in NAMES for budget, make in budgets(name).items()]
    if json:
        listed = [
            {"name": name, "budget": budget, "doc": plan.doc, "tables": [*plan.tables, *plan.studies]}
            for name, budget, plan in plans
        ]
        emit({"reproductions": listed})
        return
    rows = [
        [f"{name} --budget {budget}", plan.doc, ", ".join([*plan.tables, *plan.studies])]
        for name, budget, plan in plans
    ]
    table("reproductions", ["name", "what it is", "tables"], rows)
    print("python scripts/reproduce.py NAME runs one; what is done already is not done again.")
