"""Recurrent cores: the equations against Flax's cells, resets, and one step against a sequence."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.networks import Core
from envs.errors import UsageError

KEY = jax.random.key(0)
T, B, D, H = 7, 3, 4, 5
RECURRENT = [("gru", 1), ("lstm", 2)]


class _Jitted(NamedTuple):
    begin: Any
    apply: Any


def _setup(kind, layers):
    """A core with random parameters, biases included: a misplaced one shows."""
    core, random = Core(kind, H, layers), np.random.default_rng(0)
    x, first = jnp.asarray(random.normal(size=(T, B, D)), jnp.float32), jnp.zeros((T, B), bool)
    shapes = jax.eval_shape(core.init, KEY, x, core.begin(B), first)
    params = jax.tree.map(lambda leaf: jnp.asarray(random.normal(0, 0.5, leaf.shape), leaf.dtype), shapes)
    return _Jitted(core.begin, jax.jit(core.apply)), params, x, first


def _close(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), a, b)


def test_gru_follows_flax():
    core, params, x, first = _setup("gru", 1)
    p = params["params"]
    cell = {}
    for i, gate in enumerate("rzn"):
        part = slice(i * H, (i + 1) * H)
        cell[f"i{gate}"] = {"kernel": p["input_0"]["kernel"][:, part], "bias": p["input_0"]["bias"][part]}
        cell[f"h{gate}"] = {"kernel": p["recurrent_0"][:, i]}
    cell["hn"]["bias"] = p["candidate_0"]
    y, _, _ = core.apply(params, x, core.begin(B), first)
    h, step = jnp.zeros((B, H)), jax.jit(nn.GRUCell(H).apply)
    for t in range(T):
        h, _ = step({"params": cell}, h, x[t])
        np.testing.assert_allclose(y[t], h, atol=1e-5)


def test_lstm_follows_flax():
    core, params, x, first = _setup("lstm", 1)
    p = params["params"]
    cell = {}
    for i, gate in enumerate("ifog"):
        part = slice(i * H, (i + 1) * H)
        cell[f"i{gate}"] = {"kernel": p["input_0"]["kernel"][:, part]}
        cell[f"h{gate}"] = {"kernel": p["recurrent_0"][:, i], "bias": p["input_0"]["bias"][part]}
    y, (last,), _ = core.apply(params, x, core.begin(B), first)
    memory, step = (jnp.zeros((B, H)), jnp.zeros((B, H))), jax.jit(nn.LSTMCell(H).apply)
    for t in range(T):
        memory, out = step({"params": cell}, memory, x[t])
        np.testing.assert_allclose(y[t], out, atol=1e-5)
    _close(last, memory)


def test_forget_gates_start_open_and_gates_orthogonal():
    core = Core("lstm", H)
    params = jax.jit(core.init)(KEY, jnp.zeros((1, B, D)), core.begin(B), jnp.zeros((1, B), bool))["params"]
    np.testing.assert_array_equal(params["input_0"]["bias"], np.repeat([0, 1, 0, 0], H))
    for gate in range(4):
        kernel = params["recurrent_0"][:, gate]
        np.testing.assert_allclose(kernel @ kernel.T, np.eye(H), atol=1e-5)


@pytest.mark.parametrize(("kind", "layers"), RECURRENT)
def test_two_episodes_in_one_sequence_equal_each_alone(kind, layers):
    core, params, x, first = _setup(kind, layers)
    start = 3
    y, carry, _ = core.apply(params, x, core.begin(B), first.at[start].set(True))
    alone, _, _ = core.apply(params, x[:start], core.begin(B), first[:start])
    other, end, _ = core.apply(params, x[start:], core.begin(B), first[start:])
    _close(y, jnp.concatenate([alone, other]))
    _close(carry, end)


@pytest.mark.parametrize(("kind", "layers"), RECURRENT)
def test_only_environments_that_begin_are_reset(kind, layers):
    core, params, x, first = _setup(kind, layers)
    y, _, _ = core.apply(params, x, core.begin(B), first)
    reset, _, _ = core.apply(params, x, core.begin(B), first.at[3, 1].set(True))
    np.testing.assert_allclose(reset[:, [0, 2]], y[:, [0, 2]], atol=1e-6)
    assert jnp.abs(reset[3:, 1] - y[3:, 1]).max() > 1e-3


@pytest.mark.parametrize(("kind", "layers"), RECURRENT)
def test_step_by_step_equals_the_sequence_and_carries_restart_it(kind, layers):
    core, params, x, first = _setup(kind, layers)
    first = first.at[0].set(True).at[4, 0].set(True)
    memory = jax.tree.map(lambda leaf: leaf + 1, core.begin(B))
    y, after, carries = core.apply(params, x, memory, first)
    carry = memory
    for t in range(T):
        out, carry, _ = core.apply(params, x[t : t + 1], carry, first[t : t + 1])
        _close(out[0], y[t])
        _close(carry, jax.tree.map(lambda leaf, t=t: leaf[t], carries))
    _close(carry, after)


@pytest.mark.parametrize(("kind", "layers"), RECURRENT)
def test_gradients_stop_at_a_reset_and_flow_elsewhere(kind, layers):
    core, params, x, first = _setup(kind, layers)

    def last(x, carry, first):
        return core.apply(params, x, carry, first)[0][-1].sum()

    slopes = jax.jit(jax.grad(last, argnums=(0, 1)))
    through = slopes(x, core.begin(B), first)
    assert all(jnp.abs(leaf).max() > 0 for leaf in jax.tree.leaves(through))
    by_x, by_carry = slopes(x, core.begin(B), first.at[3].set(True))
    np.testing.assert_array_equal(by_x[:3], 0)
    assert (jnp.abs(by_x[3:]).max((1, 2)) > 0).all()
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(by_carry))


def test_no_core_hands_everything_on():
    core = Core("none")
    x = jnp.ones((T, B, D))
    assert core.begin(B) == ()
    y, carry, carries = core.apply({}, x, (), jnp.zeros((T, B), bool))
    np.testing.assert_array_equal(y, x)
    assert carry == carries == ()


def test_unknown_core_is_refused():
    with pytest.raises(UsageError, match="did you mean gru"):
        Core("grru")
