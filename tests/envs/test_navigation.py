"""The robot that navigates: motion, pay and ends by hand, the rules of time over a batch, options, and learning."""

import math
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from timestep_rules import assert_equal, check_first, check_timestep, random_actions

import agents
import envs
from agents.training.device_loop import DeviceLoop
from envs.errors import UsageError
from envs.navigation import DOCS, ids, scenes
from envs.navigation.geometry import box, disc
from envs.wrappers import parse

each = pytest.mark.parametrize("id", sorted(DOCS))
STRAIGHT, LEFT = 3, 6


def roller(env, n, steps):
    """`(key) -> (states, TimeSteps)`: a batch under random actions, after its reset and after each step, in NumPy."""
    batch, actions = envs.batch(env, n), jnp.asarray(random_actions(env.spec.action, steps, n, 0))

    def step(states, x):
        states, t = batch.step(x[0], states, x[1])
        return states, (states, t)

    @jax.jit
    def run(key):
        key_reset, key_steps = jax.random.split(key)
        first = batch.reset(key_reset)
        return first, jax.lax.scan(step, first[0], (jax.random.split(key_steps, steps), actions))[1]

    def history(key):
        (state, start), (states, t) = jax.device_get(run(key))
        pick = lambda tree, i: jax.tree.map(lambda x: x[i].copy(), tree)  # noqa: E731
        return [state, *(pick(states, i) for i in range(steps))], [start, *(pick(t, i) for i in range(steps))]

    return history


def driven(env, state, actions):
    """The states and TimeSteps of one robot."""
    step, found = jax.jit(env.step), []
    for action in actions:
        state, t = step(jax.random.key(0), state, jnp.asarray(action))
        found.append((state, t))
    return found


@each
def test_keeps_the_rules_and_repeats_under_its_key(id):
    n, steps, limit = 40, 60, 25
    noise = 0.02 if id == "NavigationContinuous-v0" else 0.0
    env = envs.make(id, max_steps=limit, noise=noise)
    play = roller(env, n, steps)
    states, history = play(jax.random.key(0))
    for timestep in history:
        check_timestep(env.spec, timestep, n)
        assert (timestep.next_obs[:, :-1] >= 0).all()
    check_first(env.spec, history[0])
    assert not any(extra.any() for extra in history[0].extras.values())
    for before, state, t in zip(states, states[1:], history[1:], strict=False):
        over = t.extras["success"] | t.extras["crash"]
        np.testing.assert_array_equal(t.discount == 0, over)
        np.testing.assert_array_equal(t.last, over | (before.time + 1 == limit))
        np.testing.assert_array_equal(t.extras["cost"], t.extras["crash"])
        np.testing.assert_array_equal(state.time, np.where(t.last, 0, before.time + 1))
        kept = (state.obstacles == before.obstacles).all((1, 2)) & (state.goal == before.goal).all(1)
        np.testing.assert_array_equal(kept, ~t.last)  # a new episode is another one
        np.testing.assert_array_equal((t.obs != t.next_obs).any(1), t.last)
    ends = np.sum([t.last for t in history], 1)
    assert ends.max() > n // 16  # more than are begun anew at a time
    assert any((t.last & (t.discount == 1)).any() for t in history)
    assert len(np.unique(np.concatenate([s.goal for s in states]), axis=0)) == n + ends.sum()  # no scene twice
    tasks = jax.tree.map(lambda *x: np.stack(x), *(scenes.Task(*state[:3]) for state in states))
    again = jax.jit(jax.vmap(jax.vmap(env.reset, (None, 0)), (None, 0)))(jax.random.key(0), tasks)[1].obs
    differ = np.abs(again - np.stack([t.obs for t in history])).max((1, 2))
    assert differ.max() < (0.3 if noise else 1e-4)  # what is seen is what is there, in new episodes too
    for one, same in zip(history, play(jax.random.key(0))[1], strict=True):
        assert_equal(one, same)
    assert (play(jax.random.key(1))[0][0].goal != states[0].goal).any()


def test_arcs_by_hand():
    """At 2.5 rad/s and 0.5 m/s the way is a circle of 0.2 m; straight on it is 0.1 m a step."""
    env = envs.make("Navigation-v0")
    state = scenes.state((0.0, 0.0, 0.0), (1.0, 0.0))
    for turns, (s, _) in enumerate(driven(env, state, [LEFT] * 6), 1):
        angle = 0.5 * turns
        np.testing.assert_allclose(s.pose[:2], [0.2 * math.sin(angle), 0.2 - 0.2 * math.cos(angle)], atol=1e-6)
        assert s.pose[2] == pytest.approx(angle)
    (first, _), (second, _) = driven(env, state._replace(pose=jnp.array([0.0, 0.0, 3.0])), [STRAIGHT, LEFT])
    np.testing.assert_allclose(first.pose, [0.1 * math.cos(3), 0.1 * math.sin(3), 3], atol=1e-6)
    assert second.pose[2] == pytest.approx(3.5 - 2 * math.pi, abs=1e-5)
    for action in range(7):
        ((s, _),) = driven(env, state, [action])
        assert s.pose[2] == pytest.approx(0.5 * (action - 3) / 3, abs=1e-6)


def test_two_numbers_are_turn_and_speed():
    env = envs.make("NavigationContinuous-v0")
    state = scenes.state((0.0, 0.0, 0.0), (1.0, 0.0))
    for action, pose in (
        ((0.0, -1.0), (0, 0, 0)),
        ((1.0, -1.0), (0, 0, 0.5)),
        ((0.0, 0.0), (0.05, 0, 0)),
        ((-9.0, 9.0), (0.2 * math.sin(0.5), 0.2 * math.cos(0.5) - 0.2, -0.5)),
    ):
        ((s, _),) = driven(env, state, [np.float32(action)])
        np.testing.assert_allclose(s.pose, pose, atol=1e-6)


def test_the_observation_by_hand():
    env = envs.make("Navigation-v0", beams=3)
    obstacles = [disc(-0.8, 0.0, 0.3), box(0.0, 0.5, 0.2, 0.1, 0.0)]  # the robot looks up: left, ahead
    _, start = env.reset(jax.random.key(0), scenes.task((0.0, 0.0, math.pi / 2), (-1.0, 0.0), obstacles))
    np.testing.assert_allclose(start.obs, [0.5, 0.4, 1, 1 / math.sqrt(32), 0.5], atol=1e-6)
    _, start = env.reset(jax.random.key(0), scenes.task((0.0, 0.0, math.pi / 2), (1.0, 1.0)))
    np.testing.assert_allclose(start.obs, [1, 1, 1, 0.25, -0.25], atol=1e-6)


def test_noise_is_on_the_beams_alone():
    task = scenes.task((0.0, 0.0, 0.0), (1.0, 1.0), [disc(0.8, 0.0, 0.3)])
    clean, noisy = (envs.make("Navigation-v0", noise=noise, reach=2.0) for noise in (0.0, 0.1))
    keys = jax.random.split(jax.random.key(0), 500)
    true = jax.jit(clean.reset)(keys[0], task)[1].obs
    seen = jax.jit(jax.vmap(noisy.reset, (0, None)))(keys, task)[1].obs
    assert (seen[:, -2:] == true[-2:]).all()
    assert float(seen[:, 7].std()) == pytest.approx(0.1 / 2, rel=0.1)
    assert float(seen[:, 7].mean()) == pytest.approx(0.25, abs=0.01)
    state = scenes.State(*task, time=jnp.int32(0))
    stepped = jax.jit(jax.vmap(noisy.step, (0, None, None)))(keys, state, jnp.int32(3))[1].obs
    assert len(np.unique(stepped[:, 7])) > 400


def test_rewards_add_up_to_the_way_gained():
    env = envs.make("Navigation-v0", progress=2.5, obstacles=0)
    state = scenes.state((-1.5, -1.0, 0.0), (1.5, 1.5))
    found = driven(env, state, random_actions(env.spec.action, 15, 1, 0)[:, 0])
    assert not any(t.last for _, t in found)
    gained = math.hypot(3, 2.5) - float(jnp.linalg.norm(found[-1][0].pose[:2] - state.goal))
    assert sum(float(t.reward) for _, t in found) == pytest.approx(2.5 * gained, abs=1e-5)


@pytest.mark.parametrize(
    ("obstacle", "gap"),
    [(disc(0.55, 0.0, 0.2), 0.35), (box(0.5, 0.0, 0.3, 0.15, math.pi / 2), 0.35), (box(0.5, 0.1, 0.15, 0.1), 0.35)],
)
def test_it_crashes_when_the_disc_touches_and_not_before(obstacle, gap):
    """Straight on at 0.1 m a step, with so much between the robot's centre and what stands ahead."""
    env = envs.make("Navigation-v0", penalty=3.0)
    for shift, steps in ((0.049, 3), (0.051, 2)):  # its edge is 1 mm short of it after two steps, or 1 mm in
        found = driven(env, scenes.state((shift, 0.0, 0.0), (1.5, 0.0), [obstacle]), [STRAIGHT] * steps)
        assert gap - shift - 0.2 == pytest.approx(0.1, abs=2e-3)
        assert [bool(t.extras["crash"]) for _, t in found] == [False] * (steps - 1) + [True]
        t = found[-1][1]
        assert (bool(t.last), float(t.discount), bool(t.extras["success"])) == (True, 0.0, False)
        assert float(t.extras["cost"]) == 1
        assert float(t.reward) == pytest.approx(0.1 - 3, abs=1e-5)


def test_walls_are_touched_too():
    env = envs.make("Navigation-v0")
    for y, crash in ((1.79, False), (1.81, True)):
        ((_, t),) = driven(env, scenes.state((0.0, y, math.pi / 2), (0.0, -1.0)), [STRAIGHT])
        assert bool(t.extras["crash"]) == crash


def test_the_goal_pays_and_ends_unless_the_robot_crashes_there():
    env = envs.make("Navigation-v0", bonus=5.0)
    for shift, reached in ((-0.01, False), (0.01, True)):
        ((_, t),) = driven(env, scenes.state((shift, 0.0, 0.0), (0.3, 0.0)), [STRAIGHT])
        assert bool(t.extras["success"]) == bool(t.last) == reached
        assert float(t.discount) == 1 - reached
        assert float(t.reward) == pytest.approx(0.1 + 5 * reached, abs=1e-5)
    ((_, t),) = driven(env, scenes.state((0.0, 0.0, 0.0), (0.2, 0.0), [disc(0.3, 0.0, 0.12)]), [STRAIGHT])
    assert (bool(t.extras["crash"]), bool(t.extras["success"])) == (True, False)
    assert float(t.reward) == pytest.approx(0.1 - 1, abs=1e-5)


@each
def test_limit_is_500_steps(id):
    env = envs.make(id)
    assert env.spec.max_steps == 500
    action = jnp.asarray(random_actions(env.spec.action, 1, 1, 0)[0, 0])
    for time, last in ((498, False), (499, True)):
        _, t = env.step(jax.random.key(0), scenes.state((0.0, 0.0, 0.0), (1.0, 1.0), time=time), action)
        assert (bool(t.last), float(t.discount)) == (last, 1.0)


def test_options_make_the_scene():
    maze, fixed = envs.make("Navigation-v0", maze=True, fixed=True), envs.make("Navigation-v0", fixed=True, obstacles=2)
    for env, rows in ((maze, 3), (fixed, 2)):
        one, other = map(jax.jit(lambda key, env=env: env.reset(key, ())[0]), jax.random.split(jax.random.key(0)))
        assert env.spec.tasks.obstacles.shape == one.obstacles.shape == (rows, 6)
        assert (one.pose == other.pose).all()
        assert bool((one.obstacles == other.obstacles).all()) == (env is maze)
        away = one.goal - one.pose[:2]
        assert one.pose[2] == pytest.approx(float(jnp.arctan2(away[1], away[0])), abs=1e-6)
    assert envs.make("Navigation-v0", beams=7).spec.obs.shape == (9,)
    assert envs.make("Navigation-v0", beams=7, noise=0.1).options == {"beams": 7, "noise": 0.1}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"obstacle": 3}, "has no option 'obstacle': did you mean obstacles"),
        ({"obstacles": 15}, "obstacles must be an integer from 0 to 14, but is 15"),
        ({"obstacles": 2.0}, "obstacles must be an integer"),
        ({"beams": 1}, "beams must be an integer from 2 to 1000, but is 1"),
        ({"reach": 0.0}, r"reach must be a finite number above 0, but is 0\.0"),
        ({"noise": -0.1}, "noise must be a finite number of at least 0"),
        ({"penalty": float("nan")}, "penalty must be a finite number"),
        ({"maze": True, "obstacles": 3}, "the maze has no obstacles beside its walls, but obstacles is 3"),
        ({"max_steps": -1}, "max_steps must be an integer of at least 0"),
        ({"backend": "host"}, "has no backend 'host': choose from device"),
    ],
)
def test_mistakes_are_told_in_a_sentence(options, sentence):
    with pytest.raises(UsageError, match=sentence):
        envs.make("Navigation-v0", **options)


def test_listing_needs_no_jax():
    code = "import sys, envs.navigation as t; assert len(t.ids()) == 2; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert [listing.backends for listing in ids().values()] == [("device",)] * 2


@pytest.mark.slow
def test_ppo_learns_to_find_the_goal():
    """80,000 steps among two obstacles; even turns find few goals."""
    env = envs.make("Navigation-v0", obstacles=2, max_steps=200)
    agent = agents.make("ppo", env.spec, hidden=(64, 64), unroll=32, learning_rate=1e-3)
    loop = DeviceLoop(agent, env, parse(""), n=64, seeds=(0,), together=None)
    loop.start()
    rows = [loop.advance(total=40).metrics[0] for _ in range(40)]
    loop.close()
    assert float(rows[0]["success"]) < 0.4
    assert float(rows[-1]["success"]) > 0.8
    assert float(rows[-1]["crash"]) < 0.2
