"""Meta-World: task sets, goals by episode, success, limit, exact resume, and EnvPool beside it."""

import itertools

import numpy as np
import pytest
from timestep_rules import assert_equal, check_rules, play

import envs
from envs.errors import UsageError

pytest.importorskip("metaworld")
REACH = "MetaWorld-reach-v3"


def test_keeps_the_rules():
    check_rules(envs.make(REACH, max_steps=6, processes=False), steps=20)


def test_keeps_the_rules_through_envpool():
    pytest.importorskip("envpool")
    history = check_rules(envs.make(REACH, backend="envpool", max_steps=6), steps=20)
    assert set(history[0].extras) == {"success"}


def test_processes_change_nothing():
    histories = [play(envs.make(REACH, max_steps=4, processes=p).open(3, 2), 8) for p in (False, True)]
    for here, there in zip(*histories, strict=True):
        assert_equal(here, there)


def test_the_table_is_the_packages():
    import metaworld

    from envs.metaworld import TASKS

    assert {f"{task}-v3" for task in TASKS} == set(metaworld.ALL_V3_ENVIRONMENTS)
    assert len(TASKS) == 50


def goals_of(history):
    seen = [(t.extras["task_id"][i], t.obs[i, -3:]) for t in history for i in range(len(t.reward))]
    return {int(task): goal.tobytes() for task, goal in seen}


def test_each_episode_plays_one_goal_of_its_set():
    history = play(envs.make(REACH, max_steps=1, processes=False).open(0, 2), 12)
    goals = goals_of(history)
    assert len(goals) > 8
    assert len(set(goals.values())) == len(goals)
    for before, now in itertools.pairwise(history):
        assert (now.extras["next_task_id"] == before.extras["task_id"]).all()
    other = goals_of(play(envs.make(REACH, max_steps=1, processes=False, task_seed=1).open(0, 2), 2))
    assert all(goal not in goals.values() for goal in other.values())


def test_meta_learning_sets_hide_the_goal_and_differ():
    starts = []
    for task_set in ("ML1-train", "ML1-test"):
        env = envs.make(REACH, task_set=task_set, processes=False).open(0, 1)
        first = env.reset()
        env.close()
        assert (first.obs[:, -3:] == 0).all()
        starts.append(first.obs.tobytes())
    assert starts[0] != starts[1]


def test_success_when_the_hand_is_at_the_goal():
    env = envs.make(REACH, processes=False).open(0, 1)
    now = env.reset()
    assert not now.extras["success"].any()
    for _ in range(100):
        way = 10 * (now.obs[0, -3:] - now.obs[0, :3])
        now = env.step(np.clip([[*way, 0]], -1, 1))
        if now.extras["success"].any():
            break
    env.close()
    assert now.extras["success"].all()
    assert np.linalg.norm(now.next_obs[0, -3:] - now.next_obs[0, :3]) < 0.05
    assert now.discount == 1
    assert now.reward > 7


def test_the_engines_limit_truncates():
    env = envs.make(REACH, processes=False, repeat=150)
    assert env.spec.max_steps == 4
    history = play(env.open(0, 1), 5)
    assert [bool(timestep.last) for timestep in history] == [False, False, False, False, True, False]
    assert history[4].discount == 1


def test_rewards_of_both_versions_differ():
    first = [play(envs.make(REACH, processes=False, reward_function_version=v).open(0, 1), 1)[1] for v in ("v1", "v2")]
    assert first[0].reward != first[1].reward
    assert (first[0].obs == first[1].obs).all()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"task_set": "MT2"}, "task_set cannot be 'MT2': did you mean MT1"),
        ({"reward_function_version": "v3"}, "reward_function_version cannot be 'v3'"),
        ({"max_steps": 501}, "after 500"),
        ({"max_steps": 300, "repeat": 2}, "after 500"),
        ({"backend": "envpool", "task_seed": 3}, "has the option task_seed only with backend host"),
        ({"backend": "pool"}, "did you mean envpool"),
    ],
)
def test_what_cannot_be_is_one_sentence(options, sentence):
    with pytest.raises(UsageError, match=sentence):
        envs.make(REACH, **options)
