"""Policy losses: the policy gradient and PPO's clipped surrogate."""

import jax
import jax.numpy as jnp

from losses.checks import STEP_OR_SEQUENCE, Scalar, check_floats


def policy_gradient(logp_t: jax.Array, advantage_t: jax.Array) -> jax.Array:
    """Policy gradient loss, one per element.

    Williams, "Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning", 1992.

    `loss = -logp_t * advantage_t`

    The gradient flows into `logp_t` only; `advantage_t` is a constant. The caller averages.

    Args:
      logp_t: `[T]` or `[]`, log-probability of the action taken, in nats.
      advantage_t: the shape of `logp_t`, in units of reward.

    Returns:
      Losses, the shape of `logp_t`.

    Raises:
      AssertionError: if an argument has another rank, shape or dtype.
    """
    check_floats(STEP_OR_SEQUENCE, logp_t, advantage_t)

    return -logp_t * jax.lax.stop_gradient(advantage_t)


def clipped_surrogate(ratio_t: jax.Array, advantage_t: jax.Array, epsilon: Scalar) -> jax.Array:
    """PPO's clipped surrogate loss, one per element.

    Schulman et al., "Proximal Policy Optimization Algorithms", 2017.

    `loss = -min(ratio_t * advantage_t, clip(ratio_t, 1 - epsilon, 1 + epsilon) * advantage_t)`

    The gradient flows into `ratio_t` only, and is 0 where the clipped side is the smaller; `advantage_t` is a constant.
    The caller averages.

    Args:
      ratio_t: `[T]` or `[]`, probability of the action taken, new over old policy; without a unit.
      advantage_t: the shape of `ratio_t`, in units of reward.
      epsilon: `[]`, how far the ratio may move before its gradient is cut.

    Returns:
      Losses, the shape of `ratio_t`.

    Raises:
      AssertionError: if an argument has another rank, shape or dtype.
    """
    check_floats(STEP_OR_SEQUENCE, ratio_t, advantage_t)
    check_floats(0, epsilon)

    advantage_t = jax.lax.stop_gradient(advantage_t)
    clipped_t = jnp.clip(ratio_t, 1 - epsilon, 1 + epsilon)
    return -jnp.minimum(ratio_t * advantage_t, clipped_t * advantage_t)
