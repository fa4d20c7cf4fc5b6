"""Policy losses against numbers worked out by hand and against rlax."""

import jax
import numpy as np
import rlax

import losses

RATIO = np.array([1.5, 1.5, 0.5, 0.5, 1.1], np.float32)
ADVANTAGE = np.array([2.0, -2.0, 2.0, -2.0, 2.0], np.float32)


def test_policy_gradient_by_hand(run):
    # -(-0.5 * 2) = 1; -(-2 * -3) = -6.
    loss = run(losses.policy_gradient, np.array([-0.5, -2.0], np.float32), np.array([2.0, -3.0], np.float32))
    np.testing.assert_allclose(loss, [1, -6])


def test_policy_gradient_pushes_by_the_advantage(run):
    slope = jax.grad(lambda logp, advantage: losses.policy_gradient(logp, advantage).sum())
    advantage = np.array([2.0, -3.0], np.float32)
    np.testing.assert_allclose(run(slope, np.array([-0.5, -2.0], np.float32), advantage), -advantage)


def test_clipped_surrogate_by_hand(run):
    # epsilon 0.2: -min(3, 2.4), -min(-3, -2.4), -min(1, 1.6), -min(-1, -1.6), -min(2.2, 2.2).
    np.testing.assert_allclose(
        run(losses.clipped_surrogate, RATIO, ADVANTAGE, 0.2), [-2.4, 3, -1, 1.6, -2.2], rtol=1e-6
    )


def test_clipped_surrogate_stops_where_the_step_has_gone_far_enough(run):
    # Too far in the advantage's direction (elements 0 and 3): no gradient. Elsewhere -advantage.
    slope = jax.grad(lambda ratio, advantage: losses.clipped_surrogate(ratio, advantage, 0.2).sum())
    np.testing.assert_allclose(run(slope, RATIO, ADVANTAGE), [0, 2, -2, 0, -2])


def test_clipped_surrogate_starts_as_the_policy_gradient():
    # At ratio 1 both sides of the minimum are equal; their gradients must not add up to more or less than one.
    np.testing.assert_allclose(jax.grad(losses.clipped_surrogate)(1.0, 3.0, 0.2), -3)


def test_clipped_surrogate_averages_to_rlax():
    rng = np.random.default_rng(0)
    ratio = np.exp(rng.normal(size=16)).astype(np.float32)
    advantage = rng.normal(size=16).astype(np.float32)
    np.testing.assert_allclose(
        losses.clipped_surrogate(ratio, advantage, 0.2).mean(),
        rlax.clipped_surrogate_pg_loss(ratio, advantage, 0.2),
        rtol=1e-5,
    )
