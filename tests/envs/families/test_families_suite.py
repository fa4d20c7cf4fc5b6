"""The suite of families: which tasks there are, how they are dealt, and what cannot be asked."""

import subprocess
import sys

import numpy as np
import pytest
from timestep_rules import random_actions

import envs
from envs.contract import HostMaker
from envs.errors import UsageError
from envs.families import FAMILIES, dynamics, motion

pytest.importorskip("envpool")

HOST = [id for id in FAMILIES if id in motion.FAMILIES or id in dynamics.FAMILIES]


def told(maker, seed, n, steps):
    """`task_id`, `task` and `trial_last` of every step, `[steps, n, ...]` each."""
    env = maker.open(seed, n)
    env.reset()
    extras = [env.step(actions).extras for actions in random_actions(maker.spec.action, steps, n, 0)]
    env.close()
    return [np.stack([extra[name] for extra in extras]) for name in ("task_id", "task", "trial_last")]


def tables(id, **options):
    """All tasks of a family, `[T, k]`, to learn from and kept apart."""
    made = []
    for split in ("train", "test"):
        maker = envs.make(id, split=split, max_steps=1, trial=1, **options)
        count = maker.options["tasks" if split == "train" else "test_tasks"]
        ids, tasks, _ = told(maker, 0, 1, count)
        assert sorted(ids[:, 0]) == list(range(count))
        made.append(tasks[np.argsort(ids[:, 0]), 0])
    return made


def test_listing_says_which_engines_there_are():
    listed = {listing.name: listing.backends for listing in envs.ids() if listing.suite == "families"}
    assert set(listed) == set(FAMILIES)
    assert listed["AntDir-v5"] == ("host", "reference", "device")
    assert listed["HopperParams-v5"] == ("host",)
    assert listed["PointRobot-v0"] == ("device",)


def test_a_family_of_rewards_is_made_without_jax():
    made = "envs.make('AntDir-v5'); envs.make('HopperParams-v5')"
    code = f"import envs, sys; {made}; print({{'jax', 'mujoco'}} & {{*sys.modules}})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout.strip() == "set()", run.stderr


@pytest.mark.parametrize("id", HOST)
def test_the_spec_has_the_published_numbers(id):
    maker, family = envs.make(id), FAMILIES[id]
    published = {"HalfCheetahDir-v5": (2, 2), "AntFwdBack-v5": (2, 2), "AntGoal-v5": (150, 30)}
    published |= {"Walker2dParams-v5": (40, 10), "HopperParams-v5": (40, 10)}
    assert (family.tasks, family.test_tasks) == published.get(id, (100, 30))
    assert isinstance(maker, HostMaker)
    assert (maker.spec.id, maker.spec.max_steps, maker.spec.trial) == (id, 200, 5)
    assert maker.spec.extras["task_id"].high == family.tasks - 1
    assert maker.evaluation.spec.extras["task_id"].high == family.test_tasks - 1
    assert maker.spec.tasks == maker.spec.extras["task"] == maker.evaluation.spec.tasks
    assert (maker.options["split"], maker.evaluation.options["split"]) == ("train", "test")
    assert maker.evaluation.evaluation is None
    again = envs.make(id, **maker.evaluation.options)
    assert (again.spec, again.options) == (maker.evaluation.spec, maker.evaluation.options)


def test_tasks_are_where_they_should_be():
    forward, backward = [[1.0], [-1.0]], [[1.0, 0.0], [-1.0, 0.0]]
    for table in tables("HalfCheetahDir-v5"):
        assert table.tolist() == forward
    for table in tables("AntFwdBack-v5"):
        assert table.tolist() == backward
    speeds = np.concatenate(tables("HalfCheetahVel-v5"))
    assert speeds.min() >= 0
    assert 2.8 < speeds.max() <= 3
    ways = tables("AntDir-v5")[0]
    np.testing.assert_allclose(np.linalg.norm(ways, axis=1), 1.0, rtol=1e-6)
    assert np.histogram(np.arctan2(*ways.T), 4, (-np.pi, np.pi))[0].min() > 10
    radius = np.linalg.norm(np.concatenate(tables("AntGoal-v5")), axis=1)
    assert radius.max() <= 3
    np.testing.assert_allclose(np.median(radius), 3 / np.sqrt(2), atol=0.15)  # as many inside as outside of it


def test_tasks_are_fixed_by_their_seed_and_kept_apart():
    train, test = tables("HalfCheetahVel-v5", tasks=12, test_tasks=6)
    again, fewer = tables("HalfCheetahVel-v5", tasks=20, test_tasks=3)
    np.testing.assert_array_equal(again[:12], train)
    np.testing.assert_array_equal(test[:3], fewer)
    assert not np.isin(test, train).any()
    other = tables("HalfCheetahVel-v5", tasks=12, test_tasks=6, task_seed=1)
    assert not np.isin(np.concatenate(other), np.concatenate([train, test])).any()


@pytest.mark.parametrize(("id", "backend"), [("HalfCheetahVel-v5", "host"), ("HopperParams-v5", "host")])
def test_training_deals_all_tasks_equally_often(id, backend):
    maker = envs.make(id, backend, tasks=5, trial=2, max_steps=1)
    orders = []
    for seed in (0, 1):
        ids, _, over = told(maker, seed, 3, 2 * 10)  # ten trials of three environments: each task six times
        np.testing.assert_array_equal(ids[::2], ids[1::2])
        np.testing.assert_array_equal(over, np.arange(20)[:, None] % 2 == np.ones(3))
        trials = ids[::2].ravel()
        assert all(sorted(turn) == list(range(5)) for turn in trials.reshape(-1, 5))
        orders.append(trials.tolist())
    assert orders[0] != orders[1]
    assert orders[0][:5] != orders[0][5:10]


@pytest.mark.parametrize("id", ["HalfCheetahVel-v5", "Walker2dParams-v5"])
def test_evaluation_plays_the_tasks_in_order(id):
    maker = envs.make(id, test_tasks=7, trial=2, max_steps=2).evaluation
    ids, _, over = told(maker, 3, 3, 4 * 3)
    np.testing.assert_array_equal(ids[::4], [[0, 1, 2], [3, 4, 5], [6, 0, 1]])
    np.testing.assert_array_equal(over, (np.arange(12) % 4 == 3)[:, None] & np.ones(3, bool))


@pytest.mark.parametrize(
    ("id", "options", "sentence"),
    [
        ("AntDir-v5", {"split": "tests"}, "split cannot be 'tests': did you mean test"),
        ("AntDir-v5", {"trial": 0}, "trial must be an integer of at least 1, not 0"),
        ("AntDir-v5", {"tasks": -1}, "tasks must be an integer of at least 1, not -1"),
        ("AntDir-v5", {"test_tasks": 2.5}, "test_tasks must be an integer"),
        ("AntDir-v5", {"task_seed": -1}, "task_seed must be an integer of at least 0"),
        ("AntDir-v5", {"repeat": 2}, "AntDir-v5 has no option 'repeat'"),
        ("AntDir-v5", {"max_steps": -1}, "max_steps must be an integer"),
        ("AntDir-v5", {"threads": -1}, "threads must be an integer of at least 0, not -1"),
        (
            "AntDir-v5",
            {"processes": True},
            "processes is no option of AntDir-v5 with the backend host: choose from threads",
        ),
        ("AntDir-v5", {"backend": "reference", "iterations": 4}, "iterations is no option"),
        ("AntDir-v5", {"backend": "mjx"}, "AntDir-v5 has no backend 'mjx'"),
        ("AntFwdBack-v5", {"tasks": 3}, "AntFwdBack-v5 has the tasks forward and backward and no others"),
        ("HopperParams-v5", {"threads": 2}, "threads is no option of HopperParams-v5"),
        ("HopperParams-v5", {"backend": "device"}, "HopperParams-v5 has no backend 'device'"),
        ("AntDirr-v5", {}, "did you mean AntDir-v5"),
    ],
)
def test_what_cannot_be_is_one_sentence(id, options, sentence):
    with pytest.raises(UsageError, match=sentence):
        envs.make(id, **options)
