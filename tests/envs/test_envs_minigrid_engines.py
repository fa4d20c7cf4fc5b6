"""MiniGrid's engines: EnvPool equals Farama step by step, and a player solves levels of every id on every engine.

EnvPool shows no grid, so a player first draws the level from the views, and Farama's environment is set to that level.
"""

import zlib

import numpy as np
import pytest
from minigrid_player import DROP, PICKUP, TOGGLE, Player

from envs import minigrid
from envs.minigrid.farama import FaramaGrid
from envs.minigrid.mission import words
from envs.minigrid.tasks import TASKS

pytest.importorskip("envpool")
pytest.importorskip("minigrid")

FAMILIES = [
    *("MiniGrid-Empty-Random-6x6-v0", "MiniGrid-DoorKey-8x8-v0", "MiniGrid-FourRooms-v0", "MiniGrid-Unlock-v0"),
    *("MiniGrid-UnlockPickup-v0", "MiniGrid-BlockedUnlockPickup-v0", "MiniGrid-LockedRoom-v0"),
    *("MiniGrid-KeyCorridorS3R3-v0", "MiniGrid-MemoryS13Random-v0", "MiniGrid-LavaCrossingS9N2-v0"),
    *("MiniGrid-SimpleCrossingS9N2-v0", "MiniGrid-LavaGapS6-v0"),
]
UNSOLVED = {
    "MiniGrid-Playground-v0",  # it rewards nothing
    # Some of their levels have no key.
    *(f"MiniGrid-ObstructedMaze-{name}-v0" for name in ("2Dlhb", "1Q", "2Q", "Full")),
}
PLAYED = [
    (id, backend)
    for id, task in TASKS.items()
    for backend in (("host", "reference") if task.pooled else ("reference",))
    if id not in UNSOLVED
]


def seed_of(id):
    return zlib.crc32(id.encode()) % 1000


def first_visits(keys):
    seen = set()
    return [key not in seen and not seen.add(key) for key in keys]


def explored(maker, seed, thorough):
    """EnvPool's first episode under `seed`, played: what was seen at first, the player, and its actions."""
    env = maker.open(seed, 1)
    timestep = env.reset()
    start, player, actions = timestep.obs, Player(words(timestep.obs["mission"][0]), thorough=thorough), []
    while not timestep.last[0]:
        actions.append(player.act(timestep.obs["image"][0], timestep.obs["direction"][0]))
        timestep = env.step(np.array(actions[-1:], np.int32))
    assert timestep.extras["success"][0]
    if actions[-1] == TOGGLE:  # an opened door shows what is behind it
        player.look(timestep.next_obs["image"][0])
    return start, player, actions


def rebuilt(id, limit, start, player):
    """Farama's environment of the task with the level that the player has drawn."""
    from minigrid.core.grid import Grid
    from minigrid.core.world_object import Wall, WorldObj

    xs, ys = zip(*player.first, strict=True)
    left, top = min(xs) - 1, min(ys) - 1  # one wall more all around: views end at walls
    env = FaramaGrid(id, limit)
    env.reset(seed=0)
    inner = env.env
    inner.grid = Grid(max(xs) - left + 2, max(ys) - top + 2)
    inner.width, inner.height = inner.grid.width, inner.grid.height
    cells = {}
    for x in range(inner.width):
        for y in range(inner.height):
            what = player.first.get((x + left, y + top))
            cells[x, y] = WorldObj.decode(*what) if what else Wall()
            if (x, y) != (-left, -top):
                inner.grid.set(x, y, cells[x, y])
    inner.agent_pos, inner.agent_dir = (-left, -top), int(start["direction"][0])
    inner.mission = " ".join(player.words)
    env.grid = inner.grid.encode()
    here = {cell: thing for cell, thing in cells.items() if thing}
    kinds = player.words
    if "pick" in kinds:
        inner.obj = next(t for t in here.values() if (t.color, t.type) == (kinds[-2], kinds[-1]))
    if "Unlock-" in id:
        inner.door = next(t for t in here.values() if t.type == "door")
    if "matching" in kinds:
        things = [cell for cell, thing in here.items() if thing.type in ("key", "ball")]
        ends = [a for a in things if any(b[0] == a[0] and abs(b[1] - a[1]) == 4 for b in things)]
        shown = next(here[cell].type for cell in things if cell not in ends)
        middle = sum(y for _, y in ends) // 2
        stands = {here[x, y].type == shown: (x, y + (1 if y < middle else -1)) for x, y in ends}
        inner.success_pos, inner.failure_pos = stands[True], stands[False]
    return env


def check_equal(id, level, seed, plan):
    """Steps both engines from the start of the same level; `plan(solution, rng)` is what to do."""
    rng = np.random.default_rng(seed)
    limit = 1000
    maker = minigrid.make(id, max_steps=limit)
    start, player, actions = level
    pool, env = maker.open(seed, 1), rebuilt(id, limit, start, player)
    timestep, inner = pool.reset(), env.env
    obs = env._obs(inner.gen_obs())
    mine, full = [], []
    shift = timestep.extras["position"][0] - env._place()  # the map begins at the first wall that was seen
    for action in plan(actions, rng):
        for name in ("image", "direction"):
            np.testing.assert_array_equal(timestep.obs[name][0], obs[name])
        timestep = pool.step(np.array([action], np.int32))
        obs, reward, terminated, truncated, info = env.step(action)
        for name in ("image", "direction"):
            np.testing.assert_array_equal(timestep.next_obs[name][0], obs[name])
        assert timestep.reward[0] == np.float32(reward)
        assert timestep.discount[0] == 1 - terminated
        assert timestep.last[0] == (terminated or truncated)
        assert timestep.extras["success"][0] == info["success"]
        np.testing.assert_array_equal(timestep.extras["next_position"][0], info["position"] + shift)
        mine.append(tuple(timestep.extras["next_grid_key"][0]))
        full.append(tuple(info["grid_key"]))
        if timestep.last[0]:
            break
    assert first_visits(mine) == first_visits(full)
    return timestep.extras["success"][0]


def solution(actions, rng):
    return actions


def to_the_limit(actions, rng):
    return rng.choice([0, 1, 2, 2, 2, 3, 4, 5, 6], 1000)


def with_detours(actions, rng):
    """The solution with turns that undo themselves, idle steps, and everything picked up put back and taken again."""
    plan = []
    for action in actions:
        plan += [[], [0, 1], [1, 0], [6], [0, 0, 0, 0]][rng.integers(5)] + [action]
        if action in (PICKUP, DROP):
            plan += [DROP + PICKUP - action, action]  # put it back and take it again
        if action == TOGGLE:
            plan += [6]
    return plan[:-2] if plan[-2:] == [DROP, PICKUP] else plan


@pytest.mark.parametrize("id", FAMILIES)
@pytest.mark.parametrize("levels", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_envpool_is_farama_step_by_step(id, levels):
    for seed in range(seed_of(id), seed_of(id) + levels):
        maker = minigrid.make(id, max_steps=20_000)
        start, player, _ = explored(maker, seed, thorough=True)
        level = start, player, explored(maker, seed, thorough=False)[2]
        assert check_equal(id, level, seed, solution)
        check_equal(id, level, seed, with_detours)
        check_equal(id, level, seed, to_the_limit)


@pytest.mark.parametrize(("id", "backend"), PLAYED)
@pytest.mark.parametrize("levels", [3, pytest.param(50, marks=pytest.mark.slow)])
def test_levels_are_solvable(id, backend, levels):
    """Played by search on the map that the view reveals; the step limit is lifted, since looking takes steps."""
    env = minigrid.make(id, backend, max_steps=20_000).open(seed_of(id), 1)
    timestep = env.reset()
    for level in range(levels):
        player = Player(words(timestep.obs["mission"][0]), TASKS[id].moving)
        while True:
            action = player.act(timestep.obs["image"][0], timestep.obs["direction"][0])
            assert action is not None, f"level {level} cannot be solved: {player.known}"
            timestep = env.step(np.array([action], np.int32))
            if timestep.last[0]:
                break
        assert timestep.extras["success"][0], level
    env.close()
