"""Temporal differences of action values: targets of one or of n steps, errors, and DQN's clipped loss."""

import chex  # type: ignore[import-untyped]
import jax
import jax.numpy as jnp

from losses.checks import STEP_OR_SEQUENCE, VECTOR_OR_VECTORS, Scalar, check_floats, check_shapes
from losses.value import huber_value


def td_target(value_t: jax.Array, reward_t: jax.Array, discount_t: jax.Array) -> jax.Array:
    """Target of a value or of a critic.

    Sutton, "Learning to Predict by the Methods of Temporal Differences", 1988; Lillicrap et al., "Continuous Control
    with Deep Reinforcement Learning", 2016, whose `value_t` is the target critic's at the target policy's action.

    `y = reward_t + discount_t * value_t`

    For n steps `reward_t` is their discounted sum, `discount_t` the product of their discounts and `value_t` that of
    the state after them. No gradient flows into any argument.

    Args:
      value_t: `[T]` or `[]`, value of the true successor, in units of reward.
      reward_t: the shape of `value_t`, in units of reward.
      discount_t: the shape of `value_t`, in 0 to 1.

    Returns:
      Targets, the shape of `value_t`, in units of reward.

    Raises:
      AssertionError: if an argument has another rank, shape or dtype.
    """
    check_floats(STEP_OR_SEQUENCE, value_t, reward_t, discount_t)

    return jax.lax.stop_gradient(reward_t + discount_t * value_t)


def q_learning_target(q_t: jax.Array, reward_t: jax.Array, discount_t: jax.Array) -> jax.Array:
    """Target of Q-learning.

    Watkins, "Learning from Delayed Rewards", 1989; with a target network as `q_t`: Mnih et al., "Human-level Control
    through Deep Reinforcement Learning", 2015.

    `y = reward_t + discount_t * max_a q_t[a]`, and for n steps as in `td_target`.

    No gradient flows into any argument.

    Args:
      q_t: `[T, A]` or `[A]`, action values of the true successor, in units of reward.
      reward_t: `[T]` or `[]`, in units of reward.
      discount_t: the shape of `reward_t`, in 0 to 1.

    Returns:
      Targets, the shape of `reward_t`, in units of reward.

    Raises:
      AssertionError: if an argument has another rank, shape or dtype.
    """
    return double_q_target(q_t, q_t, reward_t, discount_t)


def double_q_target(q_t: jax.Array, q_selector_t: jax.Array, reward_t: jax.Array, discount_t: jax.Array) -> jax.Array:
    """Target of double Q-learning: one estimate chooses the action, the other values it.

    van Hasselt, Guez and Silver, "Deep Reinforcement Learning with Double Q-learning", 2016.

    `y = reward_t + discount_t * q_t[argmax_a q_selector_t[a]]`, and for n steps as in `td_target`.

    The first of equal actions is chosen. No gradient flows into any argument.

    Args:
      q_t: `[T, A]` or `[A]`, action values of the true successor by the target network, in units of reward.
      q_selector_t: the shape of `q_t`, by the network that is trained.
      reward_t: `[T]` or `[]`, in units of reward.
      discount_t: the shape of `reward_t`, in 0 to 1.

    Returns:
      Targets, the shape of `reward_t`, in units of reward.

    Raises:
      AssertionError: if an argument has another rank, shape or dtype.
    """
    check_floats(VECTOR_OR_VECTORS, q_t, q_selector_t)

    return td_target(_taken(q_t, jnp.argmax(q_selector_t, axis=-1)), reward_t, discount_t)


def td_error(q_tm1: jax.Array, action_tm1: jax.Array, target_tm1: jax.Array) -> jax.Array:
    """How far the target is above the value of the action that was taken; its size is the priority of a replay.

    Mnih et al., 2015; Schaul et al., "Prioritized Experience Replay", 2016.

    `error = target_tm1 - q_tm1[action_tm1]`

    The gradient flows into `q_tm1` only; `target_tm1` is a constant.

    Args:
      q_tm1: `[T, A]` or `[A]`, action values of the state where each step starts, in units of reward.
      action_tm1: `[T]` or `[]`, integers in 0 to A - 1.
      target_tm1: the shape of `action_tm1`, in units of reward.

    Returns:
      Errors, the shape of `target_tm1`, in units of reward.

    Raises:
      AssertionError: if an argument has another rank, shape or dtype.
    """
    check_floats(VECTOR_OR_VECTORS, q_tm1)
    q_tm1 = _taken(q_tm1, action_tm1)
    check_floats(STEP_OR_SEQUENCE, q_tm1, target_tm1)

    return jax.lax.stop_gradient(target_tm1) - q_tm1


def huber_td(q_tm1: jax.Array, action_tm1: jax.Array, target_tm1: jax.Array, delta: Scalar = 1.0) -> jax.Array:
    """Huber loss of the temporal-difference error, one per element: DQN's loss with its error clipped.

    Mnih et al., 2015: to clip the error in the update to -1..1 is to follow this loss with `delta = 1`.

    `loss = e^2 / 2` where `|e| <= delta`, else `delta * (|e| - delta / 2)`, with `e` of `td_error`.

    The gradient flows into `q_tm1` only, at the action taken. The caller weights and averages.

    Args:
      q_tm1: `[T, A]` or `[A]`, action values of the state where each step starts, in units of reward.
      action_tm1: `[T]` or `[]`, integers in 0 to A - 1.
      target_tm1: the shape of `action_tm1`, in units of reward.
      delta: `[]`, positive, where the loss turns linear, in units of reward; infinite for the squared loss.

    Returns:
      Losses, the shape of `target_tm1`, in units of reward squared.

    Raises:
      AssertionError: if an argument has another rank, shape or dtype.
    """
    check_floats(VECTOR_OR_VECTORS, q_tm1)

    return huber_value(_taken(q_tm1, action_tm1), target_tm1, delta)


def _taken(q: jax.Array, action: jax.Array) -> jax.Array:
    chex.assert_type(action, int)
    check_shapes(action, q[..., 0])
    return jnp.take_along_axis(q, action[..., None], axis=-1)[..., 0]
