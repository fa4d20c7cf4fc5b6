"""Changes to the time of a device environment, `Env` to `Env`; host environments take these as options when made."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from envs.contract import Env, PyTree, TimeStep
from envs.errors import UsageError


class Limited(NamedTuple):
    """The environment's own state, and the steps of this episode, int32 `[]`."""

    inner: PyTree
    time: jax.Array


def time_limit(env: Env, n: int) -> Env:
    """Truncates episodes after `n` steps; a termination on the very step stays one (`discount` 0).

    Raises:
      UsageError: where `n` is below 1.
    """
    if n < 1:
        raise UsageError(f"A time limit must be at least 1 step, but is {n}.")

    def reset(key: jax.Array, task: PyTree) -> tuple[Limited, TimeStep]:
        inner, timestep = env.reset(key, task)
        return Limited(inner, jnp.int32(0)), timestep

    def step(key: jax.Array, state: Limited, action: PyTree) -> tuple[Limited, TimeStep]:
        inner, timestep = env.step(key, state.inner, action)
        time = state.time + 1
        return Limited(inner, time), timestep._replace(last=timestep.last | (time >= n))

    def refill(key: jax.Array, states: Limited, timestep: TimeStep, data: PyTree) -> tuple[Limited, TimeStep]:
        assert env.refill is not None
        ended = timestep.last if env.spec.agents == 1 else timestep.last.all(axis=1)
        inner, timestep = env.refill(key, states.inner, timestep, data)
        return Limited(inner, jnp.where(ended, 0, states.time)), timestep

    def picture(state: Limited) -> Any:
        assert env.picture is not None
        return env.picture(state.inner)

    limit = min(n, env.spec.max_steps) if env.spec.max_steps else n
    return env._replace(
        spec=dataclasses.replace(env.spec, max_steps=limit),
        reset=reset,
        step=step,
        refill=refill if env.refill else None,
        picture=picture if env.picture else None,
        evaluation=time_limit(env.evaluation, n) if env.evaluation else None,
    )


def action_repeat(env: Env, k: int) -> Env:
    """Executes every action `k` times, or until the episode ends, and sums the rewards.

    Everything else of the TimeStep, extras included, is that of the last step executed.

    Raises:
      UsageError: where `k` is below 1.
    """
    if k < 1:
        raise UsageError(f"An action must be repeated at least once, but the repeat is {k}.")

    def step(key: jax.Array, state: PyTree, action: PyTree) -> tuple[PyTree, TimeStep]:
        key, *keys = jax.random.split(key, k)
        first = env.step(key, state, action)

        def again(held: tuple[PyTree, TimeStep], key: jax.Array) -> tuple[tuple[PyTree, TimeStep], None]:
            state, before = held
            state, timestep = env.step(key, state, action)
            stepped = state, timestep._replace(reward=before.reward + timestep.reward)
            # An episode that has ended stands still.
            return jax.tree.map(lambda old, new: jnp.where(before.last.all(), old, new), held, stepped), None

        return jax.lax.scan(again, first, jnp.stack(keys))[0] if keys else first

    limit = -(-env.spec.max_steps // k)
    return env._replace(
        spec=dataclasses.replace(env.spec, max_steps=limit),
        step=step,
        evaluation=action_repeat(env.evaluation, k) if env.evaluation else None,
    )
