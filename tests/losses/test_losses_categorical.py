"""Distributions on atoms: hand-made cases, rlax, a scatter written out, and the slopes that a meta-gradient needs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlax

import losses

ATOMS = np.array([-2, -1, 0, 1, 2], np.float32)


def f32(*numbers):
    return np.array(numbers, np.float32)


def certain(*places):
    """Logits of one-hot distributions on `ATOMS`."""
    return 1e3 * np.eye(len(ATOMS), dtype=np.float32)[list(places)]


def scattered(z_p, probs, z_q):
    """The projection as the paper writes it: each atom hands its probability to the neighbours below and above."""
    mass, dz = np.zeros(len(z_q)), z_q[1] - z_q[0]
    for value, p in zip(z_p, probs, strict=True):
        place = (np.clip(value, z_q[0], z_q[-1]) - z_q[0]) / dz
        low, high = int(np.floor(place)), int(np.ceil(place))
        mass[low] += p * (1 if low == high else high - place)
        mass[high] += p * (place - low)
    return mass


def random_distributions(low, high, n=51, rows=8):
    rng = np.random.default_rng(0)
    z_q = np.linspace(-10, 10, n)
    return rng.uniform(low, high, (rows, n)), rng.dirichlet(np.ones(n), rows), z_q


def test_projection_by_hand(run):
    # A quarter at each of -9 (clipped), -0.75 (between -1 and 0), 1 (an atom) and 1.5 (half way); nothing at 0.3.
    found = run(losses.categorical_project, f32(-9, -0.75, 1, 1.5, 0.3), f32(0.25, 0.25, 0.25, 0.25, 0), ATOMS)
    np.testing.assert_allclose(found, [0.25, 0.1875, 0.0625, 0.375, 0.125], atol=1e-6)


def test_projection_equals_rlax_and_the_scatter():
    exact = random_distributions(-15, 15)
    rounded = [x.astype(np.float32) for x in exact]
    found = losses.categorical_project(*rounded)
    theirs = jax.vmap(rlax.categorical_l2_project, in_axes=(0, 0, None))(*rounded)
    np.testing.assert_allclose(found, theirs, atol=1e-5)
    np.testing.assert_allclose(found, [scattered(*row, exact[2]) for row in zip(*exact[:2], strict=True)], atol=1e-5)


def test_projection_keeps_the_mean_where_nothing_is_clipped():
    z_p, probs, z_q = (x.astype(np.float32) for x in random_distributions(-9.9, 9.9))
    found = losses.categorical_project(z_p, probs, z_q)
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-5)
    np.testing.assert_allclose(found @ z_q, (probs * z_p).sum(-1), atol=1e-5)


def test_a_termination_on_an_atom_is_one_hot(run):
    # Whatever the successor's distribution, reward 1 with discount 0 is certainty at atom 1.
    found = run(losses.categorical_target, np.zeros((2, 5), np.float32), f32(1, -2), f32(0, 0), ATOMS)
    np.testing.assert_allclose(found, [[0, 0, 0, 1, 0], [1, 0, 0, 0, 0]], atol=1e-6)


def test_target_by_hand(run):
    # Certainty at 1 becomes certainty at 0.75 + 0.5 * 1 = 1.25: three quarters at 1, one at 2.
    found = run(losses.categorical_target, certain(3)[0], f32(0.75)[0], f32(0.5)[0], ATOMS)
    np.testing.assert_allclose(found, [0, 0, 0, 0.75, 0.25], atol=1e-6)


def test_q_target_takes_the_selectors_action(run):
    # Three actions, certain of -1, 2 and 0. Greedy takes the second; the selector takes the third.
    logits, selector = certain(1, 4, 2), certain(0, 0, 1)
    greedy = run(losses.categorical_q_target, logits, logits, f32(0)[0], f32(0.5)[0], ATOMS)
    np.testing.assert_allclose(greedy, [0, 0, 0, 1, 0], atol=1e-6)
    double = run(losses.categorical_q_target, logits, selector, f32(1)[0], f32(0.5)[0], ATOMS)
    np.testing.assert_allclose(double, [0, 0, 0, 1, 0], atol=1e-6)
    double = run(losses.categorical_q_target, logits, selector, f32(-1)[0], f32(0.5)[0], ATOMS)
    np.testing.assert_allclose(double, [0, 1, 0, 0, 0], atol=1e-6)


def test_cross_entropy_by_hand(run):
    # Uniform logits cost log 5 whatever the target; one-hot targets cost minus the log-probability there.
    logits = np.log(f32(0.1, 0.2, 0.4, 0.2, 0.1))
    rows = run(losses.categorical_cross_entropy, np.stack([0 * logits, logits]), np.eye(5, dtype=np.float32)[[1, 2]])
    np.testing.assert_allclose(rows, [np.log(5), -np.log(0.4)], rtol=1e-6)


def test_cross_entropy_slopes_to_the_target(run):
    logits, target = f32(0, 0, 0, 0, 0), f32(0, 0.5, 0.5, 0, 0)
    slope = run(jax.grad(losses.categorical_cross_entropy), logits, target)
    np.testing.assert_allclose(slope, np.full(5, 0.2) - target, atol=1e-6)


def test_mean_by_hand(run):
    probs = f32(0.1, 0.2, 0.4, 0.1, 0.2)
    np.testing.assert_allclose(run(losses.categorical_mean, np.log(probs), ATOMS), 0.1, atol=1e-6)


def test_losses_equal_rlax():
    rng = np.random.default_rng(1)
    logits_tm1, logits_t, selector = rng.normal(size=(3, 16, 4, 5)).astype(np.float32)
    action = rng.integers(0, 4, 16)
    reward, discount = rng.uniform(-1, 1, (2, 16)).astype(np.float32)
    taken = logits_tm1[np.arange(16), action]
    args = (logits_tm1, action, reward, discount)

    plain = losses.categorical_cross_entropy(
        taken, losses.categorical_q_target(logits_t, logits_t, reward, discount, ATOMS)
    )
    double = losses.categorical_cross_entropy(
        taken, losses.categorical_q_target(logits_t, selector, reward, discount, ATOMS)
    )
    expected = jax.vmap(rlax.categorical_q_learning, in_axes=(None, 0, 0, 0, 0, None, 0))
    np.testing.assert_allclose(plain, expected(ATOMS, *args, ATOMS, logits_t), rtol=1e-4)
    expected = jax.vmap(rlax.categorical_double_q_learning, in_axes=(None, 0, 0, 0, 0, None, 0, 0))
    q_selector = losses.categorical_mean(selector.reshape(-1, 5), ATOMS).reshape(16, 4)
    np.testing.assert_allclose(double, expected(ATOMS, *args, ATOMS, logits_t, q_selector), rtol=1e-4)


def test_a_meta_gradient_may_reach_the_reward():
    """The slope of the whole loss in the reward, against central differences; the default stops it."""
    rng = np.random.default_rng(2)
    logits_tm1, logits_t = rng.normal(size=(2, 5)).astype(np.float32)

    def loss(reward, **stop):
        target = losses.categorical_target(logits_t, reward, jnp.float32(0.7), ATOMS, **stop)
        return losses.categorical_cross_entropy(logits_tm1, target, **stop)

    at, step = jnp.float32(0.33), 0.01
    slope = jax.grad(lambda reward: loss(reward, stop_target_gradients=False))(at)
    np.testing.assert_allclose(slope, (loss(at + step) - loss(at - step)) / (2 * step), rtol=1e-3)
    assert abs(slope) > 0.01
    assert jax.grad(loss)(at) == 0


def test_one_atom_or_another_number_of_them_is_refused():
    one = np.ones(1, np.float32)
    with pytest.raises(AssertionError):
        losses.categorical_project(one, one, one)
    with pytest.raises(AssertionError):
        losses.categorical_mean(ATOMS, ATOMS[:4])
    with pytest.raises(AssertionError):
        losses.categorical_target(certain(0), f32(1), f32(1), ATOMS[:4])
