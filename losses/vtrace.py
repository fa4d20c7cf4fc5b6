"""V-trace: off-policy corrected targets and advantages."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from losses.checks import Scalar, check_floats, check_lambda
from losses.recurrence import backward


class VTrace(NamedTuple):
    """What V-trace estimates; no gradient flows through any of it.

    Attributes:
      errors: `[T]`, `target - value_tm1`.
      advantage: `[T]`, what multiplies `grad log pi` in the policy gradient.
      target: `[T]`, what the value function is regressed on.
    """

    errors: jax.Array
    advantage: jax.Array
    target: jax.Array


def vtrace(
    value_tm1: jax.Array,
    value_t: jax.Array,
    reward_t: jax.Array,
    discount_t: jax.Array,
    rho_tm1: jax.Array,
    lambda_t: Scalar,
    clip_rho: Scalar = 1.0,
    clip_c: Scalar = 1.0,
    clip_pg_rho: Scalar = 1.0,
) -> VTrace:
    """V-trace targets and policy-gradient advantages from truncated importance weights.

    Espeholt et al., "IMPALA: Scalable Distributed Deep-RL with Importance Weighted Actor-Learner Architectures", 2018.

    With `delta[i] = min(clip_rho, rho_tm1[i]) * (reward_t[i] + discount_t[i] * value_t[i] - value_tm1[i])`:

    - `errors[i] = delta[i] + discount_t[i] * lambda_t[i] * min(clip_c, rho_tm1[i]) * errors[i + 1]`, `errors[T] = 0`;
    - `target[i] = value_tm1[i] + errors[i]`;
    - `q[i] = reward_t[i] + discount_t[i] * (lambda_t[i] * target[i + 1] + (1 - lambda_t[i]) * value_t[i])`, with
      `target[T] = value_t[T - 1]`;
    - `advantage[i] = min(clip_pg_rho, rho_tm1[i]) * (q[i] - value_tm1[i])`.

    No gradient flows into any argument: the value function is trained by `squared_value(value_tm1, target)`, not by
    the square of `errors`.

    Args:
      value_tm1: `[T]`, value of the state where each step starts.
      value_t: `[T]`, value of its true successor.
      reward_t: `[T]`, in units of reward.
      discount_t: `[T]`, in 0 to 1.
      rho_tm1: `[T]`, importance ratio of the action taken, target over behaviour policy; at least 0, without a unit.
      lambda_t: `[T]` or `[]`, in 0 to 1, and 0 where an episode ends.
      clip_rho: `[]`, bound of the ratio in `delta`; it decides which policy's value is the fixed point.
      clip_c: `[]`, bound of the ratio in the trace; it decides how fast targets propagate.
      clip_pg_rho: `[]`, bound of the ratio in the policy gradient.

    Returns:
      `VTrace`, in units of reward.

    Raises:
      AssertionError: if an argument has another rank, shape or dtype.
    """
    check_floats(1, value_tm1, value_t, reward_t, discount_t, rho_tm1)
    check_lambda(lambda_t, reward_t)
    check_floats(0, clip_rho, clip_c, clip_pg_rho)

    delta_t = jnp.minimum(clip_rho, rho_tm1) * (reward_t + discount_t * value_t - value_tm1)
    errors = backward(delta_t, discount_t * lambda_t * jnp.minimum(clip_c, rho_tm1), 0.0)
    target = value_tm1 + errors

    target_t = jnp.concatenate([target[1:], value_t[-1:]])
    q_tm1 = reward_t + discount_t * (lambda_t * target_t + (1 - lambda_t) * value_t)
    advantage = jnp.minimum(clip_pg_rho, rho_tm1) * (q_tm1 - value_tm1)
    return jax.lax.stop_gradient(VTrace(errors, advantage, target))
