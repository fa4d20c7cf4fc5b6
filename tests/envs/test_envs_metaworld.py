"""Meta-World, one environment: goals by episode, success, limit, exact resume, and EnvPool beside it."""

import numpy as np
import pytest
from timestep_rules import check_rules, play

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


def test_the_table_is_the_packages():
    import metaworld

    from envs.metaworld import GOALS, TASKS

    assert {f"{task}-v3" for task in TASKS} == set(metaworld.ALL_V3_ENVIRONMENTS)
    assert len(TASKS) == 50
    assert GOALS == metaworld._N_GOALS


@pytest.mark.parametrize(
    ("id", "task_set", "train", "test"),
    [(REACH, "ML1", 50, 50), ("MetaWorld-ML10-v3", "", 500, 250), ("MetaWorld-ML45-v3", "", 2250, 250)],
)
def test_families_have_the_packages_sizes(id, task_set, train, test):
    maker = envs.make(id, task_set=task_set)
    counts = [made.spec.extras["task_id"].high + 1 for made in (maker, maker.evaluation)]
    assert counts == [train, test]


def goals_of(history):
    seen = [(t.extras["task_id"][i], t.next_obs[i, -3:]) for t in history for i in range(len(t.reward))]
    return {int(task): goal.tobytes() for task, goal in seen}


def test_each_episode_plays_one_goal_of_its_set():
    history = play(envs.make(REACH, max_steps=1, processes=False).open(0, 2), 12)
    goals = goals_of(history)
    assert len(goals) > 8
    assert len(set(goals.values())) == len(goals)
    other = goals_of(play(envs.make(REACH, max_steps=1, processes=False, task_seed=1).open(0, 2), 2))
    assert all(goal not in goals.values() for goal in other.values())


@pytest.mark.parametrize("backend", ["host", "envpool"])
def test_success_lasts_from_the_goal_to_the_end_of_the_episode(backend):
    pytest.importorskip("envpool")
    options = {"processes": False} if backend == "host" else {}
    env = envs.make(REACH, backend, max_steps=120, **options).open(0, 1)
    now = env.reset()
    assert not now.extras["success"].any()
    while not now.last.any() and not now.extras["success"].any():
        way = 10 * (now.obs[0, -3:] - now.obs[0, :3])
        now = env.step(np.clip([[*way, 0]], -1, 1))
    assert now.extras["success"].all()
    assert np.linalg.norm(now.next_obs[0, -3:] - now.next_obs[0, :3]) < 0.05
    assert now.discount == 1
    assert now.reward > 7
    while not now.last.any():
        now = env.step(np.array([[0.0, -1.0, 1.0, 0.0]]))
        assert now.extras["success"].all()
    assert np.linalg.norm(now.next_obs[0, -3:] - now.next_obs[0, :3]) > 0.05
    assert not env.step(np.zeros((1, 4))).extras["success"].any()
    env.close()


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
        ({"trial": 2}, "the options split and trial only with task_set ML1"),
        ({"split": "test"}, "the options split and trial only with task_set ML1"),
        ({"backend": "envpool", "task_set": "ML1"}, "has the option task_set only with backend host"),
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
