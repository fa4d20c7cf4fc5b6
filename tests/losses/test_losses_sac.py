"""Soft actor-critic: numbers worked out by hand, and where the temperature goes."""

import jax
import jax.numpy as jnp
import numpy as np

import losses


def f32(*numbers):
    return np.array(numbers, np.float32)


Q, LOGP = f32([3, 1], [2, 4]), f32(-2, 0.5)


def test_target_by_hand(run):
    # 10 + 0.5 (1 + 0.2 * 2), and 20 where the episode terminates.
    np.testing.assert_allclose(run(losses.sac_target, Q, LOGP, f32(10, 20), f32(0.5, 0), 0.2), [10.7, 20], rtol=1e-6)


def test_policy_loss_by_hand(run):
    np.testing.assert_allclose(run(losses.sac_policy_loss, Q, LOGP, 0.2), [-0.4 - 1, 0.1 - 2], rtol=1e-6)


def test_the_policy_climbs_the_lower_critic_and_leaves_the_temperature_alone(run):
    slopes = jax.grad(lambda q, logp: losses.sac_policy_loss(q, logp, 0.2).sum(), argnums=(0, 1))
    q, logp = run(slopes, Q, LOGP)
    np.testing.assert_allclose(q, [[0, -1], [-1, 0]])
    np.testing.assert_allclose(logp, [0.2, 0.2])
    assert jax.grad(lambda alpha: losses.sac_policy_loss(Q, LOGP, alpha).sum())(0.2) == 0


def test_temperature_loss_by_hand(run):
    # -log alpha * (log p + target entropy), here with log alpha 0.5 and target -1.
    np.testing.assert_allclose(run(losses.sac_temperature_loss, 0.5, LOGP, -1.0), [1.5, 0.25])


def test_the_temperature_rises_where_entropy_is_short(run):
    # Entropy -logp: 2 is above the target of 1 and pushes down, -0.5 is below it and pushes up; a step goes downhill.
    slope = jax.vmap(jax.grad(losses.sac_temperature_loss), in_axes=(None, 0, None))
    np.testing.assert_allclose(run(slope, jnp.float32(0.3), LOGP, 1.0), [1, -1.5])


def test_the_policy_that_descends_is_the_softmax_of_the_values():
    """Over three actions, with the expectation written out, the least loss is that of `exp(q / alpha)`."""
    values, alpha = f32(1, 0, -1), 0.5

    def loss(logits):
        logp = jax.nn.log_softmax(logits)
        return jnp.sum(jnp.exp(logp) * losses.sac_policy_loss(values[:, None], logp, alpha))

    descent = lambda _, logits: logits - 0.5 * jax.grad(loss)(logits)  # noqa: E731
    found = jax.nn.softmax(jax.lax.fori_loop(0, 3000, descent, jnp.zeros(3)))
    np.testing.assert_allclose(found, jax.nn.softmax(values / alpha), atol=1e-3)
