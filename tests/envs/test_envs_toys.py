"""The toy suite: what the specs promise, and the known right answers."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.batch import batch
from envs.contract import Discrete
from envs.errors import UsageError
from envs.toys import DOCS, ids, make


def play(env, policy, key, n=4, steps=20):
    """`steps` steps of `n` environments, time first; `policy` gives actions from `(key, obs [n, ...])`."""
    batched = batch(env, n)
    key_reset, key_steps = jax.random.split(key)

    def step(carry, key):
        states, obs = carry
        key_act, key_step = jax.random.split(key)
        states, timestep = batched.step(key_step, states, policy(key_act, obs))
        return (states, timestep.obs), timestep

    def run():
        states, start = batched.reset(key_reset)
        return start, jax.lax.scan(step, (states, start.obs), jax.random.split(key_steps, steps))[1]

    return jax.device_get(jax.jit(run)())


def walk(env, actions, task=()):
    """The TimeSteps of one episode's `actions`, time first, with nobody to reset it."""
    state, _ = env.reset(jax.random.key(0), task)
    step, taken = jax.jit(env.step), []
    for action in actions:
        state, timestep = step(jax.random.key(0), state, jnp.asarray(action))
        taken.append(timestep)
    return jax.tree.map(lambda *x: np.stack(x), *taken)


@pytest.mark.parametrize("id", sorted(DOCS))
def test_what_comes_out_is_what_the_spec_says(id):
    env = make(id)
    spec = env.spec
    assert spec.id == id

    def sample(key, obs):
        assert isinstance(spec.action, Discrete)
        return jax.random.randint(key, (4,), 0, spec.action.n)

    start, t = play(env, sample, jax.random.key(0), steps=120)
    for timestep, lead in ((start, (4,)), (t, (120, 4))):
        assert timestep.extras.keys() == spec.extras.keys()
        promised = [(spec.obs, timestep.obs), (spec.obs, timestep.next_obs)]
        promised += [(spec.extras[name], timestep.extras[name]) for name in spec.extras]
        for array, values in promised:
            assert values.shape == lead + array.shape
            assert values.dtype == array.dtype
            assert array.low is None or (values >= array.low).all()
            assert array.high is None or (values <= array.high).all()
        assert timestep.reward.shape == timestep.discount.shape == timestep.last.shape == lead
        assert (timestep.reward.dtype, timestep.discount.dtype) == (jnp.float32, jnp.float32)
        assert timestep.last.dtype == bool
    assert t.last[t.discount == 0].all()
    assert np.diff(np.flatnonzero(t.last[:, 0]), prepend=-1).max() <= spec.max_steps


def test_listing_needs_no_jax():
    code = "import sys, envs.toys as t; assert len(t.ids()) == 4; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_environment_is_listed_with_its_line():
    listed = ids()
    assert listed.keys() == DOCS.keys()
    for id, listing in listed.items():
        assert listing == (id, "toys", ("device",), DOCS[id])


def test_bandit_pays_its_means():
    each = lambda key, obs: jnp.repeat(jnp.arange(3), 64)  # noqa: E731
    _, t = play(make("Bandit-v0", arms=3, noise=0.5), each, jax.random.key(0), n=3 * 64, steps=50)
    for rewards, mean in zip(np.split(t.reward, 3, axis=1), (0.0, 0.5, 1.0), strict=True):
        assert rewards.mean() == pytest.approx(mean, abs=0.05)
        assert rewards.std() == pytest.approx(0.5, abs=0.05)
    assert t.last.all()
    assert (t.discount == 0).all()


def test_bandit_takes_its_means_as_a_task():
    t = walk(make("Bandit-v0", arms=2, noise=0.0), [1, 0], task=jnp.array([3.0, 7.0]))
    np.testing.assert_array_equal(t.reward, [7, 3])


def test_chain_pays_at_the_far_end_only():
    t = walk(make("Chain-v0", length=5), [0, 1, 1, 0, 1, 1, 1])
    np.testing.assert_array_equal(t.obs.argmax(axis=-1), [0, 1, 2, 1, 2, 3, 4])
    np.testing.assert_array_equal(t.reward, [0, 0, 0, 0, 0, 0, 1])
    np.testing.assert_array_equal(t.last, t.reward)
    np.testing.assert_array_equal(t.discount, 1 - t.reward)
    np.testing.assert_array_equal(t.extras["success"], t.reward)


def test_chain_is_truncated_at_its_limit_and_termination_wins():
    env = make("Chain-v0", length=4, max_steps=3)
    t = walk(env, [0, 0, 0])
    np.testing.assert_array_equal(t.last, [0, 0, 1])
    assert (t.discount == 1).all()
    assert (t.reward == 0).all()
    t = walk(env, [1, 1, 1])
    np.testing.assert_array_equal(t.last, [0, 0, 1])
    np.testing.assert_array_equal(t.discount, [1, 1, 0])


def test_chain_keys_name_places():
    def wander(key, obs):
        return jax.random.randint(key, (4,), 0, 2)

    _, t = play(make("Chain-v0", length=4), wander, jax.random.key(1), steps=100)
    for obs, key in ((t.obs, t.extras["grid_key"]), (t.next_obs, t.extras["next_grid_key"])):
        places, keys = obs.argmax(axis=-1).ravel().tolist(), map(tuple, key.reshape(-1, 2).tolist())
        pairs = set(zip(places, keys, strict=True))
        # The far end is never acted on, so it only shows as a successor.
        assert len(set(places)) == len({key for _, key in pairs}) == len(pairs) == (3 if obs is t.obs else 4)
    assert (t.extras["next_grid_key"][t.last] != t.extras["grid_key"][t.last]).any()


@pytest.mark.parametrize("length", [2, 5])
def test_memory_pays_for_the_cue_and_shows_it_once(length):
    env = make("Memory-v0", length=length)
    step = jax.jit(env.step)
    cues = set()
    for seed in range(8):
        state, timestep = env.reset(jax.random.key(seed), ())
        cue = int(timestep.obs[:2].argmax())
        cues.add(cue)
        assert timestep.obs[:2].sum() == 1
        for i in range(length):
            assert timestep.obs[2] == (i == length - 1)
            assert i == 0 or (timestep.obs[:2] == 0).all()
            answer = cue if seed % 2 == 0 else 1 - cue
            state, timestep = step(jax.random.key(0), state, jnp.int32(answer))
            assert timestep.last == (i == length - 1)
        assert timestep.discount == 0
        assert timestep.reward == (1 if seed % 2 == 0 else -1)
        assert timestep.extras["success"] == (seed % 2 == 0)
    assert cues == {0, 1}


@pytest.mark.parametrize(
    ("id", "options", "sentence"),
    [
        ("Chain-v0", {"lenght": 3}, "did you mean length"),
        ("Chain-v0", {"length": 1}, "at least 2"),
        ("Bandit-v0", {"arms": 1}, "at least 2"),
        ("Counting-device-v0", {"limit": -1}, "at least 0"),
        ("Memory-v0", {"length": 1}, "at least 2"),
    ],
)
def test_mistakes_are_told_in_a_sentence(id, options, sentence):
    with pytest.raises(UsageError, match=sentence):
        make(id, **options)
