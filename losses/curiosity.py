"""Curiosity: what a model of the dynamics did not foresee (ICM), impact (RIDE), and never giving up (NGU)."""

import jax
import jax.numpy as jnp

from losses.checks import STEP_OR_SEQUENCE, VECTOR_OR_VECTORS, Scalar, check_floats, check_shapes


def icm_loss(prediction_t: jax.Array, embedding_t: jax.Array, squared: bool = True) -> jax.Array:
    """Loss of a forward model of embeddings, one per element.

    Pathak et al., "Curiosity-driven Exploration by Self-supervised Prediction", 2017 (`squared=True`); Raileanu and
    Rocktaschel, "RIDE: Rewarding Impact-Driven Exploration for Procedurally-Generated Environments", 2020, in its
    released code (the norm itself).

    `loss = ||prediction_t - embedding_t||_2^2 / 2`, or the norm.

    The gradient flows into both arguments, for in both methods the embedding learns from it too; it is 0 and not NaN
    where they agree. The caller averages.

    Args:
      prediction_t: `[T, K]` or `[K]`, the successor's embedding as the forward model expects it.
      embedding_t: the shape of `prediction_t`, the successor's embedding.
      squared: whether to take half the square of the norm; static.

    Returns:
      Losses `[T]` or `[]`.

    Raises:
      AssertionError: if an argument has another rank, shape or dtype.
    """
    check_floats(VECTOR_OR_VECTORS, prediction_t, embedding_t)

    total = jnp.sum(jnp.square(prediction_t - embedding_t), axis=-1)
    return total / 2 if squared else _root(total)


def icm_bonus(prediction_t: jax.Array, embedding_t: jax.Array, squared: bool = True) -> jax.Array:
    """Bonus for what a forward model did not foresee.

    Pathak et al., "Curiosity-driven Exploration by Self-supervised Prediction", 2017, whose `eta` is the caller's
    weight of the bonus.

    `bonus = ||prediction_t - embedding_t||_2^2 / 2`, or the norm: `icm_loss` as a constant.

    No gradient flows into any argument.

    Args:
      prediction_t: `[T, K]` or `[K]`, the successor's embedding as the forward model expects it.
      embedding_t: the shape of `prediction_t`, the successor's embedding.
      squared: whether to take half the square of the norm; static.

    Returns:
      Bonuses `[T]` or `[]`, at least 0.

    Raises:
      AssertionError: if an argument has another rank, shape or dtype.
    """
    return jax.lax.stop_gradient(icm_loss(prediction_t, embedding_t, squared))


def ride_bonus(embedding_tm1: jax.Array, embedding_t: jax.Array, visits_t: jax.Array) -> jax.Array:
    """Bonus for impact: how far a step moved the embedding, less where its episode has been before.

    Raileanu and Rocktaschel, "RIDE: Rewarding Impact-Driven Exploration for Procedurally-Generated Environments", 2020.

    `bonus = ||embedding_t - embedding_tm1||_2 / sqrt(visits_t)`.

    No gradient flows into any argument.

    Args:
      embedding_tm1: `[T, K]` or `[K]`, embedding of the state where each step starts.
      embedding_t: the shape of `embedding_tm1`, embedding of its true successor.
      visits_t: `[T]` or `[]`, floats, how often the episode has seen the successor, this time included: at least 1.

    Returns:
      Bonuses `[T]` or `[]`, at least 0.

    Raises:
      AssertionError: if an argument has another rank, shape or dtype.
    """
    check_floats(VECTOR_OR_VECTORS, embedding_tm1, embedding_t)
    check_floats(STEP_OR_SEQUENCE, visits_t)
    check_shapes(visits_t, embedding_t[..., 0])

    impact = _root(jnp.sum(jnp.square(embedding_t - embedding_tm1), axis=-1))
    return jax.lax.stop_gradient(impact * jax.lax.rsqrt(visits_t))


def ngu_bonus(
    distance_t: jax.Array,
    mean: Scalar,
    epsilon: Scalar = 1e-3,
    cluster: Scalar = 0.008,
    constant: Scalar = 1e-3,
    limit: Scalar = 8.0,
) -> jax.Array:
    """Episodic bonus of Never Give Up: the inverse root of a soft count among the nearest neighbours.

    Badia et al., "Never Give Up: Learning Directed Exploration Strategies", 2020, algorithm 1.

    `d = max(distance_t / mean - cluster, 0)`, `s = sqrt(sum_k epsilon / (d_k + epsilon)) + constant`;
    `bonus = 1 / s`, or 0 where `s > limit`.

    No gradient flows into any argument.

    Args:
      distance_t: `[T, K]` or `[K]`, SQUARED distances to the `K` nearest embeddings of the episode; infinite for
        neighbours that there are not, which count for nothing.
      mean: `[]`, running mean of the squared distances to the nearest neighbours.
      epsilon: `[]`, width of the kernel.
      cluster: `[]`, what counts as the same place, in units of `mean`.
      constant: `[]`, bounds the bonus by its inverse.
      limit: `[]`, similarity beyond which a place pays nothing.

    Returns:
      Bonuses `[T]` or `[]`, at least 0.

    Raises:
      AssertionError: if an argument has another rank, shape or dtype.
    """
    check_floats(VECTOR_OR_VECTORS, distance_t)
    check_floats(0, mean, epsilon, cluster, constant, limit)

    # A mean of 0 is that of embeddings which are all the same: they stay 0 apart, and not NaN.
    apart = distance_t / jnp.where(mean == 0, 1, mean)
    kernel = epsilon / (jnp.maximum(apart - cluster, 0) + epsilon)
    similarity = jnp.sqrt(kernel.sum(-1)) + constant
    return jax.lax.stop_gradient(jnp.where(similarity > limit, 0, 1 / similarity))


def ngu_modulation(error_t: jax.Array, mean: Scalar, deviation: Scalar, limit: Scalar = 5.0) -> jax.Array:
    """What Never Give Up multiplies its episodic bonus by: how new a state is to the whole run.

    Badia et al., "Never Give Up: Learning Directed Exploration Strategies", 2020, equation 4.

    `clip(1 + (error_t - mean) / deviation, 1, limit)`.

    No gradient flows into any argument.

    Args:
      error_t: `[T]` or `[]`, squared error of random network distillation.
      mean: `[]`, running mean of these errors.
      deviation: `[]`, their running standard deviation, above 0.
      limit: `[]`, the largest factor.

    Returns:
      Factors, the shape of `error_t`, between 1 and `limit`.

    Raises:
      AssertionError: if an argument has another rank, shape or dtype.
    """
    check_floats(STEP_OR_SEQUENCE, error_t)
    check_floats(0, mean, deviation, limit)

    return jax.lax.stop_gradient(jnp.clip(1 + (error_t - mean) / deviation, 1, limit))


def _root(total: jax.Array) -> jax.Array:
    # The slope of the square root at 0 is infinite: 0 is kept away from it, not only from its result.
    nothing = total == 0
    return jnp.where(nothing, 0, jnp.sqrt(jnp.where(nothing, 1, total)))
