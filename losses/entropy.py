"""Entropy: the bonus that keeps a policy random, and entropy and KL of categorical distributions."""

import jax
import jax.numpy as jnp

from losses.checks import STEP_OR_SEQUENCE, VECTOR_OR_VECTORS, check_floats


def entropy_loss(entropy_t: jax.Array) -> jax.Array:
    """Loss whose minimisation raises the entropy of the policy, one per element.

    Williams and Peng, "Function Optimization Using Connectionist Reinforcement Learning Algorithms", 1991.

    `loss = -entropy_t`

    The gradient flows into `entropy_t`. The caller averages and multiplies by the entropy cost.

    Args:
      entropy_t: `[T]` or `[]`, entropy of the policy at each step, in nats.

    Returns:
      Losses, the shape of `entropy_t`, in nats.

    Raises:
      AssertionError: if the argument has another rank or dtype.
    """
    check_floats(STEP_OR_SEQUENCE, entropy_t)

    return -entropy_t


def categorical_entropy(logits: jax.Array) -> jax.Array:
    """Entropy of categorical distributions.

    Shannon, "A Mathematical Theory of Communication", 1948.

    `H = -sum_a p[a] * log p[a]`, with `p = softmax(logits)` and `0 * log 0 = 0`.

    Masked choices may have the logit `-inf` or the lowest float: they add nothing, and their gradient is 0. The
    gradient flows into `logits`.

    Args:
      logits: `[T, A]` or `[A]`, unnormalised log-probabilities, at least one of each `A` finite.

    Returns:
      Entropies `[T]` or `[]`, in nats.

    Raises:
      AssertionError: if the argument has another rank or dtype.
    """
    check_floats(VECTOR_OR_VECTORS, logits)

    logp = jax.nn.log_softmax(logits)
    p = jnp.exp(logp)
    return -jnp.sum(p * jnp.where(p > 0, logp, 0), axis=-1)


def categorical_kl(logits_p: jax.Array, logits_q: jax.Array) -> jax.Array:
    """Kullback-Leibler divergence of categorical `q` from categorical `p`.

    Kullback and Leibler, "On Information and Sufficiency", 1951.

    `KL(p || q) = sum_a p[a] * (log p[a] - log q[a])`, with `0 * log 0 = 0`.

    Choices that `p` masks (logit `-inf` or the lowest float) add nothing, whatever `q` says of them; where only `q`
    masks a choice the divergence is infinite. The gradient flows into both arguments.

    Args:
      logits_p: `[T, A]` or `[A]`, unnormalised log-probabilities, at least one of each `A` finite.
      logits_q: the shape of `logits_p`.

    Returns:
      Divergences `[T]` or `[]`, in nats, at least 0 up to rounding.

    Raises:
      AssertionError: if an argument has another rank, shape or dtype.
    """
    check_floats(VECTOR_OR_VECTORS, logits_p, logits_q)

    logp = jax.nn.log_softmax(logits_p)
    logq = jax.nn.log_softmax(logits_q)
    p = jnp.exp(logp)
    # Each side is replaced before the difference is taken: -inf - -inf is NaN, and so would be its gradient.
    return jnp.sum(p * (jnp.where(p > 0, logp, 0) - jnp.where(p > 0, logq, 0)), axis=-1)
