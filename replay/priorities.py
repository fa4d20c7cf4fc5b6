"""Priorities and the correction of the bias that they bring, as the prioritised buffers share them."""

import jax
import jax.numpy as jnp

EPSILON = 1e-6  # added to every priority, so that no record is lost for ever


def chances(values: jax.Array, alpha: float, largest: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`(|value| + 1e-6) ** alpha` `[n]`, and the largest so far; a value that is not finite counts as the largest."""
    chance = (jnp.abs(values).astype(jnp.float32) + EPSILON) ** alpha
    finite = jnp.isfinite(chance)
    largest = jnp.maximum(largest, jnp.where(finite, chance, 0.0).max())
    return jnp.where(finite, chance, largest), largest


def weights(chance: jax.Array, beta: jax.Array | float) -> jax.Array:
    """`(N P)^-beta` over the largest of the sample `[n]`, of `P` in proportion to `chance`; `N` and the sum cancel."""
    return (chance.min() / chance) ** beta


def write(stored: jax.Array, slots: jax.Array, values: jax.Array) -> jax.Array:
    """Writes `values` `[n]` into float32 `[slots]`, all at least 0; of several for one slot the last counts.

    The order in which a scatter writes is nobody's promise, but a minimum does not depend on it: the storage first
    takes a negative number that tells the last value for each slot, and then that value.
    """
    mark = -1.0 - jnp.arange(slots.shape[0], dtype=jnp.float32)
    stored = stored.at[slots].min(mark, mode="drop")
    winner = (-1.0 - stored.at[slots].get(mode="fill", fill_value=-1.0)).astype(jnp.int32)
    return stored.at[slots].set(values[winner], mode="drop")
