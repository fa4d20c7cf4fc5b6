"""A level: all that differs between two episodes of a task before their first step."""

from typing import Any, NamedTuple

SIDE_LIMIT = 255  # cells along the longer side of a grid


class Level(NamedTuple):
    """One level, or many with an axis in front; NumPy or JAX arrays.

    Attributes:
      cells: uint16 `[height * width]`, the packed cells (`cells.py`) row by row, the cell `(x, y)` at `y * width + x`.
      position: uint16 `[]`, where the agent starts, as such an index.
      direction: uint8 `[]`, where it looks: 0 right, 1 down, 2 left, 3 up.
      mission: uint8 `[20]`, the token ids of its mission (`mission.tokens`).
      target: uint16 `[2]`, what the task's rule looks at, packed cells or places in `cells`; see `rules.py`.
    """

    cells: Any
    position: Any
    direction: Any
    mission: Any
    target: Any
