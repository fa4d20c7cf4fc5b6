"""Where the robot drives: scenes drawn from a key, the maze, and scenes set by hand; metres and radians throughout."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.errors import UsageError
from envs.navigation.geometry import box

SIDE = 4.0  # of the arena, a square around 0
DIAGONAL = SIDE * math.sqrt(2)
CLEARANCE = 0.2  # that ways through a drawn scene have on either side
CELLS = 4  # in each direction
CELL = (SIDE - 2 * CLEARANCE) / CELLS
CORNER = SIDE / 2 - CLEARANCE - CELL / 2  # the fixed start is at -CORNER, -CORNER, and the goal opposite
JITTER = 0.15  # of the lines between cells
LEAST = 0.1  # of the half sides of obstacles, before they are turned
MOST = CELLS**2 - 2  # obstacles; two cells are for start and goal
SPARE = 0.25  # from start and goal to their cell's edge

# A cup, open to the left.
MAZE = (box(0.45, 0.0, 0.05, 1.25), box(-0.25, 1.2, 0.65, 0.05), box(-0.25, -1.2, 0.65, 0.05))


class Task(NamedTuple):
    """What an episode begins with.

    Attributes:
      pose: the robot's centre and heading, against the clock from the x axis, float32 `[3]`.
      goal: float32 `[2]`.
      obstacles: float32 `[n, 6]`, rows of `geometry.py`.
    """

    pose: Any
    goal: Any
    obstacles: Any


class State(NamedTuple):
    """A `Task` under way, and the steps of this episode, int32 `[]`."""

    pose: jax.Array
    goal: jax.Array
    obstacles: jax.Array
    time: jax.Array


def task(pose: Sequence[float], goal: Sequence[float], obstacles: Sequence[Sequence[float]] = ()) -> Task:
    """A scene set by hand, for `Env.reset`; the number of obstacles is free, and nothing asks whether they leave room.

    Args:
      pose: `x, y, heading`.
      goal: `x, y`; it may lie outside the arena.
      obstacles: rows made by `geometry.disc` and `geometry.box`.

    Raises:
      UsageError: where numbers are missing, too many, or not finite.
    """
    rows = obstacles if len(obstacles) else np.zeros((0, 6))
    arrays = []
    for name, value, shape in (("pose", pose, (3,)), ("goal", goal, (2,)), ("obstacles", rows, (len(rows), 6))):
        try:
            array = np.asarray(value, np.float32)
        except (TypeError, ValueError):
            array = np.empty(0, np.float32)
        if array.shape != shape or not np.isfinite(array).all():
            raise UsageError(f"a scene's {name} must be finite numbers of shape {shape}, but is {value!r}.")
        arrays.append(jnp.asarray(array))
    return Task(*arrays)


def state(
    pose: Sequence[float], goal: Sequence[float], obstacles: Sequence[Sequence[float]] = (), time: int = 0
) -> State:
    """A state set by hand, as `task`, `time` steps into its episode."""
    return State(*task(pose, goal, obstacles), jnp.int32(time))


def showing(obs: Sequence[float], reach: float = 1.0) -> Task:
    """A scene in which the robot sees this observation, without noise: so that a found one can be played.

    The robot is in the middle and faces along x. At the end of each beam that meets something stands a thin plate
    across the beam, too narrow for the beams beside it; the goal is where it is seen, which may be outside the arena.

    Args:
      obs: `[beams + 2]`, as the tasks give it.
      reach: of the beams in m, as the task was made with, up to half a side of the arena.

    Raises:
      UsageError: where the observation is too short or out of its bounds, or the reach is too long.
    """
    seen = np.asarray(obs, np.float64)
    low = np.r_[np.zeros(max(seen.size - 1, 0)), -1.0]
    if seen.ndim != 1 or seen.size < 4 or not ((low <= seen) & (seen <= 1)).all():
        raise UsageError("an observation to be shown needs two beams or more, a distance in 0..1, a heading in -1..1.")
    if not 0 < reach <= SIDE / 2:
        raise UsageError(f"a scene can show beams of a reach above 0 and up to {SIDE / 2} m, not {reach}.")
    beams, (distance, bearing) = seen[:-2], (seen[-2] * DIAGONAL, seen[-1] * math.pi)
    thin, narrow = 0.01, 0.4 * min(math.pi / (len(beams) - 1), 1.0)
    plates = [
        box((far + thin) * math.cos(angle), (far + thin) * math.sin(angle), thin, narrow * far, angle)
        for angle, far in zip(bearings(len(beams)), reach * beams, strict=True)
        if far < reach
    ]
    return task((0.0, 0.0, 0.0), (distance * math.cos(bearing), distance * math.sin(bearing)), plates)


def bearings(beams: int) -> np.ndarray:
    """Where beams point to against the heading, left to right over the half circle in front, `[beams]`."""
    return np.linspace(math.pi / 2, -math.pi / 2, beams)


def drawn(key: jax.Array, obstacles: int, fixed: bool) -> Task:
    """A scene with so many obstacles.

    The arena, less 0.2 m along its walls, is cut into 4 by 4 cells by lines that are drawn anew, and start, goal and
    obstacles each get a cell. Obstacles stay 0.2 m from the edge of theirs: so no point of a line is nearer to anything
    than that, and along the lines every cell is reached. Start and goal stay 0.25 m from theirs.
    """
    keys = jax.random.split(key, 6)
    order = jax.random.uniform(keys[0], (CELLS**2,))
    if fixed:
        order = order.at[0].set(-2.0).at[-1].set(-1.0)
    cells = jnp.argsort(order)[: obstacles + 2]
    moved = jax.random.uniform(keys[1], (CELLS - 1, 2), minval=-JITTER, maxval=JITTER)
    even = CELL * jnp.arange(CELLS + 1, dtype=jnp.float32)[:, None] + CLEARANCE - SIDE / 2
    lines = even + jnp.pad(moved, ((1, 1), (0, 0)))  # [5, 2], along x and along y
    corners = jnp.stack([cells % CELLS, cells // CELLS], -1)
    low, high = jnp.take_along_axis(lines, corners, 0), jnp.take_along_axis(lines, corners + 1, 0)
    centres, extents = (low + high) / 2, (high - low) / 2
    ends = centres[:2] + (extents[:2] - SPARE) * jax.random.uniform(keys[2], (2, 2), minval=-1.0, maxval=1.0)
    heading = jax.random.uniform(keys[3], (1,), minval=-math.pi, maxval=math.pi)
    if fixed:
        ends, heading = CORNER * jnp.array([[-1.0, -1.0], [1.0, 1.0]]), jnp.array([math.pi / 4])
    filled = _obstacles(keys[4:], centres[2:], extents[2:] - CLEARANCE)
    return Task(jnp.concatenate([ends[0], heading]), ends[1], filled)


def _obstacles(keys: jax.Array, centres: jax.Array, extents: jax.Array) -> jax.Array:
    """Discs and turned boxes `[n, 6]`, each within a rectangle of these half sides `[n, 2]`."""
    n = len(centres)
    size, place = jax.random.uniform(keys[0], (2, n, 2))
    turn, kind = jax.random.uniform(keys[1], (2, n, 1))
    sides, angle, round_ = LEAST + (extents - LEAST) * jnp.sqrt(size), math.pi * turn, (kind < 0.5)
    cos, sin = jnp.abs(jnp.cos(angle)), jnp.sin(angle)
    around = cos * sides + sin * sides[:, ::-1]  # half sides of the upright rectangle around the turned box
    sides = sides * jnp.minimum(1.0, (extents / around).min(-1, keepdims=True))
    sides = jnp.where(round_, sides.min(-1, keepdims=True), sides)
    around = jnp.where(round_, sides, cos * sides + sin * sides[:, ::-1])
    places = centres + (extents - around) * (2 * place - 1)
    return jnp.concatenate([places, sides, angle, round_], -1)


def maze(key: jax.Array, fixed: bool) -> Task:
    """The cup between start and goal: every straight way ends in it. All ways around are 0.75 m wide or more."""
    if fixed:
        return task((-1.5, 0.0, 0.0), (1.5, 0.0), MAZE)
    low = jnp.array([-1.6, -0.8, -math.pi, 1.0, -0.8])
    high = jnp.array([-1.3, 0.8, math.pi, 1.6, 0.8])
    ends = jax.random.uniform(key, (5,), minval=low, maxval=high)
    return Task(ends[:3], ends[3:], jnp.array(MAZE))
