"""A ring of records on the device, the newest in the place of the oldest, written in place.

`Ring.items` has a margin of some rows before its first slot and after its last: a batch that runs over the end is then
written whole, twice, once from its place on and once from a place before the start, and what does not belong there
falls into the margins. Two contiguous writes are several times faster than a scatter on a CPU, and never need to read
what they must leave alone.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from envs.errors import UsageError


class Ring(NamedTuple):
    """Records, where the next one goes, and how many there are.

    Attributes:
      items: PyTree of `[margin + capacity + margin, ...]`.
      place: int32, the slot of the next record.
      size: int32, the slots in use, at most the capacity.
    """

    items: Any
    place: jax.Array
    size: jax.Array


def margin(capacity: int) -> int:
    """Rows on either side; batches up to this length are written in one piece."""
    return max(1, capacity // 64)


def zeros(item: Any, capacity: int) -> Ring:
    """An empty ring for records like `item`."""
    rows = capacity + 2 * margin(capacity)
    items = jax.tree.map(lambda leaf: jnp.zeros((rows, *jnp.shape(leaf)), jnp.result_type(leaf)), item)
    return Ring(items, jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))


def count(items: Any) -> int:
    """The length of the batch axis, which is the first."""
    return jax.tree.leaves(items)[0].shape[0]


def places(ring: Ring, items: Any, capacity: int, keep: jax.Array | None) -> jax.Array:
    """The slots that `items` go to, int32 `[n]`; those that are not kept go to `outside`.

    Raises:
      UsageError: for more records than the ring has slots.
    """
    n = count(items)
    if n > capacity:
        raise UsageError(f"{n} records are added at once, and the buffer holds {capacity}: take a larger capacity.")
    if keep is None:
        return (ring.place + jnp.arange(n, dtype=jnp.int32)) % capacity
    order = jnp.cumsum(keep, dtype=jnp.int32) - 1
    return jnp.where(keep, (ring.place + order) % capacity, outside(capacity))


def outside(capacity: int) -> int:
    """A slot that there is not, beyond the margin too."""
    return capacity + margin(capacity)


def add(ring: Ring, items: Any, capacity: int, slots: jax.Array, keep: jax.Array | None) -> Ring:
    """The ring with `items` `[n, ...]` in `slots`, as `places` gave them."""
    n, edge = count(items), margin(capacity)

    def write(old: jax.Array, new: jax.Array) -> jax.Array:
        new = new.astype(old.dtype)
        if keep is not None or n > edge:
            return old.at[edge + slots].set(new, mode="drop")
        old = jax.lax.dynamic_update_slice_in_dim(old, new, edge + ring.place, 0)
        return jax.lax.dynamic_update_slice_in_dim(old, new, jnp.maximum(0, edge + ring.place - capacity), 0)

    added = n if keep is None else keep.sum(dtype=jnp.int32)
    return Ring(
        items=jax.tree.map(write, ring.items, items),
        place=(ring.place + added) % capacity,
        size=jnp.minimum(ring.size + added, capacity),
    )


def take(ring: Ring, capacity: int, slots: jax.Array) -> Any:
    """The records in `slots`, `[n, ...]`."""
    rows = margin(capacity) + slots
    return jax.tree.map(lambda leaf: leaf.at[rows].get(mode="clip"), ring.items)


def records(ring: Ring, capacity: int) -> Any:
    """All slots in order, `[capacity, ...]`, without the margins."""
    edge = margin(capacity)
    return jax.tree.map(lambda leaf: leaf[edge : edge + capacity], ring.items)
