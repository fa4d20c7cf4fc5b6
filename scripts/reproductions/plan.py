"""What a reproduction is made of, as data: tables of trials, and what their results must show."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from agents import presets
from envs.errors import UsageError
from scripts.benchmarks.benchmark import ROOT
from scripts.reproductions import peers


class Trial(NamedTuple):
    """One agent on one task; every seed of it is a run.

    Attributes:
      label: its name in tables, in pictures and on disk.
      agent: an agent's name.
      task: an environment's id.
      steps: environment steps of one seed.
      options: the agent's options, over those of its preset.
      preset: the preset's name.
      backend: what runs the environment; "" takes the first that the environment has.
      env_options: options of the environment.
      wrap: wrappers by name, joined by +.
      wrap_options: options of the wrappers.
      data: the folder of a dataset to learn from, from the project's root, without stepping the environment.
      made_by: the command that makes this dataset, or the controller among the options.
      evaluate_every: environment steps between two evaluations while it learns; 0 makes none.
      peer: a file of `scripts/peers` that trains another library's agent on the task instead, and prints its score.
    """

    label: str
    agent: str
    task: str
    steps: int
    options: dict[str, Any] = {}  # noqa: RUF012 (never written)
    preset: str = "fast"
    backend: str = "device"
    env_options: dict[str, Any] = {}  # noqa: RUF012
    wrap: str = ""
    wrap_options: dict[str, Any] = {}  # noqa: RUF012
    data: str = ""
    made_by: str = ""
    evaluate_every: int = 0
    peer: str = ""

    def same(self, other: "Trial") -> bool:
        """Whether both are the same runs, whatever they are called."""
        return self._replace(label=other.label) == other


class Constraint(NamedTuple):
    """What a constrained agent may cost, and what more costs it when it is judged.

    Attributes:
      beta: mean cost of an episode's steps that is allowed.
      kappa: what is taken off the return for each unit of cost above it.
    """

    beta: float
    kappa: float


class Claim(NamedTuple):
    """What the results must show for the claim to hold.

    Attributes:
      text: the claim in words.
      of: the label that it is about.
      over: labels whose intervals must lie below that of `of`.
      least: what the lower end of its interval must reach; None asks for nothing.
      measure: the score that is compared, one of `scores.MEASURES`.
      means: whether means are compared instead of intervals.
    """

    text: str
    of: str
    over: tuple[str, ...] = ()
    least: float | None = None
    measure: str = "success"
    means: bool = False


class Table(NamedTuple):
    """Trials that belong together.

    Attributes:
      doc: one line.
      trials: in the order in which they are run and shown.
      claims: what they are to show.
      coverage: whether the trained policies' visits are measured too.
      measure: the score that stands for a trial, one of `scores.MEASURES`.
      constraint: by which `penalised` is told, where steps have a cost.
      curves: metrics that are drawn over training, by name; the one of the measure if empty.
    """

    doc: str
    trials: tuple[Trial, ...]
    claims: tuple[Claim, ...]
    coverage: bool = False
    measure: str = "success"
    constraint: Constraint | None = None
    curves: tuple[str, ...] = ()


class Study(NamedTuple):
    """An experiment that is no run of an agent, done once and kept.

    Attributes:
      doc: one line.
      run: `(seeds) -> found`, plain JSON: `rows`, a list of dicts with the same names; `claims`, each with `claim`,
        `verdict` and `grounds`; and whatever `draw` needs.
      seeds: how many.
      draw: `(found, path) -> path`, a picture of it, or None.
    """

    doc: str
    run: Callable[[int], dict[str, Any]]
    seeds: int
    draw: Callable[[dict[str, Any], Path], Path] | None = None


class Home(NamedTuple):
    """Where a trial's runs are: the paper whose plan has it first (the plan's own if empty), the table, the label."""

    paper: str
    table: str
    label: str


class Plan(NamedTuple):
    """One paper's tables for one budget.

    Attributes:
      doc: one line.
      tables: by name.
      seeds: of each trial.
      greedy: whether scores are those of the policy's best actions, or of actions drawn from it.
      lenders: plans of the same budget by paper, whose runs serve where a trial is the same.
      studies: by name, which no table has.
    """

    doc: str
    tables: dict[str, Table]
    seeds: int = 3
    greedy: bool = False
    lenders: dict[str, "Plan"] = {}  # noqa: RUF012
    studies: dict[str, Study] = {}  # noqa: RUF012

    def home(self, trial: Trial) -> Home:
        """Where a trial's runs are: with the first table that has it, so that none is run twice."""
        plans = {**self.lenders, "": self}
        found = (
            Home(paper, name, other.label)
            for paper, plan in plans.items()
            for name, table in plan.tables.items()
            for other in table.trials
            if trial.same(other)
        )
        return next(found)


def shortened(plan: Plan, share: float) -> Plan:
    """The plan with this share of every trial's steps."""

    def cut(table: Table) -> Table:
        return table._replace(trials=tuple(t._replace(steps=max(1, round(t.steps * share))) for t in table.trials))

    tables = {name: cut(table) for name, table in plan.tables.items()}
    lenders = {name: shortened(other, share) for name, other in plan.lenders.items()}
    return plan._replace(tables=tables, lenders=lenders)


def on(task: str, steps: int, agents: dict[str, dict[str, Any]], suffix: str = "") -> tuple[Trial, ...]:
    """Trials on one task: label to the other fields of `Trial`; `suffix` tells several tasks of a table apart."""
    return tuple(Trial(label + suffix, task=task, steps=steps, **own) for label, own in agents.items())


def resolved(trial: Trial) -> dict[str, Any]:
    """The agent's options: the preset's, and the trial's over them.

    Raises:
      UsageError: where the agent, a part that it names, or the preset is not there.
    """
    return presets.resolve(trial.agent, trial.preset, trial.task, trial.options)


def lacking(trial: Trial) -> str:
    """The sentence that says what a trial needs and this version does not have; "" where it can be run."""
    if trial.peer:
        return peers.missing(trial.peer)
    try:
        resolved(trial)
        known = _backends()
        if trial.task not in known or (trial.backend and trial.backend not in known[trial.task]):
            return f"there is no environment {trial.task} on the backend {trial.backend or 'first'}."
        for kind, folder in (("dataset", trial.data), ("controller", trial.options.get("controller", ""))):
            if folder and not (ROOT / folder).exists():
                return f"there is no {kind} {folder} yet: `{trial.made_by}` makes it."
        if trial.backend == "device" and trial.task.startswith("MiniGrid-"):
            _levels(trial.task, trial.env_options)
    except UsageError as error:
        return str(error)
    return ""


@functools.cache
def _backends() -> dict[str, tuple[str, ...]]:
    """The backends of every environment; a plan may have hundreds of trials."""
    import envs

    return {listing.name: listing.backends for listing in envs.ids()}


def _levels(task: str, options: dict[str, Any]) -> None:
    """Raises `UsageError` where a task of MiniGrid's has neither a generator of levels nor a bank."""
    from envs.minigrid import bank, generators

    found = bank.find_task(task)
    folder, seed = options.get("banks", ""), options.get("level_seed", 0)
    if generators.find(found) is None and not bank.part_path(bank.home(found, folder, seed), 0).exists():
        raise UsageError(f"{task} has no bank of levels yet: `python scripts/bank.py {task}` makes it.")
