"""Wrappers: NumPy twins over whole streams, nothing learnt in evaluation, nothing carried over an episode's end."""

import dataclasses

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from envs.batch import batch, select
from envs.contract import Array, Box, Discrete, Env, EnvSpec, MultiDiscrete, TimeStep
from envs.errors import UsageError
from envs.registry import make
from envs.wrappers import (
    WRAPPERS,
    Wrapper,
    WrapperState,
    action_repeat,
    chain,
    clip_action,
    frame_stack,
    normalize_obs,
    one_hot_obs,
    parse,
    rescale_action,
    scale_reward,
    sticky_actions,
    time_limit,
)
from envs.wrappers.statistics import merge, moments

SPEC = EnvSpec(
    "Twin-v0",
    "test",
    {"image": Array((2, 3), "uint8", 0, 255), "vector": Array((4,), "float32"), "where": Array((), "int32", 2, 6)},
    Discrete(3),
)


def stream(seed=0, steps=30, n=3, spec=SPEC, p=0.2):
    """A reset and `steps` steps of random data `[steps + 1, n, ...]` that follow the rules of TimeStep."""
    rng = np.random.default_rng(seed)

    def draw(array):
        shape = (steps + 1, n, *array.shape)
        if array.dtype == "float32":
            return rng.normal(3.0, 5.0, shape).astype(np.float32)
        return rng.integers(array.low, array.high + 1, shape).astype(array.dtype)

    last = rng.random((steps + 1, n)) < p
    last[0] = False
    next_obs, fresh = (jax.tree.map(draw, spec.obs) for _ in range(2))
    mask = lambda x: last.reshape(last.shape + (1,) * (x.ndim - 2))  # noqa: E731
    obs = jax.tree.map(lambda new, old: np.where(mask(new), new, old), fresh, next_obs)
    reward = rng.normal(1.0, 3.0, (steps + 1, n)).astype(np.float32)
    reward[0] = 0
    discount = np.where(last & (rng.random(last.shape) < 0.5), 0, 1).astype(np.float32)
    return TimeStep(obs, reward, discount, last, next_obs, {})


def run(wrapper, timesteps, spec=SPEC, state=None, evaluate=False):
    """Sends a stream `[T, n, ...]` through a wrapper inside jit and scan."""
    state = state or wrapper.init(spec, timesteps.last.shape[1])
    go = jax.jit(lambda state: jax.lax.scan(lambda s, t: wrapper.timestep(s, t, evaluate), state, timesteps))
    return jax.device_get(go(state))


# Statistics.


@settings(max_examples=30, deadline=None)
@given(arrays(np.float32, (12, 2), elements=st.floats(-100, 100, width=32)), st.permutations([1, 1, 3, 7]))
def test_merging_in_pieces_is_seeing_all_at_once(data, sizes):
    stats = moments((2,))
    for piece in np.split(data, np.cumsum(sizes)[:-1]):
        stats = jax.jit(merge)(stats, piece)
    np.testing.assert_allclose(stats.mean, data.mean(axis=0, dtype=np.float64), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(stats.var, data.var(axis=0, dtype=np.float64), rtol=1e-3, atol=1e-2)
    assert stats.seen == 12


def test_merge_keeps_a_small_spread_around_a_large_mean():
    data = np.random.default_rng(0).normal(1000.0, 0.1, (2000, 8)).astype(np.float32)
    stats, _ = jax.lax.scan(lambda m, x: (merge(m, x), None), moments(()), jnp.asarray(data))
    assert stats.mean == pytest.approx(data.mean(dtype=np.float64), rel=1e-6)
    assert stats.var == pytest.approx(data.var(dtype=np.float64), rel=0.02)


def test_normalize_obs_knows_mean_and_variance_of_every_obs():
    t = stream()
    state, out = run(normalize_obs(), t)
    (stats,) = (s for s in state.shared if s is not None)
    data = t.obs["vector"].astype(np.float64)
    np.testing.assert_allclose(stats.mean, data.mean(axis=(0, 1)), rtol=1e-5)
    np.testing.assert_allclose(stats.var, data.var(axis=(0, 1)), rtol=1e-4)
    for i in (0, 5, len(data) - 1):
        mean, spread = data[: i + 1].mean(axis=(0, 1)), np.sqrt(data[: i + 1].var(axis=(0, 1)) + 1e-8)
        for true, got in ((t.obs, out.obs), (t.next_obs, out.next_obs)):
            expected = np.clip((true["vector"][i] - mean) / spread, -10, 10)
            np.testing.assert_allclose(got["vector"][i], expected, atol=1e-3)
            np.testing.assert_array_equal(got["image"][i], true["image"][i])
            np.testing.assert_array_equal(got["where"][i], true["where"][i])


def test_normalize_obs_agrees_with_gymnasium():
    t = stream(seed=3)
    state, _ = run(normalize_obs(), t)
    theirs = gymnasium.wrappers.utils.RunningMeanStd(epsilon=1e-10, shape=(4,))
    for obs in t.obs["vector"]:
        theirs.update(obs)
    (ours,) = (s for s in state.shared if s is not None)
    np.testing.assert_allclose(ours.mean, theirs.mean, rtol=1e-5)
    np.testing.assert_allclose(ours.var, theirs.var, rtol=1e-4)


def test_normalize_obs_clips():
    t = stream()
    _, out = run(normalize_obs(clip=0.5), t)
    assert np.abs(out.obs["vector"]).max() == 0.5
    assert normalize_obs(clip=0.5).spec(SPEC).obs["vector"] == Array((4,), "float32", -0.5, 0.5)


def test_normalize_obs_before_it_has_seen_anything_changes_nothing():
    t = stream(steps=4)
    small = t._replace(obs={**t.obs, "vector": np.full((5, 3, 4), 0.25, np.float32)})
    _, out = run(normalize_obs(), small, evaluate=True)
    np.testing.assert_allclose(out.obs["vector"], 0.25, rtol=1e-6)


def returns(t, gamma):
    """Every discounted return `[T, n]` of a stream, reset left out, and what remains after the last step."""
    value, all_values = np.zeros(t.reward.shape[1]), []
    for reward, last in zip(t.reward[1:], t.last[1:], strict=True):
        value = gamma * value + reward
        all_values.append(value)
        value = np.where(last, 0.0, value)
    return np.array(all_values), value


def test_scale_reward_divides_by_the_spread_of_the_return():
    t = stream(seed=1)
    state, out = run(scale_reward(gamma=0.9), t)
    values, remaining = returns(t, 0.9)
    assert state.shared.var == pytest.approx(values.var(), rel=1e-4)
    assert state.shared.seen == values.size
    np.testing.assert_allclose(state.each.value, remaining, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(out.extras["raw_reward"], t.reward)
    for i in (1, 7, 30):
        spread = np.sqrt(values[:i].var() + 1e-8)
        np.testing.assert_allclose(out.reward[i], np.clip(t.reward[i] / spread, -10, 10), rtol=1e-4)
    assert (out.reward[0] == 0).all()


def test_scale_reward_forgets_the_return_at_an_end():
    t = stream(seed=2)
    t.last[10] = True
    state, _ = run(scale_reward(gamma=1.0), jax.tree.map(lambda x: x[:11], t))
    assert (state.each.value == 0).all()


def test_raw_reward_stays_that_of_the_environment():
    t = stream()
    _, out = run(chain(scale_reward(), scale_reward()), t)
    np.testing.assert_array_equal(out.extras["raw_reward"], t.reward)


@pytest.mark.parametrize("wrapper", [normalize_obs(), scale_reward()], ids=lambda w: w.name)
def test_statistics_are_frozen_in_evaluation(wrapper):
    trained, _ = run(wrapper, stream(seed=1))
    other = jax.tree.map(lambda x: x * 3 if np.issubdtype(np.asarray(x).dtype, np.floating) else x, stream(seed=2))
    begun = WrapperState(trained.shared, wrapper.init(SPEC, 3).each)
    after, out = run(wrapper, other, state=begun, evaluate=True)
    jax.tree.map(np.testing.assert_array_equal, after.shared, trained.shared)
    stats = next(s for s in jax.tree.leaves(trained.shared, is_leaf=lambda x: hasattr(x, "seen")))
    spread = np.sqrt(stats.var + 1e-8)
    if wrapper.name == "scale_reward":
        np.testing.assert_allclose(out.reward, np.clip(other.reward / spread, -10, 10), rtol=1e-4)
    else:
        expected = np.clip((other.obs["vector"] - stats.mean) / spread, -10, 10)
        np.testing.assert_allclose(out.obs["vector"], expected, atol=1e-4)
    moved, _ = run(wrapper, other, state=begun)
    assert not np.allclose(jax.tree.leaves(moved.shared)[1], jax.tree.leaves(trained.shared)[1])


# Observations.


def stacked_twin(t, k):
    """Frame stacks of one array `[T, n, ...]`, kept as lists of frames."""
    obs_out, next_out = [], []
    for i in range(t.last.shape[1]):
        frames: list = []
        for step in range(len(t.last)):
            new = np.atleast_1d(t.next_obs[step, i])
            frames = [new] * k if step == 0 else [*frames[1:], new]
            next_out.append(np.concatenate(frames, axis=-1))
            if t.last[step, i]:
                frames = [np.atleast_1d(t.obs[step, i])] * k
            obs_out.append(np.concatenate(frames, axis=-1))
    shape = (t.last.shape[1], len(t.last))
    return tuple(np.stack(x).reshape(*shape, *x[0].shape).swapaxes(0, 1) for x in (obs_out, next_out))


@pytest.mark.parametrize("k", [1, 2, 4])
def test_frame_stack_shows_the_last_frames_of_this_episode(k):
    t = stream(seed=4)
    assert t.last[1:].any()
    _, out = run(frame_stack(k), t)
    for name in SPEC.obs:
        obs, next_obs = stacked_twin(t._replace(obs=t.obs[name], next_obs=t.next_obs[name]), k)
        np.testing.assert_array_equal(out.obs[name], obs)
        np.testing.assert_array_equal(out.next_obs[name], next_obs)


def test_frame_stack_across_an_end_of_the_counting_environment():
    env = batch(make("Counting-device-v0", terminate=3), 1)
    stack = frame_stack(2)
    states, timestep = env.reset(jax.random.key(0))
    wrapped, _ = stack.timestep(stack.init(env.spec, 1), timestep, False)
    rows = []
    for i in range(4):
        states, timestep = env.step(jax.random.key(i + 1), states, jnp.zeros(1, jnp.int32))
        wrapped, out = stack.timestep(wrapped, timestep, False)
        rows.append((out.obs[0, 1::2].tolist(), out.next_obs[0, 1::2].tolist()))
    assert rows == [([0, 1], [0, 1]), ([1, 2], [1, 2]), ([0, 0], [2, 3]), ([0, 1], [0, 1])]


def test_one_hot_obs_encodes_integer_scalars_with_bounds():
    t = stream()
    _, out = run(one_hot_obs(), t)
    assert one_hot_obs().spec(SPEC).obs["where"] == Array((5,), "float32", 0.0, 1.0)
    np.testing.assert_array_equal(out.obs["where"], np.eye(5, dtype=np.float32)[t.obs["where"] - 2])
    np.testing.assert_array_equal(out.next_obs["where"], np.eye(5, dtype=np.float32)[t.next_obs["where"] - 2])
    np.testing.assert_array_equal(out.obs["image"], t.obs["image"])


# Actions.

BOX = dataclasses.replace(SPEC, action=Box((-2.0, 0.0), (2.0, 1.0)))


def act(wrapper, spec, action):
    wrapper = chain(wrapper)
    return wrapper.action(jax.random.key(0), wrapper.init(spec, len(action)), jnp.asarray(action))[1]


def test_clip_action_moves_to_the_box():
    np.testing.assert_array_equal(act(clip_action(), BOX, [[-3.0, 0.5], [1.0, 7.0]]), [[-2.0, 0.5], [1.0, 1.0]])
    assert chain(clip_action()).spec(BOX) == BOX


def test_rescale_action_stretches_the_unit_box():
    np.testing.assert_allclose(act(rescale_action(), BOX, [[-1.0, 1.0], [0.0, 0.0]]), [[-2.0, 1.0], [0.0, 0.5]])
    assert rescale_action().spec(BOX).action == Box((-1.0, -1.0), (1.0, 1.0))


def test_the_first_named_is_nearest_to_the_environment():
    outside = [[-3.0, 3.0]]
    np.testing.assert_allclose(act(chain(rescale_action(), clip_action()), BOX, outside), [[-2.0, 1.0]])
    np.testing.assert_allclose(act(chain(clip_action(), rescale_action()), BOX, outside), [[-2.0, 1.0]])
    stacked = chain(frame_stack(2), normalize_obs()).spec(SPEC).obs["vector"]
    assert stacked == Array((8,), "float32", -10.0, 10.0)
    encoded_first = chain(one_hot_obs(), normalize_obs()).init(SPEC, 1).shared[1]
    assert [stats is None for stats in encoded_first] == [True, False, False]


def sticky_stream(p, spec, actions, last, key=0):
    """What the environment executes for `actions` `[T, n, ...]`, an episode ending after each step with `last`."""
    wrapper = chain(sticky_actions(p))
    blank = TimeStep(jnp.zeros(last.shape[1]), None, None, None, jnp.zeros(last.shape[1]), {})

    def step(state, x):
        key, action, last = x
        state, executed = wrapper.action(key, state, action)
        state, _ = wrapper.timestep(state, blank._replace(last=last), False)
        return state, executed

    keys = jax.random.split(jax.random.key(key), len(actions))
    state = wrapper.init(spec, last.shape[1])
    return np.asarray(jax.jit(lambda s: jax.lax.scan(step, s, (keys, actions, last)))(state)[1])


@pytest.mark.parametrize("action", [Discrete(1000), MultiDiscrete((1000, 1000)), Box((0.0,) * 3, (1000.0,) * 3)])
def test_sticky_actions_repeat_the_executed_action_within_an_episode(action):
    rng = np.random.default_rng(0)
    n, shape = 8, {Discrete: (), MultiDiscrete: (2,), Box: (3,)}[type(action)]
    dtype = np.float32 if isinstance(action, Box) else np.int32
    wanted = rng.integers(0, 1000, (400, n, *shape)).astype(dtype)
    last = rng.random((400, n)) < 0.1
    done = sticky_stream(0.25, dataclasses.replace(SPEC, action=action), wanted, last)
    assert done.dtype == dtype
    same = (done == wanted).reshape(400, n, -1).all(-1)
    repeated = (done[1:] == done[:-1]).reshape(399, n, -1).all(-1)
    assert same[0].all()
    assert same[1:][last[:-1]].all()
    assert (same[1:] | repeated).all()
    assert (~same[1:])[~last[:-1]].mean() == pytest.approx(0.25, abs=0.04)


def test_sticky_actions_at_the_bounds_of_p():
    wanted, last = np.arange(12, dtype=np.int32).reshape(6, 2), np.zeros((6, 2), bool)
    last[2] = True
    np.testing.assert_array_equal(sticky_stream(0.0, SPEC, wanted, last), wanted)
    np.testing.assert_array_equal(sticky_stream(1.0, SPEC, wanted, last)[:, 0], [0, 0, 0, 6, 6, 6])


# Composition.


def loop(env, wrapper, n=3, steps=8):
    """`(key) -> (TimeStep, TimeSteps)`, jitted: the stream that an agent with random actions sees."""
    batched, spec = batch(env, n), wrapper.spec(env.spec)

    def step(carry, key):
        states, wrapped = carry
        key_act, key_wrap, key_step = jax.random.split(key, 3)
        if isinstance(spec.action, Box):
            action = jax.random.uniform(key_act, (n, len(spec.action.low)), minval=-1.0)
        else:
            action = jax.random.randint(key_act, (n,), 0, spec.action.n)
        wrapped, action = wrapper.action(key_wrap, wrapped, action)
        states, timestep = batched.step(key_step, states, action)
        wrapped, timestep = wrapper.timestep(wrapped, timestep, False)
        return (states, wrapped), timestep

    def episodes(key):
        key_reset, key_steps = jax.random.split(key)
        states, start = batched.reset(key_reset)
        wrapped, start = wrapper.timestep(wrapper.init(env.spec, n), start, False)
        return start, jax.lax.scan(step, (states, wrapped), jax.random.split(key_steps, steps))[1]

    return jax.jit(episodes)


@pytest.mark.parametrize("name", sorted(WRAPPERS))
def test_every_wrapper_gives_what_its_spec_says(name):
    env = make("PointMass-v0")
    if name == "one_hot_obs":  # No toy has an integer to encode: here the point is blind to all but its step.
        see = lambda out: (out[0], out[1]._replace(obs=out[0].time, next_obs=out[0].time))  # noqa: E731
        spec = dataclasses.replace(env.spec, obs=Array((), "int32", 0, 50))
        env = Env(spec, lambda *args: see(env_reset(*args)), lambda *args: see(env_step(*args)))
        env_reset, env_step = make("PointMass-v0").reset, make("PointMass-v0").step
    wrapper = parse(name)
    spec = wrapper.spec(env.spec)
    start, t = jax.eval_shape(loop(env, wrapper), jax.random.key(0))
    for timestep, lead in ((start, (3,)), (t, (8, 3))):
        assert timestep.extras.keys() == spec.extras.keys()
        promised = [(spec.obs, timestep.obs), (spec.obs, timestep.next_obs)]
        promised += [(spec.extras[name], timestep.extras[name]) for name in spec.extras]
        for array, values in promised:
            assert values.shape == lead + array.shape
            assert values.dtype == array.dtype
        assert timestep.reward.shape == timestep.last.shape == lead


def test_a_whole_chain_is_the_same_alone_and_vmapped_over_seeds():
    env = make("PointMass-v0", max_steps=3)
    wrapper = parse("sticky_actions+clip_action+rescale_action+frame_stack+normalize_obs+scale_reward")
    keys = jax.random.split(jax.random.key(0), 2)
    alone = loop(env, wrapper)
    together, one, again = jax.device_get((jax.vmap(alone)(keys), alone(keys[1]), alone(keys[1])))
    jax.tree.map(lambda many, one: np.testing.assert_allclose(many[1], one, rtol=2e-4, atol=2e-4), together, one)
    jax.tree.map(np.testing.assert_array_equal, one, again)


def test_several_agents_are_samples_and_have_their_own_stacks():
    spec = EnvSpec("Pair-v0", "test", Array((2,), "float32"), Discrete(2), agents=2)
    rng = np.random.default_rng(0)
    obs = rng.normal(2.0, 3.0, (9, 3, 2, 2)).astype(np.float32)
    last, reward = np.zeros((9, 3, 2), bool), rng.normal(size=(9, 3, 2)).astype(np.float32)
    t = TimeStep(obs, reward, np.ones_like(reward), last, obs, {})
    state, out = run(chain(frame_stack(2), normalize_obs(), scale_reward()), t, spec)
    data = np.concatenate([np.concatenate([obs[:1], obs[:-1]]), obs], axis=-1)
    np.testing.assert_allclose(state.shared[1][0].mean, data.mean(axis=(0, 1, 2)), atol=1e-5)
    assert out.obs.shape == (9, 3, 2, 4)
    assert state.each[2].value.shape == (3, 2)


def test_a_chain_of_nothing_changes_nothing():
    t = stream()
    state, out = run(parse(""), t)
    assert state == WrapperState((), ())
    jax.tree.map(np.testing.assert_array_equal, out, t)
    np.testing.assert_array_equal(act(parse(""), BOX, [[9.0, 9.0]]), [[9.0, 9.0]])


def test_hooks_may_be_missing():
    state, out = run(chain(Wrapper("nothing")), stream())
    assert state == WrapperState(((),), ((),))
    np.testing.assert_array_equal(out.reward, stream().reward)


def test_parse_hands_options_to_their_wrapper():
    wrapper = parse("frame_stack + sticky_actions", **{"frame_stack.k": 3, "sticky_actions.p": 0.0})
    assert wrapper.name == "frame_stack+sticky_actions"
    assert wrapper.spec(SPEC).obs["image"].shape == (2, 9)


@pytest.mark.parametrize(
    ("names", "options", "sentence"),
    [
        ("normalise_obs", {}, "did you mean normalize_obs"),
        ("frame_stack", {"frame_stack.n": 3}, "no option 'frame_stack.n'"),
        ("frame_stack", {"sticky_actions.p": 0.1}, "no option 'sticky_actions.p'"),
        ("frame_stack", {"frame_stack.k": 0}, "at least 1"),
        ("sticky_actions", {"sticky_actions.p": 1.5}, r"0\.\.1"),
        ("scale_reward", {"scale_reward.gamma": -0.1}, r"0\.\.1"),
        ("scale_reward", {"scale_reward.clip": 0.0}, "must be positive"),
        ("normalize_obs", {"normalize_obs.epsilon": float("nan")}, "must be positive"),
    ],
)
def test_parse_tells_mistakes_in_a_sentence(names, options, sentence):
    with pytest.raises(UsageError, match=sentence):
        parse(names, **options)


@pytest.mark.parametrize(
    ("wrapper", "spec", "sentence"),
    [
        (clip_action(), SPEC, "continuous actions"),
        (rescale_action(), SPEC, "continuous actions"),
        (rescale_action(), dataclasses.replace(SPEC, action=Box((-np.inf,), (1.0,))), "finite bounds"),
        (normalize_obs(), dataclasses.replace(SPEC, obs=SPEC.obs["image"]), "no float array"),
        (one_hot_obs(), dataclasses.replace(SPEC, obs=SPEC.obs["image"]), "no integer scalar"),
    ],
)
def test_what_does_not_fit_the_environment_is_told(wrapper, spec, sentence):
    with pytest.raises(UsageError, match=sentence):
        chain(wrapper).spec(spec)


# Time.


def steps_of(env, n):
    """The first `n` steps of one environment that nobody resets."""
    state, _ = env.reset(jax.random.key(0), ())
    step, taken = jax.jit(env.step), []
    for _ in range(n):
        state, timestep = step(jax.random.key(0), state, jnp.int32(0))
        taken.append(timestep)
    return jax.tree.map(lambda *x: np.stack(x), *taken)


@pytest.mark.parametrize(("n", "length", "discount"), [(2, 2, 1), (3, 3, 0), (9, 3, 0)])
def test_time_limit_truncates_and_termination_wins(n, length, discount):
    env = time_limit(make("Counting-device-v0", terminate=3, limit=0), n)
    assert env.spec.max_steps == n
    t = steps_of(env, length)
    np.testing.assert_array_equal(t.last, np.arange(1, length + 1) == length)
    np.testing.assert_array_equal(t.discount, [1] * (length - 1) + [discount])


@pytest.mark.parametrize("banked", [False, True])
def test_time_limit_counts_anew_in_every_episode(banked):
    env = make("Counting-device-v0", terminate=0, limit=0)

    def refill(key, states, timestep, data):
        fresh = jax.vmap(env.reset)(jax.random.split(key, len(timestep.last)), ())
        states, (obs, tag) = select(
            timestep.last, (fresh[0], (fresh[1].obs, fresh[1].extras["tag"])), (states, (timestep.obs, states.tag))
        )
        return states, timestep._replace(obs=obs, extras={**timestep.extras, "tag": tag})

    limited = time_limit(env._replace(refill=refill if banked else None), 3)
    assert (limited.refill is not None) == banked
    _, t = jax.device_get(loop(limited, chain(), steps=6)(jax.random.key(0)))
    np.testing.assert_array_equal(t.last[:, 0], [0, 0, 1, 0, 0, 1])
    np.testing.assert_array_equal(t.obs[:, 0, 1], [1, 2, 0, 1, 2, 0])


def test_a_limit_only_ever_shortens():
    assert time_limit(make("Counting-device-v0", limit=5), 9).spec.max_steps == 5


@pytest.mark.parametrize(
    ("k", "rewards", "counts"), [(1, [1, 2, 3, 4, 5], [1, 2, 3, 4, 5]), (3, [6, 9], [3, 5]), (9, [15], [5])]
)
def test_action_repeat_sums_rewards_and_stops_at_the_end(k, rewards, counts):
    env = action_repeat(make("Counting-device-v0", terminate=5, limit=7), k)
    assert env.spec.max_steps == -(-7 // k)
    t = steps_of(env, len(rewards))
    np.testing.assert_array_equal(t.reward, rewards)
    np.testing.assert_array_equal(t.last, np.arange(1, len(rewards) + 1) == len(rewards))
    np.testing.assert_array_equal(t.discount, 1.0 - t.last)
    for values in (t.obs[:, 1], t.next_obs[:, 1], t.extras["length"]):
        np.testing.assert_array_equal(values, counts)


@pytest.mark.parametrize("change", [time_limit, action_repeat])
def test_lengths_of_time_are_at_least_one(change):
    with pytest.raises(UsageError, match="at least"):
        change(make("Counting-device-v0"), 0)


def test_a_feature_that_never_changes_is_zero_and_not_nan_under_jit():
    wrapper = chain(normalize_obs())
    spec = EnvSpec("Fake-v0", "0", Array((2,), "float32"), Discrete(2))
    obs = jnp.stack([jnp.full(8, 3.0), jnp.arange(8.0)], -1)
    raw = TimeStep(obs, jnp.zeros(8), jnp.ones(8), jnp.zeros(8, bool), obs, {})
    _, seen = jax.jit(lambda raw: wrapper.timestep(wrapper.init(spec, 8), raw, False))(raw)
    np.testing.assert_array_equal(seen.obs[:, 0], 0.0)
    assert np.isfinite(seen.obs).all()
