"""The parts of MiniGrid on the device by themselves: one step, the tasks' rules, keys of states, rewards."""

import itertools
import zlib
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.minigrid import cells, device, rules, world
from envs.minigrid.cells import (
    BALL,
    BLUE,
    BOX,
    CLOSED,
    DOOR,
    EMPTY,
    FLOOR,
    GOAL,
    GREEN,
    GREY,
    KEY,
    LAVA,
    LOCKED,
    OPEN,
    RED,
    WALL,
    pack,
)
from envs.minigrid.levels import Level
from envs.minigrid.tasks import TASKS
from envs.minigrid.world import DONE, DROP, FORWARD, LEFT, PICKUP, RIGHT, TOGGLE

WIDTH = 5  # of the rooms in this file, which are square
HERE, AHEAD, TWO_AHEAD, BELOW = 1 * WIDTH + 1, 1 * WIDTH + 2, 1 * WIDTH + 3, 2 * WIDTH + 1


def room(front=EMPTY, carrying=0, target=(0, 0), at=None, direction=0):
    """A state in an empty room, the agent in its upper left corner looking right at `front`."""
    inside = np.full((WIDTH, WIDTH), WALL, np.uint16)
    inside[1:-1, 1:-1] = EMPTY
    inside = inside.ravel()
    inside[AHEAD] = front
    for place, cell in (at or {}).items():
        inside[place] = cell
    level = Level(inside, np.uint16(HERE), np.uint8(direction), np.zeros(20, np.uint8), np.array(target, np.uint16))
    return world.start(level, WIDTH)._replace(carrying=jnp.uint16(carrying))


step = jax.jit(partial(world.step, width=WIDTH))


# --- the world --------------------------------------------------------------------------------------------------------

KEY_RED, KEY_BLUE, BALL_RED = pack(KEY, RED), pack(KEY, BLUE), pack(BALL, RED)
FULL_BOX = pack(BOX, GREEN, 0, KEY_RED)


@pytest.mark.parametrize(
    ("front", "carrying", "action", "front_after", "carrying_after"),
    [
        (KEY_RED, 0, PICKUP, EMPTY, KEY_RED),
        (BALL_RED, 0, PICKUP, EMPTY, BALL_RED),
        (FULL_BOX, 0, PICKUP, EMPTY, FULL_BOX),
        (KEY_RED, KEY_BLUE, PICKUP, KEY_RED, KEY_BLUE),
        (pack(DOOR, RED, OPEN), 0, PICKUP, pack(DOOR, RED, OPEN), 0),
        (pack(GOAL, GREEN), 0, PICKUP, pack(GOAL, GREEN), 0),
        (EMPTY, FULL_BOX, DROP, FULL_BOX, 0),
        (EMPTY, 0, DROP, EMPTY, 0),
        (pack(FLOOR, BLUE), KEY_RED, DROP, pack(FLOOR, BLUE), KEY_RED),
        (pack(DOOR, RED, OPEN), KEY_RED, DROP, pack(DOOR, RED, OPEN), KEY_RED),
        (pack(DOOR, RED, LOCKED), 0, TOGGLE, pack(DOOR, RED, LOCKED), 0),
        (pack(DOOR, RED, LOCKED), KEY_BLUE, TOGGLE, pack(DOOR, RED, LOCKED), KEY_BLUE),
        (pack(DOOR, RED, LOCKED), BALL_RED, TOGGLE, pack(DOOR, RED, LOCKED), BALL_RED),
        (pack(DOOR, RED, LOCKED), KEY_RED, TOGGLE, pack(DOOR, RED, OPEN), KEY_RED),
        (pack(DOOR, RED, CLOSED), 0, TOGGLE, pack(DOOR, RED, OPEN), 0),
        (pack(DOOR, RED, OPEN), KEY_RED, TOGGLE, pack(DOOR, RED, CLOSED), KEY_RED),
        (FULL_BOX, KEY_BLUE, TOGGLE, KEY_RED, KEY_BLUE),
        (pack(BOX, GREEN), 0, TOGGLE, EMPTY, 0),
        (KEY_RED, 0, TOGGLE, KEY_RED, 0),
        (KEY_RED, KEY_BLUE, DONE, KEY_RED, KEY_BLUE),
    ],
)
def test_hands_change_the_cell_ahead_and_nothing_else(front, carrying, action, front_after, carrying_after):
    state = room(front, carrying)
    after, outcome = step(state, action)
    assert (int(after.cells[AHEAD]), int(after.carrying)) == (front_after, carrying_after)
    assert (int(after.position), int(after.direction), int(after.steps)) == (HERE, 0, 1)
    np.testing.assert_array_equal(after.cells, state.cells.at[AHEAD].set(front_after))
    assert not outcome.rewarded
    assert not outcome.terminated


@pytest.mark.parametrize(
    ("front", "enters", "rewarded", "terminated"),
    [
        (EMPTY, True, False, False),
        (pack(FLOOR, BLUE), True, False, False),
        (pack(DOOR, RED, OPEN), True, False, False),
        (pack(GOAL, GREEN), True, True, True),
        (pack(LAVA, RED), True, False, True),
        *((cell, False, False, False) for cell in (WALL, KEY_RED, BALL_RED, FULL_BOX)),
        *((pack(DOOR, RED, shut), False, False, False) for shut in (CLOSED, LOCKED)),
    ],
)
def test_feet_enter_what_is_free(front, enters, rewarded, terminated):
    state = room(front)
    after, outcome = step(state, FORWARD)
    assert int(after.position) == (AHEAD if enters else HERE)
    assert (bool(outcome.rewarded), bool(outcome.terminated)) == (rewarded, terminated)
    np.testing.assert_array_equal(after.cells, state.cells)


def test_four_turns_are_none():
    state = room()
    for action, directions in ((LEFT, [3, 2, 1, 0]), (RIGHT, [1, 2, 3, 0])):
        for direction in directions:
            state, _ = step(state, action)
            assert int(state.direction) == direction


# --- the rules --------------------------------------------------------------------------------------------------------

LOST, WON, ON = (False, True), (True, True), (False, False)  # rewarded, terminated


@pytest.mark.parametrize(
    ("rule", "front", "carrying", "target", "action", "expected"),
    [
        ("goal", pack(GOAL, GREEN), 0, (0, 0), FORWARD, WON),
        ("goal", KEY_RED, 0, (0, 0), PICKUP, ON),
        ("pick", FULL_BOX, 0, (FULL_BOX, 0), PICKUP, WON),
        ("pick", KEY_RED, 0, (FULL_BOX, 0), PICKUP, ON),
        ("pick", FULL_BOX, KEY_RED, (FULL_BOX, 0), PICKUP, ON),
        ("pick", pack(LAVA, RED), 0, (FULL_BOX, 0), FORWARD, LOST),
        ("unlock", pack(DOOR, RED, LOCKED), KEY_RED, (AHEAD, 0), TOGGLE, WON),
        ("unlock", pack(DOOR, RED, LOCKED), KEY_BLUE, (AHEAD, 0), TOGGLE, ON),
        ("memory", EMPTY, 0, (AHEAD, BELOW), FORWARD, WON),
        ("memory", EMPTY, 0, (BELOW, AHEAD), FORWARD, LOST),
        ("memory", KEY_RED, 0, (BELOW, AHEAD), PICKUP, ON),
        ("fetch", KEY_RED, 0, (KEY_RED, 0), PICKUP, WON),
        ("fetch", KEY_BLUE, 0, (KEY_RED, 0), PICKUP, LOST),
        ("fetch", EMPTY, 0, (KEY_RED, 0), PICKUP, ON),
        ("go_to", KEY_RED, 0, (AHEAD, 0), DONE, WON),
        ("go_to", EMPTY, 0, (BELOW, 0), DONE, WON),
        ("go_to", EMPTY, 0, (TWO_AHEAD, 0), DONE, LOST),
        ("go_to", EMPTY, 0, (AHEAD + WIDTH, 0), DONE, LOST),
        ("go_to", KEY_RED, 0, (AHEAD, 0), TOGGLE, LOST),
        ("go_to", KEY_RED, 0, (AHEAD, 0), PICKUP, ON),
        ("put_near", EMPTY, KEY_RED, (KEY_RED, AHEAD + WIDTH + 1), DROP, WON),
        ("put_near", EMPTY, KEY_RED, (KEY_RED, AHEAD + 2 * WIDTH), DROP, LOST),
        ("put_near", WALL, KEY_RED, (KEY_RED, AHEAD), DROP, LOST),
        ("put_near", EMPTY, 0, (KEY_RED, AHEAD), DROP, ON),
        ("put_near", KEY_RED, 0, (KEY_RED, TWO_AHEAD), PICKUP, ON),
        ("put_near", KEY_BLUE, 0, (KEY_RED, TWO_AHEAD), PICKUP, LOST),
    ],
)
def test_rules_end_episodes(rule, front, carrying, target, action, expected):
    assert ends(rule, room(front, carrying, target), action) == expected


@pytest.mark.parametrize(
    ("red", "blue", "action", "expected"),
    [
        (OPEN, CLOSED, TOGGLE, WON),
        (CLOSED, CLOSED, TOGGLE, LOST),
        (OPEN, OPEN, TOGGLE, LOST),
        (OPEN, CLOSED, DONE, ON),
    ],
)
def test_the_red_door_comes_first(red, blue, action, expected):
    """The blue door is ahead."""
    state = room(pack(DOOR, BLUE, blue), target=(BELOW, AHEAD), at={BELOW: pack(DOOR, RED, red)})
    assert ends("two_doors", state, action) == expected


def ends(rule, before, action):
    action = rules.rewritten(rule, jnp.int32(action))
    after, outcome = step(before, action)
    found = rules.RULES[rule](before, action, after, outcome, WIDTH)
    return bool(found.rewarded), bool(found.terminated)


# --- keys -------------------------------------------------------------------------------------------------------------


def keys_of(states):
    """64-bit keys of a batch of states."""
    return np.asarray(jax.jit(jax.vmap(world.grid_key))(states)).astype("<u4").view("<u8").ravel()


def states_of(grids, position, direction):
    level = Level(
        grids, position, direction, np.zeros((len(grids), 20), np.uint8), np.zeros((len(grids), 2), np.uint16)
    )
    return jax.jit(jax.vmap(lambda level: world.start(level, WIDTH)))(level)


def test_no_two_of_300_000_grids_have_the_same_key():
    """Grids that differ from an empty room in two cells and in where the agent looks: close to each other."""
    inner = [y * WIDTH + x for y in range(1, 4) for x in range(1, 4)]
    things = [pack(kind, colour) for kind in (KEY, BALL, BOX, FLOOR) for colour in range(6)] + [
        pack(DOOR, colour, state) for colour in range(6) for state in range(3)
    ]
    changes = [(place, thing) for place in inner if place != HERE for thing in things]
    pairs = np.array([(*a, *b) for a, b in itertools.combinations(changes, 2) if a[0] != b[0]])
    base = np.asarray(room().cells)
    grids = np.repeat(base[None], len(pairs), 0)
    for place, thing in (pairs[:, :2].T, pairs[:, 2:].T):
        grids[np.arange(len(pairs)), place] = thing
    grids = np.repeat(grids, 7, 0)
    turns = np.tile(np.arange(7), len(pairs))
    poses = np.array([(HERE, 0), (HERE, 1), (HERE, 2), (HERE, 3), (0, 0), (4, 1), (20, 3)])
    states = states_of(grids, poses[turns, 0].astype(np.uint16), poses[turns, 1].astype(np.uint8))
    keys = keys_of(states)
    assert len(keys) > 300_000
    assert len(np.unique(keys)) == len(keys)
    chance = len(keys) ** 2 / 2**33  # how many of 32-bit words coincide by chance
    for word in (keys & 0xFFFFFFFF, keys >> np.uint64(32)):
        assert len(keys) - len(np.unique(word)) < 2 * chance + 10


def test_keys_forget_what_is_in_boxes_and_hands():
    plain = room(pack(BOX, GREEN))
    for other in (room(FULL_BOX), room(pack(BOX, GREEN), carrying=KEY_RED)):
        np.testing.assert_array_equal(world.grid_key(plain), world.grid_key(other))


@pytest.mark.parametrize(
    "id",
    [
        *("MiniGrid-KeyCorridorS3R2-v0", "MiniGrid-ObstructedMaze-1Dlhb-v0", "MiniGrid-MultiRoom-N2-S4-v0"),
        *("MiniGrid-BlockedUnlockPickup-v0", "MiniGrid-LavaCrossingS9N2-v0"),
    ],
)
def test_the_key_has_the_first_visits_of_the_full_grid(id):
    """On episodes of Farama's: nearly solved, then by chance; the device steps through the same actions."""
    pytest.importorskip("minigrid")
    import pickle

    from minigrid_scripts import BUSY, Tally, detour, solved

    from envs.minigrid.convert import state_of
    from envs.minigrid.farama import FaramaGrid

    task, seed = TASKS[id], zlib.crc32(id.encode()) % 1000
    rng = np.random.default_rng(seed)
    level, solution = solved(task, seed, Tally())
    env = FaramaGrid(id, 10_000)
    env.env = pickle.loads(level)
    env.env.max_steps, env.grid = 10_000, env.env.grid.encode()
    state, taken, full = state_of(env.env, task), [], [tuple(env._key())]
    for action in [*detour(task, solution, rng)[:-1], *rng.choice(7, 400, p=BUSY)]:
        _, _, terminated, _, info = env.step(action)
        taken.append(int(action))
        full.append(tuple(info["grid_key"]))
        if terminated:
            break

    def one(state, action):
        state, _ = world.step(state, action, task.size[0])
        return state, world.grid_key(state)

    keys = np.asarray(jax.jit(lambda state, actions: jax.lax.scan(one, state, actions)[1])(state, np.array(taken)))
    mine = [tuple(np.asarray(world.grid_key(state))), *map(tuple, keys)]
    assert [mine.index(key) for key in mine] == [full.index(key) for key in full]
    assert 20 < len(set(full)) < len(full)


def test_full_grids_have_the_agent_in_them():
    grid = np.asarray(world.full_grid(room(FULL_BOX, direction=2), (WIDTH, WIDTH)))
    assert grid[1, 1].tolist() == [cells.AGENT, 0, 2]
    assert grid[2, 1].tolist() == [BOX, GREEN, 0]
    assert grid[0, 0].tolist() == [2, GREY, 0]


# --- rewards ----------------------------------------------------------------------------------------------------------


def test_payments_are_faramas_rewards_rounded_once(monkeypatch):
    monkeypatch.setattr(device, "advance", lambda parts, *_: parts)
    for task in TASKS.values():
        if task.rule:
            parts = device.environment(task, None, (), task.max_steps).step(None, None, None)
            expected = [np.float32(1 - 0.9 * (t / task.max_steps)) for t in range(task.max_steps + 1)]
            np.testing.assert_array_equal(parts.payment, np.array(expected, np.float32))
            assert parts.limit == task.max_steps
            assert (parts.payment > 0).all()
