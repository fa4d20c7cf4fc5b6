"""What drives a run needs of a loop, whichever it is."""

from typing import Any, NamedTuple, Protocol

from agents.training.learner import Learner
from envs.contract import EnvSpec, PyTree


class Report(NamedTuple):
    """What one `advance` gives: metrics of each seed, wall-clock shares, and the unroll that was just taken in.

    Where seeds run together every leaf of `batch` has a leading axis of seeds.
    """

    metrics: list[dict[str, Any]]
    clock: dict[str, float]
    batch: PyTree


class Loop(Protocol):
    """One agent on one batch of environments, for one seed or for several at once.

    Attributes:
      spec: the environment as the agent sees it.
      seeds: the seeds that run together.
      steps_per_update: environment steps of one seed that one `advance` learns from.
      updates: how many updates have been made.
      learner: the learner's present state; with several seeds every leaf has a leading axis of seeds.
    """

    spec: EnvSpec
    seeds: tuple[int, ...]
    steps_per_update: int
    updates: int
    learner: Learner

    def start(self, params: PyTree | None = None) -> None:
        """Begins a fresh run, with `params` instead of fresh ones if given."""

    def advance(self, progress: float) -> Report:
        """One update; `progress` in `[0, 1]` is the share of the run that is done."""

    def tree(self, index: int = 0) -> PyTree:
        """Everything that the future of one seed depends on."""

    def template(self) -> PyTree:
        """The shapes of `tree`, known without a step."""

    def restore(self, trees: list[PyTree]) -> None:
        """Takes the run up where `tree` left it, one tree for each seed."""

    def wrapper_state(self, index: int = 0) -> PyTree:
        """The wrappers' state of one seed."""

    def close(self) -> None:
        """Lets go of threads and engines."""
