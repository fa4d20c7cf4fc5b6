"""MiniGrid: the table, missions and keys against Farama, and Farama's adapter."""

import dataclasses
import zlib

import gymnasium
import numpy as np
import pytest
from minigrid_player import COLOURS, Player
from timestep_rules import check_rules

from envs import minigrid
from envs.errors import UsageError
from envs.minigrid import grid_key
from envs.minigrid.farama import FaramaGrid, create
from envs.minigrid.mission import tokens, words
from envs.minigrid.tasks import TASKS

envpool = pytest.importorskip("envpool")
pytest.importorskip("minigrid")

POOLED = [id for id, task in TASKS.items() if task.pooled]
KEYED = [
    *("MiniGrid-KeyCorridorS3R3-v0", "MiniGrid-DoorKey-8x8-v0", "MiniGrid-BlockedUnlockPickup-v0"),
    *("MiniGrid-LockedRoom-v0", "MiniGrid-LavaCrossingS9N2-v0", "MiniGrid-ObstructedMaze-1Dlhb-v0"),
    *("MiniGrid-MultiRoom-N4-S5-v1", "MiniGrid-Playground-v0", "MiniGrid-FourRooms-v0"),
]


def seed_of(id):
    return zlib.crc32(id.encode()) % 1000


def first_visits(keys):
    seen = set()
    return [key not in seen and not seen.add(key) for key in keys]


# --- the table ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("id", TASKS)
def test_the_table_is_faramas(id):
    task, env = TASKS[id], create(TASKS[id])
    assert env.max_steps == task.max_steps
    assert minigrid.make(id).spec.action.n == env.action_space.n
    assert minigrid.make(id).spec.max_steps == task.max_steps
    if task.pooled:
        assert envpool.make_spec(id).config.max_episode_steps == task.max_steps
        assert minigrid.make(id).spec.version.startswith("envpool")
    assert (id in gymnasium.registry) != bool(task.rooms)


def test_multiroom_and_obstructed_maze_never_go_through_envpool():
    families = [id for id in TASKS if "MultiRoom" in id or "ObstructedMaze" in id or "Dynamic" in id]
    assert len(families) == 9 + 13 + 6
    assert all(minigrid.make(id, "host").spec.version.startswith("minigrid") for id in families)


def test_our_multirooms_have_their_number_of_rooms():
    for id, task in TASKS.items():
        if task.rooms:
            env = create(task)
            env.reset(seed=seed_of(id))
            assert len(env.rooms) == task.rooms[0]
            assert max(max(room.size) for room in env.rooms) <= task.rooms[1]


@pytest.mark.parametrize("name", ["2Dlhb", "1Q", "2Q", "Full"])
def test_only_version_0_of_these_mazes_has_levels_without_a_key(name):
    def lost(env, seed):
        env.reset(seed=seed)
        things = [thing for thing in env.grid.grid if thing is not None]
        return sum(thing.type == "box" for thing in things) < sum(
            thing.type == "door" and thing.is_locked for thing in things
        )

    old, new = (create(TASKS[f"MiniGrid-ObstructedMaze-{name}-v{version}"]) for version in (0, 1))
    assert 0 < sum(lost(old, seed) for seed in range(60)) < 60
    assert not any(lost(new, seed) for seed in range(60))


# --- missions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("id", TASKS)
def test_missions_are_told_in_full(id):
    env = create(TASKS[id])
    for seed in range(3):
        env.reset(seed=seed)
        assert words(tokens(env.mission)) == env.mission.replace(",", "")


@pytest.mark.parametrize("id", POOLED)
def test_envpools_missions_are_sentences_of_the_task(id):
    def pattern(sentence):
        return " ".join("*" if word in COLOURS else word for word in sentence.split())

    env, task = minigrid.make(id).open(0, 16), create(TASKS[id])
    heard = [words(mission) for mission in env.reset().obs["mission"]]
    told = [task.reset(seed=seed)[0]["mission"].replace(",", "") for seed in range(8)]
    assert set(map(pattern, heard)) == set(map(pattern, told))
    assert (len(set(heard)) > 1) == (len(set(told)) > 1)


# --- keys --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("id", TASKS)
def test_faramas_key_is_the_hash_of_the_full_grid(id):
    from minigrid.wrappers import FullyObsWrapper

    env, player = FaramaGrid(id, TASKS[id].max_steps), np.random.default_rng(seed_of(id))
    full = FullyObsWrapper(env.env)
    _, info = env.reset(seed=seed_of(id))
    for t in range(60):
        expected = grid_key.full_key(full.observation({"image": None, "mission": "", "direction": 0})["image"])
        np.testing.assert_array_equal(info["grid_key"], expected)
        _, _, terminated, truncated, info = env.step(player.integers(env.action_space.n))
        if terminated or truncated:
            _, info = env.reset(seed=t)


@pytest.mark.parametrize("id", KEYED)
@pytest.mark.parametrize("episodes", [2, pytest.param(25, marks=pytest.mark.slow)])
def test_the_incremental_key_has_the_first_visits_of_the_full_grid(id, episodes):
    """On Farama's own steps: first a player that fetches keys, moves balls and opens boxes, then chance."""
    env, rng = FaramaGrid(id, 10_000), np.random.default_rng(seed_of(id))
    changes = 0
    for seed in range(seed_of(id), seed_of(id) + episodes):
        (obs, info), cells = env.reset(seed=seed), np.zeros(1, np.uint64)
        player: Player | None = Player(words(obs["mission"]))
        mine, full = [], []
        for _ in range(600):
            position, direction = np.array([env.env.agent_pos]), np.array([env.env.agent_dir])
            mine.append(tuple(grid_key.as_words(cells ^ grid_key.pose_hash(position, direction))[0]))
            full.append(tuple(info["grid_key"]))
            action = player.act(obs["image"], obs["direction"]) if player else None
            if action is None:
                action = rng.choice([0, 1, 2, 2, 2, 3, 4, 5, 6])
            image, (obs, _, terminated, _, info) = obs["image"], env.step(action)
            changed = grid_key.advance(cells, image[None], position, direction, np.array([action]), obs["image"][None])
            changes += int((cells != changed).sum())
            cells = changed
            if terminated:  # the same level again, by chance from here on
                (obs, info), cells, player = env.reset(seed=seed), np.zeros(1, np.uint64), None
        assert first_visits(mine) == first_visits(full)
        assert len(set(full)) > 20
    assert changes > 3 * episodes or not any(name in id for name in ("Key", "Unlock", "Locked", "Maze", "Multi"))


def test_keys_do_not_collide_over_poses_and_cells():
    x, y, heading = (axis.ravel() for axis in np.meshgrid(np.arange(25), np.arange(25), np.arange(4)))
    hashes = grid_key.pose_hash(np.stack([x, y], 1), heading)
    assert len(np.unique(hashes)) == len(hashes)
    assert len(np.unique(grid_key.as_words(hashes)[:, 0])) > len(hashes) - 5


# --- Farama's adapter --------------------------------------------------------------------------------------------


def test_the_reference_keeps_the_rules():
    check_rules(minigrid.make("MiniGrid-MultiRoom-N7-S4-v0", max_steps=20), n=2, steps=45)
    check_rules(minigrid.make("MiniGrid-Dynamic-Obstacles-Random-5x5-v0", max_steps=12), n=2, steps=40)
    check_rules(minigrid.make("MiniGrid-LavaGapS5-v0", "reference", repeat=2), n=2, steps=40)


def test_both_backends_have_the_same_spec():
    for id in POOLED:
        host, reference = minigrid.make(id).spec, minigrid.make(id, "reference").spec
        assert dataclasses.replace(host, version="") == dataclasses.replace(reference, version="")


def test_only_the_reference_draws():
    with pytest.raises(UsageError, match="reference"):
        minigrid.make("MiniGrid-FourRooms-v0").open(0, 1, render=True)
    env = minigrid.make("MiniGrid-FourRooms-v0", "reference").open(0, 2, render=True)
    env.reset()
    frames = env.render()
    assert [frame.shape[2] for frame in frames] == [3, 3]
    assert frames[0].dtype == np.uint8
    assert frames[0].std() > 0
    assert not np.array_equal(*frames)


def test_a_short_limit_scales_rewards_as_faramas_does():
    """`1 - 0.9 t / limit` in both."""
    path = [2, 2, 1, 2, 2]
    for backend in ("host", "reference"):
        env = minigrid.make("MiniGrid-Empty-5x5-v0", backend, max_steps=7).open(0, 1)
        env.reset()
        rewards = [env.step(np.array([action], np.int32)).reward[0] for action in path]
        assert rewards[-1] == np.float32(1 - 0.9 * 5 / 7)
