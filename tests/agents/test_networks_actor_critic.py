"""The actor-critic: shapes of every action space, encoders with and without memory, cores, separation, taps."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.networks import Categorical, MultiCategorical, Normal, SquashedNormal, TorsoEncoder, build, count
from envs.contract import Array, Box, Discrete, EnvSpec, MultiDiscrete
from envs.errors import UsageError

KEY = jax.random.key(0)
T, B = 5, 3
GRID = {"image": Array((7, 7, 3), "uint8", 0, 10), "direction": Array((), "int32", 0, 3)}


def _spec(action=None, obs=None) -> EnvSpec:
    return EnvSpec("toy", "1", GRID if obs is None else obs, action or Discrete(4))


def _obs(steps=T):
    random = np.random.default_rng(1)
    image = random.integers(0, 11, (steps, B, 7, 7, 3), np.uint8)
    return {"image": jnp.asarray(image), "direction": jnp.asarray(random.integers(0, 4, (steps, B)), jnp.int32)}


def _make(net, obs=None):
    """Variables filled with small random numbers: a program that draws orthogonal ones takes seconds to compile."""
    obs, first = _obs() if obs is None else obs, jnp.zeros((T, B), bool)
    shapes = jax.eval_shape(partial(net.init, train=False), KEY, obs, net.begin(B), first)
    random = np.random.default_rng(0)
    variables = {
        name: jax.tree.map(lambda leaf: jnp.asarray(random.normal(0, 0.2, leaf.shape), leaf.dtype), shapes[name])
        for name in shapes
        if name not in ("losses", "metrics", "taps")
    }
    return variables, obs, first


def _apply(net, variables, *inputs):
    return jax.jit(partial(net.apply, train=False))(variables, *inputs)


class Counter(nn.Module):
    """An encoder with a memory (the sum of the directions so far) and a state (how often training called it)."""

    def begin(self, n: int):
        return jnp.zeros((n, 1))

    @nn.compact
    def __call__(self, obs, carry, first, *, train):
        calls = self.variable("statistics", "calls", lambda: jnp.zeros((), jnp.int32))
        if train:
            calls.value += 1
            carry = carry + 0 * jax.random.normal(self.make_rng("net"), carry.shape)
        carry = jnp.where(first[:, None], 0.0, carry) + obs["direction"][:, None]
        self.sow("taps", "memory", carry)
        return nn.Dense(6)(carry), carry


@pytest.mark.parametrize(
    ("action", "squash", "kind", "shape"),
    [
        (Discrete(4), False, Categorical, (T, B)),
        (MultiDiscrete((2, 3)), False, MultiCategorical, (T, B, 2)),
        (Box((-1.0, -1.0), (1.0, 1.0)), False, Normal, (T, B, 2)),
        (Box((-1.0, -1.0), (1.0, 1.0)), True, SquashedNormal, (T, B, 2)),
    ],
)
def test_shapes_of_every_action_space(action, squash, kind, shape):
    net = build(_spec(action), hidden=(16,), core="gru", core_width=8, squash=squash)
    variables, obs, first = _make(net)
    forward = jax.eval_shape(partial(net.apply, train=False), variables, obs, net.begin(B), first)
    dist, value, features, carry, carries = forward
    assert isinstance(dist, kind)
    assert jax.eval_shape(lambda d: d.sample(KEY), dist).shape == shape
    assert value.shape == jax.eval_shape(lambda d: d.entropy(), dist).shape == (T, B)
    assert features.shape == (T, B, 8)
    assert jax.tree.map(jnp.shape, carry) == jax.tree.map(jnp.shape, net.begin(B))
    assert [leaf.shape for leaf in jax.tree.leaves(carries)] == [(T, B, 8)]


def test_first_policy_is_nearly_uniform_and_the_spread_starts_at_one():
    net = build(_spec(Box((-1.0,) * 3, (1.0,) * 3), Array((6,), "float32")), hidden=(16,))
    obs, first = jnp.linspace(-1, 1, T * B * 6).reshape(T, B, 6), jnp.zeros((T, B), bool)
    variables = jax.jit(partial(net.init, train=False))(KEY, obs, net.begin(B), first)
    dist = _apply(net, variables, obs, net.begin(B), first)[0]
    assert 0 < jnp.abs(dist.mean).max() < 0.1
    assert variables["params"]["log_std"].shape == (3,)
    np.testing.assert_array_equal(dist.log_std, 0)
    np.testing.assert_allclose(jnp.linalg.norm(variables["params"]["value"]["kernel"]), 1.0, rtol=1e-5)


@pytest.mark.parametrize(
    ("encoder", "core", "separate"),
    [("auto", "none", True), ("auto", "gru", False), ("counter", "none", True), ("counter", "lstm", False)],
)
def test_acting_step_by_step_equals_the_sequence(encoder, core, separate):
    made = Counter() if encoder == "counter" else encoder
    net = build(_spec(), encoder=made, hidden=(16,), core=core, core_width=8, separate=separate)
    variables, obs, first = _make(net)
    first = first.at[2, 1].set(True)
    forward = jax.jit(lambda *args: net.apply(variables, *args, train=False))
    dist, value, features, after, carries = forward(obs, net.begin(B), first)
    carry = net.begin(B)
    for t in range(T):
        one = jax.tree.map(lambda x, t=t: x[t : t + 1], (obs, first))
        now, value_now, features_now, carry, _ = forward(one[0], carry, one[1])
        np.testing.assert_allclose(now.logits[0], dist.logits[t], atol=1e-5)
        np.testing.assert_allclose(value_now[0], value[t], atol=1e-5)
        np.testing.assert_allclose(features_now[0], features[t], atol=1e-5)
        jax.tree.map(lambda a, b, t=t: np.testing.assert_allclose(a, b[t], atol=1e-5), carry, carries)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), carry, after)


def test_an_encoder_with_memory_keeps_its_state_and_taps_over_time():
    net = build(_spec(), encoder=Counter())
    variables, obs, first = _make(net)
    before = variables["statistics"]["trunk"]["encoder"]["calls"]
    first = first.at[2, 1].set(True)
    forward = jax.jit(partial(net.apply, train=True, mutable=["statistics", "taps"]))
    _, changed = forward(variables, obs, net.begin(B), first, rngs={"net": KEY})
    assert changed["statistics"]["trunk"]["encoder"]["calls"] == before + T
    (memory,) = changed["taps"]["trunk"]["encoder"]["memory"]
    expected = np.cumsum(np.asarray(obs["direction"]), 0)
    expected[2:, 1] -= expected[1, 1]
    np.testing.assert_allclose(memory[..., 0], expected)


def test_encoder_features_are_tapped():
    net = build(_spec(), hidden=(16,), core="gru", core_width=8)
    variables, obs, first = _make(net)
    outputs, sown = jax.jit(partial(net.apply, train=False, mutable=["taps"]))(variables, obs, net.begin(B), first)
    (tapped,) = sown["taps"]["features"]
    assert tapped.shape == (T, B, 16)
    alone = build(_spec(), hidden=(16,))
    params = {"params": {name: variables["params"][name] for name in ("trunk", "value", "policy")}}
    params["params"]["trunk"] = {"encoder": variables["params"]["trunk"]["encoder"]}
    params["params"]["value"] = {"kernel": jnp.zeros((16, 1)), "bias": jnp.zeros(1)}
    params["params"]["policy"] = {"kernel": jnp.zeros((16, 4)), "bias": jnp.zeros(4)}
    features = _apply(alone, params, obs, alone.begin(B), first)[2]
    np.testing.assert_allclose(tapped, features, atol=1e-6)
    assert outputs[2].shape == (T, B, 8)


def test_a_separate_value_shares_nothing_with_the_policy():
    def gradients(separate):
        net = build(_spec(), hidden=(16,), core="gru", core_width=8, separate=separate)
        variables, obs, first = _make(net)
        value = lambda p: net.apply({"params": p}, obs, net.begin(B), first, train=True)[1].sum()  # noqa: E731
        return variables["params"], jax.jit(jax.grad(value))(variables["params"])

    shared, by_value = gradients(False)
    assert all(leaf.any() for leaf in jax.tree.leaves(by_value["trunk"]["core"]))
    params, by_value = gradients(True)
    assert not any(leaf.any() for leaf in jax.tree.leaves(by_value["trunk"]))
    assert all(leaf.any() for leaf in jax.tree.leaves(by_value["value_trunk"]["core"]))
    assert by_value["value_trunk"]["encoder"]["torso"]["MLP_0"]["Dense_0"]["kernel"].any()
    assert jax.tree.map(jnp.shape, params["trunk"]) == jax.tree.map(jnp.shape, params["value_trunk"])
    assert count(params) == count(shared) + count(params["value_trunk"])


def test_several_values():
    net = build(_spec(), hidden=(16,), value_heads=2)
    variables, obs, first = _make(net)
    value = _apply(net, variables, obs, net.begin(B), first)[1]
    assert value.shape == (T, B, 2)
    assert jnp.abs(value[..., 0] - value[..., 1]).max() > 1e-4


def test_count():
    assert count({"a": jnp.zeros((2, 3)), "b": (jnp.zeros(()), jnp.zeros(4))}) == 11


def test_seeds_by_vmap_over_parameters():
    net = build(_spec(), hidden=(16,), core="lstm", core_width=8)
    variables, obs, first = _make(net)
    apply = lambda v: net.apply(v, obs, net.begin(B), first, train=False)[1]  # noqa: E731
    both = jax.jit(jax.vmap(apply))(jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), variables))
    np.testing.assert_allclose(both[0], jax.jit(apply)(variables), atol=1e-5)
    assert jnp.abs(both[0] - both[1]).max() > 1e-3


def test_build_refuses_with_one_sentence():
    with pytest.raises(UsageError, match="auto"):
        build(_spec(), encoder="lion")
    with pytest.raises(UsageError, match="did you mean lstm"):
        build(_spec(), core="lstn")
    with pytest.raises(UsageError, match="finite bounds"):
        build(_spec(), squash=True)
    with pytest.raises(UsageError, match=TorsoEncoder.__name__):
        build(_spec(), encoder=nn.Dense(3))
