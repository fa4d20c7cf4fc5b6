"""Banks: many levels of one task, made once by `auxin bank ID` and kept on disk.

    <root>/<task id>/seed-<seed>/part-00000.safetensors    levels 0 to 99
    <root>/<task id>/seed-<seed>/part-00001.safetensors    levels 100 to 199

Level `i` depends on the task, the seed and `i` alone: it is where Farama's environment stands after a reset with
`level_seed(seed, i)`. So a bank can be read, and trained on, while later parts are still being made (`build.py`).

A part holds the arrays of a `Level`, but its cells as a uint16 `palette` and an index into it for each cell: uint8, or
uint16 where there are more than 256 different cells. Its header carries `notes`, a JSON object: format, task, seed,
number of the first level, count, width, height, version of `minigrid`, and the SHA-256 of all that and of the arrays.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from envs.cache import cache_folder
from envs.errors import UsageError, nearest
from envs.minigrid.levels import SIDE_LIMIT, Level
from envs.minigrid.tasks import TASKS, Task

FORMAT = "auxin levels 1"
PART = 100  # levels in a part: seconds of work even for the slowest generator
FEW, FIRST = 200, 1000  # so many distinct levels among the first of a bank are enough to divide it
EVALUATION_SHARE = 10  # one level in so many is kept for evaluation
SPLITS = ("train", "evaluation", "all")


class Bank(NamedTuple):
    """The levels of one task.

    Attributes:
      task: its id.
      seed: the seed they were made with.
      version: the `minigrid` that made them, or what else did.
      folder: where they are, None for a bank in memory.
      levels: all of them in order, NumPy arrays with a leading axis `[count]`.
      width, height: the size of their grid in cells.
      distinct: how many different levels there are among them.
      evaluation: bool `[count]`, which of them are kept for evaluation, none if `shared`.
      shared: whether training and evaluation share all levels, for there are too few different ones; see `split`.
      hash: hex SHA-256 of the task's id, the size of its grid and the levels in order; parts do not matter.
      bytes: what they take on disk.
    """

    task: str
    seed: int
    version: str
    folder: Path | None
    levels: Level
    width: int
    height: int
    distinct: int
    evaluation: np.ndarray
    shared: bool
    hash: str
    bytes: int

    @property
    def count(self) -> int:  # type: ignore[override]  # in place of the method that every tuple has
        """How many levels there are."""
        return len(self.levels.position)


class Damaged(UsageError):
    """A part that must be made again."""


def find_task(id: str) -> Task:
    """The task of this id that runs on the device.

    Raises:
      UsageError: there is none, or the task does not run on the device.
    """
    if id not in TASKS:
        known = [task.id for task in TASKS.values() if task.rule is not None]
        raise UsageError(f"MiniGrid has no task {id!r}: {nearest(id, known)}")
    check(TASKS[id])
    return TASKS[id]


def check(task: Task) -> None:
    """Refuses a task that can have no bank.

    Raises:
      UsageError: it does not run on the device, or its grid is too large.
    """
    if task.rule is None:
        raise UsageError(f"{task.id} does not run on the device, so there are no banks of it.")
    if max(task.size) > SIDE_LIMIT:
        width, height = task.size
        raise UsageError(f"{task.id} has a grid of {width} x {height} cells, but no side may exceed {SIDE_LIMIT}.")


def level_seed(seed: int, index: int) -> int:
    """What Farama's environment is reset with for level `index`: 64 bits of `np.random.SeedSequence([seed, index])`."""
    return int(np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)[0])


def home(task: Task, folder: str | os.PathLike[str] | None, seed: int) -> Path:
    """Where a bank is kept below the folder of banks, which by default is `banks` in Auxin's cache folder."""
    return (Path(folder) if folder else cache_folder() / "banks") / task.id / f"seed-{seed}"


def part_path(folder: Path, part: int) -> Path:
    """The file of one part."""
    return folder / f"part-{part:05d}.safetensors"


# READ


def read(task: Task, folder: str | os.PathLike[str] | None = None, seed: int = 0, levels: int = 0) -> Bank:
    """The bank of a task: all parts there are up to the first that is missing, or its first `levels` levels.

    `folder` is the folder of banks, see `home`.

    Raises:
      UsageError: the task has no bank, too few levels, or a part that is damaged, of another format, of another task,
        seed, place or size, or made by another version of `minigrid` than the first.
    """
    check(task)
    where, command = home(task, folder, seed), command_for(task, folder, seed)
    found: list[Level] = []
    versions: list[str] = []
    size = 0
    while (path := part_path(where, len(found))).exists() and (levels == 0 or len(found) * PART < levels):
        part, version = read_part(path, task, seed, len(found) * PART, command)
        found.append(part)
        versions.append(version)
        size += path.stat().st_size
    if not found:
        raise UsageError(f"there is no bank of {task.id} in {where}: `{command}` makes it.")
    if len(found) * PART < levels:
        raise UsageError(
            f"the bank of {task.id} in {where} has {len(found) * PART} levels, not {levels}: "
            f"`{command} --levels {levels}` makes the rest."
        )
    if len(set(versions)) > 1:
        names = " and ".join(sorted(set(versions)))
        raise UsageError(
            f"{where} was made by minigrid {names}, which may draw differently: remove it, then `{command}`."
        )
    joined = Level(*(np.concatenate(arrays)[: levels or None] for arrays in zip(*found, strict=True)))
    return assemble(task, seed, versions[0], where, joined, size)


def assemble(task: Task, seed: int, version: str, folder: Path | None, levels: Level, size: int = 0) -> Bank:
    """The bank of these levels, with what follows from them; `size` is what they take on disk in bytes."""
    levels = Level(*map(np.asarray, levels))
    digests = _digests(levels)
    kept = digests % EVALUATION_SHARE == 0
    shared = _too_few(digests[:FIRST]) or bool(kept.all() or not kept.any())
    return Bank(
        task=task.id,
        seed=seed,
        version=version,
        folder=folder,
        levels=levels,
        width=task.size[0],
        height=task.size[1],
        distinct=len(np.unique(digests)),
        evaluation=kept & (not shared),
        shared=shared,
        hash=_hash(task, levels),
        bytes=size,
    )


def split(bank: Bank, which: str) -> Level:
    """The levels of a bank for `"train"` or for `"evaluation"`, or `"all"`.

    The two share no level, because a level's content decides: it is for evaluation if the digest of its arrays is
    divisible by ten. Copies stay, so within a split levels are as frequent as the task draws them. A bank is not
    divided, and both get all levels (`bank.shared`), if fewer than 200 of its first 1,000 levels are distinct; a bank
    of fewer levels, if it has fewer distinct ones than that many draws of 200 equally likely levels would show on
    average, or if all its levels fell to one side.

    Raises:
      UsageError: for another word.
    """
    if which not in SPLITS:
        raise UsageError(f"a bank has no levels for {which!r}: {nearest(which, SPLITS)}")
    if which == "all" or bank.shared:
        return bank.levels
    rows = bank.evaluation if which == "evaluation" else ~bank.evaluation
    return Level(*(array[rows] for array in bank.levels))


def read_part(path: Path, task: Task, seed: int, first: int, command: str) -> tuple[Level, str]:
    """The levels of one part, and the version of `minigrid` that made them.

    `first` is the number that its first level must have; `command` makes the bank.

    Raises:
      UsageError: see `read`; it is `Damaged` where making the part again helps.
    """
    try:
        with safe_open(path, "np") as stored:
            notes = json.loads(stored.metadata()["notes"])
            arrays = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (no mapping)
        form, recorded = notes.pop("format"), notes.pop("sha256")
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise Damaged(f"{path} is damaged or cannot be read: `{command}` makes it again.") from error
    if form != FORMAT:
        raise Damaged(
            f"{path} is of the format {form!r}, but this version reads {FORMAT!r}: `{command}` makes it again."
        )
    if recorded != _seal(notes, arrays):
        raise Damaged(f"{path} is damaged: its SHA-256 is not the one recorded in it. `{command}` makes it again.")
    for name, value in _notes(task, seed, first).items():
        if notes[name] != value:
            raise UsageError(
                f"{path} does not belong there, its {name} is {notes[name]} and not {value}: "
                f"remove it, then `{command}` makes the right one."
            )
    cells = arrays.pop("palette")[arrays.pop("cells")]
    return Level(cells=cells, **arrays), notes["minigrid"]


# WRITE


def write_part(path: Path, task: Task, seed: int, first: int, levels: Level, version: str) -> None:
    """Writes the levels from number `first` on as one part, which is whole or not there.

    Raises:
      UsageError: the file cannot be written.
    """
    assert levels.cells.shape == (PART, task.size[0] * task.size[1]), levels.cells.shape
    palette, cells = pack_cells(levels.cells)
    arrays = {**levels._asdict(), "cells": cells, "palette": palette}
    notes = {**_notes(task, seed, first), "minigrid": version}
    # One text, for safetensors writes several in an order of chance.
    content = save(arrays, {"notes": json.dumps({"format": FORMAT, "sha256": _seal(notes, arrays), **notes})})
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(content)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}.") from error


def pack_cells(cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`(palette, index)` of which `palette[index]` gives the cells again.

    `palette` uint16 has each different cell once, `index` the shape of `cells`; it is uint8 where that is enough.
    """
    palette, index = np.unique(cells, return_inverse=True)
    return palette, index.reshape(cells.shape).astype(np.uint8 if len(palette) <= 256 else np.uint16)


def _notes(task: Task, seed: int, first: int) -> dict[str, Any]:
    width, height = task.size
    return {"task": task.id, "seed": seed, "first": first, "count": PART, "width": width, "height": height}


def _seal(notes: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    """The digest of a part's contents."""
    digest = hashlib.sha256(json.dumps(notes, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.name} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()


# DIGESTS


def _hash(task: Task, levels: Level) -> str:
    width, height = task.size
    digest = hashlib.sha256(f"{task.id} {width} {height} {len(levels.position)}".encode())
    for array in levels:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _digests(levels: Level) -> np.ndarray:
    """64 bits of each level's SHA-256, uint64 `[count]`."""
    count = len(levels.position)
    rows = np.hstack([np.ascontiguousarray(array).reshape(count, -1).view(np.uint8) for array in levels])
    return np.frombuffer(b"".join(hashlib.sha256(row).digest()[:8] for row in rows), np.uint64)


def _too_few(digests: np.ndarray) -> bool:
    drawn = len(digests)
    enough = FEW if drawn >= FIRST else FEW * (1 - (1 - 1 / FEW) ** drawn)
    return len(np.unique(digests)) < enough


def command_for(task: Task, folder: str | os.PathLike[str] | None, seed: int) -> str:
    """The command that makes a bank."""
    return f"auxin bank {task.id}" + (f" --seed {seed}" if seed else "") + (f" --out {folder}" if folder else "")
