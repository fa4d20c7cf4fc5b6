"""Elliptical episodic bonuses: how far an embedding lies outside of those that its episode has shown."""

import chex  # type: ignore[import-untyped]
import jax
import jax.numpy as jnp

from losses.checks import VECTOR_OR_VECTORS, check_floats, check_shapes


def elliptical_bonus(embedding_t: jax.Array, inverse_tm1: jax.Array) -> jax.Array:
    """Bonus for an embedding that the episode's earlier ones do not span: a count of visits for continuous states.

    Henaff et al., "Exploration via Elliptical Episodic Bonuses", 2022.

    `bonus = phi^T C^-1 phi`, `C = lambda I + sum_i phi_i phi_i^T` over the episode so far. Where the embeddings are
    one-hots and `lambda` goes to 0 it is `1 / N`, `N` the visits before this one.

    No gradient flows into any argument.

    Args:
      embedding_t: `[T, D]` or `[D]`, `phi` of the state that is paid for.
      inverse_tm1: `[T, D, D]` or `[D, D]`, `C^-1` before it, symmetric; `I / lambda` where an episode begins.

    Returns:
      Bonuses `[T]` or `[]`, at least 0 but for rounding.

    Raises:
      AssertionError: if an argument has another rank, shape or dtype.
    """
    _check(embedding_t, inverse_tm1)

    return jax.lax.stop_gradient(jnp.sum(embedding_t * _project(embedding_t, inverse_tm1), axis=-1))


def elliptical_update(embedding_t: jax.Array, inverse_tm1: jax.Array) -> jax.Array:
    """`C^-1` once the embedding counts too, without an inversion.

    Sherman and Morrison, "Adjustment of an Inverse Matrix Corresponding to a Change in One Element of a Given Matrix",
    1950; in place of an inverse in Henaff et al., "Exploration via Elliptical Episodic Bonuses", 2022.

    `(C + phi phi^T)^-1 = C^-1 - u u^T / (1 + phi^T u)`, `u = C^-1 phi`.

    No gradient flows into any argument.

    Args:
      embedding_t: `[T, D]` or `[D]`, `phi`.
      inverse_tm1: `[T, D, D]` or `[D, D]`, `C^-1` before it, symmetric.

    Returns:
      `C^-1` after it, the shape of `inverse_tm1`, symmetric.

    Raises:
      AssertionError: if an argument has another rank, shape or dtype.
    """
    _check(embedding_t, inverse_tm1)

    u = _project(embedding_t, inverse_tm1)
    scale = 1 + jnp.sum(embedding_t * u, axis=-1)[..., None, None]
    return jax.lax.stop_gradient(inverse_tm1 - u[..., :, None] * u[..., None, :] / scale)


def _check(embedding_t: jax.Array, inverse_tm1: jax.Array) -> None:
    check_floats(VECTOR_OR_VECTORS, embedding_t)
    check_floats({rank + 1 for rank in VECTOR_OR_VECTORS}, inverse_tm1)
    chex.assert_equal_rank([embedding_t, inverse_tm1[..., 0]])
    check_shapes(embedding_t, inverse_tm1[..., 0], inverse_tm1[..., 0, :])


def _project(embedding_t: jax.Array, inverse_tm1: jax.Array) -> jax.Array:
    return jnp.einsum("...ij,...j->...i", inverse_tm1, embedding_t)
