"""MiniGrid (Chevalier-Boisvert et al., 2023): grid worlds seen through a 7 x 7 window.

The backend `"reference"` is Farama's `minigrid`. `"host"` is EnvPool where it runs the same task, else Farama's too:
EnvPool puts doors of MultiRoom into corners and draws ObstructedMaze differently, and Dynamic-Obstacles draws while
stepping, which EnvPool could not restore.

Observations: `image` uint8 `[7, 7, 3]` (kind, colour and state of the cells in view, `[x, y]`, the agent at `[3, 6]`
looking towards `y = 0`), `direction` int32, `mission` int32 `[20]` (`mission.tokens`). Extras: `grid_key` (see
`grid_key.py`) and `success`, true at an end that earned a reward.
"""

from functools import partial
from importlib.metadata import PackageNotFoundError, version

from envs.contract import Array, Discrete, EnvSpec, HostEnv, HostMaker
from envs.errors import UsageError, missing_extra
from envs.minigrid.mission import LENGTH, WORDS
from envs.minigrid.tasks import TASKS
from envs.registry import Listing, limits

SUITE = "minigrid"
EXTRA = "minigrid"
BACKENDS = ("host", "reference")
ACTIONS = ("left", "right", "forward", "pickup", "drop", "toggle", "done")


def ids() -> dict[str, Listing]:
    """All tasks by id."""
    return {task.id: Listing(task.id, SUITE, BACKENDS, task.doc) for task in TASKS.values()}


def make(
    id: str,
    backend: str = "host",
    *,
    max_steps: int = 0,
    repeat: int = 1,
    threads: int = 1,
    processes: bool = False,
) -> HostMaker:
    """A task of MiniGrid.

    Args:
      id: one of `ids()`.
      backend: `"host"` or `"reference"`.
      max_steps: a time limit in agent steps in place of the task's own, 0 to keep that; the reward of a success at
        engine step t is `1 - 0.9 t / limit`.
      repeat: how often each action is repeated as one agent step.
      threads: EnvPool's threads, 0 for one per core; one already steps faster than an agent acts, and leaves the other
        cores to the learner.
      processes: whether Farama's environments are stepped in spawned processes.

    Raises:
      UsageError: the engine is not installed.
    """
    task = TASKS[id]
    package = "envpool" if backend == "host" and task.pooled else "minigrid"
    try:
        engine = f"{package} {version(package)}"
    except PackageNotFoundError as error:
        raise missing_extra(EXTRA, package) from error
    limit, agent_limit = limits(task.max_steps, max_steps, repeat)
    key = Array((2,), "uint32")
    spec = EnvSpec(
        id=id,
        version=engine,
        obs={
            "image": Array((7, 7, 3), "uint8", 0, 10, (11, 6, 3)),  # kind, colour, state
            "direction": Array((), "int32", 0, 3),
            "mission": Array((LENGTH,), "int32", 0, len(WORDS)),
        },
        action=Discrete(3, ACTIONS[:3]) if task.moving else Discrete(len(ACTIONS), ACTIONS),
        extras={"grid_key": key, "next_grid_key": key, "success": Array((), "bool")},
        max_steps=agent_limit,
    )

    def open(seed: int, n: int, render: bool = False) -> HostEnv:
        if package == "minigrid":
            from envs.minigrid.farama import FaramaGrid
            from envs.vector import open_vector

            thunk = partial(FaramaGrid, id, limit, "rgb_array" if render else None)
            return open_vector(spec, thunk, seed, n, processes=processes, repeat=repeat, render=render)
        if render:
            raise UsageError(f"EnvPool cannot draw {id}: render it with backend reference.")
        from envs.minigrid.pool import open_minigrid

        return open_minigrid(spec, seed, n, limit, repeat, threads)

    options = {"max_steps": max_steps, "repeat": repeat, "threads": threads, "processes": processes}
    return HostMaker(spec, backend, options, open)
