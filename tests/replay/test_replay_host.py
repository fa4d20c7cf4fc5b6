"""The host buffer beside the stacks that `frame_stack` shows, whatever the ends of episodes and the ring's turns."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replay_records import Record
from scipy import stats

from envs.contract import TimeStep
from envs.errors import UsageError
from replay import host, sizes

K, C = 3, 2


def stream(envs, steps, seed, end=0.2):
    """Records of stacked frames, each frame with a number of its own; `[steps * envs, ...]` and as a list by time."""
    rng = np.random.default_rng(seed)
    number = iter(range(1, 10**6))

    def frame():
        return np.stack([np.full((2, C), next(number) % 251, np.uint8) for _ in range(envs)])

    stack = np.concatenate([frame()] * K, -1)
    found = []
    for t in range(steps):
        last = rng.random(envs) < end
        next_obs = np.concatenate([stack[..., C:], frame()], -1)
        obs = np.where(last[:, None, None], np.concatenate([frame()] * K, -1), next_obs)
        number_t = np.full(envs, t, np.float32)
        start = TimeStep(stack, number_t, number_t, last, stack, {})
        action = (1000 * t + np.arange(envs)).astype(np.int32)
        found.append(Record((), start, action, {}, TimeStep(obs, number_t, number_t, last, next_obs, {})))
        stack = obs
    return found


def joined(records):
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *records)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from([1, 2]), st.integers(12, 60), st.sampled_from([1, 3]), st.integers(0, 1000))
def test_drawn_are_the_records_that_came_with_their_stacks(envs, steps, chunk, seed):
    slots = 20
    buffer = host.make(capacity=slots * envs, envs=envs, stack=K)
    records = stream(envs, steps, seed)
    state = buffer.init(jax.tree.map(lambda leaf: leaf[0], records[0]))
    for t in range(0, steps, chunk):
        state = buffer.add(state, joined(records[t : t + chunk]))
    batch, index, weight = buffer.sample(jax.random.key(seed), state, 300)
    for env in range(envs):
        # The latest frames that fit, each episode's last one with them, and of these the steps whose stack is whole.
        frames, age = [], 0
        for t, record in enumerate(records):
            opens = t == 0 or records[t - 1].timestep.last[env]
            age = 0 if opens else min(age + 1, K - 1)
            frames.append((t, age))
            if record.timestep.last[env]:
                frames.append((None, 0))
        latest = frames[-(slots - 1) :]
        whole = {t for place, (t, age) in enumerate(latest) if t is not None and age <= place}
        assert {a // 1000 for a in batch.action.tolist() if a % 1000 == env} == whole
    for place, action in enumerate(batch.action.tolist()):
        record, env = records[action // 1000], action % 1000
        np.testing.assert_array_equal(batch.start.obs[place], record.start.obs[env])
        np.testing.assert_array_equal(batch.timestep.next_obs[place], record.timestep.next_obs[env])
        assert batch.timestep.reward[place] == record.timestep.reward[env]
        assert batch.timestep.last[place] == record.timestep.last[env]
        assert index[place] // slots == env
    assert batch.start.obs.dtype == np.uint8
    assert (weight == 1).all()


def filled(envs=2):
    buffer = host.make(capacity=40, envs=envs, stack=K)
    records = stream(envs, 30, seed=0)
    state = buffer.init(jax.tree.map(lambda leaf: leaf[0], records[0]))
    return buffer, buffer.add(state, joined(records))


def test_each_is_drawn_as_often_and_a_key_draws_the_same():
    buffer, state = filled()
    _, index, _ = buffer.sample(jax.random.key(0), state, 20_000)
    counts = np.bincount(index, minlength=40)
    assert stats.chisquare(counts[counts > 0]).pvalue > 0.01
    np.testing.assert_array_equal(index, buffer.sample(jax.random.key(0), state, 20_000)[1])
    score = np.zeros(40)
    score[np.flatnonzero(counts)[:2]] = 1.0, 3.0
    _, index, _ = buffer.sample(jax.random.key(0), state, 4000, score)
    assert stats.chisquare(np.bincount(index)[np.flatnonzero(counts)[:2]], [1000, 3000]).pvalue > 0.01


def test_frames_are_stored_once():
    buffer, state = filled()
    assert state.frames.nbytes == 40 * 2 * C
    assert sizes.size_of(state.frames) * K == 40 * 2 * K * C
    assert state.steps.start.obs == ()
    assert bool(buffer.can_sample(state, 10))
    assert not bool(buffer.can_sample(state, 40))


def test_mistakes_are_one_sentence():
    record = jax.tree.map(lambda leaf: leaf[0], stream(2, 1, 0)[0])
    with pytest.raises(UsageError, match=r"keeps uint8 pixels of 4 frames on the last axis, not uint8 \(2, 6\)"):
        host.make(stack=4).init(record)
    floats = record._replace(start=record.start._replace(obs=record.start.obs.astype(np.float32)))
    with pytest.raises(UsageError, match="not float32"):
        host.make(stack=K).init(floats)
    with pytest.raises(UsageError, match="not dict"):
        host.make(stack=K).init(record._replace(start=record.start._replace(obs={"pixels": record.start.obs})))
    with pytest.raises(UsageError, match=r"takes [\d.]+ TB of memory, of which are free only"):
        host.make(stack=K, capacity=10**12).init(record)
