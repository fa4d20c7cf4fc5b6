"""Families of physics: what is multiplied, from which numbers, and that a run repeats and goes on where it was."""

import gymnasium
import numpy as np
import pytest
from timestep_rules import check_rules, play

import envs
from envs.families import dynamics
from envs.families.trials import Deck

pytest.importorskip("mujoco")


def bodies(id, table):
    """An environment of the family with these tasks, and Gymnasium's own model."""
    family = dynamics.FAMILIES[id]
    plain = gymnasium.make(family.engine, disable_env_checker=True).unwrapped
    return dynamics.create(family, Deck(np.float32(table), 1, False)), plain.model


def begin(env, task):
    env.reset(seed=task, options={"place": 0, "episode": task})
    return env.unwrapped.model


def arrays(model):
    """All numbers of a model."""
    names = [name for name in dir(model) if isinstance(getattr(model, name), np.ndarray)]
    return {name: getattr(model, name).copy() for name in names}


@pytest.mark.parametrize("id", dynamics.FAMILIES)
def test_every_number_has_its_own_multiplier(id):
    family = dynamics.FAMILIES[id]
    table = family.draw(np.random.default_rng(0), 3)
    env, plain = bodies(id, table)
    assert env.unwrapped.frame_skip == 4
    assert family.sizes == tuple(getattr(plain, name).size for name in dynamics.PHYSICS)
    for task in (1, 0, 1):  # never on top of the task before
        model, first = begin(env, task), 0
        for name, size in zip(dynamics.PHYSICS, family.sizes, strict=True):
            own = getattr(plain, name)
            multiplier = np.exp(table[task, first : first + size].astype(np.float64)).reshape(own.shape)
            np.testing.assert_array_equal(getattr(model, name), own * multiplier)
            first += size
        np.testing.assert_allclose(model.body_subtreemass[0], model.body_mass.sum(), rtol=1e-12)  # what follows from it
    env.close()


def test_multipliers_have_the_published_range():
    for id, family in dynamics.FAMILIES.items():
        table = family.draw(np.random.default_rng(1), 2000)
        damped = np.arange(table.shape[1]) >= sum(family.sizes[:3])
        for mine, base in ((~damped, 1.5), (damped, 1.3)):
            power = table[:, mine] / np.log(base)
            np.testing.assert_allclose([power.min(), power.max()], [-3, 3], atol=0.01)
            np.testing.assert_allclose(power.std(), 3 / np.sqrt(3), rtol=0.02)
        assert np.abs(np.corrcoef(table[:, :3].T) - np.eye(3)).max() < 0.1, id


def test_a_task_is_the_same_whatever_was_played_before():
    table = dynamics.FAMILIES["HopperParams-v5"].draw(np.random.default_rng(0), 2)
    one, _ = bodies("HopperParams-v5", table)
    other, _ = bodies("HopperParams-v5", table)
    begin(one, 0)
    action, ways = np.full(3, 0.5, np.float32), []
    for env in (one, other):
        begin(env, 1)
        ways.append([env.step(action)[0] for _ in range(30)])
    np.testing.assert_array_equal(*ways)
    own, again = arrays(one.unwrapped.model), arrays(other.unwrapped.model)
    assert all(np.array_equal(own[name], again[name]) for name in own)


@pytest.mark.parametrize("id", dynamics.FAMILIES)
def test_without_multipliers_it_is_gymnasiums(id):
    k = sum(dynamics.FAMILIES[id].sizes)
    env, _ = bodies(id, np.stack([np.full(k, 0.3), np.zeros(k)]))
    plain = gymnasium.make(dynamics.FAMILIES[id].engine, disable_env_checker=True)
    begin(env, 0)
    obs, info = env.reset(seed=1, options={"place": 0, "episode": 1})
    np.testing.assert_array_equal(obs, plain.reset(seed=1)[0].astype(np.float32))
    assert info["task_id"] == 1
    rng = np.random.default_rng(0)
    for _ in range(60):
        action = rng.uniform(-1, 1, env.action_space.shape).astype(np.float32)
        obs, reward, terminated, _, _ = env.step(action)
        expected = plain.step(action)
        np.testing.assert_allclose(obs, expected[0], rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(reward, expected[1], rtol=1e-9)
        assert terminated == expected[2]
        if terminated:
            break
    env.close(), plain.close()


def test_physics_decide_what_happens():
    ends = [play(envs.make("Walker2dParams-v5", task_seed=s, tasks=1).open(0, 1), 20)[-1].obs for s in (0, 1, 1)]
    assert np.abs(ends[0] - ends[1]).max() > 0.1
    np.testing.assert_array_equal(ends[1], ends[2])


@pytest.mark.parametrize("processes", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_rules_of_time_hold_and_a_run_resumes(processes):
    check_rules(envs.make("HopperParams-v5", tasks=3, trial=2, max_steps=9, processes=processes), n=3, steps=40)
