"""The contract of a replay buffer: pure functions over a PyTree of storage, on the device or on the host alike."""

from collections.abc import Callable
from typing import Any, NamedTuple


class Buffer(NamedTuple):
    """A buffer as pure functions.

    Attributes:
      init: `(item) -> state`: storage for items shaped like `item` (one record, no batch axis).
      add: `(state, items [n, ...]) -> state`.
      sample: `(key, state, n, score=None) -> (batch [n, ...], index [n], weight [n])`; `weight` corrects a sampling
        that is not uniform, 1 otherwise.
      update: `(state, index, values) -> state`: writes priorities, keep-flags or labels.
      can_sample: `(state, n) -> bool`.
    """

    init: Callable[[Any], Any]
    add: Callable[[Any, Any], Any]
    sample: Callable[..., tuple[Any, Any, Any]]
    update: Callable[[Any, Any, Any], Any]
    can_sample: Callable[[Any, int], Any]
