"""Constrained returns: the Lagrange multiplier, the penalised reward, and how a constrained agent is judged."""

import jax
import jax.numpy as jnp

from losses.checks import STEP_OR_SEQUENCE, Scalar, check_floats


def multiplier_update(multiplier: jax.Array, episode_cost: jax.Array, beta: jax.Array, rate: jax.Array) -> jax.Array:
    """One step of projected gradient ascent on the Lagrange multiplier.

    Tessler, Mankowitz and Mannor, "Reward Constrained Policy Optimization", 2019.

    `multiplier' = max(0, multiplier - rate * (beta - episode_cost))`

    The gradient flows into every argument and is 0 where the multiplier is held at 0: MetaL (Calian et al., "Balancing
    Constraints and Rewards with Meta-Gradient D4PG", 2021) learns `rate` by it.

    Args:
      multiplier: `[C]` for C constraints or `[]`, at least 0, in units of reward per unit of cost.
      episode_cost: the shape of `multiplier`, mean cost of an episode's steps, in 0 to 1.
      beta: the shape of `multiplier`, the mean cost that is allowed.
      rate: the shape of `multiplier`, its learning rate, at least 0.

    Returns:
      New multipliers, the shape of `multiplier`, at least 0.

    Raises:
      AssertionError: if an argument has another rank, shape or dtype.
    """
    check_floats(STEP_OR_SEQUENCE, multiplier, episode_cost, beta, rate)

    return jnp.maximum(multiplier - rate * (beta - episode_cost), 0)


def penalised_reward(reward_t: jax.Array, cost_t: jax.Array, multiplier: Scalar) -> jax.Array:
    """Reward less the price of its cost.

    Tessler, Mankowitz and Mannor, 2019; with a constant `multiplier` it is a penalty shaped by hand.

    `reward_t - multiplier * cost_t`

    Sums of n steps, discounted alike, may stand for both. The gradient flows into every argument, the multiplier's too.

    Args:
      reward_t: `[T]` or `[]`, in units of reward.
      cost_t: the shape of `reward_t`, 1 where the step violates the constraint, else 0 (or a sum of such).
      multiplier: `[]`, at least 0, in units of reward per unit of cost.

    Returns:
      Rewards, the shape of `reward_t`.

    Raises:
      AssertionError: if an argument has another rank, shape or dtype.
    """
    check_floats(STEP_OR_SEQUENCE, reward_t, cost_t)
    check_floats(0, multiplier)

    return reward_t - multiplier * cost_t


def overshoot(episode_cost: jax.Array, beta: Scalar) -> jax.Array:
    """How far a mean cost is above what is allowed.

    Calian et al., 2021.

    `psi = max(0, episode_cost - beta)`

    No gradient flows into any argument: it judges, and trains nothing.

    Args:
      episode_cost: `[T]` or `[]`, mean cost of an episode's steps, or of several episodes, in 0 to 1.
      beta: `[]`, the mean cost that is allowed.

    Returns:
      Overshoots, the shape of `episode_cost`, in 0 to 1.

    Raises:
      AssertionError: if an argument has another rank, shape or dtype.
    """
    check_floats(STEP_OR_SEQUENCE, episode_cost)
    check_floats(0, beta)

    return jax.lax.stop_gradient(jnp.maximum(episode_cost - beta, 0))


def penalised_return(
    episode_return: jax.Array, episode_cost: jax.Array, beta: Scalar, kappa: Scalar = 1000.0
) -> jax.Array:
    """`R_penalized`, by which constrained agents are compared; no agent sees it.

    Calian et al., 2021.

    `episode_return - kappa * overshoot(episode_cost, beta)`

    No gradient flows into any argument.

    Args:
      episode_return: `[T]` or `[]`, undiscounted sum of an episode's rewards, or their mean over episodes.
      episode_cost: the shape of `episode_return`, mean cost per step, in 0 to 1.
      beta: `[]`, the mean cost that is allowed.
      kappa: `[]`, the largest possible return: 1000 for 1000 steps of rewards up to 1, as in the paper.

    Returns:
      Penalised returns, the shape of `episode_return`, in units of reward.

    Raises:
      AssertionError: if an argument has another rank, shape or dtype.
    """
    check_floats(STEP_OR_SEQUENCE, episode_return, episode_cost)
    check_floats(0, kappa)

    return jax.lax.stop_gradient(episode_return - kappa * overshoot(episode_cost, beta))
