"""What drives a run needs of a loop, whichever it is."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from agents.agent import State
from agents.training.learner import Learner
from envs.contract import EnvSpec, PyTree


class Report(NamedTuple):
    """What one `advance` gives.

    Attributes:
      metrics: of each seed, those of the last update.
      clock: wall-clock shares of the last update.
      batch: the unroll that the last update took in; where seeds run together every leaf has a leading axis of seeds.
      skipped: for each seed, how many of the updates were not finite.
    """

    metrics: list[dict[str, Any]]
    clock: dict[str, float]
    batch: PyTree
    skipped: list[int]


class Loop(Protocol):
    """One agent on one batch of environments, for one seed or for several at once.

    Attributes:
      spec: the environment as the agent sees it.
      seeds: the seeds that run together.
      steps_per_update: environment steps of one seed that one update learns from.
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

    def advance(self, *, count: int = 1, total: int = 0, allow: Sequence[int] | None = None) -> Report:
        """Up to `count` updates, at least one.

        Args:
          count: how many.
          total: updates of the whole run, from which the knob `progress` is made; it stays 0 without.
          allow: for each seed, how many updates may be not finite. The update in which one has more is the last.
        """

    def tree(self, index: int = 0) -> PyTree:
        """Everything that the future of one seed depends on."""

    def template(self) -> PyTree:
        """The shapes of `tree`, known without a step."""

    def restore(self, trees: list[PyTree]) -> None:
        """Takes the run up where `tree` left it, one tree for each seed."""

    def adopt(self, state: State, index: int = 0) -> None:
        """Goes on with another state of the agent of one seed."""

    def wrapper_state(self, index: int = 0) -> PyTree:
        """The wrappers' state of one seed."""

    def close(self) -> None:
        """Lets go of threads and engines."""
