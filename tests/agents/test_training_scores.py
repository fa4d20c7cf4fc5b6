"""What the spec names as scores: averaged over episodes as they were at their ends, in training and in evaluation."""

import dataclasses

import jax
import numpy as np
import pytest
from training_runs import column, device_loop, drive

import agents
import envs
from agents.training import learner
from agents.training.evaluation import Evaluator, Scores, report
from envs.contract import Array, Discrete, EnvSpec, TimeStep
from envs.wrappers import parse

SPEC = EnvSpec("Deep-v0", "1", Array((1,), "float32"), Discrete(2), {"depth": Array((), "int32")}, scores=("depth",))


def counting():
    """Every third step ends an episode, whose extra `length` is then 3."""
    env = envs.make("Counting-device-v0", terminate=3, limit=5)
    return env._replace(spec=dataclasses.replace(env.spec, scores=("length",)))


def step(depth, last) -> TimeStep:
    n = len(last)
    obs, ones = np.zeros((n, 1)), np.ones(n)
    return TimeStep(obs, ones, ones, np.asarray(last), obs, {"depth": np.asarray(depth)})


def test_the_last_value_of_each_episode_is_averaged():
    ring = np.zeros(learner.WINDOW, np.float32)
    none, nobody = np.int32(0), np.zeros(2)
    rings = (ring, ring, ring, ring)
    episodes = learner.Episodes(nobody, nobody, nobody.astype(np.int32), *rings, none, none, {"depth": ring})
    count, read = jax.jit(learner.count), jax.jit(lambda episodes: learner.report(episodes, SPEC))
    assert np.isnan(read(episodes)["depth"])
    for depth, last in (([9, 9], [False, False]), ([4, 9], [True, False]), ([7, 1], [False, True])):
        episodes = count(episodes, step(depth, last))
    found = read(episodes)
    assert float(found["depth"]) == (4 + 1) / 2
    assert int(found["episodes"]) == 2


def test_a_run_and_its_evaluation_report_them():
    env = counting()
    agent = agents.make("impala", env.spec, hidden=(4,), unroll=8)
    loop = device_loop(agent, env, n=4, seeds=(0,))
    (row,) = drive(loop, 1)
    assert column(row, "length") == column(row, "episode_length") == 3
    scores = Evaluator(agent, env, parse(""), episodes=5)(loop.tree()["learner"].state, loop.wrapper_state(), 0)
    np.testing.assert_array_equal(scores.scores["length"], [3] * 5)
    found = report([scores])
    assert (found["length"], found["length_low"], found["length_high"]) == (3, 3, 3)


def test_scores_of_several_seeds_have_a_mean_and_an_interval():
    def seed(depths):
        ones = np.ones(len(depths))
        return Scores(ones, ones, None, {"depth": np.asarray(depths, float)})

    found = report([seed([1, 2, 3, 4]), seed([5, 6, 7, 8])])
    assert found["depth"] == pytest.approx(4.5)
    assert 1 <= found["depth_low"] < 4.5 < found["depth_high"] <= 8
    assert "success" not in found
    assert "depth" not in report([Scores(np.ones(3), np.ones(3), None)])
