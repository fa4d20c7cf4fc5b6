"""Gaussian models: the likelihood of what was seen under a predicted mean and variance, and soft bounds."""

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
