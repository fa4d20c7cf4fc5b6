"""The arena from above, on the host."""

import math
from functools import lru_cache
from typing import Any

import numpy as np

from envs.control import drawing
from envs.navigation.scenes import SIDE, State, bearings

PIXELS, FINE = 300, 2  # of a side, and drawn finer before it is averaged
WALL, FLOOR, BLOCK, EDGE = (52, 58, 70), (250, 250, 247), (138, 147, 163), (96, 105, 122)
BEAM, HIT, GOAL, RING = (250, 214, 160), (238, 140, 60), (88, 178, 110), (205, 236, 210)
BODY, RIM, NOSE = (52, 104, 192), (28, 58, 120), (255, 255, 255)
FRAME = 0.1  # m, the wall around the arena


def picture(state: State, ranges: np.ndarray, reach: float, radius: float, near: float) -> np.ndarray:
    """Walls, obstacles, the goal with the disc in which it counts as reached, the robot with a nose, and its beams.

    Args:
      state: one state.
      ranges: of the beams, left to right, in m `[beams]`; those below `reach` get a dot where they end.
      reach: of the beams.
      radius: of the robot.
      near: of the goal's disc.

    Returns:
      uint8 `[300, 300, 3]`.
    """
    obstacles = np.asarray(state.obstacles, np.float32)
    canvas = _ground(obstacles.tobytes(), _point(state.goal), near)
    canvas = canvas._replace(frame=canvas.frame.copy())
    at, heading = _point(state.pose), float(state.pose[2])
    along, aside, met = _from_beams(canvas.places - at, heading + bearings(len(ranges)), ranges)
    canvas.frame[(aside <= 0.008) & (along >= 0) & (along <= met)] = BEAM
    canvas.frame[(np.hypot(along - met, aside) <= 0.025) & (met < reach)] = HIT
    canvas.disc(at, radius, RIM)
    canvas.disc(at, 0.82 * radius, BODY)
    front = (at[0] + 0.6 * radius * math.cos(heading), at[1] + 0.6 * radius * math.sin(heading))
    canvas.bar(at, front, 0.2 * radius, NOSE)
    fine = canvas.frame.reshape(PIXELS, FINE, PIXELS, FINE, 3)
    return fine.mean((1, 3)).round().astype(np.uint8)


@lru_cache(maxsize=4)  # one episode's frames differ by the robot alone
def _ground(obstacles: bytes, goal: drawing.Point, near: float) -> drawing.Canvas:
    """All that stands still."""
    canvas = drawing.canvas(SIDE + 2 * FRAME, SIDE + 2 * FRAME, pixels=FINE * PIXELS)
    frame, places = canvas.frame, canvas.places
    frame[:] = WALL
    frame[np.abs(places).max(-1) <= SIDE / 2] = FLOOR
    canvas.disc(goal, near, RING)
    canvas.disc(goal, 0.4 * near, GOAL)
    for row in np.frombuffer(obstacles, np.float32).reshape(-1, 6).astype(float):
        depth = _depth(places, *row)
        frame[depth >= 0] = EDGE
        frame[depth >= 0.02] = BLOCK
    return canvas


def _point(array: Any) -> drawing.Point:
    return float(array[0]), float(array[1])


def _from_beams(away: np.ndarray, angles: np.ndarray, ranges: np.ndarray) -> tuple[np.ndarray, ...]:
    """Of each pixel: its place along and beside the beam nearest to its direction, and that beam's range, in m."""
    step = math.pi / (len(angles) - 1)
    behind = (angles[0] + step / 2 - np.arctan2(away[..., 1], away[..., 0])) % (2 * math.pi)  # the first beam
    index = np.minimum(behind // step, len(angles) - 1).astype(int)
    ways = np.stack([np.cos(angles), np.sin(angles)], -1)[index]
    along = (away * ways).sum(-1)
    aside = np.abs(away[..., 0] * ways[..., 1] - away[..., 1] * ways[..., 0])
    return along, aside, ranges[index]


def _depth(
    places: np.ndarray, x: float, y: float, length: float, width: float, angle: float, round_: float
) -> np.ndarray:
    """How deep each place is inside of an obstacle, in m; negative outside."""
    away = places - np.array([x, y])
    if round_ > 0.5:
        return length - np.linalg.norm(away, axis=-1)
    along = away @ np.array([math.cos(angle), math.sin(angle)])
    aside = away @ np.array([-math.sin(angle), math.cos(angle)])
    return np.minimum(length - np.abs(along), width - np.abs(aside))
