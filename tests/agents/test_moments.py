"""Moving moments: by hand, of one batch alone, and what they standardise."""

import jax.numpy as jnp
import numpy as np

from agents import moments


def test_moments_by_hand():
    x = jnp.asarray([[1.0, 3.0], [5.0, 7.0]])
    mean, variance = moments.advance(moments.first(), x, 0.9)
    np.testing.assert_allclose(mean, 0.1 * 4.0, rtol=1e-6)
    np.testing.assert_allclose(variance, 0.9 + 0.1 * (0.6**2 + 2.6**2 + 4.6**2 + 6.6**2) / 4, rtol=1e-6)
    mean, variance = moments.advance(moments.Moments(mean, variance), x + 1, 0.5)
    np.testing.assert_allclose(mean, 0.5 * 0.4 + 0.5 * 5.0, rtol=1e-6)


def test_without_momentum_a_batch_has_mean_0_and_deviation_1():
    x = jnp.asarray(np.random.default_rng(0).normal(3.0, 2.0, (50, 4)), jnp.float32)
    y = moments.standardised(x, moments.advance(moments.Moments(jnp.float32(100.0), jnp.float32(9.0)), x, 0.0))
    np.testing.assert_allclose([y.mean(), y.std()], [0.0, 1.0], atol=1e-4)
