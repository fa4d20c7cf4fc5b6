"""The set of an episode's states: exact against Python's sets, cheap to forget, and never copied."""

import dataclasses
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.auxiliary import pipeline as hooks
from agents.auxiliary.pipeline import Pipeline
from agents.auxiliary.rewards import bebold, episodic, noveld
from envs.contract import Array, Discrete, EnvSpec, TimeStep
from envs.errors import UsageError

LIMIT, B, STEPS = 30, 4, 90
GRID_KEYS = {"grid_key": Array((2,), "uint32"), "next_grid_key": Array((2,), "uint32")}
SPEC = EnvSpec("Fake-v0", "0", Array((4,), "float32"), Discrete(3), GRID_KEYS, max_steps=LIMIT)
WINDOWS = episodic.memory(SPEC).slots.shape[0]


def spec(limit: int) -> EnvSpec:
    return dataclasses.replace(SPEC, max_steps=limit)


def empty(n: int, limit: int = LIMIT) -> episodic.Visited:
    return jax.tree.map(lambda leaf: jnp.zeros((n, *leaf.shape), leaf.dtype), episodic.memory(spec(limit)))


@jax.jit
def walk(visited, keys, last, openings):
    """Visits of `B` environments: `keys` and `openings` `[T, B, 2]`, `last` `[T, B]`."""
    return jax.lax.scan(lambda carry, step: jax.vmap(episodic.visit)(carry, *step), visited, (keys, last, openings))


def expected(keys, last, openings, seen):
    """The same by sets, `seen` one of them for each environment."""
    found = np.zeros(last.shape, bool)
    for t, b in np.ndindex(last.shape):
        found[t, b] = tuple(keys[t, b]) not in seen[b]
        seen[b].add(tuple(keys[t, b]))
        if last[t, b]:
            seen[b] = {tuple(openings[t, b])}
    return found


def crowd() -> np.ndarray:
    """Keys that meet in one window, the last of the table, so that probing goes round its end; and near twins."""
    drawn = np.random.default_rng(0).integers(0, 2**32, (2_000, 2), np.uint32)
    where = np.asarray(jax.vmap(lambda key: episodic.home(key, WINDOWS))(drawn))
    crowded = drawn[where == WINDOWS - 1][:40]
    twins = np.concatenate([crowded[:5] ^ np.uint32([0, 1]), crowded[:5] ^ np.uint32([1, 0]), crowded[:5, ::-1]])
    return np.concatenate([crowded, twins, [[0, 0], [0, 1], [1, 0], [2**32 - 1, 2**32 - 1]]]).astype(np.uint32)


CROWD = crowd()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), states=st.integers(1, len(CROWD)), ends=st.sampled_from([0.0, 0.05, 0.5, 1.0]))
def test_first_visits_are_those_of_a_set(seed, states, ends):
    rng = np.random.default_rng(seed)
    keys, openings = (CROWD[rng.integers(0, states, (STEPS, B))] for _ in range(2))
    last = rng.random((STEPS, B)) < ends
    for since in range(LIMIT, STEPS):  # no episode is longer than the limit
        last[since] |= ~last[since - LIMIT + 1 : since].any(0)
    visited, seen = empty(B), [set() for _ in range(B)]
    for part in range(0, STEPS, STEPS // 2):  # what is remembered goes from one unroll to the next
        now = slice(part, part + STEPS // 2)
        visited, first = walk(visited, keys[now], last[now], openings[now])
        np.testing.assert_array_equal(first, expected(keys[now], last[now], openings[now], seen))
    in_use = (visited.slots[..., 2] == (visited.ended + 1)[:, None, None]).sum((1, 2))
    np.testing.assert_array_equal(in_use, [len(each) for each in seen])
    np.testing.assert_array_equal(visited.ended, last.sum(0))


def test_the_longest_episode_of_all_fits_even_if_every_state_is_new():
    limit = 3_600
    keys = np.random.default_rng(1).integers(0, 2**32, (limit + 1, 1, 2), np.uint32)
    never = np.zeros((limit + 1, 1), bool)
    visited, first = walk(empty(1, limit), keys, never, keys)
    assert visited.slots.shape == (1, 1024, 8, 3)
    assert first.all()
    again, first = walk(visited, keys, never, keys)
    assert not first.any()
    np.testing.assert_array_equal(again.slots, visited.slots)


def test_an_end_writes_one_slot_and_forgets_all_others():
    keys = CROWD[:12, None]
    before, _ = walk(empty(1), keys, np.zeros((12, 1), bool), keys)
    after, first = walk(before, keys[:1], np.ones((1, 1), bool), keys[3:4])
    assert not first.any()
    assert (before.slots != after.slots).any(-1).sum() == 1
    _, first = walk(after, keys, np.zeros((12, 1), bool), keys)
    np.testing.assert_array_equal(first[:, 0], np.arange(12) != 3)


def test_an_episode_beyond_its_limit_still_ends_and_what_fitted_stays_known():
    slots = 2 * 8
    keys = np.random.default_rng(2).integers(0, 2**32, (3 * slots, 1, 2), np.uint32)
    never = np.zeros((3 * slots, 1), bool)
    visited, first = walk(empty(1, 4), keys, never, keys)
    assert first.all()
    _, first = walk(visited, keys, never, keys)
    np.testing.assert_array_equal(first[:, 0], np.arange(3 * slots) >= slots)


def test_the_table_is_neither_copied_nor_chosen_between():
    # The compiled loop, pipeline included, for two seeds side by side: whatever makes an array as large as the tables
    # must be the scatter or a view (a fusion's own parts are listed too). A copy a step would cost more than the rest.
    limit, n, steps = 1_000, 8, 20
    pipeline = Pipeline((noveld.make(spec(limit)),), spec(limit))
    step = TimeStep(
        obs=jnp.zeros((2, steps, n, 4)),
        reward=jnp.zeros((2, steps, n)),
        discount=jnp.ones((2, steps, n)),
        last=jnp.zeros((2, steps, n), bool),
        next_obs=jnp.zeros((2, steps, n, 4)),
        extras={name: jnp.zeros((2, steps, n, 2), jnp.uint32) for name in GRID_KEYS},
    )

    def unroll(memory, timesteps):
        return jax.lax.scan(lambda m, t: hooks.observe(pipeline, {"noveld": ()}, m, t), memory, timesteps)

    memory = jax.tree.map(lambda leaf: jnp.zeros((2, *leaf.shape), leaf.dtype), hooks.remember(pipeline, n))
    text = jax.jit(jax.vmap(unroll), donate_argnums=0).lower(memory, step).compile().as_text()
    size = memory["noveld"].slots.size
    made = re.findall(r"= \w+\[([\d,]+)\]\S* ([\w-]+)\(", text)
    large = {kind for shape, kind in made if math.prod(map(int, shape.split(","))) >= size}
    assert "scatter" in large
    assert large <= {"scatter", "fusion", "parameter", "get-tuple-element", "bitcast"}, large


@pytest.mark.parametrize(("limit", "slots"), [(1, 8), (7, 16), (8, 32), (3_600, 8_192), (1_023, 2_048)])
def test_at_most_half_of_the_table_is_used(limit, slots):
    assert episodic.slots(spec(limit)) == slots
    assert episodic.memory(spec(limit)).slots.shape == (slots // 8, 8, 3)


def test_a_larger_table_may_be_asked_for():
    member = bebold.make(SPEC, visited=5_000)
    assert hooks.remember(Pipeline((member,), SPEC), 3)["bebold"].slots.shape == (3, 1024, 8, 3)


@pytest.mark.parametrize("module", [noveld, bebold])
def test_what_cannot_hold_an_episode_is_one_sentence_when_the_bonus_is_made(module):
    with pytest.raises(UsageError, match=r"visited must be at least 62 slots for the 30 steps of Fake-v0, not 61"):
        module.make(SPEC, visited=61)
    with pytest.raises(UsageError, match="visited must be at least 0, not -1"):
        module.make(SPEC, visited=-1)
    with pytest.raises(UsageError, match="needs a time limit, and Fake-v0 has none"):
        module.make(spec(0))
    assert module.make(spec(0), first_visit=False).memory is None
    with pytest.raises(UsageError, match="needs a time limit"):
        episodic.memory(spec(0))


def bits(state: jax.Array) -> dict[str, jax.Array]:
    """64 bits of state, uint32 `[2]`, as an observation of 64 cells, each 0 or 1, and two constants."""
    cells = (state[:, None] >> jnp.arange(32, dtype=jnp.uint32)) & 1
    return {"image": cells.reshape(8, 8).astype(jnp.uint8), "direction": jnp.int32(3), "speed": jnp.float32(0.5)}


@pytest.mark.slow
@pytest.mark.parametrize("hashed", [False, True])
def test_ten_million_visits_against_exact_sets(hashed):
    # Walks that flip one of 11 cells at a time, so that many states come back; `hashed` reads keys off observations.
    n, limit, parts = 250, 3_600, 12
    rng = np.random.default_rng(3)
    key = jax.jit(jax.vmap(jax.vmap(lambda state: episodic.hash_tree(bits(state)) if hashed else state)))
    visited, false_seen, false_new, visits, everything = empty(n, limit), 0, 0, 0, []
    for part in range(parts):
        length = limit if part < parts - 1 else 1_000
        start = rng.integers(0, 2**64, (1, n), np.uint64)
        flips = np.uint64(1) << (rng.integers(0, 11, (length, n)) * 5).astype(np.uint64)
        states = np.concatenate([start, start ^ np.bitwise_xor.accumulate(flips)])
        keys = key(np.ascontiguousarray(states).view(np.uint32).reshape(length + 1, n, 2))
        last = np.zeros((length + 1, n), bool)
        last[0] = True  # ends the part before, whose next state it is that opens this one
        visited, found = walk(visited, keys, last, keys)
        found = np.asarray(found)[1:]
        for b in range(n):
            first = np.zeros(length + 1, bool)
            first[np.unique(states[:, b], return_index=True)[1]] = True
            false_seen += int((first[1:] & ~found[:, b]).sum())
            false_new += int((~first[1:] & found[:, b]).sum())
        visits += found.size
        everything.append(states.reshape(-1))
    everything = np.unique(np.concatenate(everything))
    print(f"{visits} visits, {len(everything)} states, {false_seen} false seen, {false_new} false new")
    assert visits >= 10_000_000
    assert len(everything) > 3_000_000
    assert false_new == 0
    assert false_seen / visits < 1e-6
