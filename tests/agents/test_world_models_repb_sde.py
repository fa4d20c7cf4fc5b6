"""The balanced ensemble: the plain one at weight 0, smaller distances otherwise, starts, ends, and the evaluation."""

import functools
import warnings
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_world_models_ensemble import SPEC, A, D, linear
from training_runs import device_loop, drive

import agents
import envs
import losses
from agents import repb_sde as agent_file
from agents.auxiliary.world_model import Predicted, Records, WorldModel
from agents.auxiliary.world_models import ensemble, evaluation, repb_sde
from agents.schedules import Facts, stateless
from agents.training.offline_loop import OfflineLoop
from envs.errors import UsageError
from envs.wrappers import parse
from replay import ring
from replay.dataset import Dataset

SMALL = {"hidden": (16, 16, 16), "members": 3, "elites": 2, "batch": 32, "most_epochs": 4, "representation": 2}
ROWS = linear(slots=450, held=400)


def policy(key, obs):
    """Goes where the data hardly are."""
    return jnp.clip(obs[:, :A] + 0.9 + 0.1 * jax.random.normal(key, (len(obs), A)), -1, 1)


@functools.cache
def compiled(options):
    """A model, and its fit."""
    model = repb_sde.make(SPEC, **{**SMALL, **dict(options)})
    return model, jax.jit(lambda key, state: model.fit(key, state, ROWS, policy))


def fitted(fits=1, **options):
    """A model and its state and metrics after some fits."""
    model, fit = compiled(tuple(options.items()))
    state = model.init(jax.random.key(0))
    for number in range(fits):
        state, metrics = fit(jax.random.key(1 + number), state)
    return model, state, metrics


def same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.fixture(scope="module")
def plain():
    """Two fits of the plain ensemble of the same layers, its state after each."""
    config = repb_sde.Config(**SMALL)
    model = ensemble.model(SPEC, config, bounded=(1,))
    fit = jax.jit(lambda key, state: model.fit(key, state, ROWS, None)[0])
    first = fit(jax.random.key(1), model.init(jax.random.key(0)))
    return first, fit(jax.random.key(2), first)


@pytest.fixture(scope="module")
def balanced():
    return fitted(fits=2, alpha=1.0)


def test_without_weight_it_is_the_plain_ensemble_bit_for_bit(plain):
    model, state, metrics = fitted(fits=2, alpha=0.0)
    same(state.ensemble, plain[1])
    assert metrics["ipm"] > 0
    found = model.predict(jax.random.key(0), state, ROWS.obs[:5], ROWS.action[:5])
    assert found.doubt.shape == (5,)
    assert (found.doubt > 0).all()


def test_the_first_fit_is_not_balanced_and_the_second_is(plain, balanced):
    _, first, _ = fitted(alpha=1.0)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), first.ensemble, plain[0])
    _, state, metrics = balanced
    _, _, unbalanced = fitted(fits=2, alpha=0.0)
    assert metrics["ipm_before"] == pytest.approx(float(unbalanced["ipm_before"]), rel=1e-3)
    assert metrics["ipm"] < 0.7 * unbalanced["ipm"]
    assert metrics["ipm"] < 0.7 * metrics["ipm_before"]
    assert (state.after, state.before) == (metrics["ipm"], metrics["ipm_before"])
    assert np.isfinite(metrics["loss"])


@pytest.mark.slow
def test_the_other_kernel_and_starts_balance_and_the_first_fit_too_if_asked():
    options = {"kernel": "rbf", "init_states": "starts"}
    _, _, metrics = fitted(**options, alpha=10.0, balance_first=True)
    _, _, unbalanced = fitted(**options, alpha=0.0)
    assert metrics["ipm"] < 0.8 * unbalanced["ipm"]


def distance(config, records):
    """The state, one member's weights, all of `records` as its rows, and what tells their squared distance."""
    model = repb_sde.make(SPEC, **{**SMALL, **config})
    state = model.init(jax.random.key(0)).ensemble
    rows = jnp.arange(len(records.reward))[None]
    alone = {"layers": jax.tree.map(lambda leaf: leaf[:1], state.params["layers"])}
    made = repb_sde.Config(**{**SMALL, **config})
    draw = repb_sde.drawing(made, records)
    call = partial(repb_sde.distances, made, jax.random.key(0), state, records, policy, draw)
    return state, alone, rows, call


def test_the_distance_is_that_of_the_representation_under_the_policy():
    records = jax.tree.map(lambda leaf: leaf[:40] if leaf.ndim else jnp.int32(40), ROWS)
    _, alone, rows, call = distance({}, records)
    act_key, first_key, first_act_key = jax.random.split(jax.random.key(0), 3)
    first = records.obs[jax.random.randint(first_key, (1, 40), 0, 40)[0]]

    def phi(obs, action):
        x, layers = np.concatenate([obs, action], -1), alone["layers"]
        hidden = x @ layers["kernel_0"][0] + layers["bias_0"][0]
        hidden = hidden / (1 + np.exp(-hidden))
        return np.tanh(hidden @ layers["kernel_1"][0] + layers["bias_1"][0])

    seen = phi(records.obs, records.action), phi(records.next_obs, policy(act_key, records.next_obs))
    expected = losses.dot_balance(*seen, phi(first, policy(first_act_key, first)), records.discount, 0.99)
    np.testing.assert_allclose(call(alone, rows), [expected], rtol=1e-4)


def test_the_policy_gets_no_gradient_and_the_representation_does():
    records = jax.tree.map(lambda leaf: leaf[:40] if leaf.ndim else jnp.int32(40), ROWS)
    state, alone, rows, _ = distance({}, records)
    config = repb_sde.Config(**SMALL)

    def loss(shift, params):
        own = lambda key, obs: policy(key, obs) * 0.1 + shift  # noqa: E731
        draw = repb_sde.drawing(config, records)
        return repb_sde.distances(config, jax.random.key(0), state, records, own, draw, params, rows).sum()

    shift, slope = jax.grad(loss, argnums=(0, 1))(jnp.float32(0.1), alone)
    assert shift == 0
    moved = {name for name, leaf in slope["layers"].items() if np.any(leaf != 0)}
    assert moved == {"kernel_0", "bias_0", "kernel_1", "bias_1"}  # not the head


@pytest.mark.parametrize("kernel", ["dot", "rbf"])
def test_where_an_episode_ended_the_successor_does_not_count(kernel):
    records = jax.tree.map(lambda leaf: leaf[:40] if leaf.ndim else jnp.int32(40), ROWS)
    ended = records._replace(discount=jnp.zeros(40))
    other = ended._replace(next_obs=ended.next_obs + 3)
    found = []
    for each in (records, ended, other):
        _, alone, rows, call = distance({"kernel": kernel}, each)
        found.append(float(call(alone, rows)[0]))
    assert found[1] == found[2] != found[0]


def episodes(lengths=(3, 2, 4), slots=12):
    """Records of a walk of each length, one after the other, and empty slots."""
    obs, after = [], []
    for number, length in enumerate(lengths):
        path = 100.0 * number + np.arange(length + 1)
        obs, after = [*obs, *path[:-1]], [*after, *path[1:]]
    held = len(obs)
    column = lambda rows: jnp.zeros((slots, D)).at[:held, 0].set(jnp.asarray(rows))  # noqa: E731
    flat = jnp.ones(slots)
    return Records(column(obs), jnp.zeros((slots, A)), flat, flat, column(after), jnp.int32(held))


def test_starts_are_states_that_follow_from_no_other():
    records = episodes()
    assert np.flatnonzero(repb_sde.starts(records)).tolist() == [0, 3, 5]
    draw = repb_sde.drawing(repb_sde.Config(init_states="starts"), records)
    assert set(np.unique(draw(jax.random.key(0), (3, 100)))) == {0, 3, 5}
    everywhere = repb_sde.drawing(repb_sde.Config(), records)
    assert set(np.unique(everywhere(jax.random.key(0), (300,)))) == set(range(9))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"alpha": -1.0}, "alpha must be at least 0"),
        ({"discount": 1.0}, "discount must be at least 0 and below 1"),
        ({"representation": 4}, "representation must be between 1 and 3"),
        ({"kernel": "dots"}, "kernel must be dot or rbf"),
        ({"bandwidth": 0.0}, "bandwidth must be above 0"),
    ],
)
def test_options_out_of_range_are_refused(options, sentence):
    with pytest.raises(UsageError, match=sentence):
        repb_sde.make(SPEC, **{**SMALL, **options})


def test_a_representation_without_bounds_is_warned_of():
    with pytest.warns(UserWarning, match="take tanh=true or kernel=rbf"):
        repb_sde.make(SPEC, tanh=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        repb_sde.make(SPEC, tanh=False, kernel="rbf")
        repb_sde.make(SPEC, tanh=False, alpha=0.0)


# ------------------------------------------------------------------------------------------------------- EVALUATION


def walking():
    """A model in which the first number grows by the action and is the reward."""

    def predict(key, state, obs, action):
        after = obs.at[:, 0].add(action[:, 0])
        return Predicted(after, after[:, 0], jnp.zeros(len(obs)))

    return WorldModel(lambda key: (), lambda *given: given, predict)


def test_a_value_is_the_discounted_sum_of_what_the_model_pays():
    starts = jnp.zeros((2, D)).at[1, 0].set(10.0)
    ahead = lambda key, obs: jnp.ones((len(obs), A))  # noqa: E731
    value = partial(evaluation.evaluate, jax.random.key(0), walking(), (), ahead, starts)
    found = value(horizon=3, discount=0.5)
    np.testing.assert_allclose(found.returns, [1 + 1 + 0.75, 11 + 6 + 13 / 4])
    np.testing.assert_allclose(found.value, found.returns.mean())
    ended = value(horizon=3, discount=0.5, ends=lambda next_obs: next_obs[:, 0] > 11.5)
    np.testing.assert_allclose(ended.returns, [2.75, 11 + 6])


def test_what_cannot_be_evaluated_is_refused():
    value = partial(evaluation.evaluate, jax.random.key(0), walking(), (), policy)
    with pytest.raises(UsageError, match="no state to begin at"):
        value(jnp.zeros((0, D)), horizon=1, discount=0.9)
    with pytest.raises(UsageError, match="horizon must be above 0"):
        value(jnp.zeros((1, D)), horizon=0, discount=0.9)
    with pytest.raises(UsageError, match="discount must be between 0 and 1"):
        value(jnp.zeros((1, D)), horizon=1, discount=1.1)


def test_a_dataset_tells_where_its_episodes_begin():
    records = episodes(slots=9)
    last = np.isin(np.arange(9), (2, 8))  # the second episode is cut off by its stream
    data = Dataset(*(np.asarray(leaf) for leaf in records[:4]), last, np.asarray(records.next_obs), {}, {})
    data = data._replace(facts={"streams": [5, 4]})
    np.testing.assert_array_equal(evaluation.first_states(data)[:, 0], [0, 100, 200])
    same(evaluation.records(data), records)


# ----------------------------------------------------------------------------------------------------------- AGENTS

ENV = envs.make("Pendulum-v1", backend="device")
AGENT = {
    "hidden": (16,),
    "batch": 16,
    "rollouts": 32,
    "rollout_every": 4,
    "epoch": 4,
    "retain": 2,
    "uniform.capacity": 512,
}
MODEL = {"members": 3, "elites": 2, "hidden": (16, 16, 16), "most_epochs": 3}


def make(name, **options):
    part = {"repb_sde": "repb_sde", "mopo": "ensemble"}[name]
    return agents.make(
        name, ENV.spec, **{**AGENT, **{f"{part}.{key}": value for key, value in MODEL.items()}, **options}
    )


def data(count=300):
    rng = np.random.default_rng(0)
    obs, after = rng.normal(size=(2, count, 3)).astype(np.float32)
    flat = np.ones(count, np.float32)
    action = rng.uniform(-2, -1.5, (count, 1)).astype(np.float32)
    return Dataset(obs, action, rng.normal(size=count).astype(np.float32), flat, flat == 0, after, {}, {})


def offline(agent, updates):
    """The metrics of every update of an offline run."""
    loop = OfflineLoop(agent, ENV.spec, parse(""), data(), seed=0)
    loop.start()
    return [loop.advance(count=1, total=updates).metrics[0] for _ in range(updates)], loop


def test_offline_the_model_is_fitted_in_rounds_and_balanced_in_the_second():
    rows, loop = offline(make("repb_sde", **{"repb_sde.alpha": 1.0}), 8)
    assert [float(row["model/fit"]) for row in rows] == [1, 0, 0, 0, 1, 0, 0, 0]
    assert [float(row["imagined"]) for row in rows] == 4 * [160.0] + 4 * [320.0]
    assert rows[0]["model/ipm"] == rows[3]["model/ipm"]
    assert rows[4]["model/ipm"] < rows[4]["model/ipm_before"]
    assert all(np.isfinite(row["critic_loss"]) for row in rows)
    assert int(loop.learner.state.updates) == 8


@pytest.mark.slow
def test_mopo_is_fitted_once_and_doubts_by_noise():
    agent = make("mopo", penalty=1000.0)
    rows, loop = offline(agent, 5)
    assert [float(row["model/fit"]) for row in rows] == [1, 0, 0, 0, 0]
    imagined = loop.learner.state.variables["learning"].imagined
    paid = np.asarray(imagined.items.reward)[ring.margin(320) :][: int(imagined.size)]
    assert paid.max() < -100  # of rewards within a few units of 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["repb_sde", "mopo"])
def test_on_line_it_begins_once_a_batch_is_there(name):
    found = [row[0] for row in drive(device_loop(make(name), ENV, n=1, seeds=(0,)), 18)]
    assert [float(row["model/fit"]) for row in found[15:]] == [1, 0, 0]
    assert np.isnan([float(row["critic_loss"]) for row in found[:15]]).all()
    assert np.isfinite([float(row["critic_loss"]) for row in found[15:]]).all()


def test_mopo_doubts_by_noise_unless_told_otherwise():
    assert {"ensemble.doubt": "noise", "penalty": 1.0, "ensemble.most_holdout": 1000}.items() <= make(
        "mopo"
    ).config.items()
    assert make("mopo", **{"ensemble.doubt": "disagreement"}).config["ensemble.doubt"] == "disagreement"


def facts(progress):
    zero = jnp.zeros(())
    return Facts(jnp.int32(5), jnp.int32(4), jnp.float32(progress), zero, zero, zero, zero)


def test_rounds_are_even_parts_of_the_run():
    from agents.schedules import Settings

    plain = stateless(lambda _: Settings(jnp.zeros(()), jnp.ones(()), jnp.int32(1), jnp.zeros((), bool)), 1)
    schedule = agent_file.by_rounds(plain, 3)
    own, fits = schedule.init(jax.random.key(0)), []
    for update in range(10):
        own, settings = schedule.decide(jax.random.key(0), own, facts(update / 9))
        fits.append(bool(settings.fit))
    assert np.flatnonzero(fits).tolist() == [0, 3, 6]


def test_the_models_discount_is_the_agents():
    assert make("repb_sde", discount=0.9).config["repb_sde.discount"] == 0.9
    with pytest.raises(UsageError, match="discount must be at least 0 and below 1"):
        make("repb_sde", discount=1.0)
    with pytest.raises(UsageError, match="rounds must be above 0"):
        make("repb_sde", rounds=0)
