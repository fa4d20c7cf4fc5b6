"""NetHack through the NetHack Learning Environment (Küttler et al., 2020), package `nle`.

The adapter mends three things. `reset(seed=)` leaves the game unseeded: the game's generators are seeded here, its
anti-cheat reseeding is off, and so is the real moon. The engine's own time limit hides what else happened on that step:
the limit is kept by `envs.vector`. And a task that is solved quits the game before its last observation is read, which
blanks it: here the game goes on to its reset.
"""

import functools
import hashlib
from importlib.metadata import version
from typing import Any

import numpy as np

from envs.contract import Array, Discrete, EnvSpec, HostEnv, HostMaker
from envs.errors import missing_extra
from envs.registry import Listing, limits

SUITE = "nethack"
EXTRA = "nethack"

TASKS = {
    "Staircase": "Stand on a staircase down; the reward is 1, less a little for every wasted turn.",
    "StaircasePet": "Stand on a staircase down with the pet beside you.",
    "Oracle": "Find the Oracle, some five to nine levels down.",
    "Gold": "Collect gold; the reward is its amount.",
    "Eat": "Eat; the reward is the hunger stilled.",
    "Scout": "Explore; the reward is the number of map cells newly seen.",
    "Score": "Raise the in-game score.",
    "Challenge": "The whole game: full keyboard, menus, a random character.",
}
SHOWN = ("glyphs", "chars", "colors", "blstats", "message")
INVENTORY = ("inv_glyphs", "inv_letters")
SCREEN = ("tty_chars", "tty_colors", "tty_cursor")
SCORES = ("score", "depth", "max_depth", "turns")
LIMITS = {"Challenge": 1_000_000}
LIMIT = 5_000
NEVER = 2**31 - 1


def ids() -> dict[str, Listing]:
    """NLE's tasks."""
    names = {f"NetHack{task}-v0": doc for task, doc in TASKS.items()}
    return {name: Listing(name, SUITE, ("host",), doc) for name, doc in names.items()}


def make(
    id: str,
    backend: str = "host",
    *,
    max_steps: int = 0,
    repeat: int = 1,
    processes: bool = True,
    character: str = "",
    inventory: bool = False,
) -> HostMaker:
    """A task of NetHack.

    Observations: `glyphs` int16 `[21, 79]`, `chars` and `colors` uint8 `[21, 79]`, `blstats` int32 `[27]`, `message`
    uint8 `[256]`. Extras: `score`, `depth` (dungeon level, from 1), `max_depth` (the episode's deepest) and `turns`
    after the step, which are the spec's `scores`; `success`: the task is done, or the game won; `grid_key`: 64 bits of
    a hash of all glyphs, as uint32 `[2]`. What is drawn is the game's terminal.

    Args:
      id: one of `ids()`.
      backend: `"host"`.
      max_steps: time limit in agent steps; 0 is 5000 (Challenge: a million) engine steps.
      repeat: action repeat.
      processes: step in spawned processes.
      character: such as `"mon-hum-neu-mal"`, `"@"` for a random one, `""` for the task's own.
      inventory: also observe what is carried, `inv_glyphs` int16 `[55]` and `inv_letters` uint8 `[55]`.

    Raises:
      UsageError: `nle` is not installed.
    """
    task = id.removeprefix("NetHack").removesuffix("-v0")
    try:
        from nle import nethack  # type: ignore[import-untyped]
        from nle.env import tasks  # type: ignore[import-untyped]
    except ImportError as error:
        raise missing_extra(EXTRA, "nle") from error
    actions = nethack.ACTIONS if task == "Challenge" else tasks.TASK_ACTIONS
    limit, steps = limits(LIMITS.get(task, LIMIT), max_steps, repeat)
    number, key = Array((), "int32", 0), Array((2,), "uint32")
    shown = (*SHOWN, *INVENTORY) if inventory else SHOWN
    spec = EnvSpec(
        id,
        f"nle {version('nle')}",
        obs=_obs(nethack, shown),
        action=Discrete(len(actions), tuple(f"{type(action).__name__}.{action.name}" for action in actions)),
        extras={
            **dict.fromkeys(SCORES, number),
            **{"success": Array((), "bool"), "grid_key": key, "next_grid_key": key},
        },
        max_steps=steps,
        scores=SCORES,
    )

    def open(seed: int, n: int, render: bool = False) -> HostEnv:
        from envs.vector import open_vector

        thunk = functools.partial(create, task, character, (*shown, *SCREEN) if render else shown)
        return open_vector(
            spec, thunk, seed, n, processes=processes, repeat=repeat, limit=limit, render=render, text=True
        )

    options = {"max_steps": max_steps, "repeat": repeat, "processes": processes, "character": character}
    options["inventory"] = inventory
    return HostMaker(spec, backend, options, open)


def create(task: str, character: str, keys: tuple[str, ...]) -> Any:
    """One game that observes `keys`, in Gymnasium's shape, with the extras in `info`."""
    import gymnasium
    from nle import nethack
    from nle.env import tasks

    from envs import terminal

    options = {"character": character} if character else {}
    engine = getattr(tasks, f"NetHack{task}")(
        observation_keys=keys, max_episode_steps=NEVER, fix_moon_phase=True, render_mode="ansi", **options
    )
    engine._quit_game = lambda observation, done: None

    class Game(gymnasium.Wrapper):
        def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
            core, display = np.random.SeedSequence(seed).generate_state(2)
            # By the class: the Challenge forbids its players to seed, and blocks the instance's own method.
            nethack.Nethack.set_initial_seeds(engine.nethack, int(core), int(display), False)
            obs, _ = engine.reset(seed=seed)
            self.numbers: dict[str, int] = {}
            return obs, self.extras(obs, success=False)

        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            obs, reward, ended, _, info = engine.step(int(action))
            status = info["end_status"].name
            success = status == "TASK_SUCCESSFUL" or bool(ended and info["is_ascended"])
            aborted = status == "ABORTED"  # Only the Challenge, when the game's clock stands still for too long.
            return obs, reward, bool(ended and not aborted), aborted, self.extras(obs, success)

        def extras(self, obs: dict[str, np.ndarray], success: bool) -> dict[str, Any]:
            stats = obs["blstats"]
            if engine.nethack.in_normal_game() or not self.numbers:  # After the game they are zero: keep the last ones.
                places = {"score": nethack.NLE_BL_SCORE, "depth": nethack.NLE_BL_DEPTH, "turns": nethack.NLE_BL_TIME}
                deepest = self.numbers.get("max_depth", 0)
                self.numbers = {name: int(stats[place]) for name, place in places.items()}
                self.numbers["max_depth"] = max(deepest, self.numbers["depth"])
            return {**self.numbers, "success": success, "grid_key": grid_key(obs["glyphs"])}

        def screen(self) -> list[np.ndarray]:
            shown = dict(zip(engine._observation_keys, engine.last_observation, strict=True))
            return [shown[name] for name in SCREEN]

        def render(self) -> np.ndarray:  # type: ignore[override]
            return terminal.picture(*self.screen())

        def text(self) -> str:
            return terminal.ansi(*self.screen())

    return Game(engine)


def grid_key(glyphs: np.ndarray) -> np.ndarray:
    """A 64-bit hash of the map as uint32 `[2]`: two maps with one key are the same map, for all practical purposes."""
    return np.frombuffer(hashlib.blake2b(glyphs.tobytes(), digest_size=8).digest(), np.uint32)


def _obs(nethack: Any, shown: tuple[str, ...]) -> dict[str, Array]:
    """Shapes and dtypes from the engine's own description; `blstats` in 32 bits."""
    glyphs, bytes = (0, nethack.MAX_GLYPH), (0, 255)
    bounds = {"glyphs": glyphs, "inv_glyphs": glyphs, "chars": bytes, "colors": (0, 15), "message": bytes}
    bounds["inv_letters"] = bytes
    described = {name: nethack.OBSERVATION_DESC[name] for name in shown}
    return {
        name: Array(
            tuple(one["shape"]), "int32" if name == "blstats" else np.dtype(one["dtype"]).name, *bounds.get(name, ())
        )
        for name, one in described.items()
    }
