"""Playback of a run's agent: an episode in the terminal, or a film of a few."""

import contextlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import numpy as np

import envs
from agents.training.evaluation import Evaluator, Scores, report
from envs import terminal
from envs.contract import Env, HostEnv, HostMaker
from envs.errors import UsageError

PICTURES = 600  # of a film in all: a terminal's take 0.7 MB each before they are packed
_HIDE, _SHOW = "\x1b[?25l", "\x1b[?25h"  # the cursor


class _Full(Exception):
    """The film is as long as it may be."""


def drawing(env: HostMaker | Env) -> HostMaker | Env:
    """The environment on a backend that can draw it: itself, or the reference engine of the same task."""
    if isinstance(env, Env) and env.picture is not None:
        return env
    backends = next((listing.backends for listing in envs.ids() if listing.name == env.spec.id), ())
    on_host = isinstance(env, HostMaker) and "reference" in backends
    return envs.make(env.spec.id, backend="reference", **(env.options or {})) if on_host else env


def record(
    saved: Any, path: Path, *, seed: int, greedy: bool, episodes: int = 3, fps: int = 12, most: int = PICTURES
) -> str:
    """Draws `episodes` episodes of a saved run, or their first `most` steps, into an animated picture.

    Raises:
      UsageError: where the environment cannot draw itself.
    """
    import imageio.v3 as imageio

    env = drawing(saved.env)
    frames: list[np.ndarray] = []

    def draw(engine: HostEnv, step: int) -> None:
        if engine.render is None:
            raise UsageError(f"{env.spec.id} cannot draw itself.")
        if len(frames) >= most:
            raise _Full
        frames.append(engine.render()[0])

    with contextlib.suppress(_Full):
        for episode in range(episodes):
            _play(saved, env, seed + episode, greedy, draw)
            frames.extend(frames[-1:] * (fps // 2))  # a short rest on the last picture tells where an episode ends
    path.parent.mkdir(parents=True, exist_ok=True)
    imageio.imwrite(path, np.stack(frames), duration=1000 / fps, loop=0)
    return str(path)


def watch_run(
    run: str | Path,
    *,
    seed: int = 1000,
    greedy: bool = True,
    checkpoint: str = "best",
    delay: float = 0.1,
    stream: TextIO | None = None,
) -> dict[str, Any]:
    """Plays one episode of a run's first seed in the terminal, and returns what it scored.

    Args:
      run: the run's folder.
      seed: the environment's seed.
      greedy: take the likeliest action rather than draw one.
      checkpoint: `"best"` or `"last"`.
      delay: seconds between two screens.
      stream: where to play, stderr unless given; stdout belongs to results.

    Raises:
      UsageError: if the folder holds no run, or the environment's world is no terminal.
    """
    from agents.training.saved import open_run, seed_folders

    saved = open_run(seed_folders(run)[0], checkpoint)
    out = stream or sys.stderr

    def show(engine: HostEnv, step: int) -> None:
        if engine.text is None:
            raise UsageError(f"{saved.env.spec.id} has no terminal to watch: --video FILE films it.")
        out.write(f"{terminal.HOME if step else _HIDE + terminal.CLEAR + terminal.HOME}{engine.text()[0]}\n")
        out.flush()
        time.sleep(delay)

    try:
        scores = _play(saved, saved.env, seed, greedy, show)
    finally:
        out.write(_SHOW)
        out.flush()
    return {
        "run": str(run),
        "agent": saved.agent.name,
        "env": saved.env.spec.id,
        "step": saved.step,
        "greedy": greedy,
        **report([scores]),
    }


def _play(saved: Any, env: HostMaker | Env, seed: int, greedy: bool, watch: Callable[[HostEnv, int], None]) -> Scores:
    """One episode, with `watch` called before each of its steps."""
    return Evaluator(saved.agent, env, saved.wrapper, episodes=1, greedy=greedy)(
        saved.state, saved.wrapper_state, seed, watch=watch
    )
