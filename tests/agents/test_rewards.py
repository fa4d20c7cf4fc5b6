"""Bonuses: one contract for every registered member, then the oracles of each."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import registry
from agents.agent import Host, Rollout
from agents.auxiliary import pipeline as hooks
from agents.auxiliary.pipeline import Pipeline
from agents.auxiliary.rewards import bebold, count, episodic, noveld, rnd
from envs.contract import Array, Discrete, EnvSpec, TimeStep
from envs.errors import UsageError

T, B = 6, 3
SPEC = EnvSpec(
    "Fake-v0",
    "0",
    {"image": Array((4, 4, 2), "uint8", 0, 5), "direction": Array((), "int32", 0, 3)},
    Discrete(3),
    {
        **{name: Array((2,), "uint32") for name in ("grid_key", "next_grid_key")},
        **{name: Array((2,), "int32") for name in ("position", "next_position")},
    },
    max_steps=T,
)
SMALL = {"out": 8, "hidden": (16,), "predictor": (16,), "target": (8,)}
RND_FAMILY = ("rnd", "noveld", "bebold")
# What learns nothing from one episode to the next; `test_rewards_episodic_count.py` shows that it falls within one.
EPISODIC = ("episodic_count",)
# What compares with the present episode alone, by what it learned: the tests of each show that it falls within one.
WITHIN = ("deir", "e3b", "ngu", "ride")


def obs(key, *leading):
    image, direction = jax.random.split(key)
    return {
        "image": jax.random.randint(image, (*leading, 4, 4, 2), 0, 6).astype(jnp.uint8),
        "direction": jax.random.randint(direction, leading, 0, 4),
    }


def rollout(key=None, last=None) -> Rollout:
    """Random observations; states are told apart by a few keys, so that some repeat."""
    keys = jax.random.split(key if key is not None else jax.random.key(0), 4)
    later = obs(keys[0], T, B)
    last = jnp.zeros((T, B), bool) if last is None else last
    true_next = jax.tree.map(
        lambda other, same: jnp.where(last.reshape(T, B, *[1] * (same.ndim - 2)), other, same),
        obs(keys[2], T, B),
        later,
    )
    marks = jax.random.randint(keys[3], (T, B, 2), 0, 3).astype(jnp.uint32)
    places = marks.astype(jnp.int32)
    extras = {"grid_key": marks, "next_grid_key": marks, "position": places, "next_position": places}
    start = TimeStep(
        obs(keys[1], B),
        jnp.zeros(B),
        jnp.ones(B),
        jnp.zeros(B, bool),
        obs(keys[1], B),
        jax.tree.map(lambda x: x[0], extras),
    )
    steps = TimeStep(later, jnp.zeros((T, B)), jnp.ones((T, B)), last, true_next, extras)
    return Rollout((), start, jnp.zeros((T, B), jnp.int32), {}, steps)


def lend() -> Host:
    return Host(
        None, None, None, None, SPEC, {f"{name}.coef": jnp.ones(()) for name in registry.members("intrinsic reward")}
    )


def make(name, **options):
    small = {field: value for field, value in SMALL.items() if name in RND_FAMILY}
    member = registry.load("intrinsic reward", name).make(SPEC, **{**small, **options})
    return Pipeline((member._replace(door="intrinsic reward"),), SPEC)


def updater(pipeline):
    """Observe, then one step, as a learner does it; compiled at its first call."""

    @jax.jit
    def update(states, batch, key):
        memory = hooks.remember(pipeline, B)
        memory, _ = hooks.observe(pipeline, states, memory, hooks.restart(batch.start))
        _, extras = jax.lax.scan(lambda m, t: hooks.observe(pipeline, states, m, t), memory, batch.timestep)
        states, output, metrics = hooks.step(pipeline, key, states, batch._replace(extras=extras), lend())
        return states, output.bonus, metrics

    return update


def run(pipeline, batch, states=None, key=0, update=None):
    """One update: `(states, bonus, metrics)`."""
    states = states or hooks.init(pipeline, jax.random.key(1), lend())
    return (update or updater(pipeline))(states, batch, jax.random.key(key))


@pytest.mark.parametrize("name", registry.members("intrinsic reward"))
def test_every_bonus_keeps_the_contract(name):
    pipeline = make(name)
    states, bonus, metrics = run(pipeline, rollout())
    again, same, _ = run(pipeline, rollout())
    assert bonus.shape == (T, B)
    assert bonus.dtype == jnp.float32
    assert np.isfinite(bonus).all()
    np.testing.assert_array_equal(bonus, same)
    first = hooks.init(pipeline, jax.random.key(1), lend())
    assert jax.tree.structure(states) == jax.tree.structure(first)
    for before, after, repeat in zip(*map(jax.tree.leaves, (first, states, again)), strict=True):
        assert (before.shape, before.dtype) == (after.shape, after.dtype)
        np.testing.assert_array_equal(after, repeat)
    pairs = zip(jax.tree.leaves(first), jax.tree.leaves(states), strict=True)
    assert any(not np.array_equal(a, b) for a, b in pairs) == (name not in EPISODIC)
    assert all(metric.startswith(f"{name}/") and np.ndim(value) == 0 for metric, value in metrics.items())
    assert f"{name}/bonus" in metrics


@pytest.mark.parametrize(
    "name", [name for name in registry.members("intrinsic reward") if name not in EPISODIC + WITHIN]
)
def test_every_bonus_falls_where_it_has_been(name):
    # The same unroll over and over: what is known pays less and less, which a method without its core would not show.
    quick = {"learning_rate": 1e-2, "minibatches": 4} if name in RND_FAMILY else {}
    pipeline, batch, states, bonuses = make(name, **quick), rollout(), None, []
    update = updater(pipeline)
    for turn in range(60):
        states, bonus, _ = run(pipeline, batch, states, turn, update)
        bonuses.append(float(bonus.mean()))
    assert bonuses[0] > 0
    assert np.mean(bonuses[-5:]) < 0.6 * bonuses[0]


@pytest.mark.parametrize("name", ["bebold", "noveld"])
def test_pays_the_difference_of_novelty_at_first_visits(name):
    pipeline, batch = make(name), rollout()
    states = hooks.init(pipeline, jax.random.key(1), lend())
    _, bonus, _ = run(pipeline, batch, states)
    config = registry.load("intrinsic reward", name).Config(**SMALL)
    nets = rnd.networks(config, SPEC)

    def novelty(view):
        features = nets.encoder.apply(states[name].frozen["encoder"], view)
        gap = nets.predictor.apply(states[name].predictor, features) - nets.target.apply(
            states[name].frozen["target"], features
        )
        return np.linalg.norm(gap, axis=-1)

    beta = {"bebold": 1.0, "noveld": 0.5}[name]
    expected = np.maximum(novelty(batch.timestep.next_obs) - beta * novelty(batch.obs), 0)
    for environment in range(B):
        seen = {tuple(np.asarray(batch.start.extras["grid_key"][environment]))}
        for t in range(T):
            mark = tuple(np.asarray(batch.timestep.extras["next_grid_key"][t, environment]))
            expected[t, environment] *= mark not in seen
            seen.add(mark)
    np.testing.assert_allclose(bonus, expected, rtol=1e-4, atol=1e-6)
    assert (expected == 0).any()
    assert (expected > 0).any()


@pytest.mark.parametrize("name", RND_FAMILY)
def test_an_ending_step_looks_at_its_own_successor_or_is_left_out(name):
    last = jnp.zeros((T, B), bool).at[2, 1].set(True)
    batch = rollout(last=last)
    options = {} if name == "rnd" else {"first_visit": False}
    _, seen, _ = run(make(name, **options), batch)
    _, masked, _ = run(make(name, terminal="mask", **options), batch)
    assert masked[2, 1] == 0
    np.testing.assert_allclose(np.where(last, 0, seen), masked, rtol=1e-5, atol=1e-6)
    # The reset's observation is no successor: another one changes nothing at the ending step.
    other = jax.tree.map(lambda leaf: leaf.at[2, 1].set(0), batch.timestep.obs)
    _, moved, _ = run(make(name, **options), batch._replace(timestep=batch.timestep._replace(obs=other)))
    assert moved[2, 1] == seen[2, 1]


def test_where_the_prediction_is_perfect_novelty_and_gradient_are_zero_and_finite():
    config = rnd.Config(out=8, hidden=(16,), predictor=(8,), target=(8,))
    nets = rnd.networks(config, SPEC)
    state = rnd.init(config, nets, jax.random.key(0), lend())
    state = state._replace(predictor=state.frozen["target"])
    moved, found = rnd.measure(config, nets, state, jax.random.key(1), rollout())
    np.testing.assert_array_equal(found.successor, 0)
    for before, after in zip(jax.tree.leaves(state.predictor), jax.tree.leaves(moved.predictor), strict=True):
        np.testing.assert_array_equal(before, after)


def test_fourier_features_have_a_gaussian_kernel():
    config = rnd.Config(features="fourier", hidden=(20_000,), bandwidth=0.4)
    nets = rnd.networks(config, SPEC)
    view = obs(jax.random.key(5), 2)
    other = {**view, "image": view["image"].at[1].set(view["image"][0].at[0, 0, 0].add(1) % 6)}
    params = nets.encoder.init(jax.random.key(0), other)
    a, b = nets.encoder.apply(params, other)
    # One channel of one cell differs: two entries of the one-hot, so the distance squared is 2.
    np.testing.assert_allclose((a * b).mean(), np.exp(-(0.4**2) * 2 / 2), atol=0.02)


def test_counts_are_exact_over_a_run():
    pipeline = make("count", key="full_grid", bits=20)
    seen, states = {}, None
    for turn in range(3):
        batch = rollout(jax.random.key(turn))
        states, bonus, _ = run(pipeline, batch, states)
        marks = [tuple(mark) for mark in np.asarray(batch.timestep.extras["next_grid_key"]).reshape(-1, 2)]
        for mark in marks:
            # The table's place of a key is the xor of its halves: keys that collide are counted together.
            seen[mark[0] ^ mark[1]] = seen.get(mark[0] ^ mark[1], 0) + 1
        expected = [1 / np.sqrt(seen[a ^ b]) for a, b in marks]
        np.testing.assert_allclose(bonus.reshape(-1), expected, rtol=1e-6)


def test_the_hash_tells_observations_apart_and_depends_on_the_order():
    views = obs(jax.random.key(0), 500)
    keys = np.asarray(jax.vmap(episodic.hash_tree)(views))
    assert len({tuple(key) for key in keys}) == 500
    a, b = jnp.asarray([1.0, 2.0]), jnp.asarray([2.0, 1.0])
    assert not np.array_equal(episodic.hash_tree(a), episodic.hash_tree(b))
    np.testing.assert_array_equal(episodic.hash_tree(a), episodic.hash_tree(a + 0.0))


@pytest.mark.parametrize(
    ("module", "options"),
    [(rnd, {"coef": -1.0}), (noveld, {"beta": -0.1}), (bebold, {"learning_rate": 0.0}), (count, {"bits": 2})],
)
def test_values_out_of_range_are_one_sentence(module, options):
    with pytest.raises(UsageError, match=next(iter(options))):
        module.make(SPEC, **options)


def test_bebold_is_noveld_with_all_of_the_present_novelty_taken_off():
    assert (bebold.Config().beta, noveld.Config().beta) == (1.0, 0.5)
