"""Pictures of MiniGrid levels, pixel for pixel those of Farama's `minigrid` 3, with NumPy alone.

A tile is painted at three times its size, the agent last, lightened where the agent sees it, and then averaged over
3 x 3 points. Coordinates within a tile go from 0 to 1, x to the right and y down. Corners of the triangle and ends of
lines are float32 and points float64, and colours are cut to whole numbers, not rounded: anything else changes pixels.
"""

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from envs.errors import UsageError
from envs.minigrid.cells import BALL, BOX, DOOR, DRAWN, FLOOR, GOAL, KEY, LAVA, LOCKED, OPEN, WALL, WALL_KIND
from envs.minigrid.cells import colour as colour_of
from envs.minigrid.cells import kind as kind_of
from envs.minigrid.cells import state as state_of

TILE = 32  # pixels along the side of a tile
SIDE = 7  # cells along the side of the agent's view
FINE = 3  # points along the side of a pixel
DX, DY = (1, 0, -1, 0), (0, 1, 0, -1)  # one step right, down, left, up

Shape = Callable[[np.ndarray, np.ndarray], np.ndarray]  # from x `[1, n]` and y `[n, 1]` to the points inside `[n, n]`
Layer = tuple[Shape, np.ndarray]

PAINTS = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (112, 39, 195), (255, 255, 0), (100, 100, 100)])
BLACK, LINES, MOLTEN, AGENT = np.array([(0, 0, 0), (100, 100, 100), (255, 128, 0), (255, 0, 0)])
LIGHT = 0.3  # how far a seen cell is lightened towards white


def picture(
    cells: np.ndarray,
    width: int,
    height: int,
    position: int,
    direction: int,
    seen: np.ndarray | None = None,
    size: int = TILE,
) -> np.ndarray:
    """The whole grid with the agent in it, uint8 `[height * size, width * size, 3]`.

    Args:
      cells: uint16 `[height * width]`, packed, without the agent.
      width: cells along the grid.
      height: cells down the grid.
      position: index of the agent's cell.
      direction: where it looks: 0 right, 1 down, 2 left, 3 up.
      seen: bool `[height * width]`, the cells to lighten (`seen_cells`), or None for none.
      size: pixels along the side of a cell.

    Raises:
      UsageError: for a size below one pixel.
    """
    place, lit = int(position), np.zeros(width * height, bool) if seen is None else np.asarray(seen, bool)
    looks = np.asarray(cells).astype(np.int64) & DRAWN | lit.astype(np.int64) << 9
    looks[place] |= 1 << 10
    kinds, which = np.unique(looks, return_inverse=True)
    tiles = np.stack([tile(k & DRAWN, direction if k >> 10 else None, bool(k >> 9 & 1), size) for k in kinds])
    image = np.empty((height, size, width, size, 3), np.uint8)
    for row, looks_of_row in zip(image, which.reshape(height, width), strict=True):
        row[:] = tiles[looks_of_row].swapaxes(0, 1)
    return image.reshape(height * size, width * size, 3)


def tile(cell: int, heading: int | None = None, lit: bool = False, size: int = TILE) -> np.ndarray:
    """One cell, uint8 `[size, size, 3]`; read-only, as it is kept for the next call.

    Args:
      cell: a packed cell. What a box holds does not show; an unseen cell looks like an empty one.
      heading: the agent's direction if it stands there, else None.
      lit: whether the agent sees it.
      size: pixels along its side.

    Raises:
      UsageError: for a size below one pixel.
    """
    if size < 1:
        raise UsageError(f"A tile of {size} pixels has no picture: the smallest size is 1.")
    return _tile(int(cell) & DRAWN, None if heading is None else int(heading), bool(lit), int(size))


def seen_cells(
    cells: np.ndarray, width: int, height: int, position: int, direction: int, see_through: bool
) -> np.ndarray:
    """The cells of the world that the agent sees, bool `[height * width]`.

    Sight starts at the agent's cell and goes from near rows of its view to far ones. Within a row it spreads to the
    right, then to the left: a clear cell in sight brings into sight its neighbour on that side and, in the next row,
    the cell before it and the one before that neighbour. Walls and doors that are not open are not clear.

    Args:
      cells: uint16 `[height * width]`, packed, without the agent.
      width: cells along the grid; what lies outside is wall.
      height: cells down the grid.
      position: index of the agent's cell.
      direction: where it looks: 0 right, 1 down, 2 left, 3 up.
      see_through: whether walls and doors hide nothing.
    """
    ahead, aside = np.mgrid[:SIDE, :SIDE]  # steps ahead of the agent, and from the left of its view
    dx, dy = DX[int(direction)], DY[int(direction)]
    x = int(position) % width + dx * ahead - dy * (aside - SIDE // 2)
    y = int(position) // width + dy * ahead + dx * (aside - SIDE // 2)
    there = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    place = np.where(there, y * width + x, 0)
    view = np.where(there, np.asarray(cells)[place], WALL)
    clear = (kind_of(view) != WALL_KIND) & ((kind_of(view) != DOOR) | (state_of(view) == OPEN))

    sight = np.zeros((SIDE + 1, SIDE), bool)  # one row more than the view, for what lies ahead of its last
    sight[0, SIDE // 2] = True
    for row in range(SIDE):
        for step, columns in ((1, range(SIDE - 1)), (-1, range(SIDE - 1, 0, -1))):
            for column in columns:
                if sight[row, column] and clear[row, column]:
                    sight[row, column + step] = True
                    sight[row + 1, [column, column + step]] = True

    seen = np.zeros(width * height, bool)
    seen[place[there & (sight[:SIDE] | see_through)]] = True
    return seen


# --- painting ----------------------------------------------------------------------------------------------------


@lru_cache(maxsize=2048)
def _tile(cell: int, heading: int | None, lit: bool, size: int) -> np.ndarray:
    """`tile` of a cell without contents."""
    n = FINE * size
    points = (np.arange(n) + 0.5) / n
    layers = [(_rectangle(0, 0.031, 0, 1), LINES), (_rectangle(0, 1, 0, 0.031), LINES), *_layers(cell)]
    if heading is not None:
        layers.append((_arrow(heading), AGENT))
    image = np.zeros((n, n, 3), np.uint8)
    for shape, paint in layers:
        image[shape(points[None, :], points[:, None])] = paint
    if lit:
        image = (image + LIGHT * (255 - image)).astype(np.uint8)
    # Along x, then along y: which means end just below a whole number, and lose one, depends on the order.
    small = image.reshape(size, FINE, size, FINE, 3).mean(3).mean(1).astype(np.uint8)
    small.setflags(write=False)
    return small


def _layers(cell: int) -> list[Layer]:
    """What is painted over the lines of a tile, from bottom to top."""
    kind, state, paint = kind_of(cell), state_of(cell), PAINTS[colour_of(cell)]
    if kind in (WALL_KIND, GOAL):
        return [(_square(0, 1), paint)]
    if kind == FLOOR:
        return [(_square(0.031, 1), paint // 2)]
    if kind == DOOR and state == OPEN:
        return [(_rectangle(0.88, 1, 0, 1), paint), (_rectangle(0.92, 0.96, 0.04, 0.96), BLACK)]
    if kind == DOOR and state == LOCKED:
        dark, slot = (0.45 * paint).astype(np.uint8), _rectangle(0.52, 0.75, 0.5, 0.56)
        return [(_square(0, 1), paint), (_square(0.06, 0.94), dark), (slot, paint)]
    if kind == DOOR:
        frame = [(_square(0, 1), paint), (_square(0.04, 0.96), BLACK)]
        panel = [(_square(0.08, 0.92), paint), (_square(0.12, 0.88), BLACK)]
        return [*frame, *panel, (_disc(0.75, 0.5, 0.08), paint)]
    if kind == KEY:
        shaft = _rectangle(0.5, 0.63, 0.31, 0.88)
        teeth = _rectangle(0.38, 0.5, 0.59, 0.66), _rectangle(0.38, 0.5, 0.81, 0.88)
        ring, hole = _disc(0.56, 0.28, 0.19), _disc(0.56, 0.28, 0.064)
        return [*((shape, paint) for shape in (shaft, *teeth, ring)), (hole, BLACK)]
    if kind == BALL:
        return [(_disc(0.5, 0.5, 0.31), paint)]
    if kind == BOX:
        slit = _rectangle(0.16, 0.84, 0.47, 0.53)
        return [(_square(0.12, 0.88), paint), (_square(0.18, 0.82), BLACK), (slit, paint)]
    if kind == LAVA:
        return [(_square(0, 1), MOLTEN), *((wave, BLACK) for wave in _waves())]
    return []


def _rectangle(left: float, right: float, top: float, bottom: float) -> Shape:
    return lambda x, y: (x >= left) & (x <= right) & (y >= top) & (y <= bottom)


def _square(low: float, high: float) -> Shape:
    return _rectangle(low, high, low, high)


def _disc(cx: float, cy: float, radius: float) -> Shape:
    return lambda x, y: (x - cx) * (x - cx) + (y - cy) * (y - cy) <= radius * radius


def _waves() -> list[Shape]:
    """The three zigzags on lava, from left to right and from top to bottom."""
    ends = (0.1, 0.3, 0.5, 0.7, 0.9)
    waves = []
    for i in range(3):
        high, low = 0.3 + 0.2 * i, 0.4 + 0.2 * i
        heights = (high, low, high, low, high)
        waves += [_line((ends[k], heights[k]), (ends[k + 1], heights[k + 1]), 0.03) for k in range(4)]
    return waves


def _line(start: tuple[float, float], end: tuple[float, float], radius: float) -> Shape:
    """All that is no farther than `radius` from a stretch of line, with round ends."""
    origin = np.array(start, np.float32)
    along = np.array(end, np.float32) - origin
    length = np.linalg.norm(along)
    along = along / length
    (left, right), (top, bottom) = (sorted(pair) for pair in zip(start, end, strict=True))
    bounds = _rectangle(left - radius, right + radius, top - radius, bottom + radius)

    def shape(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        reach = np.clip((x - origin[0]) * along[0] + (y - origin[1]) * along[1], 0, length)
        off_x, off_y = x - (origin[0] + reach * along[0]), y - (origin[1] + reach * along[1])
        return bounds(x, y) & (np.sqrt(off_x * off_x + off_y * off_y) <= radius)

    return shape


def _arrow(heading: int) -> Shape:
    """The agent: a triangle that points where it looks; a point is inside by its barycentric coordinates."""
    tail, tip, other = np.array([(0.12, 0.19), (0.87, 0.5), (0.12, 0.81)], np.float32)
    u, v = other - tail, tip - tail
    uu, uv, vv = np.dot(u, u), np.dot(u, v), np.dot(v, v)
    scale = 1 / (uu * vv - uv * uv)
    cos, sin = math.cos(-0.5 * math.pi * heading), math.sin(-0.5 * math.pi * heading)

    def shape(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        x, y = x - 0.5, y - 0.5
        x, y = 0.5 + x * cos - y * sin - tail[0], 0.5 + y * cos + x * sin - tail[1]
        along_u, along_v = u[0] * x + u[1] * y, v[0] * x + v[1] * y
        a, b = (vv * along_u - uv * along_v) * scale, (uu * along_v - uv * along_u) * scale
        return (a >= 0) & (b >= 0) & (a + b < 1)

    return shape
