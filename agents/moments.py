"""Moving mean and variance of a stream of batches, by which advantages and bonuses are standardised."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Moments(NamedTuple):
    """A mean and a variance, float32 `[]` each."""

    mean: jax.Array
    variance: jax.Array


def first() -> Moments:
    """The moments before the first batch: mean 0 and variance 1."""
    return Moments(jnp.zeros(()), jnp.ones(()))


def advance(moments: Moments, x: jax.Array, momentum: float) -> Moments:
    """The moments after a batch `x` of any shape, `m' = k m + (1 - k) mean(x)`, `v' = k v + (1 - k) mean((x - m')^2)`.

    Squares are taken from the new mean, as in the released code of DEIR (Wan et al., 2023); `momentum` `k` 0 gives the
    moments of the batch alone.
    """
    mean = momentum * moments.mean + (1 - momentum) * x.mean()
    variance = momentum * moments.variance + (1 - momentum) * jnp.square(x - mean).mean()
    return Moments(mean, variance)


def standardised(x: jax.Array, moments: Moments, epsilon: float = 1e-5) -> jax.Array:
    """`(x - m) / (sqrt(v) + epsilon)`, of the shape of `x`."""
    return (x - moments.mean) / (jnp.sqrt(moments.variance) + epsilon)
