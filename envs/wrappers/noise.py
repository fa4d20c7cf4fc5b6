"""Noise on the way to the environment and back: `noise_action`, `noise_obs`, `drop_obs` and `stick_obs`.

Challenges of Dulac-Arnold et al. 2020, "An empirical investigation of the challenges of real-world reinforcement
learning". Noise belongs to the environment: it is there in evaluation as in training. Each environment draws for
itself from a key in its state, with which the key of every action is mixed; before the first action no key is known,
so the noise of a stream's first observation depends on the environment's place alone.
"""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from envs.batch import select
from envs.contract import Array, Box, EnvSpec, PyTree, TimeStep
from envs.errors import UsageError
from envs.wrappers.actions import Bounds
from envs.wrappers.delays import check_steps, ended
from envs.wrappers.wrapper import Wrapper, WrapperState, lead


def noise_action(std: float = 0.1) -> Wrapper:
    """Adds normal noise to every action and moves the sum to the nearest point of the environment's box.

    Args:
      std: standard deviation, in units of half the box's width in each direction (in the box from -1 to 1, those of
        the action), at least 0.

    Raises:
      UsageError: in `spec`, where actions are not continuous or a bound is infinite.
    """
    _check_std("noise_action.std", std)

    def spec(spec: EnvSpec) -> EnvSpec:
        finite_box("noise_action", spec)
        return spec

    def init(spec: EnvSpec, n: int) -> WrapperState:
        return WrapperState(finite_box("noise_action", spec), first_keys(n))

    def action(key: jax.Array, state: WrapperState, action: jax.Array) -> tuple[WrapperState, jax.Array]:
        low, high = state.shared
        held = mixed(key, state.each)
        noise = draw(jax.random.normal, keys_of(held), 0, action)
        return state._replace(each=held), jnp.clip(action + 0.5 * (high - low) * std * noise, low, high)

    return Wrapper("noise_action", spec, init, action, None)


def noise_obs(std: float = 0.1) -> Wrapper:
    """Adds normal noise to every element of the float observations; leaves of other types pass unchanged.

    The first observation of an episode is noisy too. `obs` and `next_obs` are drawn for apart where they differ.

    Args:
      std: standard deviation, in the observation's own units, at least 0.

    Raises:
      UsageError: in `spec`, where the observation has no float array.
    """
    _check_std("noise_obs.std", std)

    def spec(spec: EnvSpec) -> EnvSpec:
        _check_floats("noise_obs", spec)
        unbounded = {"low": None, "high": None} if std else {}
        return dataclasses.replace(spec, obs=_replace_floats(spec.obs, lambda array: unbounded))

    def init(spec: EnvSpec, n: int) -> WrapperState:
        return WrapperState((), first_keys(n))

    def action(key: jax.Array, state: WrapperState, action: PyTree) -> tuple[WrapperState, PyTree]:
        return state._replace(each=mixed(key, state.each)), action

    def timestep(state: WrapperState, timestep: TimeStep, evaluate: bool) -> tuple[WrapperState, TimeStep]:
        keys = keys_of(state.each)

        def noisy(obs: PyTree, first: int) -> PyTree:
            arrays, tree = jax.tree.flatten(obs)
            added = [
                x + std * draw(jax.random.normal, keys, first + 2 * index, x) if is_float(x) else x
                for index, x in enumerate(map(jnp.asarray, arrays))
            ]
            return jax.tree.unflatten(tree, added)

        next_obs = noisy(timestep.next_obs, 0)
        obs = select(ended(timestep), noisy(timestep.obs, 1), next_obs)
        return state, timestep._replace(obs=obs, next_obs=next_obs)

    return Wrapper("noise_obs", spec, init, action, timestep)


def drop_obs(p: float = 0.01, steps: int = 1) -> Wrapper:
    """Sensors that fail for a while: an element of a float observation reads 0 for `steps` steps.

    Each element fails for itself: at every step at which it works it fails with probability `p`, so that it is broken
    for a share `p steps / (p steps + 1 - p)` of a long time. An episode begins with all of them working. Leaves of
    other types pass unchanged.

    Args:
      p: probability of a failure, in 0..1.
      steps: how long it lasts in agent steps, the present one included, at least 1.

    Raises:
      UsageError: in `spec`, where the observation has no float array.
    """
    return _failing("drop_obs", p, steps, stuck=False)


def stick_obs(p: float = 0.01, steps: int = 1) -> Wrapper:
    """Sensors that stick for a while: an element of a float observation keeps its value for `steps` steps.

    As `drop_obs`, but what fails goes on showing what it showed a step before (at an episode's first observation, what
    it shows there).

    Args:
      p: probability that an element sticks, in 0..1.
      steps: how long it does in agent steps, the present one included, at least 1.

    Raises:
      UsageError: in `spec`, where the observation has no float array.
    """
    return _failing("stick_obs", p, steps, stuck=True)


class Sensors(NamedTuple):
    """Of each environment; lists have one entry for each leaf of the observation, None where it is not float.

    Attributes:
      key: uint32 `[n, 2]`.
      left: for how many more steps each element is broken, int32 `[n, ...]`.
      shown: what it showed last `[n, ...]`, None if that is of no use.
      started: whether the stream has begun, bool `[n]`.
    """

    key: jax.Array
    left: list[Any]
    shown: list[Any]
    started: jax.Array


def _failing(name: str, p: float, steps: int, stuck: bool) -> Wrapper:
    check_probability(f"{name}.p", p)
    check_steps(f"{name}.steps", steps)

    def spec(spec: EnvSpec) -> EnvSpec:
        _check_floats(name, spec)

        def bounds(array: Array) -> dict[str, float | None]:
            low, high = array.low, array.high
            return {"low": None if low is None else min(low, 0.0), "high": None if high is None else max(high, 0.0)}

        return spec if stuck else dataclasses.replace(spec, obs=_replace_floats(spec.obs, bounds))

    def init(spec: EnvSpec, n: int) -> WrapperState:
        arrays = jax.tree.leaves(spec.obs)

        def zeros(array: Array, dtype: str) -> jax.Array | None:
            shape = lead(spec, n) + array.shape
            return jnp.zeros(shape, jax.dtypes.canonicalize_dtype(dtype)) if is_float(array) else None

        left = [zeros(array, "int32") for array in arrays]
        shown = [zeros(array, array.dtype) if stuck else None for array in arrays]
        return WrapperState((), Sensors(first_keys(n), left, shown, jnp.zeros(n, bool)))

    def action(key: jax.Array, state: WrapperState, action: PyTree) -> tuple[WrapperState, PyTree]:
        return state._replace(each=state.each._replace(key=mixed(key, state.each.key))), action

    def read(fails: jax.Array, left: jax.Array, x: jax.Array, shown: jax.Array) -> tuple[jax.Array, jax.Array]:
        left = jnp.where((left == 0) & fails, steps, left)
        return jnp.where(left > 0, shown, x), jnp.maximum(left - 1, 0)

    def timestep(state: WrapperState, timestep: TimeStep, evaluate: bool) -> tuple[WrapperState, TimeStep]:
        sensors = state.each
        keys, opens = keys_of(sensors.key), ended(timestep) | ~sensors.started
        (first, tree), successors = jax.tree.flatten(timestep.obs), jax.tree.leaves(timestep.next_obs)
        obs, next_obs, lefts = list(first), list(successors), list(sensors.left)
        for index, left in enumerate(sensors.left):
            if left is None:
                continue
            x, y = jnp.asarray(first[index]), jnp.asarray(successors[index])
            chance = [draw(jax.random.uniform, keys, 2 * index + i, jnp.zeros(left.shape)) for i in (0, 1)]
            successor = read(chance[0] < p, left, y, sensors.shown[index] if stuck else jnp.zeros_like(y))
            opening = read(chance[1] < p, jnp.zeros_like(left), x, x if stuck else jnp.zeros_like(x))
            obs[index], lefts[index] = select(opens, opening, successor)
            next_obs[index] = select(sensors.started, successor[0], opening[0])
        shown = [None if old is None else new for old, new in zip(sensors.shown, obs, strict=True)]
        each = Sensors(sensors.key, lefts, shown, jnp.ones_like(sensors.started))
        seen = {"obs": jax.tree.unflatten(tree, obs), "next_obs": jax.tree.unflatten(tree, next_obs)}
        return state._replace(each=each), timestep._replace(**seen)

    return Wrapper(name, spec, init, action, timestep)


# Randomness of one environment, which `timestep` has no key for.


def first_keys(n: int) -> jax.Array:
    """Key data of `n` environments, uint32 `[n, 2]`: plain zeros, with which exported policies begin too."""
    return jnp.zeros((n, *jax.random.key_data(jax.random.key(0)).shape), jnp.uint32)


def mixed(key: jax.Array, held: jax.Array) -> jax.Array:
    """The key data `held` `[n, 2]` moved on, with a number out of `key` for each environment mixed in.

    Mixed and not replaced, so that it moves on even where every step has the same `key`, as in an exported policy.
    """

    def one(data: jax.Array, number: jax.Array) -> jax.Array:
        return jax.random.key_data(jax.random.fold_in(jax.random.wrap_key_data(data), number))

    return jax.vmap(one)(held, jax.random.bits(key, held.shape[:1]))


def keys_of(held: jax.Array) -> jax.Array:
    """A key for each environment `[n]`, different even where the key data `held` `[n, 2]` is the same."""
    return jax.vmap(jax.random.fold_in)(jax.random.wrap_key_data(held), jnp.arange(held.shape[0]))


def draw(sampler: Any, keys: jax.Array, use: int, like: jax.Array) -> jax.Array:
    """`sampler(key, shape, dtype)` of each environment, shaped like `like` `[n, ...]`; every `use` draws anew."""
    return jax.vmap(lambda key: sampler(jax.random.fold_in(key, use), like.shape[1:], like.dtype))(keys)


# Checks.


def finite_box(name: str, spec: EnvSpec) -> Bounds:
    """The bounds of the environment's actions; raises UsageError where there are none."""
    if not isinstance(spec.action, Box):
        raise UsageError(f"{name} needs continuous actions, but those of {spec.id} are discrete.")
    if not all(map(math.isfinite, spec.action.low + spec.action.high)):
        raise UsageError(f"{name} needs finite bounds, but an action of {spec.id} has none.")
    return Bounds(jnp.asarray(spec.action.low), jnp.asarray(spec.action.high))


def check_probability(name: str, p: float) -> None:
    """Raises UsageError where `p` is no probability."""
    if not 0.0 <= p <= 1.0:
        raise UsageError(f"{name} must lie in 0..1, but is {p}.")


def is_float(array: Any) -> bool:
    """Whether an array, or the spec of one, holds floating-point numbers."""
    return jnp.issubdtype(array.dtype, jnp.floating)


def _check_std(name: str, std: float) -> None:
    if not 0.0 <= std < math.inf:
        raise UsageError(f"{name} must be a finite number of at least 0, but is {std}.")


def _check_floats(name: str, spec: EnvSpec) -> None:
    if not any(map(is_float, jax.tree.leaves(spec.obs))):
        raise UsageError(f"{name} finds no float array in the observation of {spec.id}.")


def _replace_floats(obs: PyTree, change: Any) -> PyTree:
    return jax.tree.map(lambda a: dataclasses.replace(a, **change(a)) if is_float(a) else a, obs)
