"""MiniGrid on the device equals Farama's, step by step, in every task that it has."""

import zlib

import jax
import numpy as np
import pytest

pytest.importorskip("minigrid")

from minigrid_parity import compare
from minigrid_scripts import levels_of, play_by_chance, play_scripts

from envs.minigrid import device
from envs.minigrid.cells import inside
from envs.minigrid.convert import level_of, state_of
from envs.minigrid.farama import create
from envs.minigrid.mission import tokens
from envs.minigrid.tasks import TASKS, Task

# Tasks that share a compiled program stand together, so that each process compiles few.
IDS = sorted((id for id, task in TASKS.items() if task.rule), key=lambda id: (TASKS[id].rule, TASKS[id].size, id))

EVERYWHERE = {
    *("bumped", "picked up", "picked up what holds a thing", "full hands", "dropped", "nowhere to drop"),
    *("opened", "closed", "unlocked", "locked, no key", "locked, wrong key"),
    *("box with nothing", "box with key", "box with ball", "box with box"),
    *("lava", "won by forward", "won at the last step", "ran out of time"),
}
OF_A_RULE = {
    "goal": {"solution: won by forward"},
    "pick": {"solution: won by pickup"},
    "unlock": {"solution: won by toggle"},
    "memory": {"solution: won by forward", "lost by forward"},
    "fetch": {"solution: won by pickup", "lost by pickup"},
    "go_to": {"solution: won by done", "lost by done", "lost by toggle"},
    "put_near": {"solution: won by drop", "lost by drop", "lost by pickup"},
    "two_doors": {"solution: won by toggle", "lost by toggle"},
}
OF_A_FAMILY = {
    "solution: unlocked": ("DoorKey", "Unlock", "LockedRoom", "KeyCorridor", "ObstructedMaze"),
    "solution: dropped": ("Blocked", "KeyCorridor", "hb", "1Q", "2Q", "Full"),
    "solution: opened": ("MultiRoom", "RedBlueDoors", "LockedRoom"),
    "solution: box with key": ("Dlh", "1Q", "2Q", "Full"),
}


def seed_of(id: str) -> int:
    return zlib.crc32(id.encode()) % 1000


def events_of(task: Task) -> set[str]:
    """What the steps of a task must have seen happen."""
    everywhere = {
        event for event in EVERYWHERE if task.rule != "memory" or (event != "full hands" and "pick" not in event)
    }
    family = {event for event, names in OF_A_FAMILY.items() if any(name in task.id for name in names)}
    return everywhere | OF_A_RULE[str(task.rule)] | family


@pytest.mark.parametrize("id", IDS)
def test_the_table_has_faramas_grids(id):
    task, env = TASKS[id], create(TASKS[id])
    assert task.size == (env.width, env.height)
    assert task.see_through == env.see_through_walls


@pytest.mark.parametrize("id", [id for id in IDS if TASKS[id].rule == "pick"])
def test_levels_hold_one_object_like_the_target(id):
    """Farama's tasks know their object itself, the device its kind and colour."""
    env = create(TASKS[id])
    for seed in range(seed_of(id), seed_of(id) + 20):
        env.reset(seed=seed)
        level = level_of(env, TASKS[id])
        assert (level.cells == level.target[0]).sum() == 1
        assert (inside(level.cells) != level.target[0] & 0x7F).all()


FEW = ("MiniGrid-DoorKey-8x8-v0", "MiniGrid-Fetch-8x8-N3-v0", "MiniGrid-MultiRoom-N6-v0", "MiniGrid-MemoryS7-v0")


@pytest.mark.parametrize("id", [id if id in FEW else pytest.param(id, marks=pytest.mark.slow) for id in IDS])
def test_episodes_begin_as_faramas_do(id):
    task, farama = TASKS[id], create(TASKS[id])
    env = device.environment(task, None, (), task.max_steps, full_grid=True)
    seen, levels, states = [], [], []
    for seed in range(seed_of(id), seed_of(id) + 20):
        obs, _ = farama.reset(seed=seed)
        grid = farama.grid.encode()
        grid[tuple(farama.agent_pos)] = (10, 0, farama.agent_dir)
        seen.append({**obs, "direction": np.int32(obs["direction"]), "mission": tokens(obs["mission"]), "grid": grid})
        levels.append(level_of(farama, task))
        states.append(state_of(farama, task))
    seen, levels, states = (jax.tree.map(lambda *leaves: np.stack(leaves), *each) for each in (seen, levels, states))
    mine, timestep = jax.jit(jax.vmap(env.reset, (None, 0)))(None, levels)
    jax.tree.map(np.testing.assert_array_equal, timestep.obs, seen)
    jax.tree.map(np.testing.assert_array_equal, mine, states)
    assert not timestep.last.any()
    assert not timestep.extras["success"].any()
    assert (timestep.discount == 1).all()
    assert (timestep.reward == 0).all()


@pytest.mark.parametrize(
    ("steps", "scripted", "levels", "shared"),
    [(2_000, 200, 6, True), pytest.param(20_000, 2_000, 60, False, marks=pytest.mark.slow)],
    ids=["tenth", "full"],
)
@pytest.mark.parametrize("id", IDS)
def test_the_device_steps_as_farama_does(id, steps, scripted, levels, shared, record_property):
    task, seed = TASKS[id], seed_of(id)
    chance = play_by_chance(task, levels_of(task, seed, levels), seed, steps)
    scripts = play_scripts(task, seed, scripted)
    events = chance.events + scripts.events
    assert chance.steps >= steps
    assert scripts.steps >= scripted
    assert not events_of(task) - set(events)
    compare(task, chance.segments + scripts.segments, shared)
    wins = sum(number for event, number in events.items() if event.startswith("won by"))
    episodes = chance.episodes + scripts.episodes
    record_property("parity", (id, chance.steps, scripts.steps, episodes, wins, events["lava"], len(events)))
