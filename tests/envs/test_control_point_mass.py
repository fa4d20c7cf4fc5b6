"""The point mass: its motion and reward by hand, its speed limit, and the threshold that wind puts out of reach."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs


def play(env, policy, n=64, seed=0):
    """One episode of `n` points, time first."""
    batch = envs.batch(env, n)

    def step(carry, key):
        states, obs = carry
        key_act, key_step = jax.random.split(key)
        states, t = batch.step(key_step, states, policy(key_act, obs))
        return (states, t.obs), t

    def run(key):
        key_reset, key_steps = jax.random.split(key)
        states, start = batch.reset(key_reset)
        return jax.lax.scan(step, (states, start.obs), jax.random.split(key_steps, env.spec.max_steps))[1]

    return jax.device_get(jax.jit(run)(jax.random.key(seed)))


def push(key, obs):
    return 5.0 * obs[:, 4:] - 0.2 * obs[:, 2:4]


def stand(key, obs):
    return -0.5 * obs[:, 2:4]


def wander(key, obs):
    return jax.random.uniform(key, (len(obs), 2), minval=-1.0, maxval=1.0)


def test_steps_by_hand():
    env = envs.make("PointMass-v0", speed_limit=2.0)
    state, start = env.reset(jax.random.key(0), jnp.array([0.5, -0.5]))
    np.testing.assert_allclose(start.obs, [0, 0, 0, 0, 0.5, -0.5])
    seen, costs, rewards = [], [], []
    for _ in range(2):
        state, t = env.step(jax.random.key(0), state, jnp.array([100.0, 100.0]))  # clipped to 1
        seen.append(t.obs)
        costs.append([float(t.extras[name]) for name in ("speed", "cost")])
        rewards.append(float(t.reward))
    np.testing.assert_allclose(seen[0], [0.1, 0.1, 1, 1, 0.4, -0.6], atol=1e-6)
    np.testing.assert_allclose(seen[1], [0.25, 0.25, 1.5, 1.5, 0.25, -0.75], atol=1e-6)
    np.testing.assert_allclose(rewards, [0.1**0.52, 0.1**0.625], rtol=1e-5)
    assert costs == [[0, 0], [1, 1]]  # speeds 1.41 and 2.12 m/s


def test_walls_hold_the_point():
    env = envs.make("PointMass-v0")
    state, _ = env.reset(jax.random.key(0), ())
    for _ in range(20):
        state, t = env.step(jax.random.key(0), state, jnp.array([1.0, 0.0]))
    assert t.obs[:2].tolist() == [1, 0]
    assert t.obs[2] == pytest.approx(2)


def test_it_is_solved_by_pushing_along_the_way_to_the_goal():
    t = play(envs.make("PointMass-v0"), push)
    assert t.extras["success"][-1].all()
    assert t.last[-1].all()
    assert not t.last[:-1].any()
    assert (t.discount == 1).all()
    assert t.reward.sum(0).mean() > 45
    assert play(envs.make("PointMass-v0"), wander).reward.sum(0).mean() < 25
    square = np.square(t.next_obs[..., 4:]).sum(-1)
    np.testing.assert_allclose(t.reward, 0.1**square, rtol=1e-4)
    np.testing.assert_array_equal(t.extras["success"], square < 0.01)


def test_reward_and_limit_pull_apart():
    """Slower is allowed and pays less; standing still costs nothing and pays least."""
    env = envs.make("PointMass-v0", speed_limit=0.5)

    def slowly(key, obs):  # 0.25 m/s at most in each direction leaves a speed of 0.5 m/s in each at most
        return jnp.clip(push(key, obs), -0.17, 0.17)

    results = [(t.reward.sum(0).mean(), t.extras["cost"].mean()) for t in (play(env, p) for p in (push, slowly, stand))]
    (fast, much), (slow, none), (still, nothing) = results
    assert fast > slow + 2 > still + 5
    assert much > 0.05
    assert none == nothing == 0


@pytest.mark.parametrize("policy", [push, stand, wander])
def test_wind_puts_a_threshold_out_of_reach_and_standing_still_just_reaches_it(policy):
    limit, wind = 0.5, 0.3
    bound = np.exp(-((limit / wind) ** 2) / 2)
    mean = play(envs.make("PointMass-v0", speed_limit=limit, wind=wind), policy, n=400).extras["cost"].mean()
    if policy is stand:
        assert mean == pytest.approx(bound, abs=0.01)
    else:
        assert mean > bound + 0.02


def test_without_a_limit_there_is_no_cost():
    assert set(envs.make("PointMass-v0").spec.extras) == {"success"}
    assert set(envs.make("PointMass-v0", speed_limit=1.0).spec.extras) == {"success", "speed", "cost"}
