"""Whole episodes beside lists of them, their padding, and the tasks that they are drawn by."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replay_records import Stream, compiled, item

from envs.errors import UsageError
from replay import episode

SHAPES = ((1, 3), (2, 4))  # envs, episodes kept of each


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(SHAPES), st.lists(st.sampled_from([1, 4, 11]), min_size=1, max_size=6), st.integers(0, 1000))
def test_held_are_the_latest_whole_episodes(shape, lengths, seed):
    envs, kept = shape
    buffer = buffers[shape]
    stream = Stream(envs, seed, end=0.4)
    first = stream.take(lengths[0])
    state = buffer.add(buffer.init(item(first)), first)
    for length in lengths[1:]:
        state = buffer.add(state, stream.take(length))
    expected = set()
    for env in range(envs):
        whole, steps = [], []
        for step in stream.all:
            steps.append(step.start.obs[env, 0])
            if step.timestep.last[env]:
                whole.append((env, tuple(steps[:5])))
                steps = []
        expected |= set(whole[-kept:])
    assert int(state.whole.sum()) == len(expected)
    assert bool(buffer.can_sample(state, len(expected)))
    assert not bool(buffer.can_sample(state, len(expected) + 1))
    if not expected:
        return
    padded, index, weight = buffer.sample(jax.random.key(seed), state, 300)
    obs, mask = np.asarray(padded.steps.start.obs), np.asarray(padded.mask)
    found = {(int(o[0, 1]), tuple(o[m, 0].tolist())) for o, m in zip(obs, mask, strict=True)}
    assert found == expected
    assert (obs[~mask] == 0).all()
    assert (np.asarray(padded.task) == obs[:, 0, 1] % 2).all()
    assert (np.asarray(index) // (kept + 1) == obs[:, 0, 1]).all()
    assert (np.asarray(weight) == 1).all()


buffers = {
    (envs, kept): compiled(episode.make(capacity=envs * kept, envs=envs, max_steps=5, task="task"))
    for envs, kept in SHAPES
}


def test_a_task_s_episodes_alone_are_drawn_and_none_where_it_has_none():
    buffer = buffers[(2, 4)]
    steps = Stream(2, seed=0, end=0.4).take(11)
    state = buffer.add(buffer.init(item(steps)), steps)
    for task in (0, 1):
        padded, _, _ = buffer.sample(jax.random.key(0), state, 64, episode.of_task(state, task))
        assert (np.asarray(padded.task) == task).all()
        assert np.asarray(padded.mask)[:, 0].all()
        assert int(episode.held(state, task)) == int(state.whole[task].sum()) > 0
    padded, _, _ = buffer.sample(jax.random.key(0), state, 8, episode.of_task(state, 7))
    assert not np.asarray(padded.mask).any()
    assert int(episode.held(state, 7)) == 0


def test_more_episodes_in_one_call_than_there_are_places():
    buffer = compiled(episode.make(capacity=2, max_steps=4))
    steps = Stream(1, seed=0, end=1.0).take(9)
    state = buffer.add(buffer.init(item(steps)), steps)
    padded, _, _ = buffer.sample(jax.random.key(0), state, 64)
    found = set(np.asarray(padded.steps.start.obs)[:, 0, 0].tolist())
    assert found == set(np.asarray(steps.start.obs)[-2:, 0].tolist())


def test_mistakes_are_one_sentence():
    steps = Stream(2, seed=0).take(3)
    with pytest.raises(UsageError, match="there is no extra 'tsak': did you mean task"):
        episode.make(task="tsak").init(item(steps))
    buffer = episode.make(capacity=4, max_steps=4, envs=4)
    with pytest.raises(UsageError, match="6 steps at once, which are not the same number of 4 envs"):
        buffer.add(buffer.init(item(steps)), steps)
