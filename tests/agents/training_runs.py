"""What the tests of loops and runs share: driving a loop, counting compilations, and comparing what a run left."""

import json
from contextlib import contextmanager
from pathlib import Path

import jax
import numpy as np
from safetensors import safe_open

from agents.training.device_loop import DeviceLoop
from agents.training.evaluation import host_view
from agents.training.host_loop import HostLoop
from envs.contract import Env, HostMaker
from envs.wrappers import parse

ROOT = Path(__file__).resolve().parents[2]
_compiled: list[str] = []
jax.monitoring.register_event_duration_secs_listener(lambda event, _, **__: _compiled.append(event))


@contextmanager
def nothing_compiles():
    """Fails if anything is traced or compiled inside."""
    before = len(_compiled)
    yield
    found = [event for event in _compiled[before:] if "trace" in event or "compile" in event]
    assert not found, f"traced or compiled again: {found}"


def device_loop(agent, env: Env, *, n=16, seeds=(0, 1, 2), wrap="", together=None) -> DeviceLoop:
    return DeviceLoop(agent, env, parse(wrap), n=n, seeds=seeds, together=together)


def host_loop(agent, env: Env | HostMaker, *, n=16, seed=0, wrap="") -> HostLoop:
    """The host loop on a host environment, or on the host's view of a device environment."""
    return HostLoop(agent, host_view(env) if isinstance(env, Env) else env, parse(wrap), n=n, seed=seed)


def drive(loop, updates: int) -> list[list[dict]]:
    """Runs a loop from its start and closes it; the metrics of every update and seed. Only two updates may compile."""
    loop.start()
    rows = []
    try:
        rows += [loop.advance(total=updates).metrics for update in range(min(2, updates))]
        with nothing_compiles():
            rows += [loop.advance(total=updates).metrics for update in range(2, updates)]
    finally:
        loop.close()
    return rows


def column(row: list[dict], name: str) -> np.ndarray:
    """One metric of every seed."""
    return np.array([float(values[name]) for values in row])


def same_bits(a, b) -> None:
    """Asserts that two trees are equal in structure, types, and every bit; equal NaNs are equal."""
    a, b = (jax.tree_util.tree_leaves_with_path(tree) for tree in (a, b))
    assert [path for path, _ in a] == [path for path, _ in b]
    for (path, one), (_, other) in zip(a, b, strict=True):
        if hasattr(one, "dtype") and jax.dtypes.issubdtype(one.dtype, jax.dtypes.prng_key):
            one, other = jax.random.key_data(one), jax.random.key_data(other)
        one, other = np.asarray(one), np.asarray(other)
        where = jax.tree_util.keystr(path)
        assert (one.dtype, one.shape) == (other.dtype, other.shape), where
        assert one.tobytes() == other.tobytes(), where


def metrics(folder: Path) -> list[dict]:
    """The lines of a run's metrics without what depends on time."""
    lines = (Path(folder) / "metrics.jsonl").read_text().splitlines()
    return [{name: value for name, value in json.loads(line).items() if name != "clock"} for line in lines]


def checkpoints(folder: Path) -> list[Path]:
    """A run's checkpoints, the newest last."""
    return sorted((Path(folder) / "checkpoints").glob("checkpoint-*.safetensors"))


def leaves(path: Path) -> dict[str, np.ndarray]:
    """Every array of a checkpoint by its path, and what every leaf was."""
    with safe_open(path, "np") as file:
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        kinds = json.loads(file.metadata()["content"])["leaves"]
    return {**found, "what leaves were": np.array(json.dumps(kinds, sort_keys=True))}


def same_run(one: Path, other: Path) -> None:
    """Asserts that two runs left the same metrics and the same last checkpoint, bit for bit."""
    assert metrics(one) == metrics(other)
    last, theirs = checkpoints(one)[-1], checkpoints(other)[-1]
    assert last.name == theirs.name
    same_bits(leaves(last), leaves(theirs))
