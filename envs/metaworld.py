"""Meta-World version 3 (Yu et al., 2019; McLean et al., 2025): one robot arm, fifty tasks.

The backend `"host"` is the package `metaworld`: a task set is fifty goals drawn once from `task_seed`, and every
episode plays one of them, chosen by the episode's seed. The backend `"envpool"` is EnvPool, much faster: every episode
has a goal of its own, and the reward is the one that EnvPool has.
"""

import functools
import inspect
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from envs.contract import Array, Box, EnvSpec, HostEnv, HostMaker, TimeStep
from envs.errors import UsageError, missing_extra, nearest
from envs.registry import Listing, limits

SUITE = "metaworld"
EXTRA = "metaworld"

TASKS = (
    *("assembly", "basketball", "bin-picking", "box-close", "button-press-topdown", "button-press-topdown-wall"),
    *("button-press", "button-press-wall", "coffee-button", "coffee-pull", "coffee-push", "dial-turn", "disassemble"),
    *("door-close", "door-lock", "door-open", "door-unlock", "hand-insert", "drawer-close", "drawer-open"),
    *("faucet-open", "faucet-close", "hammer", "handle-press-side", "handle-press", "handle-pull-side", "handle-pull"),
    *("lever-pull", "pick-place-wall", "pick-out-of-hole", "pick-place", "plate-slide", "plate-slide-side"),
    *("plate-slide-back", "plate-slide-back-side", "peg-insert-side", "peg-unplug-side", "soccer", "stick-push"),
    *("stick-pull", "push", "push-wall", "push-back", "reach", "reach-wall", "shelf-place", "sweep-into", "sweep"),
    *("window-open", "window-close"),
)
BACKENDS = ("host", "envpool")
TASK_SETS = ("MT1", "ML1-train", "ML1-test")
REWARDS = ("v1", "v2")
GOALS = 50
LIMIT = 500


def ids() -> dict[str, Listing]:
    """One id per task."""
    names = {f"MetaWorld-{task}-v3": task for task in TASKS}
    return {
        name: Listing(name, SUITE, BACKENDS, f"A robot arm: {task.replace('-', ' ')}; continuous, dense reward.")
        for name, task in names.items()
    }


def make(
    id: str,
    backend: str = "host",
    *,
    max_steps: int = 0,
    repeat: int = 1,
    processes: bool = True,
    task_set: str = "MT1",
    reward_function_version: str = "v2",
    task_seed: int = 0,
) -> HostMaker:
    """A task of Meta-World.

    Observations: float32 `[39]`: hand, gripper, objects, the same of the step before, and the goal (zeros in the ML1
    sets, where it must be found out). Extras: `success`, the engine's own rule, for the state after the step; on the
    host also `task_id`, which goal of the set is being played.

    Args:
      id: one of `ids()`.
      backend: `"host"` or `"envpool"`; the options from `processes` on are the host's alone.
      max_steps: time limit in agent steps; 0 is the engine's 500 engine steps, which is also the longest there is.
      repeat: action repeat.
      processes: step in spawned processes.
      task_set: `"MT1"`, or `"ML1-train"` and `"ML1-test"`, which hide the goal and differ in their goals.
      reward_function_version: `"v2"`, or the older `"v1"`.
      task_seed: draws the goals of the set.

    Raises:
      UsageError: the engine is not installed, an option's value is unknown, or EnvPool does not have the option.
    """
    options: dict[str, Any] = {"max_steps": max_steps, "repeat": repeat, "processes": processes, "task_set": task_set}
    options |= {"reward_function_version": reward_function_version, "task_seed": task_seed}
    for name, value, choices in (
        ("task_set", task_set, TASK_SETS),
        ("reward_function_version", reward_function_version, REWARDS),
    ):
        if value not in choices:
            raise UsageError(f"{name} cannot be {value!r}: {nearest(value, choices)}")
    package = "metaworld" if backend == "host" else "envpool"
    try:
        engine = f"{package} {version(package)}"
    except PackageNotFoundError as error:
        raise missing_extra(EXTRA, package) from error
    limit, steps = limits(LIMIT, max_steps, repeat)
    if limit > LIMIT:
        raise UsageError(f"{id} cannot run for {limit} engine steps: Meta-World ends every episode after {LIMIT}.")
    goal = Array((), "int32", 0, GOALS - 1)
    spec = EnvSpec(
        id,
        engine,
        obs=Array((39,), "float32"),
        action=Box((-1.0,) * 4, (1.0,) * 4),
        extras={"success": Array((), "bool"), "task_id": goal, "next_task_id": goal},
        max_steps=steps,
    )
    task = id.removeprefix("MetaWorld-")
    if backend == "envpool":
        return pooled(task, spec, limit, options)

    def open(seed: int, n: int, render: bool = False) -> HostEnv:
        from envs.vector import open_vector

        thunk = functools.partial(create, task, task_set, reward_function_version, task_seed, render)
        return open_vector(spec, thunk, seed, n, processes=processes, repeat=repeat, limit=limit, render=render)

    return HostMaker(spec, backend, options, open)


def create(task: str, task_set: str, reward_function_version: str, task_seed: int, render: bool) -> Any:
    """One arm, in Gymnasium's shape, with the extras in `info`."""
    import gymnasium
    import numpy as np

    drawing = {"render_mode": "rgb_array", "camera_name": "corner2"} if render else {}
    cls, tasks = goals(task, task_set, task_seed)

    arm: Any = cls(reward_function_version=reward_function_version, **drawing)

    class Arm(gymnasium.Wrapper):
        def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
            self.task_id = int(np.random.default_rng(seed).integers(len(tasks)))
            arm.set_task(tasks[self.task_id])
            obs, _ = arm.reset()
            return obs, {"success": False, "task_id": self.task_id}

        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            obs, reward, terminated, truncated, info = arm.step(action)
            return obs, reward, terminated, truncated, {"success": info["success"] > 0, "task_id": self.task_id}

    return Arm(arm)


@functools.lru_cache
def goals(task: str, task_set: str, task_seed: int) -> tuple[Any, list[Any]]:
    """The environment's class and the goals of the set; once per process, as drawing them takes half a second."""
    import metaworld

    benchmark: Any = (metaworld.MT1 if task_set == "MT1" else metaworld.ML1)(task, seed=task_seed)
    tasks = benchmark.test_tasks if task_set == "ML1-test" else benchmark.train_tasks
    return benchmark.train_classes[task], tasks


def pooled(task: str, spec: EnvSpec, limit: int, options: dict[str, Any]) -> HostMaker:
    """The task in EnvPool, with the goal in the observation."""
    defaults = {name: p.default for name, p in inspect.signature(make).parameters.items()}
    kept = {name: options[name] for name in ("max_steps", "repeat")}
    for name in options.keys() - kept.keys():
        if options[name] != defaults[name]:
            raise UsageError(f"{spec.id} has the option {name} only with backend host: EnvPool fixes it.")
    flag = Array((), "bool")
    spec = replace(spec, extras={"success": flag})
    # EnvPool says of a state whether it is a success; ours tells it of the step that led there.
    name = "".join(part.capitalize() for part in task.split("-")[:-1])
    shown = replace(spec, id=f"MetaWorld/{name}-v3", extras={"success": flag, "next_success": flag})

    def of_step(timestep: TimeStep) -> TimeStep:
        return timestep._replace(extras={"success": timestep.extras["next_success"]})

    def open(seed: int, n: int, render: bool = False) -> HostEnv:
        from envs.envpool import Reading, open_pool

        if render:
            raise UsageError(f"EnvPool cannot draw {spec.id}: render it with backend host.")
        reading = Reading(
            keys=("obs", "success"),
            start=lambda record: {},
            advance=lambda memory, record, actions, next_record: memory,
            read=lambda record, memory: (record["obs"].astype("float32"), {"success": record["success"] > 0}),
            reward=lambda reward, elapsed: reward,
            outcome=lambda reward, terminated: {},
        )
        engine = {"partially_observable": False}
        env = open_pool(shown, seed, n, reading, extra=EXTRA, limit=limit, repeat=options["repeat"], engine=engine)
        return env._replace(
            spec=spec,
            reset=lambda: of_step(env.reset()),
            step=lambda actions: of_step(env.step(actions)),
            restore=lambda arrays: of_step(env.restore(arrays)),
        )

    return HostMaker(spec, "envpool", kept, open)
