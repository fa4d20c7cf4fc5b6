"""The adversary's part in AGAC: what is added to the advantage, and what the critic must expect of it."""

import jax

from losses.checks import STEP_OR_SEQUENCE, Scalar, check_floats


def agac_advantage(advantage_t: jax.Array, logp_t: jax.Array, logp_adversary_t: jax.Array, c: Scalar) -> jax.Array:
    """Advantages that pay for actions which an adversary, an imitator of the policy's past, did not expect.

    Flet-Berliac et al., "Adversarially Guided Actor-Critic", 2021.

    `A' = advantage_t + c * (logp_t - logp_adversary_t)`

    The payment is for one step: it is added after the advantage was estimated and is not carried through time. No
    gradient flows into any argument.

    Args:
      advantage_t: `[T]` or `[]`, in units of reward.
      logp_t: the shape of `advantage_t`, log-probability of the action taken by the policy that took it, in nats.
      logp_adversary_t: the shape of `advantage_t`, the adversary's at that time.
      c: `[]`, weight of the adversary, in units of reward per nat.

    Returns:
      Advantages, the shape of `advantage_t`, in units of reward.

    Raises:
      AssertionError: if an argument has another rank, shape or dtype.
    """
    check_floats(STEP_OR_SEQUENCE, advantage_t, logp_t, logp_adversary_t)
    check_floats(0, c)

    return jax.lax.stop_gradient(advantage_t + c * (logp_t - logp_adversary_t))


def agac_value_target(target_tm1: jax.Array, kl_tm1: jax.Array, c: Scalar) -> jax.Array:
    """The value's target with what `agac_advantage` adds on average.

    Flet-Berliac et al., "Adversarially Guided Actor-Critic", 2021.

    `y = target_tm1 + c * kl_tm1`, for `E_{a ~ policy}[logp(a) - logp_adversary(a)] = KL(policy || adversary)`.

    No gradient flows into any argument.

    Args:
      target_tm1: `[T]` or `[]`, estimates of the return, in units of reward.
      kl_tm1: the shape of `target_tm1`, divergence of the adversary from the policy, both of acting time, in nats.
      c: `[]`, weight of the adversary, in units of reward per nat.

    Returns:
      Targets, the shape of `target_tm1`, in units of reward.

    Raises:
      AssertionError: if an argument has another rank, shape or dtype.
    """
    check_floats(STEP_OR_SEQUENCE, target_tm1, kl_tm1)
    check_floats(0, c)

    return jax.lax.stop_gradient(target_tm1 + c * kl_tm1)
