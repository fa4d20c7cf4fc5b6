"""The deterministic policy gradient."""

import jax
import jax.numpy as jnp

from losses.checks import VECTOR_OR_VECTORS, Scalar, check_floats


def dpg_loss(action_t: jax.Array, dqda_t: jax.Array, max_norm: Scalar = float("inf")) -> jax.Array:
    """Loss whose slope in the action is the critic's, reversed and held within a norm; one per element.

    Silver et al., "Deterministic Policy Gradient Algorithms", 2014; the norm of each action's gradient is clipped in
    D4PG (Barth-Maron et al., 2018).

    `loss = |g|^2 / 2`, `d loss / d action_t = -g`, `g = dqda_t * min(1, max_norm / |dqda_t|)`

    The gradient flows into `action_t` only; `dqda_t` is a constant, and the critic's parameters with it. The caller
    averages.

    Args:
      action_t: `[T, A]` or `[A]`, the policy's action.
      dqda_t: the shape of `action_t`, gradient of the critic's value in the action, there.
      max_norm: `[]`, positive, bound of the Euclidean norm of each action's gradient.

    Returns:
      Losses `[T]` or `[]`.

    Raises:
      AssertionError: if an argument has another rank, shape or dtype.
    """
    check_floats(VECTOR_OR_VECTORS, action_t, dqda_t)
    check_floats(0, max_norm)

    norm = jnp.linalg.norm(dqda_t, axis=-1, keepdims=True)
    slope = jax.lax.stop_gradient(dqda_t * jnp.where(norm > max_norm, max_norm / norm, 1))
    # Exactly 0, with a slope of -1: adding the action itself would round small gradients away.
    zero = jax.lax.stop_gradient(action_t) - action_t
    return jnp.sum(jnp.square(slope + zero), axis=-1) / 2
