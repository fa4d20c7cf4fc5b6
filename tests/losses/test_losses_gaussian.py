"""Gaussian models: numbers worked out by hand, SciPy's density as the oracle, and bounds that hold."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import norm

import losses

RNG = np.random.default_rng(0)
MEAN, LOG_VARIANCE, TARGET = RNG.normal(size=(3, 6)).astype(np.float32)


def test_likelihood_by_hand(run):
    found = run(losses.gaussian_nll, np.float32([1, 0]), np.float32([0, np.log(4)]), np.float32([3, 2]))
    np.testing.assert_allclose(found, (4 + 0 + 4 / 4 + np.log(4)) / 2, rtol=1e-6)


def test_likelihood_is_twice_that_of_the_density_without_its_constant():
    found = losses.gaussian_nll(MEAN, LOG_VARIANCE, TARGET)
    density = norm.logpdf(TARGET, MEAN, np.exp(LOG_VARIANCE / 2)).mean()
    np.testing.assert_allclose(found, -2 * density - np.log(2 * np.pi), rtol=1e-5)


def test_the_best_variance_is_the_squared_error():
    slope = jax.grad(lambda log_variance: losses.gaussian_nll(MEAN, log_variance, TARGET))
    np.testing.assert_allclose(slope(jnp.log(jnp.square(MEAN - TARGET))), 0, atol=1e-6)


def test_nothing_is_learned_about_what_was_seen():
    assert not np.any(jax.grad(losses.gaussian_nll, argnums=2)(MEAN, LOG_VARIANCE, TARGET))


def test_soft_bounds_by_hand(run):
    low, high = np.float32([-10]), np.float32([0.5])
    for x, expected in ((-3.0, -3.0), (-100.0, -10.0), (100.0, 0.5)):
        found = run(losses.soft_clamp, np.float32([x]), low, high)
        y = high - np.logaddexp(0, high - x)
        np.testing.assert_allclose(found, low + np.logaddexp(0, y - low), rtol=1e-5)
        np.testing.assert_allclose(found, expected, atol=0.04)


def test_soft_bounds_grow_with_what_they_bound():
    x = jnp.linspace(-30, 30, 200)
    found = losses.soft_clamp(x, jnp.full(200, -10.0), jnp.full(200, 0.5))
    assert np.all(np.diff(found) >= 0)
    assert found.min() >= -10
    assert found.max() < 0.51


def test_product_of_equal_gaussians_is_narrower_alone(run):
    mean, variance = np.tile(np.float32([1.0, -2.0]), (5, 1)), np.tile(np.float32([0.5, 3.0]), (5, 1))
    found = run(losses.gaussian_product, mean, variance)
    np.testing.assert_allclose(found[0], mean[0], rtol=1e-6)
    np.testing.assert_allclose(found[1], variance[0] / 5, rtol=1e-6)


def test_product_is_that_of_densities_in_any_order(run):
    """Natural parameters add; the logarithm of the product of densities differs from the found one's by a constant."""
    mean, variance = RNG.normal(size=(4, 1)).astype(np.float32), RNG.uniform(0.2, 3, size=(4, 1)).astype(np.float32)
    m, v = run(losses.gaussian_product, mean, variance)
    x = np.linspace(-2, 2, 7)
    log = norm.logpdf(x, mean, np.sqrt(variance)).sum(0)
    gap = log - norm.logpdf(x, m, np.sqrt(v))
    np.testing.assert_allclose(gap, gap[0], atol=1e-4)
    again = losses.gaussian_product(mean[::-1], variance[::-1])
    np.testing.assert_allclose(again[0], m, rtol=1e-5)
    np.testing.assert_allclose(again[1], v, rtol=1e-5)


def test_product_holds_a_variance_off_zero():
    found, variance = losses.gaussian_product(jnp.ones((2, 1)), jnp.zeros((2, 1)))
    np.testing.assert_allclose(found, 1)
    np.testing.assert_allclose(variance, 0.5e-7, rtol=1e-5)


def test_divergence_from_the_standard_normal(run):
    np.testing.assert_allclose(run(losses.standard_normal_kl, np.float32([0, 0]), np.float32([1, 1])), 0, atol=1e-7)
    mean, variance = np.float32([0.7, -0.2]), np.float32([0.5, 1.5])
    draws = RNG.normal(size=(200_000, 2)) * np.sqrt(variance) + mean
    sampled = (norm.logpdf(draws, mean, np.sqrt(variance)) - norm.logpdf(draws)).sum(1).mean()
    np.testing.assert_allclose(run(losses.standard_normal_kl, mean, variance), sampled, atol=1e-2)
