"""The contracts of what works on a finished run: `Tool` with its `Subject`, and `Search`.

Neither imports agents or envs: the script that calls them lends the functions they need.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from envs.contract import EnvSpec


class Subject(NamedTuple):
    """A run as a tool sees it.

    Attributes:
      policy: `(params, obs, carry, first) -> Outputs`, time-major.
      params: the parameters to examine.
      spec: the environment's spec.
      data: steps recorded with the policy, a `Rollout`.
      rollout: `(params, seed, steps) -> Rollout`, lent by the script.
      evaluate: `(params, seeds) -> returns [len(seeds)]`, lent by the script.
    """

    policy: Callable[..., Any]
    params: Any
    spec: EnvSpec
    data: Any
    rollout: Callable[..., Any]
    evaluate: Callable[..., Any]


class Tool(NamedTuple):
    """An analysis, verification or compression of a finished run; the core of `run` is jitted.

    Attributes:
      name: its name in the registry.
      needs: names from `auxiliary.NEEDS`.
      init: `(key, subject) -> state`.
      run: `(key, state, subject) -> (report, artefacts)`: a dict of scalars and strings, and a dict of arrays.
    """

    name: str
    needs: tuple[str, ...]
    init: Callable[..., Any]
    run: Callable[..., tuple[dict[str, Any], dict[str, Any]]]


class Outcome(NamedTuple):
    """What came of one trial.

    Attributes:
      score: higher is better; NaN marks a trial that failed.
      log: arrays by name, for a search that learns from more than the score.
    """

    score: float
    log: dict[str, Any] = {}  # noqa: RUF012 (never written)


class Search(NamedTuple):
    """A search over proposals; the script lends `trial(proposal, budget, key) -> Outcome` and keeps each on disk.

    A state is a PyTree of arrays of fixed shapes, so that a search goes on where it was.

    Attributes:
      name: its name in the registry.
      init: `(key) -> state`.
      ask: `(key, state, n) -> (state, proposals)`, `n` dicts of knob and config values.
      tell: `(key, state, proposals, outcomes) -> state`, one outcome for each proposal.
      best: `(state) -> proposal`, the one to keep.
    """

    name: str
    init: Callable[..., Any]
    ask: Callable[..., tuple[Any, list[dict[str, Any]]]]
    tell: Callable[..., Any]
    best: Callable[..., dict[str, Any]]
