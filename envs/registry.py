"""`make(id)`: find an environment by name over all suites, and hand its options to the suite that owns it.

A suite is a module with
  SUITE: its name.
  EXTRA: the pip extra that installs its engine, `""` if the core does.
  ids(): `{id: Listing}` from a static table, so that listing never imports an engine.
  make(id, backend, **options): an `Env` or a `HostMaker`.
  knows(id): optional; True for a name beyond its table.
Packages outside the project add a suite by the entry point group `auxin.env`.
"""

import importlib
import inspect
import warnings
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any, NamedTuple

from envs.contract import Env, HostMaker
from envs.errors import UsageError, nearest

SUITES = (
    *("toys", "control", "navigation", "minigrid", "mujoco", "constrained", "nethack", "metaworld", "counting"),
    "families",
)
LAST = "gymnasium"  # Every other registered Gymnasium id; it must not take the names of the suites before it.


class Listing(NamedTuple):
    """One line of `ids()`.

    Attributes:
      name: what `make` takes.
      suite: the suite that owns it.
      backends: its engines, the default first.
      doc: one line.
    """

    name: str
    suite: str
    backends: tuple[str, ...]
    doc: str


def ids() -> list[Listing]:
    """Every environment that can be named, in the order of the suites, without importing any engine."""
    return [listing for suite in _suites() for listing in suite.ids().values()]


def make(id: str, backend: str | None = None, **options: Any) -> HostMaker | Env:
    """The environment called `id`.

    Args:
      id: a name out of `ids()`, or any registered Gymnasium id (`"package:Name-v0"` imports `package` first).
      backend: one of the listing's backends; the first one if None.
      **options: those of the suite. All host environments take `max_steps`, a time limit in agent steps that
        replaces the engine's own (0: keep it), and `repeat`, how often each action is repeated: rewards are summed,
        the repetition stops at an end, and all of it counts as one agent step.

    Raises:
      UsageError: unknown id, backend or option, or a value out of range; the sentence names the nearest valid one.
    """
    suite, listing = _find(id)
    if backend is None:
        backend = listing.backends[0]
    elif backend not in listing.backends:
        raise UsageError(f"{id} has no backend {backend!r}: {nearest(backend, listing.backends)}")
    check_options(id, options, options_of(suite.make))
    check_steps(**{name: options[name] for name in ("max_steps", "repeat") if name in options})
    made = suite.make(id, backend, **options)
    # What a suite resolved (which levels, say) stands beside what was asked for.
    return made._replace(options={**options, **(made.options or {})}) if isinstance(made, Env) else made


def options_of(make: Callable[..., Any]) -> list[str] | None:
    """The keyword options of a suite's `make`, or None where it takes any (and checks them itself)."""
    parameters = inspect.signature(make).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]


def check_options(id: str, given: Iterable[str], known: Iterable[str] | None) -> None:
    """Raises UsageError for the first option of `given` that is not `known`, naming the nearest."""
    choices = None if known is None else list(known)
    for name in given:
        if choices is not None and name not in choices:
            raise UsageError(f"{id} has no option {name!r}: {nearest(name, choices)}")


def check_steps(max_steps: int = 0, repeat: int = 1) -> None:
    """Raises UsageError where a time limit or an action repeat makes no sense."""
    for name, value, lowest in (("max_steps", max_steps, 0), ("repeat", repeat, 1)):
        if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
            raise UsageError(f"{name} must be an integer of at least {lowest}, not {value!r}.")


def limits(engine: int, max_steps: int, repeat: int) -> tuple[int, int]:
    """The time limit in engine steps and in agent steps (0: none), out of the engine's own and the user's options."""
    limit = max_steps * repeat or engine
    return limit, -(-limit // repeat)


def _find(id: str) -> tuple[ModuleType, Listing]:
    for suite in _suites():
        if id in (known := suite.ids()):
            return suite, known[id]
        if hasattr(suite, "knows") and suite.knows(id):
            return suite, Listing(id, suite.SUITE, ("host",), "")
    raise UsageError(f"there is no environment {id!r}: {nearest(id, [listing.name for listing in ids()])}")


def _suites() -> Iterator[ModuleType]:
    """One after another, so that the suites behind the one that is wanted are not imported."""
    yield from (importlib.import_module(f"envs.{name}") for name in SUITES)
    for point in sorted(entry_points(group="auxin.env"), key=lambda point: point.name):
        try:
            suite = point.load()
        except Exception as error:  # Somebody else's broken package must not keep ours from starting.
            warnings.warn(f"the environment suite {point.value!r} cannot be imported: {error}", stacklevel=3)
        else:
            yield suite
    yield importlib.import_module(f"envs.{LAST}")
