"""Pendulum-v1: a torque swings a pendulum up and holds it, as Gymnasium 1.2 steps it (Towers et al., 2024)."""

import jax
import jax.numpy as jnp
import numpy as np

from envs.contract import Array, Box, Env, PyTree
from envs.control import drawing
from envs.control.episode import Outcome, environment, given, wrapped

GRAVITY, MASS, LENGTH = 10.0, 1.0, 1.0  # m/s^2, kg, m
TORQUE, SPEED, DT = 2.0, 8.0, 0.05  # N m, rad/s, s: the bounds of torque and speed, and the length of a step


def make(max_steps: int = 0) -> Env:
    """The pendulum; a task is `[angle, angular velocity]`, in rad from upright and rad/s, and so is the body.

    `w' = clip(w + (3 g / (2 l) sin(th) + 3 / (m l^2) u) dt, -8, 8)`, `th' = th + w' dt`, `u` the torque within 2 N m.

    The reward is `-(th^2 + 0.1 w^2 + 0.001 u^2)` before the step, `th` within -pi and pi. The observation is
    `[cos th, sin th, w]`. Starts with `th` within -pi and pi, `w` within -1 and 1, uniformly; never terminates; 200
    steps.
    """
    return environment(
        id="Pendulum-v1",
        obs=Array((3,), "float32", -SPEED, SPEED),
        action=Box((-TORQUE,), (TORQUE,)),
        tasks=Array((2,), "float32"),
        max_steps=max_steps or 200,
        start=start,
        advance=advance,
        see=see,
        picture=picture,
    )


def start(key: jax.Array, task: PyTree) -> jax.Array:
    """A hanging, turning or standing pendulum."""
    return given(task, jax.random.uniform(key, (2,), minval=-1.0, maxval=1.0) * jnp.array([jnp.pi, 1.0]))


def advance(key: jax.Array, body: jax.Array, action: jax.Array) -> Outcome:
    """One step of 0.05 s: the velocity first, then the angle by it."""
    angle, velocity = body
    torque = jnp.clip(action[0], -TORQUE, TORQUE)
    cost = wrapped(angle) ** 2 + 0.1 * velocity**2 + 0.001 * torque**2
    acceleration = 3 * GRAVITY / (2 * LENGTH) * jnp.sin(angle) + 3 / (MASS * LENGTH**2) * torque
    velocity = jnp.clip(velocity + acceleration * DT, -SPEED, SPEED)
    # Only the angle's sine and cosine count, and they stay exact within one turn.
    return Outcome(jnp.stack([wrapped(angle + velocity * DT), velocity]), -cost)


def see(body: jax.Array) -> jax.Array:
    """Cosine and sine of the angle, and the angular velocity."""
    angle, velocity = body
    return jnp.stack([jnp.cos(angle), jnp.sin(angle), velocity])


def picture(body: np.ndarray) -> np.ndarray:
    """The pendulum around its axle, turning to the left as the angle grows."""
    canvas = drawing.canvas(2.6, 2.6)
    canvas.bar((0, 0), (-float(np.sin(body[0])), float(np.cos(body[0]))), 0.08, drawing.RED)
    canvas.disc((0, 0), 0.05, drawing.BLACK)
    return canvas.frame
