"""Families of tasks for meta-reinforcement learning: one environment, many tasks, none of which an observation shows.

Families of MuJoCo tasks that differ in their reward (`motion.py`) run in EnvPool (`"host"`), Gymnasium (`"reference"`)
and MJX (`"device"`), those that differ in their physics (`dynamics.py`) in Gymnasium (`"host"`), point robots
(`point_robot.py`) on the device. Episodes of MuJoCo's have 200 steps. Which task is played when, and the extras
`task_id`, `task` and `trial_last` of every step, are told in `trials.py`; further extras in each file.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from envs.contract import Env, HostMaker
from envs.errors import UsageError, nearest
from envs.families import dynamics, engines, motion
from envs.families.trials import Deck, check
from envs.registry import Listing

SUITE = "families"
EXTRA = "mujoco"
LIMIT = 200


class Point(NamedTuple):
    """A family of point robots: its functions in `point_robot.py`, its numbers of tasks, and one line for `list`."""

    make: str
    draw: str
    doc: str
    tasks: int = 40
    test_tasks: int = 10


POINTS = {
    "PointRobot-v0": Point("dense", "square", "A point moves to a hidden goal in a square; dense reward."),
    "SparsePointRobot-v0": Point(
        "sparse", "semicircle", "A point moves to a hidden goal on a half circle; a reward near it alone."
    ),
}
Family = motion.Family | dynamics.Family | Point
FAMILIES: dict[str, Family] = {**motion.FAMILIES, **dynamics.FAMILIES, **POINTS}
# The options of each backend, the default backend first.
BACKENDS: dict[type, dict[str, tuple[str, ...]]] = {
    motion.Family: {"host": ("threads",), "reference": ("processes",), "device": ("iterations", "ls_iterations")},
    dynamics.Family: {"host": ("processes",)},
    Point: {"device": ()},
}


def ids() -> dict[str, Listing]:
    """All families by id."""
    return {id: Listing(id, SUITE, tuple(BACKENDS[type(family)]), family.doc) for id, family in FAMILIES.items()}


def make(
    id: str,
    backend: str = "host",
    *,
    tasks: int = 0,
    test_tasks: int = 0,
    trial: int = 5,
    task_seed: int = 0,
    split: str = "train",
    max_steps: int = 0,
    threads: int = 0,
    processes: bool = False,
    iterations: int = 0,
    ls_iterations: int = 0,
) -> HostMaker | Env:
    """A family; its `evaluation` is the same with the tasks kept apart.

    Args:
      id: one of `ids()`.
      backend: one of its listing's.
      tasks: how many tasks to learn from, 0 for the family's own number: 100, ants with a goal 150, random physics and
        point robots 40, forward and backward 2.
      test_tasks: how many are kept apart, 0 for the family's own number: 30, random physics and point robots 10,
        forward and backward the same 2.
      trial: episodes in a row with one task.
      task_seed: draws all tasks, those kept apart on a stream of their own. With more tasks the first stay the same.
      split: `"train"`, or `"test"` to play the tasks kept apart.
      max_steps: a time limit in place of the family's own, 0 to keep that.
      threads: EnvPool's threads, 0 for one per core.
      processes: whether Gymnasium's environments are stepped in spawned processes.
      iterations, ls_iterations: of MJX's solver, see `envs.mujoco.make`.

    Raises:
      UsageError: the engine is not installed, or an option belongs to another engine or makes no sense.
    """
    family = FAMILIES[id]
    given = {"threads": threads, "processes": processes, "iterations": iterations, "ls_iterations": ls_iterations}
    engine = _engine_options(id, backend, BACKENDS[type(family)][backend], given)
    tasks, test_tasks = tasks or family.tasks, test_tasks or family.test_tasks
    check(id, split, trial, tasks, test_tasks, task_seed)
    if isinstance(family, motion.Family) and family.fixed and not tasks == test_tasks == 2:
        raise UsageError(f"{id} has the tasks forward and backward and no others: leave out tasks and test_tasks.")
    draw = _draw(family)
    train = Deck(draw(np.random.default_rng((task_seed, 0)), tasks), trial, shuffled=True)
    test = Deck(draw(np.random.default_rng((task_seed, 1)), test_tasks), trial, shuffled=False)
    common = {"tasks": tasks, "test_tasks": test_tasks, "trial": trial, "task_seed": task_seed, "max_steps": max_steps}
    env: Any = _env(id, family, backend, train, test, max_steps, engine)
    evaluation = env.evaluation._replace(options={**common, **engine, "split": "test"})
    if split == "test":
        return evaluation
    return env._replace(options={**common, **engine, "split": "train"}, evaluation=evaluation)


def _engine_options(id: str, backend: str, names: tuple[str, ...], given: dict[str, Any]) -> dict[str, Any]:
    for name, value in given.items():
        if name not in names and value:
            raise UsageError(f"{name} is no option of {id} with the backend {backend}: {nearest(name, names)}")
        if name != "processes" and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
            raise UsageError(f"{name} must be an integer of at least 0, not {value!r}.")
    return {name: given[name] for name in names}


def _draw(family: Family) -> Callable[[np.random.Generator, int], np.ndarray]:
    if isinstance(family, Point):
        from envs.families import point_robot

        return getattr(point_robot, family.draw)
    return family.draw


def _env(
    id: str,
    family: Family,
    backend: str,
    train: Deck,
    test: Deck,
    max_steps: int,
    engine: dict[str, Any],
) -> HostMaker | Env:
    """The family with the tasks of `train`, whose `evaluation` has those of `test`."""
    limit = max_steps or LIMIT
    if isinstance(family, Point):
        from envs.families import point_robot

        return getattr(point_robot, family.make)(train, test, max_steps)
    if isinstance(family, dynamics.Family):
        both = [dynamics.make(id, family, deck, limit, **engine) for deck in (train, test)]
    elif backend == "device":
        return engines.on_device(id, family, train, test, limit, **engine)
    else:
        both = [engines.on_host(id, family, backend, deck, limit, **engine) for deck in (train, test)]
    return both[0]._replace(evaluation=both[1])
