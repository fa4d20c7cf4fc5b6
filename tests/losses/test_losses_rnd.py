"""RND's novelty and BeBold's bonus against numbers worked out by hand and the paper's tabular criterion."""

import functools

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import losses

PREDICTION = np.array([[3.0, 4.0], [1.0, 1.0], [0.0, -2.0]], np.float32)
TARGET = np.array([[0.0, 0.0], [1.0, 1.0], [0.0, 0.0]], np.float32)


@pytest.mark.parametrize(("squared", "expected"), [(False, [5, 0, 2]), (True, [25, 0, 4])])
def test_novelty_is_the_norm_of_the_error(run, squared, expected):
    # sqrt(3^2 + 4^2) = 5 (over K, not its mean), agreement, sqrt(2^2) = 2.
    np.testing.assert_allclose(
        run(functools.partial(losses.rnd_novelty, squared=squared), PREDICTION, TARGET), expected
    )
    np.testing.assert_allclose(run(functools.partial(losses.rnd_loss, squared=squared), PREDICTION, TARGET), expected)


@pytest.mark.parametrize(
    ("squared", "expected"),
    [
        (False, [[0.6, 0.8], [0, 0], [0, -1]]),  # the unit vector along the error, and 0 (not NaN) where there is none
        (True, [[6, 8], [0, 0], [0, -4]]),  # twice the error
    ],
)
def test_the_predictor_learns_with_a_finite_gradient(run, squared, expected):
    slope = jax.grad(lambda prediction, target: losses.rnd_loss(prediction, target, squared).sum())
    np.testing.assert_allclose(run(slope, PREDICTION, TARGET), expected, rtol=1e-6)


def test_bebold_on_the_chain_of_the_paper(run):
    # States 0-1-2-1-2-3 in a fresh episode, novelty 1/N with N = {0: 4, 1: 2, 2: 1, 3: 1}.
    # 1/2 - 1/4, 1 - 1/2, back to 1 (less than 0, and a repeat), 2 again (a repeat), 1 - 1.
    novelty = np.array([1 / 4, 1 / 2, 1, 1 / 2, 1, 1], np.float32)
    first_visit = np.array([True, True, False, False, True])
    bonus = run(losses.bebold_bonus, novelty[:-1], novelty[1:], first_visit)
    np.testing.assert_allclose(bonus, [0.25, 0.5, 0, 0, 0], atol=1e-6)


def test_noveld_weighs_what_is_left_behind(run):
    # beta 1/2: 3 - 2/2 = 2; 1 - 4/2 < 0 pays the floor, at a first visit only.
    args = np.array([2, 4, 4], np.float32), np.array([3, 1, 1], np.float32), np.array([True, True, False])
    np.testing.assert_allclose(run(losses.bebold_bonus, *args, 0.5), [2, 0, 0])
    np.testing.assert_allclose(run(losses.bebold_bonus, *args, 0.5, 0.25), [2, 0.25, 0])
    np.testing.assert_allclose(run(losses.bebold_bonus, *args, 0.5, -np.inf), [2, -1, 0])  # never clipped


novelties = arrays.arrays(np.float32, 6, elements=st.floats(0, 1000, width=32))


@settings(max_examples=50, deadline=None)
@given(novelties, novelties, arrays.arrays(bool, 6), st.floats(0, 2, width=32))
def test_the_bonus_is_never_negative_and_crossing_back_and_forth_pays_the_difference(before, after, first, beta):
    assert (losses.bebold_bonus(before, after, first, beta) >= 0).all()

    always = np.ones(6, bool)
    both_ways = losses.bebold_bonus(before, after, always) + losses.bebold_bonus(after, before, always)
    np.testing.assert_allclose(both_ways, np.abs(after - before), atol=1e-6)


@pytest.mark.parametrize("first_visit", [np.ones(3, np.float32), np.ones(3, np.int32), np.ones(2, bool)])
def test_first_visits_are_told_by_bools_of_the_same_shape(first_visit):
    novelty = np.ones(3, np.float32)
    with pytest.raises(AssertionError):
        losses.bebold_bonus(novelty, novelty, first_visit)
