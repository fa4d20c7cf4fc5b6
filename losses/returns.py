"""Returns: discounted, n-step and lambda-returns."""

import chex  # type: ignore[import-untyped]
import jax
import jax.numpy as jnp

from losses.checks import Scalar, check_floats, check_lambda
from losses.recurrence import backward


def discounted_returns(reward_t: jax.Array, discount_t: jax.Array, bootstrap_value: Scalar) -> jax.Array:
    """Discounted returns of one trajectory, bootstrapped once, after its last step.

    Sutton and Barto, "Reinforcement Learning: An Introduction", 2018, chapter 3.

    `G[i] = reward_t[i] + discount_t[i] * G[i + 1]`, with `G[T] = bootstrap_value`.

    A termination inside the window cuts the sum, as its discount is 0. A truncation inside it does not: use
    `lambda_returns` with `lambda_t = 1 - last` there. No gradient flows into any argument.

    Args:
      reward_t: `[T]`, in units of reward.
      discount_t: `[T]`, in 0 to 1.
      bootstrap_value: `[]`, value of the state after the last step; 0.0 for none.

    Returns:
      Returns `[T]`, in units of reward.

    Raises:
      AssertionError: if an argument has another rank, shape or dtype.
    """
    check_floats(1, reward_t, discount_t)
    check_floats(0, bootstrap_value)

    return jax.lax.stop_gradient(backward(reward_t, discount_t, bootstrap_value))


def lambda_returns(value_t: jax.Array, reward_t: jax.Array, discount_t: jax.Array, lambda_t: Scalar) -> jax.Array:
    """Lambda-returns: the geometric mixture of all bootstrapped n-step returns.

    Sutton, "Learning to Predict by the Methods of Temporal Differences", 1988; with a `lambda_t` per step as in Sutton
    and Barto, 2018, chapter 12.

    `G[i] = reward_t[i] + discount_t[i] * ((1 - lambda_t[i]) * value_t[i] + lambda_t[i] * G[i + 1])`, with
    `G[T] = value_t[T - 1]`.

    With `lambda_t = 1 - last` this is the longest bootstrapped return within each episode. No gradient flows into any
    argument.

    Args:
      value_t: `[T]`, value of the true successor of each step.
      reward_t: `[T]`, in units of reward.
      discount_t: `[T]`, in 0 to 1.
      lambda_t: `[T]` or `[]`, in 0 to 1, and 0 where an episode ends.

    Returns:
      Returns `[T]`, in units of reward.

    Raises:
      AssertionError: if an argument has another rank, shape or dtype.
    """
    check_floats(1, value_t, reward_t, discount_t)
    check_lambda(lambda_t, reward_t)

    one_step = reward_t + discount_t * (1 - lambda_t) * value_t
    return jax.lax.stop_gradient(backward(one_step, discount_t * lambda_t, value_t[-1]))


def n_step_returns(
    value_t: jax.Array, reward_t: jax.Array, discount_t: jax.Array, lambda_t: Scalar, n: int
) -> jax.Array:
    """Bootstrapped n-step returns, shorter where an episode or the window ends before.

    Watkins, "Learning from Delayed Rewards", 1989; Sutton and Barto, 2018, chapter 7.

    `G_1[i] = reward_t[i] + discount_t[i] * value_t[i]` and
    `G_n[i] = reward_t[i] + discount_t[i] * ((1 - lambda_t[i]) * value_t[i] + lambda_t[i] * G_{n-1}[i + 1])`, with
    `G_n[T] = value_t[T - 1]`.

    `lambda_t = 1 - last` gives the plain n-step return. No gradient flows into any argument.

    Args:
      value_t: `[T]`, value of the true successor of each step.
      reward_t: `[T]`, in units of reward.
      discount_t: `[T]`, in 0 to 1.
      lambda_t: `[T]` or `[]`, in 0 to 1, and 0 where an episode ends.
      n: number of steps, at least 1; static under `jit`, where the loop over it is unrolled.

    Returns:
      Returns `[T]`, in units of reward.

    Raises:
      AssertionError: if an argument has another rank, shape or dtype, or if `n` is below 1.
    """
    check_floats(1, value_t, reward_t, discount_t)
    check_lambda(lambda_t, reward_t)
    chex.assert_scalar_positive(n)

    returns = reward_t + discount_t * value_t
    for _ in range(min(n, len(reward_t)) - 1):  # beyond T steps every return ends at the window
        later = jnp.concatenate([returns[1:], value_t[-1:]])
        returns = reward_t + discount_t * ((1 - lambda_t) * value_t + lambda_t * later)
    return jax.lax.stop_gradient(returns)
