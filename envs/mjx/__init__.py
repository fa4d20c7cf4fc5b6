"""Gymnasium's MuJoCo tasks on the device, in MJX: MuJoCo's physics in JAX, compiled together with the agent.

Model, starts, observations, rewards, ends and time limits are those of Gymnasium's version 5 (Towers et al., 2024)
with its defaults, in float32. `physics.py` steps a model, `tasks.py` holds what differs between tasks.

MJX is made for GPUs, which step thousands of copies at once. On a CPU it is slow: it works on every contact that could
be, and all copies wait for the one whose contacts take longest to solve. On two busy cores HalfCheetah-v5 made some
600, 3000 and 750 steps/s with 1, 16 and 256 copies, where EnvPool made 5000, 30,000 and 15,000.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.contract import Env, EnvSpec, PyTree, TimeStep
from envs.mjx import physics
from envs.mjx.tasks import TASKS


class State(NamedTuple):
    """One copy of a task.

    Attributes:
      qpos: positions, float32 `[nq]`, metres and radians, a free body's orientation as a quaternion.
      qvel: velocities, float32 `[nv]`, per second.
      warmstart: the accelerations that the solver found last, where it looks first, float32 `[nv]`.
      place: where the body was along x when its velocity was last taken, float32 `[]`, metres; 0 for tasks at rest.
      time: steps of this episode, int32 `[]`.
    """

    qpos: jax.Array
    qvel: jax.Array
    warmstart: jax.Array
    place: jax.Array
    time: jax.Array


def make(spec: EnvSpec, limit: int, iterations: int = 0, ls_iterations: int = 0) -> Env:
    """The task `spec.id`, truncated after `limit` steps; termination wins where both fall on one step.

    The model is compiled in: most of it decides what is computed. `envs.mujoco.make` tells the other options.
    """
    task = TASKS[spec.id]
    world = physics.load(spec.id, iterations, ls_iterations)
    host, blank = world.host, world.blank
    seconds = host.opt.timestep * world.frames

    def begin(key: jax.Array, nothing: PyTree) -> tuple[State, TimeStep]:
        qpos, qvel = task.start(key, jnp.asarray(host.qpos0, jnp.float32), host.nv)
        # What the observation does not show of this is not computed: the compiler drops it.
        data = physics.forward(world, blank.replace(qpos=qpos, qvel=qvel))
        state = State(qpos, qvel, blank.qacc_warmstart, task.place(host, data), jnp.int32(0))
        return state, timestep(task.see(host, data), 0.0, False, False, 0.0)

    def step(key: jax.Array, state: State, action: jax.Array) -> tuple[State, TimeStep]:
        data = blank.replace(qpos=state.qpos, qvel=state.qvel, qacc_warmstart=state.warmstart, ctrl=action)
        data = physics.advance(world, data)
        place, time = task.place(host, data), state.time + 1
        x_velocity = (place - state.place) / seconds
        reward, terminated = task.judge(host, data, x_velocity, action)
        state = State(data.qpos, data.qvel, data.qacc_warmstart, place, time)
        return state, timestep(task.see(host, data), reward, terminated, time >= limit, x_velocity)

    def timestep(seen: jax.Array, reward: Any, terminated: Any, truncated: Any, x_velocity: Any) -> TimeStep:
        ended, speed = jnp.asarray(terminated), jnp.asarray(x_velocity, jnp.float32)
        return TimeStep(
            obs=seen,
            reward=jnp.asarray(reward, jnp.float32),
            discount=1.0 - ended.astype(jnp.float32),
            last=ended | truncated,
            next_obs=seen,
            extras=dict.fromkeys(spec.extras, speed),
        )

    return Env(spec, begin, step, picture=_drawing(spec.id))


def _drawing(id: str) -> Callable[[State], np.ndarray]:
    """Draws states as Gymnasium does, whose environment is made for the first picture; it needs OpenGL."""

    @functools.cache
    def camera() -> Any:
        import gymnasium

        return gymnasium.make(id, render_mode="rgb_array", disable_env_checker=True).unwrapped

    def picture(state: State) -> np.ndarray:
        camera().set_state(np.asarray(state.qpos, np.float64), np.asarray(state.qvel, np.float64))
        return camera().render()

    return picture
