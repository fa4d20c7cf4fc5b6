"""`benchmark [NAME]`: lists the benchmarks, or runs one and its peers."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agents.commands.output import emit, number, table
from agents.commands.parser import Parser, configured
from envs.errors import UsageError, nearest
from scripts.benchmarks.benchmark import ROOT, Benchmark, Peer, measure_peer, require_installed
from scripts.entry import ended

# A benchmark's module of this package, which holds its `BENCHMARK`, has its name.
NAMES = (
    "critics",
    "evolution",
    "mbpo",
    "minigrid_device",
    "minigrid_host",
    "nethack",
    "pearl",
    "replay",
    "sac",
    "seeds",
    "startup",
    "train_device",
    "update",
)


@dataclass(frozen=True)
class Config:
    """Options of a benchmark."""

    peer: str = "all"
    """Peers to measure against: names joined by +, or all, or none."""
    full: bool = False
    """Measure all of it, not the slice that fits into a minute."""


def main(argv: Sequence[str]) -> int:
    """Runs the command and returns its exit code."""
    return ended(run, argv)


def run(argv: Sequence[str]) -> None:
    """Parses, measures and prints."""
    parser = Parser(
        "benchmark", "", "Measures the speed of Auxin beside its peers. Without a name it lists what it has."
    )
    parser.usage = "python scripts/benchmark.py [NAME] [options]"
    parser.add("benchmark", Config)
    found = parser.parse(argv, words="the name of a benchmark", least=0, most=1)
    config = configured(Config, found)
    if not found["words"]:
        _list(found["json"])
        return
    (name,) = found["words"]
    benchmark = load(name)
    peers = _chosen(benchmark, config.peer)
    amount = benchmark.amounts[config.full]
    if not found["json"]:
        share = "all of it" if config.full else "a slice, --full measures all of it"
        print(f"{name}: {benchmark.doc}\n{amount} {benchmark.amount} ({share})", flush=True)
    result = measure(name, benchmark, peers, amount)
    if found["json"]:
        emit(result)
    else:
        _show(result, benchmark.less)


def load(name: str) -> Benchmark:
    """A benchmark by name.

    Raises:
      UsageError: if there is none.
    """
    if name not in NAMES:
        raise UsageError(f"there is no benchmark {name!r}: {nearest(name, NAMES)}")
    return importlib.import_module(f"scripts.benchmarks.{name}").BENCHMARK


def measure(name: str, benchmark: Benchmark, peers: dict[str, Peer], amount: int) -> dict[str, Any]:
    """Measures Auxin, then every peer, and returns the result as plain JSON."""
    from agents.training.provenance import commit, hardware, plain

    ours = benchmark.measure(amount)
    theirs = {peer: measure_peer(each, amount) for peer, each in peers.items()}
    return {
        "name": name,
        "value": ours.value,
        "unit": benchmark.unit,
        "others": ours.others,
        "peers": theirs,
        "ratios": {
            peer: _ratio(benchmark, ours.others.get(peers[peer].against, ours.value), value)
            for peer, value in theirs.items()
        },
        "config": plain({"amount": f"{amount} {benchmark.amount}", **ours.config}),
        "hardware": plain(hardware()),
        "commit": commit(ROOT),
    }


def _ratio(benchmark: Benchmark, ours: float, theirs: float) -> float:
    """How many times better ours is."""
    return theirs / ours if benchmark.less else ours / theirs


def _chosen(benchmark: Benchmark, names: str) -> dict[str, Peer]:
    """The peers that are named; all of them must be installed before anything is measured."""
    if names in ("all", "none"):
        chosen = benchmark.peers if names == "all" else {}
    else:
        for name in names.split("+"):
            if name not in benchmark.peers:
                known = nearest(name, benchmark.peers) if benchmark.peers else "this benchmark has no peers."
                raise UsageError(f"there is no peer {name!r}: {known}")
        chosen = {name: benchmark.peers[name] for name in names.split("+")}
    for name, peer in chosen.items():
        require_installed(name, peer)
    return chosen


def _list(json: bool) -> None:
    entries = [(name, load(name)) for name in NAMES]
    if json:
        emit({"benchmarks": [{"name": name, "doc": one.doc, "peers": list(one.peers)} for name, one in entries]})
        return
    rows = [[name, ", ".join(one.peers), one.doc] for name, one in entries]
    table("benchmarks", ["name", "peers", "doc"], rows)
    print("python scripts/benchmark.py NAME measures one.")


def _show(result: dict[str, Any], less: bool) -> None:
    rows = [["auxin", f"{number(round(result['value'], 1))} {result['unit']}", ""]]
    for name, value in result["others"].items():
        rows.append([f"auxin, {name}", f"{number(round(value, 1))} {result['unit']}", ""])
    for name, value in result["peers"].items():
        ratio = f"{f'{name} / auxin' if less else f'auxin / {name}'} = {result['ratios'][name]:.3g}"
        rows.append([name, f"{number(round(value, 1))} {result['unit']}", ratio])
    table("", ["", "value", "ratio"], rows)
    for name, value in result["config"].items():
        print(f"  {name}: {number(value) if isinstance(value, float) else value}")
    print(f"  on {result['hardware']['cpu']}, {result['hardware']['cores']} cores, commit {result['commit']}")
