"""Every control task: the rules of time and truth over a batch, listing, options, pictures, and both backends."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from timestep_rules import assert_equal, check_first, check_rules, check_timestep, random_actions

import envs
from envs.control import TASKS, drawing, ids
from envs.errors import UsageError

LIMIT = 7
OPTIONS = {"PointMass-v0": {"speed_limit": 1.0, "wind": 0.1}}

each = pytest.mark.parametrize("id", sorted(TASKS))


def made(id, **options):
    return envs.make(id, backend="device", **OPTIONS.get(id, {}), **options)


def roller(env, n=3, steps=20):
    """`(key) -> TimeSteps`: the first one of a batch and those of random actions, in NumPy."""
    batch, actions = envs.batch(env, n), jnp.asarray(random_actions(env.spec.action, steps, n, 0))

    @jax.jit
    def run(key):
        key_reset, key_steps = jax.random.split(key)
        states, start = batch.reset(key_reset)
        body = lambda states, x: batch.step(x[0], states, x[1])  # noqa: E731
        return start, jax.lax.scan(body, states, (jax.random.split(key_steps, steps), actions))[1]

    def history(key):
        start, t = jax.device_get(run(key))
        return [start, *(jax.tree.map(lambda x, i=i: x[i].copy(), t) for i in range(steps))]

    return history


@each
def test_keeps_the_rules_and_repeats_under_its_key(id):
    env = made(id, max_steps=LIMIT)
    play = roller(env)
    history = play(jax.random.key(0))
    for timestep in history:
        check_timestep(env.spec, timestep, 3)
    check_first(env.spec, history[0])
    assert not any(extra.any() for extra in history[0].extras.values())  # no cost, no success yet
    assert env.spec.max_steps == LIMIT
    for i in range(3):  # an untrained push neither fells a pole nor climbs a hill in so few steps
        assert np.flatnonzero([t.last[i] for t in history]).tolist() == [LIMIT, 2 * LIMIT]
    for one, same in zip(history, play(jax.random.key(0)), strict=True):
        assert_equal(one, same)
    other = play(jax.random.key(1))
    assert (other[0].obs != history[0].obs).any()
    assert (history[LIMIT].obs != history[0].obs).any()  # a new episode is another one


@each
def test_default_limit_is_named_and_kept(id):
    env = made(id)
    state, _ = env.reset(jax.random.key(0), ())
    action = jnp.asarray(random_actions(env.spec.action, 1, 1, 0)[0, 0])
    for time, last in ((env.spec.max_steps - 2, False), (env.spec.max_steps - 1, True)):
        _, t = env.step(jax.random.key(0), state._replace(time=jnp.int32(time)), action)
        assert (bool(t.last), float(t.discount)) == (last, 1.0)


def test_the_host_keeps_the_rules_through_this_suite():
    check_rules(envs.make("Acrobot-v1", max_steps=9), steps=20)
    assert envs.make("Acrobot-v1").backend == "host"


def test_listing_needs_no_jax():
    code = "import sys, envs.control as t; assert len(t.ids()) == 6; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_backends_are_those_that_run():
    for id, listing in ids().items():
        assert (listing.name, listing.suite, bool(listing.doc)) == (id, "control", True)
        for backend in listing.backends:
            assert envs.make(id, backend=backend).spec.id == id
    assert ids()["CartPoleSwingup-v0"].backends == ("device",)


@each
def test_options_are_recorded(id):
    assert made(id, max_steps=9).options == {**OPTIONS.get(id, {}), "max_steps": 9}


@pytest.mark.parametrize(
    ("id", "options", "sentence"),
    [
        (
            "Pendulum-v1",
            {"backend": "device", "gravity": 1.0},
            "Pendulum-v1 has no option 'gravity': choose from max_st",
        ),
        ("Pendulum-v1", {"backend": "gpu"}, "has no backend 'gpu': choose from device, host"),
        ("CartPoleSwingup-v0", {"backend": "host"}, "has no backend 'host'"),
        ("CartPole-v1", {"backend": "device", "max_steps": -1}, "at least 0"),
        ("PointMass-v0", {"sped_limit": 1.0}, "did you mean speed_limit"),
        ("PointMass-v0", {"speed_limit": -1.0}, "speed_limit must be a finite number of at least 0"),
        ("PointMass-v0", {"wind": float("nan")}, "wind must be a finite number"),
        (
            "CartPoleSwingup-v0",
            {"constraint": "slider_position"},
            "no constraint 'slider_position': did you mean slider_p",
        ),
        ("CartPoleSwingup-v0", {"safety_coeff": 1.5}, r"must lie in 0\.\.1"),
    ],
)
def test_mistakes_are_told_in_a_sentence(id, options, sentence):
    with pytest.raises(UsageError, match=sentence):
        envs.make(id, **options)


@each
def test_pictures_show_the_state(id):
    env = made(id)
    state, _ = jax.device_get(env.reset(jax.random.key(0), ()))
    frame = env.picture(state)
    assert (frame.dtype, frame.shape[2]) == (np.uint8, 3)
    assert frame.shape[0] % 2 == frame.shape[1] % 2 == 0
    assert not (frame == 255).all()
    assert (env.picture(state._replace(body=state.body + 0.3)) != frame).any()


def test_a_bar_is_where_it_is_drawn():
    """On a canvas of 4 by 2 units around (1, 0), 40 by 20 pixels."""
    canvas = drawing.canvas(4, 2, (1, 0), pixels=40)
    canvas.bar((-0.5, 0.5), (1.5, 0.5), 0.1, drawing.RED)
    red = (canvas.frame == drawing.RED).all(-1)
    rows, columns = np.nonzero(red)
    assert canvas.frame.shape == (20, 40, 3)
    assert (rows.min(), rows.max()) == (4, 5)  # y from 0.4 to 0.6, the top row being 0.9 to 1
    assert (columns.min(), columns.max()) == (4, 25)  # x from -0.6 to 1.6, the first column being -1 to -0.9
