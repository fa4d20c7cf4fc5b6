"""The episodic count: exact against Python's counters, first visits or inverse roots, episode by episode."""

import dataclasses
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import registry
from agents.agent import Host, Rollout
from agents.auxiliary import pipeline as hooks
from agents.auxiliary.pipeline import Pipeline
from agents.auxiliary.rewards import episodic_count
from envs.contract import Array, Discrete, EnvSpec, TimeStep
from envs.errors import UsageError

T, B, LIMIT = 60, 4, 20
PLACES = {name: Array((2,), "int32") for name in ("position", "next_position")}
KEYS = {name: Array((2,), "uint32") for name in ("grid_key", "next_grid_key")}
SPEC = EnvSpec("Fake-v0", "0", Array((), "int32"), Discrete(3), PLACES | KEYS, max_steps=LIMIT)


def walk(seed: int, places: int = 3) -> Rollout:
    """Random places of a small board; episodes end at random and at their limit, and begin anywhere."""
    rng = np.random.default_rng(seed)
    last = rng.random((T, B)) < 0.1
    for since in range(LIMIT, T):
        last[since] |= ~last[since - LIMIT + 1 : since].any(0)
    led_to = rng.integers(0, places, (T, B, 2)).astype(np.int32)
    opening = np.where(last[..., None], rng.integers(0, places, (T, B, 2)), led_to).astype(np.int32)

    def describe(now, then):
        keys = {"grid_key": now.astype(np.uint32), "next_grid_key": then.astype(np.uint32)}
        return {"position": now, "next_position": then, **keys}

    def timestep(now, then, last):
        obs = [10 * place[..., 0] + place[..., 1] for place in (now, then)]
        return TimeStep(obs[0], np.zeros(last.shape), np.ones(last.shape), last, obs[1], describe(now, then))

    zeros = np.zeros((B, 2), np.int32)
    return Rollout((), timestep(zeros, zeros, np.zeros(B, bool)), np.zeros((T, B)), {}, timestep(opening, led_to, last))


def pay(rollout: Rollout, **options) -> jax.Array:
    """The bonus `[T, B]` without its weight."""
    pipeline = Pipeline((episodic_count.make(SPEC, **options)._replace(door="intrinsic reward"),), SPEC)
    states = hooks.init(pipeline, jax.random.key(0), Host(None, None, None, None, SPEC, {}))
    host = Host(None, None, None, None, SPEC, {"episodic_count.coef": jnp.ones(())})
    memory, _ = hooks.observe(pipeline, states, hooks.remember(pipeline, B), hooks.restart(rollout.start))
    _, extras = jax.lax.scan(lambda m, t: hooks.observe(pipeline, states, m, t), memory, rollout.timestep)
    _, output, _ = hooks.step(pipeline, jax.random.key(1), states, rollout._replace(extras=extras), host)
    return output.bonus


def visits(rollout: Rollout) -> np.ndarray:
    """How often each episode has seen where a step led, by counters."""
    found, seen = np.zeros((T, B)), [Counter({(0, 0): 1}) for _ in range(B)]
    for t, b in np.ndindex(T, B):
        place = tuple(rollout.timestep.extras["next_position"][t, b].tolist())
        seen[b][place] += 1
        found[t, b] = seen[b][place]
        if rollout.timestep.last[t, b]:
            seen[b] = Counter({tuple(rollout.timestep.extras["position"][t, b].tolist()): 1})
    return found


@pytest.mark.parametrize("key", ["position", "full_grid", "obs"])
def test_pays_the_inverse_root_of_the_episodes_visits_or_its_floor(key):
    rollout = walk(0)
    counted = visits(rollout)
    assert counted.max() > 4
    np.testing.assert_allclose(pay(rollout, key=key, floor=False), counted**-0.5, rtol=1e-6)
    np.testing.assert_array_equal(pay(rollout, key=key), counted == 1)


@pytest.mark.parametrize("places", [1, 2, 1000])
def test_counts_are_exact_where_states_repeat_always_often_and_never(places):
    rollout = walk(places, places)
    np.testing.assert_allclose(pay(rollout, floor=False), visits(rollout) ** -0.5, rtol=1e-6)


def test_a_full_table_counts_what_it_holds():
    # Beyond the time limit: 16 slots for episodes of 4 steps, 40 states in one. What found no slot is new for ever.
    spec = dataclasses.replace(SPEC, max_steps=4)
    counted = episodic_count.memory(episodic_count.Config(floor=False), spec)
    keys = np.random.default_rng(0).integers(0, 2**32, (40, 2), np.uint32)
    count = jax.jit(lambda counted, key: episodic_count.count(counted, key, jnp.bool_(False), key))
    slots = counted.visits.size
    for turn in (1, 2, 3):
        for index, key in enumerate(keys):
            counted, seen = count(counted, key)
            assert seen == (turn if index < slots else 1)


def test_what_cannot_be_counted_is_one_sentence():
    bare = dataclasses.replace(SPEC, extras={})
    with pytest.raises(
        UsageError, match=r"counts positions, and Fake-v0 tells none: take episodic_count.key full_grid"
    ):
        episodic_count.make(bare)
    assert episodic_count.make(bare, key="obs").needs == ("unroll",)
    assert "grid_key" in episodic_count.make(bare, key="full_grid").needs
    with pytest.raises(UsageError, match="needs a time limit, and Fake-v0 has none"):
        episodic_count.make(dataclasses.replace(SPEC, max_steps=0))
    with pytest.raises(UsageError, match="coef must be at least 0"):
        episodic_count.make(SPEC, coef=-0.1)
    with pytest.raises(UsageError, match="visited must be at least 42 slots"):
        episodic_count.make(SPEC, visited=41)


def test_it_is_found_by_name():
    assert registry.members("intrinsic reward")["episodic_count"].doc.startswith("Episodic count: ")
