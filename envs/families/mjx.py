"""A body of `envs.mjx` without a reward, with what a family's rewards are made of as extras."""

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from mujoco import MjModel as Model  # type: ignore[import-untyped]
from mujoco.mjx import Data  # type: ignore[import-untyped]

from envs import mjx as bodies
from envs.contract import Env, EnvSpec, PyTree, TimeStep
from envs.mjx import State, physics
from envs.mjx.tasks import TASKS
from envs.mujoco import PLACES, View


def joint(host: Model, data: Data) -> jax.Array:
    """Where a body that moves along x alone is."""
    return jnp.stack([data.qpos[0], jnp.float32(0)])


def torso(host: Model, data: Data) -> jax.Array:
    """Where the first body was when forces were last evaluated."""
    return data.xpos[1, :2]


def mass(host: Model, data: Data) -> jax.Array:
    """Where the centre of mass was when forces were last evaluated."""
    return (host.body_mass @ data.xipos[:, :2]) / host.body_mass.sum()


# Of each body: where it is in the plane, in metres, as its velocity is taken, and its bonus for not having fallen.
BODIES: dict[str, tuple[Callable[[Model, Data], jax.Array], float]] = {
    "HalfCheetah-v5": (joint, 0.0),
    "Ant-v5": (torso, 1.0),
    "Humanoid-v5": (mass, 5.0),
}


def make(spec: EnvSpec, view: View, limit: int, iterations: int = 0, ls_iterations: int = 0) -> Env:
    """The body `spec.id` under a view, truncated after `limit` steps; all rewards are 0.

    States are those of `envs.mjx`, with a `place` `[2]`, along x and y.
    """
    task, (where, bonus) = TASKS[spec.id], BODIES[spec.id]
    world = physics.load(spec.id, iterations, ls_iterations)
    host, blank = world.host, world.blank
    seconds = host.opt.timestep * world.frames

    def begin(key: jax.Array, parameters: PyTree) -> tuple[State, TimeStep]:
        qpos, qvel = task.start(key, jnp.asarray(host.qpos0, jnp.float32), host.nv)
        data = physics.forward(world, blank.replace(qpos=qpos, qvel=qvel))
        state = State(qpos, qvel, blank.qacc_warmstart, where(host, data), jnp.int32(0))
        return state, timestep(data, {}, False, False)

    def step(key: jax.Array, state: State, action: jax.Array) -> tuple[State, TimeStep]:
        data = blank.replace(qpos=state.qpos, qvel=state.qvel, qacc_warmstart=state.warmstart, ctrl=action)
        data = physics.advance(world, data)
        place, time = where(host, data), state.time + 1
        velocity = (place - state.place) / seconds
        # What the body is paid at rest, without an effort.
        rest, fallen = task.judge(host, data, jnp.float32(0), jnp.zeros_like(action))
        survive = bonus * (1.0 - jnp.asarray(fallen, jnp.float32))
        told = {"x_velocity": velocity[0], "y_velocity": velocity[1]}
        told |= {"reward_survive": survive, "reward_contact": rest - survive}
        state = State(data.qpos, data.qvel, data.qacc_warmstart, place, time)
        return state, timestep(data, told, fallen if view.ends else False, time >= limit)

    def timestep(data: Data, told: dict[str, Any], terminated: Any, truncated: Any) -> TimeStep:
        seen, ended = jnp.concatenate([data.qpos[: view.places], task.see(host, data)]), jnp.asarray(terminated)
        told = {**told, **dict(zip(PLACES, data.qpos, strict=False))}
        extras = {name: jnp.asarray(told.get(name, 0.0), jnp.float32) for name in view.extras}
        return TimeStep(
            obs=seen,
            reward=jnp.float32(0),
            discount=1.0 - ended.astype(jnp.float32),
            last=ended | truncated,
            next_obs=seen,
            extras=extras | {f"next_{name}": value for name, value in extras.items()},
        )

    @functools.cache
    def drawing() -> Callable[[State], np.ndarray]:
        picture = bodies.make(replace(spec, extras={}), limit).picture
        assert picture is not None
        return picture

    return Env(spec, begin, step, picture=lambda state: drawing()(state))
