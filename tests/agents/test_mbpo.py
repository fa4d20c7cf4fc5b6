"""MBPO: what is imagined and kept, what a batch is made of, when things are due, and both loops."""

import json
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training_runs import column, device_loop, drive, host_loop, same_bits

import agents
import envs
from agents import mbpo
from agents.auxiliary.world_model import Predicted, WorldModel
from agents.training import learner
from envs.errors import UsageError
from replay import ring

ENV = envs.make("Pendulum-v1", backend="device")
SMALL = {
    "hidden": (16,),
    "batch": 16,
    "warmup": 64,
    "unroll": 8,
    "envs": 2,
    "ratio": 0.5,
    "epoch": 128,
    "rollouts": 32,
    "rollout_every": 64,
    "fit_every": 64,
    "uniform.capacity": 1000,
    "ensemble.hidden": (16, 16),
    "ensemble.members": 3,
    "ensemble.elites": 2,
    "ensemble.most_epochs": 5,
}


def make(name="mbpo", **options):
    return agents.make(name, ENV.spec, **{**SMALL, **options})


def built(agent):
    """What the agent's update is made of."""
    assert isinstance(agent.update, partial)
    return agent.update.args[0]


def counting(limit):
    """A model whose first number counts steps, for a rule that ends episodes beyond a limit."""

    def predict(key, state, obs, action):
        after = obs.at[:, 0].add(1.0)
        return Predicted(after, after[:, 0], jnp.full(len(obs), 0.5))

    return WorldModel(lambda key: (), None, predict), lambda next_obs: next_obs[:, 0] > limit


def records(n, capacity=1000):
    """A real buffer of `n` records that begin at 0, 1, 2 ... in their first number, and what made it."""
    agent = make()
    state = learner.begin(agent, jax.random.key(0), ENV.spec)
    _, first = envs.batch(ENV, 1).reset(jax.random.key(0))
    item = learner._record(agent, state, first, {})
    buffer = agent.feed.buffer
    rows = jax.tree.map(lambda leaf: jnp.zeros((n, *leaf.shape), leaf.dtype), item)
    obs = jnp.zeros((n, 3)).at[:, 0].set(jnp.arange(n))
    rows = rows._replace(start=rows.start._replace(obs=obs), timestep=rows.timestep._replace(next_obs=obs + 1))
    return agent, state, buffer.add(buffer.init(item), rows)


def imagined(horizon, limit=1e9, penalty=0.0):
    """What is kept after one rollout in the counting model."""
    _agent, state, real = records(1)
    own = built(make(horizon=(horizon, horizon, 0, 0), penalty=penalty))
    model, ends = counting(limit)
    own = own._replace(model=model, ends=ends)
    learning = state.variables["learning"]
    learning = learning._replace(imagined=ring.zeros(jax.tree.map(lambda x: x[0], learning.imagined.items), own.slots))
    return own, jax.jit(partial(mbpo.imagine, own))(jax.random.key(0), state, learning, real, jnp.int32(horizon))


def kept(own, learning):
    rows = jax.tree.map(
        lambda leaf: np.asarray(leaf)[: int(learning.imagined.size)], ring.records(learning.imagined, own.slots)
    )
    return rows


def test_rollouts_branch_off_from_real_states_and_follow_the_model():
    own, learning = imagined(horizon=3)
    rows = kept(own, learning)
    np.testing.assert_array_equal(rows.obs[:, 0], np.repeat([0, 1, 2], 32))
    np.testing.assert_array_equal(rows.next_obs[:, 0], np.repeat([1, 2, 3], 32))
    np.testing.assert_array_equal(rows.reward, np.repeat([1, 2, 3], 32))
    assert (rows.discount == 1).all()
    assert np.all(np.abs(rows.action) <= 2)
    assert np.std(rows.action) > 0


def test_rows_are_imagined_in_chunks_that_add_up(monkeypatch):
    monkeypatch.setattr(mbpo, "CHUNK", 10)  # four chunks of 8, none to spare; of 7 the last has three
    own, learning = imagined(horizon=2)
    assert int(learning.imagined.size) == 64
    monkeypatch.setattr(mbpo, "CHUNK", 7)
    own, learning = imagined(horizon=2, limit=1.5)
    assert int(learning.imagined.size) == 64
    found = kept(own, learning)
    assert sorted(found.next_obs[:, 0]) == 32 * [1] + 32 * [2]
    assert found.discount.sum() == 32


def test_a_rollout_ends_where_the_episode_does():
    own, learning = imagined(horizon=5, limit=1.5)
    rows = kept(own, learning)
    np.testing.assert_array_equal(rows.next_obs[:, 0], np.repeat([1, 2], 32))
    np.testing.assert_array_equal(rows.discount, np.repeat([1, 0], 32))


def test_doubt_takes_its_price_off_the_reward():
    own, learning = imagined(horizon=1, penalty=4.0)
    np.testing.assert_allclose(kept(own, learning).reward, 1 - 4 * 0.5)


def test_of_what_was_imagined_only_the_latest_is_drawn():
    agent = make(retain=1, epoch=128, rollout_every=64, horizon=(1, 3, 0, 0))
    own, (_, state, real) = built(agent), records(20)
    model, ends = counting(1e9)
    own, learning = own._replace(model=model, ends=ends), agent.init(jax.random.key(0), ENV.spec).variables["learning"]
    roll = jax.jit(partial(mbpo.imagine, own))
    live = []
    for number, horizon in enumerate([3, 3, 1, 1]):
        learning = roll(jax.random.key(number), state, learning, real, jnp.int32(horizon))
        live.append(int(learning.live))
    assert live == [96, 192, 64, 64]  # two rollouts of 32 states in an epoch
    draw = jax.jit(partial(mbpo.mixture, own))
    first = {float(x) for s in range(50) for x in draw(jax.random.key(s), learning, real, 1e-9).steps.timestep.reward}
    assert max(first) <= 20  # rollouts of one step from states 0 to 19, none of those of three


@pytest.mark.parametrize(("ratio", "count"), [(0.05, 12), (0.5, 128), (1.0, 256)])
def test_a_batch_has_exactly_its_share_of_real_records(ratio, count):
    _, state, real = records(20)
    agent = make(batch=256)
    own, learning = built(agent), agent.init(jax.random.key(0), ENV.spec).variables["learning"]
    model, ends = counting(1e9)
    own = own._replace(model=model, ends=ends)
    learning = mbpo.imagine(own, jax.random.key(0), state, learning, real, jnp.int32(1))
    sample = mbpo.mixture(own, jax.random.key(1), learning, real, jnp.float32(ratio))
    assert int((sample.steps.timestep.reward == 0).sum()) == count  # real rewards are 0 here, imagined ones at least 1
    rows, places, _ = own.base.buffer.sample(jax.random.split(jax.random.key(1))[0], real, 256)
    np.testing.assert_array_equal(sample.steps.start.obs[:count], rows.start.obs[:count])
    np.testing.assert_array_equal(sample.places, places)


def test_all_is_real_until_something_was_imagined():
    agent, _, real = records(20)
    learning = agent.init(jax.random.key(0), ENV.spec).variables["learning"]
    sample = mbpo.mixture(built(agent), jax.random.key(1), learning, real, jnp.float32(0.05))
    assert (sample.steps.timestep.reward == 0).all()


@pytest.fixture(scope="module")
def rows():
    """The metrics of a short run on the device, by update."""
    return [row[0] for row in drive(device_loop(make(), ENV, n=2, seeds=(0,)), 16)]


def test_nothing_is_learned_before_the_warmup(rows):
    losses = [float(row["critic_loss"]) for row in rows]
    assert np.isnan(losses[:3]).all()
    assert np.isfinite(losses[3:]).all()  # 16 steps in each, learning from 64 on


def test_fits_and_rollouts_come_when_they_are_due(rows):
    fits = [index for index, row in enumerate(rows) if row["model/fit"] == 1]
    assert fits == [3, 7, 11, 15]
    assert [float(row["imagined"]) for row in rows[3:]] == 4 * [32.0] + 9 * [64.0]
    assert all(0 < row["model/epochs"] <= 5 for index, row in enumerate(rows) if index in fits)


def test_both_loops_train_it(rows):
    host = [row[0] for row in drive(host_loop(make(), ENV, n=2), 6)]
    assert host[-1].keys() == rows[-1].keys()
    assert np.isfinite(host[-1]["critic_loss"])
    assert host[-1]["model/loss"] > 0


def test_what_was_imagined_is_written_in_place_and_never_copied():
    loop = host_loop(make(rollouts=37), ENV, n=2)
    loop.start()
    rows = loop.learner.state.variables["learning"].imagined.items.obs.shape[0]
    moved = (loop._learn_key, np.uint32(0), loop.learner, loop._pending, np.float32(0))
    program = loop._learn.lower(*moved).compile().as_text()
    loop.close()
    assert f"f32[{rows},3]" in program
    assert not re.search(rf"f32\[{rows}(,\d+)?\]\S* copy\(", program)


def test_seeds_side_by_side_learn_each_for_itself(rows):
    both = drive(device_loop(make(), ENV, n=2, seeds=(0, 5), together=True), 5)
    losses = np.array([column(row, "critic_loss") for row in both])[3:]
    assert not np.array_equal(losses[:, 0], losses[:, 1])
    np.testing.assert_allclose(losses[:, 0], [float(row["critic_loss"]) for row in rows[3:5]], rtol=0.02)


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been():
    loop = device_loop(make("autombpo"), ENV, n=2, seeds=(0,))
    loop.start()
    loop.advance(count=6)
    middle = jax.device_get(loop.tree(0))
    loop.advance(count=6)
    end = jax.device_get(loop.tree(0))
    loop.restore([middle])
    loop.advance(count=6)
    same_bits(end, loop.tree(0))


def test_acting_is_not_lent_what_only_the_update_reads():
    from agents.training import actor

    state = make().init(jax.random.key(0), ENV.spec)
    assert "learning" in state.variables
    assert "learning" not in actor.lend(make(), state).variables


def test_a_log_is_a_schedule_too(tmp_path):
    path = tmp_path / "schedule.json"
    knobs = {"real_ratio": [0.25, 0.75], "ratio": [0.5, 0.25], "horizon": [1, 2], "fit": [1, 0]}
    path.write_text(json.dumps({"every": 64, "steps": 128, "knobs": knobs}))
    found = [row[0] for row in drive(device_loop(make(schedule=str(path)), ENV, n=2, seeds=(0,)), 9)]
    assert [float(row["real_ratio"]) for row in found[3:]] == 4 * [0.25] + 2 * [0.75]
    assert [float(row["updates_per_step"]) for row in found[3:]] == 4 * [0.5] + 2 * [0.25]
    assert [float(row["model/fit"]) for row in found[3:]] == [1.0] + 5 * [0.0]


def test_a_controller_turns_the_knobs_and_its_decisions_are_kept():
    from agents import autombpo

    options = {"autombpo.decide_every": 32, "autombpo.epoch": 128, "autombpo.updates": 1, "autombpo.most_updates": 2}
    agent = make("autombpo", base=(-1000.0, -900.0), **options)
    loop = device_loop(agent, ENV, n=2, seeds=(0,))
    loop.start()
    loop.advance(count=16, total=16)  # 256 steps, 64 of them before learning
    state = jax.tree.map(lambda leaf: leaf[0], loop.learner.state)
    log = autombpo.log_of(state)
    assert int(log.size) == 7  # at 0, 32 ... 192 steps since learning began
    np.testing.assert_allclose(log.obs[:7, 0], (3 + 2 * np.arange(7)) / 16)  # the run's progress
    assert not log.acted[:7, 3].any()
    assert log.acted[:7, :3].all()
    paid = 0.1 * (np.asarray(log.action[:7, 0]) - 0.5)
    returned = float(log.obs[4, 4]) * 3000
    paid[3] += (returned + 1000) / 300  # the first epoch ends with the steps after the fourth decision
    np.testing.assert_allclose(log.reward[:7], paid, rtol=1e-3, atol=1e-5)
    setting = state.variables["learning"].schedule.setting
    turned = np.prod(1.2 ** (np.asarray(log.action[:7, 1]) - 1.0))
    np.testing.assert_allclose(setting.real_ratio, 0.05 * turned, rtol=1e-5)


def test_another_controller_can_be_put_into_a_state():
    from agents import autombpo

    agent = make("autombpo")
    state = agent.init(jax.random.key(0), ENV.spec)
    params = jax.tree.map(lambda leaf: leaf + 1, state.variables["learning"].schedule.params)
    other = autombpo.controlled(state, params, 0.5).variables["learning"].schedule
    jax.tree.map(np.testing.assert_array_equal, other.params, params)
    assert other.explore == 0.5


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"real_ratio": 0.0}, "real_ratio must be above 0"),
        ({"horizon": (0, 1, 0, 1)}, "horizon must be at least 1 step"),
        ({"horizon": (3, 1, 0, 1)}, "no fewer than at first"),
        ({"n_step": 3}, "n_step must be 1"),
        ({"replay": "prioritised"}, "replay must be uniform"),
        ({"bonus": "rnd"}, "nothing for a bonus"),
        ({"model": "ensembel"}, "ensemble"),
        ({"schedule": "linea"}, "linear"),
        ({"termination": "Hoper-v5"}, "Hopper-v5"),
        ({"ensemble.elites": 9}, "elites must be between 1 and 3"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, sentence):
    with pytest.raises(UsageError, match=sentence):
        make(**options)


def test_tasks_that_it_cannot_learn_are_refused():
    with pytest.raises(UsageError, match="choices"):
        agents.make("mbpo", envs.make("CartPole-v1", backend="device").spec)
    with pytest.raises(UsageError, match="holds no controller"):
        make("autombpo", controller="nowhere", **{"autombpo.knobs": "model"})


@pytest.mark.slow
def test_it_swings_up_a_pendulum_in_a_few_thousand_steps():
    options = {"warmup": 1000, "unroll": 10, "envs": 1, "ratio": 5, "batch": 256, "rollouts": 5000, "epoch": 1000}
    sizes = {"hidden": (64, 64), "ensemble.hidden": (64, 64), "ensemble.members": 7, "ensemble.elites": 5}
    agent = agents.make(
        "mbpo", ENV.spec, **{**options, **sizes, "rollout_every": 250, "fit_every": 250, "uniform.capacity": 10_000}
    )
    loop = device_loop(agent, ENV, n=1, seeds=(0,))
    loop.start()
    loop.advance(count=500)
    episodes = loop.learner.episodes
    last = np.asarray(episodes.returns[0])[int(episodes.ended[0]) - 5 : int(episodes.ended[0])]
    assert last.mean() > -300  # 200 of -1200 at random
