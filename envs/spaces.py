"""Gymnasium's spaces in Auxin's words: what an observation and an action are, and how an action is handed back.

Only small dtypes leave an engine: float64 becomes float32 and int64 becomes int32.
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from envs.contract import Action, Array, Box, Discrete, MultiDiscrete, PyTree
from envs.errors import UsageError


def array_of(space: gymnasium.Space[Any]) -> PyTree:
    """The PyTree of `Array` of an observation space; `Dict` becomes a dict and `Tuple` a tuple.

    Raises:
      UsageError: for a space that has no fixed shape (text, graphs, sequences).
    """
    match space:
        case spaces.Dict():
            return {key: array_of(part) for key, part in space.spaces.items()}
        case spaces.Tuple():
            return tuple(array_of(part) for part in space.spaces)
        case spaces.Box():
            return Array(tuple(space.shape), _small(space.dtype), _bound(space.low.min()), _bound(space.high.max()))
        case spaces.Discrete():
            return Array((), "int32", float(space.start), float(space.start + space.n - 1))
        case spaces.MultiDiscrete():
            high = space.start + space.nvec - 1
            return Array(tuple(space.shape), "int32", float(space.start.min()), float(high.max()))
        case spaces.MultiBinary():
            return Array(tuple(space.shape), "int8", 0.0, 1.0)
    raise UsageError(f"observations of the space {type(space).__name__} have no fixed shape and cannot be used.")


def action_of(space: gymnasium.Space[Any]) -> Action:
    """The action of an action space; a box is flattened to one axis.

    Raises:
      UsageError: for a box without bounds, and for any space but Discrete, MultiDiscrete, MultiBinary and Box.
    """
    match space:
        case spaces.Discrete():
            return Discrete(int(space.n))
        case spaces.MultiDiscrete():
            return MultiDiscrete(tuple(int(n) for n in space.nvec.flat))
        case spaces.MultiBinary():
            return MultiDiscrete((2,) * int(np.prod(space.shape)))
        case spaces.Box():
            if not space.is_bounded():
                raise UsageError("its actions are a box without bounds: wrap it so that every action has both bounds.")
            return Box(tuple(map(float, space.low.flat)), tuple(map(float, space.high.flat)))
    raise UsageError(f"actions of the space {type(space).__name__} cannot be chosen by an agent.")


def acted(space: gymnasium.Space[Any], action: np.ndarray) -> Any:
    """An action of `action_of(space)` in the space's own shape, dtype and numbering."""
    match space:
        case spaces.Discrete():
            return int(action + space.start)
        case spaces.MultiDiscrete():
            return (np.reshape(action, space.shape) + space.start).astype(space.dtype)
    return np.reshape(action, space.shape or ()).astype(space.dtype)


def _small(dtype: Any) -> str:
    return {"float64": "float32", "int64": "int32", "uint64": "uint32"}.get(np.dtype(dtype).name, np.dtype(dtype).name)


def _bound(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
