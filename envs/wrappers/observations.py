"""Wrappers that change the shape of what the agent sees: `frame_stack` and `one_hot_obs`."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from envs.batch import select
from envs.contract import Array, EnvSpec, PyTree, TimeStep
from envs.errors import UsageError
from envs.wrappers.wrapper import Wrapper, WrapperState, lead


class Stack(NamedTuple):
    """The stacked observation of each environment `[n, ...]`, and whether its stream has begun, bool `[n]`."""

    obs: PyTree
    started: jax.Array


def frame_stack(k: int = 4) -> Wrapper:
    """Shows the last `k` observations at once, side by side on the last axis, the newest last.

    Mnih et al. 2015, "Human-level control through deep reinforcement learning". Every array `[..., C]` becomes
    `[..., k C]`, a scalar `[k]`. A new episode's first observation fills the whole stack, so nothing of the episode
    before shows through; `next_obs` of an ending step still has the frames that led to it.

    Args:
      k: number of observations, at least 1.
    """
    if k < 1:
        raise UsageError(f"frame_stack.k must be at least 1, but is {k}.")

    def spec(spec: EnvSpec) -> EnvSpec:
        def stacked(array: Array) -> Array:
            *outer, channels = array.shape or (1,)
            return dataclasses.replace(array, shape=(*outer, k * channels))

        return dataclasses.replace(spec, obs=jax.tree.map(stacked, spec.obs))

    def init(env_spec: EnvSpec, n: int) -> WrapperState:
        def zeros(array: Array) -> jax.Array:
            return jnp.zeros(lead(env_spec, n) + array.shape, jax.dtypes.canonicalize_dtype(array.dtype))

        return WrapperState((), Stack(jax.tree.map(zeros, spec(env_spec).obs), jnp.zeros(lead(env_spec, n), bool)))

    def timestep(state: WrapperState, timestep: TimeStep, evaluate: bool) -> tuple[WrapperState, TimeStep]:
        stack = state.each
        axes = stack.started.ndim

        def frame(x: jax.Array) -> jax.Array:
            x = jnp.asarray(x)
            return x[..., None] if x.ndim == axes else x

        def fill(x: jax.Array) -> jax.Array:
            return jnp.concatenate([frame(x)] * k, axis=-1)

        def push(old: jax.Array, x: jax.Array) -> jax.Array:
            new = frame(x)
            return jnp.concatenate([old[..., new.shape[-1] :], new], axis=-1)

        filled = jax.tree.map(fill, timestep.obs)
        next_obs = select(stack.started, jax.tree.map(push, stack.obs, timestep.next_obs), filled)
        obs = select(timestep.last, filled, next_obs)
        each = Stack(obs, jnp.ones_like(stack.started))
        return state._replace(each=each), timestep._replace(obs=obs, next_obs=next_obs)

    return Wrapper("frame_stack", spec, init, None, timestep)


def one_hot_obs() -> Wrapper:
    """Turns every integer scalar of the observation with known bounds into a float32 vector `[high - low + 1]`.

    The vector is 1 at the place of the value and 0 elsewhere; all other arrays pass unchanged.

    Raises:
      UsageError: in `spec`, where the observation has no such scalar.
    """

    def spec(spec: EnvSpec) -> EnvSpec:
        if not any(_values(array).size for array in jax.tree.leaves(spec.obs)):
            raise UsageError(f"one_hot_obs finds no integer scalar with known bounds in the observation of {spec.id}.")

        def encoded(array: Array) -> Array:
            size = _values(array).size
            return Array((size,), "float32", 0.0, 1.0) if size else array

        return dataclasses.replace(spec, obs=jax.tree.map(encoded, spec.obs))

    def init(spec: EnvSpec, n: int) -> WrapperState:
        return WrapperState(jax.tree.map(_values, spec.obs), ())

    def timestep(state: WrapperState, timestep: TimeStep, evaluate: bool) -> tuple[WrapperState, TimeStep]:
        def encode(x: jax.Array, values: jax.Array) -> jax.Array:
            return (jnp.asarray(x)[..., None] == values).astype(jnp.float32) if values.size else x

        obs, next_obs = (jax.tree.map(encode, obs, state.shared) for obs in (timestep.obs, timestep.next_obs))
        return state, timestep._replace(obs=obs, next_obs=next_obs)

    return Wrapper("one_hot_obs", spec, init, None, timestep)


def _values(array: Array) -> jax.Array:
    """The values that one element can take, int32; none where the array is not one to encode."""
    if array.shape or array.low is None or array.high is None or not jnp.issubdtype(array.dtype, jnp.integer):
        return jnp.zeros((0,), jnp.int32)
    return jnp.arange(int(array.low), int(array.high) + 1, dtype=jnp.int32)
