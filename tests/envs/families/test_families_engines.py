"""Families of rewards on EnvPool and Gymnasium: what they pay, when they end, and that they go on where they were."""

import gymnasium
import numpy as np
import pytest
from timestep_rules import check_rules, play, random_actions

import envs
from envs.families import motion

pytest.importorskip("envpool")
pytest.importorskip("mujoco")

# What each family pays for `(task, info, obs, a)`, in float64 from what Gymnasium says.
PAYS = {
    "HalfCheetahDir-v5": lambda w, i, o, a: w[0] * i["x_velocity"] - 0.05 * a @ a,
    "HalfCheetahVel-v5": lambda w, i, o, a: -np.abs(i["x_velocity"] - w[0]) - 0.05 * a @ a,
    "AntFwdBack-v5": lambda w, i, o, a: ant(w, i, o, a),
    "AntDir-v5": lambda w, i, o, a: ant(w, i, o, a),
    "AntGoal-v5": lambda w, i, o, a: -np.abs(o[:2] - w).sum() - 0.1 * a @ a - touch(o[29:]),
    "HumanoidDir-v5": lambda w, i, o, a: (
        1.25 * (w @ speed(i)) - 0.1 * a @ a + 5.0 * (1.0 < o[0] < 2.0) - min(5e-7 * (o[-78:] @ o[-78:]), 10.0)
    ),
}


def speed(info):
    return np.array([info["x_velocity"], info["y_velocity"]])


def touch(forces):
    return 5e-4 * (np.clip(forces, -1, 1) ** 2).sum()


def ant(w, i, o, a):
    return w @ speed(i) - 0.5 * a @ a + (0.2 <= o[0] <= 1.0) - touch(o[27:])


@pytest.mark.parametrize("id", motion.FAMILIES)
def test_rewards_are_the_formula_on_gymnasiums_episodes(id):
    family, seed, n, steps, limit = motion.FAMILIES[id], 5, 2, 60, 25
    env = envs.make(id, "reference", max_steps=limit, trial=1).open(seed, n)
    env.reset()
    # Some actions are beyond their bounds, where they cost more and do no more.
    actions = 1.2 * random_actions(env.spec.action, steps, n, 1)
    history = [env.step(action) for action in actions]
    env.close()
    shown = {"exclude_current_positions_from_observation": False, "terminate_when_unhealthy": False}
    oracle = gymnasium.make(family.engine, disable_env_checker=True, **(shown if id == "AntGoal-v5" else {})).unwrapped
    played = set()
    for i in range(n):
        episode, fresh = 0, True
        for t, step in enumerate(history):
            if fresh:
                oracle.reset(seed=int(np.random.SeedSequence((seed, i, episode)).generate_state(1)[0]))
                elapsed = 0
            obs, _, terminated, _, info = oracle.step(actions[t, i])
            elapsed += 1
            task = step.extras["task"][i].astype(np.float64)
            np.testing.assert_array_equal(step.next_obs[i], obs.astype(np.float32))
            expected = PAYS[id](task, info, obs, actions[t, i].astype(np.float64))
            np.testing.assert_allclose(step.reward[i], expected, rtol=2e-6, atol=3e-6)
            fresh = terminated or elapsed == limit
            assert step.discount[i] == 1 - terminated
            assert step.last[i] == step.extras["trial_last"][i] == fresh
            episode += fresh
            played.add(tuple(task))
    assert len(played) > 1
    oracle.close()


def test_envpool_is_gymnasium_one_step_at_a_time():
    env = envs.make("HalfCheetahVel-v5", max_steps=40, trial=1).open(3, 1)
    oracle = gymnasium.make("HalfCheetah-v5", disable_env_checker=True).unwrapped
    oracle.reset(seed=0)
    obs = env.reset().obs[0]
    for action in random_actions(env.spec.action, 250, 1, 2):
        oracle.set_state(np.concatenate([[0.0], obs[:8]]), obs[8:])
        step = env.step(action)
        expected, _, _, _, info = oracle.step(action[0])
        np.testing.assert_allclose(step.next_obs[0], expected, rtol=1e-3, atol=1e-3)  # a state in float32
        reward = PAYS["HalfCheetahVel-v5"](step.extras["task"][0], info, expected, action[0])
        np.testing.assert_allclose(step.reward[0], reward, atol=1e-4)
        obs = step.obs[0]
    env.close(), oracle.close()


@pytest.mark.parametrize(("id", "weight"), [("AntFwdBack-v5", 1.0), ("HumanoidDir-v5", 1.25)])
def test_envpools_own_reward_differs_in_the_direction_alone(id, weight):
    """Forward is the engine's own task; any other direction differs by the velocities along and across."""
    n, steps, limit = 3, 150, 60
    engine = motion.FAMILIES[id].engine
    ours = play(envs.make(id, split="test", max_steps=limit).open(4, n), steps)
    own = play(envs.make(engine, max_steps=limit).open(4, n), steps)
    terminations = 0
    for step, plain in zip(ours[1:], own[1:], strict=True):
        np.testing.assert_array_equal(step.next_obs, plain.next_obs)
        np.testing.assert_array_equal(step.last, plain.last)
        np.testing.assert_array_equal(step.discount, plain.discount)
        extras, task = step.extras, step.extras["task"]
        x, y = extras["next_x_velocity"], extras["next_y_velocity"]
        turned = weight * ((task[:, 0] - 1) * x + task[:, 1] * y)
        np.testing.assert_allclose(step.reward, plain.reward + turned, rtol=1e-5, atol=1e-5)
        terminations += int((plain.discount == 0).sum())
        bonus = 1.0 if engine == "Ant-v5" else 5.0
        np.testing.assert_array_equal(extras["next_reward_survive"], bonus * plain.discount)
    assert terminations > 0 or id != "HumanoidDir-v5"


def test_the_ant_with_a_goal_sees_where_it_is_and_never_ends():
    n, steps, limit = 2, 300, 120
    goal = play(envs.make("AntGoal-v5", max_steps=limit).open(9, n), steps)
    going = play(envs.make("AntDir-v5", max_steps=limit).open(9, n), steps)
    assert any((step.discount == 0).any() for step in going)
    assert all((step.discount == 1).all() for step in goal)
    assert [t for t, step in enumerate(goal) if step.last.all()] == [limit, 2 * limit]
    actions = random_actions(envs.make("AntGoal-v5").spec.action, steps, n, 0)
    for step, action in zip(goal[1:], actions, strict=True):
        for i in range(n):
            expected = PAYS["AntGoal-v5"](step.extras["task"][i], {}, step.next_obs[i], action[i])
            np.testing.assert_allclose(step.reward[i], expected, rtol=1e-5, atol=1e-5)
    # Up to the first fall both walk the same way; velocities add up to it, but for a substep.
    fall = next(t for t, step in enumerate(going) if step.last.any())
    np.testing.assert_array_equal(going[fall - 1].obs, goal[fall - 1].obs[:, 2:])
    for k, name in enumerate(("next_x_velocity", "next_y_velocity")):
        way = 0.05 * sum(step.extras[name] for step in going[1:fall])
        np.testing.assert_allclose(goal[fall - 1].obs[:, k] - goal[0].obs[:, k], way, atol=0.02)


@pytest.mark.parametrize(
    ("id", "backend"),
    [("HalfCheetahVel-v5", "host"), ("HumanoidDir-v5", "host"), ("AntGoal-v5", "host"), ("AntDir-v5", "reference")],
)
def test_the_rules_of_time_hold_and_a_run_resumes(id, backend):
    check_rules(envs.make(id, backend, max_steps=7, trial=2, tasks=3), n=3, steps=40)


def test_a_run_resumes_before_its_first_step():
    maker = envs.make("HalfCheetahDir-v5", trial=1)
    env, again = maker.open(0, 2), maker.open(0, 2)
    first, restored = env.reset(), again.restore(env.save())
    np.testing.assert_array_equal(first.extras["task_id"], restored.extras["task_id"])
    action = np.ones((2, 6), np.float32)
    np.testing.assert_array_equal(env.step(action).reward, again.step(action).reward)


def test_a_diverged_simulation_pays_nothing_that_is_a_number():
    env = envs.make("AntGoal-v5", max_steps=50, trial=2).open(0, 2)
    env.reset()
    wild = np.zeros((2, 8), np.float32)
    wild[1] = np.nan
    step = env.step(wild)
    assert np.isnan(step.reward).tolist() == [False, True]
    assert step.last.tolist() == [False, True]
    assert step.discount.tolist() == [1, 1]
    calm = env.step(np.zeros((2, 8), np.float32))
    assert np.isfinite(calm.reward).all()
    assert calm.extras["task_id"].tolist() == step.extras["task_id"].tolist()
