"""Every agent solves tasks whose right answers are known, under both loops, for several seeds, compiling once."""

import jax
import numpy as np
import pytest
from training_runs import column, device_loop, drive, host_loop, same_bits

import agents
import envs

CHAIN = {"ppo": {"learning_rate": 3e-3}, "impala": {"learning_rate": 1e-2}}
UPDATES = {"ppo": 24, "impala": 32}


def make(name, env, **options):
    return agents.make(name, env.spec, **{"hidden": (16,), "unroll": 16, **options})


@pytest.fixture(scope="module", params=["ppo", "impala"])
def solved(request):
    """An agent, Chain-v0, and the metrics of three seeds that ran side by side on the device."""
    env = envs.make("Chain-v0")
    agent = make(request.param, env, **CHAIN[request.param])
    loop = device_loop(agent, env)
    return agent, env, loop, drive(loop, UPDATES[request.param])


def assert_walks_straight(row):
    """Seven steps are the shortest way; a random walk takes some 25 and often does not arrive."""
    assert np.all(column(row, "episode_return") > 0.98)
    assert np.all(column(row, "episode_length") < 10)


def test_an_agent_solves_the_chain_on_the_device(solved):
    _, _, _, rows = solved
    assert np.all(column(rows[4], "episode_length") > 12)  # it had to be learned
    assert_walks_straight(rows[-1])


def test_the_same_agent_solves_the_chain_under_the_host_loop(solved):
    agent, env, _, rows = solved
    found = drive(host_loop(agent, env), len(rows))
    assert found[4][0]["episode_length"] > 12
    assert_walks_straight(found[-1])


def test_a_seed_among_others_equals_the_seed_alone(solved):
    agent, env, together, rows = solved
    alone = device_loop(agent, env, seeds=(1,))
    for row, own in zip(rows, drive(alone, len(rows)), strict=True):
        for name, value in own[0].items():
            np.testing.assert_allclose(row[1][name], value, rtol=1e-3, atol=1e-5, err_msg=name)
    theirs, own = together.tree(1)["learner"].state, alone.tree(0)["learner"].state
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), theirs.params, own.params)
    same_bits(together.tree(1)["keys"], alone.tree(0)["keys"])
    same_bits(together.tree(1)["envs"], alone.tree(0)["envs"])


@pytest.mark.parametrize("name", ["ppo", "impala"])
def test_an_agent_finds_the_best_arm(name):
    env = envs.make("Bandit-v0")
    rows = drive(device_loop(make(name, env, learning_rate=1e-2), env), 24)
    assert np.all(column(rows[0], "episode_return") < 0.7)  # four arms of 0, 1/3, 2/3 and 1 pay 0.5 at chance
    assert np.all(column(rows[-1], "episode_return") > 0.93)


MEMORY = {"unroll": 15, "learning_rate": 5e-3, "core_width": 16, "anneal": True}


@pytest.mark.parametrize(("name", "core"), [("ppo", "gru"), ("impala", "lstm")])
def test_memory_recalls_the_cue(name, core):
    env = envs.make("Memory-v0")
    rows = drive(device_loop(make(name, env, core=core, **MEMORY), env), 60)
    assert np.all(column(rows[-1], "episode_return") > 0.8)


def test_without_memory_the_cue_is_a_coin_toss():
    env = envs.make("Memory-v0")
    rows = drive(device_loop(make("ppo", env, **MEMORY), env), 60)
    late = np.mean([column(row, "episode_return") for row in rows[20:]], axis=0)
    assert np.all(np.abs(late) < 0.2)  # 40 updates of 48 episodes, +1 or -1 each: a standard error of 0.03


def test_a_recurrent_agent_runs_under_the_host_loop():
    env = envs.make("Memory-v0")
    rows = drive(host_loop(make("ppo", env, core="gru", **MEMORY), env), 60)
    assert rows[-1][0]["episode_return"] > 0.8


def test_continuous_actions_reach_the_goal():
    env = envs.make("PointMass-v0")
    options = {"unroll": 25, "learning_rate": 3e-3, "entropy_cost": 0.0, "discount": 0.9, "anneal": False}
    agent = make("ppo", env, **options)
    rows = drive(host_loop(agent, env), 40)
    first = next(row[0]["episode_return"] for row in rows if row[0]["episodes"] > 0)
    assert first < -30
    assert rows[-1][0]["episode_return"] > -12


BONUSES = {
    "bebold": ("bebold", {}),
    "bebold on impala": ("bebold", {"base": "impala", "learning_rate": 1e-2}),
    "rnd+count": ("ppo", {"bonus": "rnd+count"}),
    "noveld": ("ppo", {"bonus": "noveld"}),
}


@pytest.mark.parametrize("case", BONUSES)
def test_an_agent_with_a_bonus_solves_the_chain(case):
    name, options = BONUSES[case]
    env = envs.make("Chain-v0")
    small = {f"{part}.{field}": (16,) for part in ("bebold", "rnd", "noveld") for field in ("hidden", "predictor")}
    named = options.get("bonus", "bebold").split("+")
    options |= {option: value for option, value in small.items() if option.split(".")[0] in named}
    agent = make(name, env, **{"learning_rate": 3e-3, **options})
    rows = drive(device_loop(agent, env, seeds=(0,)), 30)
    assert_walks_straight(rows[-1])
    for bonus in named:
        assert rows[0][0][f"{bonus}/bonus"] > 0
    if case == "bebold":
        assert_walks_straight(drive(host_loop(agent, env), 30)[-1])


def test_ppo_balances_the_pole_of_a_gymnasium_environment():
    env = envs.make("CartPole-v1")
    agent = make("ppo", env, unroll=32, learning_rate=5e-3, anneal=True)
    rows = drive(host_loop(agent, env, n=8), 40)
    first = next(row[0]["episode_return"] for row in rows if row[0]["episodes"] > 20)
    assert first < 40
    assert rows[-1][0]["episode_return"] > 80


def test_averages_are_unknown_before_an_episode_has_ended():
    env = envs.make("PointMass-v0")
    agent = make("impala", env, unroll=25)
    rows = drive(host_loop(agent, env, n=4), 2)
    assert rows[0][0]["episodes"] == 0
    assert np.isnan(rows[0][0]["episode_return"])
    assert np.isnan(rows[0][0]["episode_length"])
    assert rows[1][0]["episodes"] == 4
    assert rows[1][0]["episode_length"] == 50
