"""Gymnasium's MuJoCo tasks, version 5 (Towers et al., 2024), on the physics engine of Todorov et al., 2012.

The backend `"host"` is EnvPool, `"reference"` is Gymnasium. Both give observations in float64; they are cast to
float32 here. `"device"` is MJX, compiled together with the agent (`envs/mjx/`). Actions are given to the engine as they
are: one outside the box costs what it costs there.

Observations: float32 `[d]`. Extras, for tasks that move along x: `x_velocity`, metres per second over the last step, 0
at a reset.
"""

from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

import numpy as np

from envs.contract import Array, Box, Env, EnvSpec, HostEnv, HostMaker
from envs.errors import UsageError, missing_extra, nearest
from envs.registry import Listing, limits

SUITE = "mujoco"
EXTRA = "mujoco"
BACKENDS = ("host", "reference", "device")
PACKAGES = {"host": ("envpool",), "reference": ("gymnasium", "mujoco"), "device": ("gymnasium", "mujoco-mjx")}
PLACES = ("x_position", "y_position")


class View(NamedTuple):
    """What is seen of a task, and when it ends; families of tasks see more than the tasks of their own.

    Attributes:
      extras: extras of a state, float32 `[]`: `PLACES` are the observation's first numbers, in metres; all others are
        what Gymnasium calls so in `info`, 0 at a reset.
      places: how many numbers of the place, otherwise left out, the observation begins with.
      ends: whether a fall ends the episode.
    """

    extras: tuple[str, ...] = ()
    places: int = 0
    ends: bool = True

    def engine(self) -> dict[str, Any]:
        """The options for it, which EnvPool and Gymnasium have by the same names."""
        shown = {"exclude_current_positions_from_observation": False} if self.places else {}
        return shown if self.ends else {**shown, "terminate_when_unhealthy": False}


class Task(NamedTuple):
    """One task: sizes of observation and action, the bound of every action, the time limit, and one line for `list`."""

    obs: int
    action: int
    bound: float
    max_steps: int
    moves: bool
    doc: str


TASKS = {
    "Ant-v5": Task(105, 8, 1.0, 1000, True, "A four-legged body walks forward."),
    "HalfCheetah-v5": Task(17, 6, 1.0, 1000, True, "A flat two-legged body runs forward; never ends early."),
    "Hopper-v5": Task(11, 3, 1.0, 1000, True, "A flat leg hops forward."),
    "Humanoid-v5": Task(348, 17, 0.4, 1000, True, "A humanoid walks forward."),
    "HumanoidStandup-v5": Task(348, 17, 0.4, 1000, False, "A lying humanoid gets up."),
    "InvertedDoublePendulum-v5": Task(9, 1, 1.0, 1000, False, "A cart balances two poles on top of each other."),
    "InvertedPendulum-v5": Task(4, 1, 3.0, 1000, False, "A cart balances a pole."),
    "Pusher-v5": Task(23, 7, 2.0, 100, False, "An arm pushes a cylinder to a goal."),
    "Reacher-v5": Task(10, 2, 1.0, 50, False, "A flat arm reaches for a target."),
    "Swimmer-v5": Task(8, 2, 1.0, 1000, True, "A chain of three links swims forward."),
    "Walker2d-v5": Task(17, 6, 1.0, 1000, True, "A flat two-legged body walks forward."),
}


def ids() -> dict[str, Listing]:
    """All tasks by id."""
    return {id: Listing(id, SUITE, BACKENDS, task.doc) for id, task in TASKS.items()}


def make(
    id: str,
    backend: str = "host",
    *,
    max_steps: int = 0,
    repeat: int = 1,
    threads: int = 0,
    processes: bool = False,
    iterations: int = 0,
    ls_iterations: int = 0,
) -> HostMaker | Env:
    """A task of MuJoCo.

    Args:
      id: one of `ids()`.
      backend: `"host"`, `"reference"` or `"device"`.
      max_steps: a time limit in agent steps in place of the task's own, 0 to keep that.
      repeat: how often each action is repeated as one agent step.
      threads: EnvPool's threads, 0 for one per core.
      processes: whether Gymnasium's environments are stepped in spawned processes.
      iterations: at most so many iterations of MJX's solver of contacts per evaluation of forces, 0 for the model's
        own number. Few are faster, above all with many copies, which wait for the slowest. With 4 and
        `ls_iterations` 8 HalfCheetah-v5 stays as close to the C engine as with its own 100 and 50; with 1 or 2 its
        velocities can be off by several m/s and rad/s after one step.
      ls_iterations: at most so many iterations of the solver's line search, 0 for the model's own number.

    Raises:
      UsageError: the engine is not installed, or an option belongs to another backend or makes no sense.
    """
    task = TASKS[id]
    on_host: dict[str, int] = {"threads": threads, "processes": processes}
    on_device = {"iterations": iterations, "ls_iterations": ls_iterations}
    _check_owner(backend, on_host, on_device)
    limit, agent_limit = limits(task.max_steps, max_steps, repeat)
    view = View(("x_velocity",) if task.moves else ())
    # On the device a repetition of actions sets a time limit of its own.
    spec = spec_of(id, backend, view, limit if backend == "device" else agent_limit)
    if backend == "device":
        from envs import mjx
        from envs.wrappers.time import action_repeat

        env = action_repeat(mjx.make(spec, limit, **on_device), repeat)
        return env._replace(options={"max_steps": max_steps, "repeat": repeat, **on_device})
    options = {"max_steps": max_steps, "repeat": repeat, **on_host}
    return HostMaker(spec, backend, options, opener(spec, backend, view, limit, repeat, threads, processes))


def spec_of(id: str, backend: str, view: View, max_steps: int) -> EnvSpec:
    """The spec of a task under a view.

    Raises:
      UsageError: the engine is not installed.
    """
    task, packages = TASKS[id], PACKAGES[backend]
    try:
        engine = ", ".join(f"{package} {version(package)}" for package in packages)
    except PackageNotFoundError as error:
        raise missing_extra(EXTRA, str(error.name)) from error
    return EnvSpec(
        id=id,
        version=engine,
        obs=Array((task.obs + view.places,), "float32"),
        action=Box((-task.bound,) * task.action, (task.bound,) * task.action),
        extras={name: Array((), "float32") for own in view.extras for name in (own, f"next_{own}")},
        max_steps=max_steps,
    )


def opener(
    spec: EnvSpec, backend: str, view: View, limit: int, repeat: int = 1, threads: int = 0, processes: bool = False
) -> Callable[..., HostEnv]:
    """`open` of a `HostMaker` of the task `spec.id`; `limit` counts engine steps."""

    def open(seed: int, n: int, render: bool = False) -> HostEnv:
        if backend == "reference":
            from envs.vector import open_vector

            thunk = partial(reference, spec.id, view, "rgb_array" if render else None)
            return open_vector(spec, thunk, seed, n, processes=processes, repeat=repeat, limit=limit, render=render)
        if render:
            raise UsageError(f"the host backend does not draw {spec.id}: render it with backend reference.")
        return _open_pool(view, spec, seed, n, limit, repeat, threads)

    return open


def _check_owner(backend: str, on_host: dict[str, int], on_device: dict[str, int]) -> None:
    own, others = (on_device, on_host) if backend == "device" else (on_host, on_device)
    for name in (name for name, value in others.items() if value):
        raise UsageError(f"{name} is no option of the backend {backend}: {nearest(name, own)}")
    for name, value in on_device.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise UsageError(f"{name} must be an integer of at least 0, not {value!r}.")


def _open_pool(view: View, spec: EnvSpec, seed: int, n: int, limit: int, repeat: int, threads: int) -> HostEnv:
    from envs.envpool import Arrays, Reading, open_pool

    # EnvPool keeps the older names here.
    renamed = {"reward_contact": "reward_impact", "reward_survive": "reward_alive"} if "Humanoid" in spec.id else {}
    told = {name: renamed.get(name, name) for name in view.extras if name not in PLACES}

    def read(record: Arrays, memory: Arrays) -> tuple[np.ndarray, Arrays]:
        obs = record["obs"].astype(np.float32)
        places = {name: obs[:, PLACES.index(name)] for name in view.extras if name in PLACES}
        return obs, {**places, **{name: record[key].astype(np.float32) for name, key in told.items()}}

    reading = Reading(
        keys=("obs", *told.values()),
        start=lambda record: {},
        advance=lambda memory, record, actions, next_record: memory,
        read=read,
        reward=lambda reward, elapsed: reward,
        outcome=lambda reward, terminated: {},
    )
    return open_pool(
        spec, seed, n, reading, extra=EXTRA, limit=limit, repeat=repeat, threads=threads, engine=view.engine()
    )


def reference(id: str, view: View, render_mode: str | None = None) -> Any:
    """Gymnasium's environment with the observations and extras of its spec, and without a time limit."""
    import gymnasium

    def shown(obs: np.ndarray, info: dict[str, Any]) -> tuple[np.ndarray, dict[str, Any]]:
        places = dict(zip(PLACES, obs, strict=False))
        return obs.astype(np.float32), {
            name: places[name] if name in PLACES else info.get(name, 0.0) for name in view.extras
        }

    class Shown(gymnasium.Wrapper):
        def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
            return shown(*self.env.reset(seed=seed))

        def step(self, action: Any) -> tuple[Any, Any, bool, bool, Any]:
            obs, reward, terminated, truncated, info = self.env.step(action)
            obs, extras = shown(obs, info)
            return obs, reward, terminated, truncated, extras

    options = {"render_mode": render_mode, "disable_env_checker": True, **view.engine()}
    return Shown(gymnasium.make(id, max_episode_steps=-1, **options))
