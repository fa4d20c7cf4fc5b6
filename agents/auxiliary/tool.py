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


class Search(NamedTuple):
    """A search over proposals; the script lends `trial(proposal, budget, key) -> score` and keeps every trial on disk.

    Attributes:
      name: its name in the registry.
      init: `(key) -> state`.
      ask: `(key, state, n) -> (state, proposals)`, `n` dicts of knob and config values.
      tell: `(state, proposals, scores [n]) -> state`; higher is better, NaN marks a trial that failed.
    """

    name: str
    init: Callable[..., Any]
    ask: Callable[..., tuple[Any, list[dict[str, Any]]]]
    tell: Callable[..., Any]
