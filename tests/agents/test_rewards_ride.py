"""RIDE against its equation in NumPy, with the visits of an episode counted by a dictionary."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import walks
from training_runs import column, device_loop, drive, host_loop

import agents
import envs
from agents.auxiliary.rewards import dynamics, ride
from envs.contract import Array, TimeStep
from envs.errors import UsageError

SMALL = {"embedding": 8, "layers": (), "model": (16,), "gain": 1.0}
NETS = dynamics.networks(ride.Config(**SMALL), walks.SPEC)


@pytest.fixture(scope="module")
def update():
    return walks.updater(ride.make(walks.SPEC, **SMALL))


@pytest.fixture(scope="module")
def fresh():
    return walks.fresh(ride.make(walks.SPEC, **SMALL))


def visits(batch) -> np.ndarray:
    """How often each episode has seen every successor, the observation that opens it included."""
    found = np.zeros((walks.T, walks.B))
    for b in range(walks.B):
        seen = {tuple(batch.start.obs[b]): 1}
        for t in range(walks.T):
            state = tuple(batch.timestep.next_obs[t, b])
            seen[state] = seen.get(state, 0) + 1
            found[t, b] = seen[state]
            if batch.timestep.last[t, b]:
                seen = {tuple(batch.timestep.obs[t, b]): 1}
    return found


def standing_still(batch):
    """The same walks, but that every step leads to the same place, which every episode opens with."""
    same = np.zeros_like(batch.timestep.obs)
    return batch._replace(timestep=batch.timestep._replace(obs=same, next_obs=same + 1.0))


def test_pays_the_way_through_the_embedding_over_the_root_of_the_visits(update, fresh):
    batch = walks.rollout(3)
    _, bonus, metrics, extras = update(fresh, batch)
    expected = visits(batch)
    assert expected.max() >= 2
    np.testing.assert_array_equal(extras["visits"], expected)
    now, successor, _ = walks.embedded(NETS, fresh.params, batch)
    np.testing.assert_allclose(bonus, np.linalg.norm(successor - now, axis=-1) / np.sqrt(expected), rtol=1e-4)
    np.testing.assert_allclose(metrics["visits"], expected.mean(), rtol=1e-6)


def test_the_bonus_falls_within_an_episode_and_is_back_in_the_next(update, fresh):
    _, bonus, _, _ = update(fresh, standing_still(walks.rollout()))
    t, b = walks.END
    impact = bonus[0, 0]
    np.testing.assert_allclose(bonus[:, 0], impact / np.sqrt(1 + np.arange(walks.T)), rtol=1e-5)
    np.testing.assert_allclose(bonus[t + 1 :, b], bonus[: walks.T - t - 1, b], rtol=1e-5)


@pytest.mark.parametrize(("ignore", "most"), [(("direction",), 13), ((), 4)])
def test_what_is_ignored_makes_no_new_state(ignore, most):
    # Thirteen steps on one spot, turning: all the same state, or every fourth.
    views = {"view": Array((3,), "float32"), "direction": Array((), "int32", 0, 3)}
    spec = dataclasses.replace(walks.SPEC, obs=views, max_steps=13)
    config, steps = ride.Config(ignore=ignore), jnp.arange(13)
    obs = {"view": jnp.ones((13, 3)), "direction": steps % 4}
    timesteps = TimeStep(obs, 0.0 * steps, 0.0 * steps, steps < 0, obs, {})
    memory = ride.memory(config, walks.lend("ride", spec))
    watch = jax.jit(lambda memory: jax.lax.scan(lambda m, t: ride.observe(config, None, m, t), memory, timesteps))
    assert watch(memory)[1]["visits"].max() == most


def test_no_gradient_flows_through_the_bonus(update, fresh):
    assert not walks.leaks(update, fresh, walks.rollout())


def test_the_models_learn(fresh):
    learner = walks.updater(ride.make(walks.SPEC, learning_rate=3e-3, minibatches=3, forward_cost=0.1, **SMALL))
    state, found = fresh, []
    for turn in range(150):
        state, _, metrics, _ = learner(state, walks.rollout(turn % 5), turn)
        found.append([float(metrics["forward_loss"]), float(metrics["inverse_loss"])])
    forward, inverse = np.transpose(found)
    assert forward[-5:].mean() < 0.5 * forward[0]
    assert inverse[-5:].mean() < 0.8 * np.log(3)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"coef": -1.0}, "coef must be at least 0, not -1.0."),
        ({"inverse_cost": -0.1}, "inverse_cost must be at least 0, not -0.1."),
        ({"visited": 5}, "visited must be at least 26 slots for the 12 steps of Walks-v0, not 5"),
        ({"episodic_key": "position"}, "episodic_key must be obs or full_grid, not 'position'."),
    ],
)
def test_bad_options_are_one_sentence(options, sentence):
    with pytest.raises(UsageError, match=sentence):
        ride.make(walks.SPEC, **options)
    with pytest.raises(UsageError, match="needs a time limit, and Walks-v0 has none"):
        ride.make(dataclasses.replace(walks.SPEC, max_steps=0))
    assert "grid_key" in ride.make(walks.SPEC, episodic_key="full_grid").needs


@pytest.mark.slow
@pytest.mark.parametrize("loop", [device_loop, host_loop])
def test_an_agent_trains_with_it_in_both_loops(loop):
    env = envs.make("Chain-v0")
    options = {f"ride.{name}": value for name, value in SMALL.items()}
    agent = agents.make("ppo", env.spec, bonus="ride", hidden=(8,), unroll=16, **options)
    rows = drive(loop(agent, env, n=4), 4)
    assert all((column(row, "ride/bonus") > 0).all() for row in rows)
    assert all((column(row, "ride/visits") > 1).all() for row in rows)
