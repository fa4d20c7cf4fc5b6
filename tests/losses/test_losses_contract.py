"""What every public loss owes: one row per function, so that a new one cannot come without it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

import losses

RNG = np.random.default_rng(0)
T, A = 5, 3


def sequence():
    return jnp.asarray(RNG.uniform(0.1, 0.9, T), jnp.float32)


def vectors():
    return jnp.asarray(RNG.normal(size=(T, A)), jnp.float32)


def tables():
    return jnp.asarray(RNG.normal(size=(T, A, A)), jnp.float32)


def actions():
    return jnp.arange(T) % A


def matrices():
    return jnp.broadcast_to(jnp.eye(A), (T, A, A))


ATOMS = jnp.linspace(-1.0, 1.0, A)

TRAINED = {  # name: (arguments, positions of those that the gradient flows into)
    "agac_advantage": ((sequence(), sequence(), sequence(), 0.5), ()),
    "agac_value_target": ((sequence(), sequence(), 0.5), ()),
    "bebold_bonus": ((sequence(), sequence(), jnp.ones(T, bool)), ()),
    "bilinear_similarity": ((vectors(), jnp.eye(A), vectors()), (0, 1)),
    "categorical_cross_entropy": ((vectors(), jax.nn.softmax(vectors())), (0,)),
    "categorical_entropy": ((vectors(),), (0,)),
    "categorical_kl": ((vectors(), vectors()), (0, 1)),
    "categorical_mean": ((vectors(), ATOMS), (0,)),
    "categorical_project": ((vectors(), jax.nn.softmax(vectors()), ATOMS), (0, 1)),
    "categorical_q_target": ((tables(), tables(), sequence(), sequence(), ATOMS), ()),
    "categorical_target": ((vectors(), sequence(), sequence(), ATOMS), ()),
    "clipped_surrogate": ((sequence(), sequence(), 0.2), (0,)),
    "clipped_value": ((sequence(), sequence(), sequence(), 0.2), (0,)),
    "deir_bonus": ((jnp.square(vectors()), jnp.square(vectors()), jnp.ones((T, A), bool)), ()),
    "deir_loss": ((sequence(), sequence(), jnp.ones(T, bool), jnp.ones(T, bool)), (0, 1)),
    "discounted_returns": ((sequence(), sequence(), 0.5), ()),
    "dot_balance": ((vectors(), vectors(), vectors(), sequence(), 0.9), (0, 1, 2)),
    "double_q_target": ((vectors(), vectors(), sequence(), sequence()), ()),
    "dpg_loss": ((vectors(), vectors(), 0.5), (0,)),
    "elliptical_bonus": ((vectors(), matrices()), ()),
    "elliptical_update": ((vectors(), matrices()), ()),
    "entropy_loss": ((sequence(),), (0,)),
    "gae": ((sequence(), sequence(), sequence(), sequence(), sequence()), ()),
    "gaussian_balance": ((vectors(), vectors(), vectors(), sequence(), 0.9, 2.0), (0, 1, 2)),
    "gaussian_nll": ((vectors(), vectors(), vectors()), (0, 1)),
    "gaussian_product": ((vectors(), jnp.square(vectors())), (0, 1)),
    "huber_td": ((vectors(), actions(), sequence()), (0,)),
    "huber_value": ((sequence(), sequence(), 0.2), (0,)),
    "icm_bonus": ((vectors(), vectors()), ()),
    "icm_loss": ((vectors(), vectors()), (0, 1)),
    "info_nce": ((jnp.asarray(RNG.normal(size=(T, T)), jnp.float32), jnp.ones((T, T), bool)), (0,)),
    "lambda_returns": ((sequence(), sequence(), sequence(), sequence()), ()),
    "mahalanobis_similarity": ((vectors(), vectors(), vectors(), vectors()), (0, 1)),
    "multiplier_update": ((sequence(), 1 + sequence(), sequence(), sequence()), (0, 1, 2, 3)),
    "n_step_returns": ((sequence(), sequence(), sequence(), sequence(), 2), ()),
    "ngu_bonus": ((jnp.square(vectors()), 0.5), ()),
    "ngu_modulation": ((sequence(), 0.5, 0.2), ()),
    "overshoot": ((sequence(), 0.2), ()),
    "penalised_return": ((sequence(), sequence(), 0.2), ()),
    "penalised_reward": ((sequence(), sequence(), 0.2), (0, 1)),
    "policy_gradient": ((sequence(), sequence()), (0,)),
    "q_learning_target": ((vectors(), sequence(), sequence()), ()),
    "quantile_huber": ((vectors(), sequence()[:A], tables()[:, 0]), (0,)),
    "quantile_q_target": ((tables(), tables(), sequence(), sequence()), ()),
    "ride_bonus": ((vectors(), vectors(), 1 + sequence()), ()),
    "rnd_loss": ((vectors(), vectors()), (0,)),
    "rnd_novelty": ((vectors(), vectors()), ()),
    "sac_policy_loss": ((vectors(), sequence(), 0.2), (0, 1)),
    "sac_target": ((vectors(), sequence(), sequence(), sequence(), 0.2), ()),
    "sac_temperature_loss": ((-0.5, sequence(), -1.0), ()),
    "soft_clamp": ((sequence(), sequence() - 5, sequence() + 5), (0, 1, 2)),
    "squared_value": ((sequence(), sequence()), (0,)),
    "standard_normal_kl": ((vectors(), jnp.square(vectors())), (0, 1)),
    "td3_smoothed_action": ((vectors(), vectors(), 0.5, -1.0, 1.0), ()),
    "td3_target": ((vectors(), sequence(), sequence()), ()),
    "td_error": ((vectors(), actions(), sequence()), (0,)),
    "td_target": ((sequence(), sequence(), sequence()), ()),
    "vtrace": ((sequence(), sequence(), sequence(), sequence(), sequence(), sequence()), ()),
    "wasserstein_similarity": ((vectors(), vectors(), vectors(), vectors()), (0, 1)),
}

RESULT = {  # shapes of what is no number per step
    "categorical_project": (T, A),
    "bilinear_similarity": (T, T),
    "categorical_q_target": (T, A),
    "categorical_target": (T, A),
    "dot_balance": (),
    "elliptical_update": (T, A, A),
    "gaussian_balance": (),
    "gaussian_product": (A,),
    "mahalanobis_similarity": (T, T),
    "quantile_q_target": (T, A),
    "td3_smoothed_action": (T, A),
    "wasserstein_similarity": (T, T),
}

every_loss = pytest.mark.parametrize("name", TRAINED)


def floats(args):
    """Positions of the float arrays among `args`."""
    return [i for i, arg in enumerate(args) if jnp.ndim(arg) and jnp.issubdtype(arg.dtype, jnp.floating)]


def replaced(args, position, value):
    return (*args[:position], value, *args[position + 1 :])


def total(name, args):
    leaves = jax.tree.leaves(getattr(losses, name)(*args))
    # Weights, as what sums to 1 has no slope in its sum.
    return sum(jnp.vdot(leaf, jnp.arange(1.0, leaf.size + 1).reshape(leaf.shape)) for leaf in leaves)


def test_every_public_function_has_its_row():
    assert set(TRAINED) == set(losses.__all__) - {"VTrace"}


@every_loss
def test_gradients_flow_exactly_where_documented(name):
    args, trained = TRAINED[name]
    for position in floats(args):
        slope = jax.grad(lambda x, position=position: total(name, replaced(args, position, x)))(args[position])
        assert np.isfinite(slope).all()
        assert bool(jnp.any(slope != 0)) == (position in trained)


@every_loss
def test_one_result_per_step(name):
    args, _ = TRAINED[name]
    for leaf in jax.tree.leaves(getattr(losses, name)(*args)):
        assert leaf.shape == RESULT.get(name, (T,))
        assert leaf.dtype == jnp.float32


@every_loss
def test_low_precision_stays_low(name):
    args, _ = TRAINED[name]
    half = tuple(arg.astype(jnp.bfloat16) if i in floats(args) else arg for i, arg in enumerate(args))
    for leaf in jax.tree.leaves(getattr(losses, name)(*half)):
        assert leaf.dtype == jnp.bfloat16


@every_loss
def test_wrong_ranks_shapes_and_dtypes_are_refused(name):
    args, _ = TRAINED[name]
    loss = getattr(losses, name)
    for position in floats(args):
        good = args[position]
        wrong = [good.astype(jnp.int32), good[..., None, None]]
        if len(floats(args)) > 1 and name != "categorical_mean":  # whose atoms have no time axis to differ from
            wrong += [good[:1], good[1:]]
        for bad in wrong:
            with pytest.raises(AssertionError):
                loss(*replaced(args, position, bad))
            with pytest.raises(AssertionError):  # and while tracing
                jax.eval_shape(lambda x, position=position: loss(*replaced(args, position, x)), bad)


@pytest.mark.parametrize("name", ["discounted_returns", "gae", "lambda_returns", "n_step_returns", "vtrace"])
def test_recursions_run_over_a_sharded_batch(name):
    args, _ = TRAINED[name]
    batched = floats(args)

    def over_batch(*columns):
        full = list(args)
        for position, column in zip(batched, columns, strict=True):
            full[position] = column
        return getattr(losses, name)(*full)

    rows = [jnp.stack([args[position]] * 2) for position in batched]
    mesh = Mesh(np.array(jax.devices()[:1]), ("batch",))
    spec = PartitionSpec("batch")
    sharded = jax.jit(jax.shard_map(jax.vmap(over_batch), mesh=mesh, in_specs=spec, out_specs=spec))(*rows)
    jax.tree.map(
        lambda got, expected: np.testing.assert_allclose(got[1], expected, rtol=1e-5),
        sharded,
        getattr(losses, name)(*args),
    )


def test_a_single_step_may_start_or_end_a_window():
    # A window of one step is its own end: r + g v - v_tm1 = 1 + 0.5 * 4 - 2.
    one = [jnp.array([x], jnp.float32) for x in (2, 4, 1, 0.5)]
    np.testing.assert_allclose(losses.gae(*one, 1.0), [1])
    np.testing.assert_allclose(losses.vtrace(*one, jnp.ones(1), 1.0).advantage, [1])
    np.testing.assert_allclose(losses.n_step_returns(*one[1:], 1.0, n=3), [3])
