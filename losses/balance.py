"""Representation balancing: how far data are from the states that a policy will visit, seen by a representation."""

import chex  # type: ignore[import-untyped]
import jax
import jax.numpy as jnp

from losses.checks import Scalar, check_floats, check_shapes


def dot_balance(
    phi_tm1: jax.Array, phi_t: jax.Array, phi_0: jax.Array, discount_t: jax.Array, gamma: Scalar
) -> jax.Array:
    """Squared distance of data from a policy's discounted stationary distribution, under the kernel `k(x, y) = x . y`.

    Lee, Lee and Kim, "Representation Balancing Offline Model-based Reinforcement Learning", 2021.

    `|mean phi_tm1 - (1 - gamma) mean phi_0 - gamma mean discount_t phi_t|^2`

    It is 0 where `E[g(x)] = (1 - gamma) E[g(x_0)] + gamma E[g(x')]` for every linear `g`, which the stationary
    distribution fulfils. All pairs count, those of a row with itself too, in time `O(T D)`. The gradient flows into the
    three representations. It grows without bound with them: they should be bounded.

    Args:
      phi_tm1: representations of what was done in each state, `[T, D]`.
      phi_t: of what the policy does in its successor, `[T, D]`.
      phi_0: of what the policy does in states where it may begin, `[T, D]`.
      discount_t: 0 where the episode truly ended, else 1, `[T]`.
      gamma: the discount per step, at least 0 and below 1.

    Returns:
      The square, `[]`.

    Raises:
      AssertionError: if an argument has another rank, shape or dtype.
    """
    discount_t = _checked(phi_tm1, phi_t, phi_0, discount_t)

    gap = phi_tm1 - (1 - gamma) * phi_0 - gamma * discount_t[:, None] * phi_t
    return jnp.square(gap.mean(0)).sum()


def gaussian_balance(
    phi_tm1: jax.Array,
    phi_t: jax.Array,
    phi_0: jax.Array,
    discount_t: jax.Array,
    gamma: Scalar,
    bandwidth: Scalar,
) -> jax.Array:
    """Squared distance of data from a policy's discounted stationary distribution, under a Gaussian kernel.

    Lee, Lee and Kim, "Representation Balancing Offline Model-based Reinforcement Learning", 2021.

    `sum_ij w_i w_j k(x_i, x_j)`, `k(x, y) = exp(-|x - y|^2 / (2 bandwidth^2))`, over all rows `x` of `phi_tm1`, `phi_0`
    and `phi_t`, whose weights `w` are `1 / T`, `-(1 - gamma) / T` and `-gamma discount_t / T`

    All pairs count, those of a row with itself too, in memory `O(9 T^2)`. The gradient flows into the three
    representations.

    Args:
      phi_tm1: representations of what was done in each state, `[T, D]`.
      phi_t: of what the policy does in its successor, `[T, D]`.
      phi_0: of what the policy does in states where it may begin, `[T, D]`.
      discount_t: 0 where the episode truly ended, else 1, `[T]`.
      gamma: the discount per step, at least 0 and below 1.
      bandwidth: the kernel's, in units of the representation.

    Returns:
      The square, `[]`.

    Raises:
      AssertionError: if an argument has another rank, shape or dtype.
    """
    discount_t = _checked(phi_tm1, phi_t, phi_0, discount_t)

    even = jnp.ones_like(discount_t)
    weight = jnp.concatenate([even, -(1 - gamma) * even, -gamma * discount_t]) / len(even)
    rows = jnp.concatenate([phi_tm1, phi_0, phi_t])
    size = jnp.square(rows).sum(-1)
    # By products rather than by differences, which would take 9 T^2 D numbers; rounding must not make it negative.
    apart = jnp.maximum(size[:, None] + size - 2 * rows @ rows.T, 0.0)
    return weight @ jnp.exp(-apart / (2 * bandwidth**2)) @ weight


def _checked(phi_tm1: jax.Array, phi_t: jax.Array, phi_0: jax.Array, discount_t: jax.Array) -> jax.Array:
    """The discounts as constants, once all ranks, shapes and dtypes are as they should be."""
    check_floats(2, phi_tm1, phi_t, phi_0)
    check_floats(1, discount_t)
    check_shapes(phi_tm1[:, 0], discount_t)
    chex.assert_axis_dimension_gt(phi_tm1, 0, 0)
    return jax.lax.stop_gradient(discount_t)
