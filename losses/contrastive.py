"""Contrastive losses: which of several keys belongs to a query, told from how alike their embeddings are."""

import chex  # type: ignore[import-untyped]
import jax
import jax.numpy as jnp

from losses.checks import check_floats


def wasserstein_similarity(
    mean_q: jax.Array, deviation_q: jax.Array, mean_k: jax.Array, deviation_k: jax.Array
) -> jax.Array:
    """How alike the diagonal Gaussians of queries and keys are: minus the squared 2-Wasserstein distance.

    Wang et al., "Improving Context-Based Meta-Reinforcement Learning with Self-Supervised Trajectory Contrastive
    Learning", 2021.

    `s_ij = -(||m_i - m_j||^2 + ||sd_i - sd_j||^2)`; vectors are Gaussians of deviation 0.

    The gradient flows into the queries; keys are constants.

    Args:
      mean_q: `[N, D]`.
      deviation_q: `[N, D]`, standard deviations.
      mean_k: `[N, D]`.
      deviation_k: `[N, D]`.

    Returns:
      Similarities `[N, N]`, 0 at most.

    Raises:
      AssertionError: if an argument has another rank, shape or dtype.
    """
    query, key = _joined(mean_q, deviation_q, mean_k, deviation_k)
    # Not the expanded square, which loses in float32 what tells close embeddings apart.
    return -jnp.square(query[:, None] - jax.lax.stop_gradient(key)[None]).sum(-1)


def mahalanobis_similarity(
    mean_q: jax.Array, deviation_q: jax.Array, mean_k: jax.Array, deviation_k: jax.Array, epsilon: float = 1e-3
) -> jax.Array:
    """How alike Gaussians are, in units of their deviations, as a variant of the released code of TCL has it.

    `s_ij = -sum_d (m_i - m_j)^2 / (epsilon + (sd_i^2 + sd_j^2) / 2)`

    The gradient flows into the queries; keys are constants.

    Args:
      mean_q: `[N, D]`.
      deviation_q: `[N, D]`, standard deviations.
      mean_k: `[N, D]`.
      deviation_k: `[N, D]`.
      epsilon: keeps Gaussians without a deviation from dividing by 0.

    Returns:
      Similarities `[N, N]`, 0 at most.

    Raises:
      AssertionError: if an argument has another rank, shape or dtype.
    """
    _joined(mean_q, deviation_q, mean_k, deviation_k)
    mean_k, deviation_k = jax.lax.stop_gradient((mean_k, deviation_k))
    spread = (jnp.square(deviation_q)[:, None] + jnp.square(deviation_k)[None]) / 2
    return -(jnp.square(mean_q[:, None] - mean_k[None]) / (epsilon + spread)).sum(-1)


def bilinear_similarity(query: jax.Array, weight: jax.Array, key: jax.Array) -> jax.Array:
    """How alike queries and keys are under a learned product.

    Srinivas, Laskin and Abbeel, "CURL: Contrastive Unsupervised Representations for Reinforcement Learning", 2020.

    `s_ij = q_i^T W k_j`

    The gradient flows into queries and weight; keys are constants.

    Args:
      query: `[N, D]`.
      weight: `[D, D]`.
      key: `[N, D]`.

    Returns:
      Similarities `[N, N]`.

    Raises:
      AssertionError: if an argument has another rank, shape or dtype.
    """
    check_floats(2, query, key)
    chex.assert_type(weight, float)
    chex.assert_shape(weight, (query.shape[1], query.shape[1]))

    return query @ weight @ jax.lax.stop_gradient(key).T


def info_nce(similarity: jax.Array, allowed: jax.Array) -> jax.Array:
    """The contrastive loss of queries whose positives are the keys in the same row, one per query.

    van den Oord, Li and Vinyals, "Representation Learning with Contrastive Predictive Coding", 2018.

    `loss_i = -log (exp s_ii / sum_{j: allowed_ij} exp s_ij)`; `log N` where all are alike.

    The gradient flows into `similarity`.

    Args:
      similarity: `[N, N]`.
      allowed: bool `[N, N]`, which keys count; each query's own always does.

    Returns:
      Losses in nats, `[N]`.

    Raises:
      AssertionError: if an argument has another rank, shape or dtype.
    """
    check_floats(2, similarity)
    chex.assert_type(allowed, bool)
    chex.assert_equal_shape((similarity, allowed))

    own = jnp.eye(len(similarity), dtype=bool)
    among = jnp.where(allowed | own, similarity, -jnp.inf)
    return jax.nn.logsumexp(among, axis=-1) - jnp.diagonal(similarity)


def _joined(
    mean_q: jax.Array, deviation_q: jax.Array, mean_k: jax.Array, deviation_k: jax.Array
) -> tuple[jax.Array, jax.Array]:
    check_floats(2, mean_q, deviation_q, mean_k, deviation_k)
    return jnp.concatenate([mean_q, deviation_q], -1), jnp.concatenate([mean_k, deviation_k], -1)
