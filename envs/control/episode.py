"""What the control tasks share: a body that moves, a clock, and the `Env` made of them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from envs.contract import Array, Box, Discrete, Env, EnvSpec, PyTree, TimeStep

VERSION = "control 1"


class State(NamedTuple):
    """What moves, float32 `[k]` as its task documents it, and the steps of this episode, int32 `[]`."""

    body: jax.Array
    time: jax.Array


class Outcome(NamedTuple):
    """One step of a body: the new one, float32 `[k]`, the reward `[]`, whether it terminated, and the extras if any."""

    body: jax.Array
    reward: jax.Array
    terminated: jax.Array | bool = False
    extras: dict[str, jax.Array] | None = None


def environment(
    id: str,
    obs: Array,
    action: Box | Discrete,
    tasks: Array,
    max_steps: int,
    start: Callable[[jax.Array, PyTree], jax.Array],
    advance: Callable[[jax.Array, jax.Array, jax.Array], Outcome],
    see: Callable[[jax.Array], jax.Array],
    picture: Callable[[Any], Any],
    extras: dict[str, Array] | None = None,
) -> Env:
    """The task as an `Env`: it counts steps, truncates at the limit, and builds the `TimeStep`s.

    Args:
      id: its name.
      obs: the observation's spec.
      action: the action's spec.
      tasks: the spec of a task, which `start` takes in place of what it draws.
      max_steps: the time limit in steps; termination wins where both fall on one step.
      start: `(key, task) -> body`; `task` is `()` where nothing is given.
      advance: `(key, body, action) -> Outcome`.
      see: `(body) -> observation`.
      picture: `(body) -> uint8 [H, W, 3]`, on the host.
      extras: the spec of `Outcome.extras`; they are 0 at a reset.
    """
    extras = extras or {}
    spec = EnvSpec(id, VERSION, obs, action, extras, max_steps, tasks=tasks)

    def reset(key: jax.Array, task: PyTree) -> tuple[State, TimeStep]:
        state = State(jnp.asarray(start(key, task), jnp.float32), jnp.int32(0))
        nothing = {name: jnp.zeros(array.shape, array.dtype) for name, array in extras.items()}
        seen = see(state.body)
        return state, TimeStep(seen, jnp.float32(0), jnp.float32(1), jnp.bool_(False), seen, nothing)

    def step(key: jax.Array, state: State, action: jax.Array) -> tuple[State, TimeStep]:
        outcome = advance(key, state.body, action)
        state = State(outcome.body, state.time + 1)
        seen, terminated = see(state.body), jnp.asarray(outcome.terminated)
        timestep = TimeStep(
            obs=seen,
            reward=jnp.asarray(outcome.reward, jnp.float32),
            discount=1.0 - terminated.astype(jnp.float32),
            last=terminated | (state.time >= max_steps),
            next_obs=seen,
            extras=outcome.extras or {},
        )
        return state, timestep

    return Env(spec, reset, step, picture=lambda state: picture(state.body))


def given(task: PyTree, drawn: jax.Array) -> jax.Array:
    """The task where there is one, else what was drawn."""
    return drawn if isinstance(task, tuple) else task


def wrapped(angle: jax.Array) -> jax.Array:
    """The angle in radians within `-pi` and `pi`."""
    return (angle + jnp.pi) % (2 * jnp.pi) - jnp.pi


def runge_kutta(derivative: Callable[[jax.Array], jax.Array], body: jax.Array, dt: float) -> jax.Array:
    """The body after `dt` seconds, by one classical Runge-Kutta step of fourth order."""
    k1 = derivative(body)
    k2 = derivative(body + dt / 2 * k1)
    k3 = derivative(body + dt / 2 * k2)
    k4 = derivative(body + dt * k3)
    return body + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
