"""NGU against its algorithm in NumPy: lists of embeddings, sorted distances, running moments."""

import dataclasses
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import walks
from training_runs import column, device_loop, drive, host_loop

import agents
import envs
from agents.auxiliary import pipeline as hooks
from agents.auxiliary.pipeline import Pipeline
from agents.auxiliary.rewards import dynamics, ngu, rnd
from envs.contract import TimeStep
from envs.errors import UsageError

RND = {"out": 4, "hidden": (8,), "predictor": (4,), "target": (4,)}
SMALL = {"embedding": 8, "model": (16,), "neighbours": 3, **RND}
CONFIG = ngu.Config(**SMALL)
NETS = ngu.Networks(dynamics.networks(CONFIG, walks.SPEC), rnd.networks(CONFIG, walks.SPEC))


@pytest.fixture(scope="module")
def update():
    return walks.updater(ngu.make(walks.SPEC, **SMALL))


@pytest.fixture(scope="module")
def fresh():
    return walks.fresh(ngu.make(walks.SPEC, **SMALL))


def nearest(state, batch, kept: int = 10**6) -> np.ndarray:
    """Squared distances `[T, B, 3]` to the nearest of the episode's `kept` latest states, `inf` where fewer are."""
    now, successor, later = walks.embedded(NETS.dynamics, state.dynamics.params, batch)
    found = np.full((walks.T, walks.B, 3), np.inf)
    for b in range(walks.B):
        episode = [now[0, b]]
        for t in range(walks.T):
            distance = sorted(np.square(past - successor[t, b]).sum() for past in episode[-kept:])[:3]
            found[t, b, : len(distance)] = distance
            episode = [later[t, b]] if batch.timestep.last[t, b] else [*episode, successor[t, b]]
    return found


def squared_error(state, batch) -> np.ndarray:
    """RND's squared error of the successors `[T, B]`."""
    features = NETS.novelty.encoder.apply(state.rnd.frozen["encoder"], batch.timestep.next_obs)
    target = NETS.novelty.target.apply(state.rnd.frozen["target"], features)
    return np.square(np.asarray(NETS.novelty.predictor.apply(state.rnd.predictor, features)) - target).sum(-1)


def test_the_bonus_is_that_of_the_algorithm_update_after_update(update, fresh):
    state, usual = fresh, None
    for turn in range(2):
        batch = walks.rollout(turn)
        distance, error = nearest(state, batch), squared_error(state, batch)
        near = distance[np.isfinite(distance)].mean()
        moments = np.array([near, error.mean(), np.square(error).mean()])
        usual = moments if usual is None else 0.99 * usual + 0.01 * moments
        kernel = 1e-3 / (np.maximum(distance / usual[0] - 0.008, 0) + 1e-3)
        similarity = np.sqrt(kernel.sum(-1)) + 1e-3
        factor = np.clip(1 + (error - usual[1]) / np.sqrt(usual[2] - usual[1] ** 2), 1, 5)
        state, bonus, metrics, extras = update(state, batch, turn)
        np.testing.assert_allclose(extras["distance"], distance, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(bonus, factor / similarity, rtol=2e-3)
        np.testing.assert_allclose(metrics["modulation"], factor.mean(), rtol=1e-3)
        assert factor.max() > 1


def test_the_ring_keeps_the_latest_of_an_episode(fresh):
    batch = walks.rollout(1)
    extras = walks.watcher(ngu.make(walks.SPEC, memory=4, **SMALL))(fresh, batch)
    np.testing.assert_allclose(extras["distance"], nearest(fresh, batch, 4), rtol=1e-3, atol=1e-5)
    assert not np.allclose(nearest(fresh, batch, 4), nearest(fresh, batch))


def test_the_bonus_falls_where_the_episode_stands_still_and_is_back_in_the_next(update, fresh):
    batch = walks.rollout()
    there = np.ones_like(batch.timestep.obs)
    opens = np.where(batch.timestep.last[..., None], 0.0, there).astype(np.float32)
    bonus = update(fresh, batch._replace(timestep=batch.timestep._replace(obs=opens, next_obs=there)))[1]
    t, b = walks.END
    assert bonus[0, 0] > 10 * bonus[3, 0]
    # Three neighbours on the spot are as many as are looked at.
    np.testing.assert_allclose(bonus[4:, 0], 1 / (np.sqrt(3) + 1e-3), rtol=1e-3)
    np.testing.assert_allclose(bonus[t + 1 :, b], bonus[: walks.T - t - 1, b], rtol=1e-5)


def test_a_masked_end_pays_nothing_and_opens_the_next_episode_all_the_same(update, fresh):
    batch = walks.rollout(2)
    seen = update(fresh, batch)[3]["distance"]
    _, bonus, _, extras = walks.updater(ngu.make(walks.SPEC, terminal="mask", **SMALL))(fresh, batch)
    assert bonus[walks.END] == 0
    others = ~batch.timestep.last
    np.testing.assert_allclose(extras["distance"][others], seen[others], rtol=1e-4, atol=1e-6)
    assert (bonus[others] > 0).all()


def test_what_the_run_knows_counts_less_and_the_models_learn(fresh):
    learner = walks.updater(ngu.make(walks.SPEC, **{**SMALL, "learning_rate": 1e-2, "minibatches": 3}))
    state, found = fresh, []
    for turn in range(100):
        state, _, metrics, _ = learner(state, walks.rollout(turn % 5), turn)
        found.append([float(metrics[name]) for name in ("modulation", "novelty", "inverse_loss")])
    modulation, novelty, inverse = np.transpose(found)
    assert modulation[0] > 1.2
    np.testing.assert_allclose(modulation[-5:], 1)
    assert novelty[-5:].mean() < 0.1 * novelty[0]
    assert inverse[-5:].mean() < 0.5 * np.log(3)


def test_no_gradient_flows_through_the_bonus(update, fresh):
    assert not walks.leaks(update, fresh, walks.rollout())


def test_the_ring_is_neither_copied_nor_chosen_between():
    # In the compiled loop, for two seeds side by side, whatever makes an array as large as the rings must be the
    # scatter or a view: a copy a step would cost as much as the search.
    spec, n, steps = dataclasses.replace(walks.SPEC, max_steps=1_000), 8, 20
    member = ngu.make(spec, **SMALL)
    pipeline = Pipeline((member,), spec)
    shape = (2, steps, n)
    obs, zeros = jnp.zeros((*shape, 3)), jnp.zeros(shape)
    timesteps = TimeStep(obs, zeros, zeros + 1, zeros > 0, obs, {})
    state = walks.fresh(member, spec)

    def unroll(memory, timesteps):
        return jax.lax.scan(lambda m, t: hooks.observe(pipeline, {"ngu": state}, m, t), memory, timesteps)

    memory = jax.tree.map(lambda leaf: jnp.zeros((2, *leaf.shape), leaf.dtype), hooks.remember(pipeline, n))
    text = jax.jit(jax.vmap(unroll), donate_argnums=0).lower(memory, timesteps).compile().as_text()
    size = memory["ngu"].ring.size
    made = re.findall(r"= \w+\[([\d,]+)\]\S* ([\w-]+)\(", text)
    large = {kind for dims, kind in made if math.prod(map(int, dims.split(","))) >= size}
    assert "scatter" in large
    assert not large & {"copy", "select"}, large


@pytest.mark.parametrize(
    ("limit", "asked", "rows"), [(12, 0, 13), (5, 0, 10), (0, 0, 2_000), (9_000, 0, 2_000), (9, 50, 50)]
)
def test_the_ring_holds_the_longest_episode_up_to_a_cap(limit, asked, rows):
    spec = dataclasses.replace(walks.SPEC, max_steps=limit)
    assert ngu.capacity(ngu.Config(memory=asked), spec) == rows


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"coef": -1.0}, "coef must be at least 0, not -1.0."),
        ({"neighbours": 0}, "neighbours must be above 0, not 0."),
        ({"epsilon": 0.0}, "epsilon must be above 0, not 0.0."),
        ({"limit": 0.5}, "limit must be at least 1, not 0.5."),
        ({"momentum": 1.0}, "momentum must be at least 0 and below 1, not 1.0."),
        ({"memory": 4}, "memory must be at least the 10 neighbours, or 0, not 4."),
        ({"neighbors": 3}, "there is no option 'neighbors': did you mean neighbours"),
    ],
)
def test_bad_options_are_one_sentence(options, sentence):
    with pytest.raises(UsageError, match=sentence):
        ngu.make(walks.SPEC, **options)


@pytest.mark.slow
@pytest.mark.parametrize("loop", [device_loop, host_loop])
def test_an_agent_trains_with_it_in_both_loops(loop):
    env = envs.make("Chain-v0")
    options = {f"ngu.{name}": value for name, value in SMALL.items()}
    agent = agents.make("ppo", env.spec, bonus="ngu", hidden=(8,), unroll=16, **options)
    rows = drive(loop(agent, env, n=4), 4)
    assert all((column(row, "ngu/bonus") > 0).all() for row in rows)
    assert all((column(row, "ngu/modulation") >= 1).all() for row in rows)
