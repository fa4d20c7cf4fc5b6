"""What the agent sees: the 7 x 7 cells before it, turned so that it looks up, without those that walls and doors hide.

Cells of the view are numbered `7 i + j`, `i` from left to right and `j` from far to near, as in MiniGrid's image: the
agent stands at `i = 3, j = 6`.
"""

import jax
import jax.numpy as jnp
import numpy as np

from envs.minigrid.cells import CLOSED, DOOR, EMPTY, WALL, WALL_KIND, kind, state

SIDE = 7
OWN = 7 * 3 + 6  # where the agent stands
COLUMN, ROW = np.arange(SIDE**2) // SIDE, np.arange(SIDE**2) % SIDE
AHEAD, ASIDE = SIDE - 1 - ROW, COLUMN - SIDE // 2  # steps ahead of the agent and to its right
DX, DY = np.array([1, 0, -1, 0]), np.array([0, 1, 0, -1])  # one step right, down, left, up

# A row of the view is seven bits of a word: rows 3 to 6 are in the first word, 0 to 2 in the second.
SECOND = ROW < 3
BIT = (np.where(SECOND, 7 * ROW, 7 * (ROW - 3)) + COLUMN).astype(np.uint32)


def look(
    cells: jax.Array,
    position: jax.Array,
    direction: jax.Array,
    carrying: jax.Array,
    size: tuple[int, int],
    see_through: bool,
) -> jax.Array:
    """The packed cells in view, uint16 `[49]`; 0 where a cell is hidden, and what is carried where the agent stands.

    Args:
      cells: uint16 `[height * width]`.
      position: `[]`, index of the agent's cell.
      direction: `[]`.
      carrying: uint16 `[]`, 0 for nothing.
      size: width and height of the grid; what lies outside looks like wall.
      see_through: whether nothing hides anything.
    """
    seen = cells_ahead(cells, position, direction, size)
    if not see_through:
        seen = jnp.where(visible(see_behind(seen)), seen, jnp.uint16(0))
    return jnp.where(np.arange(SIDE**2) == OWN, jnp.where(carrying > 0, carrying, jnp.uint16(EMPTY)), seen)


def image(seen: jax.Array) -> jax.Array:
    """MiniGrid's image, uint8 `[7, 7, 3]`, of the packed cells in view `[49]`."""
    shift, mask = jnp.array([0, 4, 7], jnp.uint16), jnp.array([15, 7, 3], jnp.uint16)
    return (seen[:, None] >> shift & mask).astype(jnp.uint8).reshape(SIDE, SIDE, 3)


def cells_ahead(cells: jax.Array, position: jax.Array, direction: jax.Array, size: tuple[int, int]) -> jax.Array:
    """The packed cells of the view, hidden or not, uint16 `[49]`."""
    width, height = size
    dx, dy = jnp.asarray(DX)[direction], jnp.asarray(DY)[direction]
    x = position % width + dx * AHEAD - dy * ASIDE
    y = position // width + dy * AHEAD + dx * ASIDE
    there = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return jnp.where(there, cells[jnp.where(there, y * width + x, 0)], jnp.uint16(WALL))


def see_behind(cell: jax.Array) -> jax.Array:
    """Whether one sees what lies behind a cell: all but walls and doors that are not open."""
    return (kind(cell) != WALL_KIND) & ((kind(cell) != DOOR) | (state(cell) < CLOSED))


def visible(clear: jax.Array) -> jax.Array:
    """Which cells of the view the agent sees, bool `[49]`; `clear` `[49]` says which can be seen through.

    Sight starts at the agent's cell and goes from near rows to far ones. Within a row it spreads to the right, then to
    the left: a clear cell in sight brings into sight its neighbour on that side and, in the next row, the cell before
    it and the one before that neighbour.
    """
    bits = jnp.where(clear, jnp.uint32(1) << BIT, jnp.uint32(0))
    words = [jnp.where(there, bits, 0).sum(dtype=jnp.uint32) for there in (~SECOND, SECOND)]
    lit = [jnp.uint32(0), jnp.uint32(0)]
    sight = jnp.uint32(1 << SIDE // 2)
    for row in reversed(range(SIDE)):
        word, shift = (0, 7 * (row - 3)) if row >= 3 else (1, 7 * row)
        sight, ahead = spread(sight, words[word] >> shift & 0x7F)
        lit[word] = lit[word] | sight << shift
        sight = ahead
    return (jnp.where(SECOND, lit[1], lit[0]) >> BIT & 1) == 1


def spread(sight: jax.Array, clear: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Sight within one row and in the row ahead of it, as seven bits of a uint32 each.

    A run of clear cells lets sight through from its first cell in sight to the cell behind its end: a fill that doubles
    its reach thrice, as carry-lookahead adders do.
    """
    ahead = jnp.uint32(0)
    # Rightwards the last cell has no neighbour to show, leftwards the first.
    for shift, inner in ((jnp.left_shift, 0x3F), (jnp.right_shift, 0x7E)):
        run = clear & inner
        through = sight & run
        for reach in (1, 2, 4):
            through = through | run & shift(through, reach)
            run = run & shift(run, reach)
        beside = shift(through, 1)
        sight, ahead = sight | beside, ahead | through | beside
    return sight, ahead
