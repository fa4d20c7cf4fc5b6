"""Families of rewards in MJX: one step against Gymnasium's, and tasks dealt to a batch. MJX compiles for long."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from timestep_rules import check_timestep, random_actions

import envs
from envs.families import motion
from envs.families.device import State as Playing

pytest.importorskip("mujoco.mjx")

from envs.mjx import State

pytestmark = pytest.mark.slow
N = 60


def place(engine, oracle):
    """Where Gymnasium takes the body to be before a step."""
    if engine == "Ant-v5":
        return oracle.data.body(1).xpos[:2].copy()
    if engine == "Humanoid-v5":
        return oracle.model.body_mass @ oracle.data.xipos[:, :2] / oracle.model.body_mass.sum()
    return np.array([oracle.data.qpos[0], 0.0])


@pytest.mark.parametrize("id", ["HalfCheetahVel-v5", "AntDir-v5", "AntGoal-v5", "HumanoidDir-v5"])
def test_a_step_is_gymnasiums_from_the_same_state(id):
    family, env = motion.FAMILIES[id], envs.make(id, backend="device", max_steps=N)
    oracle = gymnasium.make(family.engine, disable_env_checker=True, **family.view.engine()).unwrapped
    oracle.reset(seed=0)
    rng, before, after = np.random.default_rng(1), [], []
    for t in range(N):
        data = oracle.data
        if t == N // 2 and oracle.model.nq > 9:  # in the air, where ants and humanoids have no business
            oracle.set_state(np.concatenate([data.qpos[:2], [3.0], data.qpos[3:]]), data.qvel.copy())
        here = State(data.qpos.copy(), data.qvel.copy(), np.zeros(oracle.model.nv), place(family.engine, oracle), t)
        task_id = t % family.tasks
        action = 1.2 * rng.uniform(oracle.action_space.low, oracle.action_space.high)
        obs, _, terminated, _, info = oracle.step(action)
        told = {**info, "x_position": data.qpos[0], "y_position": data.qpos[1]}
        before.append((Playing(here, task_id, 0), action))
        after.append((obs, terminated, {name: told[name] for name in family.view.extras}))
        if terminated:
            oracle.reset()
    states, actions = jax.tree.map(lambda *rows: jnp.asarray(np.stack(rows)), *before)
    states = jax.tree.map(lambda x: x.astype(jnp.float32) if x.ndim > 1 else x.astype(jnp.int32), states)
    obs, terminated, extras = (
        np.stack(column) if i < 2 else column for i, column in enumerate(zip(*after, strict=True))
    )
    step = jax.jit(lambda key, *rows: jax.lax.map(lambda row: env.step(key, *row), rows))
    _, found = step(jax.random.key(0), states, actions.astype(jnp.float32))
    shown = {"Ant-v5": 27 + family.view.places, "Humanoid-v5": 253}.get(family.engine, obs.shape[1])  # the rest: forces
    np.testing.assert_allclose(found.next_obs[:, :shown], obs[:, :shown], atol=5e-3, rtol=1e-5)
    extras = {f"next_{name}": np.array([one[name] for one in extras]) for name in family.view.extras}
    for name, expected in extras.items():
        np.testing.assert_allclose(found.extras[name], expected, atol=2e-3, rtol=1e-2, err_msg=name)
    tasks = np.asarray(found.extras["task"], np.float64)
    assert len(np.unique(tasks[:, 0])) > 2
    reward = family.pays(tasks, extras, np.asarray(actions, np.float64))
    np.testing.assert_allclose(found.reward, reward, atol=3e-3, rtol=1e-2)
    np.testing.assert_array_equal(found.discount, 1.0 - terminated)
    np.testing.assert_array_equal(found.last, terminated | (np.arange(N) == N - 1))
    assert terminated.any() == (id in ("AntDir-v5", "HumanoidDir-v5"))
    oracle.close()


def test_a_batch_plays_a_trial_of_each_task():
    env = envs.make("HalfCheetahVel-v5", backend="device", tasks=3, test_tasks=4, trial=2, max_steps=2)
    n, steps = 3, 8
    assert (env.options["split"], env.evaluation.options["split"]) == ("train", "test")
    actions = jnp.asarray(random_actions(env.spec.action, steps, n, 0))
    for part, count in ((env, 3), (env.evaluation, 4)):
        batch = envs.batch(part, n)

        @jax.jit
        def run(key, batch=batch):
            states, start = batch.reset(key)
            body = lambda states, x: batch.step(x[0], states, x[1])  # noqa: E731
            return start, jax.lax.scan(body, states, (jax.random.split(key, steps), actions))[1]

        start, found = jax.device_get(run(jax.random.key(0)))
        check_timestep(part.spec, start, n)
        check_timestep(part.spec, jax.tree.map(lambda x: x[3], found), n)
        ids, extras = found.extras["task_id"], found.extras
        np.testing.assert_array_equal(start.extras["task_id"], ids[0])
        np.testing.assert_array_equal(ids[:4], np.broadcast_to(ids[0], (4, n)))
        np.testing.assert_array_equal(ids[4:], np.broadcast_to(ids[4], (4, n)))
        if count == 4:
            np.testing.assert_array_equal(ids[[0, 4]], [[0, 1, 2], [3, 0, 1]])
        else:
            assert sorted(ids[0]) == sorted(ids[4]) == [0, 1, 2]
        np.testing.assert_array_equal(extras["trial_last"], (np.arange(steps) % 4 == 3)[:, None] & np.ones(n, bool))
        expected = motion.cheetah_vel(extras["task"], extras, np.asarray(actions))
        np.testing.assert_allclose(found.reward, expected, rtol=1e-5, atol=1e-5)
