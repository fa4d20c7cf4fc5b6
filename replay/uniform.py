"""Uniform: the latest records in a ring, each as likely as any other (Lin, 1992)."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from replay import ring, sizes, sum_tree
from replay.buffer import Buffer
from replay.options import build, require
from replay.ring import Ring


@dataclass(frozen=True)
class Config:
    """Options of the uniform buffer."""

    capacity: int = 1_000_000
    """Records that are kept."""

    def __post_init__(self):
        require(self.capacity >= 1, "capacity", self.capacity, "at least 1")


def make(**options: Any) -> Buffer:
    """The latest `capacity` records, drawn uniformly with replacement; all weights are 1.

    The state is a `Ring`; `index` is a record's slot, int32 `[n]`; `update` changes nothing.

    Raises:
      UsageError: for options that are unknown or out of range, and where `add` gets more than `capacity` records.
    """
    capacity = build(Config, options).capacity

    def init(item: Any) -> Ring:
        return ring.zeros(item, capacity)

    def add(state: Ring, items: Any, keep: jax.Array | None = None) -> Ring:
        return ring.add(state, items, capacity, ring.places(state, items, capacity, keep), keep)

    def sample(key: jax.Array, state: Ring, n: int, score: jax.Array | None = None):
        if score is None:
            # A third of the time of `randint`; chances differ by less than a share of capacity / 2 ** 32.
            index = (jax.random.bits(key, (n,)) % state.size.astype(jnp.uint32)).astype(jnp.int32)
        else:
            held = jnp.arange(capacity) < state.size
            index, _ = sum_tree.draw(key, sum_tree.build(jnp.where(held, score, 0.0)), capacity, n)
        return ring.take(state, capacity, index), index, jnp.ones(n)

    def update(state: Ring, index: jax.Array, values: Any) -> Ring:
        return state

    return Buffer(sizes.checked(init), add, sample, update, lambda state, n: state.size >= n)
