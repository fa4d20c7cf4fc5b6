"""Pushes: their length, direction, duration and frequency, and that an episode begins without one."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.contract import Array, Box, Discrete, EnvSpec, TimeStep
from envs.errors import UsageError
from envs.wrappers import chain, parse, perturb_action

SPEC = EnvSpec("Pushed-v0", "test", Array((1,), "float32"), Box((-2.0, 0.0), (2.0, 1.0)))
HALF, MIDDLE = np.float32([2.0, 0.5]), np.float32([0.0, 0.5])


def pushes(wrapper, last, seed=0, evaluate=False, spec=SPEC):
    """The pushes `[T, ..., A]` on an agent that acts in the middle, in half widths; `last` `[T, ...]` ends episodes."""
    wrapper = chain(wrapper)
    blank = TimeStep(jnp.zeros(last.shape[1]), None, None, None, jnp.zeros(last.shape[1]), {})

    def step(state, x):
        key, last = x
        state, sent = wrapper.action(key, state, jnp.broadcast_to(MIDDLE, (*last.shape, 2)))
        state, _ = wrapper.timestep(state, blank._replace(last=last), evaluate)
        return state, sent

    keys = jax.random.split(jax.random.key(seed), len(last))
    state = wrapper.init(spec, last.shape[1])
    return (np.asarray(jax.jit(lambda s: jax.lax.scan(step, s, (keys, last)))(state)[1]) - MIDDLE) / HALF


def test_a_push_lasts_and_an_end_stops_it():
    last = np.zeros((9, 2), bool)
    last[4, 0] = True  # in the middle of the second push
    found = pushes(perturb_action(1.0, 0.5, 3), last)
    np.testing.assert_allclose(np.linalg.norm(found, axis=-1), 0.5, rtol=1e-5)
    steps = np.abs(np.diff(found, axis=0)).max(axis=-1) > 1e-4
    assert np.flatnonzero(steps[:, 0]).tolist() == [2, 4, 7]
    assert np.flatnonzero(steps[:, 1]).tolist() == [2, 5]


@pytest.mark.parametrize("evaluate", [False, True])
def test_how_often_and_which_way(evaluate):
    p, steps = 0.05, 4
    found = pushes(perturb_action(p, 0.8, steps), np.zeros((500, 100), bool), evaluate=evaluate)
    length = np.linalg.norm(found, axis=-1)
    pushed = length > 0.01
    np.testing.assert_allclose(length[pushed], 0.8, rtol=1e-4)
    assert (found[~pushed] == 0).all()
    assert pushed[50:].mean() == pytest.approx(p * steps / (p * steps + 1 - p), rel=0.03)
    assert pushed[0].mean() == pytest.approx(p, abs=0.05)
    angle = np.arctan2(found[pushed][:, 1], found[pushed][:, 0])
    np.testing.assert_allclose(np.histogram(angle, 4, (-np.pi, np.pi))[0] / len(angle), 0.25, atol=0.03)


def test_the_box_holds_and_without_pushes_nothing_changes():
    last = np.zeros((50, 20), bool)
    assert np.abs(pushes(perturb_action(1.0, 100.0), last)).max() == 1
    assert (pushes(perturb_action(0.0, 1.0), last) == 0).all()
    assert (pushes(perturb_action(1.0, 0.0), last) == 0).all()


def test_seeds_repeat_and_environments_and_agents_differ():
    last = np.zeros((30, 4), bool)
    one, same, other = (pushes(perturb_action(0.5), last, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()
    assert len(np.unique(one.round(5)[1:][one[1:] != 0])) > 50
    pair = pushes(perturb_action(0.5, 0.5), np.zeros((30, 4, 2), bool), spec=dataclasses.replace(SPEC, agents=2))
    assert pair.shape == (30, 4, 2, 2)
    assert (pair[:, :, 0] != pair[:, :, 1]).mean() > 0.5


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("p", -0.1, r"perturb_action.p must lie in 0\.\.1, but is -0.1"),
        ("size", -1.0, "perturb_action.size must be a finite number of at least 0"),
        ("size", float("inf"), "perturb_action.size must be a finite number of at least 0"),
        ("steps", 0, "perturb_action.steps must be a whole number of at least 1"),
    ],
)
def test_options_are_checked(option, value, sentence):
    with pytest.raises(UsageError, match=sentence):
        parse("perturb_action", **{f"perturb_action.{option}": value})


@pytest.mark.parametrize(
    ("action", "sentence"), [(Discrete(2), "continuous actions"), (Box((0.0,), (np.inf,)), "finite bounds")]
)
def test_actions_that_have_no_width_are_told(action, sentence):
    with pytest.raises(UsageError, match=f"perturb_action needs {sentence}"):
        parse("perturb_action").spec(dataclasses.replace(SPEC, action=action))
