"""The ensemble: noise recovered from a linear system, elites, early stops, draws that match what is believed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.auxiliary.world_model import Records
from agents.auxiliary.world_models import ensemble
from envs.contract import Array, Box, Discrete, EnvSpec
from envs.errors import UsageError

D, A, NOISE = 3, 2, 0.1
SPEC = EnvSpec("Linear-v0", "1", Array((D,), "float32"), Box((-1.0,) * A, (1.0,) * A))
SMALL = {"hidden": (32, 32), "members": 4, "elites": 2, "batch": 64, "most_holdout": 200, "scale_targets": False}


def linear(slots=4500, held=4000, seed=0, noise=NOISE):
    """Records of a linear system with noise of a known size; what is beyond those held is nonsense."""
    rng = np.random.default_rng(seed)
    system = np.random.default_rng(9).normal(size=(D + A, 1 + D)) * 0.3
    obs, action = rng.normal(size=(slots, D)), rng.uniform(-1, 1, (slots, A))
    found = np.concatenate([obs, action], -1) @ system + noise * rng.normal(size=(slots, 1 + D))
    columns = [obs, action, found[:, 0], np.ones(slots), obs + found[:, 1:]]
    for column in columns:
        column[held:] = 1e6
    return Records(*(jnp.asarray(column, jnp.float32) for column in columns), jnp.int32(held))


@pytest.fixture(scope="module")
def fitted():
    model = ensemble.make(SPEC, **SMALL)
    records = linear()
    fit = jax.jit(lambda key, state, records: model.fit(key, state, records, None))
    state, metrics = fit(jax.random.key(1), model.init(jax.random.key(0)), records)
    return model, fit, state, metrics, records


def fresh(held=500):
    return linear(slots=held, held=held, seed=1)


def test_it_recovers_the_noise_of_a_linear_system(fitted):
    model, _, state, metrics, _ = fitted
    rows = fresh()
    believed = model.believe(state, rows.obs, rows.action)
    np.testing.assert_allclose(believed.next_obs_deviation.mean(), NOISE, rtol=0.1)
    np.testing.assert_allclose(believed.reward_deviation.mean(), NOISE, rtol=0.1)
    error = np.concatenate([believed.next_obs - rows.next_obs, (believed.reward - rows.reward)[:, None]], 1)
    np.testing.assert_allclose(error.std(), NOISE, rtol=0.1)
    np.testing.assert_allclose(metrics["loss"], jnp.square(NOISE / state.targets.deviation).mean(), rtol=0.2)


def test_a_draw_has_the_mean_and_the_spread_that_are_believed(fitted):
    model, _, state, _, _ = fitted
    row = jax.tree.map(lambda leaf: jnp.repeat(leaf[:1], 4000, 0), fresh()._replace(held=jnp.zeros(1)))
    drawn = model.predict(jax.random.key(3), state, row.obs, row.action)
    believed = model.believe(state, row.obs[:1], row.action[:1])
    np.testing.assert_allclose(drawn.next_obs.mean(0), believed.next_obs[0], atol=4 * NOISE / np.sqrt(4000))
    np.testing.assert_allclose(drawn.next_obs.std(0), believed.next_obs_deviation[0], rtol=0.1)
    np.testing.assert_allclose(drawn.reward.std(), believed.reward_deviation[0], rtol=0.1)


def test_every_row_is_predicted_from_its_own_inputs_by_an_elite(fitted):
    model, _, state, _, _ = fitted
    calm = state._replace(params=state.params | {"low": jnp.full(1 + D, -40.0), "high": jnp.full(1 + D, -30.0)})
    rows = fresh(held=7)  # no multiple of the elites
    drawn = model.predict(jax.random.key(0), calm, rows.obs, rows.action)
    x = ensemble.scaled(state.inputs, ensemble.inputs_of(rows.obs, rows.action))
    config = ensemble.Config(**SMALL)
    mean, _ = ensemble.forward(config, state.params, jnp.broadcast_to(x, (4, *x.shape)))
    change = ensemble.unscaled(state.targets, mean)[:, :, 1:]
    each = np.asarray(rows.obs + change)[np.asarray(state.elites)]
    gap = np.abs(each - np.asarray(drawn.next_obs)).max(-1).min(0)
    np.testing.assert_allclose(gap, 0, atol=1e-4)


def test_elites_are_the_members_with_the_least_error(fitted):
    _, _, state, _, _ = fitted
    np.testing.assert_array_equal(state.elites, np.argsort(state.error)[:2])


def test_a_fit_goes_on_from_the_last_one_and_stops_soon_where_nothing_is_to_be_gained(fitted):
    _, fit, state, metrics, records = fitted
    again, more = fit(jax.random.key(2), state, records)
    assert more["epochs"] < metrics["epochs"]
    assert not np.array_equal(again.params["layers"]["kernel_0"], state.params["layers"]["kernel_0"])
    repeated, _ = fit(jax.random.key(2), state, records)
    jax.tree.map(np.testing.assert_array_equal, again, repeated)


def test_the_number_of_epochs_is_bounded():
    model = ensemble.make(SPEC, **{**SMALL, "most_epochs": 3, "patience": 100})
    _, metrics = jax.jit(lambda *args: model.fit(*args, None))(
        jax.random.key(1), model.init(jax.random.key(0)), linear()
    )
    assert metrics["epochs"] == 3


def test_slots_beyond_those_held_are_not_looked_at(fitted):
    model, fit, _, _, records = fitted
    first = model.init(jax.random.key(0))
    other = records._replace(obs=records.obs.at[4000:].set(-3.0), next_obs=records.next_obs.at[4000:].set(7.0))
    one, another = fit(jax.random.key(1), first, records)[0], fit(jax.random.key(1), first, other)[0]
    jax.tree.map(np.testing.assert_array_equal, one, another)


def test_members_disagree_more_where_there_were_no_records(fitted):
    _, _, state, _, _ = fitted
    model = ensemble.make(SPEC, **{**SMALL, "doubt": "disagreement"})
    rows = fresh()
    near = model.predict(jax.random.key(0), state, rows.obs, rows.action).doubt
    far = model.predict(jax.random.key(0), state, 8 * rows.obs, rows.action).doubt
    assert near.shape == (500,)
    assert np.median(far) > 3 * np.median(near)


def test_doubt_is_the_largest_noise_of_an_elite(fitted):
    _, _, state, _, _ = fitted
    model = ensemble.make(SPEC, **{**SMALL, "doubt": "noise"})
    rows = fresh(held=5)
    x = ensemble.scaled(state.inputs, ensemble.inputs_of(rows.obs, rows.action))
    _, log_variance = ensemble.forward(ensemble.Config(**SMALL), state.params, jnp.broadcast_to(x, (4, *x.shape)))
    deviation = np.asarray(state.targets.deviation * jnp.exp(log_variance / 2))[np.asarray(state.elites)]
    found = model.predict(jax.random.key(0), state, rows.obs, rows.action).doubt
    np.testing.assert_allclose(found, np.linalg.norm(deviation, axis=-1).max(0), rtol=1e-5)


def test_scaled_targets_are_predicted_in_their_own_units():
    model = ensemble.make(SPEC, **{**SMALL, "scale_targets": True})
    records = linear()
    state, _ = jax.jit(lambda key, state: model.fit(key, state, records, None))(
        jax.random.key(1), model.init(jax.random.key(0))
    )
    rows = fresh()
    believed = model.believe(state, rows.obs, rows.action)
    np.testing.assert_allclose((believed.next_obs - rows.next_obs).std(), NOISE, rtol=0.15)
    np.testing.assert_allclose(believed.next_obs_deviation.mean(), NOISE, rtol=0.15)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"elites": 9}, "between 1 and 7"),
        ({"holdout": 1.0}, "holdout must be between 0 and 1"),
        ({"hidden": ()}, "hidden must be above 0"),
        ({"weight_decay": ()}, "one number at least"),
        ({"member": 3}, "members"),
    ],
)
def test_options_out_of_range_are_refused(options, sentence):
    with pytest.raises(UsageError, match=sentence):
        ensemble.make(SPEC, **options)


def test_observations_that_are_no_vector_and_choices_are_refused():
    with pytest.raises(UsageError, match="one vector"):
        ensemble.make(EnvSpec("P-v0", "1", Array((8, 8, 3), "uint8"), SPEC.action))
    with pytest.raises(UsageError, match="choices"):
        ensemble.make(EnvSpec("C-v0", "1", SPEC.obs, Discrete(2)))
