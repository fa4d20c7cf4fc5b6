"""Families on the device: goals and rewards by hand, and which task is played when."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.errors import UsageError


def walked(env, n, steps, seed=0, action=None):
    """TimeSteps of `n` environments, `[steps, n, ...]`, under even actions or always the same."""
    batch = envs.batch(env, n)
    low, high = jnp.asarray(env.spec.action.low), jnp.asarray(env.spec.action.high)

    def step(states, key):
        act_key, step_key = jax.random.split(key)
        actions = jax.random.uniform(act_key, (n, 2), minval=low, maxval=high)
        actions = actions if action is None else jnp.broadcast_to(jnp.asarray(action), (n, 2))
        states, timestep = batch.step(step_key, states, actions)
        return states, (timestep, actions)

    @jax.jit
    def run(key):
        first, rest = jax.random.split(key)
        states, opening = batch.reset(first)
        return opening, jax.lax.scan(step, states, jax.random.split(rest, steps))[1]

    opening, (timesteps, actions) = jax.device_get(run(jax.random.key(seed)))
    return opening, timesteps, actions


def test_the_robot_moves_and_is_paid_by_its_distance():
    _, t, actions = walked(envs.make("PointRobot-v0"), 3, 20)
    place = np.cumsum(0.1 * actions, 0)
    np.testing.assert_allclose(t.next_obs, place, atol=1e-6)
    away = np.linalg.norm(place - t.extras["task"], axis=-1)
    np.testing.assert_allclose(t.reward, -away, atol=1e-6)
    np.testing.assert_array_equal(t.extras["success"], away <= 0.2)
    assert t.last[-1].all()
    assert not t.last[:-1].any()
    assert (t.discount == 1).all()
    assert not np.any(t.obs[-1])  # a new episode begins in the middle


def test_the_sparse_robot_is_paid_near_its_goal_alone():
    env = envs.make("SparsePointRobot-v0", tasks=3)
    _, t, _ = walked(env, 3, 20, action=[0.0, 1.0])
    goals = t.extras["task"][0]
    np.testing.assert_allclose(np.linalg.norm(goals, axis=-1), 1, atol=1e-6)
    assert (goals[:, 1] >= 0).all()
    away = np.linalg.norm(t.next_obs - t.extras["task"], axis=-1)
    np.testing.assert_allclose(t.reward, np.where(away <= 0.2, 1 - away, 0), atol=1e-6)


def test_a_task_lasts_a_trial_and_all_are_played_without_repetition():
    env = envs.make("PointRobot-v0", tasks=4, trial=2, max_steps=3)
    opening, t, _ = walked(env, 4, 24)
    ids = np.concatenate([opening.extras["task_id"][None], t.extras["task_id"]])
    for trial in range(4):
        rows = ids[1 + 6 * trial : 7 + 6 * trial]
        assert (rows == rows[0]).all()
        assert sorted(rows[0]) == [0, 1, 2, 3]
    assert len({tuple(ids[1 + 6 * trial]) for trial in range(4)}) > 1  # shuffled
    assert (opening.extras["task_id"] == ids[1]).all()
    over = t.extras["trial_last"]
    np.testing.assert_array_equal(np.flatnonzero(over[:, 0]), [5, 11, 17, 23])
    assert not opening.extras["trial_last"].any()
    assert (np.unique(t.extras["task"], axis=None).size) == 8


def test_evaluation_deals_in_order_and_has_tasks_of_its_own():
    env = envs.make("PointRobot-v0", tasks=4, test_tasks=5, trial=1, max_steps=2)
    _, t, _ = walked(env.evaluation, 3, 8)
    np.testing.assert_array_equal(t.extras["task_id"][::2], [[0, 1, 2], [3, 4, 0], [1, 2, 3], [4, 0, 1]])
    _, train, _ = walked(env, 4, 2)
    assert not set(map(tuple, t.extras["task"].reshape(-1, 2))) & set(map(tuple, train.extras["task"].reshape(-1, 2)))
    assert envs.make("PointRobot-v0", tasks=4, test_tasks=5, split="test").spec.extras["task_id"].high == 4


def test_tasks_are_those_of_their_seed():
    one, same, other = (
        walked(envs.make("PointRobot-v0", task_seed=seed).evaluation, 10, 1)[1].extras["task"] for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, same)
    assert not np.any(one == other)


def test_more_environments_than_tasks_share_them_evenly():
    opening, _, _ = walked(envs.make("PointRobot-v0", tasks=3), 8, 1)
    assert sorted(np.bincount(opening.extras["task_id"])) == [2, 3, 3]


def test_a_drawing_shows_robot_and_goal():
    env = envs.make("PointRobot-v0")
    state, _ = env.reset(jax.random.key(0), jnp.int32(0))
    frame = env.picture(jax.device_get(state))
    assert frame.dtype == np.uint8
    assert len(np.unique(frame.reshape(-1, 3), axis=0)) == 3


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"split": "tset"}, "split cannot be 'tset': did you mean test?"),
        ({"trial": -1}, "trial must be an integer of at least 1, not -1."),
        ({"backend": "host"}, "PointRobot-v0 has no backend 'host'"),
    ],
)
def test_mistakes_are_one_sentence(options, sentence):
    with pytest.raises(UsageError) as error:
        envs.make("PointRobot-v0", **options)
    assert sentence in str(error.value)
