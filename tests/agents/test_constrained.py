"""Agents under a constraint: prices that answer costs, meta-gradients against differences, and what they reduce to."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training_runs import column, device_loop, drive

import agents
import envs
from agents import mesh, meta_l, offpolicy, parts, rc_d4pg
from agents.agent import Sample, single_steps, stored
from agents.training import learner
from envs.errors import UsageError

POINT = envs.make("PointMass-v0", speed_limit=0.5, wind=0.3)
FREE = envs.make("PointMass-v0")
SMALL = {
    "hidden": (8,),
    "critic_hidden": (),
    "batch": 16,
    "warmup": 16,
    "uniform.capacity": 256,
    "n_step": 1,
    "v_min": -5.0,
    "v_max": 10.0,
    "atoms": 11,
    "discount": 0.9,
}
MODULES = {"rc_d4pg": rc_d4pg, "meta_l": meta_l, "mesh": mesh}


def made(name, **options):
    """An agent with its parts, and its first state after an episode that cost 0.4."""
    named = {**SMALL, **options}
    agent = agents.make(name, POINT.spec, **named)
    config, rest = parts.split(MODULES[name].Config, named)
    base = rc_d4pg.assemble(name, config, POINT.spec, rest)
    state = learner.with_progress(agent.init(jax.random.key(0), POINT.spec), jnp.zeros(()))
    return agent, base, told(state, 1.0, 0.4)


def told(state, episodes, cost):
    return state._replace(knobs={**state.knobs, "episodes": jnp.float32(episodes), "episode_cost": jnp.float32(cost)})


@pytest.fixture(scope="module")
def sample():
    """Records of a policy that is drawn evenly, about half of which cost something."""
    batch = envs.batch(POINT, 8)
    states, first = batch.reset(jax.random.key(1))

    def step(carry, key):
        states, _ = carry
        action = jax.random.uniform(key, (8, 2), minval=-1.0, maxval=1.0)
        states, after = batch.step(key, states, action)
        return (states, after), (action, {}, after)

    _, taken = jax.lax.scan(step, (states, first), jax.random.split(jax.random.key(2), 4))
    steps = stored(single_steps(learner.Rollout((), first, *taken)))
    costs = np.asarray(steps.timestep.extras["cost"])
    assert 0.2 < costs.mean() < 0.9
    return Sample(steps, jnp.arange(32), jnp.ones(32))


# -------------------------------------------------------------------------------------------------------- PRICES


def test_the_price_answers_each_episode_once_and_never_falls_below_nothing(sample):
    agent, _, state = made("rc_d4pg", beta=0.1, multiplier=0.5, multiplier_rate=0.2)
    update = jax.jit(agent.update)
    once, metrics = update(jax.random.key(0), state, sample)
    np.testing.assert_allclose(metrics["multiplier"], 0.5 + 0.2 * 0.3, rtol=1e-6)
    np.testing.assert_allclose(metrics["overshoot"], 0.3, rtol=1e-6)
    again, metrics = update(jax.random.key(1), once, sample)
    np.testing.assert_allclose(metrics["multiplier"], 0.56, rtol=1e-6)  # no episode has ended since
    two, metrics = update(jax.random.key(2), told(again, 3.0, 0.0), sample)
    np.testing.assert_allclose(metrics["multiplier"], 0.56 - 2 * 0.2 * 0.1, rtol=1e-5)
    _, metrics = update(jax.random.key(3), told(two, 1000.0, 0.0), sample)
    assert float(metrics["multiplier"]) == 0.0
    assert float(metrics["overshoot"]) == 0.0


@pytest.mark.parametrize("name", MODULES)
def test_before_the_first_episode_the_price_stays_and_nothing_is_told_of_costs(name, sample):
    agent, _, state = made(name, multiplier=2.0)
    after, metrics = jax.jit(agent.update)(jax.random.key(0), told(state, 0.0, 0.0), sample)
    assert float(after.variables["price"]["multiplier"]) == 2.0
    assert np.isnan(metrics["episode_cost"])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((after.params, after.variables)))


def test_rewards_are_less_by_the_price_of_their_costs(sample):
    _, base, _ = made("rc_d4pg", reward_scale=0.5)
    batch = offpolicy.batch_of(base, sample, None)
    found = rc_d4pg.penalised(base, batch, jnp.float32(3.0)).reward
    steps = sample.steps.timestep
    np.testing.assert_allclose(found, 0.5 * (steps.reward - 3.0 * steps.extras["cost"]), rtol=1e-5)


# ------------------------------------------------------------------------------------------------- META-GRADIENTS


def doubled(tree):
    return jax.tree.map(
        lambda leaf: leaf.astype(jnp.float64) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, tree
    )


@pytest.mark.parametrize("outer", ["critic", "actor", "both"])
def test_metals_derivative_is_that_of_differences(outer, sample):
    with jax.enable_x64(True):
        _, base, state = made("meta_l", outer=outer, learning_rate=1e-2, multiplier=0.5, multiplier_rate=0.3)
        state, records = doubled(state), doubled(sample)
        train, validation = meta_l.halves(offpolicy.batch_of(base, records, None), 0.5)

        @jax.jit
        def loss(alpha):
            multiplier = meta_l.next_multiplier(base, state, alpha)
            lent = offpolicy.host(base, state)
            trained, _ = meta_l.inner(base, state, jax.random.key(0), rc_d4pg.penalised(base, train, multiplier), lent)
            return meta_l.judged(base, state, trained.params, rc_d4pg.penalised(base, validation, multiplier))

        at, step = jnp.float64(0.2), 1e-5
        _, slope = jax.jvp(loss, (at,), (jnp.float64(1.0),))
        difference = (loss(at + step) - loss(at - step)) / (2 * step)
        assert abs(float(difference)) > 1e-4
        np.testing.assert_allclose(slope, difference, rtol=1e-5)


def test_meshs_gradient_is_that_of_differences(sample):
    with jax.enable_x64(True):
        _, base, state = made("mesh", learning_rate=1e-2)
        state, records = doubled(state), doubled(sample)
        train, validation = meta_l.halves(offpolicy.batch_of(base, records, None), 0.5)
        lent = offpolicy.host(base, state)

        @jax.jit
        def loss(shape):
            batch, _ = mesh.shaped(base, shape, train)
            trained, _ = meta_l.inner(base, state, jax.random.key(0), batch, lent)
            return meta_l.judged(base, state, trained.params, mesh.shaped(base, shape, validation)[0])

        keys = iter(jax.random.split(jax.random.key(5), 16))
        shape = jax.tree.map(
            lambda x: x + 0.3 * jax.random.normal(next(keys), x.shape), state.variables["price"]["shape"]
        )
        way = jax.tree.map(lambda x: jax.random.normal(next(keys), x.shape), shape)
        shift = lambda size: jax.tree.map(lambda a, b: a + size * b, shape, way)  # noqa: E731
        difference = (loss(shift(1e-5)) - loss(shift(-1e-5))) / 2e-5
        slopes = jax.jit(jax.grad(loss))(shape)
        slope = sum(jax.tree.leaves(jax.tree.map(lambda a, b: (a * b).sum(), slopes, way)))
        assert abs(float(difference)) > 1e-4
        np.testing.assert_allclose(slope, difference, rtol=1e-5)


def test_without_a_rate_for_alpha_the_multiplier_is_lagranges(sample):
    agent, _, state = made("meta_l", alpha=0.7, alpha_rate=0.0, multiplier_rate=0.01, beta=0.1)
    update, expected = jax.jit(agent.update), 0.0
    for number in range(3):
        state, metrics = update(jax.random.key(number), state, sample)
        expected = max(0.0, expected + 0.01 * np.exp(0.7) * 0.3)
        np.testing.assert_allclose(metrics["multiplier"], expected, rtol=1e-5)
    assert float(state.variables["price"]["alpha"]) == np.float32(0.7)


def test_alpha_moves_against_its_slope(sample):
    agent, _, state = made("meta_l", alpha_rate=0.1, multiplier_rate=0.3, multiplier=0.5)
    after, metrics = jax.jit(agent.update)(jax.random.key(0), state, sample)
    assert float(metrics["meta_gradient"]) != 0
    assert np.sign(after.variables["price"]["alpha"]) == -np.sign(metrics["meta_gradient"])


def test_where_nothing_is_violated_an_update_is_d4pgs(sample):
    agent, _, state = made("meta_l", beta=0.5)
    extras = {name: jnp.zeros_like(leaf) for name, leaf in sample.steps.timestep.extras.items()}
    free = sample._replace(steps=sample.steps._replace(timestep=sample.steps.timestep._replace(extras=extras)))
    after, metrics = jax.jit(agent.update)(jax.random.key(0), state, free)
    assert float(metrics["meta_gradient"]) == 0.0
    assert float(metrics["multiplier"]) == 0.0

    plain = agents.make("d4pg", FREE.spec, **SMALL)
    half = jax.tree.map(lambda leaf: leaf[:16], free)
    begun = state._replace(variables={"target": state.variables["target"]})
    expected, _ = jax.jit(plain.update)(jax.random.key(0), begun, half)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7), after.params, expected.params)


# ------------------------------------------------------------------------------------------------------------ RUNS


@pytest.mark.parametrize("name", MODULES)
def test_a_constrained_agent_runs_and_counts_what_it_costs(name):
    options = {**SMALL, "hidden": (32, 32), "uniform.capacity": 8192, "learning_rate": 1e-3, "n_step": 3, "batch": 32}
    agent = agents.make(name, POINT.spec, envs=8, unroll=2, ratio=0.25, **options)
    rows = drive(device_loop(agent, POINT, n=8, seeds=(0,)), 60)
    last = rows[-1][0]
    assert 0 < column(rows[-1], "cost")[0] < 1
    assert np.isfinite(last["loss"])
    assert (last["multiplier"] > 0.5) == (name == "mesh")
    assert last["overshoot"] >= 0


MISTAKES = {
    "no cost": ("rc_d4pg", FREE, {}, "rc_d4pg learns under a constraint, and the steps of PointMass-v0 have no cost"),
    "a threshold below nothing": ("meta_l", POINT, {"beta": -0.1}, "beta must be between 0 and 1"),
    "one record": ("meta_l", POINT, {"batch": 1}, "batch must be at least 2"),
    "a moving price": ("mesh", POINT, {"multiplier_rate": 0.1}, "mesh has a fixed price"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_are_one_sentence(case):
    name, env, options, sentence = MISTAKES[case]
    with pytest.raises(UsageError, match=sentence):
        agents.make(name, env.spec, **options)


def test_a_run_is_evaluated_with_what_its_episodes_cost(tmp_path):
    options = {**SMALL, "envs": 4, "n_step": 2}
    agent = agents.make("meta_l", POINT.spec, **options)
    run = agents.train(agent, POINT, steps=400, out=tmp_path / "run", quiet=True, tensorboard=False)
    found = agents.evaluate(run, episodes=6)
    assert 0 < found["cost"] < 1
    assert found["cost_low"] <= found["cost"] <= found["cost_high"]
    agents.train(agent, POINT, steps=800, out=tmp_path / "run", quiet=True, tensorboard=False, resume=True)
