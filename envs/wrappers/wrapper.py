"""The contract of a wrapper: pure state between environment and agent, a part of the train state."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from envs.contract import Box, Discrete, EnvSpec, MultiDiscrete, PyTree, TimeStep


class WrapperState(NamedTuple):
    """What a wrapper remembers.

    Attributes:
      shared: what all environments have in common (statistics, bounds): frozen in evaluation, saved and exported.
      each: what belongs to one environment, `[n, ...]`: frame stacks, previous actions, return accumulators.
    """

    shared: PyTree
    each: PyTree


class Wrapper(NamedTuple):
    """A change to the stream of `TimeStep`s and actions of a batch, the same in the host and the device loop.

    `timestep` is called with the reset's TimeStep first and with every step after it, always batched `[n, ...]`. For an
    evaluation, `init` gives a new `each` and the `shared` of the train state takes the place of the new one. A hook
    that changes nothing is None; `chain` fills these in, so loops call the hooks of a chain without asking.

    Attributes:
      name: its name in the registry.
      spec: `(EnvSpec) -> EnvSpec`, what the agent sees. Raises `UsageError` where it does not fit the environment.
      init: `(spec, n) -> WrapperState`, with the spec on the environment's side.
      action: `(key, state, action) -> (state, action)`, on the way to the environment.
      timestep: `(state, timestep, evaluate) -> (state, timestep)`, on the way back; with `evaluate` (static) `shared`
        is read and not written.
    """

    name: str
    spec: Callable[[EnvSpec], EnvSpec] | None = None
    init: Callable[[EnvSpec, int], WrapperState] | None = None
    action: Callable[[jax.Array, WrapperState, PyTree], tuple[WrapperState, PyTree]] | None = None
    timestep: Callable[[WrapperState, TimeStep, bool], tuple[WrapperState, TimeStep]] | None = None


class Chain(NamedTuple):
    """Wrappers as one, the hooks of a `Wrapper` all filled in: what loops work with."""

    name: str
    spec: Callable[[EnvSpec], EnvSpec]
    init: Callable[[EnvSpec, int], WrapperState]
    action: Callable[[jax.Array, WrapperState, PyTree], tuple[WrapperState, PyTree]]
    timestep: Callable[[WrapperState, TimeStep, bool], tuple[WrapperState, TimeStep]]


def lead(spec: EnvSpec, n: int) -> tuple[int, ...]:
    """The axes in front of every array of a batch: `(n,)`, or `(n, agents)` with several agents."""
    return (n,) if spec.agents == 1 else (n, spec.agents)


def no_action(spec: EnvSpec, n: int) -> jax.Array:
    """Zeros shaped like one action of every environment, `[n, ...]`."""
    axes = lead(spec, n)
    match spec.action:
        case Discrete():
            return jnp.zeros(axes, jnp.int32)
        case MultiDiscrete(n=sizes):
            return jnp.zeros((*axes, len(sizes)), jnp.int32)
        case Box(low=low):
            return jnp.zeros((*axes, len(low)), jnp.float32)


def chain(*wrappers: Wrapper) -> Chain:
    """One wrapper out of several, the first nearest to the environment; no hook of the result is None."""

    def chained_spec(spec: EnvSpec) -> EnvSpec:
        for wrapper in wrappers:
            spec = wrapper.spec(spec) if wrapper.spec else spec
        return spec

    def init(spec: EnvSpec, n: int) -> WrapperState:
        states = []
        for wrapper in wrappers:
            states.append(wrapper.init(spec, n) if wrapper.init else WrapperState((), ()))
            spec = wrapper.spec(spec) if wrapper.spec else spec
        return _join(states)

    def action(key: jax.Array, state: WrapperState, action: PyTree) -> tuple[WrapperState, PyTree]:
        states = _split(state)
        for index, wrapper in reversed(list(enumerate(wrappers))):
            if wrapper.action:
                states[index], action = wrapper.action(jax.random.fold_in(key, index), states[index], action)
        return _join(states), action

    def timestep(state: WrapperState, timestep: TimeStep, evaluate: bool) -> tuple[WrapperState, TimeStep]:
        states = _split(state)
        for index, wrapper in enumerate(wrappers):
            if wrapper.timestep:
                states[index], timestep = wrapper.timestep(states[index], timestep, evaluate)
        return _join(states), timestep

    return Chain("+".join(wrapper.name for wrapper in wrappers), chained_spec, init, action, timestep)


def _join(states: list[WrapperState]) -> WrapperState:
    return WrapperState(tuple(state.shared for state in states), tuple(state.each for state in states))


def _split(state: WrapperState) -> list[WrapperState]:
    return [WrapperState(shared, each) for shared, each in zip(state.shared, state.each, strict=True)]
