"""The package `metaworld` itself: the tasks that it draws, and arms that change from one task to another."""

import functools
import pickle
from collections import defaultdict
from typing import Any

import gymnasium
import metaworld
import numpy as np

from envs.families.trials import SPLITS, Deck, assigned
from envs.metaworld import GOAL_SIZE, GOALS, TASK_SETS, TASKS


@functools.lru_cache
def drawn(name: str, task_set: str, task_seed: int) -> dict[str, list[Any]]:
    """The tasks of both splits, all environments with their first goals, then all with their second, and so on.

    Once per process and never in workers: the engine is simulated for every goal, which takes ML45 half a minute.
    """
    benchmark: Any = getattr(metaworld, task_set)
    made = benchmark(f"{name}-v3", seed=task_seed) if task_set in TASK_SETS else benchmark(seed=task_seed)
    by_environment = dict(zip(SPLITS, (made.train_tasks, made.test_tasks), strict=True))
    return {
        split: [task for goal in range(GOALS) for task in tasks[goal::GOALS]] for split, tasks in by_environment.items()
    }


def parameters(tasks: list[Any], *, with_environment: bool) -> np.ndarray:
    """What was drawn for each task, float32 `[T, 6]`, or `[T, 7]` with its environment's place in `TASKS` in front."""
    table = np.zeros((len(tasks), 1 + GOAL_SIZE), np.float32)
    for row, task in zip(table, tasks, strict=True):
        goal = pickle.loads(task.data)["rand_vec"]
        row[0] = TASKS.index(task.env_name.removesuffix("-v3"))
        row[1 : 1 + len(goal)] = goal
    return table if with_environment else table[:, 1:]


class Arms:
    """Makes the arms of one process, and keeps the engines that none of them plays at the moment.

    An engine is made when a task first needs it. It has a model of several megabytes and takes a tenth of a second to
    make, so arms that change their environment hand engines to each other; every reset is a fresh start.
    """

    def __init__(self, tasks: list[Any], deck: Deck | None, reward_function_version: str, render: bool):
        self.tasks, self.deck = tasks, deck
        self.options: dict[str, Any] = {"reward_function_version": reward_function_version}
        self.options |= {"render_mode": "rgb_array", "camera_name": "corner2"} if render else {}
        self.idle: dict[str, list[Any]] = defaultdict(list)

    def __call__(self) -> gymnasium.Env:
        if self.deck is None:
            return SeededArm(self)
        arm = Arm(self)
        return assigned(arm, self.deck, arm.set_task)

    def take(self, name: str) -> Any:
        engine: Any = metaworld.ALL_V3_ENVIRONMENTS[name]
        return self.idle[name].pop() if self.idle[name] else engine(**self.options)

    def close(self) -> None:
        for engines in self.idle.values():
            while engines:
                engines.pop().close()


class Arm(gymnasium.Env):
    """An arm that plays the task it was set last, in Gymnasium's shape, with the extras in `info`."""

    def __init__(self, arms: Arms):
        self.arms = arms
        self.name = ""
        self.engine: Any = None

    def set_task(self, task_id: int) -> None:
        task = self.arms.tasks[task_id]
        if task.env_name != self.name:
            self.leave()
            self.name, self.engine = task.env_name, self.arms.take(task.env_name)
        self.task_id = task_id
        self.engine.set_task(task)

    def leave(self) -> None:
        if self.engine is not None:
            self.arms.idle[self.name].append(self.engine)
        self.name, self.engine = "", None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        obs, _ = self.engine.reset()
        self.succeeded = False
        return obs, {"success": False, "task_id": self.task_id}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        obs, reward, terminated, truncated, info = self.engine.step(action)
        self.succeeded = self.succeeded or info["success"] > 0
        return obs, reward, terminated, truncated, {"success": self.succeeded, "task_id": self.task_id}

    def render(self) -> Any:
        return self.engine.render()

    def close(self) -> None:
        self.leave()
        self.arms.close()


class SeededArm(Arm):
    """An arm whose every episode plays the task that the episode's seed chooses."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        self.set_task(int(np.random.default_rng(seed).integers(len(self.arms.tasks))))
        return super().reset()
