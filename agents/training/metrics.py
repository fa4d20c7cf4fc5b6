"""Metrics of a run: one JSON object per line in `metrics.jsonl`, TensorBoard event files, and W&B if asked.

    {"step": 8192, "update": 4, "loss": 0.25, "return": "nan", "clock": {"steps_per_second": 13400.0}}

What depends on time, speed or memory stands under `clock` alone; without it, the lines of two runs that did the same
are the same byte for byte. The byte offset of the last line goes into every checkpoint, and a resumed run cuts the file
there, so that its file is the uninterrupted run's.
"""

import json
import math
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agents.training.provenance import plain
from envs.errors import UsageError, missing_extra

FILE = "metrics.jsonl"
_RESERVED = ("step", "update", "clock")
_NOT_FINITE = ("nan", "inf", "-inf")


class Metrics:
    """Writes the metrics of the run in `folder`.

    Args:
      folder: the run's folder, made if it is not there.
      resume_at: what `position` returned when the checkpoint was written; 0 begins an empty file.
      tensorboard: also write event files to `folder/tensorboard`; what a resumed run repeats is hidden there.
      wandb: the project to log to with Weights & Biases, which keeps its own settings (`WANDB_MODE=offline`); a resumed
        run goes on under its id, kept in `folder/wandb.id`.
      config: what W&B shows as the run's configuration: a dataclass or a dict.

    Raises:
      UsageError: if the file ends before `resume_at` or no line ends there, or if a package is not installed.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        resume_at: int = 0,
        tensorboard: bool = True,
        wandb: str | None = None,
        config: Any = None,
    ):
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        # Packages are looked for before the file is cut, so that a missing one costs nothing.
        board = _import_tensorboard() if tensorboard else None
        tracker = _import_wandb() if wandb else None
        self._file = (folder / FILE).open("ab+")
        next_step = self._cut(folder / FILE, resume_at)
        self._board = _start_tensorboard(board, folder, next_step) if board else None
        self._tracker = _start_wandb(tracker, folder, wandb, config) if tracker else None

    def write(self, step: int, update: int, values: Mapping[str, Any], clock: Mapping[str, Any] | None = None) -> None:
        """Adds one line: scalars of the run itself in `values`, all that differs between equal runs in `clock`.

        Scalars are Python's, NumPy's or JAX's. Rates are per second, times in seconds, memory in bytes.

        Raises:
          ValueError: if a metric is named `step`, `update` or `clock`, or is not a scalar number.
        """
        taken = [name for name in values if name in _RESERVED]
        if taken:
            raise ValueError(f"a metric cannot be named {taken[0]!r}")
        values = {name: _scalar(name, value) for name, value in values.items()}
        clock = {name: _scalar(name, value) for name, value in (clock or {}).items()}
        line = {"step": int(step), "update": int(update), **values, "clock": clock}
        self._file.write(json.dumps(line, allow_nan=False).encode() + b"\n")
        self._file.flush()  # readers may follow the file while the run goes on
        flat = values | {f"clock/{name}": value for name, value in clock.items()}
        numbers = {name: float(value) for name, value in flat.items()}
        if self._board:
            for name, number in numbers.items():
                if math.isfinite(number):  # the board draws nothing else, and complains on stdout
                    self._board.add_scalar(name, number, global_step=int(step))
        if self._tracker:
            self._tracker.log(numbers, step=int(step))

    def position(self) -> int:
        """The file's length in bytes, once all of it is on disk; the event files are brought as far."""
        self._file.flush()
        os.fsync(self._file.fileno())
        if self._board:
            self._board.flush()
        return self._file.tell()

    def close(self) -> None:
        """Writes out and closes everything; calling it twice does no harm."""
        self._file.close()
        if self._board:
            self._board.close()
        if self._tracker:
            self._tracker.finish()
        self._board = self._tracker = None

    def __enter__(self) -> "Metrics":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _cut(self, path: Path, at: int) -> int:
        """Cuts the file at the byte offset `at`; the first step that is not in it any more."""
        self._file.seek(0)
        kept = self._file.read(at)
        if len(kept) < at:
            self._file.close()
            raise UsageError(f"{path} is {len(kept)} bytes long, but the checkpoint was written when it had {at}.")
        if kept and not kept.endswith(b"\n"):
            self._file.close()
            raise UsageError(
                f"{path} is not the file that the checkpoint was written beside: no line ends at byte {at}."
            )
        self._file.truncate(at)
        self._file.seek(at)
        return json.loads(kept.splitlines()[-1])["step"] + 1 if kept else 0


def read(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The lines of a metrics file, or of the one in a run's folder; `"nan"`, `"inf"` and `"-inf"` become floats again.

    A last line without its end is being written and is left out.

    Raises:
      UsageError: if the file is not there or a line is not a JSON object.
    """
    path = Path(path)
    path = path / FILE if path.is_dir() else path
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read as a metrics file.") from error
    lines = []
    for number, line in enumerate(text.split("\n")[:-1], start=1):
        try:
            lines.append(json.loads(line, object_hook=_finite_again))
        except json.JSONDecodeError as error:
            raise UsageError(f"Line {number} of {path} is not a JSON object.") from error
    return lines


def _finite_again(record: dict[str, Any]) -> dict[str, Any]:
    return {name: float(value) if value in _NOT_FINITE else value for name, value in record.items()}


def _scalar(name: str, value: Any) -> bool | int | float | str:
    number = plain(value)
    if not isinstance(number, bool | int | float) and number not in _NOT_FINITE:
        raise ValueError(f"the metric {name!r} is not a scalar number")
    return number


def _import_tensorboard() -> Any:
    try:
        import tensorboardX  # type: ignore[import-untyped]
    except ImportError as error:
        raise UsageError("tensorboardX is not installed: pip install tensorboardX brings it.") from error
    return tensorboardX


def _import_wandb() -> Any:
    try:
        import wandb  # type: ignore[import-not-found]
    except ImportError as error:
        raise missing_extra("wandb", "wandb") from error
    return wandb


def _start_tensorboard(tensorboardx: Any, folder: Path, next_step: int) -> Any:
    # Event files are named by the second they begin in: the suffix keeps a quick resume from overwriting the last one.
    suffix = f".{next_step:012d}"
    return tensorboardx.SummaryWriter(str(folder / "tensorboard"), purge_step=next_step, filename_suffix=suffix)


def _start_wandb(wandb: Any, folder: Path, project: str | None, config: Any) -> Any:
    """A new W&B run, or the one whose id an earlier start of this run left in its folder."""
    kept = folder / "wandb.id"
    if not kept.exists():
        kept.write_text(uuid.uuid4().hex, encoding="utf-8")
    return wandb.init(
        project=project,
        id=kept.read_text(encoding="utf-8"),
        resume="allow",
        dir=str(folder),
        config=plain(config or {}),
    )
