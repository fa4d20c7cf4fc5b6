"""Elliptical bonuses against the inverse itself, and against counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import losses

RIDGE, D = 0.1, 6
EPISODE = np.random.default_rng(0).normal(size=(20, D)).astype(np.float32)


def episode(embeddings):
    """The bonuses of an episode `[T]`, and the inverse behind each of its steps `[T, D, D]`."""

    def step(inverse, embedding):
        after = losses.elliptical_update(embedding, inverse)
        return after, (losses.elliptical_bonus(embedding, inverse), after)

    return jax.lax.scan(step, jnp.eye(embeddings.shape[-1]) / RIDGE, embeddings)[1]


def test_an_episode_agrees_with_the_inverse_itself(run):
    bonuses, inverses = run(episode, EPISODE)
    covariance = RIDGE * np.eye(D)
    for phi, bonus, inverse in zip(EPISODE.astype(np.float64), bonuses, inverses, strict=True):
        np.testing.assert_allclose(bonus, phi @ np.linalg.inv(covariance) @ phi, rtol=1e-4)
        covariance += np.outer(phi, phi)
        np.testing.assert_allclose(inverse, np.linalg.inv(covariance), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(inverse, np.transpose(inverse), rtol=1e-5, atol=1e-7)


def test_one_hots_are_paid_by_their_counts():
    # Visits 0, 0, 1, 2 and 1 before this one: 1 / (lambda + N).
    bonuses, _ = episode(jnp.eye(3)[jnp.array([0, 1, 0, 0, 1])])
    np.testing.assert_allclose(bonuses, 1 / (RIDGE + np.array([0, 0, 1, 2, 1])), rtol=1e-5)


@pytest.mark.parametrize("inverse", [np.ones((3, 2), np.float32), np.ones((4, 3, 3), np.float32), np.eye(2)])
@pytest.mark.parametrize("function", [losses.elliptical_bonus, losses.elliptical_update])
def test_a_matrix_of_another_size_is_refused(function, inverse):
    with pytest.raises(AssertionError):
        function(jnp.ones(3), jnp.asarray(inverse, jnp.float32))
