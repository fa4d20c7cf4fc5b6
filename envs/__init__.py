"""Environments: one `TimeStep`, one spec, and `make(id)` over every suite.

Importing this package costs nothing: worker processes import it too, and they must never pay for JAX.
"""

import importlib
import importlib.util
import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from envs.batch import batch as batch
    from envs.contract import Action as Action
    from envs.contract import Array as Array
    from envs.contract import Box as Box
    from envs.contract import Discrete as Discrete
    from envs.contract import Env as Env
    from envs.contract import EnvSpec as EnvSpec
    from envs.contract import HostEnv as HostEnv
    from envs.contract import HostMaker as HostMaker
    from envs.contract import MultiDiscrete as MultiDiscrete
    from envs.contract import TimeStep as TimeStep
    from envs.errors import UsageError as UsageError
    from envs.registry import Listing as Listing
    from envs.registry import ids as ids
    from envs.registry import make as make

_HOME = {
    "envs.contract": (
        *("Action", "Array", "Box", "Discrete", "MultiDiscrete"),
        *("Env", "EnvSpec", "HostEnv", "HostMaker", "TimeStep"),
    ),
    "envs.errors": ("UsageError",),
    "envs.registry": ("Listing", "ids", "make"),
    "envs.batch": ("batch",),
}
_WHERE = {name: module for module, names in _HOME.items() for name in names}

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        value = getattr(importlib.import_module(_WHERE[name]), name)
    elif importlib.util.find_spec(f"{__name__}.{name}") is not None:
        value = importlib.import_module(f"{__name__}.{name}")  # `envs.wrappers` without importing it first
    else:
        raise AttributeError(f"module 'envs' has no attribute {name!r}.")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE})


class _Package(types.ModuleType):
    """Keeps `envs.batch` the function: importing its file would otherwise put the module of that name in its place."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value.batch if name == "batch" and isinstance(value, types.ModuleType) else value)


sys.modules[__name__].__class__ = _Package


def _refuse_shadowed_siblings(siblings: tuple[str, ...] = ("agents", "losses", "replay")) -> None:
    """Auxin's four packages have common names: say so at once where another installation took one of them."""
    here = Path(__file__).resolve().parent.parent
    for name in siblings:
        found = importlib.util.find_spec(name)
        origin = found.origin if found else None
        if origin and Path(origin).resolve().parent.parent != here:
            raise ImportError(
                f"Auxin's package {name!r} is shadowed by {Path(origin).parent}: uninstall that one or put {here} "
                "before it in PYTHONPATH."
            )


_refuse_shadowed_siblings()
