"""Levels of MiniGrid's KeyCorridor, drawn as Farama's `minigrid` 3.2 draws them (Chevalier-Boisvert et al., 2023).

Three columns of square rooms that share their walls: the middle column is an open hall, one room on the right is locked
and holds the ball, one on the left holds the key. Doors are added at random until every room can be reached.

Rooms are numbered `3 row + column`.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.minigrid.cells import BALL, CLOSED, COLOURS, DOOR, EMPTY, KEY, LOCKED, NOTHING, WALL, WALL_KIND, kind, pack
from envs.minigrid.generators.draws import below, words
from envs.minigrid.levels import Level
from envs.minigrid.mission import tokens
from envs.minigrid.tasks import Task

COLOUR_COUNT = len(COLOURS)
MISSIONS = np.array([tokens(f"pick up the {colour} ball") for colour in COLOURS], np.uint8)


class Plan(NamedTuple):
    """What all levels of a task share.

    Attributes:
      size: side of a room in cells, walls counted.
      rows: rooms in each column.
      width: cells in a row of the grid.
      cells: uint16 `[height * width]`, walls alone.
      ends: int `[walls, 2]`, the two rooms beside each wall that a door can be in. The last `rows` walls are those
        between the hall and the rooms on its right.
      start: int `[walls]`, the corner that a wall begins at, as an index into `cells`.
      stride: int `[walls]`, from one cell of a wall to the next.
    """

    size: int
    rows: int
    width: int
    cells: np.ndarray
    ends: np.ndarray
    start: np.ndarray
    stride: np.ndarray


def plan_of(task: Task) -> Plan:
    """The plan of a KeyCorridor, from the size of its grid."""
    width, height = task.size
    pitch = (width - 1) // 3
    rows = (height - 1) // pitch
    y, x = np.divmod(np.arange(width * height), width)
    hall = (x > pitch) & (x < 2 * pitch) & (y > 0) & (y < height - 1)
    cells = np.where(((x % pitch == 0) | (y % pitch == 0)) & ~hall, WALL, EMPTY).astype(np.uint16)

    down = [(row, column, row + 1, column) for column in (0, 2) for row in range(rows - 1)]
    right = [(row, column, row, column + 1) for column in (0, 1) for row in range(rows)]
    walls = np.array(down + right)
    row, column = walls[:, 2], walls[:, 3]  # of the room below or to the right, whose corner the wall begins at
    return Plan(
        size=pitch + 1,
        rows=rows,
        width=width,
        cells=cells,
        ends=np.stack([3 * walls[:, 0] + walls[:, 1], 3 * row + column], -1),
        start=(row * width + column) * pitch,
        stride=np.array([1] * len(down) + [width] * len(right)),
    )


def generator(task: Task) -> Callable[[jax.Array], tuple[Level, jax.Array]]:
    """`draw(key) -> (level, ok)` of a KeyCorridor; `ok` is always true."""
    plan = plan_of(task)
    walls = len(plan.ends)

    def draw(key: jax.Array) -> tuple[Level, jax.Array]:
        row, hue, along, places, pose, order, hues = words(key, (2,), (2,), (walls,), (2, 2), (), (walls,), (walls,))
        locked_row, key_row = below(row, plan.rows)
        door_hue, ball_hue = below(hue, COLOUR_COUNT)
        lock = walls - plan.rows + locked_row
        gaps = plan.start + plan.stride * (1 + below(along, plan.size - 2))
        ball = pack(BALL, ball_hue).astype(jnp.uint16)

        # MiniGrid keeps objects a step away from the middle of the hall; every cell of a side room is.
        rooms = jnp.stack([3 * locked_row + 2, 3 * key_row])
        ball_place, key_place = place_objects(places, plan, rooms)
        cells = jnp.asarray(plan.cells).at[gaps[lock]].set(pack(DOOR, door_hue, LOCKED).astype(jnp.uint16))
        cells = cells.at[ball_place].set(ball).at[key_place].set(pack(KEY, door_hue).astype(jnp.uint16))
        position, direction = place_agent(pose, plan, cells)
        added = connect(order, plan, rooms[0])
        doors = pack(DOOR, below(hues, COLOUR_COUNT), CLOSED).astype(jnp.uint16)
        level = Level(
            cells=cells.at[jnp.where(added, gaps, cells.size)].set(doors, mode="drop"),
            position=position.astype(jnp.uint16),
            direction=direction.astype(jnp.uint8),
            mission=jnp.asarray(MISSIONS)[ball_hue],
            target=jnp.stack([ball, jnp.uint16(0)]),
        )
        return level, jnp.bool_(True)

    return draw


def place_objects(word: jax.Array, plan: Plan, room: jax.Array) -> jax.Array:
    """A random cell in each of the rooms `[n]`, as indices `[n]`; from random words `[n, 2]`."""
    pitch = plan.size - 1
    x, y = 1 + below(word.T, plan.size - 2)
    return (room // 3 * pitch + y) * plan.width + room % 3 * pitch + x


def place_agent(word: jax.Array, plan: Plan, cells: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Place and direction of the agent, all equally likely that lie in the hall's middle room and face no door.

    The openings to the rooms above and below belong to that room. Only the locked door is there yet.
    """
    pitch = plan.size - 1
    y, x = np.divmod(np.arange(plan.size**2), plan.size)
    place = (plan.rows // 2 * pitch + y) * plan.width + pitch + x
    place = place[plan.cells[place] == EMPTY]
    ahead = cells[place[:, None] + np.array([1, plan.width, -1, -plan.width])]
    rank = jnp.cumsum((kind(ahead) == NOTHING) | (kind(ahead) == WALL_KIND))
    choice = jnp.argmax(rank > below(word, rank[-1]))
    return jnp.asarray(place)[choice // 4], choice % 4


def connect(word: jax.Array, plan: Plan, locked_room: jax.Array) -> jax.Array:
    """Which walls get a door, bool `[walls]`: in random order, none at the locked room, until all is connected.

    `word` `[walls]` are random words.
    """
    allowed = (plan.ends != locked_room).all(-1)
    room = jnp.arange(3 * plan.rows)
    reached = (room % 3 == 1) | (room == locked_room)  # by way of the hall and the locked door
    part = jnp.where(reached, -1, room)

    def add(doors: tuple[jax.Array, jax.Array], wall: jax.Array) -> tuple[tuple[jax.Array, jax.Array], None]:
        added, part = doors
        one, other = part[jnp.asarray(plan.ends)[wall]]
        new = allowed[wall] & (part != -1).any()
        joined = jnp.where((part == one) | (part == other), jnp.minimum(one, other), part)
        return (added.at[wall].set(new), jnp.where(new, joined, part)), None

    (added, _), _ = jax.lax.scan(add, (jnp.zeros(len(plan.ends), bool), part), jnp.argsort(word))
    return added
