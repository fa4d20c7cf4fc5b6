"""Levels of MiniGrid's MultiRoom, drawn as Farama's `minigrid` 3.2 draws them (Chevalier-Boisvert et al., 2023).

A chain of rooms grows by one room at a time: a door in a wall of the last one, and behind it a room that has to fit
into the grid and beside the rooms before. Where it does not, door and room are drawn anew, up to eight times in all;
earlier rooms stay. A chain that ends early is no level, and the whole of it is drawn again.

Walls are numbered 0 right, 1 down, 2 left, 3 up. Places and sizes are int32 pairs `(x, y)`; a size counts the walls.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from envs.minigrid.cells import CLOSED, COLOURS, DOOR, EMPTY, GOAL, GREEN, WALL, pack
from envs.minigrid.generators.draws import below, words
from envs.minigrid.levels import Level
from envs.minigrid.mission import tokens
from envs.minigrid.tasks import Task

SMALLEST, TRIES = 4, 8
COLOUR_COUNT = len(COLOURS)
# Number of rooms and largest size of the ids that Farama registers.
REGISTERED = {
    "MiniGrid-MultiRoom-N2-S4-v0": (2, 4),
    "MiniGrid-MultiRoom-N4-S5-v0": (6, 5),
    "MiniGrid-MultiRoom-N4-S5-v1": (4, 5),
    "MiniGrid-MultiRoom-N6-v0": (6, 10),
}


class Room(NamedTuple):
    """One room, or many with axes in front.

    Attributes:
      top: int32 `[2]`, its upper left corner.
      size: int32 `[2]`.
      entry: int32 `[]`, the wall that its entry is in.
      door: int32 `[2]`, where its entry is.
    """

    top: jax.Array
    size: jax.Array
    entry: jax.Array
    door: jax.Array


def generator(task: Task, margin: int = 1) -> Callable[[jax.Array], tuple[Level, jax.Array]]:
    """`draw(key) -> (level, ok)` of a MultiRoom; without `ok` the chain ended early.

    `margin` is the least distance of an exit from the corners of its wall: 1 in MiniGrid.
    """
    number, largest = task.rooms or REGISTERED[task.id]
    steps = number - 1

    def draw(key: jax.Array) -> tuple[Level, jax.Array]:
        first, tries, hues, places, direction = words(key, (2, 2), (steps, TRIES, 6), (steps,), (2, 2), ())
        rooms, ok = draw_chain(first, tries, largest, task.size, margin)
        return furnish(rooms, hues, places, direction, task.size), ok

    return draw


def draw_chain(
    first: jax.Array, tries: jax.Array, largest: int, grid: tuple[int, int], margin: int
) -> tuple[Room, jax.Array]:
    """The `n` rooms of a chain, and whether all of them fit; from random words `[2, 2]` and `[n - 1, TRIES, 6]`."""
    number = len(tries) + 1
    top = below(first[0], grid[0] - 2)
    room = Room(top, SMALLEST + below(first[1], largest - SMALLEST + 1), jnp.int32(2), top)
    rooms = jax.tree.map(lambda leaf: jnp.zeros((number, *leaf.shape), leaf.dtype).at[0].set(leaf), room)

    def grow(chain: tuple[Room, Room, jax.Array], draws: tuple[jax.Array, jax.Array]) -> tuple[Any, None]:
        rooms, last, ok = chain
        at, word = draws
        tries = jax.vmap(draw_next, in_axes=(0, None, None, None))(word, last, largest, margin)
        # The last room is not looked at: the new one shares a wall with it.
        unseen = jnp.arange(number) >= at - 1
        fitting = jax.vmap(lambda new: inside(new, grid) & (apart(new, rooms) | unseen).all())(tries)
        last = jax.tree.map(lambda leaf: leaf[jnp.argmax(fitting)], tries)
        rooms = jax.tree.map(lambda leaf, new: leaf.at[at].set(new), rooms, last)
        return (rooms, last, ok & fitting.any()), None

    draws = jnp.arange(1, number), tries
    (rooms, _, ok), _ = jax.lax.scan(grow, (rooms, room, inside(room, grid)), draws)
    return rooms, ok


def draw_next(word: jax.Array, room: Room, largest: int, margin: int) -> Room:
    """A room behind a random door of `room`, from random words `[6]`."""
    wall = (room.entry + 1 + below(word[0], 3)) % 4
    across = jnp.arange(2) == wall % 2  # the axis that leads through the door
    far = wall < 2
    size = SMALLEST + below(word[1:3], largest - SMALLEST + 1)
    along = margin + below(word[3:5], room.size - 2 * margin)
    door = room.top + jnp.where(across, jnp.where(far, room.size - 1, 0), along)
    top = door - jnp.where(across, jnp.where(far, 0, size - 1), 1 + below(word[5], size - 2))
    return Room(top, size, (wall + 2) % 4, door)


def inside(room: Room, grid: tuple[int, int]) -> jax.Array:
    """Whether a room fits into the grid, whose last row MiniGrid leaves free and whose last column it does not."""
    end = room.top + room.size
    return (room.top >= 0).all() & (end[0] <= grid[0]) & (end[1] < grid[1])


def apart(room: Room, others: Room) -> jax.Array:
    """Whether a room is apart from each of the others `[n]`.

    MiniGrid asks for a free line between them where the room lies to the left or above, and not on the other sides.
    """
    before = room.top + room.size < others.top
    behind = others.top + others.size <= room.top
    return (before | behind).any(-1)


def furnish(rooms: Room, hues: jax.Array, places: jax.Array, direction: jax.Array, grid: tuple[int, int]) -> Level:
    """The level of a chain of `n` rooms with its doors, agent and goal; from random words `[n - 1]`, `[2, 2]`, `[]`."""
    width = grid[0]
    at = jnp.arange(grid[0] * grid[1])
    offset = jnp.stack([at % width, at // width], -1) - rooms.top[:, None]
    end = rooms.size[:, None] - 1
    wall = ((offset >= 0) & (offset <= end)).all(-1) & ((offset == 0) | (offset == end)).any(-1)

    # The first door has any colour, each next one any but that of the door before.
    hue = below(hues[0], COLOUR_COUNT) + jnp.cumsum(1 + below(hues, COLOUR_COUNT - 1).at[0].set(-1))
    doors = pack(DOOR, hue % COLOUR_COUNT, CLOSED).astype(jnp.uint16)

    ends = jnp.array([0, -1])
    place = rooms.top[ends] + 1 + below(places, rooms.size[ends] - 2)
    agent, goal = index(place, width)
    cells = jnp.where(wall.any(0), WALL, EMPTY).astype(jnp.uint16)
    cells = cells.at[index(rooms.door[1:], width)].set(doors).at[goal].set(pack(GOAL, GREEN))
    return Level(
        cells=cells,
        position=agent.astype(jnp.uint16),
        direction=below(direction, 4).astype(jnp.uint8),
        mission=jnp.asarray(tokens("traverse the rooms to get to the goal"), jnp.uint8),
        target=jnp.zeros(2, jnp.uint16),
    )


def index(place: jax.Array, width: int) -> jax.Array:
    """Index of places `[..., 2]` in the cells of a level."""
    return place[..., 1] * width + place[..., 0]
