"""Gaussian models: the likelihood of what was seen, soft bounds, products, and divergence from the standard one."""

import jax
import jax.numpy as jnp

from losses.checks import STEP_OR_SEQUENCE, VECTOR_OR_VECTORS, check_floats


def gaussian_nll(mean: jax.Array, log_variance: jax.Array, target: jax.Array) -> jax.Array:
    """Negative log-likelihood of a diagonal Gaussian, times two and without its constant.

    Lakshminarayanan, Pritzel and Blundell, "Simple and Scalable Predictive Uncertainty Estimation", 2017; as the
    ensembles of Chua et al., 2018 and Janner et al., 2019 use it.

    `mean_d [(mean - target)^2 exp(-log_variance) + log_variance]`

    The gradient flows into `mean` and `log_variance`.

    Args:
      mean: `[D]` or `[T, D]`.
      log_variance: the shape of `mean`.
      target: the shape of `mean`, what was seen.

    Returns:
      Losses, `[]` or `[T]`.

    Raises:
      AssertionError: if an argument has another rank, shape or dtype.
    """
    check_floats(VECTOR_OR_VECTORS, mean, log_variance, target)

    error = mean - jax.lax.stop_gradient(target)
    return jnp.mean(jnp.square(error) * jnp.exp(-log_variance) + log_variance, -1)


def soft_clamp(x: jax.Array, low: jax.Array, high: jax.Array) -> jax.Array:
    """Numbers held between two bounds that can be learned, by softplus.

    Chua et al., "Deep Reinforcement Learning in a Handful of Trials using Probabilistic Dynamics Models", 2018.

    `y = high - softplus(high - x)`, then `low + softplus(y - low)`

    The gradient flows into every argument.

    Args:
      x: `[T]` or `[]`.
      low: the shape of `x`, the lower bounds.
      high: the shape of `x`, the upper bounds.

    Returns:
      The shape of `x`; within the bounds but for `log(1 + exp(low - high))` above `high`.

    Raises:
      AssertionError: if an argument has another rank, shape or dtype.
    """
    check_floats(STEP_OR_SEQUENCE, x, low, high)

    x = high - jax.nn.softplus(high - x)
    return low + jax.nn.softplus(x - low)


def gaussian_product(mean: jax.Array, variance: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The Gaussian that is in proportion to the product of `N` diagonal ones.

    Rakelly et al., "Efficient Off-Policy Meta-Reinforcement Learning via Probabilistic Context Variables", 2019.

    `1 / V = sum_n 1 / v_n`, `M = V sum_n m_n / v_n`

    The order of the factors says nothing. The gradient flows into both arguments.

    Args:
      mean: `[N, D]`.
      variance: `[N, D]`; below 1e-7 it counts as that.

    Returns:
      Mean and variance, `[D]` each.

    Raises:
      AssertionError: if an argument has another rank, shape or dtype.
    """
    check_floats(2, mean, variance)

    precision = 1.0 / jnp.maximum(variance, 1e-7)
    found = 1.0 / precision.sum(0)
    return found * (mean * precision).sum(0), found


def standard_normal_kl(mean: jax.Array, variance: jax.Array) -> jax.Array:
    """Divergence of a diagonal Gaussian from the standard one.

    `KL(N(m, v) || N(0, 1)) = sum_d (v + m^2 - 1 - log v) / 2`

    The gradient flows into both arguments.

    Args:
      mean: `[D]` or `[T, D]`.
      variance: the shape of `mean`, above 0.

    Returns:
      Divergences in nats, `[]` or `[T]`.

    Raises:
      AssertionError: if an argument has another rank, shape or dtype.
    """
    check_floats(VECTOR_OR_VECTORS, mean, variance)

    return 0.5 * jnp.sum(variance + jnp.square(mean) - 1.0 - jnp.log(variance), -1)
