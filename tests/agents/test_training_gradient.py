"""The one place that differentiates: sums, replacements, own parameters, non-finite steps, what optimisers are lent."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from agents.agent import Host
from agents.auxiliary.auxiliary import Auxiliary
from agents.auxiliary.pipeline import Pipeline
from agents.training import gradient
from envs.contract import Array, Discrete, EnvSpec

SPEC = EnvSpec("Fake-v0", "0", Array((2,), "float32"), Discrete(2))
HOST = Host(None, None, None, None, SPEC, {"learning_rate": jnp.asarray(0.5), "pull.coef": jnp.asarray(2.0)})
PARAMS = {"w": jnp.asarray([1.0, 2.0])}
BATCH = jnp.asarray([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])


class Own(NamedTuple):
    params: Any
    opt: Any


def loss(params, key, batch):
    error = batch @ params["w"]
    return {"policy": (error**2).mean(), "value": params["w"].sum()}, {"seen": error.mean()}


def run(optimizer=None, members=(), states=None, batch=BATCH, params=PARAMS, **options):
    optimizer = optimizer or optax.identity()
    trained = gradient.Trained(params, optimizer.init(params), states or {})
    step = jax.jit(
        lambda trained, batch: gradient.step(
            loss, optimizer, Pipeline(tuple(members), SPEC), jax.random.key(0), trained, batch, HOST, **options
        )
    )
    return step(trained, batch)


def test_a_step_is_the_learning_rate_times_the_gradient_of_the_sum_of_terms():
    trained, metrics = run()
    # d/dw of (w0^2 + w1^2 + (w0+w1)^2)/3 + w0 + w1 at (1, 2): 2/3 (w0 + w0 + w1) + 1 and 2/3 (w1 + w0 + w1) + 1.
    expected = np.array([2 / 3 * 4 + 1, 2 / 3 * 5 + 1])
    np.testing.assert_allclose(trained.params["w"], PARAMS["w"] - 0.5 * expected, rtol=1e-6)
    np.testing.assert_allclose(metrics["loss"], (1 + 4 + 9) / 3 + 3, rtol=1e-6)
    np.testing.assert_allclose(metrics["gradient_norm"], np.linalg.norm(expected), rtol=1e-6)


def test_an_auxiliary_replaces_a_term_and_trains_its_own_parameters_with_its_own_optimiser():
    def pull(params, key, state, batch, host):
        agent, own = params
        return ((agent["w"] - own) ** 2).sum(), {}

    own_optimizer = optax.sgd(0.1)
    own = jnp.zeros(2)
    member = Auxiliary("pull", loss=pull, replaces="value", optimizer=own_optimizer)
    trained, metrics = run(members=[member], states={"pull": Own(own, own_optimizer.init(own))})
    # The coefficient 2 weighs the auxiliary's gradient 2 (w - own); the replaced term's gradient of 1 is gone.
    expected = np.array([2 / 3 * 4, 2 / 3 * 5]) + 2 * 2 * np.array([1.0, 2.0])
    np.testing.assert_allclose(trained.params["w"], PARAMS["w"] - 0.5 * expected, rtol=1e-6)
    np.testing.assert_allclose(trained.auxiliaries["pull"].params, 0.1 * 2 * 2 * np.array([1.0, 2.0]), rtol=1e-6)
    assert "value_loss" not in metrics
    np.testing.assert_allclose(metrics["pull/loss"], 5.0)


def test_reparam_stands_between_the_parameters_and_every_forward():
    halve = Auxiliary("halve", reparam=lambda state, params: jax.tree.map(lambda p: p / 2, params))
    _, metrics = run(members=[halve], states={"halve": ()})
    np.testing.assert_allclose(metrics["loss"], (0.25 + 1 + 2.25) / 3 + 1.5, rtol=1e-6)


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf])
def test_a_step_that_is_not_finite_moves_nothing_and_names_the_leaf(bad):
    optimizer = optax.scale_by_adam()
    before = optimizer.init(PARAMS)
    trained, metrics = run(optimizer, batch=BATCH.at[0, 0].set(bad))
    np.testing.assert_array_equal(trained.params["w"], PARAMS["w"])
    jax.tree.map(np.testing.assert_array_equal, trained.opt, before)
    assert metrics["nonfinite"] == 1
    assert "w" in gradient.leaf_paths(PARAMS)[int(metrics["nonfinite_leaf"])]


def test_optimisers_are_lent_single_gradients_and_the_gradient_elsewhere():
    seen = {}

    def update(updates, state, params, *, value, grad_fn, per_example, local):
        seen.update(
            single=per_example(chunk=2)["w"], zero=grad_fn(jax.tree.map(jnp.zeros_like, params))["w"], value=value
        )
        return jax.tree.map(lambda s, z: s.mean(0) + z, {"w": seen["single"]}, {"w": seen["zero"]}), state

    lent = optax.GradientTransformationExtraArgs(lambda params: (), update)
    trained, _ = run(lent, records=lambda batch: batch[:, None])
    # The mean of the single gradients is the gradient of the mean; at zero only the linear term is left.
    full = np.array([2 / 3 * 4 + 1, 2 / 3 * 5 + 1])
    np.testing.assert_allclose(trained.params["w"], PARAMS["w"] - 0.5 * (full + 1.0), rtol=1e-6)


def test_devices_average_their_gradients_and_keep_their_own():
    mesh = jax.make_mesh((1,), ("devices",), axis_types=(jax.sharding.AxisType.Auto,))
    alone, _ = run()
    trained = gradient.Trained(PARAMS, optax.identity().init(PARAMS), {})

    def step(trained, batch):
        return gradient.step(
            loss, optax.identity(), Pipeline((), SPEC), jax.random.key(0), trained, batch, HOST, axis="devices"
        )

    P = jax.sharding.PartitionSpec
    sharded = jax.jit(jax.shard_map(step, mesh=mesh, in_specs=(P(), P("devices")), out_specs=(P(), P())))
    together, _ = sharded(trained, BATCH)
    np.testing.assert_allclose(together.params["w"], alone.params["w"], rtol=1e-6)


def test_over_steps_keeps_the_worst_of_what_must_not_be_missed():
    found = gradient.over_steps(
        {
            "loss": jnp.asarray([1.0, 3.0]),
            "nonfinite": jnp.asarray([0.0, 1.0]),
            "nonfinite_leaf": jnp.asarray([-1.0, 2.0]),
        }
    )
    assert (found["loss"], found["nonfinite"], found["nonfinite_leaf"]) == (2.0, 1.0, 2.0)


def test_parts_of_the_parameters_are_clipped_apart_and_lent_their_own_extras():
    def look(updates, state, params, *, value, grad_fn, per_example, local):
        assert per_example(chunk=2)["w"].shape == (3, 2)
        same = jnp.allclose(local["w"], updates["w"]) & jnp.allclose(grad_fn(params)["w"], updates["w"])
        return jax.tree.map(lambda u: u * same, updates), state

    lent = optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), look)

    scales = (("one", 1.0), ("other", 100.0))

    def both(params, key, batch):
        return {name: loss({"w": scale * params[name]["w"]}, key, batch)[0]["policy"] for name, scale in scales}, {}

    params = {name: PARAMS for name, _ in scales}
    optimizer = gradient.by_part(
        {
            "one": optax.chain(lent, optax.clip_by_global_norm(0.5)),
            "other": optax.chain(lent, optax.clip_by_global_norm(0.5), optax.scale(0.3)),
        }
    )
    records = lambda batch: batch[:, None]  # noqa: E731
    step = jax.jit(
        lambda trained: gradient.step(
            both, optimizer, Pipeline((), SPEC), jax.random.key(0), trained, BATCH, HOST, records=records
        )
    )
    trained, _ = step(gradient.Trained(params, optimizer.init(params), {}))
    moved = {name: float(jnp.linalg.norm(trained.params[name]["w"] - PARAMS["w"])) for name, _ in scales}
    # The learning rate 0.5 times a gradient of norm 0.5, and 0.3 of it; one clip over both would leave the first 1e-4.
    assert moved == pytest.approx({"one": 0.25, "other": 0.075}, rel=1e-5)
