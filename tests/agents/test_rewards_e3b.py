"""E3B against the inverse of the covariance itself, over episodes with an end in them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training_runs import column, device_loop, drive, host_loop

import agents
import envs
from agents.agent import Host, Rollout
from agents.auxiliary import pipeline as hooks
from agents.auxiliary.pipeline import Pipeline
from agents.auxiliary.rewards import dynamics, e3b
from envs.contract import Array, Discrete, EnvSpec, TimeStep
from envs.errors import UsageError

T, B, D = 10, 2, 4
END = (5, 1)  # the step and the environment whose episode ends
SPEC = EnvSpec("Fake-v0", "0", Array((3,), "float32"), Discrete(3), {}, max_steps=0)
OPTIONS = {"embedding": D, "layers": (), "model": (16,), "learning_rate": 1e-2, "ridge": 0.2, "coef": 1.0}
PIPELINE = Pipeline((e3b.make(SPEC, **OPTIONS)._replace(door="intrinsic reward"),), SPEC)
NETS = dynamics.networks(dynamics.Config(embedding=D, layers=(), model=(16,)), SPEC)
HOST = Host(None, None, None, None, SPEC, {"e3b.coef": np.ones((), np.float32)})


def rollout(seed=0) -> Rollout:
    """Walks whose actions push one of three numbers, so that an inverse model has something to read."""
    rng = np.random.default_rng(seed)
    action = rng.integers(0, 3, (T, B))
    last = np.zeros((T, B), bool)
    last[END] = True
    obs = np.zeros((T + 1, B, 3), np.float32)
    obs[0] = rng.normal(size=(B, 3))
    next_obs = np.zeros((T, B, 3), np.float32)
    for t in range(T):
        next_obs[t] = 0.5 * obs[t] + np.eye(3)[action[t]]
        obs[t + 1] = np.where(last[t][:, None], rng.normal(size=(B, 3)), next_obs[t])
    zeros, ones = np.zeros((T + 1, B), np.float32), np.ones((T + 1, B), np.float32)
    start = TimeStep(obs[0], zeros[0], ones[0], np.zeros(B, bool), obs[0], {})
    return Rollout((), start, action, {}, TimeStep(obs[1:], zeros[1:], ones[1:], last, next_obs, {}))


@jax.jit
def update(states, batch, key):
    """Observe an unroll from the start of its episodes, then one step: extras, states, bonus, metrics."""
    join = lambda first, later: jnp.concatenate([first[None], later])  # noqa: E731
    timesteps = jax.tree.map(join, hooks.restart(batch.start), batch.timestep)
    memory = hooks.remember(PIPELINE, B)
    _, extras = jax.lax.scan(lambda m, t: hooks.observe(PIPELINE, states, m, t), memory, timesteps)
    extras = jax.tree.map(lambda leaf: leaf[1:], extras)
    states, output, metrics = hooks.step(PIPELINE, key, states, batch._replace(extras=extras), HOST)
    return extras["e3b/bonus"], states, output.bonus, metrics


@pytest.fixture(scope="module")
def fresh():
    return jax.jit(lambda key: hooks.init(PIPELINE, key, HOST))(jax.random.key(1))


def explicit(states, batch) -> np.ndarray:
    """The bonuses `[T, B]` by inverting the covariance at every step."""
    embed = jax.jit(lambda obs: dynamics.embed(NETS, states["e3b"].dynamics.params, obs))
    rows = jnp.concatenate([batch.start.obs[None], batch.timestep.obs, batch.timestep.next_obs])
    phi = np.asarray(embed(rows), np.float64)
    opening, later, successor = phi[0], phi[1 : T + 1], phi[T + 1 :]
    bonus = np.zeros((T, B))
    for b in range(B):
        covariance = 0.2 * np.eye(D) + np.outer(opening[b], opening[b])
        for t in range(T):
            phi_t = successor[t, b]
            bonus[t, b] = phi_t @ np.linalg.inv(covariance) @ phi_t
            covariance += np.outer(phi_t, phi_t)
            if batch.timestep.last[t, b]:
                covariance = 0.2 * np.eye(D) + np.outer(later[t, b], later[t, b])
    return bonus


def test_bonuses_are_those_of_the_inverse_and_a_new_episode_begins_anew(fresh):
    batch = rollout()
    raw, _, _, _ = update(fresh, batch, jax.random.key(0))
    np.testing.assert_allclose(raw, explicit(fresh, batch), rtol=1e-4)


def test_the_bonus_falls_where_the_episode_stands_still_and_is_back_in_the_next(fresh):
    batch = rollout()
    same = np.broadcast_to(batch.start.obs, batch.timestep.obs.shape)
    batch = batch._replace(timestep=batch.timestep._replace(obs=same, next_obs=same))
    raw = np.asarray(update(fresh, batch, jax.random.key(0))[0])
    assert (np.diff(raw[:, 0]) < 0).all()
    t, b = END
    np.testing.assert_allclose(raw[t + 1 :, b], raw[: T - t - 1, b], rtol=1e-5)


def test_the_bonus_is_in_units_of_its_deviation_over_the_run(fresh):
    states, seen = fresh, []
    for turn in range(3):
        raw, states, bonus, metrics = update(states, rollout(turn), jax.random.key(turn))
        seen.append(np.asarray(raw))
        np.testing.assert_allclose(bonus, raw / np.std(seen), rtol=1e-4)
    np.testing.assert_allclose(metrics["e3b/deviation"], np.std(seen), rtol=1e-4)


def test_the_inverse_model_learns_and_the_embedding_with_it(fresh):
    states, found = fresh, []
    for turn in range(150):
        _, states, _, metrics = update(states, rollout(turn % 5), jax.random.key(turn))
        found.append(float(metrics["e3b/inverse_loss"]))
    assert found[0] > 0.8
    assert np.mean(found[-5:]) < 0.3
    moved = jax.tree.map(np.array_equal, fresh["e3b"].dynamics.params, states["e3b"].dynamics.params)
    assert not any(jax.tree.leaves(moved["embedding"]))


def test_no_gradient_flows_through_the_bonus(fresh):
    step = jax.tree.map(lambda leaf: leaf[0], rollout().timestep)
    memory = jax.tree.map(jnp.ones_like, hooks.remember(PIPELINE, B))

    def paid(states):
        return hooks.observe(PIPELINE, states, memory, step)[1]["e3b/bonus"].sum()

    slope = jax.jit(jax.grad(paid, allow_int=True))(fresh)
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(slope))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"ridge": 0.0}, "ridge must be above 0, not 0.0."),
        ({"coef": -1}, "coef must be at least 0, not -1"),
        ({"embedding": 0}, "embedding must be above 0, not 0."),
        ({"rigde": 1.0}, "there is no option 'rigde'"),
    ],
)
def test_bad_options_are_one_sentence(options, sentence):
    with pytest.raises(UsageError, match=sentence):
        e3b.make(SPEC, **options)


@pytest.mark.slow
@pytest.mark.parametrize("loop", [device_loop, host_loop])
def test_an_agent_trains_with_it_in_both_loops(loop):
    env = envs.make("Chain-v0")
    options = {f"e3b.{name}": OPTIONS[name] for name in ("embedding", "layers", "model")}
    agent = agents.make("ppo", env.spec, bonus="e3b", hidden=(8,), unroll=16, **options)
    rows = drive(loop(agent, env, n=4), 4)
    assert all(np.isfinite(column(row, "e3b/inverse_loss")).all() for row in rows)
    assert all((column(row, "e3b/bonus") > 0).all() for row in rows)
