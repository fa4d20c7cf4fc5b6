"""Seconds from the start of a process to its first finished update, with an empty compilation cache and a full one."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from scripts.benchmarks.benchmark import ROOT, TASK, Benchmark, Measured

POLL = 0.005  # seconds between two looks at the run's metrics


def measure(rounds: int) -> Measured:
    """One cold and one warm start in each round; the medians."""
    cold, warm = [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            cold.append(first_update(Path(folder) / "cold", Path(folder) / "cache"))
            warm.append(first_update(Path(folder) / "warm", Path(folder) / "cache"))
    median = statistics.median(cold)
    command = f"train bebold --preset fast --env {TASK}"
    return Measured(median, {"command": command, "cold (s)": median, "warm (s)": statistics.median(warm)})


def first_update(out: Path, cache: Path) -> float:
    """Seconds from the start of a training process until it has written the metrics of its first update.

    Raises:
      RuntimeError: where the process fails.
    """
    script = str(ROOT / "scripts" / "train.py")
    words = ["bebold", "--preset", "fast", "--env", TASK, "--steps", "1", "--log-every", "1", "--out", str(out)]
    metrics = out / "metrics.jsonl"
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, script, *words, "--quiet"],
        env={**os.environ, "AUXIN_CACHE": str(cache)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while not (metrics.exists() and b"\n" in metrics.read_bytes()):
            if process.poll():
                raise RuntimeError(f"training ended with {process.returncode}: {process.communicate()[1][-2000:]}")
            time.sleep(POLL)
        seconds = time.perf_counter() - began
        process.communicate()  # the run ends by itself: its next process is not to share the cores with it
        return seconds
    finally:
        process.kill()


BENCHMARK = Benchmark(
    doc="process start to first update, with a cold compilation cache (the value) and a warm one",
    unit="s",
    amounts=(1, 3),
    amount="cold and warm starts",
    measure=measure,
    peers={},
)
