"""Learning from a dataset: the loop against updates made by hand, learning, exact resume, and every refusal."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_feeds import CHAIN as CORRIDOR
from test_feeds import FEEDS, learner
from training_runs import checkpoints, leaves, metrics, nothing_compiles, same_bits, same_run

import agents
import envs
from agents.agent import Replay, Sample
from agents.training import learner as learning
from agents.training import offline_loop, playing
from agents.training.config import TrainConfig
from agents.training.offline_loop import OfflineLoop
from agents.training.setup import prepare
from envs.errors import UsageError
from envs.wrappers import parse
from replay import dataset

STOP = 1e-9  # hours: the run stops after its next call
CHAIN = envs.make("Chain-v0")
DQN = {"hidden": (16,), "learning_rate": 3e-3, "batch": 32, "target_every": 50, "discount": 0.9}


def random_data(env, size=2000, seed=7):
    data = playing.evenly(playing.Play(env, size, seed, "random", quiet=True))
    return data._replace(facts={**data.facts, "env": env.spec.id})


@pytest.fixture(scope="module", autouse=True)
def _cache(compilation_cache):
    prepare(TrainConfig())


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """The folder of a dataset of even actions on the chain."""
    return dataset.save(random_data(CHAIN), tmp_path_factory.mktemp("data") / "chain")


def dqn(**options):
    kept = options.get("replay", "uniform")
    return agents.make("dqn", CHAIN.spec, **{**DQN, f"{kept}.capacity": 2048, **options})


def train(agent, env, out, **options):
    return agents.train(agent, env, out=out, **{"quiet": True, "tensorboard": False, **options})


def evaluations(folder):
    return [row["eval/return_mean"] for row in metrics(folder) if "eval/return_mean" in row]


# -------------------------------------------------------------------------------------------------------- THE LOOP


@pytest.mark.parametrize("feed", FEEDS)
def test_the_loop_does_what_updates_by_hand_do(feed):
    agent, data = learner(FEEDS[feed]()), random_data(CORRIDOR, 400)
    offline_loop.require(agent, CORRIDOR.spec, parse(""), data)
    loop = OfflineLoop(agent, CORRIDOR.spec, parse(""), data, seed=3)
    loop.start()
    report = loop.advance(count=4, total=8)
    with nothing_compiles():
        last = loop.advance(count=2, total=8)
    assert (loop.updates, report.skipped, last.skipped) == (6, [0], [0])

    init_key, learn_key = jax.random.split(jax.random.key(3))
    state = learning.begin(agent, init_key, CORRIDOR.spec)
    records = offline_loop.records(data, CORRIDOR.spec)
    buffer = agent.feed.buffer
    held = buffer.add(buffer.init(jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), records)), records)
    for number in range(6):
        key = jax.random.fold_in(learn_key, number)
        state = learning.with_progress(state, jnp.float32(number / 8), jnp.zeros(()))
        if isinstance(agent.feed, Replay):
            sample_key, key = jax.random.split(key)
            sample = Sample(*buffer.sample(sample_key, held, agent.feed.size))
            state, found = agent.update(key, state, sample)
            held = buffer.update(held, sample.places, found.pop("priority"))
            same_bits(jax.tree.map(np.asarray, sample.places), last.batch.places if number == 5 else sample.places)
        else:
            state, found = agent.update(key, state, held)
    np.testing.assert_allclose(loop.learner.state.params, state.params, rtol=1e-5)
    np.testing.assert_allclose(last.metrics[0]["loss"], found["loss"], rtol=1e-4)
    assert float(loop.learner.state.knobs["progress"]) == pytest.approx(5 / 8)
    assert set(last.metrics[0]) == {"loss"}


def test_how_far_a_call_goes_changes_nothing_and_of_the_buffer_only_priorities_move():
    whole, parts = (
        OfflineLoop(dqn(replay="prioritised"), CHAIN.spec, parse(""), random_data(CHAIN), seed=0) for _ in "ab"
    )
    for loop in (whole, parts):
        loop.start()
    before = jax.tree.map(np.array, whole.learner.buffer)
    whole.advance(count=5, total=5)
    for count in (1, 3, 1):
        parts.advance(count=count, total=5)
    same_bits(whole.tree(), parts.tree())
    assert [leaf.ndim for leaf in before] == [1, 0], "the sum tree and the largest priority"
    assert not np.array_equal(before[0], whole.learner.buffer[0])


# --------------------------------------------------------------------------------------------------------- LEARNING


def test_dqn_learns_the_chain_from_even_actions(chain, tmp_path):
    run = train(dqn(), CHAIN, tmp_path / "run", data=chain, steps=1200, seeds=2, eval_every=400, eval_episodes=8)
    assert dataset.statistics(dataset.load(chain))["return_mean"] < 0.6
    for folder, result in zip(run.seeds, run.results, strict=True):
        assert evaluations(folder)[-1] == 1.0
        assert (result["steps"], result["updates"], result["stopped"]) == (1200, 1200, "steps")
        assert not any(name.startswith("episode") for name in result["final"])
        notes = json.loads((folder / "config.json").read_text())
        assert notes["data"] == dataset.digest(dataset.load(chain))
    first, second = (leaves(checkpoints(folder)[-1]) for folder in run.seeds)
    assert any(not np.array_equal(first[name], second[name]) for name in first if ".params" in name)
    # What is saved can be opened, played and evaluated like any other run.
    assert agents.evaluate(run, episodes=8)["return_mean"] == 1.0
    policy = agents.load(run)
    action, _ = policy(jnp.eye(CHAIN.spec.obs.shape[0])[:1], policy.begin(1))
    assert action.shape == (1,)


@pytest.mark.slow
def test_sac_becomes_better_than_the_policy_that_made_the_data(tmp_path):
    env = envs.make("PointMass-v0")
    data = dataset.save(random_data(env, 3000), tmp_path / "data")
    options = {"learning_rate": 3e-3, "batch": 64, "discount": 0.9, "hidden": (32, 32), "tau": 0.02}
    agent = agents.make("sac", env.spec, **options, **{"uniform.capacity": 4096})
    run = train(agent, env, tmp_path / "run", data=data, steps=800, eval_every=400, eval_episodes=8)
    behaved = dataset.statistics(dataset.load(data))
    assert evaluations(run.folder)[-1] > behaved["return_mean"] + 2 * behaved["return_std"]


def test_an_environment_on_the_host_is_opened_for_evaluation_alone(tmp_path):
    env = envs.make("CartPole-v1", backend="host")
    data = dataset.save(random_data(env, 300), tmp_path / "data")
    agent = agents.make("dqn", env.spec, **DQN, **{"uniform.capacity": 512})
    opened = []
    watched = env._replace(open=lambda **given: opened.append(given) or env.open(**given))
    run = train(agent, watched, tmp_path / "run", data=str(data), steps=20, eval_every=10, eval_episodes=2)
    assert len(evaluations(run.folder)) == len(opened) == 2
    assert run.results[0]["final"]["loss"] > 0


# ---------------------------------------------------------------------------------------------------------- RESUMING


@pytest.mark.parametrize("kept", ["uniform", "prioritised"])
def test_a_run_stopped_twice_equals_the_run_left_alone_and_keeps_no_data(kept, chain, tmp_path):
    options = {"data": chain, "steps": 12, "log_every": 1, "eval_every": 6, "eval_episodes": 2, "checkpoint_every": 4}
    agent = dqn(replay=kept)
    whole = train(agent, CHAIN, tmp_path / "whole", **options)
    parts = [train(agent, CHAIN, tmp_path / "parts", resume=True, hours=hours, **options) for hours in (STOP, STOP, 0)]
    assert [run.results[0]["stopped"] for run in parts] == ["hours", "hours", "steps"]
    assert parts[0].results[0]["updates"] < parts[1].results[0]["updates"] < 12
    same_run(whole.folder, parts[-1].folder)
    held = [name for name in leaves(checkpoints(whole.folder)[-1]) if ".buffer" in name]
    assert len(held) == {"uniform": 0, "prioritised": 2}[kept]


def test_a_run_goes_on_with_its_own_dataset_alone(chain, tmp_path):
    train(dqn(), CHAIN, tmp_path / "run", data=chain, steps=2)
    other = dataset.save(random_data(CHAIN, seed=8), tmp_path / "other")
    with pytest.raises(UsageError, match=r"was begun with a dataset of checksum \w{12}, and cannot go on with a dat"):
        train(dqn(), CHAIN, tmp_path / "run", data=other, steps=4, resume=True)
    with pytest.raises(UsageError, match="and cannot go on with no dataset"):
        train(dqn(envs=1), CHAIN, tmp_path / "run", steps=4, resume=True)
    moved = dataset.save(dataset.load(chain), tmp_path / "moved")  # the same data elsewhere
    assert train(dqn(), CHAIN, tmp_path / "run", data=moved, steps=4, resume=True).results[0]["updates"] == 4


# --------------------------------------------------------------------------------------------------------- REFUSALS

POINT = envs.make("PointMass-v0", speed_limit=0.2)


REFUSALS = {
    "steps just taken": (CHAIN, "ppo", {}, {}, "ppo learns from the steps it has just taken"),
    "several steps at once": (CHAIN, "dqn", {"n_step": 3}, {}, "learns from 3 at once: take n_step=1"),
    "too small a buffer": (
        CHAIN,
        "dqn",
        {"uniform.capacity": 100},
        {},
        "has 200 transitions and the buffer holds 100: take uniform.capacity=200 or more",
    ),
    "wrappers": (CHAIN, "dqn", {}, {"wrap": "scale_reward"}, "leave out the wrappers scale_reward"),
    "episodes that nobody plays": (
        POINT,
        "rc_d4pg",
        {"n_step": 1},
        {},
        "learns from the episodes it plays, and offline it plays none",
    ),
    "fewer than a batch": (POINT, "mopo", {}, {}, "has 200 transitions, fewer than a batch of 256: take batch=200"),
    "an end that never comes": (CHAIN, "dqn", {}, {"stop_at": 1.0}, "give --eval-every beside --stop-at"),
    "several devices": (CHAIN, "dqn", {}, {"devices": 2}, "learns on one device"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_cannot_be_done_offline_is_one_sentence(case, tmp_path):
    env, name, options, given, sentence = REFUSALS[case]
    data = random_data(env, 200)
    agent = agents.make(name, env.spec, **options)
    with pytest.raises(UsageError, match=sentence) as caught:
        train(agent, env, tmp_path / "run", data=dataset.save(data, tmp_path / "data"), steps=4, **given)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_an_extra_that_an_agent_learns_from_must_be_there():
    plain, data = learner(FEEDS["replay"]()), random_data(CORRIDOR, 50)

    def update(key, state, batch):
        return state, {"loss": batch.steps.timestep.extras["success"].mean()}

    agent = plain._replace(update=update)
    offline_loop.require(agent, CORRIDOR.spec, parse(""), data)
    bare = data._replace(extras={})
    offline_loop.require(plain, CORRIDOR.spec, parse(""), bare)
    with pytest.raises(UsageError, match="q learns from the extra 'success' of Chain-v0, which the dataset lacks"):
        offline_loop.require(agent, CORRIDOR.spec, parse(""), bare)


def test_what_an_agent_notes_while_it_acts_no_dataset_has():
    plain = learner(FEEDS["replay"]())
    agents_that_note = (
        plain._replace(observe=lambda state, memory, timestep: (memory, {"visits": timestep.reward})),
        plain._replace(act=lambda key, state, carry, timestep, _: (timestep.last, carry, {"visits": timestep.reward})),
    )
    for agent in agents_that_note:
        with pytest.raises(UsageError, match="q learns from what it notes while it acts, visits: no dataset has it"):
            offline_loop.require(agent, CORRIDOR.spec, parse(""), random_data(CORRIDOR, 50))


def test_the_dataset_of_another_environment_is_one_sentence(chain, tmp_path):
    agent = agents.make("sac", POINT.spec)
    with pytest.raises(UsageError, match="was made in Chain-v0, and the environment is PointMass-v0"):
        train(agent, POINT, tmp_path / "run", data=chain)
    with pytest.raises(UsageError, match="holds no dataset: did you mean chain"):
        train(dqn(), CHAIN, tmp_path / "run", data=chain.parent / "chian")


def test_an_update_that_is_not_finite_ends_the_run_with_its_batch(tmp_path):
    data = random_data(CHAIN, 200)
    broken = dataset.save(data._replace(reward=np.full(200, 3e38, np.float32)), tmp_path / "data")
    with pytest.raises(UsageError, match=r"is not finite at step 1; the batch is in .*nonfinite"):
        train(dqn(huber=0.0), CHAIN, tmp_path / "run", data=broken, steps=50)
    result = train(dqn(huber=0.0), CHAIN, tmp_path / "on", data=broken, steps=50, skip_nonfinite=50).results[0]
    assert result["skipped_nonfinite"] == 50
