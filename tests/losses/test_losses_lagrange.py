"""Multipliers and penalties: numbers worked out by hand, and the slopes that a meta-gradient takes through them."""

import jax
import jax.numpy as jnp
import numpy as np

import losses


def f32(*numbers):
    return np.array(numbers, np.float32)


# Above beta, below it, and so far below that the multiplier would turn negative.
ARGS = (f32(1, 1, 0.01), f32(0.5, 0.1, 0.1), f32(0.3, 0.3, 0.3), f32(0.5, 0.5, 0.5))


def test_multiplier_by_hand(run):
    np.testing.assert_allclose(run(losses.multiplier_update, *ARGS), [1.1, 0.9, 0], rtol=1e-6)


def test_multiplier_slopes_in_its_rate_but_not_where_it_is_held_at_zero(run):
    slope = jax.grad(lambda *args: losses.multiplier_update(*args).sum(), argnums=3)
    np.testing.assert_allclose(run(slope, *ARGS), [0.2, -0.2, 0], rtol=1e-6)  # episode_cost - beta


def test_a_multiplier_is_never_negative():
    multiplier, cost, beta, rate = np.random.default_rng(0).uniform(size=(4, 999)).astype(np.float32)
    found = losses.multiplier_update(multiplier, cost, beta, 10 * rate)
    assert (found >= 0).all()
    assert (found == 0).any()


def test_penalised_reward_by_hand(run):
    np.testing.assert_allclose(run(losses.penalised_reward, f32(1, 0.5), f32(0, 1), 2.0), [1, -1.5])
    slope = jax.grad(lambda multiplier: losses.penalised_reward(f32(1, 0.5), f32(1, 2), multiplier).sum())
    np.testing.assert_allclose(slope(jnp.float32(2)), -3)


def test_judgement_by_hand(run):
    # 0.1 too much costs 100; below the threshold nothing is gained.
    np.testing.assert_allclose(run(losses.overshoot, f32(0.4, 0.2), 0.3), [0.1, 0], atol=1e-7)
    np.testing.assert_allclose(run(losses.penalised_return, f32(900, 900), f32(0.4, 0.2), 0.3), [800, 900], rtol=1e-6)
    np.testing.assert_allclose(run(losses.penalised_return, f32(40), f32(0.4), 0.3, 50.0), [35], rtol=1e-6)
