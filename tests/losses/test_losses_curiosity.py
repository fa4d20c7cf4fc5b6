"""Bonuses of curiosity, impact and episodic novelty against numbers worked out by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import losses

PREDICTION = np.array([[3.0, 4.0], [1.0, 1.0], [0.0, -2.0]], np.float32)
EMBEDDING = np.array([[0.0, 0.0], [1.0, 1.0], [0.0, 0.0]], np.float32)


@pytest.mark.parametrize(("squared", "expected"), [(True, [12.5, 0, 2]), (False, [5, 0, 2])])
def test_curiosity_is_the_error_of_the_forward_model(run, squared, expected):
    # (3^2 + 4^2) / 2 = 12.5 and its root without the half; agreement; 2^2 / 2 = 2 and 2.
    for loss in (losses.icm_loss, losses.icm_bonus):
        np.testing.assert_allclose(run(functools.partial(loss, squared=squared), PREDICTION, EMBEDDING), expected)


@pytest.mark.parametrize(
    ("squared", "expected"), [(True, [[3, 4], [0, 0], [0, -2]]), (False, [[0.6, 0.8], [0, 0], [0, -1]])]
)
def test_forward_model_and_embedding_are_drawn_together(run, squared, expected):
    loss = functools.partial(losses.icm_loss, squared=squared)
    slopes = run(jax.grad(lambda *args: loss(*args).sum(), argnums=(0, 1)), PREDICTION, EMBEDDING)
    np.testing.assert_allclose(slopes[0], expected, rtol=1e-6)
    np.testing.assert_allclose(slopes[1], -np.asarray(expected), rtol=1e-6)


def test_impact_is_divided_by_the_root_of_the_visits(run):
    # 5 / sqrt(1), 5 / sqrt(4), and nothing for a step that moved nothing.
    before, after = np.zeros((3, 2), np.float32), np.array([[3, 4], [3, 4], [0, 0]], np.float32)
    np.testing.assert_allclose(run(losses.ride_bonus, before, after, np.array([1, 4, 1], np.float32)), [5, 2.5, 0])


def test_the_kernel_counts_how_many_neighbours_are_near(run):
    # Mean 2, cluster 0.5, epsilon 0.5: distances 1 (within the cluster), 3 and 5 give d = 0, 1, 2 and kernels 1, 1/3,
    # 1/5; one neighbour that there is not counts nothing. The second row stands on three neighbours at once.
    distance = np.array([[1, 3, 5, np.inf], [0, 0, 0, np.inf]], np.float32)
    bonus = functools.partial(losses.ngu_bonus, epsilon=0.5, cluster=0.5, constant=0.1)
    expected = [1 / (np.sqrt(1 + 1 / 3 + 1 / 5) + 0.1), 1 / (np.sqrt(3) + 0.1)]
    np.testing.assert_allclose(run(bonus, distance, 2.0), expected, rtol=1e-6)
    # Similarities are 1.338 and 1.832: beyond the limit nothing is paid.
    np.testing.assert_allclose(run(functools.partial(bonus, limit=1.5), distance, 2.0), [expected[0], 0], rtol=1e-6)


def test_the_defaults_of_the_kernel_are_the_papers(run):
    # d = 1 - 0.008 at the mean distance: ten such neighbours.
    distance = np.full((1, 10), 0.3, np.float32)
    expected = 1 / (np.sqrt(10 * 1e-3 / (0.992 + 1e-3)) + 1e-3)
    np.testing.assert_allclose(run(losses.ngu_bonus, distance, 0.3), [expected], rtol=1e-5)
    # Nobody near, and everybody on one spot: finite either way, though the mean distance of one spot is 0.
    np.testing.assert_allclose(run(losses.ngu_bonus, np.full((1, 10), np.inf, np.float32), 0.3), [1e3], rtol=1e-5)
    one_spot = run(losses.ngu_bonus, np.zeros((1, 10), np.float32), 0.0)
    np.testing.assert_allclose(one_spot, [1 / (np.sqrt(10) + 1e-3)], rtol=1e-5)


def test_what_is_new_to_the_run_counts_up_to_the_limit(run):
    # 1 + (e - 2) / 0.5: 1 at the mean, 3 two deviations above it, never below 1, never above 5.
    error = np.array([2.0, 3.0, 1.0, 100.0], np.float32)
    np.testing.assert_allclose(run(losses.ngu_modulation, error, 2.0, 0.5), [1, 3, 1, 5])
    np.testing.assert_allclose(run(functools.partial(losses.ngu_modulation, limit=2.0), error, 2.0, 0.5), [1, 2, 1, 2])


@pytest.mark.parametrize("visits", [np.ones(2, np.float32), np.ones(3, np.int32), np.ones((3, 2), np.float32)])
def test_visits_are_one_float_per_step(visits):
    with pytest.raises(AssertionError):
        losses.ride_bonus(PREDICTION, EMBEDDING, visits)


def test_a_mean_distance_is_one_number():
    with pytest.raises(AssertionError):
        losses.ngu_bonus(jnp.ones((3, 2)), jnp.ones(3))
