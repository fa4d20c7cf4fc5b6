"""Every registered Gymnasium id (Towers et al., 2024) that no other suite claims, `"package:Name-v0"` included.

Options beyond the common ones go to the environment's constructor (`map_name="8x8"`). The time limit is the registered
one, kept by `envs.vector`.
"""

import functools
import importlib
import importlib.util
import inspect
from collections.abc import Callable
from typing import Any

from envs.contract import EnvSpec, HostEnv, HostMaker
from envs.errors import UsageError
from envs.registry import Listing, check_options, limits

SUITE = "gymnasium"
EXTRA = ""

TABLE = {
    "MountainCar-v0": "A weak car gathers momentum to leave a valley; reward only for being fast.",
    "Blackjack-v1": "A hand of blackjack; the observation is a tuple.",
    "FrozenLake-v1": "A 4 x 4 grid of slippery ice with holes; a reward at the goal.",
    "FrozenLake8x8-v1": "An 8 x 8 grid of slippery ice with holes; a reward at the goal.",
    "CliffWalking-v1": "A walk along a cliff; falling costs 100.",
    "CliffWalkingSlippery-v1": "The same walk on slippery ground.",
    "Taxi-v3": "A taxi fetches and delivers a passenger on a 5 x 5 grid.",
}
BOX2D = {
    "LunarLander-v3": "Land on a pad with three engines.",
    "LunarLanderContinuous-v3": "Land on a pad with continuous thrust.",
    "BipedalWalker-v3": "A two-legged walker on easy ground.",
    "BipedalWalkerHardcore-v3": "A two-legged walker among stumps and pits.",
    "CarRacing-v3": "Drive a track seen from above, from pixels.",
}


def ids() -> dict[str, Listing]:
    """Gymnasium's own ids that belong to no other suite."""
    table = TABLE | (BOX2D if importlib.util.find_spec("Box2D") else {})
    return {id: Listing(id, SUITE, ("host",), doc) for id, doc in table.items()}


def knows(id: str) -> bool:
    """Whether Gymnasium has the id; a name with `:` is tried by importing what stands before it."""
    return ":" in id or (importlib.util.find_spec("gymnasium") is not None and id in _gymnasium().registry)


def make(
    id: str, backend: str = "host", *, max_steps: int = 0, repeat: int = 1, processes: bool = False, **options: Any
) -> HostMaker:
    """A registered environment.

    Args:
      id: its registered name.
      backend: `"host"`.
      max_steps: a time limit in agent steps instead of the registered one; 0 keeps that.
      repeat: action repeat.
      processes: step in spawned processes, for environments that are slow.
      **options: keyword arguments of the environment's constructor.

    Raises:
      UsageError: it cannot be made, takes no such option, or its spaces are beyond what an agent can use.
    """
    gymnasium = _gymnasium()
    from envs.spaces import action_of, array_of

    try:
        package, _, name = id.rpartition(":")
        if package:
            importlib.import_module(package)  # It registers its ids.
        registered = gymnasium.spec(name)
        _check(id, options, registered.entry_point)
        env = create(registered, options, "")
    except (gymnasium.error.Error, ImportError) as error:
        raise UsageError(f"Gymnasium cannot make {id}: {' '.join(str(error).split())}") from error
    try:
        obs, action = array_of(env.observation_space), action_of(env.action_space)
    except UsageError as error:
        raise UsageError(f"{id} cannot be used: {error}") from error
    modes = env.metadata.get("render_modes", ())
    env.close()
    limit, steps = limits(registered.max_episode_steps or 0, max_steps, repeat)
    spec = EnvSpec(id, f"gymnasium {gymnasium.__version__}", obs, action, max_steps=steps)

    def open(seed: int, n: int, render: bool = False) -> HostEnv:
        from envs.vector import open_vector

        if render and "rgb_array" not in modes:
            raise UsageError(f"{id} cannot draw itself: its render modes are {', '.join(modes) or 'none'}.")
        thunk = functools.partial(create, registered, options, "rgb_array" if render else "")
        return open_vector(spec, thunk, seed, n, processes=processes, repeat=repeat, limit=limit, render=render)

    common = {"max_steps": max_steps, "repeat": repeat, "processes": processes}
    return HostMaker(spec, backend, common | options, open)


def create(registered: Any, options: dict[str, Any], render_mode: str) -> Any:
    """The environment without a time limit of its own; it takes actions as `envs.spaces.action_of` defines them.

    `registered` is the registry's entry rather than the id: a worker process has not run the code that registered it.
    """
    gymnasium = _gymnasium()
    from envs.spaces import acted

    drawing = {"render_mode": render_mode} if render_mode else {}
    env = gymnasium.make(registered, max_episode_steps=-1, disable_env_checker=True, **drawing, **options)
    return gymnasium.wrappers.TransformAction(env, functools.partial(acted, env.action_space), env.action_space)


def _check(id: str, options: dict[str, Any], entry_point: str | Callable[..., Any] | None) -> None:
    """Names the option that the environment's constructor does not have, where the constructor can be asked."""
    from gymnasium.envs.registration import load_env_creator

    constructor = load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point
    if constructor is None:
        return
    parameters = inspect.signature(constructor).parameters.values()
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        names = {p.name for p in parameters} - {"self", "render_mode"}
        check_options(id, options, names | {"max_steps", "repeat", "processes"})


def _gymnasium() -> Any:
    try:
        import gymnasium
    except ImportError as error:
        raise UsageError("gymnasium is not installed: pip install auxin brings it.") from error
    return gymnasium
