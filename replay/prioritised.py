"""Prioritised: records are drawn in proportion to a priority, such as their last error (Schaul et al., 2016)."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from replay import priorities, ring, sizes, sum_tree
from replay.buffer import Buffer
from replay.options import build, require
from replay.ring import Ring

# ------------------------------------------------------------------------------------------------------- CONFIG


@dataclass(frozen=True)
class Config:
    """Options of the prioritised buffer."""

    capacity: int = 1_000_000
    """Records that are kept."""
    alpha: float = 0.6
    """Power of the priorities: 0 draws uniformly, 1 in proportion to them."""
    beta: float = 0.4
    """Power of the importance weights: 0 corrects nothing, 1 all of the bias."""
    anneal: int = 0
    """Records over whose addition beta rises to 1 in a straight line; 0 keeps it as it is."""

    def __post_init__(self):
        require(self.capacity >= 1, "capacity", self.capacity, "at least 1")
        require(self.alpha >= 0, "alpha", self.alpha, "at least 0")
        require(0 <= self.beta <= 1, "beta", self.beta, "between 0 and 1")
        require(0 <= self.anneal < 2**30, "anneal", self.anneal, "between 0 and 2 ** 30")


# --------------------------------------------------------------------------------------------------------- STATE


class Prioritised(NamedTuple):
    """What the buffer holds.

    Attributes:
      ring: the records.
      tree: `p ** alpha` of every slot, 0 where it is empty, and their sums, as `sum_tree` lays them out.
      largest: float32, the largest `p ** alpha` so far, 1 before the first.
      annealed: int32, the records added so far, at most `anneal`.
    """

    ring: Ring
    tree: jax.Array
    largest: jax.Array
    annealed: jax.Array


# ---------------------------------------------------------------------------------------------------------- MAKE


def make(**options: Any) -> Buffer:
    """The latest `capacity` records, drawn independently, with replacement, in proportion to their priorities.

    Schaul et al., "Prioritized Experience Replay", 2016: `P(i) = p_i^alpha / sum_k p_k^alpha`, where
    `p_i = |value_i| + 1e-6` of the latest `update`. New records have the largest priority seen, so that each is
    likely to be drawn soon. The weights are `(N P(i))^-beta`, divided by the largest of the sample. The paper draws one
    record from each of `n` equal shares of the sum; here draws are independent, for strata would sort a sample by age.

    The state is a `Prioritised`; `index` is a record's slot, int32 `[n]`. Of several values for one slot the last
    counts, and one that is not finite counts as the largest.

    Raises:
      UsageError: for options that are unknown or out of range, and where `add` gets more than `capacity` records.
    """
    config = build(Config, options)
    capacity = config.capacity

    def init(item: Any) -> Prioritised:
        return Prioritised(ring.zeros(item, capacity), sum_tree.zeros(capacity), jnp.ones(()), jnp.zeros((), jnp.int32))

    def add(state: Prioritised, items: Any, keep: jax.Array | None = None) -> Prioritised:
        slots = ring.places(state.ring, items, capacity, keep)
        held = ring.add(state.ring, items, capacity, slots, keep)
        leaves = slots if keep is None else jnp.where(keep, slots, sum_tree.outside(capacity))
        tree = sum_tree.put(state.tree, capacity, leaves, jnp.broadcast_to(state.largest, leaves.shape), unique=True)
        added = ring.count(items) if keep is None else keep.sum(dtype=jnp.int32)
        return state._replace(ring=held, tree=tree, annealed=jnp.minimum(state.annealed + added, config.anneal))

    def sample(key: jax.Array, state: Prioritised, n: int, score: jax.Array | None = None):
        if score is None:
            index, chance = sum_tree.draw(key, state.tree, capacity, n)
        else:
            chances = sum_tree.weights(state.tree, capacity)
            index, _ = sum_tree.draw(key, sum_tree.build(chances * score), capacity, n)
            chance = chances[index]
        beta = config.beta + (1 - config.beta) * state.annealed / max(1, config.anneal)
        return ring.take(state.ring, capacity, index), index, priorities.weights(chance, beta)

    def update(state: Prioritised, index: jax.Array, values: jax.Array) -> Prioritised:
        chance, largest = priorities.chances(values, config.alpha, state.largest)
        return state._replace(tree=sum_tree.put(state.tree, capacity, index, chance), largest=largest)

    return Buffer(sizes.checked(init), add, sample, update, lambda state, n: state.ring.size >= n)
