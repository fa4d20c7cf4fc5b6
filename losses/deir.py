"""DEIR: the episodic bonus of a model that tells true successors from false ones, and the loss of that model."""

import chex  # type: ignore[import-untyped]
import jax
import jax.numpy as jnp

from losses.checks import VECTOR_OR_VECTORS, Scalar, check_floats, check_shapes


def deir_bonus(square_t: jax.Array, distance_t: jax.Array, filled_t: jax.Array, epsilon: Scalar = 1e-6) -> jax.Array:
    """Bonus for an observation unlike all earlier ones of its episode, less so where the trajectory explains it.

    Wan et al., "DEIR: Efficient and Robust Exploration through Discriminative-Model-Based Episodic Intrinsic Rewards",
    2023.

    `bonus = min_i ||e(o_i) - e(o_{t+1})||^2 / (||tau_i - tau_t|| + epsilon)`, and 0 where nothing came before.

    No gradient flows into any argument.

    Args:
      square_t: `[T, N]` or `[N]`, squared distances of the successor's embedding to those in the episode's memory.
      distance_t: the shape of `square_t`, distances of the trajectory's embedding to those that belong to them.
      filled_t: bool, the shape of `square_t`, which of the memory's places are in use.
      epsilon: `[]`, keeps trajectories that are alike from dividing by 0.

    Returns:
      Bonuses `[T]` or `[]`, at least 0.

    Raises:
      AssertionError: if an argument has another rank, shape or dtype.
    """
    check_floats(VECTOR_OR_VECTORS, square_t, distance_t)
    check_floats(0, epsilon)
    chex.assert_type(filled_t, bool)
    check_shapes(filled_t, square_t)

    least = jnp.min(square_t / (distance_t + epsilon), axis=-1, initial=jnp.inf, where=filled_t)
    return jax.lax.stop_gradient(jnp.where(filled_t.any(-1), least, 0))


def deir_loss(
    true_logit_t: jax.Array, false_logit_t: jax.Array, true_counts_t: jax.Array, false_counts_t: jax.Array
) -> jax.Array:
    """Loss of the discriminator of DEIR on steps with their true successor and with a false one, one per step.

    Wan et al., "DEIR: Efficient and Robust Exploration through Discriminative-Model-Based Episodic Intrinsic Rewards",
    2023, with the weights of its released code.

    `loss = (max(1, n_f / n_t) mean_t -log D(true) + max(1, n_t / n_f) mean_f -log(1 - D(false))) / 2`, means over the
    `n_t` and `n_f` rows that count, `D` the sigmoid of the logit. Each row comes with its weight in it.

    The gradient flows into the logits. The caller sums over a whole minibatch, and does not average.

    Args:
      true_logit_t: `[T]`, the discriminator's output for the true successor.
      false_logit_t: `[T]`, that for the false one.
      true_counts_t: bool `[T]`, which true successors count.
      false_counts_t: bool `[T]`, which false ones.

    Returns:
      Losses `[T]` whose sum is the loss, in nats; 0 where neither counts.

    Raises:
      AssertionError: if an argument has another rank, shape or dtype.
    """
    check_floats(1, true_logit_t, false_logit_t)
    chex.assert_type([true_counts_t, false_counts_t], bool)
    check_shapes(true_logit_t, true_counts_t, false_counts_t)

    n_true, n_false = (jnp.maximum(counts.sum(), 1) for counts in (true_counts_t, false_counts_t))
    most = jnp.maximum(n_true, n_false)

    def rows(loss: jax.Array, counts: jax.Array, n: jax.Array) -> jax.Array:
        weight = most / (2.0 * n * n)
        return jnp.where(counts, weight.astype(loss.dtype) * loss, 0)

    true_t = rows(jax.nn.softplus(-true_logit_t), true_counts_t, n_true)
    return true_t + rows(jax.nn.softplus(false_logit_t), false_counts_t, n_false)
