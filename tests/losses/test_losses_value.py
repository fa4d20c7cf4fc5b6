"""Value losses against numbers worked out by hand and against optax."""

import jax
import numpy as np
import optax

import losses


def f32(*numbers):
    return np.array(numbers, np.float32)


def test_squared_value_by_hand(run):
    np.testing.assert_allclose(run(losses.squared_value, f32(1, 5), f32(4, 3)), [4.5, 2])  # 3^2 / 2, 2^2 / 2


VALUE, OLD, TARGET = f32(1, 1, -1, 0.1), f32(0, 0, 0, 0), f32(2, -2, -3, 1)


def test_clipped_value_by_hand(run):
    # epsilon 0.5 holds the values at [0.5, 0.5, -0.5, 0.1]; squared errors free: [1, 9, 4, 0.81], held: [2.25, 6.25,
    # 6.25, 0.81]. The larger of both, halved.
    np.testing.assert_allclose(
        run(losses.clipped_value, VALUE, OLD, TARGET, 0.5), [1.125, 4.5, 3.125, 0.405], rtol=1e-6
    )


def test_clipped_value_stops_where_the_value_has_gone_far_enough(run):
    # Elements 0 and 2 have passed epsilon towards the target: no gradient. Elsewhere value - target.
    slope = jax.grad(lambda value: losses.clipped_value(value, OLD, TARGET, 0.5).sum())
    np.testing.assert_allclose(run(slope, VALUE)[:3], [0, 3, 0])
    np.testing.assert_allclose(run(slope, VALUE)[3], -0.9, rtol=1e-6)


def test_huber_value_by_hand(run):
    # delta 1, errors -3, 0.5, 2, 1: 1 * (3 - 1/2), 0.25 / 2, 1 * (2 - 1/2), and 1/2 where both branches meet.
    np.testing.assert_allclose(run(losses.huber_value, f32(1, 3.5, 5, 4), f32(4, 3, 3, 3), 1.0), [2.5, 0.125, 1.5, 0.5])


def test_huber_value_has_a_bounded_slope(run):
    # The error, held within delta = 2.
    slope = jax.grad(lambda value: losses.huber_value(value, f32(0, 0, 0, 0, 0), 2.0).sum())
    np.testing.assert_allclose(run(slope, f32(-9, -2, 0.5, 2, 9)), [-2, -2, 0.5, 2, 2])


def test_huber_value_equals_optax():
    rng = np.random.default_rng(0)
    value, target = (3 * rng.normal(size=(2, 32))).astype(np.float32)
    for delta in (0.3, 1.0, 4.0):
        np.testing.assert_allclose(
            losses.huber_value(value, target, delta),
            optax.losses.huber_loss(value, target, delta=delta),
            rtol=1e-5,
            atol=1e-6,
        )
