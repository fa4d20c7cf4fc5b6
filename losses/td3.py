"""TD3: the target policy's smoothed action and the target of two critics."""

import jax
import jax.numpy as jnp

from losses.checks import VECTOR_OR_VECTORS, Scalar, check_floats
from losses.td import td_target


def td3_smoothed_action(
    action_t: jax.Array, noise_t: jax.Array, noise_clip: Scalar, low: Scalar, high: Scalar
) -> jax.Array:
    """Action of the target policy with bounded noise, so that a critic's narrow peak is worth little.

    Fujimoto, van Hoof and Meger, "Addressing Function Approximation Error in Actor-Critic Methods", 2018, equation 14.

    `clip(action_t + clip(noise_t, -noise_clip, noise_clip), low, high)`

    No gradient flows into any argument.

    Args:
      action_t: `[T, A]` or `[A]`, the target policy's.
      noise_t: the shape of `action_t`, in units of the action; a normal draw times 0.2 in the paper.
      noise_clip: `[]`, at least 0, in units of the action; 0.5 in the paper.
      low: `[A]` or `[]`, lower bounds of actions.
      high: the shape of `low`, upper bounds.

    Returns:
      Actions, the shape of `action_t`.

    Raises:
      AssertionError: if an argument has another rank, shape or dtype.
    """
    check_floats(VECTOR_OR_VECTORS, action_t, noise_t)
    check_floats(0, noise_clip)
    check_floats({0, 1}, low, high)
    if jnp.ndim(low) and jnp.shape(low) != action_t.shape[-1:]:
        raise AssertionError(f"Bounds {jnp.shape(low)} do not fit actions {action_t.shape}.")

    noise_t = jnp.clip(noise_t, -noise_clip, noise_clip)
    return jax.lax.stop_gradient(jnp.clip(action_t + noise_t, low, high))


def td3_target(q_t: jax.Array, reward_t: jax.Array, discount_t: jax.Array) -> jax.Array:
    """Target of several critics: the least of their values, which no critic's error lifts.

    Fujimoto, van Hoof and Meger, 2018, equation 10 (clipped double Q-learning).

    `y = reward_t + discount_t * min_k q_t[k]`, and for n steps as in `td_target`.

    No gradient flows into any argument.

    Args:
      q_t: `[T, K]` or `[K]`, the K target critics at the true successor and the smoothed action, in units of reward.
      reward_t: `[T]` or `[]`, in units of reward.
      discount_t: the shape of `reward_t`, in 0 to 1.

    Returns:
      Targets, the shape of `reward_t`, in units of reward.

    Raises:
      AssertionError: if an argument has another rank, shape or dtype.
    """
    check_floats(VECTOR_OR_VECTORS, q_t)

    return td_target(jnp.min(q_t, axis=-1), reward_t, discount_t)
