"""Returns against numbers worked out by hand and against rlax."""

import functools

import numpy as np
import pytest
import rlax

import losses

REWARD = np.array([1.0, 1.0, 2.0], np.float32)
DISCOUNT = np.array([0.5, 0.5, 0.5], np.float32)
VALUE = np.array([2.0, 10.0, 4.0], np.float32)
WHOLE = np.array([1.0, 1.0, 1.0], np.float32)
CUT = np.array([1.0, 0.0, 1.0], np.float32)  # step 1 is truncated in a state worth 10


def n_step(n):
    return functools.partial(losses.n_step_returns, n=n)


def test_discounted_returns_by_hand(run):
    # G2 = 2 + 8/2 = 6; G1 = 1 + 6/2 = 4; G0 = 1 + 4/2 = 3.
    np.testing.assert_allclose(run(losses.discounted_returns, REWARD, DISCOUNT, 8.0), [3, 4, 6])


def test_a_termination_cuts_discounted_returns(run):
    # Step 1 terminates: G2 = 6 as above; G1 = 1; G0 = 1 + 1/2.
    discount = np.array([0.5, 0.0, 0.5], np.float32)
    np.testing.assert_allclose(run(losses.discounted_returns, REWARD, discount, 8.0), [1.5, 1, 6])


def test_lambda_returns_by_hand(run):
    # G2 = 2 + 4/2 = 4; G1 = 1 + 10/2 = 6 (cut: its own value); G0 = 1 + (2/2 + 6/2)/2 = 3 (half value, half return).
    lambda_t = np.array([0.5, 0.0, 0.5], np.float32)
    np.testing.assert_allclose(run(losses.lambda_returns, VALUE, REWARD, DISCOUNT, lambda_t), [3, 6, 4])


@pytest.mark.parametrize(
    ("n", "lambda_t", "expected"),
    [
        (1, WHOLE, [2, 6, 4]),  # 1 + 2/2, 1 + 10/2, 2 + 4/2
        (2, WHOLE, [4, 3, 4]),  # 1 + (1 + 10/2)/2, 1 + (2 + 4/2)/2, and the window's end
        (3, WHOLE, [2.5, 3, 4]),  # 1 + (1 + (2 + 4/2)/2)/2
        (99, WHOLE, [2.5, 3, 4]),  # the window is no longer than this
        (2, CUT, [4, 6, 4]),  # step 1 stops at its own value instead of reaching into the next episode
        (3, CUT, [4, 6, 4]),
    ],
)
def test_n_step_returns_by_hand(run, n, lambda_t, expected):
    np.testing.assert_allclose(run(n_step(n), VALUE, REWARD, DISCOUNT, lambda_t), expected)


def test_n_step_returns_need_a_step():
    with pytest.raises(AssertionError):
        losses.n_step_returns(VALUE, REWARD, DISCOUNT, 1.0, n=0)


@pytest.mark.parametrize("seed", range(2))
def test_returns_equal_rlax(run, seed):
    rng = np.random.default_rng(seed)
    value, reward = rng.normal(size=(2, 9)).astype(np.float32)
    discount = (0.95 * (rng.random(9) > 0.2)).astype(np.float32)
    lambda_t = (0.9 * (rng.random(9) > 0.2)).astype(np.float32)

    np.testing.assert_allclose(
        run(losses.lambda_returns, value, reward, discount, lambda_t),
        rlax.lambda_returns(reward, discount, value, lambda_t),
        rtol=1e-5,
        atol=1e-6,
    )
    np.testing.assert_allclose(
        run(losses.discounted_returns, reward, discount, float(value[-1])),
        rlax.discounted_returns(reward, discount, value),
        rtol=1e-5,
        atol=1e-6,
    )
    for n in (1, 3, 9):
        np.testing.assert_allclose(
            run(n_step(n), value, reward, discount, lambda_t),
            rlax.n_step_bootstrapped_returns(reward, discount, value, n, lambda_t),
            rtol=1e-5,
            atol=1e-6,
        )
