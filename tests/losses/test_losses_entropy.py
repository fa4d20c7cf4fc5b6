"""Entropy and KL against numbers worked out by hand and against distrax, with choices masked out."""

import distrax
import jax
import numpy as np
import pytest

import losses

INF = np.inf
LOWEST = np.finfo(np.float32).min
LOG2 = np.log(2)


def f32(*numbers):
    return np.array(numbers, np.float32)


def test_entropy_loss_is_minus_the_entropy(run):
    np.testing.assert_allclose(run(losses.entropy_loss, f32(0.5, 2)), [-0.5, -2])


def test_categorical_entropy_by_hand(run):
    # p = [1/4, 1/4, 1/2]: 2 * 1/4 * log 4 + 1/2 * log 2 = 1.5 log 2. A constant added to the logits changes nothing.
    np.testing.assert_allclose(run(losses.categorical_entropy, f32(7, 7, 7 + LOG2)), 1.5 * LOG2, rtol=1e-6)


@pytest.mark.parametrize("masked", [-INF, LOWEST, -1e9])
def test_a_masked_choice_adds_nothing_to_the_entropy(run, masked):
    # Rows: two even choices; a single choice; p = [1/3, 2/3].
    logits = f32([0, masked, 0], [masked, 5, masked], [0, LOG2, masked])
    thirds = np.log(3) - 2 / 3 * LOG2
    np.testing.assert_allclose(run(losses.categorical_entropy, logits), [LOG2, 0, thirds], rtol=1e-6, atol=1e-7)

    # dH/dlogit = -p (log p + H): 0 at masked choices, and nowhere NaN.
    slope = run(jax.grad(lambda x: losses.categorical_entropy(x).sum()), logits)
    last = -1 / 3 * (-np.log(3) + thirds)
    np.testing.assert_allclose(slope, [[0, 0, 0], [0, 0, 0], [last, -last, 0]], atol=1e-6)


def test_categorical_kl_by_hand(run):
    # p = [1/2, 1/2], q = [1/4, 3/4]: 1/2 log 2 + 1/2 log 2/3 = log 2 - 1/2 log 3.
    kl = run(losses.categorical_kl, f32(0, 0), f32(0, np.log(3)))
    np.testing.assert_allclose(kl, LOG2 - np.log(3) / 2, rtol=1e-6)


@pytest.mark.parametrize("masked", [-INF, LOWEST, -1e9])
def test_a_masked_choice_adds_nothing_to_the_kl(run, masked):
    # Masked in both, then in p alone, where q = [1/4, 1/4, 1/2]: 1/2 log 2 + 1/2 log 2 = log 2.
    p = f32([0, 0, masked], [0, 0, masked])
    q = f32([0, np.log(3), masked], [0, 0, LOG2])
    np.testing.assert_allclose(run(losses.categorical_kl, p, q), [LOG2 - np.log(3) / 2, LOG2], rtol=1e-6)

    # dKL/dlogit of q is q - p.
    slope_q = run(jax.grad(lambda q, p: losses.categorical_kl(p, q).sum()), q, p)
    np.testing.assert_allclose(slope_q, [[-0.25, 0.25, 0], [-0.25, -0.25, 0.5]], atol=1e-6)
    # dKL/dlogit of p is p (log p/q - KL): for the first row +-(log 3)/4, for the second 0.
    slope_p = run(jax.grad(lambda p, q: losses.categorical_kl(p, q).sum()), p, q)
    np.testing.assert_allclose(slope_p, [[np.log(3) / 4, -np.log(3) / 4, 0], [0, 0, 0]], atol=1e-6)


def test_kl_is_infinite_where_only_q_forbids(run):
    assert run(losses.categorical_kl, f32(0, 0), f32(0, -INF)) == INF


def test_kl_of_a_distribution_from_itself_is_0(run):
    logits = f32([1, 2, 3, -INF], [-50, 50, 0, 0])
    np.testing.assert_array_equal(run(losses.categorical_kl, logits, logits), [0, 0])


def test_entropy_and_kl_equal_distrax():
    rng = np.random.default_rng(0)
    p, q = (4 * rng.normal(size=(2, 16, 7))).astype(np.float32)
    one, other = distrax.Categorical(logits=p), distrax.Categorical(logits=q)
    np.testing.assert_allclose(losses.categorical_entropy(p), one.entropy(), rtol=1e-4)
    np.testing.assert_allclose(losses.categorical_kl(p, q), one.kl_divergence(other), rtol=1e-4)
