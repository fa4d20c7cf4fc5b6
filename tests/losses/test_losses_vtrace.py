"""V-trace against numbers worked out by hand, against rlax, and against the sum of the paper taken literally."""

import jax
import numpy as np
import pytest
import rlax
from hypothesis import given, settings
from hypothesis import strategies as st

import losses

# Compiled once for all the examples of a property.
vtrace, lambda_returns = jax.jit(losses.vtrace), jax.jit(losses.lambda_returns)
n_step_returns = jax.jit(losses.n_step_returns, static_argnames="n")

# Step 1 is truncated in a state worth 10; step 2 opens the next episode.
HAND = (
    np.array([1.0, 2.0, 1.0], np.float32),  # value_tm1
    np.array([2.0, 10.0, 4.0], np.float32),  # value_t
    np.array([2.0, 1.0, 2.0], np.float32),  # reward_t
    np.array([0.5, 0.5, 0.5], np.float32),  # discount_t
    np.array([2.0, 0.25, 1.0], np.float32),  # rho_tm1
    np.array([0.5, 0.0, 1.0], np.float32),  # lambda_t
)


def test_vtrace_by_hand(run):
    # TD errors: [2 + 2/2 - 1, 1 + 10/2 - 2, 2 + 4/2 - 1] = [2, 4, 3]; ratios clipped at 1: [1, 1/4, 1].
    # e2 = 3; e1 = 4/4 = 1 (cut); e0 = 2 + 1/2 * 1/2 * 1 * 1 = 2.25. Targets: value + error.
    # q2 = 2 + 4/2 = 4; q1 = 1 + 10/2 = 6; q0 = 2 + (3/2 + 2/2)/2 = 3.25 (half target of step 1, half its value).
    # Advantages: [1 * (3.25 - 1), (6 - 2)/4, 4 - 1].
    result = run(losses.vtrace, *HAND)
    np.testing.assert_allclose(result.errors, [2.25, 1, 3])
    np.testing.assert_allclose(result.target, [3.25, 3, 4])
    np.testing.assert_allclose(result.advantage, [2.25, 1, 3])


def test_each_clip_bounds_its_own_ratio(run):
    # Ratios at step 0: 2 in the TD error, 1/2 in the trace, 2 in the policy gradient (below its bound of 4).
    # e0 = 2 * 2 + 1/2 * 1/2 * 1/2 * 1 = 4.125; at step 1 and 2 only the trace would differ, and there is none.
    # q as above; advantage 0 = 2 * (3.25 - 1) = 4.5.
    result = run(losses.vtrace, *HAND, 2.0, 0.5, 4.0)
    np.testing.assert_allclose(result.errors, [4.125, 1, 3])
    np.testing.assert_allclose(result.target, [5.125, 3, 4])
    np.testing.assert_allclose(result.advantage, [4.5, 1, 3])


def episode(rng, length, terminal):
    """One episode: values `[T + 1]`, rewards, discounts and importance ratios `[T]`."""
    values = rng.normal(size=length + 1).astype(np.float32)
    reward = rng.normal(size=length).astype(np.float32)
    discount = np.full(length, 0.9, np.float32)
    if terminal:
        discount[-1] = 0
    rho = np.exp(rng.normal(size=length)).astype(np.float32)
    return values, reward, discount, rho


def literal_vtrace(episode, mixing, clip_rho, clip_c, clip_pg_rho):
    """The double sum of the paper over ONE episode, in float64: nothing can leak from another."""
    values, reward, discount, rho = (array.astype(np.float64) for array in episode)
    length = len(reward)
    target = values.copy()
    for start in range(length):
        for step in range(start, length):
            trace = np.prod([discount[j] * mixing * min(clip_c, rho[j]) for j in range(start, step)])
            td_error = reward[step] + discount[step] * values[step + 1] - values[step]
            target[start] += trace * min(clip_rho, rho[step]) * td_error
    bootstrap = mixing * target[1:] + (1 - mixing) * values[1:]
    advantage = np.minimum(clip_pg_rho, rho) * (reward + discount * bootstrap - values[:-1])
    return target[:-1] - values[:-1], advantage, target[:-1]


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    terminal=st.booleans(),
    mixing=st.floats(0, 1, width=32),
    clips=st.tuples(*[st.floats(0.5, 3, width=32)] * 3),
)
def test_vtrace_is_the_sum_of_the_paper_episode_by_episode(seed, terminal, mixing, clips):
    rng = np.random.default_rng(seed)
    episodes = [episode(rng, 4, terminal), episode(rng, 1, not terminal), episode(rng, 3, terminal=False)]
    values, reward, discount, rho = zip(*episodes, strict=True)
    lambda_t = np.full(8, mixing, np.float32)
    lambda_t[[3, 4]] = 0

    result = vtrace(
        np.concatenate([v[:-1] for v in values]),
        np.concatenate([v[1:] for v in values]),
        np.concatenate(reward),
        np.concatenate(discount),
        np.concatenate(rho),
        lambda_t,
        *clips,
    )
    expected = [literal_vtrace(e, mixing, *clips) for e in episodes]
    for actual, pieces in zip(result, zip(*expected, strict=True), strict=True):
        np.testing.assert_allclose(actual, np.concatenate(pieces), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("seed", range(2))
def test_vtrace_equals_rlax_within_an_episode(run, seed):
    values, reward, discount, rho = episode(np.random.default_rng(seed), 9, terminal=seed == 0)
    expected = rlax.vtrace_td_error_and_advantage(values[:-1], values[1:], reward, discount, rho, 0.9, 1.5, 2.0)
    result = run(losses.vtrace, values[:-1], values[1:], reward, discount, rho, 0.9, 1.5, 1.0, 2.0)
    np.testing.assert_allclose(result.errors, expected.errors, atol=1e-5)
    np.testing.assert_allclose(result.advantage, expected.pg_advantage, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1, width=32))
def test_on_policy_vtrace_is_the_lambda_return_and_the_bootstrapped_return(seed, mixing):
    values, reward, discount, rho = episode(np.random.default_rng(seed), 8, terminal=False)
    on_policy = np.ones_like(rho)

    target = vtrace(values[:-1], values[1:], reward, discount, on_policy, mixing).target
    np.testing.assert_allclose(target, lambda_returns(values[1:], reward, discount, mixing), atol=1e-5)

    target = vtrace(values[:-1], values[1:], reward, discount, on_policy, 1.0).target
    np.testing.assert_allclose(target, n_step_returns(values[1:], reward, discount, 1.0, n=8), atol=1e-5)
