"""Generalised advantage estimation."""

import jax

from losses.checks import Scalar, check_floats, check_lambda
from losses.recurrence import backward


def gae(
    value_tm1: jax.Array,
    value_t: jax.Array,
    reward_t: jax.Array,
    discount_t: jax.Array,
    lambda_t: Scalar,
) -> jax.Array:
    """Generalised advantage estimates.

    Schulman et al., "High-Dimensional Continuous Control Using Generalized Advantage Estimation", 2015.

    `A[i] = delta[i] + discount_t[i] * lambda_t[i] * A[i + 1]`, with `A[T] = 0` and
    `delta[i] = reward_t[i] + discount_t[i] * value_t[i] - value_tm1[i]`.

    `A + value_tm1` is the target of the value function (TD(lambda)). No gradient flows into any argument.

    Args:
      value_tm1: `[T]`, value of the state where each step starts.
      value_t: `[T]`, value of its true successor.
      reward_t: `[T]`, in units of reward.
      discount_t: `[T]`, in 0 to 1.
      lambda_t: `[T]` or `[]`, in 0 to 1, and 0 where an episode ends, so that the trace is cut there even if
        `discount_t` is positive.

    Returns:
      Advantages `[T]`, in units of reward.

    Raises:
      AssertionError: if an argument has another rank, shape or dtype.
    """
    check_floats(1, value_tm1, value_t, reward_t, discount_t)
    check_lambda(lambda_t, reward_t)

    delta_t = reward_t + discount_t * value_t - value_tm1
    return jax.lax.stop_gradient(backward(delta_t, discount_t * lambda_t, 0.0))
