"""Noise: statistics under fixed seeds, NumPy twins of failing sensors, ends of episodes, and going on where one was."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

import agents
from envs.batch import batch
from envs.contract import Array, Box, Discrete, EnvSpec, TimeStep
from envs.errors import UsageError
from envs.registry import make
from envs.wrappers import chain, drop_obs, noise_action, noise_obs, parse, stick_obs
from envs.wrappers.noise import draw, keys_of

SPEC = EnvSpec(
    "Noisy-v0",
    "test",
    {"image": Array((2, 3), "uint8", 0, 255), "vector": Array((4,), "float32", 1.0, 9.0)},
    Box((-2.0, 0.0), (2.0, 1.0)),
)
EVERYTHING = "delay_obs+noise_obs+drop_obs+stick_obs+delay_reward+noise_action+perturb_action+delay_action"
OFTEN = {f"{name}.p": 0.3 for name in ("drop_obs", "stick_obs", "perturb_action")}


def stream(seed=0, steps=60, n=3, p=0.1):
    """A reset and `steps` steps `[steps + 1, n, ...]`; every number is another one, and none is 0."""
    rng = np.random.default_rng(seed)
    last = rng.random((steps + 1, n)) < p
    last[0] = False

    def numbers():
        image = rng.integers(0, 256, (steps + 1, n, 2, 3)).astype(np.uint8)
        return {"image": image, "vector": rng.uniform(1, 9, (steps + 1, n, 4)).astype(np.float32)}

    next_obs, fresh = numbers(), numbers()
    mask = lambda x: last.reshape(last.shape + (1,) * (x.ndim - 2))  # noqa: E731
    obs = jax.tree.map(lambda new, old: np.where(mask(new), new, old), fresh, next_obs)
    zeros = np.zeros(last.shape, np.float32)
    return TimeStep(obs, zeros, zeros + 1, last, next_obs, {})


def run(wrapper, timesteps, seed=0, evaluate=False, same_key=False, state=None):
    """The states and TimeSteps `[T, n, ...]` of a stream with an action before every step but the first."""
    wrapper, n = chain(wrapper), timesteps.last.shape[1]
    steps = jnp.arange(len(timesteps.last))

    def step(state, x):
        number, timestep = x
        key = jax.random.fold_in(jax.random.key(seed), 0 if same_key else number)
        after, seen = wrapper.timestep(state, timestep, evaluate)
        moved, _ = wrapper.action(key, after, jnp.zeros((n, 2)))
        return moved, (state, seen)

    state = wrapper.init(SPEC, n) if state is None else state
    return jax.device_get(jax.jit(lambda state: jax.lax.scan(step, state, (steps, timesteps)))(state)[1])


def acts(wrapper, action, steps, seed=0):
    """What is executed `[steps, n, A]` where the agent always wants `action` `[n, A]`."""
    wrapper = chain(wrapper)
    keys = jax.random.split(jax.random.key(seed), steps)
    state = wrapper.init(SPEC, len(action))
    return np.asarray(jax.lax.scan(lambda s, key: wrapper.action(key, s, jnp.asarray(action)), state, keys)[1])


# Normal noise.


def test_noise_action_is_measured_in_half_widths():
    done = acts(noise_action(0.1), np.tile(np.float32([0.0, 0.5]), (50, 1)), 200)
    noise = done - np.float32([0.0, 0.5])
    np.testing.assert_allclose(noise.std(axis=(0, 1)), [0.1 * 2, 0.1 * 0.5], rtol=0.02)
    np.testing.assert_allclose(noise.mean(axis=(0, 1)), 0, atol=0.01)
    assert len(np.unique(noise[..., 0])) > 9900  # every step and environment draws for itself
    correlations = np.corrcoef(noise.reshape(200, -1).T)
    assert np.abs(correlations - np.eye(100)).max() < 0.4


def test_noise_action_stays_in_the_box_and_none_is_none():
    done = acts(noise_action(3.0), np.tile(np.float32([2.0, 0.0]), (50, 1)), 50)
    assert (np.abs(done[..., 0]).max(), done[..., 1].min(), done[..., 1].max()) == (2, 0, 1)
    assert 0.4 < (done[..., 0] == 2).mean() < 0.6
    wanted = np.float32([[1.5, 0.25]])
    np.testing.assert_array_equal(acts(noise_action(0.0), wanted, 3), np.tile(wanted, (3, 1, 1)))


@pytest.mark.parametrize("evaluate", [False, True])
def test_noise_obs_in_units_of_the_observation(evaluate):
    t = stream(n=50)
    _, out = run(noise_obs(0.5), t, evaluate=evaluate)
    np.testing.assert_array_equal(out.obs["image"], t.obs["image"])
    noise = out.obs["vector"] - t.obs["vector"]
    assert noise.std() == pytest.approx(0.5, rel=0.02)
    assert noise.mean() == pytest.approx(0, abs=0.02)
    assert len(np.unique(noise.round(6))) > 0.98 * noise.size
    np.testing.assert_array_equal(out.last, t.last)
    # One array where both are one; apart where they are not.
    same = out.obs["vector"] == out.next_obs["vector"]
    assert same[~t.last].all()
    assert not same[t.last].any()
    successors = out.next_obs["vector"] - t.next_obs["vector"]
    assert successors[t.last].std() == pytest.approx(0.5, rel=0.1)
    assert np.corrcoef(successors[t.last].ravel(), noise[t.last].ravel())[0, 1] == pytest.approx(0, abs=0.1)


def test_leaves_of_one_observation_have_noise_of_their_own():
    spec = dataclasses.replace(SPEC, obs={"a": Array((4,), "float32"), "b": Array((4,), "float32")})
    wrapper, obs = noise_obs(1.0), {"a": jnp.zeros((3, 4)), "b": jnp.zeros((3, 4))}
    t = TimeStep(obs, jnp.zeros(3), jnp.ones(3), jnp.array([False, True, False]), obs, {})
    _, out = wrapper.timestep(wrapper.init(spec, 3), t, False)
    everything = np.concatenate([out.obs["a"], out.obs["b"], out.next_obs["a"][1:2], out.next_obs["b"][1:2]])
    assert len(np.unique(everything)) == everything.size


def test_noise_is_of_the_seed_and_repeats():
    t = stream(n=2)
    runs = [run(noise_obs(0.5), t, seed)[1].obs["vector"] for seed in (0, 0, 1)]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert (runs[0] != runs[2])[1:].all()
    # An exported policy knows a single key: noise moves on all the same.
    noise = run(noise_obs(0.5), t, same_key=True)[1].obs["vector"] - t.obs["vector"]
    assert len(np.unique(noise.round(5))) > 0.95 * noise.size


def test_spec_says_what_is_left_of_bounds():
    assert noise_obs(0.1).spec(SPEC).obs == {"image": SPEC.obs["image"], "vector": Array((4,), "float32")}
    assert noise_obs(0.0).spec(SPEC) == stick_obs().spec(SPEC) == noise_action().spec(SPEC) == SPEC
    assert drop_obs().spec(SPEC).obs == {"image": SPEC.obs["image"], "vector": Array((4,), "float32", 0.0, 9.0)}


# Failing sensors.


def failing_twin(t, states, p, steps, stuck):
    """`obs` and `next_obs` of the leaf `vector` by loops over elements, with the draws that the states' keys give."""
    like = jnp.zeros(t.obs["vector"].shape[1:])
    draws = lambda key, use: draw(jax.random.uniform, keys_of(key), use, like)  # noqa: E731
    uniform = jax.device_get([jax.vmap(lambda key, use=use: draws(key, use))(states.each[0].key) for use in (2, 3)])
    obs, next_obs = t.obs["vector"].copy(), t.next_obs["vector"].copy()
    for element in np.ndindex(like.shape):
        left, before = 0, None
        for i in range(len(t.last)):
            at = (i, *element)
            if i:
                left = steps if left == 0 and uniform[0][at] < p else left
                next_obs[at] = (before if stuck else 0) if left else next_obs[at]
                obs[at], left = next_obs[at], max(left - 1, 0)
            if i == 0 or t.last[i, element[0]]:
                first = t.obs["vector"][at]
                left = steps if uniform[1][at] < p else 0
                obs[at], left = first if stuck or not left else 0, max(left - 1, 0)
                next_obs[at] = next_obs[at] if i else obs[at]
            before = obs[at]
    return obs, next_obs


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("wrapper", [drop_obs, stick_obs])
def test_failing_sensors_agree_with_their_twin(wrapper, steps):
    t = stream()
    states, out = run(wrapper(0.3, steps), t)
    obs, next_obs = failing_twin(t, states, 0.3, steps, stuck=wrapper is stick_obs)
    np.testing.assert_array_equal(out.obs["vector"], obs)
    np.testing.assert_array_equal(out.next_obs["vector"], next_obs)
    np.testing.assert_array_equal(out.obs["image"], t.obs["image"])
    assert ((out.obs["vector"] != t.obs["vector"]) & t.last[..., None]).any() == (wrapper is drop_obs)
    _, evaluated = run(wrapper(0.3, steps), t, evaluate=True)
    jax.tree.map(np.testing.assert_array_equal, evaluated, out)


@pytest.mark.parametrize(("p", "steps"), [(0.02, 1), (0.05, 5)])
def test_how_often_and_how_long_a_sensor_fails(p, steps):
    t = stream(n=100, steps=400, p=0.0)
    dropped = run(drop_obs(p, steps), t)[1].obs["vector"] == 0
    assert dropped[100:].mean() == pytest.approx(p * steps / (p * steps + 1 - p), rel=0.05)
    assert dropped[0].mean() == pytest.approx(p, abs=0.04)
    stuck = run(stick_obs(p, steps), t)[1].obs["vector"]
    assert (stuck[1:] == stuck[:-1]).mean() == pytest.approx(p * steps / (p * steps + 1 - p), rel=0.1)
    for one in dropped.reshape(401, -1)[:, :50].T:
        edges = np.flatnonzero(np.diff(np.concatenate([[0], one.astype(int), [0]])))
        lengths = edges[1::2] - edges[::2]
        assert all(length % steps == 0 for length, end in zip(lengths, edges[1::2], strict=True) if end < 401)


def test_failing_always_and_never():
    t = stream()
    for wrapper in (drop_obs, stick_obs):
        _, out = run(wrapper(0.0, 2), t)
        jax.tree.map(np.testing.assert_array_equal, out, t)
    assert (run(drop_obs(1.0, 2), t)[1].obs["vector"] == 0).all()
    _, out = run(stick_obs(1.0, 2), t)
    for i in range(3):
        shown = t.obs["vector"][0, i]
        for step in range(61):  # an episode shows its first observation for ever
            np.testing.assert_array_equal(out.next_obs["vector"][step, i], shown)
            shown = t.obs["vector"][step, i] if t.last[step, i] else shown
            np.testing.assert_array_equal(out.obs["vector"][step, i], shown)


@pytest.mark.parametrize("wrapper", [drop_obs, stick_obs])
def test_a_new_episode_begins_with_sensors_that_work(wrapper):
    t = stream(p=0.0, steps=4, n=2)
    t.last[2] = True
    t.obs["vector"][2] += 1
    state = chain(wrapper(0.0, 5)).init(SPEC, 2)
    sensors = state.each[0]
    left = [None, jnp.full((2, 4), 9)]
    begun = sensors._replace(left=left, shown=jax.tree.map(jnp.zeros_like, sensors.shown), started=jnp.ones(2, bool))
    _, out = run(wrapper(0.0, 5), t, state=state._replace(each=(begun,)))
    assert (out.next_obs["vector"][:3] == 0).all()
    np.testing.assert_array_equal(out.obs["vector"][2:], t.obs["vector"][2:])
    np.testing.assert_array_equal(out.next_obs["vector"][3:], t.next_obs["vector"][3:])


# Everything together.


@pytest.fixture(scope="module")
def playing():
    """`(carry, keys) -> (carry, (TimeSteps, actions))`: a point mass behind all the wrappers; and its first carry."""
    env, wrapper = batch(make("PointMass-v0", max_steps=4), 3), parse(EVERYTHING, **OFTEN)

    def step(carry, key):
        states, wrapped = carry
        key_act, key_wrap, key_step = jax.random.split(key, 3)
        action = jax.random.uniform(key_act, (3, 2), minval=-1.0)
        wrapped, action = wrapper.action(key_wrap, wrapped, action)
        states, timestep = env.step(key_step, states, action)
        wrapped, timestep = wrapper.timestep(wrapped, timestep, False)
        return (states, wrapped), (timestep, action)

    states, start = env.reset(jax.random.key(0))
    wrapped, _ = wrapper.timestep(wrapper.init(env.spec, 3), start, False)
    return jax.jit(lambda carry, keys: jax.lax.scan(step, carry, keys)), (states, wrapped)


def test_a_state_of_arrays_alone_goes_on_where_it_was(playing):
    play, start = playing
    keys = jax.random.split(jax.random.key(1), 20)
    half, _ = play(start, keys[:10])
    for leaf in jax.tree.leaves(half[1].each):
        assert leaf.dtype in (jnp.float32, jnp.int32, jnp.uint32, bool)
        assert leaf.shape[0] == 3
    taken_up = jax.tree.map(jnp.asarray, jax.tree.map(np.array, half))
    jax.tree.map(np.testing.assert_array_equal, play(taken_up, keys[10:]), play(half, keys[10:]))


def test_seeds_side_by_side_are_the_seeds_alone(playing):
    play, start = playing
    keys = jax.random.split(jax.random.key(2), (2, 10))
    _, together = jax.vmap(play, in_axes=(None, 0))(start, keys)
    for seed in range(2):
        _, alone = play(start, keys[seed])
        jax.tree.map(lambda a, b, s=seed: np.testing.assert_allclose(a[s], b, atol=1e-5), together, alone)
    assert (together[1][0] != together[1][1]).any()


def test_an_exported_policy_begins_with_zeros():
    """As an exported file does: any batch size, and a state of zeros in place of the first one."""
    wrapper, spec = parse(EVERYTHING, **OFTEN), make("PointMass-v0").spec
    one = wrapper.init(spec, 1)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(one.each))
    (n,) = export.symbolic_shape("n")
    sized = lambda x: jax.ShapeDtypeStruct((n, *x.shape[1:]), x.dtype)  # noqa: E731

    def call(obs, each):
        blank = jnp.zeros(obs.shape[0])
        t = TimeStep(obs, blank, blank + 1, blank == 1, obs, {"success": blank == 1})
        state, t = wrapper.timestep(one._replace(each=each), t, True)
        state, action = wrapper.action(jax.random.key(0), state, t.obs[:, :2])
        return action, jax.tree.leaves(state.each)

    obs, leaves = jax.ShapeDtypeStruct((n, 6), jnp.float32), list(map(sized, jax.tree.leaves(one.each)))
    flat = jax.jit(lambda obs, leaves: call(obs, jax.tree.unflatten(jax.tree.structure(one.each), leaves)))
    exported = export.export(flat)(obs, leaves)
    state = [np.zeros((5, *leaf.shape[1:]), leaf.dtype) for leaf in leaves]
    sent = []
    for _ in range(4):
        action, state = exported.call(np.ones((5, 6), np.float32), state)
        sent.append(np.asarray(action))
    assert len(np.unique(np.stack(sent)[1:])) > 10


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["device", "host"])
def test_a_run_taken_up_again_is_the_run_left_alone(backend, tmp_path):
    env = make("Pendulum-v1", backend)
    options = {"envs": 4, "wrap": EVERYTHING, "wrap_options": OFTEN, "checkpoint_every": 100}

    def trained(name, steps, **more):
        agent = agents.make("impala", env.spec)
        agents.train(agent, env, steps=steps, out=tmp_path / name, seed=3, **options, **more)
        return agents.load(tmp_path / name)

    whole = trained("whole", 600)
    trained("halves", 300)
    halves = trained("halves", 600, resume=True)
    obs = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, -0.5]], np.float32)
    for _ in range(3):
        np.testing.assert_array_equal(*(policy(obs, policy.begin(2))[0] for policy in (whole, halves)))


# Mistakes.


@pytest.mark.parametrize(
    ("name", "option", "value", "sentence"),
    [
        ("noise_action", "std", -0.1, "noise_action.std must be a finite number of at least 0, but is -0.1"),
        ("noise_obs", "std", float("nan"), "noise_obs.std must be a finite number"),
        ("noise_obs", "std", float("inf"), "noise_obs.std must be a finite number"),
        ("drop_obs", "p", 1.5, r"drop_obs.p must lie in 0\.\.1, but is 1.5"),
        ("drop_obs", "steps", 0, "drop_obs.steps must be a whole number of at least 1"),
        ("stick_obs", "p", float("nan"), r"stick_obs.p must lie in 0\.\.1"),
        ("stick_obs", "steps", 2.5, "stick_obs.steps must be a whole number of at least 1, but is 2.5"),
        ("stick_obs", "step", 2, "no option 'stick_obs.step': did you mean stick_obs.steps"),
    ],
)
def test_options_are_checked(name, option, value, sentence):
    with pytest.raises(UsageError, match=sentence):
        parse(name, **{f"{name}.{option}": value})


@pytest.mark.parametrize("name", ["noise_obs", "drop_obs", "stick_obs"])
def test_observations_without_floats_are_told(name):
    with pytest.raises(UsageError, match=f"{name} finds no float array in the observation of Noisy-v0"):
        parse(name).spec(dataclasses.replace(SPEC, obs=SPEC.obs["image"]))


def test_actions_that_have_no_width_are_told():
    with pytest.raises(UsageError, match="noise_action needs continuous actions"):
        parse("noise_action").spec(dataclasses.replace(SPEC, action=Discrete(2)))
    with pytest.raises(UsageError, match="noise_action needs finite bounds"):
        parse("noise_action").spec(dataclasses.replace(SPEC, action=Box((-np.inf,), (1.0,))))
