"""The tree of sums and the prioritised buffer, by formula, beside NumPy and beside flashbax."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replay_records import compiled, same
from scipy import stats

from replay import prioritised, ring, sum_tree

ITEM = {"obs": jnp.zeros(3), "number": jnp.zeros((), jnp.int32)}


def batch(first: int, n: int):
    number = np.arange(first, first + n, dtype=np.int32)
    return {"obs": np.stack([number] * 3, -1).astype(np.float32), "number": number}


# ------------------------------------------------------------------------------------------------------- THE TREE


build = jax.jit(sum_tree.build)
put = jax.jit(sum_tree.put, static_argnums=1)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from([1, 17, 300]), st.integers(0, 2**16), st.sampled_from([1, 40]))
def test_sums_are_those_of_the_children_and_the_last_weight_counts(slots, seed, n):
    rng = np.random.default_rng(seed)
    twin = rng.random(slots).astype(np.float32) * (rng.random(slots) < 0.7)
    tree = build(twin)
    for _ in range(3):
        places = rng.integers(0, slots, n)
        left_out = rng.random(n) < 0.2
        weights = rng.random(n).astype(np.float32)
        for place, weight, out in zip(places, weights, left_out, strict=True):
            twin[place] = twin[place] if out else weight
        sent = np.where(left_out, sum_tree.outside(slots), places)
        tree = put(tree, slots, sent, weights)
    np.testing.assert_array_equal(sum_tree.weights(tree, slots), twin)
    same(tree, build(twin))  # every sum anew from its children, to the last bit


def test_unique_places_need_no_second_look():
    places, weights = jnp.asarray([5, 299, 17]), jnp.asarray([1.0, 2.0, 3.0])
    same(
        sum_tree.put(sum_tree.zeros(300), 300, places, weights, unique=True),
        sum_tree.put(sum_tree.zeros(300), 300, places, weights),
    )


def test_draws_are_in_proportion_and_tell_the_weights():
    rng = np.random.default_rng(0)
    weights = (rng.random(500) ** 4 * (rng.random(500) < 0.6)).astype(np.float32)
    slots, found = sum_tree.draw(jax.random.key(0), sum_tree.build(jnp.asarray(weights)), 500, 100_000)
    counts = np.bincount(slots, minlength=500)
    assert counts[weights == 0].sum() == 0
    expected = 100_000 * weights.astype(float) / weights.astype(float).sum()
    often = expected > 5
    observed = np.append(counts[often], counts[~often].sum())
    expected = np.append(expected[often], expected[~often].sum())
    assert stats.chisquare(observed, expected * observed.sum() / expected.sum()).pvalue > 0.01
    np.testing.assert_array_equal(found, weights[slots])


def test_draws_are_exact_where_one_random_number_would_be_too_coarse():
    # Half of the weight on one slot; the others' shares are 2^-25 of it, less than one step of a float32 in [0, 1).
    slots = 2**20
    weights = jnp.full(slots, 2.0**-20).at[0].set(32.0)
    drawn, _ = sum_tree.draw(jax.random.key(1), sum_tree.build(weights), slots, 2**20)
    others = np.asarray(drawn)[np.asarray(drawn) > 0]
    assert abs(len(others) - 2**20 / 33) < 5 * (2**20 / 33) ** 0.5
    low_bits = np.bincount(others % 16, minlength=16)
    assert stats.chisquare(low_bits).pvalue > 0.01


# ------------------------------------------------------------------------------------------------------ THE BUFFER


def filled(n=30, **options):
    buffer = compiled(prioritised.make(**{"capacity": 37, **options}))
    return buffer, buffer.add(buffer.init(ITEM), batch(0, n))


def test_new_records_have_the_largest_priority_seen():
    buffer, state = filled(alpha=0.5)
    state = buffer.update(state, jnp.asarray([3, 4]), jnp.asarray([0.25, -16.0]))
    state = buffer.update(state, jnp.asarray([4]), jnp.asarray([1.0]))
    state = buffer.add(state, batch(30, 10))
    held = np.asarray(sum_tree.weights(state.tree, 37))
    assert held[30:] == pytest.approx(4.0, rel=1e-5)
    assert held[:3] == pytest.approx(4.0, rel=1e-5), "these were overwritten"
    assert held[3:6] == pytest.approx([0.5, 1.0, 1.0], rel=1e-3)
    assert float(state.largest) == pytest.approx(4.0, rel=1e-5)


def test_chances_and_weights_are_those_of_the_paper():
    alpha, beta, n = 0.7, 0.5, 40_000
    buffer, state = filled(alpha=alpha, beta=beta)
    values = np.random.default_rng(0).exponential(size=30)
    state = buffer.update(state, jnp.arange(30), jnp.asarray(values))
    drawn, index, weight = buffer.sample(jax.random.key(0), state, n)
    chance = (values + 1e-6) ** alpha / ((values + 1e-6) ** alpha).sum()
    assert stats.chisquare(np.bincount(index, minlength=30), n * chance).pvalue > 0.01
    expected = (30 * chance[index]) ** -beta
    np.testing.assert_allclose(weight, expected / expected.max(), rtol=1e-4)
    np.testing.assert_array_equal(drawn["number"], index)


def test_beta_rises_to_one():
    buffer, state = filled(beta=0.4, anneal=60)
    state = buffer.update(state, jnp.arange(30), 1.0 + jnp.arange(30.0))
    for added, beta in ((0, 0.7), (30, 1.0), (30, 1.0)):
        if added:
            state = buffer.update(buffer.add(state, batch(0, added)), jnp.arange(37), 1.0 + jnp.arange(37.0))
        _, index, weight = buffer.sample(jax.random.key(0), state, 64)
        chance = (1.0 + np.asarray(index)) ** 0.6
        np.testing.assert_allclose(weight, (chance.min() / chance) ** beta, rtol=1e-4)


def test_a_score_restricts_and_the_weights_correct_the_priorities_alone():
    buffer, state = filled(alpha=1.0, beta=1.0)
    state = buffer.update(state, jnp.arange(30), 1.0 + jnp.arange(30.0))
    score = (jnp.arange(37) % 2).astype(jnp.float32)
    _, index, weight = buffer.sample(jax.random.key(0), state, 5000, score)
    assert (np.asarray(index) % 2 == 1).all()
    np.testing.assert_allclose(weight, 2.0 / (1.0 + np.asarray(index)), rtol=1e-4)


def test_what_is_not_finite_counts_as_the_largest():
    buffer, state = filled(alpha=1.0)
    state = buffer.update(state, jnp.asarray([0, 1, 2]), jnp.asarray([jnp.nan, 5.0, jnp.inf]))
    assert np.asarray(sum_tree.weights(state.tree, 37))[:3] == pytest.approx(5.0)
    assert float(state.largest) == pytest.approx(5.0)
    assert np.isfinite(np.asarray(state.tree)).all()


def test_records_that_are_not_kept_are_never_drawn():
    buffer = compiled(prioritised.make(capacity=10))
    keep = jnp.asarray([True, False, True, True, False])
    state = buffer.add(buffer.init(ITEM), batch(0, 5), keep)
    assert np.asarray(sum_tree.weights(state.tree, 10)).tolist() == [1, 1, 1] + [0] * 7
    assert set(np.asarray(buffer.sample(jax.random.key(0), state, 200)[0]["number"]).tolist()) == {0, 2, 3}
    assert int(state.ring.size) == 3


def test_it_draws_with_the_chances_of_flashbax():
    fbx = pytest.importorskip("flashbax")
    theirs = fbx.make_prioritised_item_buffer(
        max_length=64, min_length=1, sample_batch_size=64, add_batches=True, priority_exponent=0.6
    )
    ours = compiled(prioritised.make(capacity=64, alpha=0.6))
    a, b = ours.init(ITEM), theirs.init(ITEM)
    rng = np.random.default_rng(0)
    for first in range(4):
        items = jax.tree.map(jnp.asarray, batch(100 * first, 40))
        a, b = ours.add(a, items), theirs.add(b, items)
        # Below 1, for flashbax rounds the largest priority down to a whole number when it gives it to new records.
        places, values = rng.integers(0, 40, 20), rng.random(20).astype(np.float32)
        a, b = ours.update(a, places, values), theirs.set_priorities(b, jnp.asarray(places), jnp.asarray(values))
    seen = theirs.sample(b, jax.random.key(0))
    chance = np.asarray(sum_tree.weights(a.tree, 64))
    np.testing.assert_allclose(seen.probabilities, chance[np.asarray(seen.indices)] / chance.sum(), rtol=1e-3)
    same(ring.records(a.ring, 64), jax.tree.map(lambda leaf: leaf[0], b.experience))


def test_compiled_and_mapped_it_does_the_same():
    buffer = prioritised.make(capacity=37, alpha=1.0)
    state = buffer.add(buffer.init(ITEM), batch(0, 30))
    index, values = jnp.asarray([1, 2, 1]), jnp.asarray([3.0, 4.0, 5.0])
    plain = buffer.update(state, index, values)
    same(plain, jax.jit(buffer.update)(state, index, values))
    assert float(sum_tree.weights(plain.tree, 37)[1]) == pytest.approx(5.0)
    key = jax.random.key(0)
    both = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), plain)
    drawn = jax.vmap(lambda state: buffer.sample(key, state, 8))(both)
    same(buffer.sample(key, plain, 8)[1], jax.jit(buffer.sample, static_argnums=2)(key, plain, 8)[1])
    same(buffer.sample(key, plain, 8)[1], drawn[1][1])


def test_a_donated_buffer_is_never_copied():
    """Neither the records nor the tree, in a compiled round of adding, drawing and writing priorities."""
    buffer = prioritised.make(capacity=100_000)
    state = jax.jit(buffer.init)(ITEM)
    items = batch(0, 256)

    def rounds(state, key):
        def one(state, key):
            state = buffer.add(state, items)
            drawn, index, weight = buffer.sample(key, state, 256)
            return buffer.update(state, index, drawn["obs"][:, 0]), weight.sum()

        return jax.lax.scan(one, state, jax.random.split(key, 2))

    compiled = jax.jit(rounds, donate_argnums=0).lower(state, jax.random.key(0)).compile()
    assert not re.findall(r"= \w+\[10\d{4}[^\n]*copy\(", compiled.as_text())
    assert compiled.memory_analysis().temp_size_in_bytes < 100_000
    compiled(state, jax.random.key(0))
    assert state.tree.is_deleted()
    assert state.ring.items["obs"].is_deleted()
