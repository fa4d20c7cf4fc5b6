"""Long forwards a few steps at a time: a wide one-hot of a whole unroll would leave the cache."""

from collections.abc import Callable

import jax

from envs.contract import PyTree

ROWS = 2048  # observations that are read at once


def over_time(function: Callable[[PyTree], PyTree], tree: PyTree) -> PyTree:
    """`function(tree)` of arrays `[T, B, ...]` to arrays `[T, B, ...]` whose steps do not depend on one another.

    Pieces are as many steps as divide `T` evenly and have at most `ROWS` rows, one after the other.
    """
    steps, n = jax.tree.leaves(tree)[0].shape[:2]
    size = next(size for size in range(max(1, min(steps, ROWS // n)), 0, -1) if steps % size == 0)
    if size == steps:
        return function(tree)
    split = jax.tree.map(lambda leaf: leaf.reshape(steps // size, size, *leaf.shape[1:]), tree)
    return jax.tree.map(lambda leaf: leaf.reshape(steps, *leaf.shape[2:]), jax.lax.map(function, split))
