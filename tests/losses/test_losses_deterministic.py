"""The deterministic policy gradient: its slope by hand, its bound, and rlax."""

import jax
import numpy as np
import pytest
import rlax

import losses


def f32(*numbers):
    return np.array(numbers, np.float32)


def slope(*args):
    return jax.grad(lambda action: losses.dpg_loss(action, *args[1:]).sum())(args[0])


def test_the_slope_is_the_critics_reversed_and_clipped(run):
    # Norms 5, 0.5 and 0; the first is brought down to 1.
    action, dqda = f32([7, -7], [0, 0], [1, 1]), f32([3, 4], [0.3, -0.4], [0, 0])
    np.testing.assert_allclose(run(slope, action, dqda, 1.0), [[-0.6, -0.8], [-0.3, 0.4], [0, 0]], rtol=1e-6)
    np.testing.assert_allclose(run(losses.dpg_loss, action, dqda, 1.0), [0.5, 0.125, 0], rtol=1e-6)
    np.testing.assert_allclose(run(losses.dpg_loss, action, dqda), [12.5, 0.125, 0], rtol=1e-6)


def test_small_slopes_survive_large_actions(run):
    np.testing.assert_allclose(run(slope, f32(900, -900), f32(1e-6, 2e-6)), f32(-1e-6, -2e-6), rtol=1e-6)


@pytest.mark.parametrize("clip", [None, 0.5, 2.0])
def test_equals_rlax(clip):
    action, dqda = np.random.default_rng(0).normal(size=(2, 16, 3)).astype(np.float32)
    theirs = jax.vmap(lambda a, g: rlax.dpg_loss(a, g, clip).sum())
    bound = () if clip is None else (clip,)
    np.testing.assert_allclose(losses.dpg_loss(action, dqda, *bound), theirs(action, dqda), rtol=1e-4)
    expected = jax.grad(lambda a: theirs(a, dqda).sum())(action)
    np.testing.assert_allclose(slope(action, dqda, *bound), expected, rtol=1e-4, atol=1e-6)
