"""`batch`: where episodes end and begin anew, proved with the scripted counting environment."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.batch import batch, select
from envs.contract import Array, Discrete, Env, EnvSpec, TimeStep
from envs.errors import UsageError
from envs.toys import make

STEPS = 13


def roller(batch_, steps=STEPS):
    """`(key) -> (TimeStep, TimeSteps)`, jitted: the first one and `steps` more, time first, with actions 0."""

    def run(key):
        key_reset, key_steps = jax.random.split(key)
        states, start = batch_.reset(key_reset)
        actions = jnp.zeros((batch_.n,), jnp.int32)
        step = lambda states, key: batch_.step(key, states, actions)  # noqa: E731
        return start, jax.lax.scan(step, states, jax.random.split(key_steps, steps))[1]

    return jax.jit(run)


def roll(batch_, key, steps=STEPS):
    return jax.device_get(roller(batch_, steps)(key))


def test_ends_are_where_the_script_puts_them():
    """Scripts `(terminate, limit)`, 0 for never, with the length and the last discount of the episodes they make."""
    cases = [((3, 5), 3, 0), ((5, 2), 2, 1), ((4, 4), 4, 0), ((1, 1), 1, 0), ((0, 6), 6, 1), ((0, 0), 99, 1)]
    env = make("Counting-device-v0")

    def scripted(key, script):
        return roller(batch(env, 3, tasks=lambda key: script))(key)

    keys, scripts = jax.random.split(jax.random.key(0), len(cases)), jnp.array([script for script, _, _ in cases])
    streams = jax.device_get(jax.jit(jax.vmap(scripted))(keys, scripts))
    for case, (_, length, discount) in enumerate(cases):
        start, t = jax.tree.map(lambda x, case=case: x[case], streams)
        assert not start.last.any()
        assert (start.discount == 1).all()
        np.testing.assert_array_equal(start.obs, start.next_obs)

        tag = start.obs[:, 0]
        for i in range(STEPS):
            count = i % length + 1
            ended = count == length
            np.testing.assert_array_equal(t.last[i], np.full(3, ended))
            np.testing.assert_array_equal(t.discount[i], np.full(3, discount if ended else 1))
            np.testing.assert_array_equal(t.reward[i], np.full(3, count))
            np.testing.assert_array_equal(t.next_obs[i], np.stack([tag, np.full(3, count)], axis=1))
            np.testing.assert_array_equal(t.extras["next_tag"][i], tag)
            np.testing.assert_array_equal(t.extras["length"][i], np.full(3, count))
            if ended:
                assert (t.obs[i, :, 0] != tag).all()
                tag = t.obs[i, :, 0]
            np.testing.assert_array_equal(t.obs[i], np.stack([tag, np.full(3, 0 if ended else count)], axis=1))
            np.testing.assert_array_equal(t.extras["tag"][i], tag)


def test_the_same_key_gives_the_same_stream_and_seeds_may_be_vmapped():
    run = roller(batch(make("Counting-device-v0", terminate=1), 8))
    keys = jax.random.split(jax.random.key(2), 2)
    together, alone, again = jax.device_get((jax.vmap(run)(keys), run(keys[1]), run(keys[1])))
    jax.tree.map(lambda many, one: np.testing.assert_array_equal(many[1], one), together, alone)
    jax.tree.map(np.testing.assert_array_equal, alone, again)
    tags = np.concatenate([together[0].obs[..., None, :, 0], together[1].obs[..., 0]], axis=1)
    assert len(np.unique(tags)) > 0.8 * tags.size


def test_tasks_are_drawn_for_every_episode_and_environment():
    def means(key):
        return jax.random.uniform(key, (2,))

    start, t = roll(batch(make("Bandit-v0", arms=2, noise=0.0), 16, tasks=means), jax.random.key(3))
    assert start.obs.shape == (16, 1)
    assert len(np.unique(t.reward)) == STEPS * 16
    assert (t.reward >= 0).all()
    assert (t.reward < 1).all()


def with_refill(env: Env) -> Env:
    """Fresh episodes of tag `-data - place in the batch`."""

    def refill(key, states, timestep, data):
        ended = timestep.last
        tag = jnp.where(ended, -data - jnp.arange(ended.shape[0]), states.tag)
        states = states._replace(tag=tag, time=jnp.where(ended, 0, states.time))
        obs = jnp.where(ended[:, None], jnp.stack([tag, jnp.zeros_like(tag)], axis=1), timestep.obs)
        return states, timestep._replace(obs=obs, extras={**timestep.extras, "tag": tag})

    return env._replace(refill=refill, data=jnp.float32(1))


def test_refill_gives_new_episodes_only_where_one_ended():
    start, t = roll(batch(with_refill(make("Counting-device-v0", terminate=3)), 2), jax.random.key(4))
    np.testing.assert_array_equal(t.next_obs[2], np.stack([start.obs[:, 0], [3, 3]], axis=1))
    np.testing.assert_array_equal(t.obs[2], [[-1, 0], [-2, 0]])
    np.testing.assert_array_equal(t.extras["tag"][2], [-1, -2])
    np.testing.assert_array_equal(t.extras["next_tag"][2], start.obs[:, 0])
    np.testing.assert_array_equal(t.next_obs[3], [[-1, 1], [-2, 1]])
    assert np.isfinite(t.obs).all()


def test_a_refill_knows_no_tasks_and_gives_way_to_them():
    env = with_refill(make("Counting-device-v0", terminate=3))
    _, t = roll(batch(env, 2, tasks=lambda key: jnp.array([2, 0])), jax.random.key(4))
    assert (t.obs >= 0).all()


def test_a_refills_states_are_taken_as_they_are():
    """What a refill leaves in place is its own business: a selection over all states would copy every grid."""

    def refill(key, states, timestep, data):
        return states._replace(tag=states.tag + 1000.0), timestep

    _, t = roll(batch(make("Counting-device-v0", limit=0, terminate=0)._replace(refill=refill), 2), jax.random.key(4))
    np.testing.assert_array_equal(t.obs[:, :, 0] // 1000, np.broadcast_to(np.arange(STEPS)[:, None], (STEPS, 2)))


def banked(env: Env) -> Env:
    """Episodes of the lengths that stand in a bank."""
    bank = jnp.array([[2, 0], [4, 0]])
    return env._replace(data=bank, draw=lambda key, data: data[jax.random.randint(key, (), 0, len(data))])


def test_the_task_of_every_episode_is_drawn_out_of_the_data():
    many = batch(banked(make("Counting-device-v0")), 16)
    _, t = roll(many, jax.random.key(4), steps=40)
    assert set(np.unique(t.extras["length"][t.last])) == {2, 4}


def test_the_data_is_an_argument_and_no_constant():
    env = banked(make("Counting-device-v0"))
    many = batch(env, 16)
    key, actions = jax.random.key(4), jnp.zeros(16, jnp.int32)
    step = jax.jit(lambda states, data: many.step(key, states, actions, data))
    states, _ = jax.jit(many.reset)(key, env.data)
    other = jnp.array([[1, 0], [1, 0]])
    ones, _ = jax.jit(many.reset)(key, other)
    assert not step(states, env.data)[1].last.any()
    assert step(ones, other)[1].last.all()
    assert step._cache_size() == 1
    poisoned = batch(env._replace(data=None), 16)  # whatever reads the environment's own now fails
    jax.tree.map(np.testing.assert_array_equal, poisoned.reset(key, env.data), many.reset(key))
    jax.tree.map(
        np.testing.assert_array_equal,
        poisoned.step(key, states, actions, env.data),
        many.step(key, states, actions),
    )


def test_tasks_given_win_over_those_of_the_environment():
    many = batch(banked(make("Counting-device-v0")), 3, tasks=lambda key: jnp.array([1, 0]))
    assert roll(many, jax.random.key(4))[1].last.all()


def test_ends_need_not_coincide():
    """Episodes of length `i + 1` in environment `i`, by a task kept in the state."""

    def reset(key, task):
        obs = jnp.stack([task, 0])
        return obs, TimeStep(obs, jnp.float32(0), jnp.float32(1), jnp.bool_(False), obs, {})

    def step(key, state, action):
        obs = state.at[1].add(1)
        last = obs[1] > obs[0]
        return obs, TimeStep(obs, jnp.float32(1), 1 - last.astype(jnp.float32), last, obs, {})

    spec = EnvSpec("Lengths", "test", Array((2,), "int32"), Discrete(2), tasks=Array((), "int32"))
    lengths = batch(Env(spec, reset, step), 32, tasks=lambda key: jax.random.randint(key, (), 0, 4))
    start, t = roll(lengths, jax.random.key(5), steps=40)
    obs, next_obs, last = t.obs, t.next_obs, t.last
    before = np.concatenate([start.obs[None], obs[:-1]])
    np.testing.assert_array_equal(next_obs - before, np.broadcast_to([0, 1], obs.shape))
    np.testing.assert_array_equal(last, next_obs[..., 1] > next_obs[..., 0])
    np.testing.assert_array_equal(obs[~last], next_obs[~last])
    assert (obs[last][:, 1] == 0).all()
    assert 0 < last.mean() < 1


def test_several_agents_end_together():
    """Agent 0 is done after one step, agent 1 after two; the episode is over when both are."""

    def reset(key, task):
        obs = jnp.zeros((2, 1))
        return jnp.int32(0), TimeStep(obs, jnp.zeros(2), jnp.ones(2), jnp.zeros(2, bool), obs, {})

    def step(key, state, action):
        state = state + 1
        obs = jnp.full((2, 1), state, jnp.float32)
        last = state >= jnp.array([1, 2])
        return state, TimeStep(obs, jnp.zeros(2), 1.0 - last, last, obs, {})

    spec = EnvSpec("Pair", "test", Array((1,), "float32"), Discrete(2), agents=2)
    _, t = roll(batch(Env(spec, reset, step), 3), jax.random.key(6), steps=4)
    np.testing.assert_array_equal(t.obs[:, 0, :, 0], [[1, 1], [0, 0], [1, 1], [0, 0]])
    np.testing.assert_array_equal(t.next_obs[:, 0, :, 0], [[1, 1], [2, 2], [1, 1], [2, 2]])


def test_states_may_hold_keys():
    def reset(key, task):
        obs = jax.random.uniform(key)
        return key, TimeStep(obs, jnp.float32(0), jnp.float32(1), jnp.bool_(False), obs, {})

    def step(key, state, action):
        state, key = jax.random.split(state)
        obs = jax.random.uniform(key)
        return state, TimeStep(obs, obs, jnp.float32(0), obs < 0.5, obs, {})

    env = Env(EnvSpec("Keyed", "test", Array((), "float32"), Discrete(2)), reset, step)
    _, t = roll(batch(env, 4), jax.random.key(7))
    np.testing.assert_array_equal(t.obs != t.next_obs, t.last)
    assert len(np.unique(t.next_obs)) == STEPS * 4


def test_select_broadcasts_the_mask_over_every_leaf():
    new = {"a": jnp.ones((2, 3, 4)), "b": jnp.ones(2)}
    chosen = select(jnp.array([True, False]), new, jax.tree.map(jnp.zeros_like, new))
    np.testing.assert_array_equal(chosen["a"].sum(axis=(1, 2)), [12, 0])
    np.testing.assert_array_equal(chosen["b"], [1, 0])


def test_an_empty_batch_is_refused():
    with pytest.raises(UsageError, match="at least one environment"):
        batch(make("Counting-device-v0"), 0)
