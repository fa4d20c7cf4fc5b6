"""A scripted environment that counts, to prove what an adapter makes of ends, resets, seeds and replays.

Every array says where it comes from: `mark` names the episode (it is made from the episode's seed), `step` counts its
steps, and `draw` are random numbers drawn while stepping, which only an exact replay repeats.
"""

import functools
from typing import Any

from envs.contract import Array, Discrete, EnvSpec, HostEnv, HostMaker
from envs.errors import UsageError
from envs.registry import Listing, limits

SUITE = "counting"
EXTRA = ""
ENDS = "terminate 3, truncate 4, both 5, terminate 1"
KINDS = ("terminate", "truncate", "both", "diverge")
MARKS = 1_000_003


def ids() -> dict[str, Listing]:
    """The one environment of this suite."""
    doc = "Counts its steps and ends by a script; for tests of adapters and loops."
    return {"Counting-v0": Listing("Counting-v0", SUITE, ("host",), doc)}


def make(
    id: str,
    backend: str = "host",
    *,
    max_steps: int = 0,
    repeat: int = 1,
    processes: bool = False,
    ends: str = ENDS,
) -> HostMaker:
    """The counting environment.

    Args:
      id: `"Counting-v0"`.
      backend: `"host"`.
      max_steps: time limit in agent steps, 0 for none.
      repeat: action repeat.
      processes: step in spawned processes.
      ends: how episodes end, such as `"terminate 3, both 5"`: each episode takes one of these by its seed. Where one
        diverges, `draw` is no number.

    Raises:
      UsageError: a script that cannot be read.
    """
    script = read(ends)
    limit, steps = limits(0, max_steps, repeat)
    mark, key = Array((), "int32", 0, MARKS - 1), Array((2,), "uint32")
    spec = EnvSpec(
        id,
        "counting 1",
        obs={"mark": mark, "step": Array((), "int32", 0), "draw": Array((2,), "float32", 0.0, 1.0)},
        action=Discrete(3),
        extras={"grid_key": key, "next_grid_key": key, "success": Array((), "bool")},
        max_steps=steps,
    )

    def open(seed: int, n: int, render: bool = False) -> HostEnv:
        from envs.vector import open_vector

        thunk = functools.partial(create, script)
        return open_vector(spec, thunk, seed, n, processes=processes, repeat=repeat, limit=limit, render=render)

    options = {"max_steps": max_steps, "repeat": repeat, "processes": processes, "ends": ends}
    return HostMaker(spec, backend, options, open)


def read(ends: str) -> list[tuple[str, int]]:
    """`"terminate 3, both 5"` as `[("terminate", 3), ("both", 5)]`."""
    script = []
    for part in ends.split(","):
        kind, _, step = part.strip().partition(" ")
        if kind not in KINDS or not step.isdigit() or int(step) < 1:
            raise UsageError(f"{part.strip()!r} is no end: write one of {', '.join(KINDS)} and a step, like 'both 5'.")
        script.append((kind, int(step)))
    return script


def create(script: list[tuple[str, int]]) -> Any:
    """The environment itself, in Gymnasium's shape."""
    import gymnasium
    import numpy as np

    class Counting(gymnasium.Env):
        def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
            super().reset(seed=seed)
            self.mark = int(self.np_random_seed % MARKS)
            self.kind, self.end = script[self.np_random_seed % len(script)]
            self.step_index = 0
            return self.seen()

        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            self.step_index += 1
            obs, info = self.seen()
            now = self.step_index == self.end
            terminated, truncated = (
                now and self.kind in ("terminate", "both"),
                now and self.kind in ("truncate", "both"),
            )
            if now and self.kind == "diverge":
                obs["draw"][:] = np.nan
            return obs, self.step_index + int(action) / 10, terminated, truncated, {**info, "success": terminated}

        def seen(self) -> tuple[dict[str, Any], dict[str, Any]]:
            obs = {"mark": self.mark, "step": self.step_index, "draw": self.np_random.random(2)}
            return obs, {"grid_key": np.array([self.mark, self.step_index], np.uint32), "success": False}

        def render(self) -> Any:
            return np.full((8, 8, 3), self.step_index, np.uint8)

    return Counting()
