"""The contract of a replay buffer: pure functions over a PyTree of storage, on the device or on the host alike."""

from collections.abc import Callable
from typing import Any, NamedTuple


class Buffer(NamedTuple):
    """A buffer as pure functions.

    A state that was passed to `add` or `update` is spent: donate it, and storage is written in place.

    Attributes:
      init: `(item) -> state`: storage for items shaped like `item` (one record, no batch axis). It refuses with a
        `UsageError` what no memory of this machine can hold; `sizes.require_room` asks what is free at the moment.
      add: `(state, items [n, ...], keep=None) -> state`. Buffers of single records leave out those where `keep`, bool
        `[n]`, is false; buffers that need to know which records follow each other take no `keep`.
      sample: `(key, state, n, score=None) -> (batch [n, ...], index [n], weight [n])`; `weight` corrects a sampling
        that is not uniform, 1 otherwise. `score` `[slots]`, at least 0, multiplies the chance of what lies in each slot
        (`index` numbers the slots); `weight` does not correct it. It costs time in proportion to the slots.
      update: `(state, index, values) -> state`: writes priorities, keep-flags or labels; a buffer that has no use for
        `values` returns its state as it is.
      can_sample: `(state, n) -> bool`.
      host: whether the state is NumPy arrays in the machine's own memory. The functions then take and give NumPy arrays
        and are not to be traced, and `sample` takes what `jax.random.key_data` says of a key, in NumPy, as well.
    """

    init: Callable[[Any], Any]
    add: Callable[..., Any]
    sample: Callable[..., tuple[Any, Any, Any]]
    update: Callable[[Any, Any, Any], Any]
    can_sample: Callable[[Any, int], Any]
    host: bool = False
