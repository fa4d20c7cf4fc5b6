"""Soft actor-critic: the critics' target, the policy's loss, and the temperature's."""

import jax
import jax.numpy as jnp

from losses.checks import STEP_OR_SEQUENCE, VECTOR_OR_VECTORS, Scalar, check_floats, check_shapes
from losses.td import td_target


def sac_target(
    q_t: jax.Array, logp_t: jax.Array, reward_t: jax.Array, discount_t: jax.Array, alpha: Scalar
) -> jax.Array:
    """Target of soft critics: the least of their values, and the entropy of the action.

    Haarnoja et al., "Soft Actor-Critic Algorithms and Applications", 2019, equation 3; the least of two critics is
    that of Fujimoto, van Hoof and Meger, "Addressing Function Approximation Error in Actor-Critic Methods", 2018.

    `y = reward_t + discount_t * (min_k q_t[k] - alpha * logp_t)`

    For n steps `reward_t` is their discounted sum and `discount_t` the product of their discounts: the entropy of the
    actions in between is then not paid. No gradient flows into any argument.

    Args:
      q_t: `[T, K]` or `[K]`, the K target critics at the true successor and an action drawn there, in units of reward.
      logp_t: `[T]` or `[]`, log-probability of that action, in nats.
      reward_t: the shape of `logp_t`, in units of reward.
      discount_t: the shape of `logp_t`, in 0 to 1.
      alpha: `[]`, temperature, in units of reward per nat.

    Returns:
      Targets, the shape of `logp_t`, in units of reward.

    Raises:
      AssertionError: if an argument has another rank, shape or dtype.
    """
    check_floats(VECTOR_OR_VECTORS, q_t)
    check_floats(STEP_OR_SEQUENCE, logp_t, reward_t, discount_t)
    check_shapes(logp_t, q_t[..., 0])
    check_floats(0, alpha)

    return td_target(jnp.min(q_t, axis=-1) - alpha * logp_t, reward_t, discount_t)


def sac_policy_loss(q_t: jax.Array, logp_t: jax.Array, alpha: Scalar) -> jax.Array:
    """Loss of a soft policy at an action it drew by reparametrisation, one per element.

    Haarnoja et al., 2019, equation 7.

    `loss = alpha * logp_t - min_k q_t[k]`

    The gradient flows into `logp_t` and, through the action, into `q_t`: the caller keeps the critics' parameters
    constant. `alpha` is a constant. The caller averages.

    Args:
      q_t: `[T, K]` or `[K]`, the K critics at the action drawn, in units of reward.
      logp_t: `[T]` or `[]`, log-probability of that action, in nats.
      alpha: `[]`, temperature, in units of reward per nat.

    Returns:
      Losses, the shape of `logp_t`, in units of reward.

    Raises:
      AssertionError: if an argument has another rank, shape or dtype.
    """
    check_floats(VECTOR_OR_VECTORS, q_t)
    check_floats(STEP_OR_SEQUENCE, logp_t)
    check_shapes(logp_t, q_t[..., 0])
    check_floats(0, alpha)

    return jax.lax.stop_gradient(alpha) * logp_t - jnp.min(q_t, axis=-1)


def sac_temperature_loss(log_alpha: Scalar, logp_t: jax.Array, target_entropy: Scalar) -> jax.Array:
    """Loss of the temperature: it rises while the policy's entropy is below its target; one per element.

    Haarnoja et al., 2019, in the form of its released code, linear in the logarithm of the temperature where equation
    18 has the temperature itself: both vanish together, this one at a rate that does not depend on the temperature.

    `loss = -log_alpha * (logp_t + target_entropy)`

    The gradient flows into `log_alpha` only. The caller averages, and takes `exp(log_alpha)` as `alpha` elsewhere.

    Args:
      log_alpha: `[]`, logarithm of the temperature.
      logp_t: `[T]` or `[]`, log-probability of an action drawn from the policy, in nats.
      target_entropy: `[]`, in nats; minus the number of the action's dimensions in the paper.

    Returns:
      Losses, the shape of `logp_t`.

    Raises:
      AssertionError: if an argument has another rank, shape or dtype.
    """
    check_floats(STEP_OR_SEQUENCE, logp_t)
    check_floats(0, log_alpha, target_entropy)

    return -log_alpha * jax.lax.stop_gradient(logp_t + target_entropy)
