"""MiniGrid (Chevalier-Boisvert et al., 2023): grid worlds seen through a 7 x 7 window.

The backend `"reference"` is Farama's `minigrid`. `"host"` is EnvPool where it runs the same task, else Farama's too:
EnvPool puts doors of MultiRoom into corners and draws ObstructedMaze differently, and Dynamic-Obstacles draws while
stepping, which EnvPool could not restore. `"device"` is the same world in JAX (`world.py`, `view.py`, `rules.py`),
compiled together with the agent; its episodes begin with levels out of a bank (`supply.py`).

Observations: `image` uint8 `[7, 7, 3]` (kind, colour and state of the cells in view, `[x, y]`, the agent at `[3, 6]`
looking towards `y = 0`), `direction` int32, `mission` int32 `[20]` (`mission.tokens`). Extras: `grid_key` (a hash of
the full grid with the agent in it, for counting first visits), `position` int32 `[2]` (the agent's x and y) and
`success`, true at an end that earned a reward.
"""

import dataclasses
import inspect
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from envs.contract import Array, Discrete, Env, EnvSpec, HostEnv, HostMaker
from envs.errors import UsageError, missing_extra, nearest
from envs.minigrid.mission import LENGTH, WORDS
from envs.minigrid.tasks import TASKS, Task
from envs.registry import Listing, limits

SUITE = "minigrid"
EXTRA = "minigrid"
BACKENDS = ("host", "reference", "device")
DEVICE_VERSION = "minigrid on the device 1"  # of the world that Farama's minigrid 3.2 is
ACTIONS = ("left", "right", "forward", "pickup", "drop", "toggle", "done")


def ids() -> dict[str, Listing]:
    """All tasks by id; those with a rule run on the device too."""
    return {
        task.id: Listing(task.id, SUITE, BACKENDS if task.rule else BACKENDS[:2], task.doc) for task in TASKS.values()
    }


def make(
    id: str,
    backend: str = "host",
    *,
    max_steps: int = 0,
    repeat: int = 1,
    threads: int = 1,
    processes: bool = False,
    levels: str = "",
    count: int = 0,
    level_seed: int = 0,
    banks: str = "",
    levels_hash: str = "",
    full_grid: bool = False,
) -> HostMaker | Env:
    """A task of MiniGrid.

    Args:
      id: one of `ids()`.
      backend: `"host"`, `"reference"` or `"device"`.
      max_steps: a time limit in agent steps in place of the task's own, 0 to keep that; the reward of a success at
        engine step t is `1 - 0.9 t / limit`.
      repeat: how often each action is repeated as one agent step (host and reference; on the device
        `envs.wrappers.action_repeat` does it).
      threads: EnvPool's threads, 0 for one per core; one already steps faster than an agent acts, and leaves the other
        cores to the learner.
      processes: whether Farama's environments are stepped in spawned processes.
      levels: where the device's levels come from: `"bank"`, made by `auxin bank ID`; `"generated"`, drawn at the start
        by the generator in JAX that MultiRoom and KeyCorridor have; if empty, a bank where there is one.
      count: so many levels, 0 for all of a bank, or `supply.GENERATED` generated ones.
      level_seed: the seed the levels were made with, or are to be.
      banks: the folder of banks; if empty, `banks` in Auxin's cache folder.
      levels_hash: the hash that the levels must have, for going on with a run; any if empty.
      full_grid: whether the device's observations also hold `grid`, MiniGrid's encoding of the whole grid with the
        agent in it, uint8 `[width, height, 3]`.

    Raises:
      UsageError: the engine is not installed, an option belongs to another backend, or there are no such levels.
    """
    task = TASKS[id]
    on_host: dict[str, Any] = {"repeat": repeat, "threads": threads, "processes": processes}
    on_device: dict[str, Any] = {"levels": levels, "count": count, "level_seed": level_seed, "banks": banks}
    on_device |= {"levels_hash": levels_hash, "full_grid": full_grid}
    own, others, owner = (on_device, on_host, "host") if backend == "device" else (on_host, on_device, "device")
    for name, value in others.items():
        if value != _DEFAULTS[name]:
            raise UsageError(f"{name} is an option of the backend {owner}, not of {backend}: {nearest(name, own)}")
    if backend == "device":
        from envs.minigrid import device

        return device.make(task, _spec(task, DEVICE_VERSION, max_steps or task.max_steps), **on_device)
    return _on_the_host(task, backend, max_steps, repeat, threads, processes)


_DEFAULTS = {name: option.default for name, option in inspect.signature(make).parameters.items()}


def _on_the_host(task: Task, backend: str, max_steps: int, repeat: int, threads: int, processes: bool) -> HostMaker:
    package = "envpool" if backend == "host" and task.pooled else "minigrid"
    try:
        engine = f"{package} {version(package)}"
    except PackageNotFoundError as error:
        raise missing_extra(EXTRA, package) from error
    limit, agent_limit = limits(task.max_steps, max_steps, repeat)
    spec = _spec(task, engine, agent_limit)

    def open(seed: int, n: int, render: bool = False) -> HostEnv:
        if package == "minigrid":
            from envs.minigrid.farama import FaramaGrid
            from envs.vector import open_vector

            thunk = partial(FaramaGrid, task.id, limit, "rgb_array" if render else None)
            return open_vector(spec, thunk, seed, n, processes=processes, repeat=repeat, render=render)
        if render:
            raise UsageError(f"EnvPool cannot draw {task.id}: render it with backend reference.")
        from envs.minigrid.pool import open_minigrid

        return open_minigrid(spec, seed, n, limit, repeat, threads)

    options = {"max_steps": max_steps, "repeat": repeat, "threads": threads, "processes": processes}
    return HostMaker(spec, backend, options, open)


def _spec(task: Task, engine: str, max_steps: int) -> EnvSpec:
    key, place = Array((2,), "uint32"), Array((2,), "int32", 0, max(task.size) - 1)
    return EnvSpec(
        id=task.id,
        version=engine,
        obs={
            "image": Array((7, 7, 3), "uint8", 0, 10, (11, 6, 3)),  # kind, colour, state
            "direction": Array((), "int32", 0, 3),
            "mission": Array((LENGTH,), "int32", 0, len(WORDS)),
        },
        action=Discrete(3, ACTIONS[:3]) if task.moving else Discrete(len(ACTIONS), ACTIONS),
        extras={
            **{"grid_key": key, "next_grid_key": key},
            **{"position": place, "next_position": place},
            "success": Array((), "bool"),
        },
        max_steps=max_steps,
    )


def with_grid(spec: EnvSpec, task: Task) -> EnvSpec:
    """The spec of observations that hold the whole grid too."""
    return dataclasses.replace(spec, obs={**spec.obs, "grid": Array((*task.size, 3), "uint8", 0, 10, (11, 6, 4))})
