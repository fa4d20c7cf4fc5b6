"""MiniGrid through EnvPool."""

from functools import cache

import numpy as np

from envs.contract import EnvSpec, HostEnv
from envs.envpool import Arrays, Reading, open_pool
from envs.minigrid import grid_key
from envs.minigrid.mission import tokens


def open_minigrid(spec: EnvSpec, seed: int, n: int, limit: int, repeat: int, threads: int) -> HostEnv:
    """Opens `n` environments of a task that EnvPool runs."""

    def reward(reward: np.ndarray, elapsed: np.ndarray) -> np.ndarray:
        # EnvPool scales a success by its own limit, which the adapter has raised by one.
        return np.where(reward > 0, 1 - 0.9 * (elapsed / limit), reward).astype(np.float32)

    reading = Reading(("image", "direction", "mission", "agent_pos"), start, advance, read, reward, outcome)
    return open_pool(spec, seed, n, reading, extra="minigrid", limit=limit, repeat=repeat, threads=threads)


def start(record: Arrays) -> Arrays:
    mission = np.stack([_tokens(sentence.tobytes()) for sentence in record["mission"]])
    return {"mission": mission, "cells": np.zeros(len(mission), np.uint64)}


def advance(memory: Arrays, record: Arrays, actions: np.ndarray, next_record: Arrays) -> Arrays:
    image, position, direction = record["image"], record["agent_pos"], record["direction"]
    cells = grid_key.advance(memory["cells"], image, position, direction, actions, next_record["image"])
    return {"mission": memory["mission"], "cells": cells}


def read(record: Arrays, memory: Arrays) -> tuple[Arrays, Arrays]:
    obs = {"image": record["image"], "direction": record["direction"], "mission": memory["mission"]}
    key = memory["cells"] ^ grid_key.pose_hash(record["agent_pos"], record["direction"])
    return obs, {"grid_key": grid_key.as_words(key), "position": record["agent_pos"].astype(np.int32)}


def outcome(reward: np.ndarray, terminated: np.ndarray) -> Arrays:
    return {"success": terminated & (reward > 0)}


@cache
def _tokens(sentence: bytes) -> np.ndarray:
    return tokens(sentence.rstrip(b"\0").decode())
