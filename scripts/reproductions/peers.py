"""Agents of other libraries, trained in processes of their own by the files of `scripts/peers`, on the same tasks."""

import importlib.util
import json
import subprocess
import sys
from typing import Any

from scripts.benchmarks.benchmark import ROOT

PACKAGES = {"sb3_sac_learn.py": "stable_baselines3"}  # what each file needs


def missing(script: str) -> str:
    """The sentence that says what a peer lacks; "" where it can be run."""
    package = PACKAGES[script]
    found = importlib.util.find_spec(package) is not None
    return "" if found else f"it needs {package}, which is not installed: make bench brings it."


def train(script: str, task: str, steps: int, seed: int, episodes: int) -> dict[str, Any]:
    """Trains once from the start, and what came of it.

    That is `returns` and `lengths` of episodes, the peer's `options`, and the `packages` it ran with.

    Raises:
      RuntimeError: where its process fails, with the end of what it said.
    """
    words = (task, str(steps), str(seed), str(episodes))
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "peers" / script), *words], capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"{script} ended with {done.returncode}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])
