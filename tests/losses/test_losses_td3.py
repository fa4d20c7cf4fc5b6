"""TD3: numbers worked out by hand."""

import numpy as np
import pytest

import losses


def f32(*numbers):
    return np.array(numbers, np.float32)


def test_smoothed_action_by_hand(run):
    # Noise held within 0.5, then the action within its bounds.
    action, noise = f32([0, 0.9, -0.9], [0.2, 0, 0]), f32([0.1, 0.3, -7], [-7, 0.5, 0])
    found = run(losses.td3_smoothed_action, action, noise, 0.5, -1.0, 1.0)
    np.testing.assert_allclose(found, [[0.1, 1, -1], [-0.3, 0.5, 0]], rtol=1e-6)


def test_every_action_may_have_bounds_of_its_own():
    found = losses.td3_smoothed_action(f32([0, 0], [2, 2]), f32([1, -1], [0, 0]), 9.0, f32(-2, -0.5), f32(2, 0.5))
    np.testing.assert_allclose(found, [[1, -0.5], [2, 0.5]])
    with pytest.raises(AssertionError, match="do not fit"):
        losses.td3_smoothed_action(f32([0, 0], [2, 2]), f32([0, 0], [0, 0]), 9.0, f32(-1), f32(1))


def test_target_is_that_of_the_lowest_critic(run):
    found = run(losses.td3_target, f32([3, 1], [2, 4], [0, 0]), f32(10, 20, 30), f32(0.5, 1, 0))
    np.testing.assert_allclose(found, [10.5, 22, 30])
