"""Where a result comes from: versions, hardware, commit and command; and JSON files written whole or not at all."""

import dataclasses
import importlib.metadata
import json
import math
import os
import platform
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax
import numpy as np
import psutil  # type: ignore[import-untyped]

from envs.contract import EnvSpec

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "gymnasium")
_ROOT = Path(__file__).resolve().parents[2]


def provenance(seed: int, env_spec: EnvSpec) -> dict[str, Any]:
    """What a result file must say of its run besides its config; every value is plain JSON.

    `started` is the moment of this call, in UTC; `memory` is in bytes; `packages` gives None for what is not installed.
    """
    return {
        "seed": seed,
        "env": {"id": env_spec.id, "version": env_spec.version},
        "packages": {"auxin": _auxin_version()} | {name: _version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "os": platform.platform(),
        "hardware": hardware(),
        "commit": commit(_ROOT),
        "command": shlex.join(sys.argv),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def hardware() -> dict[str, Any]:
    """The processor's model, the cores this process may use, the machine's memory in bytes, and JAX's devices."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory": psutil.virtual_memory().total,
        "devices": [device.device_kind for device in jax.devices()],
    }


def commit(root: Path) -> str | None:
    """The commit of the source tree at `root`, `+dirty` where tracked files differ; None if it is no git tree."""
    top = _git(root, "rev-parse", "--show-toplevel")
    head = _git(root, "rev-parse", "--verify", "HEAD")
    # An installed copy may lie inside somebody else's repository, whose commit says nothing of it.
    if not top or not head or Path(top).resolve() != root.resolve():
        return None
    return head + ("+dirty" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")


def write_json(path: str | os.PathLike[str], obj: Any) -> None:
    """Writes `plain(obj)` as indented JSON, atomically."""
    path, text = Path(path), json.dumps(plain(obj), indent=2, allow_nan=False) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def plain(obj: Any) -> Any:
    """`obj` as JSON's own types: arrays as lists, dataclasses as objects, paths as text, and the floats that JSON
    lacks as `"nan"`, `"inf"` and `"-inf"`. A float32 becomes the float64 of the same value, so it survives exactly.

    Raises:
      TypeError: where `obj` holds anything else.
    """
    if obj is None or isinstance(obj, str | bool | int):
        return obj
    if isinstance(obj, float):
        return float(obj) if math.isfinite(obj) else str(float(obj))
    if isinstance(obj, Path):
        return str(obj)
    if isinstance(obj, Mapping):
        return {str(name): plain(value) for name, value in obj.items()}
    if dataclasses.is_dataclass(obj) and not isinstance(obj, type):
        return {field.name: plain(getattr(obj, field.name)) for field in dataclasses.fields(obj)}
    if isinstance(obj, list | tuple):
        return [plain(value) for value in obj]
    if isinstance(obj, jax.Array | np.ndarray | np.generic):
        array = np.asarray(obj)
        return plain((array.astype(np.float64) if array.dtype.kind == "V" else array).tolist())
    raise TypeError(f"{type(obj).__name__} has no place in JSON")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _auxin_version() -> str | None:
    """The installed version, or the one that the source tree's own pyproject.toml gives."""
    project = _ROOT / "pyproject.toml"
    installed = _version("auxin")
    if installed is None and project.exists():
        return tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"]
    return installed


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def _git(root: Path, *arguments: str) -> str | None:
    """What git prints, None where it fails or is not there."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
