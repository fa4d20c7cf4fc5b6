"""The uniform buffer and its ring beside a twin in NumPy, and beside flashbax."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replay_records import same
from scipy import stats

from envs.errors import UsageError
from replay import ring, uniform

ITEM = {"obs": jnp.zeros(3), "action": jnp.zeros((), jnp.int32)}


def batch(first: int, n: int):
    number = np.arange(first, first + n)
    return {"obs": np.stack([number, -number, number * 2], -1).astype(np.float32), "action": number.astype(np.int32)}


@st.composite
def additions(draw):
    capacity = draw(st.sampled_from([1, 5, 64, 130]))
    adds = []
    for _ in range(draw(st.integers(1, 6))):
        n = draw(st.sampled_from([1, 2, 3, 5, 60]).filter(lambda n: n <= capacity))
        keep = draw(st.one_of(st.none(), st.lists(st.booleans(), min_size=n, max_size=n)))
        adds.append((n, keep))
    return capacity, adds


@settings(max_examples=25, deadline=None)
@given(additions())
def test_the_latest_records_lie_where_a_list_says(case):
    capacity, adds = case
    buffer = uniform.make(capacity=capacity)
    state, twin, kept = buffer.init(ITEM), np.zeros(capacity, np.int32), 0
    for first, (n, keep) in enumerate(adds):
        items = batch(1000 * first + 1, n)
        state = buffer.add(state, items, None if keep is None else jnp.asarray(keep))
        for index in range(n):
            if keep is None or keep[index]:
                twin[kept % capacity] = items["action"][index]
                kept += 1
        held = ring.records(state, capacity)
        assert (int(state.place), int(state.size)) == (kept % capacity, min(kept, capacity))
        np.testing.assert_array_equal(held["action"], twin)
        np.testing.assert_array_equal(held["obs"][:, 1], -twin)


def test_every_record_is_drawn_as_often():
    capacity, n = 37, 20_000
    buffer = uniform.make(capacity=capacity)
    state = buffer.add(buffer.init(ITEM), batch(0, 30))
    drawn, index, weight = buffer.sample(jax.random.key(0), state, n)
    counts = np.bincount(index, minlength=capacity)
    assert counts[30:].sum() == 0
    assert stats.chisquare(counts[:30]).pvalue > 0.01
    np.testing.assert_array_equal(drawn["action"], index)
    assert (np.asarray(weight) == 1).all()
    assert np.unique(buffer.sample(jax.random.key(1), state, n)[1][:10]).size > 1


def test_a_score_multiplies_the_chances():
    buffer = uniform.make(capacity=5)
    state = buffer.add(buffer.init(ITEM), batch(0, 4))
    _, index, weight = buffer.sample(jax.random.key(0), state, 10_000, jnp.asarray([1.0, 0.0, 2.0, 1.0, 9.0]))
    counts = np.bincount(index, minlength=5)
    assert counts[1] == counts[4] == 0
    assert stats.chisquare(counts[[0, 2, 3]], [2500, 5000, 2500]).pvalue > 0.01
    assert (np.asarray(weight) == 1).all()


def test_it_holds_what_flashbax_holds():
    fbx = pytest.importorskip("flashbax")
    theirs = fbx.make_item_buffer(max_length=100, min_length=1, sample_batch_size=8, add_batches=True)
    ours = uniform.make(capacity=100)
    a, b = ours.init(ITEM), theirs.init(ITEM)
    for first in range(7):
        items = jax.tree.map(jnp.asarray, batch(100 * first, 33))
        a, b = ours.add(a, items), theirs.add(b, items)
    same(ring.records(a, 100), jax.tree.map(lambda leaf: leaf[0], b.experience))
    assert int(a.place) == int(b.current_index)


def test_compiled_and_mapped_it_does_the_same():
    buffer = uniform.make(capacity=8)
    add, sample = jax.jit(buffer.add), jax.jit(buffer.sample, static_argnums=2)
    state = buffer.add(buffer.init(ITEM), batch(0, 5))
    both = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), state)
    items = batch(5, 6)
    plain = buffer.add(state, items)
    same(plain, add(state, items))
    same(plain, jax.tree.map(lambda leaf: leaf[1], jax.vmap(buffer.add, (0, None))(both, items)))
    key = jax.random.key(3)
    same(buffer.sample(key, plain, 16), sample(key, plain, 16))


def test_a_donated_buffer_is_never_copied():
    buffer = uniform.make(capacity=100_000)
    state = jax.jit(buffer.init)(ITEM)
    items = batch(0, 256)

    def round(state, key):
        state = buffer.add(state, items)
        drawn, index, weight = buffer.sample(key, state, 32)
        return buffer.update(state, index, weight), drawn["obs"].sum()

    compiled = jax.jit(round, donate_argnums=0).lower(state, jax.random.key(0)).compile()
    assert not re.findall(r"= \w+\[10\d{4}[^\n]*copy\(", compiled.as_text())
    assert compiled.memory_analysis().temp_size_in_bytes < 100_000
    after, _ = compiled(state, jax.random.key(0))
    assert state.items["obs"].is_deleted()
    assert int(after.size) == 256


def test_more_records_than_fit_are_refused():
    buffer = uniform.make(capacity=4)
    with pytest.raises(UsageError, match="5 records are added at once, and the buffer holds 4"):
        buffer.add(buffer.init(ITEM), batch(0, 5))


def test_there_is_enough_to_sample_once_n_are_in():
    buffer = uniform.make(capacity=8)
    state = buffer.add(buffer.init(ITEM), batch(0, 5))
    assert bool(buffer.can_sample(state, 5))
    assert not bool(buffer.can_sample(state, 6))
