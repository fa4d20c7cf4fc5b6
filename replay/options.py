"""Options of buffers: building a config from keyword arguments, and range checks. Imports nothing heavy."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from envs.errors import UsageError, nearest

T = TypeVar("T")


def build(config: type[T], options: Mapping[str, Any]) -> T:
    """An instance of a config dataclass.

    Raises:
      UsageError: for an unknown option, or whatever `__post_init__` refuses.
    """
    known = [field.name for field in dataclasses.fields(config)]  # type: ignore[arg-type]
    for name in options:
        if name not in known:
            raise UsageError(f"there is no option {name!r}: {nearest(name, known)}")
    return config(**options)


def require(condition: bool, field: str, value: object, rule: str) -> None:
    """Raises `UsageError` unless `condition`: `require(x > 0, "x", x, "above 0")` says "x must be above 0, not -1."."""
    if not condition:
        raise UsageError(f"{field} must be {rule}, not {value}.")
