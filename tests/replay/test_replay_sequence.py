"""Sequences beside the stream that they come from, and beside flashbax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replay_records import Stream, compiled, item
from scipy import stats

from envs.errors import UsageError
from replay import sequence

SHAPES = ((2, 5, 1), (3, 3, 2), (1, 2, 3))  # envs, length, stride


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(SHAPES), st.lists(st.sampled_from([1, 5]), min_size=2, max_size=8), st.integers(0, 1000))
def test_drawn_are_the_stretches_of_the_latest_steps(shape, lengths, seed):
    envs, length, stride = shape
    kept = 12
    buffer = buffers[shape]
    stream = Stream(envs, seed)
    first = stream.take(lengths[0])
    state = buffer.add(buffer.init(item(first)), first)
    for more in lengths[1:]:
        state = buffer.add(state, stream.take(more))
    taken = len(stream.all)
    whole = [t for t in range(max(0, taken - kept), taken - length + 1) if t % stride == 0]
    assert bool(buffer.can_sample(state, len(whole) * envs))
    assert not bool(buffer.can_sample(state, len(whole) * envs + 1))
    if not whole:
        return
    for score in (None, jnp.ones(envs * kept // stride)):
        batch, index, weight = buffer.sample(jax.random.key(seed), state, 400, score)
        numbers = np.stack([step.start.obs for step in stream.all])  # [taken, envs, 2]
        found = set()
        for drawn, place in zip(np.asarray(batch.start.obs), np.asarray(index), strict=True):
            env = int(drawn[0, 1])
            (t,) = np.flatnonzero(numbers[:, env, 0] == drawn[0, 0])
            np.testing.assert_array_equal(drawn, numbers[t : t + length, env])
            assert place == (env * kept + t % kept) // stride
            found.add((env, int(t)))
        assert found == {(env, t) for env in range(envs) for t in whole}
        assert (np.asarray(weight) == 1).all()


buffers = {
    shape: compiled(sequence.make(capacity=12 * shape[0], envs=shape[0], length=shape[1], stride=shape[2]))
    for shape in SHAPES
}


def filled(**options):
    stream = Stream(2, seed=0)
    buffer = compiled(sequence.make(capacity=40, envs=2, length=3, stride=2, **options))
    steps = stream.take(15)
    return stream, buffer, buffer.add(buffer.init(item(steps)), steps)


def test_each_is_drawn_as_often():
    _, buffer, state = filled()
    _, index, _ = buffer.sample(jax.random.key(0), state, 20_000)
    counts = np.bincount(index, minlength=20)
    starts = np.r_[0:7, 10:17]
    assert counts.sum() == counts[starts].sum()
    assert stats.chisquare(counts[starts]).pvalue > 0.01


def test_priorities_are_drawn_in_proportion_and_start_at_the_largest():
    stream, buffer, state = filled(alpha=1.0, beta=0.5)
    values = np.arange(1.0, 15.0)
    starts = np.r_[0:7, 10:17]
    state = buffer.update(state, jnp.asarray(starts), jnp.asarray(values, jnp.float32))
    _, index, weight = buffer.sample(jax.random.key(0), state, 20_000)
    counts = np.bincount(index, minlength=20)[starts]
    assert stats.chisquare(counts, 20_000 * values / values.sum()).pvalue > 0.01
    value = values[np.searchsorted(starts, index)]
    np.testing.assert_allclose(weight, (1.0 / value) ** 0.5, rtol=1e-3)
    state = buffer.add(state, stream.take(2))
    assert float(state.chances[0, 7]) == pytest.approx(1.0), "step 14 was there before"
    assert float(state.chances[0, 8]) == pytest.approx(14.0)


def test_it_draws_what_flashbax_draws():
    fbx = pytest.importorskip("flashbax")
    theirs = fbx.make_trajectory_buffer(
        add_batch_size=2,
        sample_batch_size=400,
        sample_sequence_length=5,
        period=1,
        min_length_time_axis=5,
        max_length_time_axis=12,
    )
    ours = buffers[(2, 5, 1)]
    stream = Stream(2, seed=3)
    steps = stream.take(6)
    a, b = ours.init(item(steps)), theirs.init(item(steps))
    for _ in range(3):
        a = ours.add(a, steps)
        b = theirs.add(
            b, jax.tree.map(lambda leaf: jnp.swapaxes(jnp.asarray(leaf).reshape(6, 2, *leaf.shape[1:]), 0, 1), steps)
        )
        steps = stream.take(6)
    drawn = ours.sample(jax.random.key(0), a, 400)[0].start.obs
    seen = theirs.sample(b, jax.random.key(0)).experience.start.obs
    assert {x.tobytes() for x in np.asarray(drawn)} == {x.tobytes() for x in np.asarray(seen)}


def test_mistakes_are_one_sentence():
    with pytest.raises(UsageError, match="capacity must be at least 80, a sequence of each environment, not 50"):
        sequence.make(capacity=50, envs=2, length=30, stride=20)
    buffer = sequence.make(capacity=40, envs=2, length=3, stride=2)
    steps = Stream(2, seed=0).take(21)
    with pytest.raises(UsageError, match="as many of each of 2 envs, and at most 20"):
        buffer.add(buffer.init(item(steps)), steps)
