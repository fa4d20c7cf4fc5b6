"""What a buffer will take of the memory, before any of it is allocated, and the refusal of one that does not fit."""

import math
from collections.abc import Callable
from typing import Any

import jax
import psutil  # type: ignore[import-untyped]

from envs.errors import UsageError
from replay.buffer import Buffer


def size_of(tree: Any) -> int:
    """Bytes of a PyTree of arrays, or of their shapes and dtypes."""
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def state_size(buffer: Buffer, item: Any) -> int:
    """Bytes that the state of `buffer` takes for records like `item`; nothing is allocated."""
    return size_of(jax.eval_shape(buffer.init, item))


def words(number: int) -> str:
    """Bytes as people read them (powers of ten): `612 MB`, `1.3 GB`."""
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if number >= 0.9995 * unit:
            return f"{number / unit:.0f} MB" if name == "MB" else f"{number / unit:.1f} {name}"
    return f"{number / 1e3:.0f} kB"


def room(*, host: bool = False, total: bool = False) -> int:
    """Bytes that are free now, or that there are in all, on the default device or (`host`) in this machine's memory.

    A device that does not tell, such as the CPU, has the machine's memory.
    """
    stats = None if host else jax.local_devices()[0].memory_stats()
    if not stats or "bytes_limit" not in stats:
        memory = psutil.virtual_memory()
        return memory.total if total else memory.available
    return stats["bytes_limit"] if total else stats["bytes_limit"] - stats.get("bytes_in_use", 0)


def require_room(wanted: int, *, host: bool = False, total: bool = False) -> None:
    """Refuses `wanted` bytes that are more than `room` has.

    Ask right before the storage is allocated; `total` may be asked at any time, while a program is traced too.

    Raises:
      UsageError: with both numbers.
    """
    there = room(host=host, total=total)
    if wanted > there:
        have = "there are only" if total else "of which are free only"
        raise UsageError(f"the replay buffer takes {words(wanted)} of memory, {have} {words(there)}: lower its size.")


def checked(init: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """`init` of a buffer on the device, which refuses what the device can never hold."""

    def first(item: Any) -> Any:
        require_room(size_of(jax.eval_shape(init, item)), total=True)
        return init(item)

    return first
