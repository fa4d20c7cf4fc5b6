"""Datasets of transitions to learn from without an environment: made, checked, kept on disk, and read from Minari.

    DIR/dataset.json     what the dataset is: its facts, the names and shapes of its arrays, the checksum of its data
    DIR/data-HASH.npz    the arrays

The JSON file is written last, in one move, and names the data it belongs to: a `save` that was killed leaves the
dataset of before, or none. Nothing here is ever unpickled.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from envs.contract import Array, Box, Discrete, EnvSpec, MultiDiscrete, PyTree
from envs.errors import UsageError, nearest

FORMAT = "auxin dataset 1"
NOTES = "dataset.json"
MINARI = "minari:"  # what a dataset's name begins with where it is one of Minari's
_BOUND_SLACK = 1e-4  # by how much of a box's width an action may lie outside: float32 rounds


class Dataset(NamedTuple):
    """`N` transitions, NumPy arrays `[N, ...]`: the steps of one environment in time order, then those of the next.

    Attributes:
      obs: PyTree (dicts and tuples) of what was acted on.
      action: what was done.
      reward: float32 `[N]`.
      discount: float32 `[N]`, 0 only at true termination.
      last: bool `[N]`, an episode's end, truncation included.
      next_obs: the true successor.
      extras: named arrays of the step, as the environment's spec declares them.
      facts: plain JSON: `env`, `env_version`, `backend`, `env_options`, and how the data were made. `streams` lists how
        many steps follow each other in one environment, from an episode's first step on; where it is missing all do.
    """

    obs: PyTree
    action: Any
    reward: Any
    discount: Any
    last: Any
    next_obs: PyTree
    extras: dict[str, Any]
    facts: dict[str, Any]


# ------------------------------------------------------------------------------------------------------------ FILES


def save(dataset: Dataset, folder: str | os.PathLike[str]) -> Path:
    """Writes the dataset into `folder`, in place of one that is there, and returns the folder.

    Raises:
      UsageError: where arrays hold something else than numbers and booleans or differ in length, and where `facts` are
        not JSON.
    """
    folder, count = Path(folder), size(dataset)
    arrays: dict[str, np.ndarray] = {}
    structure = {name: _packed(part, name, arrays) for name, part in _parts(dataset).items()}
    try:
        facts = json.loads(json.dumps(dataset.facts, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise UsageError(f"the facts of a dataset are plain JSON, and these are not: {error}.") from None
    folder.mkdir(parents=True, exist_ok=True)
    writing = folder / "data.tmp"
    with writing.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
        _settle(file)
    checksum = _sha256(writing)
    data = folder / f"data-{checksum[:16]}.npz"
    os.replace(writing, data)
    notes = {
        "format": FORMAT,
        "facts": facts,
        "transitions": count,
        "structure": structure,
        "arrays": {name: [array.dtype.str, list(array.shape)] for name, array in arrays.items()},
        "file": data.name,
        "sha256": checksum,
    }
    writing = folder / f"{NOTES}.tmp"
    with writing.open("w", encoding="utf-8") as file:
        file.write(json.dumps(notes, indent=2, allow_nan=False) + "\n")
        _settle(file)
    os.replace(writing, folder / NOTES)
    for old in folder.glob("data-*.npz"):
        if old != data:
            old.unlink()
    return folder


def load(folder: str | os.PathLike[str]) -> Dataset:
    """The dataset in a folder, after its data have been verified against their checksum.

    Raises:
      UsageError: where there is none, a file is missing or was altered, or what the notes say is not what is there.
    """
    folder = Path(folder)
    notes = _notes(folder)
    path = folder / notes["file"]
    try:
        checksum = _sha256(path)
    except OSError as error:
        raise UsageError(f"the dataset {folder} cannot be read: {path.name}: {error.strerror}.") from error
    if checksum != notes["sha256"]:
        raise UsageError(f"the dataset {folder} was altered: the SHA-256 of {path.name} is not the one noted for it.")
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in notes["arrays"]}
        found = {name: [array.dtype.str, list(array.shape)] for name, array in arrays.items()}
        if found != notes["arrays"]:
            raise UsageError(f"the dataset {folder} holds arrays of other shapes than its {NOTES} says.")
        parts = {name: _unpacked(part, arrays) for name, part in notes["structure"].items()}
        dataset = Dataset(**parts, facts=notes["facts"])
        size(dataset)
    except UsageError:
        raise
    except Exception as error:  # whatever it is, it was no `save` of ours that wrote it
        raise UsageError(f"{folder} holds no dataset that this version can read: {error}.") from error
    return dataset


def read(source: str) -> Dataset:
    """The dataset called `source`: a folder, or `minari:` and the id (or folder) of a dataset of Minari's."""
    return from_minari(source.removeprefix(MINARI)) if source.startswith(MINARI) else load(source)


def from_minari(source: str | os.PathLike[str]) -> Dataset:
    """A dataset of Minari by its id or its folder; see `replay.minari_format.convert`."""
    from replay.minari_format import convert

    return convert(source)


def digest(dataset: Dataset) -> str:
    """A SHA-256 of what the dataset holds, hexadecimal; equal data have equal digests, whatever file they are in."""
    arrays: dict[str, np.ndarray] = {}
    structure = {name: _packed(part, name, arrays) for name, part in _parts(dataset).items()}
    found = hashlib.sha256(json.dumps([structure, _streams(dataset)], sort_keys=True).encode())
    for name in sorted(arrays):
        found.update(f"{name}{arrays[name].dtype.str}{arrays[name].shape}".encode())
        found.update(arrays[name].data if arrays[name].size else b"")
    return found.hexdigest()


def _notes(folder: Path) -> dict[str, Any]:
    try:
        notes = json.loads((folder / NOTES).read_text(encoding="utf-8"))
    except FileNotFoundError:
        there = [path.parent.name for path in folder.parent.glob(f"*/{NOTES}")] if folder.parent.is_dir() else []
        inside = [path.parent.name for path in folder.glob(f"*/{NOTES}")]
        hint = f"take one of those in it, {', '.join(sorted(inside))}." if inside else nearest(folder.name, there)
        raise UsageError(f"{folder} holds no dataset: {hint}") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder / NOTES} cannot be read as the notes of a dataset.") from error
    if not isinstance(notes, dict) or notes.get("format") != FORMAT:
        raise UsageError(f"{folder / NOTES} is not of the format {FORMAT!r}, which this version reads.")
    kinds = {"facts": dict, "structure": dict, "arrays": dict, "file": str, "sha256": str}
    for name, kind in kinds.items():
        if not isinstance(notes.get(name), kind):
            raise UsageError(f"{folder / NOTES} lacks {name!r}: it was altered.")
    if Path(notes["file"]).name != notes["file"]:
        raise UsageError(f"{folder / NOTES} names a file outside its folder: it was altered.")
    return notes


def _settle(file: Any) -> None:
    """All of a file on disk, before it gets its name."""
    file.flush()
    os.fsync(file.fileno())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ------------------------------------------------------------------------------------------------------------ ARRAYS


def size(dataset: Dataset) -> int:
    """How many transitions there are.

    Raises:
      UsageError: where there are none, or the arrays or the streams differ in length.
    """
    lengths = {np.shape(leaf)[:1] for part in _parts(dataset).values() for leaf in jax.tree.leaves(part)}
    if len(lengths) != 1 or () in lengths:
        raise UsageError("the arrays of a dataset must all have the same number of transitions, and these do not.")
    ((count,),) = lengths
    if count == 0:
        raise UsageError("a dataset must hold a transition, and this one is empty.")
    streams = _streams(dataset)
    if sum(streams) != count or min(streams) < 1:
        raise UsageError(f"the streams of the dataset have {sum(streams)} transitions in all, and there are {count}.")
    return count


def concatenate(datasets: Sequence[Dataset]) -> Dataset:
    """One dataset out of several of the same environment; its facts are the first's, and `parts` lists those of all.

    Raises:
      UsageError: for none, for different environments, and where arrays do not fit together.
    """
    if not datasets:
        raise UsageError("there are no datasets to join.")
    first = datasets[0]
    for other in datasets[1:]:
        for name in ("env", "env_options"):
            if other.facts.get(name) != first.facts.get(name):
                raise UsageError(
                    f"datasets of different environments cannot be joined: {name} is {first.facts.get(name)} and "
                    f"{other.facts.get(name)}."
                )
        if _kinds(other) != _kinds(first):
            raise UsageError("datasets whose arrays have different names, shapes or dtypes cannot be joined.")
    joined = jax.tree.map(lambda *leaves: np.concatenate(leaves), *(each._replace(facts={}) for each in datasets))
    streams = [length for each in datasets for length in _streams(each)]
    parts = [{name: fact for name, fact in each.facts.items() if name != "streams"} for each in datasets]
    return joined._replace(facts={**first.facts, "streams": streams, "parts": parts})


def statistics(dataset: Dataset) -> dict[str, float]:
    """`transitions`, whole `episodes`, and of their returns `return_mean`, `return_std`, `return_min`, `return_max`.

    An episode that its stream cuts off is not counted; without a whole one the returns, and `length_mean`, are NaN.
    """
    last = np.asarray(dataset.last).copy()
    cut = last.copy()
    cut[np.cumsum(_streams(dataset)) - 1] = True
    ends = np.flatnonzero(cut)
    starts = np.concatenate([[0], ends[:-1] + 1])
    whole = last[ends]
    returns = np.add.reduceat(np.asarray(dataset.reward, np.float64), starts)[whole]
    lengths = (ends + 1 - starts)[whole]
    found: dict[str, float] = {"transitions": size(dataset), "episodes": len(returns)}
    for name in ("mean", "std", "min", "max"):
        found[f"return_{name}"] = float(getattr(np, name)(returns)) if len(returns) else float("nan")
    return {**found, "length_mean": float(lengths.mean()) if len(returns) else float("nan")}


def _parts(dataset: Dataset) -> dict[str, PyTree]:
    return {name: part for name, part in dataset._asdict().items() if name != "facts"}


def _streams(dataset: Dataset) -> list[int]:
    return dataset.facts.get("streams") or [len(dataset.last)]


def _kinds(dataset: Dataset) -> Any:
    return jax.tree.map(lambda leaf: (leaf.dtype.str, leaf.shape[1:]), _parts(dataset))


def _packed(tree: PyTree, path: str, arrays: dict[str, np.ndarray]) -> Any:
    """A tree as JSON, with the names under which its leaves go into `arrays`."""
    if isinstance(tree, dict):
        if not all(isinstance(name, str) for name in tree):
            raise UsageError(f"the parts of {path} must be named by text.")
        return {name: _packed(part, f"{path}[{name!r}]", arrays) for name, part in tree.items()}
    if isinstance(tree, tuple | list):
        return [_packed(part, f"{path}[{index}]", arrays) for index, part in enumerate(tree)]
    array = np.ascontiguousarray(tree)
    if array.dtype.kind not in "biuf":
        raise UsageError(f"a dataset holds numbers and booleans alone, and {path} is {array.dtype}.")
    arrays[path] = array.astype(array.dtype.newbyteorder("="), copy=False)
    return path


def _unpacked(tree: Any, arrays: dict[str, np.ndarray]) -> PyTree:
    if isinstance(tree, dict):
        return {name: _unpacked(part, arrays) for name, part in tree.items()}
    return tuple(_unpacked(part, arrays) for part in tree) if isinstance(tree, list) else arrays[tree]


# ------------------------------------------------------------------------------------------------------------- CHECK


def check(dataset: Dataset, spec: EnvSpec) -> None:
    """Refuses a dataset that an agent made for `spec` could not learn from; extras may be missing.

    Raises:
      UsageError: where the environment, a shape, a dtype or a value is not as the spec has it.
    """
    count = size(dataset)
    made = dataset.facts.get("env")
    if made and made != spec.id:
        raise UsageError(f"the dataset was made in {made}, and the environment is {spec.id}.")
    if spec.agents > 1:
        raise UsageError(f"{spec.id} has {spec.agents} agents, and datasets are of one.")
    extras = {name: array for name, array in spec.extras.items() if name in dataset.extras}
    flat = {"reward": Array((), "float32"), "discount": Array((), "float32"), "last": Array((), "bool")}
    like = {"obs": spec.obs, "next_obs": spec.obs, "action": _action(spec), **flat, "extras": extras}
    held = {**_parts(dataset), "extras": {name: dataset.extras[name] for name in extras}}
    for name, wanted in like.items():
        _check_arrays(name, held[name], wanted, count, spec)
    if not np.isin(dataset.discount, (0, 1)).all():
        raise UsageError("the discount of a transition is 0 at a termination and 1 elsewhere, and here it is another.")
    if ((dataset.discount == 0) & ~dataset.last).any():
        raise UsageError(
            "an episode of the dataset terminates without being marked as over: discount is 0, last false."
        )
    _check_action(dataset.action, spec)


def _check_arrays(name: str, tree: PyTree, like: PyTree, count: int, spec: EnvSpec) -> None:
    structure: Any = jax.tree.structure(tree)
    if structure != jax.tree.structure(like):
        raise UsageError(f"{name} of the dataset is not made of the same parts as in {spec.id}.")
    for (path, leaf), wanted in zip(jax.tree_util.tree_leaves_with_path(tree), jax.tree.leaves(like), strict=True):
        full, shape = name + jax.tree_util.keystr(path), (count, *wanted.shape)
        if (leaf.dtype.name, leaf.shape) != (wanted.dtype, shape):
            raise UsageError(
                f"{full} of the dataset is {leaf.dtype.name} {list(leaf.shape)}, and {spec.id} has {wanted.dtype} "
                f"{list(shape)}."
            )
        if name != "extras" and leaf.dtype.kind == "f" and not np.isfinite(leaf).all():
            raise UsageError(f"{full} of the dataset has values that are not finite.")


def _action(spec: EnvSpec) -> Array:
    match spec.action:
        case Box(low=low):
            return Array((len(low),), "float32")
        case MultiDiscrete(n=n):
            return Array((len(n),), "int32")
    return Array((), "int32")


def _check_action(action: np.ndarray, spec: EnvSpec) -> None:
    low: Any = 0
    high: Any
    match spec.action:
        case Box(low=least, high=most):
            low, high = np.asarray(least), np.asarray(most)
            slack = _BOUND_SLACK * np.where(np.isfinite(high - low), high - low, 1.0)
            low, high = low - slack, high + slack
        case Discrete(n=n):
            high = n - 1
        case MultiDiscrete(n=sizes):
            high = np.asarray(sizes) - 1
    if ((action < low) | (action > high)).any():
        raise UsageError(f"actions of the dataset lie outside those of {spec.id}.")
