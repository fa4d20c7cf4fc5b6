"""When episodes truly end: every rule against the environments themselves, step by step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs import termination
from envs.contract import Env
from envs.errors import UsageError

ON_DEVICE = ("CartPoleSwingup-v0", "MountainCarContinuous-v0", "Pendulum-v1", "PointMass-v0")
ENDING = ("Ant-v5", "Hopper-v5", "Humanoid-v5", "InvertedDoublePendulum-v5", "InvertedPendulum-v5", "Walker2d-v5")
LASTING = ("HalfCheetah-v5", "HumanoidStandup-v5", "Pusher-v5", "Reacher-v5", "Swimmer-v5")


@pytest.mark.parametrize("id", ENDING + LASTING)
def test_rules_say_what_mujoco_says(id):
    pytest.importorskip("envpool")
    maker = envs.make(id, backend="host", threads=1)
    n, rule, rng = 8, jax.jit(termination.of(maker.spec)), np.random.default_rng(0)
    env = maker.open(0, n)
    env.reset()
    low, high = np.asarray(maker.spec.action.low), np.asarray(maker.spec.action.high)
    ended = []
    for _ in range(120):
        timestep = env.step(rng.uniform(low, high, (n, len(low))).astype(np.float32))
        truly = timestep.discount == 0
        np.testing.assert_array_equal(rule(timestep.next_obs), truly)
        ended.append(truly)
    env.close()
    assert np.any(ended) == (id in ENDING)


@pytest.mark.parametrize("id", ON_DEVICE)
def test_rules_say_what_tasks_on_the_device_say(id):
    env = envs.make(id, backend="device")
    assert isinstance(env, Env)
    n, batch, rule = 16, envs.batch(env, 16), termination.of(env.spec)
    low, high = jnp.asarray(env.spec.action.low), jnp.asarray(env.spec.action.high)

    def step(states, key):
        action = jax.random.uniform(key, (n, len(low)), minval=low, maxval=high)
        states, timestep = batch.step(key, states, action)
        return states, (rule(timestep.next_obs), timestep.discount == 0)

    states, _ = batch.reset(jax.random.key(0))
    _, (found, truly) = jax.jit(lambda states: jax.lax.scan(step, states, jax.random.split(jax.random.key(1), 200)))(
        states
    )
    np.testing.assert_array_equal(found, truly)


def test_the_car_that_reaches_the_top_has_ended():
    top = jnp.asarray([[0.45, 0.0], [0.45, -0.01], [0.44, 0.07]])
    np.testing.assert_array_equal(termination.mountain_car(top), [True, False, False])


def test_numbers_that_are_not_finite_end_an_episode():
    broken = jnp.full((2, 17), jnp.nan)
    for rule in (termination.hopper, termination.walker, termination.ant, termination.humanoid, termination.pole):
        assert rule(broken).all()


def test_every_rule_is_of_a_task_that_there_is():
    known = {listing.name for listing in envs.ids()}
    assert set(termination.RULES) <= known


def test_another_tasks_rule_can_be_named_and_unknown_ones_are_refused():
    spec = envs.make("Pendulum-v1", backend="device").spec
    assert termination.of(spec, "Hopper-v5") is termination.hopper
    assert termination.of(spec, "never") is termination.never
    with pytest.raises(UsageError, match="Hopper-v5"):
        termination.of(spec, "Hoper-v5")
    choices = envs.make("CartPole-v1", backend="device").spec
    with pytest.raises(UsageError, match="no rule says when episodes of CartPole-v1 end"):
        termination.of(choices)
