"""What the agent of the device's MiniGrid sees, and the packed cells that it sees."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.errors import UsageError
from envs.minigrid import cells, view
from envs.minigrid.cells import BALL, BLUE, BOX, EMPTY, GREEN, GREY, KEY, NOTHING, RED, WALL_KIND, pack

# --- packed cells ---------------------------------------------------------------------------------------------------


def test_every_cell_comes_out_of_sixteen_bits_as_it_went_in():
    parts = np.array(list(itertools.product(range(11), range(6), range(3), range(11), range(6))))
    kind, colour, state, inner_kind, inner_colour = parts.T
    packed = pack(kind, colour, state, pack(inner_kind, inner_colour))
    assert packed.max() < 1 << 16
    assert len(np.unique(packed)) == len(parts)
    for array in (packed.astype(np.uint16), jnp.asarray(packed, jnp.uint16)):
        np.testing.assert_array_equal(cells.kind(array), kind)
        np.testing.assert_array_equal(cells.colour(array), colour)
        np.testing.assert_array_equal(cells.state(array), state)
        np.testing.assert_array_equal(cells.inside(array), pack(inner_kind, inner_colour))
    np.testing.assert_array_equal(cells.encode(packed), np.stack([kind, colour, state], -1))


def test_what_has_no_packed_cell_is_refused():
    objects = pytest.importorskip("minigrid.core.world_object")
    from envs.minigrid.convert import cell_of

    nested = objects.Box("red", objects.Box("green", objects.Key("blue")))
    with pytest.raises(UsageError, match="box that holds a box"):
        cell_of(nested)
    with pytest.raises(UsageError, match="box that holds a door"):
        cell_of(objects.Box("red", objects.Door("green", is_locked=True)))
    assert cell_of(objects.Box("red", objects.Box("green"))) == pack(BOX, RED, 0, pack(BOX, GREEN))


# --- sight ------------------------------------------------------------------------------------------------------------


def sight_by_hand(clear: np.ndarray) -> np.ndarray:
    """MiniGrid's visibility of a view `[i, j]`, cell by cell."""
    seen = np.zeros((7, 7), bool)
    seen[3, 6] = True
    for j in range(6, -1, -1):
        for columns, side in ((range(6), 1), (range(6, 0, -1), -1)):
            for i in columns:
                if seen[i, j] and clear[i, j]:
                    seen[i + side, j] = True
                    if j > 0:
                        seen[i, j - 1] = seen[i + side, j - 1] = True
    return seen


def test_sight_is_that_of_going_cell_by_cell():
    rng = np.random.default_rng(0)
    share = rng.uniform(0.3, 1, (8_000, 1, 1))
    clear = rng.random((8_000, 7, 7)) < share
    found = jax.jit(jax.vmap(view.visible))(clear.reshape(-1, 49))
    by_hand = np.array([sight_by_hand(mask) for mask in clear])
    np.testing.assert_array_equal(np.asarray(found).reshape(-1, 7, 7), by_hand)
    assert 0.2 < by_hand.mean() < 0.8


def test_sight_within_a_row_is_right_for_every_row():
    """All 128 x 128 pairs of cells in sight and clear cells."""
    sight, clear = (axis.ravel().astype(np.uint32) for axis in np.meshgrid(np.arange(128), np.arange(128)))
    mine = np.stack(jax.jit(view.spread)(sight, clear))
    bits = np.arange(7, dtype=np.uint32)
    seen, open_to = (word[:, None] >> bits & 1 == 1 for word in (sight, clear))
    ahead = np.zeros_like(seen)
    for columns, side in ((range(6), 1), (range(6, 0, -1), -1)):
        for i in columns:
            through = seen[:, i] & open_to[:, i]
            for row, column in ((seen, i + side), (ahead, i), (ahead, i + side)):
                row[:, column] |= through
    np.testing.assert_array_equal(mine, [(row << bits).sum(1) for row in (seen, ahead)])


def test_sight_is_faramas():
    pytest.importorskip("minigrid")
    from minigrid.core.grid import Grid
    from minigrid.core.world_object import Ball, Door, Lava, Wall

    from envs.minigrid.convert import cells_of

    rng = np.random.default_rng(1)
    things = [Wall(), Door("red"), Door("red", is_locked=True), Door("red", is_open=True), Ball("green"), Lava(), None]
    look = jax.jit(lambda seen: view.visible(view.see_behind(seen)))
    for _ in range(300):
        grid = Grid(7, 7)
        grid.grid = [things[number] for number in rng.choice(7, 49, p=[0.1, 0.06, 0.04, 0.1, 0.1, 0.1, 0.5])]
        mine = look(cells_of(grid).reshape(7, 7).T.ravel()).reshape(7, 7)
        np.testing.assert_array_equal(mine, grid.process_vis((3, 6)))


@pytest.mark.parametrize(("direction", "column", "row"), [(0, 0, 1), (1, 1, 0), (2, 2, 1), (3, 1, 2)])
def test_the_view_turns_with_the_agent_and_ends_in_walls(direction, column, row):
    """In a world of 3 x 3 cells with the agent in the middle; the cell ahead is a ball, the one behind a key."""
    place = np.arange(9).reshape(3, 3)
    grid = np.full(9, EMPTY, np.uint16)
    ahead, behind = place[2 - row, 2 - column], place[row, column]
    grid[ahead], grid[behind] = pack(BALL, GREEN), pack(KEY, RED)
    seen = view.image(view.look(grid, jnp.int32(4), jnp.int32(direction), jnp.uint16(0), (3, 3), True))
    expected = np.broadcast_to(np.array([WALL_KIND, GREY, 0], np.uint8), (7, 7, 3)).copy()
    expected[2:5, 5:] = [NOTHING, 0, 0]
    expected[3, 5] = [BALL, GREEN, 0]
    np.testing.assert_array_equal(seen, expected)


def test_the_agent_sees_what_it_carries_where_it_stands():
    grid, carrying = np.full(9, EMPTY, np.uint16), jnp.uint16(pack(BOX, BLUE, 0, pack(KEY, RED)))
    seen = view.image(view.look(grid, jnp.int32(4), jnp.int32(0), carrying, (3, 3), False))
    np.testing.assert_array_equal(seen[3, 6], [BOX, BLUE, 0])
