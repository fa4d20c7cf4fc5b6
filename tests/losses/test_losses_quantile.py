"""Quantile regression against numbers worked out by hand and against rlax, and what it converges to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlax

import losses


def f32(*numbers):
    return np.array(numbers, np.float32)


def test_loss_by_hand(run):
    # Errors u = target - quantile: [3, 0.5] for the quantile 0, [0.5, -2] for 2.5. With tau 0.25 and 0.75 and kappa 1:
    # 0.25 * (3 - 1/2) and 0.25 * 0.125 average to 0.328125; 0.75 * 0.125 and 0.25 * (2 - 1/2) to 0.234375.
    args = (f32(0, 2.5), f32(0.25, 0.75), f32(3, 0.5))
    np.testing.assert_allclose(run(lambda *a: losses.quantile_huber(*a, kappa=1.0), *args), 0.5625)
    # kappa 0, absolute errors: 0.25 * (3 + 0.5) / 2 + (0.75 * 0.5 + 0.25 * 2) / 2.
    np.testing.assert_allclose(run(lambda *a: losses.quantile_huber(*a, kappa=0.0), *args), 0.875)


def test_q_target_takes_the_selectors_action(run):
    quantiles = f32([0, 4], [1, 2], [-8, 0])  # means 2, 1.5, -4
    selector = f32([0, 0], [1, 0], [5, 5])
    args = f32(10)[0], f32(0.5)[0]
    np.testing.assert_allclose(run(losses.quantile_q_target, quantiles, quantiles, *args), [10, 12])
    np.testing.assert_allclose(run(losses.quantile_q_target, quantiles, selector, *args), [6, 10])


@pytest.mark.parametrize("kappa", [0.0, 0.5, 1.0])
def test_loss_and_slope_equal_rlax(kappa):
    rng = np.random.default_rng(0)
    quantiles, target = (2 * rng.normal(size=(2, 16, 8))).astype(np.float32)
    target = target[:, :5]
    tau = (np.arange(8, dtype=np.float32) + 0.5) / 8

    def ours(quantiles):
        return losses.quantile_huber(quantiles, tau, target, kappa)

    def theirs(quantiles):
        return jax.vmap(lambda q, y: rlax.quantile_regression_loss(q, tau, y, kappa))(quantiles, target)

    np.testing.assert_allclose(ours(quantiles), theirs(quantiles), rtol=1e-5)
    slopes = [jax.grad(lambda q, loss=loss: loss(q).sum())(quantiles) for loss in (ours, theirs)]
    np.testing.assert_allclose(*slopes, atol=1e-6)


def test_q_learning_equals_rlax():
    rng = np.random.default_rng(1)
    quantiles_tm1, quantiles_t, selector = rng.normal(size=(3, 16, 4, 8)).astype(np.float32)
    action = rng.integers(0, 4, 16)
    reward, discount = rng.uniform(size=(2, 16)).astype(np.float32)
    tau = (np.arange(8, dtype=np.float32) + 0.5) / 8

    target = losses.quantile_q_target(quantiles_t, selector, reward, discount)
    ours = losses.quantile_huber(quantiles_tm1[np.arange(16), action], tau, target)
    learning = jax.vmap(lambda *args: rlax.quantile_q_learning(args[0], tau, *args[1:], huber_param=1.0))
    turned = [np.swapaxes(x, 1, 2) for x in (quantiles_tm1, selector, quantiles_t)]
    theirs = learning(turned[0], action, reward, discount, *turned[1:])
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_descent_finds_the_quantiles_of_the_samples():
    samples = jnp.asarray(np.random.default_rng(2).exponential(size=999), jnp.float32)
    tau = f32(0.1, 0.5, 0.9)
    slope = jax.grad(lambda q: losses.quantile_huber(q, tau, samples, kappa=0.0))
    found = jax.lax.fori_loop(0, 2000, lambda _, q: q - 0.02 * slope(q), jnp.zeros(3))
    np.testing.assert_allclose(found, np.quantile(samples, tau), atol=0.05)


def test_levels_that_do_not_fit_are_refused():
    with pytest.raises(AssertionError):
        losses.quantile_huber(f32(1, 2), f32(0.5), f32(1, 2))
    with pytest.raises(AssertionError):
        losses.quantile_huber(f32(1, 2), f32(0.2, 0.5), f32(1, 2), kappa=-1.0)
