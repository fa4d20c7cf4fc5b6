"""MuJoCo: EnvPool against Gymnasium one step at a time, and the tables against both."""

import copy

import gymnasium
import numpy as np
import pytest

from envs import mujoco
from envs.errors import UsageError
from envs.mujoco import TASKS

envpool = pytest.importorskip("envpool")
physics = pytest.importorskip("mujoco")

ENGINE = "3.6.0"  # the MuJoCo inside EnvPool 1.2.5
# With another MuJoCo than that, contacts come out differently in these tasks and joint limits differ by rounding: they
# are compared without contacts, to 1e-6. With the same MuJoCo all tasks are equal at 1e-9.
CONTACT = ("Ant-v5", "Hopper-v5", "Humanoid-v5", "HumanoidStandup-v5")
WHOLE = (*CONTACT, "HalfCheetah-v5", "Swimmer-v5", "Walker2d-v5")  # these can show all positions


def test_the_table_is_gymnasiums():
    for id, task in TASKS.items():
        env = gymnasium.make(id, disable_env_checker=True)
        space = env.action_space
        assert env.observation_space.shape == (task.obs,)
        action = mujoco.make(id).spec.action
        np.testing.assert_array_equal(np.float32([action.low, action.high]), [space.low, space.high])
        assert env.spec.max_episode_steps == task.max_steps
        assert envpool.make_spec(id).config.max_episode_steps == task.max_steps
        env.close()


@pytest.mark.parametrize("id", TASKS)
def test_one_step_from_the_same_state_is_gymnasiums(id):
    shown = {"exclude_current_positions_from_observation": False} if id in WHOLE else {}
    pool = envpool.make(id, env_type="gymnasium", num_envs=1, seed=5, **shown)
    env = gymnasium.make(id, disable_env_checker=True, **shown)
    env.reset(seed=0)
    model, data = env.unwrapped.model, env.unwrapped.data
    contacts = watch_contacts(env.unwrapped)
    comparable = physics.__version__ == ENGINE or id not in CONTACT
    atol = 1e-9 if comparable else 1e-6
    rng = np.random.default_rng(1)
    obs, fresh, compared = None, True, 0
    for _ in range(150):
        if fresh:
            obs, _ = pool.reset()
            physics.mj_resetData(model, data)
            position, velocity = state_in(id, obs[0], model)
            env.unwrapped.set_state(position, np.nan_to_num(velocity))
            np.testing.assert_allclose(env.unwrapped._get_obs(), obs[0], atol=1e-9, rtol=0)
        else:
            position, velocity = state_in(id, obs[0], model)
            data.qpos[:] = data.qpos if id == "Pusher-v5" else position  # what it shows of things lags one substep
            data.qvel[:] = np.where(np.isnan(velocity), data.qvel, velocity)
        action = rng.uniform(env.action_space.low, env.action_space.high).astype(np.float32)
        contacts.clear()
        obs, reward, terminated, truncated, _ = pool.step(action[None].astype(np.float64))
        expected, expected_reward, expected_end, _, _ = env.step(action)
        # Where the two must part: Pusher hides the velocity of what it has pushed; other physics, other contacts.
        pushed = id == "Pusher-v5" and np.abs(data.qvel[7:]).max() > 1e-12
        parted = pushed or (not comparable and any(contacts))
        if not parted:
            np.testing.assert_allclose(obs[0], expected, atol=atol, rtol=0)
            np.testing.assert_allclose(reward[0], expected_reward, rtol=3e-7, atol=max(atol, 3e-7))  # float32
            assert terminated[0] == expected_end
            compared += 1
        fresh = parted or terminated[0] or truncated[0]
    env.close()
    assert compared >= (100 if comparable else 2) or id == "HumanoidStandup-v5"


def watch_contacts(env):
    """A list that gets, at every substep of `env`, whether two bodies were within two centimetres."""
    seen, near = [], copy.copy(env.model)
    near.geom_margin[:] += 0.02
    probe = physics.MjData(near)

    def simulate(control, frames):
        env.data.ctrl[:] = control
        for _ in range(frames):
            physics.mj_step(env.model, env.data)
            probe.qpos[:] = env.data.qpos
            physics.mj_fwdPosition(near, probe)
            seen.append(probe.ncon > 0)
        physics.mj_rnePostConstraint(env.model, env.data)

    env._step_mujoco_simulation = simulate
    return seen


def state_in(id, obs, model):
    """Positions and velocities as far as the observation shows them; NaN for a velocity that it does not."""
    nq, nv = model.nq, model.nv
    if id == "InvertedDoublePendulum-v5":
        position = np.array([obs[0], np.arctan2(obs[1], obs[3]), np.arctan2(obs[2], obs[4])])
        velocity = obs[5:8].copy()
    elif id == "Reacher-v5":
        position = np.concatenate([np.arctan2(obs[2:4], obs[0:2]), obs[4:6]])
        velocity = np.concatenate([obs[6:8], [0, 0]])
    elif id == "Pusher-v5":
        thing, goal = obs[17:20] - model.body("object").pos, obs[20:23] - model.body("goal").pos
        position = np.concatenate([obs[:7], thing[1::-1], goal[1::-1]])
        velocity = np.concatenate([obs[7:14], [np.nan] * 4])
    else:
        position, velocity = obs[:nq], obs[nq : nq + nv].copy()
    if id in ("Hopper-v5", "Walker2d-v5", "InvertedDoublePendulum-v5"):
        velocity[np.abs(velocity) >= 10] = np.nan  # they clip what they show
    return position, velocity


def test_a_fall_exactly_at_the_limit_is_a_termination():
    free = mujoco.make("Hopper-v5", threads=1).open(3, 1)
    free.reset()
    actions = np.random.default_rng(0).uniform(-1, 1, (200, 1, 3)).astype(np.float32)
    fall = next(t for t in range(200) if free.step(actions[t]).discount[0] == 0) + 1
    for limit, discount in ((fall, 0.0), (fall - 1, 1.0)):
        env = mujoco.make("Hopper-v5", threads=1, max_steps=limit).open(3, 1)
        env.reset()
        steps = [env.step(actions[t]) for t in range(limit)]
        assert [bool(step.last[0]) for step in steps] == [False] * (limit - 1) + [True]
        assert steps[-1].discount[0] == discount


def test_both_backends_show_the_same_extras():
    for backend in ("host", "reference"):
        env = mujoco.make("HalfCheetah-v5", backend, max_steps=4).open(0, 2)
        assert env.reset().extras["x_velocity"].tolist() == [0.0, 0.0]
        for t in range(1, 6):
            step = env.step(np.full((2, 6), 0.5, np.float32))
            assert (step.extras["next_x_velocity"] != 0).all()
            assert ((step.extras["x_velocity"] == 0) == step.last).all()
            assert (step.last == (t == 4)).all()
            assert (step.discount == 1).all()
        env.close()
    assert mujoco.make("Reacher-v5").spec.extras == {}


def test_the_host_backend_does_not_draw():
    with pytest.raises(UsageError, match="reference"):
        mujoco.make("Hopper-v5").open(0, 1, render=True)
