"""Gymnasium's classic control tasks on the device, step by step against Gymnasium itself in float64."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.contract import Box
from envs.control.episode import State

# How far from 0 each part of a body is drawn: beyond every bound, so that clips, walls and ends come up.
REACH = {
    "Acrobot-v1": (np.pi, np.pi, 10.0, 20.0),
    "CartPole-v1": (2.6, 3.0, 0.25, 3.0),
    "MountainCarContinuous-v0": (0.9, 0.07),
    "Pendulum-v1": (np.pi, 8.0),
}
CENTRE = {"MountainCarContinuous-v0": (-0.3, 0.0)}
START = {  # the least and the largest of what a start may be
    "Acrobot-v1": ((-0.1,) * 4, (0.1,) * 4),
    "CartPole-v1": ((-0.05,) * 4, (0.05,) * 4),
    "MountainCarContinuous-v0": ((-0.6, 0.0), (-0.4, 0.0)),
    "Pendulum-v1": ((-np.pi, -1.0), (np.pi, 1.0)),
}

each = pytest.mark.parametrize("id", sorted(REACH))


def theirs(id):
    env = gymnasium.make(id, disable_env_checker=True).unwrapped
    env.reset(seed=0)
    return env


def stepped(env, body, action):
    """Gymnasium's observation, reward and termination from `body`."""
    env.state, env.steps_beyond_terminated = np.asarray(body, np.float64), None
    obs, reward, terminated, _, _ = env.step(action)
    return obs, reward, terminated


def drawn_actions(action, n, rng):
    """Some of a box's are beyond its bounds."""
    if isinstance(action, Box):
        return (1.3 * rng.uniform(action.low, action.high, (n, len(action.low)))).astype(np.float32)
    return rng.integers(0, action.n, n)


@each
def test_the_backends_have_one_spec(id):
    device, host = envs.make(id, backend="device").spec, envs.make(id).spec
    for name in ("id", "obs", "action", "extras", "max_steps"):
        assert getattr(device, name) == getattr(host, name)
    assert device.version == "control 1"


@each
def test_a_step_is_gymnasiums_from_any_state(id):
    env, oracle, rng, n = envs.make(id, backend="device"), theirs(id), np.random.default_rng(0), 400
    bodies = np.float32(CENTRE.get(id, 0.0) + np.array(REACH[id]) * rng.uniform(-1, 1, (n, len(REACH[id]))))
    actions = drawn_actions(env.spec.action, n, rng)
    step = jax.jit(jax.vmap(env.step, in_axes=(None, 0, 0)))
    _, t = step(jax.random.key(0), State(bodies, jnp.zeros(n, jnp.int32)), actions)
    rows = [stepped(oracle, *row) for row in zip(bodies, actions, strict=True)]
    obs, reward, terminated = map(np.stack, zip(*rows, strict=True))
    np.testing.assert_allclose(t.obs, obs, atol=1e-4)
    np.testing.assert_allclose(t.reward, reward, atol=1e-4)
    np.testing.assert_array_equal(t.discount, 1.0 - terminated)
    np.testing.assert_array_equal(t.last, terminated)
    assert id == "Pendulum-v1" or 0.02 < terminated.mean() < 0.98


@each
def test_an_episode_is_gymnasiums(id):
    """Without setting Gymnasium back to our state after every step."""
    env, oracle, rng = envs.make(id, backend="device"), theirs(id), np.random.default_rng(1)
    state, _ = env.reset(jax.random.key(3), ())
    actions = drawn_actions(env.spec.action, 40, rng)
    _, t = jax.lax.scan(lambda state, action: env.step(jax.random.key(0), state, action), state, actions)
    assert (t.discount == 1).all()
    oracle.state = np.asarray(state.body, np.float64)
    for i, action in enumerate(actions):
        obs, reward, *_ = oracle.step(action)
        np.testing.assert_allclose(t.obs[i], obs, atol=1e-3)
        np.testing.assert_allclose(t.reward[i], reward, atol=1e-3)


@each
def test_starts_fill_their_range(id):
    env, (low, high) = envs.make(id, backend="device"), START[id]
    states, start = jax.vmap(env.reset, in_axes=(0, None))(jax.random.split(jax.random.key(0), 2000), ())
    margin = 0.02 * np.subtract(high, low)
    for found, bound in ((states.body.min(0), np.array(low)), (states.body.max(0), np.array(high))):
        np.testing.assert_array_less(np.abs(found - bound), margin + 1e-6)
    assert (states.body >= np.float32(low)).all()
    assert (states.body <= np.float32(high)).all()
    assert not start.last.any()


@each
def test_a_task_is_the_state_to_start_from(id):
    env = envs.make(id, backend="device")
    body = 0.1 * jnp.arange(len(REACH[id])) - 0.5
    state, _ = env.reset(jax.random.key(0), body)
    np.testing.assert_array_equal(state.body, body)
    assert env.spec.tasks.shape == body.shape


@pytest.mark.parametrize(("angle", "discount"), [(0.0, 1), (0.3, 0)])
def test_a_limit_truncates_and_termination_wins(angle, discount):
    env = envs.make("CartPole-v1", backend="device", max_steps=1)
    state, _ = env.reset(jax.random.key(0), jnp.array([0.0, 0.0, angle, 0.0]))
    _, t = env.step(jax.random.key(0), state, jnp.int32(0))
    assert t.last
    assert t.discount == discount


def test_angles_stay_exact_over_many_turns():
    env = envs.make("Pendulum-v1", backend="device")
    state, _ = env.reset(jax.random.key(0), jnp.array([1.0, 8.0]))
    push = lambda state, _: env.step(jax.random.key(0), state, jnp.array([2.0]))  # noqa: E731
    state, t = jax.lax.scan(push, state, None, length=1000)
    assert np.abs(state.body[0]) <= np.float32(np.pi)
    assert t.reward.min() > -(np.pi**2 + 0.1 * 8**2 + 0.001 * 2**2) - 1e-3
