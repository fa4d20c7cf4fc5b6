"""Contrastive losses: numbers by hand, SciPy's matrix root for the Wasserstein distance, and where gradients stop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import sqrtm

import losses

RNG = np.random.default_rng(0)
MEAN_Q, MEAN_K = RNG.normal(size=(2, 4, 3)).astype(np.float32)
STD_Q, STD_K = RNG.uniform(0.1, 2, size=(2, 4, 3)).astype(np.float32)
ALL = np.ones((4, 4), bool)


def test_similarity_is_minus_the_squared_distance_of_wasserstein(run):
    found = run(losses.wasserstein_similarity, MEAN_Q, STD_Q, MEAN_K, STD_K)
    for i in range(4):
        for j in range(4):
            one, other = np.diag(STD_Q[i].astype(float) ** 2), np.diag(STD_K[j].astype(float) ** 2)
            root = sqrtm(one)
            distance = np.sum((MEAN_Q[i] - MEAN_K[j]) ** 2) + np.trace(
                one + other - 2 * sqrtm(root @ other @ root).real
            )
            np.testing.assert_allclose(found[i, j], -distance, rtol=1e-5)


def test_what_is_the_same_is_at_no_distance():
    found = losses.wasserstein_similarity(MEAN_Q, STD_Q, MEAN_Q, STD_Q)
    np.testing.assert_array_equal(np.diagonal(found), 0)
    assert (np.asarray(found)[~np.eye(4, dtype=bool)] < 0).all()


def test_mahalanobis_by_hand(run):
    found = run(
        losses.mahalanobis_similarity,
        np.float32([[1.0]]),
        np.float32([[2.0]]),
        np.float32([[4.0]]),
        np.zeros((1, 1), np.float32),
    )
    np.testing.assert_allclose(found, [[-9 / (1e-3 + 2)]], rtol=1e-6)


def test_bilinear_by_hand(run):
    weight = RNG.normal(size=(3, 3)).astype(np.float32)
    found = run(losses.bilinear_similarity, MEAN_Q, weight, MEAN_K)
    np.testing.assert_allclose(found[1, 2], MEAN_Q[1] @ weight @ MEAN_K[2], rtol=1e-5)


def test_loss_of_two_by_hand(run):
    """Two queries, one dimension: distances 0 and 4, 1 and 1."""
    similarity = losses.wasserstein_similarity(
        np.float32([[0.0], [1.0]]),
        np.zeros((2, 1), np.float32),
        np.float32([[0.0], [2.0]]),
        np.zeros((2, 1), np.float32),
    )
    np.testing.assert_array_equal(similarity, [[0, -4], [-1, -1]])
    found = run(losses.info_nce, similarity, np.ones((2, 2), bool))
    np.testing.assert_allclose(found, [np.log(1 + np.exp(-4)), np.log(2)], rtol=1e-5)


def test_alike_costs_the_logarithm_of_their_number_and_apart_nothing():
    np.testing.assert_allclose(losses.info_nce(jnp.zeros((4, 4)), ALL), np.log(4), rtol=1e-6)
    np.testing.assert_allclose(losses.info_nce(jnp.float32(1e4) * (jnp.eye(4) - 1), ALL), 0, atol=1e-6)


def test_keys_that_do_not_count_are_as_if_they_were_not_there(run):
    similarity = RNG.normal(size=(4, 4)).astype(np.float32)
    allowed = ALL.copy()
    allowed[:, 3] = False
    found = run(losses.info_nce, similarity, allowed)
    few = losses.info_nce(similarity[:3, :3], ALL[:3, :3])
    np.testing.assert_allclose(found[:3], few, rtol=1e-6)
    np.testing.assert_allclose(found[3], losses.info_nce(similarity, ALL)[3], rtol=1e-6)  # its own key counts


@pytest.mark.parametrize("similarity", [losses.wasserstein_similarity, losses.mahalanobis_similarity])
def test_keys_are_constants(similarity):
    total = lambda *parts: similarity(*parts).sum()  # noqa: E731
    slopes = jax.grad(total, argnums=(0, 1, 2, 3))(MEAN_Q, STD_Q, MEAN_K, STD_K)
    assert all(np.any(slope) for slope in slopes[:2])
    assert not any(np.any(slope) for slope in slopes[2:])
    product = jax.grad(lambda q, w, k: losses.bilinear_similarity(q, w, k).sum(), argnums=(0, 1, 2))
    one, weight, key = product(MEAN_Q, jnp.eye(3), MEAN_K)
    assert np.any(one)
    assert np.any(weight)
    assert not np.any(key)


def test_wrong_shapes_are_refused():
    with pytest.raises(AssertionError):
        losses.wasserstein_similarity(MEAN_Q, STD_Q[:2], MEAN_K, STD_K)
    with pytest.raises(AssertionError):
        losses.info_nce(jnp.zeros((4, 4)), jnp.ones((4, 4)))
