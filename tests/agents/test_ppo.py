"""PPO's own options: minibatches of single steps with their memories, and advantages standardised over unrolls."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training_runs import column, device_loop, drive

import agents
import envs
from agents import onpolicy, parts, ppo
from agents.agent import Rollout
from envs.errors import UsageError

MEMORY = envs.make("Memory-v0")
SMALL = {"hidden": (16,), "core": "gru", "core_width": 8, "unroll": 12}


def make(**options):
    return agents.make("ppo", MEMORY.spec, **{**SMALL, **options})


def base(**options) -> onpolicy.Base:
    config, rest = parts.split(ppo.Config, {**SMALL, **options})
    return onpolicy.base(config, MEMORY.spec, rest)


def roll(base, state, n: int, length: int) -> Rollout:
    """One unroll that begins in the middle of episodes, with memories that hold something."""
    batch = envs.batch(MEMORY, n)
    states, timestep = batch.reset(jax.random.key(1))

    def step(carry, key):
        states, memory, timestep = carry
        action, after, extras = onpolicy.act(base, key, state, memory, timestep, False)
        states, following = batch.step(key, states, action)
        return (states, after, following), (memory, timestep, action, extras, following)

    _, found = jax.lax.scan(
        step, (states, onpolicy.begin(base, state, n), timestep), jax.random.split(jax.random.key(2), 5 + length)
    )
    memory, before, *taken = jax.tree.map(lambda leaf: leaf[5:], found)
    return Rollout(*jax.tree.map(lambda leaf: leaf[0], (memory, before)), *taken), memory


def test_the_memory_of_every_step_is_the_one_it_was_acted_with():
    parts = base(backprop="step")
    state = ppo.init(parts, jax.random.key(0), MEMORY.spec)
    rollout, acted = jax.jit(partial(roll, parts, n=6, length=30))(state)
    assert rollout.timestep.last.any()  # memories that are forgotten on the way
    evaluation = onpolicy.evaluate(parts, state.params, state.variables, rollout)
    found = ppo.memories(rollout, evaluation.carries)
    merged = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), acted)
    # A memory from before an opening observation is forgotten as that is read, whatever it holds.
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-5), found, merged)


@pytest.mark.parametrize("backprop", ["unroll", "step"])
def test_the_first_step_of_a_pass_finds_the_policy_that_acted(backprop):
    loop = device_loop(make(backprop=backprop, epochs=1, minibatches=1), MEMORY, seeds=(0,))
    rows = drive(loop, 4)
    assert np.all([column(row, "kl") < 1e-6 for row in rows])
    assert np.all([column(row, "clipped") == 0 for row in rows])


def test_single_steps_mix_into_more_minibatches_than_there_are_environments():
    rows = drive(device_loop(make(backprop="step", minibatches=32), MEMORY, n=4, seeds=(0,)), 3)
    assert np.isfinite(column(rows[-1], "loss")).all()
    with pytest.raises(UsageError, match="4 environments do not split into 32 minibatches"):
        drive(device_loop(make(minibatches=32), MEMORY, n=4, seeds=(0,)), 1)


def test_advantages_of_an_unroll_are_standardised_by_moving_moments():
    parts = base(standardise="unroll", momentum=0.5, core="none", epochs=1, minibatches=1, learning_rate=1e-9)
    state = ppo.init(parts, jax.random.key(0), MEMORY.spec)
    rollout, _ = roll(parts, state, n=6, length=12)
    raw = _advantage(parts, state, rollout)
    after, _ = jax.jit(partial(ppo.update, parts))(jax.random.key(3), state._replace(knobs=_knobs(state)), rollout)
    found = after.variables["advantage"]
    np.testing.assert_allclose(found["mean"], 0.5 * raw.mean(), rtol=1e-4)
    expected = 0.5 + 0.5 * np.square(raw - 0.5 * raw.mean()).mean()
    np.testing.assert_allclose(found["variance"], expected, rtol=1e-4)


def _knobs(state):
    return {**state.knobs, "progress": jnp.zeros(())}


def _advantage(parts, state, rollout) -> np.ndarray:
    """The generalised advantages by the recursion of their definition."""
    found = onpolicy.evaluate(parts, state.params, state.variables, rollout)
    value, value_t = np.asarray(found.outputs.value), np.asarray(found.value_t)
    step, config = rollout.timestep, parts.config
    delta = np.asarray(step.reward) + config.discount * np.asarray(step.discount) * value_t - value
    advantage, later = np.zeros_like(value), 0.0
    for t in reversed(range(len(value))):
        later = delta[t] + config.discount * config.trace * (1 - np.asarray(step.last)[t]) * later
        advantage[t] = later
    return advantage


@pytest.mark.parametrize(("option", "sentence"), [({"momentum": 1.0}, "momentum must be"), ({"kernel": 1}, "kernel")])
def test_values_out_of_range_are_one_sentence(option, sentence):
    with pytest.raises(UsageError, match=sentence):
        make(**option)
