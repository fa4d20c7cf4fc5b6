"""Wrappers on the way from agent to environment: `clip_action`, `rescale_action` and `sticky_actions`."""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from envs.batch import select
from envs.contract import Box, EnvSpec, PyTree, TimeStep
from envs.errors import UsageError
from envs.wrappers.wrapper import Wrapper, WrapperState, lead, no_action


class Bounds(NamedTuple):
    """The environment's box, float32 `[A]` each; part of the state so that an exported policy carries it."""

    low: jax.Array
    high: jax.Array


def clip_action() -> Wrapper:
    """Moves every action to the nearest point of the environment's box; the agent sees the same box.

    Raises:
      UsageError: in `spec`, where actions are not continuous.
    """

    def spec(spec: EnvSpec) -> EnvSpec:
        _box("clip_action", spec)
        return spec

    def action(key: jax.Array, state: WrapperState, action: jax.Array) -> tuple[WrapperState, jax.Array]:
        return state, jnp.clip(action, state.shared.low, state.shared.high)

    return Wrapper("clip_action", spec, _bounds, action, None)


def rescale_action() -> Wrapper:
    """Shows the agent the box `[-1, 1]` and stretches its actions to the environment's: `low + (a + 1)(high - low)/2`.

    Actions outside of `[-1, 1]` end outside of the environment's box; `clip_action` on either side prevents it.

    Raises:
      UsageError: in `spec`, where actions are not continuous or a bound is infinite.
    """

    def spec(spec: EnvSpec) -> EnvSpec:
        box = _box("rescale_action", spec)
        if not all(map(math.isfinite, box.low + box.high)):
            raise UsageError(f"rescale_action needs finite bounds, but an action of {spec.id} has none.")
        return dataclasses.replace(spec, action=Box((-1.0,) * len(box.low), (1.0,) * len(box.high)))

    def action(key: jax.Array, state: WrapperState, action: jax.Array) -> tuple[WrapperState, jax.Array]:
        low, high = state.shared
        return state, low + 0.5 * (action + 1.0) * (high - low)

    return Wrapper("rescale_action", spec, _bounds, action, None)


class Previous(NamedTuple):
    """The action that each environment executed last `[n, ...]`, and whether it was of this episode, bool `[n]`."""

    action: PyTree
    known: jax.Array


def sticky_actions(p: float = 0.25) -> Wrapper:
    """Makes an environment stochastic: with probability `p` the action executed last is executed again.

    Machado et al. 2018, "Revisiting the Arcade Learning Environment". Each environment draws for itself, in training
    and in evaluation; the first action of an episode is always the agent's own.

    Args:
      p: probability of a repetition, in 0..1.
    """
    if not 0.0 <= p <= 1.0:
        raise UsageError(f"sticky_actions.p must lie in 0..1, but is {p}.")

    def init(spec: EnvSpec, n: int) -> WrapperState:
        return WrapperState((), Previous(no_action(spec, n), jnp.zeros(lead(spec, n), bool)))

    def action(key: jax.Array, state: WrapperState, action: jax.Array) -> tuple[WrapperState, jax.Array]:
        previous = state.each
        repeat = previous.known & jax.random.bernoulli(key, p, previous.known.shape)
        action = select(repeat, previous.action, action)
        return state._replace(each=Previous(action, jnp.ones_like(previous.known))), action

    def timestep(state: WrapperState, timestep: TimeStep, evaluate: bool) -> tuple[WrapperState, TimeStep]:
        previous = state.each
        return state._replace(each=previous._replace(known=previous.known & ~timestep.last)), timestep

    return Wrapper("sticky_actions", None, init, action, timestep)


def _box(name: str, spec: EnvSpec) -> Box:
    if not isinstance(spec.action, Box):
        raise UsageError(f"{name} needs continuous actions, but those of {spec.id} are discrete.")
    return spec.action


def _bounds(spec: EnvSpec, n: int) -> WrapperState:
    assert isinstance(spec.action, Box)
    return WrapperState(Bounds(jnp.asarray(spec.action.low), jnp.asarray(spec.action.high)), ())
