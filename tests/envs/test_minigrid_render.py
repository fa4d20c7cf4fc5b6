"""Pictures of MiniGrid: pixel by pixel those of Farama."""

import itertools
import subprocess
import sys

import numpy as np
import pytest

from envs.errors import UsageError
from envs.minigrid import cells, render
from envs.minigrid.convert import cell_of, cells_of
from envs.minigrid.farama import create
from envs.minigrid.tasks import TASKS

pytest.importorskip("minigrid")
from minigrid.core.grid import Grid
from minigrid.core.world_object import Ball, Box, Door, Floor, Goal, Key, Lava, Wall

PLAYED = [
    *("DoorKey-8x8", "MultiRoom-N6", "KeyCorridorS3R3", "ObstructedMaze-1Dlhb", "LavaCrossingS9N2", "MemoryS13Random"),
    *("Fetch-8x8-N3", "GoToDoor-8x8", "Unlock", "RedBlueDoors-6x6", "Empty-5x5", "LockedRoom", "Playground"),
]
DOORS = [(True, False), (False, False), (False, True)]  # is_open, is_locked


def things(colours=cells.COLOURS):
    """One of everything that can lie in a cell."""
    yield from (None, Lava())
    for colour in colours:
        yield from (kind(colour) for kind in (Wall, Floor, Key, Ball, Box, Goal))
        yield from (Door(colour, *state) for state in DOORS)
        yield Box(colour, Key("blue"))


def scatter(env, rng, share):
    """Puts anything anywhere, the agent too."""
    all_things = list(things())
    for at in np.flatnonzero(rng.random(env.width * env.height) < share):
        env.grid.grid[at] = all_things[rng.integers(len(all_things))]
    env.agent_pos = (int(rng.integers(env.width)), int(rng.integers(env.height)))
    env.agent_dir = int(rng.integers(4))


def made(name):
    task = TASKS[f"MiniGrid-{name}-v0"]
    return task, create(task, render_mode="rgb_array")


def state_of(env):
    x, y = env.agent_pos
    return cells_of(env.grid), env.width, env.height, y * env.width + x, env.agent_dir


def check(task, env, size=None):
    state = state_of(env)
    seen = render.seen_cells(*state, task.see_through)
    if size is None:
        np.testing.assert_array_equal(render.picture(*state, seen), env.render())
    else:
        np.testing.assert_array_equal(render.picture(*state, seen, size), env.get_frame(tile_size=size))


def check_tile(thing, heading, lit, size):
    expected = np.zeros((size, size, 3), np.uint8)
    expected[:] = Grid.render_tile(thing, heading, lit, tile_size=size)
    assert np.array_equal(render.tile(cell_of(thing), heading, lit, size), expected), (thing, heading, lit)


# --- tiles -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 4])
def test_every_tile_is_faramas(size):
    for thing, heading, lit in itertools.product(things(), (None, 0, 1, 2, 3), (False, True)):
        check_tile(thing, heading, lit, size)


@pytest.mark.parametrize("size", [8, 11, 32])
def test_tiles_of_other_sizes_are_faramas(size):
    for thing in things(("purple",)):
        check_tile(thing, None, False, size)
    for heading, lit in itertools.product(range(4), (False, True)):
        check_tile(None, heading, lit, size)
    check_tile(Door("yellow", is_open=True), 2, True, size)


def test_corners_are_float32():
    # At this size some points lie so near to an edge that float64 corners would put them on its other side.
    check_tile(None, 0, False, 100)


@pytest.mark.slow
@pytest.mark.parametrize("size", [8, 11, 32])
def test_every_tile_is_faramas_at_larger_sizes(size):
    for thing, heading, lit in itertools.product(things(), (None, 0, 1, 2, 3), (False, True)):
        check_tile(thing, heading, lit, size)


def test_contents_of_boxes_do_not_show():
    box, full = cell_of(Box("red")), cell_of(Box("red", Key("blue")))
    assert box != full
    assert render.tile(full) is render.tile(box)


def test_tiles_are_kept_and_cannot_be_written():
    first = render.tile(cells.WALL)
    assert render.tile(np.uint16(cells.WALL), None, np.bool_(False), 32) is first
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 0


def test_a_tile_needs_a_pixel():
    with pytest.raises(UsageError, match="smallest size is 1"):
        render.tile(cells.WALL, size=0)


# --- pictures ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PLAYED)
def test_play_looks_as_faramas(name):
    task, env = made(name)
    rng = np.random.default_rng(3)
    env.reset(seed=3)
    for step in range(120):
        if step % 8 == 0:
            check(task, env)
        if env.step(rng.choice(7, p=[0.15, 0.15, 0.4, 0.1, 0.05, 0.15, 0]))[2]:
            check(task, env)
            env.reset(seed=step)


@pytest.mark.parametrize("name", ["KeyCorridorS3R3", "GoToDoor-8x8"])
def test_anything_anywhere_looks_as_faramas(name):
    task, env = made(name)
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    for trial in range(60):
        scatter(env, rng, 0.3)
        check(task, env, size=(5, 8, 11)[trial % 3])


@pytest.mark.parametrize("thing", [Goal(), Lava(), Door("yellow", is_open=True), Floor("blue")])
def test_the_agent_on_something_looks_as_faramas(thing):
    task, env = made("DoorKey-5x5")
    env.reset(seed=0)
    for at in ((3, 3), (3, 1)):
        env.grid.set(*at, thing)
        env.agent_pos = at
        check(task, env)


def test_without_highlight():
    _, env = made("ObstructedMaze-1Dlhb")
    env.reset(seed=0)
    np.testing.assert_array_equal(render.picture(*state_of(env)), env.get_frame(highlight=False))


# --- sight -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["MultiRoom-N6", "Unlock", "DoorKey-5x5", "GoToDoor-5x5"])
def test_sight_is_faramas(name):
    task, env = made(name)
    env.reset(seed=0)
    masks = []
    rng = np.random.default_rng(0)
    for share in np.linspace(0, 0.5, 100):
        scatter(env, rng, share)
        env.grid.render = lambda *_, highlight_mask: masks.append(highlight_mask)
        env.get_frame(tile_size=1)
        seen = render.seen_cells(*state_of(env), task.see_through)
        np.testing.assert_array_equal(seen.reshape(env.height, env.width), masks.pop().T)


# --- imports -----------------------------------------------------------------------------------------------------


def test_it_needs_neither_farama_nor_jax():
    program = """
import sys
sys.modules.update(dict.fromkeys(("minigrid", "gymnasium", "jax", "jaxlib")))
import numpy as np
from envs.minigrid.cells import EMPTY
from envs.minigrid.render import picture, seen_cells
cells = np.full(12, EMPTY, np.uint16)
print(picture(cells, 4, 3, 5, 0, seen_cells(cells, 4, 3, 5, 0, False), 8).shape)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "(24, 32, 3)\n", done.stderr
