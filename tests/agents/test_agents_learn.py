"""Every agent solves tasks whose right answers are known, under both loops, for several seeds, compiling once."""

import jax
import numpy as np
import pytest
from training_runs import column, device_loop, drive, host_loop

import agents
import envs
from agents.training import learner

CHAIN = {
    "ppo": {"learning_rate": 3e-3},
    "impala": {"learning_rate": 1e-2},
    "agac": {"learning_rate": 3e-3, "adv_hidden": (16,), "episodic_count.key": "full_grid"},
}
UPDATES = {"ppo": 24, "impala": 32, "agac": 24}


def make(name, env, **options):
    return agents.make(name, env.spec, **{"hidden": (16,), "unroll": 16, **options})


@pytest.fixture(scope="module", params=CHAIN)
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
    """To 1e-5 over the first updates: batching seeds changes the order of sums, so later ones may drift apart."""
    agent, env, _, rows = solved
    alone = device_loop(agent, env, seeds=(1,))
    alone.start()
    for update in range(3):
        (own,) = alone.advance(total=len(rows)).metrics
        for name, value in own.items():
            np.testing.assert_allclose(rows[update][1][name], value, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("name", CHAIN)
def test_an_agent_finds_the_best_arm(name):
    env = envs.make("Bandit-v0")
    rows = drive(device_loop(make(name, env, learning_rate=1e-2, bonus=""), env), 24)
    assert np.all(column(rows[0], "episode_return") < 0.7)  # four arms of 0, 1/3, 2/3 and 1 pay 0.5 at chance
    assert np.all(column(rows[-1], "episode_return") > 0.93)


MEMORY = {"unroll": 15, "learning_rate": 5e-3, "core_width": 16, "anneal": True}


def test_ppo_with_a_gru_recalls_the_cue_under_the_host_loop():
    env = envs.make("Memory-v0")
    rows = drive(host_loop(make("ppo", env, core="gru", **MEMORY), env), 60)
    assert rows[-1][0]["episode_return"] > 0.8


def test_impala_with_an_lstm_recalls_the_cue_on_the_device():
    env = envs.make("Memory-v0")
    rows = drive(device_loop(make("impala", env, core="lstm", **MEMORY), env), 60)
    assert np.all(column(rows[-1], "episode_return") > 0.8)


def test_without_memory_the_cue_is_a_coin_toss():
    env = envs.make("Memory-v0")
    rows = drive(device_loop(make("impala", env, **MEMORY), env), 60)
    late = np.mean([column(row, "episode_return") for row in rows[20:]], axis=0)
    assert np.all(np.abs(late) < 0.2)  # 40 updates of 48 episodes, +1 or -1 each: a standard error of 0.03


def test_continuous_actions_reach_the_goal():
    env = envs.make("PointMass-v0")
    options = {"unroll": 25, "learning_rate": 3e-3, "entropy_cost": 0.0, "discount": 0.9, "anneal": False}
    agent = make("ppo", env, **options)
    rows = drive(host_loop(agent, env), 40)
    first = next(row[0]["episode_return"] for row in rows if row[0]["episodes"] > 0)
    assert first < 20
    assert rows[-1][0]["episode_return"] > 36


BONUSES = {
    "bebold": (device_loop, "bebold", {}),
    "bebold on impala": (host_loop, "bebold", {"base": "impala", "learning_rate": 1e-2}),
    # A bonus of every step must not pay more than the end, which stops it.
    "rnd+count": (device_loop, "ppo", {"bonus": "rnd+count", "rnd.coef": 1e-3}),
    "noveld": (host_loop, "impala", {"bonus": "noveld", "learning_rate": 1e-2}),
}


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=pytest.mark.slow if case == "bebold on impala" else ()) for case in BONUSES]
)
def test_an_agent_with_a_bonus_solves_the_chain(case):
    loop, name, options = BONUSES[case]
    named = options.get("bonus", "bebold").split("+")
    small = {f"{part}.{field}": (16,) for part in named if part != "count" for field in ("hidden", "predictor")}
    env = envs.make("Chain-v0")
    rows = drive(loop(make(name, env, **{"learning_rate": 3e-3, **small, **options}), env), 40)
    assert np.all(column(rows[-1], "episode_return") > 0.98)
    assert np.all(column(rows[-1], "episode_length") < 12)
    for bonus in named:
        assert np.all(column(rows[0], f"{bonus}/bonus") > 0)


def test_ppo_balances_the_pole_of_a_gymnasium_environment():
    env = envs.make("CartPole-v1")
    agent = make("ppo", env, unroll=32, learning_rate=1e-2, discount=0.98, epochs=8, anneal=True)
    rows = drive(host_loop(agent, env, n=8), 50)
    first = next(row[0]["episode_return"] for row in rows if row[0]["episodes"] > 20)
    assert first < 40
    assert rows[-1][0]["episode_return"] > 2 * first


def test_averages_are_unknown_before_an_episode_has_ended():
    ring = np.zeros(learner.WINDOW, np.float32)
    nobody, no = np.zeros(4), np.int32(0)
    none = learner.Episodes(nobody, nobody, nobody.astype(np.int32), ring, ring, ring, ring, no, no)
    spec = envs.make("Chain-v0").spec
    report = jax.jit(lambda episodes: learner.report(episodes, spec))
    assert all(np.isnan(value) for name, value in report(none).items() if name not in ("episodes", "discarded"))
    two = none._replace(returns=ring + 3.0, lengths=ring + 5.0, successes=ring + 0.5, ended=np.int32(2))
    found = report(two)
    assert {name: float(value) for name, value in found.items()} == {
        "episodes": 2.0,
        "discarded": 0.0,
        "episode_return": 3.0,
        "episode_length": 5.0,
        "success": 0.5,
    }
