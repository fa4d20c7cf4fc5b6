"""MountainCarContinuous-v0: a weak car leaves a valley, as Gymnasium 1.2 steps it (Moore, 1990)."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from envs.contract import Array, Box, Env, PyTree
from envs.control import drawing
from envs.control.episode import Outcome, environment, given

LEFT, RIGHT, GOAL, SPEED = -1.2, 0.6, 0.45, 0.07  # places, and the largest move per step
POWER, GRAVITY = 0.0015, 0.0025  # per step squared


def make(max_steps: int = 0) -> Env:
    """The car in the valley `sin(3 x)`; a task is the body `[place, velocity]`, which is also the observation.

    `v' = clip(v + 0.0015 u - 0.0025 cos(3 x), -0.07, 0.07)`, `x' = clip(x + v', -1.2, 0.6)`; the left wall stops the
    car. Places and steps have no physical unit. Reaching 0.45 without rolling back pays 100 and terminates; every step
    costs `0.1 a^2`, `a` the action and `u` the action within -1 and 1. Starts at rest, uniformly within -0.6 and
    -0.4; 999 steps.
    """
    low, high = float(np.float32(LEFT)), float(np.float32(RIGHT))
    return environment(
        id="MountainCarContinuous-v0",
        obs=Array((2,), "float32", low, high),
        action=Box((-1.0,), (1.0,)),
        tasks=Array((2,), "float32"),
        max_steps=max_steps or 999,
        start=start,
        advance=advance,
        see=lambda body: body,
        picture=picture,
    )


def start(key: jax.Array, task: PyTree) -> jax.Array:
    """At rest near the bottom."""
    return given(task, jnp.stack([jax.random.uniform(key, minval=-0.6, maxval=-0.4), jnp.float32(0)]))


def advance(key: jax.Array, body: jax.Array, action: jax.Array) -> Outcome:
    """One step: the velocity first, then the place by it."""
    x, v = body
    v = jnp.clip(v + POWER * jnp.clip(action[0], -1.0, 1.0) - GRAVITY * jnp.cos(3 * x), -SPEED, SPEED)
    x = jnp.clip(x + v, LEFT, RIGHT)
    v = jnp.where((x <= LEFT) & (v < 0), 0.0, v)
    terminated = (x >= GOAL) & (v >= 0)
    return Outcome(jnp.stack([x, v]), 100.0 * terminated - 0.1 * action[0] ** 2, terminated)


def picture(body: np.ndarray) -> np.ndarray:
    """The car on the slope, and the goal."""
    canvas = drawing.canvas(1.9, 1.3, (-0.3, 0.6))
    x, y = canvas.places[..., 0], canvas.places[..., 1]
    canvas.frame[(y < height(x)) & (x >= LEFT) & (x <= RIGHT)] = drawing.GREY
    canvas.bar((GOAL, height(GOAL)), (GOAL, height(GOAL) + 0.15), 0.01, drawing.GREEN)
    canvas.disc((float(body[0]), height(float(body[0])) + 0.04), 0.04, drawing.RED)
    return canvas.frame


def height(x: Any) -> Any:
    """Of the ground, for pictures."""
    return 0.45 * np.sin(3 * x) + 0.55
