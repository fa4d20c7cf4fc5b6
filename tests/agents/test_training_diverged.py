"""A simulation that diverges: its episode ends there, is counted and told, and nothing of it is learned."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training_runs import column, device_loop, drive, host_loop

import agents
import envs
from agents.training.evaluation import Evaluator, host_view
from envs.errors import UsageError
from envs.wrappers import parse

SETTINGS = {"encoder": "mlp", "hidden": (8,), "unroll": 8, "epochs": 1, "minibatches": 1}
DEVICE = envs.make("Counting-device-v0", terminate=0, limit=5)


def diverging(where: str, always: bool = False):
    """The counting device environment, whose third step is no number, in the episodes with an even tag."""

    def step(key, state, action):
        state, timestep = DEVICE.step(key, state, action)
        broken = (timestep.next_obs[1] == 3) & (always | (timestep.next_obs[0] % 2 == 0))
        if where == "reward":
            return state, timestep._replace(reward=jnp.where(broken, jnp.inf, timestep.reward))
        seen = jnp.where(broken, jnp.nan, timestep.next_obs)
        extras = {**timestep.extras, "length": jnp.where(broken, jnp.nan, timestep.extras["length"])}
        return state, timestep._replace(obs=seen, next_obs=seen, extras=extras)

    return DEVICE._replace(step=step)


def host(ends="diverge 3, truncate 5"):
    return envs.make("Counting-v0", ends=ends)


@pytest.mark.parametrize("where", ["reward", "obs"])
def test_a_device_environment_begins_anew_after_a_step_that_is_no_number(where):
    batch = envs.batch(diverging(where), 8)
    states, first = batch.reset(jax.random.key(0))
    tags = first.obs[:, 0]
    for number in range(3):
        states, timestep = batch.step(jax.random.key(number), states, jnp.zeros(8, jnp.int32))
    even = np.asarray(tags % 2 == 0)
    assert even.any()
    assert not even.all()
    np.testing.assert_array_equal(timestep.last, even)
    np.testing.assert_array_equal(np.isnan(timestep.reward), even)
    np.testing.assert_array_equal(timestep.discount, 1.0)
    assert np.isfinite(timestep.obs).all()
    np.testing.assert_array_equal(timestep.obs[:, 1], np.where(even, 0, 3))


def test_a_host_environment_begins_anew_after_a_step_that_is_no_number():
    env = host().open(seed=0, n=8)
    before = env.reset()
    for _ in range(3):
        timestep = env.step(np.zeros(8, np.int32))
    diverged = np.isnan(timestep.reward)
    assert diverged.any()
    assert not diverged.all()
    np.testing.assert_array_equal(timestep.last, diverged)
    np.testing.assert_array_equal(timestep.discount, 1.0)
    np.testing.assert_array_equal(timestep.obs["mark"] != before.obs["mark"], diverged)
    assert np.isfinite(timestep.obs["draw"]).all()
    restored = host().open(seed=0, n=8).restore(env.save())
    np.testing.assert_array_equal(restored.reward, timestep.reward)
    env.close()


def test_envpool_begins_anew_after_a_step_that_is_no_number(monkeypatch):
    pytest.importorskip("envpool")
    from envs import envpool

    recorded, calls = envpool._Pool._recorded, []

    def broken(self, obs, info, ids):
        record = recorded(self, obs, info, ids)
        calls.append(ids)
        if len(calls) == 3:  # a reset and two steps
            record["obs"] = record["obs"].copy()
            record["obs"][1, 3] = np.nan
        return record

    monkeypatch.setattr(envpool._Pool, "_recorded", broken)
    env = envs.make("InvertedPendulum-v5").open(seed=0, n=3)
    env.reset()
    env.step(np.zeros((3, 1), np.float32))
    timestep = env.step(np.zeros((3, 1), np.float32))
    np.testing.assert_array_equal(timestep.last, [False, True, False])
    np.testing.assert_array_equal(np.isnan(timestep.reward), timestep.last)
    np.testing.assert_array_equal(timestep.discount, 1.0)
    assert np.isfinite(timestep.obs).all()
    assert np.isfinite(env.step(np.zeros((3, 1), np.float32)).next_obs).all()
    env.close()


@pytest.mark.parametrize("wrap", ["", "scale_reward"])
@pytest.mark.parametrize("made", [lambda: diverging("obs"), host], ids=["device", "host"])
def test_a_loop_goes_on_and_counts_what_it_discards(made, wrap):
    env = made()
    agent = agents.make("ppo", parse(wrap).spec(env.spec), **SETTINGS)
    if made is host:
        loop = host_loop(agent, env, n=8, wrap=wrap)
    else:
        loop = device_loop(agent, env, n=8, seeds=(0,), wrap=wrap)
    rows = drive(loop, 5)
    discarded = np.concatenate([column(row, "discarded") for row in rows])
    assert discarded[0] > 0
    assert (np.diff(discarded) >= 0).all()
    assert discarded[-1] > discarded[0]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(loop.learner.state.params))
    assert np.isfinite([value for row in rows[2:] for value in row[0].values()]).all()
    # Episodes of three steps are those that diverged: only the others are in the averages.
    assert {float(column(row, "episode_length")[0]) for row in rows} == {5.0}


def test_what_is_learned_of_the_step_is_that_nothing_happened():
    seen = []
    made = agents.make("ppo", DEVICE.spec, **SETTINGS)

    def update(key, state, rollout):
        seen.append(rollout)
        shown = ("last", "next_obs", "reward", "discount")
        return state, {"acted_on": rollout.obs, **{name: getattr(rollout.timestep, name) for name in shown}}

    loop = device_loop(made._replace(update=update), diverging("obs"), n=8, seeds=(0,))
    loop.start()
    report = loop.advance(total=1).metrics[0]
    cut = report["last"] & (report["acted_on"][..., 1] == 2)
    assert cut.any()
    np.testing.assert_array_equal(report["next_obs"][cut], report["acted_on"][cut])
    np.testing.assert_array_equal(report["reward"][cut], 0.0)
    np.testing.assert_array_equal(report["discount"][cut], 1.0)
    assert "diverged" not in seen[0].timestep.extras


def test_an_evaluation_leaves_such_episodes_out_and_gives_up_where_there_are_no_others():
    agent = agents.make("ppo", DEVICE.spec, **SETTINGS)
    state = agent.init(jax.random.key(0), DEVICE.spec)
    wrapper = parse("")
    run = lambda env: Evaluator(agent, env, wrapper, episodes=8)(state, wrapper.init(DEVICE.spec, 8), 0)  # noqa: E731
    assert run(host_view(diverging("obs"))).lengths.tolist() == [5] * 8
    with pytest.raises(UsageError, match="Counting-device-v0 was simulated to numbers that are not finite 8"):
        run(host_view(diverging("obs", always=True)))


def test_a_run_says_what_it_discards(tmp_path, capsys):
    env = diverging("reward")
    agent = agents.make("ppo", env.spec, **SETTINGS)
    run = agents.train(agent, env, envs=4, steps=4 * 8 * 4, out=tmp_path / "run", tensorboard=False, log_every=1)
    said = capsys.readouterr().err
    assert "discarded by step" in said
    assert "the simulation gave numbers not finite" in said
    assert run.results[0]["final"]["discarded"] > 0
