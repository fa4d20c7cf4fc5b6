"""ICM against its equations in NumPy; and the embedding, inverse and forward models that it shares with others."""

import dataclasses

import jax
import numpy as np
import pytest
import walks
from training_runs import column, device_loop, drive, host_loop

import agents
import envs
from agents.auxiliary.rewards import dynamics, icm
from envs.contract import Box, MultiDiscrete
from envs.errors import UsageError

SMALL = {"embedding": 8, "layers": (), "model": (16,), "gain": 1.0}
CONFIG = icm.Config(**SMALL)
NETS = dynamics.networks(CONFIG, walks.SPEC)


def mlp(params, x):
    """Dense, ReLU, dense, as NumPy reads them off the parameters."""
    hidden, out = params["params"]["MLP_0"]["Dense_0"], params["params"]["Dense_0"]
    return np.maximum(x @ hidden["kernel"] + hidden["bias"], 0) @ out["kernel"] + out["bias"]


@pytest.fixture(scope="module")
def update():
    return walks.updater(icm.make(walks.SPEC, **SMALL))


@pytest.fixture(scope="module")
def fresh():
    return walks.fresh(icm.make(walks.SPEC, **SMALL))


def test_pays_the_error_of_the_forward_model_and_trains_both(update, fresh):
    batch = walks.rollout()
    _, bonus, metrics, _ = update(fresh, batch)
    now, successor, _ = walks.embedded(NETS, fresh.params, batch)
    params = jax.tree.map(np.asarray, fresh.params)
    foreseen = mlp(params["forward"], np.concatenate([now, np.eye(3)[batch.action]], -1))
    error = np.square(foreseen - successor).sum(-1) / 2
    np.testing.assert_allclose(bonus, error, rtol=1e-4)

    logits = mlp(params["inverse"], np.concatenate([now, successor], -1))
    logp = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    told = np.take_along_axis(logp, batch.action[..., None], -1)
    np.testing.assert_allclose(metrics["inverse_loss"], -told.mean(), rtol=1e-4)
    np.testing.assert_allclose(metrics["forward_loss"], error.mean(), rtol=1e-4)


def test_an_ending_step_looks_at_its_own_successor_or_is_left_out(update, fresh):
    batch = walks.rollout()
    moved = batch.timestep.obs.copy()
    moved[walks.END] = 2.0
    _, bonus, _, _ = update(fresh, batch)
    _, other, _, _ = update(fresh, batch._replace(timestep=batch.timestep._replace(obs=moved)))
    assert bonus[walks.END] == other[walks.END] > 0
    masking = walks.updater(icm.make(walks.SPEC, terminal="mask", **SMALL))
    state, masked, _, _ = masking(fresh, batch)
    np.testing.assert_allclose(masked, np.where(batch.timestep.last, 0, bonus), rtol=1e-5, atol=1e-7)
    # What an ending step led to has no part in the models either.
    moved = batch.timestep.next_obs.copy()
    moved[walks.END] = 2.0
    again, _, _, _ = masking(fresh, batch._replace(timestep=batch.timestep._replace(next_obs=moved)))
    jax.tree.map(np.testing.assert_array_equal, state.params, again.params)


def test_both_models_learn_what_is_the_same_every_time(update, fresh):
    member = walks.updater(icm.make(walks.SPEC, learning_rate=3e-3, minibatches=3, inverse_cost=1.0, **SMALL))
    state, found = fresh, []
    for turn in range(150):
        state, bonus, metrics, _ = member(state, walks.rollout(turn % 5), turn)
        found.append([float(bonus.mean()), float(metrics["inverse_loss"])])
    bonuses, inverse = np.transpose(found)
    assert bonuses[-5:].mean() < 0.2 * bonuses[0]
    assert inverse[-5:].mean() < 0.6 * np.log(3)


def test_no_gradient_flows_through_the_bonus(update, fresh):
    assert not walks.leaks(update, fresh, walks.rollout())


BOX = Box((-1.0, -2.0, -1.0), (1.0, 2.0, 3.0))


@pytest.mark.parametrize(
    ("space", "action", "numbers"),
    [
        (MultiDiscrete((2, 3)), np.array([[1, 2], [0, 0]]), [[0, 1, 0, 0, 1], [1, 0, 1, 0, 0]]),
        (BOX, np.array([[1.0, 0, 0], [-1, 2, 1]], np.float32), [[1, 0, -0.5], [-1, 1, 0]]),
    ],
)
def test_other_actions_are_read_off_too(space, action, numbers):
    spec = dataclasses.replace(walks.SPEC, action=space)
    nets = dynamics.networks(CONFIG, spec)
    params = walks.fresh(icm.make(spec, **SMALL), spec).params
    np.testing.assert_allclose(dynamics.features(space, action), numbers)
    phi, successor = np.random.default_rng(0).normal(size=(2, 2, 8)).astype(np.float32)
    assert dynamics.foresee(nets, params, phi, action).shape == (2, 8)
    read = mlp(jax.tree.map(np.asarray, params["inverse"]), np.concatenate([phi, successor], -1))
    if isinstance(space, Box):
        expected = 0.5 * np.square(read - numbers).sum(-1) + 1.5 * np.log(2 * np.pi)
    else:
        shares = [np.exp(part) / np.exp(part).sum(-1, keepdims=True) for part in (read[:, :2], read[:, 2:])]
        expected = -sum(np.log(np.take_along_axis(p, action[:, i : i + 1], -1)[:, 0]) for i, p in enumerate(shares))
    loss = jax.jit(lambda *args: dynamics.inverse_loss(nets, *args))
    np.testing.assert_allclose(loss(params, phi, action, successor), expected, rtol=1e-4)


def test_a_box_trains_too():
    spec = dataclasses.replace(walks.SPEC, action=BOX)
    member = icm.make(spec, **SMALL)
    _, bonus, metrics, _ = walks.updater(member, spec)(walks.fresh(member, spec), walks.rollout(action=BOX))
    assert np.isfinite(bonus).all()
    assert metrics["inverse_loss"] > 1.5 * np.log(2 * np.pi)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"coef": -1.0}, "coef must be at least 0, not -1.0."),
        ({"forward_cost": 0.0}, "forward_cost must be above 0, not 0.0."),
        ({"minibatches": 0}, "minibatches must be above 0, not 0."),
        ({"terminal": "none"}, "terminal must be true_next or mask, not 'none'."),
        ({"embeding": 8}, "there is no option 'embeding': did you mean embedding"),
    ],
)
def test_bad_options_are_one_sentence(options, sentence):
    with pytest.raises(UsageError, match=sentence):
        icm.make(walks.SPEC, **options)


def test_what_cannot_be_trained_on_is_one_sentence(fresh):
    with pytest.raises(UsageError, match="needs finite bounds of the actions, and Walks-v0 has none"):
        icm.make(dataclasses.replace(walks.SPEC, action=Box((-np.inf,), (np.inf,))))
    update = walks.updater(icm.make(walks.SPEC, minibatches=25, **SMALL))
    with pytest.raises(UsageError, match="24 steps do not split into 25 minibatches"):
        update(fresh, walks.rollout())


@pytest.mark.slow
@pytest.mark.parametrize("loop", [device_loop, host_loop])
def test_an_agent_trains_with_it_in_both_loops(loop):
    env = envs.make("Chain-v0")
    agent = agents.make("ppo", env.spec, bonus="icm", hidden=(8,), unroll=16, **{"icm.embedding": 8, "icm.model": (8,)})
    rows = drive(loop(agent, env, n=4), 4)
    assert all((column(row, "icm/bonus") > 0).all() for row in rows)
