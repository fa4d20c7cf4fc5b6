"""Temporal differences against numbers worked out by hand and against rlax."""

import jax
import jax.numpy as jnp
import numpy as np
import rlax

import losses


def f32(*numbers):
    return np.array(numbers, np.float32)


Q = f32([1, 5, 2], [0, -1, -3])  # two states, three actions
SELECTOR = f32([3, 1, 2], [0, 0, 7])
REWARD, DISCOUNT = f32(10, 20), f32(0.5, 0)


def test_td_target_by_hand(run):
    np.testing.assert_allclose(run(losses.td_target, f32(4, 8), REWARD, DISCOUNT), [12, 20])  # the second terminates


def test_q_learning_takes_the_best_action(run):
    np.testing.assert_allclose(run(losses.q_learning_target, Q, REWARD, f32(0.5, 2)), [12.5, 20])


def test_double_q_values_what_another_chose(run):
    # The selector takes actions 0 and 2, worth 1 and -3.
    np.testing.assert_allclose(run(losses.double_q_target, Q, SELECTOR, REWARD, f32(0.5, 2)), [10.5, 14])


def test_error_and_loss_by_hand(run):
    # Targets 7.5 and -1.5 for the actions worth 5 and -1: errors 2.5 and -0.5; 2.5 - 1/2 and 0.25 / 2.
    action, target = np.array([1, 1]), f32(7.5, -1.5)
    np.testing.assert_allclose(run(losses.td_error, Q, action, target), [2.5, -0.5])
    np.testing.assert_allclose(run(losses.huber_td, Q, action, target), [2, 0.125])
    np.testing.assert_allclose(run(losses.huber_td, Q, action, target, jnp.inf), [3.125, 0.125])


def test_only_the_action_taken_learns_and_with_its_error_clipped(run):
    slope = jax.grad(lambda q: losses.huber_td(q, jnp.array([1, 2]), f32(7.5, -3.25)).sum())
    np.testing.assert_allclose(run(slope, Q), [[0, -1, 0], [0, 0, 0.25]])


def test_one_step_without_axes(run):
    np.testing.assert_allclose(run(losses.double_q_target, Q[0], SELECTOR[0], REWARD[0], DISCOUNT[0]), 10.5)
    np.testing.assert_allclose(run(losses.td_error, Q[0], jnp.int32(2), f32(3)[0]), 1)


def test_errors_equal_rlax():
    rng = np.random.default_rng(0)
    q_tm1, q_t, selector = rng.normal(size=(3, 16, 4)).astype(np.float32)
    action = rng.integers(0, 4, 16)
    reward, discount = rng.uniform(size=(2, 16)).astype(np.float32)
    plain = losses.td_error(q_tm1, action, losses.q_learning_target(q_t, reward, discount))
    double = losses.td_error(q_tm1, action, losses.double_q_target(q_t, selector, reward, discount))
    expected = jax.vmap(rlax.q_learning)(q_tm1, action, reward, discount, q_t)
    np.testing.assert_allclose(plain, expected, rtol=1e-5, atol=1e-6)
    expected = jax.vmap(rlax.double_q_learning)(q_tm1, action, reward, discount, q_t, selector)
    np.testing.assert_allclose(double, expected, rtol=1e-5, atol=1e-6)
    huber = losses.huber_td(q_tm1, action, losses.q_learning_target(q_t, reward, discount), 0.5)
    np.testing.assert_allclose(huber, rlax.huber_loss(plain, 0.5), rtol=1e-5, atol=1e-6)
