"""The one recursion under returns, GAE and V-trace."""

import jax
import jax.numpy as jnp

from losses.checks import Scalar


def _step(later: jax.Array, now: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    increment, decay = now
    x = increment + decay * later
    return x, x


def backward(increment_t: jax.Array, decay_t: jax.Array, final: Scalar) -> jax.Array:
    """Solves a first-order linear recursion backwards in time.

    `x[i] = increment_t[i] + decay_t[i] * x[i + 1]`, with `x[T] = final`.

    Args:
      increment_t: `[T]`, `T >= 1`.
      decay_t: `[T]`.
      final: `[]`.

    Returns:
      `x`, `[T]`.
    """
    # The last step is taken outside: the carry then has the dtype, and under `shard_map` the varying axes, of the data.
    last = jnp.asarray(increment_t[-1] + decay_t[-1] * final)
    _, earlier = jax.lax.scan(_step, last, (increment_t[:-1], decay_t[:-1]), reverse=True)
    return jnp.concatenate([earlier, last[None]])
