"""GAE against numbers worked out by hand, against rlax, and by its limits at lambda 0 and 1."""

import jax
import numpy as np
import pytest
import rlax
from hypothesis import given, settings
from hypothesis import strategies as st

import losses

# Compiled once for all the examples of a property.
gae, lambda_returns, discounted_returns = map(jax.jit, (losses.gae, losses.lambda_returns, losses.discounted_returns))


def test_gae_by_hand_with_a_truncation(run):
    # Step 1 is truncated in a state worth 10; step 2 opens the next episode in a state worth 1.
    # delta = [1 + 2/2 - 1, 1 + 10/2 - 2, 1 + 4/2 - 1] = [1, 4, 2].
    # A2 = 2; A1 = 4 (its discount is positive, yet A2 must not leak in); A0 = 1 + 4/4 = 2.
    advantage = run(
        losses.gae,
        np.array([1.0, 2.0, 1.0], np.float32),
        np.array([2.0, 10.0, 4.0], np.float32),
        np.array([1.0, 1.0, 1.0], np.float32),
        np.array([0.5, 0.5, 0.5], np.float32),
        np.array([0.5, 0.0, 0.5], np.float32),
    )
    np.testing.assert_allclose(advantage, [2, 4, 2])


def test_gae_by_hand_with_a_termination(run):
    # Step 1 terminates: the 10 counts for nothing. delta = [1, 1 - 2, 2]; A2 = 2; A1 = -1; A0 = 1 - 1/4 = 0.75.
    advantage = run(
        losses.gae,
        np.array([1.0, 2.0, 1.0], np.float32),
        np.array([2.0, 10.0, 4.0], np.float32),
        np.array([1.0, 1.0, 1.0], np.float32),
        np.array([0.5, 0.0, 0.5], np.float32),
        0.5,
    )
    np.testing.assert_allclose(advantage, [0.75, -1, 2])


def episode(seed, length=8):
    """One episode without an end inside: values `[T + 1]`, rewards and discounts `[T]`."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=length + 1).astype(np.float32)
    reward = rng.normal(size=length).astype(np.float32)
    return values, reward, np.full(length, 0.95, np.float32)


@pytest.mark.parametrize("seed", range(2))
def test_gae_equals_rlax_within_an_episode(run, seed):
    values, reward, discount = episode(seed)
    expected = rlax.truncated_generalized_advantage_estimation(reward, discount, 0.9, values)
    np.testing.assert_allclose(run(losses.gae, values[:-1], values[1:], reward, discount, 0.9), expected, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_gae_is_the_return_less_the_value_at_lambda_1_and_the_td_error_at_0(seed):
    values, reward, discount = episode(seed)
    returns = discounted_returns(reward, discount, values[-1])
    np.testing.assert_allclose(gae(values[:-1], values[1:], reward, discount, 1.0), returns - values[:-1], atol=1e-4)
    np.testing.assert_allclose(
        gae(values[:-1], values[1:], reward, discount, 0.0),
        reward + discount * values[1:] - values[:-1],
        atol=1e-5,
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1, width=32))
def test_gae_plus_value_is_the_lambda_return(seed, mixing):
    values, reward, discount = episode(seed)
    lambda_t = np.full_like(reward, mixing)
    target = gae(values[:-1], values[1:], reward, discount, lambda_t) + values[:-1]
    np.testing.assert_allclose(target, lambda_returns(values[1:], reward, discount, lambda_t), atol=1e-4)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1, width=32))
def test_a_truncation_separates_two_episodes(seed, mixing):
    (one, reward_one, discount_one), (two, reward_two, discount_two) = episode(seed), episode(seed + 1)
    lambda_one = np.append(np.full(len(reward_one) - 1, mixing, np.float32), np.float32(0))
    lambda_two = np.full(len(reward_two), mixing, np.float32)

    joined = gae(
        np.concatenate([one[:-1], two[:-1]]),
        np.concatenate([one[1:], two[1:]]),
        np.concatenate([reward_one, reward_two]),
        np.concatenate([discount_one, discount_two]),
        np.concatenate([lambda_one, lambda_two]),
    )
    apart = [
        gae(one[:-1], one[1:], reward_one, discount_one, lambda_one),
        gae(two[:-1], two[1:], reward_two, discount_two, lambda_two),
    ]
    np.testing.assert_allclose(joined, np.concatenate(apart), atol=1e-5)
