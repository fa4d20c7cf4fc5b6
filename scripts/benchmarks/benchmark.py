"""What a benchmark is, and how its peers are measured: one after the other, each in a process of its own."""

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from envs.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]
TASK = "MiniGrid-KeyCorridorS3R3-v0"  # that several benchmarks measure on


class Measured(NamedTuple):
    """A value in the benchmark's unit, and what was run and seen on the way: plain JSON, shown by name.

    `others` are further values by name, for peers that are compared with one of these.
    """

    value: float
    config: dict[str, Any]
    others: dict[str, float] = {}  # noqa: RUF012 (never written)


class Peer(NamedTuple):
    """Something that does the same work.

    Attributes:
      doc: what it is, in a line.
      package: the module that must be there.
      script: a file of `scripts/peers`, which takes `arguments` and the amount, and prints its value in the last line.
      arguments: what it measures.
      against: which of our `others` it is compared with; the value itself if empty.
    """

    doc: str
    package: str
    script: str
    arguments: tuple[str, ...]
    against: str = ""


class Benchmark(NamedTuple):
    """One benchmark.

    Attributes:
      doc: what it measures, in a line.
      unit: of the values.
      amounts: how much is measured for a slice, and for all of it.
      amount: what these numbers are, in words after the number.
      measure: `(amount) -> Measured`.
      peers: what it is compared with, by name.
      less: the smaller value is the better one, so ratios are the peer's value over ours.
    """

    doc: str
    unit: str
    amounts: tuple[int, int]
    amount: str
    measure: Callable[[int], Measured]
    peers: dict[str, Peer]
    less: bool = False


def require_installed(name: str, peer: Peer) -> None:
    """Raises `UsageError` where a peer's package is not installed."""
    if importlib.util.find_spec(peer.package) is None:
        raise UsageError(f"the peer {name} needs {peer.package}, which is not installed: make bench brings it.")


def measure_peer(peer: Peer, amount: int) -> float:
    """The peer's value in the benchmark's unit.

    Raises:
      RuntimeError: where its process fails, with the end of what it said.
    """
    command = [sys.executable, str(ROOT / "scripts" / "peers" / peer.script), *peer.arguments, str(amount)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{peer.script} ended with {done.returncode}: {done.stderr[-2000:]}")
    return float(done.stdout.splitlines()[-1])
