"""Delays: traces by hand, NumPy twins over whole streams, and what happens at the ends of episodes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.batch import batch
from envs.contract import Array, Box, Discrete, EnvSpec, MultiDiscrete, TimeStep
from envs.errors import UsageError
from envs.registry import make
from envs.wrappers import chain, delay_action, delay_obs, delay_reward, parse

SPEC = EnvSpec("Twin-v0", "test", {"image": Array((2, 3), "uint8", 0, 255), "place": Array((), "float32")}, Discrete(9))


def stream(seed=0, steps=40, n=3, p=0.15):
    """A reset and `steps` steps of random data `[steps + 1, n, ...]` that follow the rules of TimeStep."""
    rng = np.random.default_rng(seed)
    last = rng.random((steps + 1, n)) < p
    last[0] = False

    def draw(array):
        return rng.integers(0, 256, (steps + 1, n, *array.shape)).astype(array.dtype)

    next_obs, fresh = (jax.tree.map(draw, SPEC.obs) for _ in range(2))
    mask = lambda x: last.reshape(last.shape + (1,) * (x.ndim - 2))  # noqa: E731
    obs = jax.tree.map(lambda new, old: np.where(mask(new), new, old), fresh, next_obs)
    reward = rng.integers(-9, 10, (steps + 1, n)).astype(np.float32)
    reward[0] = 0
    return TimeStep(obs, reward, np.ones_like(reward), last, next_obs, {})


def run(wrapper, timesteps, state=None, evaluate=False, spec=SPEC):
    """Sends a stream `[T, n, ...]` through a wrapper inside jit and scan."""
    wrapper = chain(wrapper)
    state = wrapper.init(spec, timesteps.last.shape[1]) if state is None else state
    go = jax.jit(lambda state: jax.lax.scan(lambda s, t: wrapper.timestep(s, t, evaluate), state, timesteps))
    return jax.device_get(go(state))


def counted(name, steps, length=8):
    """What is seen of one counting environment that ends after 4 steps, the reset left out."""
    env, wrapper = batch(make("Counting-device-v0", terminate=4), 1), parse(name, **{f"{name}.steps": steps})
    states, timestep = env.reset(jax.random.key(0))
    wrapped, first = wrapper.timestep(wrapper.init(env.spec, 1), timestep, False)
    assert first.obs[0, 1] == first.next_obs[0, 1] == first.reward[0] == 0
    seen = []
    for i in range(length):
        states, timestep = env.step(jax.random.key(i + 1), states, jnp.zeros(1, jnp.int32))
        wrapped, timestep = wrapper.timestep(wrapped, timestep, False)
        seen.append(jax.tree.map(lambda x: x[0], timestep))
    return jax.tree.map(lambda *x: np.stack(x), *seen)


# Observations.


def test_delay_obs_by_hand():
    """In the environment the counts are 1 2 3 4, 1 2 3 4: a new episode's 0 is the `obs` beside each 4."""
    t = counted("delay_obs", 2)
    assert t.next_obs[:, 1].tolist() == [0, 0, 1, 2, 0, 0, 1, 2]
    assert t.obs[:, 1].tolist() == [0, 0, 1, 0, 0, 0, 1, 0]
    assert t.obs[3, 0] != t.next_obs[3, 0]  # of two episodes
    assert t.last.tolist() == [False, False, False, True] * 2
    assert t.reward.tolist() == [1, 2, 3, 4] * 2


def delayed_twin(obs, next_obs, last, steps):
    """The delayed `obs` and `next_obs` of one environment `[T, ...]`, out of the list of what its episode showed."""
    seen, obs_out, next_out = [obs[0]] * steps, [], []
    for i in range(len(last)):
        seen.append(next_obs[i])
        next_out.append(seen[-1 - steps])
        if last[i]:
            seen = [obs[i]] * (steps + 1)
        obs_out.append(seen[-1 - steps])
    return np.stack(obs_out), np.stack(next_out)


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("evaluate", [False, True])
def test_delay_obs_agrees_with_its_twin(steps, evaluate):
    t = stream()
    assert t.last.sum() > 10
    _, out = run(delay_obs(steps), t, evaluate=evaluate)
    for name, array in SPEC.obs.items():
        assert out.obs[name].dtype == array.dtype
        for i in range(3):
            obs, next_obs = delayed_twin(t.obs[name][:, i], t.next_obs[name][:, i], t.last[:, i], steps)
            np.testing.assert_array_equal(out.obs[name][:, i], obs)
            np.testing.assert_array_equal(out.next_obs[name][:, i], next_obs)
    for before, after in zip(t._replace(obs=(), next_obs=()), out._replace(obs=(), next_obs=()), strict=True):
        np.testing.assert_equal(after, before)


def test_what_diverged_is_not_seen_later():
    broken = np.array([0.0, 1.0, np.nan, 7.0, 8.0, 9.0], np.float32)
    obs = np.array([0.0, 1.0, 6.0, 7.0, 8.0, 9.0], np.float32)
    last = np.arange(6) == 2
    t = TimeStep(obs[:, None], np.zeros((6, 1)), np.ones((6, 1)), last[:, None], broken[:, None], {})
    _, out = run(delay_obs(2), t, spec=dataclasses.replace(SPEC, obs=Array((), "float32")))
    assert out.next_obs[:, 0].tolist() == [0, 0, 0, 6, 6, 7]
    assert out.obs[:, 0].tolist() == [0, 0, 6, 6, 6, 7]


# Rewards.


def test_delay_reward_by_hand():
    """An episode of four steps pays 1, 2, 3, 4; whatever is owed at its end is paid there."""
    for steps, paid in ((1, [0, 1, 2, 3 + 4]), (2, [0, 0, 1, 2 + 3 + 4]), (9, [0, 0, 0, 10])):
        t = counted("delay_reward", steps)
        assert t.reward.tolist() == paid * 2
        assert t.extras["raw_reward"].tolist() == [1, 2, 3, 4] * 2
        assert t.obs[:, 1].tolist() == [1, 2, 3, 0] * 2


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("evaluate", [False, True])
def test_delay_reward_loses_nothing_and_pays_nothing_early(steps, evaluate):
    t = stream(seed=1)
    state, out = run(delay_reward(steps), t, evaluate=evaluate)
    for i in range(3):
        begin = 0
        for end in [*np.flatnonzero(t.last[:, i]), len(t.last) - 1]:
            own, paid = t.reward[begin : end + 1, i], out.reward[begin : end + 1, i]
            late = np.concatenate([np.zeros(steps, np.float32), own])
            np.testing.assert_array_equal(paid[:-1], late[: len(own) - 1])
            owed = 0 if t.last[end, i] else state.each[0][i].sum()
            assert paid.sum() + owed == own.sum()
            begin = end + 1


def test_raw_reward_stays_that_of_the_environment_and_agents_are_paid_apart():
    t = stream()
    _, out = run(parse("multiply_reward+delay_reward", **{"multiply_reward.factor": 2.0}), t)
    np.testing.assert_array_equal(out.extras["raw_reward"], t.reward)
    two = dataclasses.replace(SPEC, agents=2)
    pair = jax.tree.map(lambda x: np.stack([x, x], axis=2), t)
    pair.reward[..., 1] *= 3
    _, both = run(chain(delay_reward(2), delay_obs(2)), pair, spec=two)
    _, one = run(chain(delay_reward(2), delay_obs(2)), t)
    np.testing.assert_array_equal(both.reward, one.reward[..., None] * [1, 3])
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(x[:, :, 1], y), both.next_obs, one.next_obs)


# Actions.


def executed(steps, spec, actions, last):
    """What is executed of `actions` `[T, n, ...]`, an episode ending after each step with `last`."""
    wrapper = chain(delay_action(steps))
    blank = TimeStep(jnp.zeros(last.shape[1]), None, None, None, jnp.zeros(last.shape[1]), {})

    def step(state, x):
        state, action = wrapper.action(jax.random.key(0), state, x[0])
        state, _ = wrapper.timestep(state, blank._replace(last=x[1]), False)
        return state, action

    state = wrapper.init(spec, last.shape[1])
    return np.asarray(jax.jit(lambda s: jax.lax.scan(step, s, (actions, last)))(state)[1])


def test_delay_action_by_hand():
    actions, last = np.arange(8, dtype=np.int32)[:, None], np.zeros((8, 1), bool)
    last[4] = True
    assert executed(1, SPEC, actions, last)[:, 0].tolist() == [0, 0, 1, 2, 3, 5, 5, 6]
    assert executed(2, SPEC, actions, last)[:, 0].tolist() == [0, 0, 0, 1, 2, 5, 5, 5]
    assert executed(9, SPEC, actions, last)[:, 0].tolist() == [0] * 5 + [5] * 3


@pytest.mark.parametrize("action", [Discrete(99), MultiDiscrete((99, 99)), Box((0.0,) * 3, (99.0,) * 3)])
def test_delay_action_agrees_with_its_twin(action):
    rng, shape = np.random.default_rng(0), {Discrete: (), MultiDiscrete: (2,), Box: (3,)}[type(action)]
    wanted = rng.integers(0, 99, (50, 4, *shape)).astype(np.float32 if isinstance(action, Box) else np.int32)
    last = rng.random((50, 4)) < 0.15
    done = executed(3, dataclasses.replace(SPEC, action=action), wanted, last)
    assert done.dtype == wanted.dtype
    for i in range(4):
        begin = 0
        for step in range(50):
            np.testing.assert_array_equal(done[step, i], wanted[max(begin, step - 3), i])
            begin = step + 1 if last[step, i] else begin


@pytest.mark.parametrize("name", ["delay_action", "delay_obs", "delay_reward"])
def test_a_delay_is_a_whole_number_of_steps(name):
    for steps in (0, -1, 1.5, True):
        with pytest.raises(UsageError, match=f"{name}.steps must be a whole number of at least 1, but is {steps}"):
            parse(name, **{f"{name}.steps": steps})
