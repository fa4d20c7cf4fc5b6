"""PointMass-v0: a point in the plane is pushed to a goal; with a speed limit it is the smallest constrained task."""

import jax
import jax.numpy as jnp
import numpy as np

from envs.contract import Array, Box, Env, PyTree
from envs.control import drawing
from envs.control.episode import Outcome, environment, given
from envs.errors import UsageError

DT, DRAG = 0.1, 0.5  # s, and the part of the velocity that a step leaves
NEAR = 0.1  # m


def make(max_steps: int = 0, speed_limit: float = 0.0, wind: float = 0.0) -> Env:
    """A point in the square from -1 to 1 m; a task is its goal `[2]`, in m.

    `v' = v / 2 + a + wind * n` in m/s, `x' = clip(x + 0.1 v', -1, 1)` in m, with steps of 0.1 s, `a` the action within
    -1 and 1 in each direction and `n` standard normal draws. It starts at rest in the middle, with the goal drawn
    uniformly over the square; never terminates; 50 steps. The observation is place, velocity and the way to the goal
    `[6]`. The body is place, velocity and goal.

    The reward is `0.1^(d^2)`, `d` the distance to the goal after the step in m: 1 at the goal, 0.1 at 1 m from it. The
    extra `success` says whether `d` is below 0.1 m.

    With a speed limit the extras `speed` and `cost`, the same, are 1 where `|v'|` is above it, else 0. No policy keeps
    the wind out: its mean cost per step is at least `exp(-(speed_limit / wind)^2 / 2)`, so that a threshold below that
    is out of reach, and one above it may be met by standing still.

    Args:
      max_steps: the time limit in steps, 0 for 50.
      speed_limit: in m/s, above which a step costs 1; 0 for none. Without wind the point can reach 2 m/s in each
        direction.
      wind: standard deviation of what is added to the velocity in each step and direction, in m/s.

    Raises:
      UsageError: where the limit or the wind is negative or not finite.
    """
    for name, value in (("speed_limit", speed_limit), ("wind", wind)):
        if not 0 <= value < float("inf"):
            raise UsageError(f"PointMass-v0: {name} must be a finite number of at least 0, but is {value}.")

    def advance(key: jax.Array, body: jax.Array, action: jax.Array) -> Outcome:
        place, velocity, goal = jnp.split(body, 3)
        velocity = DRAG * velocity + jnp.clip(action, -1.0, 1.0)
        if wind:
            velocity = velocity + wind * jax.random.normal(key, (2,))
        place = jnp.clip(place + DT * velocity, -1.0, 1.0)
        square = jnp.sum((goal - place) ** 2)
        extras = {"success": square < NEAR**2}
        if speed_limit:
            cost = (jnp.sum(velocity**2) > speed_limit**2).astype(jnp.float32)
            extras |= {"speed": cost, "cost": cost}
        return Outcome(jnp.concatenate([place, velocity, goal]), 0.1**square, extras=extras)

    costs = {name: Array((), "float32", 0.0, 1.0) for name in ("speed", "cost") if speed_limit}
    return environment(
        id="PointMass-v0",
        obs=Array((6,), "float32"),
        action=Box((-1.0, -1.0), (1.0, 1.0)),
        tasks=Array((2,), "float32", -1.0, 1.0),
        max_steps=max_steps or 50,
        start=start,
        advance=advance,
        see=see,
        picture=picture,
        extras={"success": Array((), "bool")} | costs,
    )


def start(key: jax.Array, task: PyTree) -> jax.Array:
    """At rest in the middle, with a goal somewhere."""
    goal = given(task, jax.random.uniform(key, (2,), minval=-1.0, maxval=1.0))
    return jnp.concatenate([jnp.zeros(4), goal])


def see(body: jax.Array) -> jax.Array:
    """Place, velocity, and the way to the goal."""
    place, velocity, goal = jnp.split(body, 3)
    return jnp.concatenate([place, velocity, goal - place])


def picture(body: np.ndarray) -> np.ndarray:
    """The point and its goal, the disc around it being near."""
    canvas = drawing.canvas(2.2, 2.2)
    canvas.disc((float(body[4]), float(body[5])), NEAR, drawing.GREEN)
    canvas.disc((float(body[0]), float(body[1])), 0.06, drawing.RED)
    return canvas.frame
