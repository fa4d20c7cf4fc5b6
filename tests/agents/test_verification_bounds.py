"""Bounds of networks: no sample ever escapes them, they are exact where they can be, and what has none is named."""

from itertools import pairwise

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import agents
from agents.auxiliary.verification.bounds import Box, bounds, evaluate, lines, value
from agents.auxiliary.verification.network import trace
from agents.training import learner
from envs import contract
from envs.contract import Array, Discrete, EnvSpec, TimeStep
from envs.errors import UsageError

_bounds = jax.jit(bounds, static_argnames="linear")
_lines = jax.jit(lines, static_argnums=0)
_outputs = jax.jit(jax.vmap(evaluate, (None, 0)))
ACTIVATIONS = {"relu": nn.relu, "tanh": jnp.tanh, "elu": nn.elu}


def mlp(seed, widths, activation, scale=1.5):
    """A dense network of float32 weights as a function of one vector."""
    rng = np.random.default_rng(seed)
    pairs = list(pairwise(widths))
    weights = [(scale * rng.normal(size=p) / p[0] ** 0.5).astype(np.float32) for p in pairs]
    biases = [rng.normal(size=n).astype(np.float32) * 0.3 for n in widths[1:]]

    def function(x):
        for layer, (w, b) in enumerate(zip(weights, biases, strict=True)):
            x = x @ w + b
            x = ACTIVATIONS[activation](x) if layer < len(weights) - 1 else x
        return x

    return function


def bound(network, low, high, linear=True, rows=None):
    rows = np.eye(len(network.output.bias)) if rows is None else rows
    with jax.enable_x64(True):
        box = Box(np.asarray(low, np.float64), np.asarray(high, np.float64))
        found, slopes = _bounds(network, rows, np.zeros(len(rows)), box, linear=linear)
        return np.asarray(found.low), np.asarray(found.high), np.asarray(slopes)


def random_box(rng, n, width):
    middle = rng.normal(size=n)
    half = width * rng.random(n) * (rng.random(n) < 0.8)  # some inputs are fixed
    return (middle - half).astype(np.float32), (middle + half).astype(np.float32)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("width", [0.05, 2.0])
def test_no_sample_escapes(activation, width):
    """Oracle (d): 1e5 outputs, computed in float32 as a policy computes them, without any tolerance."""
    function = mlp(1, (5, 16, 16, 3), activation)
    low, high = random_box(np.random.default_rng(2), 5, width)
    points = np.random.default_rng(3).random((100_000, 5), np.float32) * (high - low) + low
    corners = np.where(np.random.default_rng(4).random((1000, 5)) < 0.5, low, high)
    points = np.concatenate([np.clip(points, low, high), corners]).astype(np.float32)
    outputs = np.asarray(jax.jit(jax.vmap(function))(points))
    network = trace(function, 5)
    plain, relaxed = bound(network, low, high, linear=False), bound(network, low, high)
    for lower, upper, _ in (plain, relaxed):
        assert (outputs >= lower).all()
        assert (outputs <= upper).all()
    assert (relaxed[0] >= plain[0]).all()
    assert (relaxed[1] <= plain[1]).all()
    assert (relaxed[1] - relaxed[0] < 0.9 * (plain[1] - plain[0])).all()  # and relaxing is worth it


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    low=st.floats(-30, 30),
    width=st.one_of(st.floats(0, 1e-6), st.floats(0, 40)),
    kind=st.sampled_from(sorted(ACTIVATIONS)),
    share=st.floats(0, 1),
)
def test_lines_hold_the_activation(low, width, kind, share):
    with jax.enable_x64(True):
        pre = Box(np.array([low]), np.array([low + width]))
        line = _lines(kind, pre, 0.0)
        points = np.concatenate([low + width * np.linspace(0, 1, 2001), [low + width * share]]).clip(low, low + width)
        z = np.asarray(value(kind, jnp.asarray(points)))
        assert (np.asarray(line.low_slope * points + line.low) <= z).all()
        assert (np.asarray(line.high_slope * points + line.high) >= z).all()


def test_a_linear_layer_and_a_single_point_are_exact():
    function = mlp(0, (6, 4), "relu")
    rng = np.random.default_rng(0)
    low, high = random_box(rng, 6, 1.0)
    weights, bias = (np.asarray(jax.jacobian(function)(np.zeros(6, np.float32))), np.asarray(function(np.zeros(6))))
    middle, half = (low + high) / 2, (high - low) / 2
    for linear in (True, False):
        lower, upper, _ = bound(trace(function, 6), low, high, linear)
        np.testing.assert_allclose(lower, weights @ middle - np.abs(weights) @ half + bias, atol=1e-5)
        np.testing.assert_allclose(upper, weights @ middle + np.abs(weights) @ half + bias, atol=1e-5)
    for activation in ACTIVATIONS:
        function = mlp(1, (6, 16, 16, 4), activation)
        network = trace(function, 6)
        for linear in (True, False):  # around what float32 makes of it, not of what it stands for alone
            lower, upper, _ = bound(network, low, low, linear)
            computed = np.asarray(function(low))
            assert (lower <= computed).all()
            assert (computed <= upper).all()
            assert (upper > lower).all()
        with jax.enable_x64(True):
            exact = np.asarray(_outputs(network, low[None].astype(np.float64)))[0]
        np.testing.assert_allclose(exact, function(low), atol=1e-5)
        assert (lower <= exact).all()
        assert (exact <= upper).all()
        assert (upper - lower).max() < 2e-4


def test_differences_are_bounded_directly():
    """A duelling head's value is part of every output and of no difference of two."""

    def function(x):
        hidden = mlp(0, (4, 8, 8), "relu")(x)
        advantage = hidden[:3]
        return hidden.sum() * 10 + advantage - advantage.mean()

    low, high = np.full(4, -0.2), np.full(4, 0.2)
    network = trace(function, 4)
    lower, upper, _ = bound(network, low, high)
    _, difference, _ = bound(network, low, high, rows=np.array([[1.0, -1.0, 0.0]]))
    assert difference[0] < 0.2 * (upper[0] - lower[1])


def test_what_policies_are_made_of_is_read():
    def function(x):
        x = jnp.clip((x[None] - 0.3) * jnp.asarray([2.0, 3.0, 0.5]), -1.0, 1.0)  # statistics of a wrapper
        left, right = jnp.split(x.reshape(-1) @ jnp.arange(12.0).reshape(3, 4) / 10, 2)
        y = jnp.concatenate([nn.sigmoid(left), jnp.abs(right), jnp.minimum(left, right), -nn.elu(right)])
        z = jnp.stack([y.mean(), y[::-1][2], jnp.transpose(y.reshape(4, 2))[1, 0], y[jnp.asarray([5, 0])].sum()])
        return z / 2

    network = trace(lambda x: function(x), 3)
    points = np.random.default_rng(0).uniform(-1, 1, (2000, 3)).astype(np.float32)
    expected = np.asarray(jax.vmap(function)(points))
    with jax.enable_x64(True):
        found = _outputs(network, points.astype(np.float64))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    for linear in (True, False):
        lower, upper, _ = bound(network, -np.ones(3), np.ones(3), linear)
        assert (lower <= expected).all()
        assert (expected <= upper).all()


@pytest.mark.parametrize(
    ("function", "named"),
    [
        (lambda x: nn.swish(x).sum(keepdims=True) * nn.gelu(x), "'mul'|'integer_pow'|'erf'"),
        (lambda x: jnp.exp(x), "'exp'"),
        (lambda x: x * x, "'mul'"),
        (lambda x: x / (x + 1), "'div'"),
        (lambda x: x @ x[:, None], "'dot_general'"),
        (lambda x: (x > 0).astype(jnp.float32), "'gt'"),
        (lambda x: x.astype(jnp.bfloat16), "'convert_element_type'"),
        (lambda x: jnp.ones(2), "does not depend on its observation"),
        (lambda x: jnp.argmax(x) + 1, "'add'"),
        (lambda x: jnp.argmax(x.reshape(2, 2), -1), "several choices at once"),
        (lambda x: (x, x), "gives one array, not 2"),
    ],
)
def test_what_has_no_bounds_is_named(function, named):
    with pytest.raises(UsageError, match=named):
        trace(function, 4)


def test_float32_is_as_far_off_as_is_allowed_for():
    """The backend's tanh and expm1 in float32, which the bounds allow 2^-20."""
    x = np.linspace(-12, 12, 400_001).astype(np.float32)
    for kind, function in (("tanh", jnp.tanh), ("elu", nn.elu)):
        exact = np.tanh(x.astype(np.float64)) if kind == "tanh" else np.where(x > 0, x, np.expm1(x.astype(np.float64)))
        assert np.abs(np.asarray(jax.jit(function)(x)) - exact).max() < 2.0**-21


# -------------------------------------------------------------------------------------------------------------- AGENTS

BOX = contract.Box((-2.0, -1.0), (2.0, 3.0))
AGENTS = [
    ("dqn", {}, Discrete(4)),
    ("dqn", {"duelling": True, "activation": "elu"}, Discrete(4)),
    ("dqn", {"critic": "quantile", "atoms": 5, "noisy": True}, Discrete(4)),
    ("ppo", {"activation": "tanh"}, Discrete(4)),
    ("ppo", {"separate": True, "heads": (8,)}, BOX),
    ("td3", {}, BOX),
    ("sac", {"activation": "tanh"}, BOX),
    ("ddpg", {}, BOX),
]


@pytest.mark.parametrize(("name", "options", "action"), AGENTS)
def test_agents_are_read_as_they_act(name, options, action):
    spec = EnvSpec("Any-v0", "1", Array((6,), "float32", -1.0, 1.0), action)
    agent = agents.make(name, spec, **{"hidden": (16, 16), **options})
    state = learner.begin(agent, jax.random.key(3), spec)
    # Biases and heads begin at or near zero, where nothing can be told apart.
    leaves, tree = jax.tree.flatten(state.params)
    keys = jax.random.split(jax.random.key(4), len(leaves))
    noise = [leaf + 0.3 * jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True)]
    state = state._replace(params=jax.tree.unflatten(tree, noise))

    def policy(obs):
        n = TimeStep(obs[None], jnp.zeros(1), jnp.ones(1), jnp.ones(1, bool), obs[None], {})
        return agent.act(jax.random.key(0), state, agent.begin(state, 1), n, True)[0][0]

    network = trace(policy, 6)
    points = np.random.default_rng(0).uniform(-1, 1, (500, 6)).astype(np.float32)
    acted = np.asarray(jax.jit(jax.vmap(policy))(points))
    with jax.enable_x64(True):
        outputs = np.asarray(_outputs(network, points.astype(np.float64)))
    assert network.chosen == isinstance(action, Discrete)
    if network.chosen:
        assert outputs.shape == (500, 4)
        np.testing.assert_array_equal(outputs.argmax(-1), acted)
        assert len(set(acted)) > 1
    else:
        np.testing.assert_allclose(outputs, acted, atol=1e-5)
        lower, upper, _ = bound(network, -np.ones(6), np.ones(6))
        assert (lower <= acted).all()
        assert (acted <= upper).all()


def test_an_agent_whose_outputs_have_no_bounds_is_named():
    spec = EnvSpec("Any-v0", "1", Array((6,), "float32", -1.0, 1.0), Discrete(4))
    for options in ({"critic": "categorical"}, {"norm": True}):
        agent = agents.make("dqn", spec, hidden=(8,), **options)
        state = learner.begin(agent, jax.random.key(0), spec)
        step = lambda obs: TimeStep(obs[None], 0.0, 1.0, True, obs[None], {})  # noqa: E731
        with pytest.raises(UsageError, match="the policy computes '"):
            trace(lambda obs: agent.act(jax.random.key(0), state, (), step(obs), True)[0][0], 6)  # noqa: B023
