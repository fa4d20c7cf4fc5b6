"""The toys as device `Env`s in pure JAX, one factory each, its keyword arguments the options of `make`."""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from envs.contract import Array, Discrete, Env, EnvSpec, PyTree, TimeStep
from envs.errors import UsageError

VERSION = "toys 1"
SUCCESS = {"success": Array((), "bool")}


T = TypeVar("T")


def _paired(name: str, value: T) -> dict[str, T]:
    """An extra that describes a state, under both of its names."""
    return {name: value, f"next_{name}": value}


def _begin(obs: jax.Array, extras: dict) -> TimeStep:
    return TimeStep(obs, jnp.float32(0.0), jnp.float32(1.0), jnp.bool_(False), obs, extras)


def _advance(obs: jax.Array, reward: jax.Array, terminated: jax.Array, truncated: jax.Array, extras: dict) -> TimeStep:
    discount = 1.0 - jnp.asarray(terminated, jnp.float32)
    return TimeStep(obs, jnp.asarray(reward, jnp.float32), discount, terminated | truncated, obs, extras)


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise UsageError(f"{name} must be at least {least}, but is {value}.")


def bandit(arms: int = 4, noise: float = 0.1) -> Env:
    """`arms` choices, one step an episode: arm `i` pays `means[i]` plus `noise` times a standard normal draw.

    A task is the array of means `[arms]`; without one they are evenly spaced from 0 to 1, the last arm the best. The
    observation is a constant 1, float32 `[1]`.
    """
    _at_least("Bandit-v0: arms", arms, 2)
    obs = Array((1,), "float32", 1.0, 1.0)
    tasks = Array((arms,), "float32")
    spec = EnvSpec("Bandit-v0", VERSION, obs, Discrete(arms), max_steps=1, tasks=tasks)

    def reset(key: jax.Array, task: PyTree) -> tuple[jax.Array, TimeStep]:
        means = jnp.linspace(0.0, 1.0, arms) if isinstance(task, tuple) else task
        return means, _begin(jnp.ones(1), {})

    def step(key: jax.Array, means: jax.Array, action: jax.Array) -> tuple[jax.Array, TimeStep]:
        reward = means[action] + noise * jax.random.normal(key)
        return means, _advance(jnp.ones(1), reward, jnp.bool_(True), jnp.bool_(False), {})

    return Env(spec, reset, step)


class Walk(NamedTuple):
    """Where in the corridor, and the steps of this episode, int32 `[]` each."""

    place: jax.Array
    time: jax.Array


def chain(length: int = 8, max_steps: int = 0) -> Env:
    """A corridor of `length` places: 0 steps left, 1 steps right, reaching the last place pays 1 and terminates.

    The observation is the place, one-hot float32 `[length]`; episodes are truncated after `max_steps`
    (`4 length` where 0). The shortest way takes `length - 1` steps.
    """
    _at_least("Chain-v0: length", length, 2)
    _at_least("Chain-v0: max_steps", max_steps, 0)
    limit = max_steps or 4 * length
    extras = SUCCESS | _paired("grid_key", Array((2,), "uint32"))
    obs = Array((length,), "float32", 0.0, 1.0)
    spec = EnvSpec("Chain-v0", VERSION, obs, Discrete(2, ("left", "right")), extras, limit)

    def see(place: jax.Array) -> jax.Array:
        return jax.nn.one_hot(place, length)

    def tell(place: jax.Array) -> dict:
        key = jnp.stack([jnp.uint32(0), place.astype(jnp.uint32)])
        return {"success": place == length - 1} | _paired("grid_key", key)

    def reset(key: jax.Array, task: PyTree) -> tuple[Walk, TimeStep]:
        place = jnp.int32(0)
        return Walk(place, jnp.int32(0)), _begin(see(place), tell(place))

    def step(key: jax.Array, state: Walk, action: jax.Array) -> tuple[Walk, TimeStep]:
        place = jnp.clip(state.place + 2 * action.astype(jnp.int32) - 1, 0, length - 1)
        time = state.time + 1
        there = place == length - 1
        return Walk(place, time), _advance(see(place), there, there, time >= limit, tell(place))

    return Env(spec, reset, step)


class Count(NamedTuple):
    """The episode's tag, float32 `[]`, its steps, int32 `[]`, and the steps at which it ends, int32 `[2]`."""

    tag: jax.Array
    time: jax.Array
    ends: jax.Array


def counting(terminate: int = 3, limit: int = 5) -> Env:
    """Counts: the observation is `(tag, step)`, float32 `[2]`, and the reward is the number of the step just taken.

    `tag` is drawn for every episode out of 1000 values, so that an observation tells which episode it is of; it is
    also an extra (with `next_tag`), and the extra `length` is the step's number. Terminates at step `terminate` and is
    truncated at step `limit` (0: never); where both fall on one step termination wins. A task is another
    `(terminate, limit)`, int32 `[2]`. Actions do nothing.
    """
    _at_least("Counting-device-v0: terminate", terminate, 0)
    _at_least("Counting-device-v0: limit", limit, 0)
    extras = {"length": Array((), "float32")} | _paired("tag", Array((), "float32", 0.0, 999.0))
    obs, tasks = Array((2,), "float32"), Array((2,), "int32", 0)
    spec = EnvSpec("Counting-device-v0", VERSION, obs, Discrete(2), extras, limit, tasks=tasks)

    def see(state: Count) -> jax.Array:
        return jnp.stack([state.tag, state.time.astype(jnp.float32)])

    def tell(state: Count) -> dict:
        return {"length": state.time.astype(jnp.float32)} | _paired("tag", state.tag)

    def reset(key: jax.Array, task: PyTree) -> tuple[Count, TimeStep]:
        ends = jnp.array([terminate, limit]) if isinstance(task, tuple) else task
        state = Count(jax.random.randint(key, (), 0, 1000).astype(jnp.float32), jnp.int32(0), ends)
        return state, _begin(see(state), tell(state))

    def step(key: jax.Array, state: Count, action: jax.Array) -> tuple[Count, TimeStep]:
        state = state._replace(time=state.time + 1)
        terminated, truncated = state.time == state.ends
        return state, _advance(see(state), state.time, terminated, truncated, tell(state))

    return Env(spec, reset, step)


class Recall(NamedTuple):
    """The cue, 0 or 1, and the steps of this episode, int32 `[]` each."""

    cue: jax.Array
    time: jax.Array


def memory(length: int = 5) -> Env:
    """A cue is seen at the first of `length` steps; the action of the last step must name it: 1 if it does, else -1.

    The observation is float32 `[3]`: the cue as one-hot, seen once, and a light that asks for the answer. Every
    policy without memory has a mean return of 0.
    """
    _at_least("Memory-v0: length", length, 2)
    obs = Array((3,), "float32", 0.0, 1.0)
    spec = EnvSpec("Memory-v0", VERSION, obs, Discrete(2), SUCCESS, length)

    def see(state: Recall) -> jax.Array:
        cue = jax.nn.one_hot(state.cue, 2) * (state.time == 0)
        return jnp.append(cue, (state.time == length - 1).astype(jnp.float32))

    def reset(key: jax.Array, task: PyTree) -> tuple[Recall, TimeStep]:
        state = Recall(jax.random.bernoulli(key).astype(jnp.int32), jnp.int32(0))
        return state, _begin(see(state), {"success": jnp.bool_(False)})

    def step(key: jax.Array, state: Recall, action: jax.Array) -> tuple[Recall, TimeStep]:
        state = state._replace(time=state.time + 1)
        ended = state.time >= length
        right = ended & (action == state.cue)
        reward = jnp.where(ended, jnp.where(right, 1.0, -1.0), 0.0)
        return state, _advance(see(state), reward, ended, jnp.bool_(False), {"success": right})

    return Env(spec, reset, step)


GAMES: dict[str, Callable[..., Env]] = {
    "Bandit-v0": bandit,
    "Chain-v0": chain,
    "Counting-device-v0": counting,
    "Memory-v0": memory,
}
