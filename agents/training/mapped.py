"""Branches that cost nothing where they are not taken, for several seeds that are updated side by side too."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from envs.contract import PyTree

AXIS = "seeds"  # the name of the mapped axis


def agreed(flag: jax.Array) -> jax.Array:
    """A flag that is the same for all seeds, as one that is not mapped.

    Of a `cond` that is mapped `vmap` takes both sides, and copies a whole buffer to choose between the two.
    """
    return _over(jax.lax.pmin, flag)


def wanted(flag: jax.Array) -> jax.Array:
    """Whether any seed wants it, not mapped; each then chooses by its own flag between what was done and what was."""
    return _over(jax.lax.pmax, flag)


def when(flag: jax.Array, change: Callable[[PyTree], PyTree], carry: PyTree) -> PyTree:
    """`change(carry)` where the flag is set, else `carry`; a loop of one round or none.

    XLA writes what a loop carries in place, but copies what a `cond` hands through or returns, which takes longer than
    anything else where it is a buffer. Seeds side by side must agree on the flag.
    """
    return jax.lax.fori_loop(0, agreed(flag).astype(jnp.int32), lambda _, carry: change(carry), carry)


def _over(join, flag: jax.Array) -> jax.Array:
    try:
        return join(flag.astype(jnp.int32), AXIS) > 0
    except NameError:  # no axis of that name: a single seed
        return flag
