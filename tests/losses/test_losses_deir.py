"""DEIR's bonus and loss against numbers worked out by hand."""

import jax
import numpy as np
import pytest

import losses

TRUE, FALSE = np.array([0.5, -1.0, 2.0, 0.0], np.float32), np.array([-0.5, 1.0, 0.3, -2.0], np.float32)
TRUE_COUNTS, FALSE_COUNTS = np.array([True, True, True, False]), np.array([True, False, False, False])


def test_the_bonus_is_the_least_over_what_is_filled(run):
    # 9 / 1, 4 / 0.5 and, where it counts, 2 / 4; nothing before is no bonus.
    square = np.array([[9, 4, 2]] * 3, np.float32)
    distance = np.array([[1, 0.5, 4]] * 3, np.float32)
    filled = np.array([[1, 1, 0], [1, 1, 1], [0, 0, 0]], bool)
    np.testing.assert_allclose(run(losses.deir_bonus, square, distance, filled), [8, 0.5, 0], rtol=1e-5)


def test_the_bonus_of_what_was_seen_is_0_and_epsilon_bounds_the_others(run):
    square, distance = np.array([0, 4], np.float32), np.zeros(2, np.float32)
    assert run(losses.deir_bonus, square, distance, np.ones(2, bool)) == 0
    np.testing.assert_allclose(run(losses.deir_bonus, square, distance, np.array([False, True]), 0.5), 8)


def test_twice_the_embeddings_pay_four_times():
    square, distance = np.random.default_rng(0).uniform(1, 2, (2, 5, 7)).astype(np.float32)
    filled = np.ones((5, 7), bool)
    once = losses.deir_bonus(square, distance, filled)
    np.testing.assert_allclose(losses.deir_bonus(4 * square, distance, filled), 4 * once, rtol=1e-5)


def test_the_loss_is_balanced_by_the_counts(run):
    # Three true rows of mean m_t, one false row of mean m_f: (m_t + 3 m_f) / 2.
    true = np.log1p(np.exp(-TRUE))[TRUE_COUNTS].mean()
    false = np.log1p(np.exp(FALSE))[FALSE_COUNTS].mean()
    rows = run(losses.deir_loss, TRUE, FALSE, TRUE_COUNTS, FALSE_COUNTS)
    np.testing.assert_allclose(rows.sum(), (true + 3 * false) / 2, rtol=1e-5)
    assert rows[3] == 0


def test_rows_that_do_not_count_leave_the_gradient_as_it_is():
    slope = jax.grad(lambda pair, *counts: losses.deir_loss(*pair, *counts).sum())
    counts = TRUE_COUNTS, FALSE_COUNTS
    before = slope((TRUE, FALSE), *counts)
    others = np.where(TRUE_COUNTS, TRUE, 9).astype(np.float32), np.where(FALSE_COUNTS, FALSE, -9).astype(np.float32)
    for a, b, kept in zip(before, slope(others, *counts), counts, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a != 0, kept)


def test_nothing_that_counts_is_a_loss_and_a_gradient_of_0(run):
    nothing = np.zeros(4, bool)
    rows, slope = run(jax.value_and_grad(lambda x: losses.deir_loss(x, FALSE, nothing, nothing).sum()), TRUE)
    assert rows == 0
    np.testing.assert_array_equal(slope, 0)


def test_what_is_filled_is_told_by_bools():
    with pytest.raises(AssertionError):
        losses.deir_bonus(np.ones(3, np.float32), np.ones(3, np.float32), np.ones(3, np.float32))
