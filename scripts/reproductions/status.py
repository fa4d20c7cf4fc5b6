"""What of a reproduction is done, begun, waiting or missing, and how long the rest takes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from agents.commands.output import emit, table
from scripts.reproductions.plan import Plan, Table, Trial, lacking
from scripts.reproductions.runs import Seed, look
from scripts.reproductions.scores import summary

Seen = dict[str, dict[str, list[Seed]]]  # the seeds of every trial, by table and label
Failed = dict[str, str]  # why a trial cannot be run, by TABLE/LABEL


class Job(NamedTuple):
    """A reproduction as it was asked for.

    Attributes:
      name: the paper's.
      budget: which of its plans.
      plan: that plan.
      tables: names of the tables to run.
      trials: labels to run; all if empty.
      seeds: of each trial.
      share: the part of the plan's steps that is run.
      out: the folder of everything.
      studies: names of the studies to run.
    """

    name: str
    budget: str
    plan: Plan
    tables: list[str]
    trials: list[str]
    seeds: int
    share: float
    out: Path
    studies: list[str] = []  # noqa: RUF012 (never written)

    def chosen(self, name: str) -> list[Trial]:
        """The trials of a table that are to be run."""
        return [trial for trial in self.plan.tables[name].trials if not self.trials or trial.label in self.trials]


def looked(job: Job) -> Seen:
    """Where every seed of the plan stands."""
    return {
        name: {trial.label: look(job.plan, job.out, trial, job.seeds) for trial in each.trials}
        for name, each in job.plan.tables.items()
    }


def unable(job: Job) -> Failed:
    """The chosen trials that are not done and need something that is not there."""
    seen = looked(job)
    waiting = [
        (f"{name}/{trial.label}", trial)
        for name in job.tables
        for trial in job.chosen(name)
        if not all(seed.score for seed in seen[name][trial.label])
    ]
    return {label: reason for label, trial in waiting if (reason := lacking(trial))}


def show(job: Job, failed: Failed, json: bool = False) -> None:
    """Prints the state of every chosen trial, and the time that is left."""
    seen, lines = looked(job), []
    for name in job.tables:
        for trial in job.chosen(name):
            seeds = seen[name][trial.label]
            each = job.plan.tables[name]
            found = told(each, seeds).get(each.measure)
            lines.append(
                {
                    "trial": f"{name}/{trial.label}",
                    "task": trial.task,
                    "steps": trial.steps,
                    "done": sum(seed.score is not None for seed in seeds),
                    "seeds": job.seeds,
                    "state": state(seeds, failed.get(f"{name}/{trial.label}", "")),
                    "measure": each.measure,
                    "mean": found and found["mean"],
                    "interval": found and found["interval"],
                }
            )
    left = rest(job, seen, failed)
    if json:
        emit({"out": str(job.out), "trials": lines, "left": left})
        return
    if not lines:  # studies alone
        return
    columns = ["trial", "seeds", "steps of each", "mean (95%)", "state"]
    table(f"{job.name} {job.budget} in {job.out}", columns, [_row(line) for line in lines])
    print(left, flush=True)


def told(table: Table, seeds: list[Seed]) -> dict[str, Any]:
    """What the finished seeds of one of the table's trials scored together."""
    return summary([seed.score for seed in seeds], table.constraint)


def state(seeds: list[Seed], failed: str = "") -> str:
    """A word for a trial, and how far a seed is that was begun and is not finished."""
    if all(seed.score for seed in seeds):
        return "done"
    if failed:
        return f"missing: {failed}"
    begun = [f"seed {seed.number} at step {seed.step:,}" for seed in seeds if seed.step and not seed.score]
    return f"running: {', '.join(begun)}" if begun else "waiting"


def rest(job: Job, seen: Seen, failed: Failed) -> str:
    """How long the rest takes: a trial at its own rate if it has one, else at that of all together."""
    overall = rate([seed for trials in seen.values() for seeds in trials.values() for seed in seeds])
    steps, seconds, counted = 0, 0.0, set()
    for name in job.tables:
        for trial in job.chosen(name):
            seeds = seen[name][trial.label]
            for seed in seeds:
                if seed.score or seed.folder in counted or f"{name}/{trial.label}" in failed:
                    continue
                counted.add(seed.folder)  # tables may share a trial
                left = max(0, trial.steps - seed.step)
                steps += left
                seconds += left / (rate(seeds) or overall or 1.0)
    if not counted:
        return "nothing is left to run."
    if not overall:
        return f"{steps:,} steps are left; the first finished run tells how long they take."
    time = f"{seconds / 3600:.1f} hours" if seconds > 5400 else f"{max(1, round(seconds / 60))} min"
    return f"{steps:,} steps are left, about {time} at the {overall:,.0f} steps/s seen so far."


def rate(seeds: list[Seed]) -> float:
    """Steps per second of finished runs, compiling and scoring counted; 0 without any."""
    rates = [seed.score["rate"] for seed in seeds if seed.score]
    seconds = sum(each["seconds"] for each in rates)
    return sum(each["steps"] for each in rates) / seconds if seconds else 0.0


def span(measure: str, interval: Sequence[float]) -> str:
    """An interval of a score."""
    low, high = (f"{bound:.0%}" if measure == "success" else f"{bound:.4g}" for bound in interval)
    return f"{low} to {high}"


def _row(line: dict[str, Any]) -> list[str]:
    shown = ""
    if line["mean"] is not None:
        mean = f"{line['mean']:.0%}" if line["measure"] == "success" else f"{line['mean']:.4g}"
        shown = f"{line['measure']} {mean} ({span(line['measure'], line['interval'])})"
    return [line["trial"], f"{line['done']} of {line['seeds']}", f"{line['steps']:,}", shown, line["state"]]
