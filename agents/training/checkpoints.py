"""Checkpoints: one PyTree and its JSON notes in one safetensors file, written atomically, refused when damaged.

    checkpoint-000000012345.safetensors    the state after 12,345 steps; the last K of them are kept
    best.safetensors                       the state that evaluated best

A file holds arrays and text only, so loading never runs code from it. Its header carries three texts beside the arrays:
`format`; `content`, a JSON object with the caller's notes and, for every leaf by its path (`jax.tree_util.keystr`),
what it was; and `sha256`, the digest of the whole file with the digest's own 64 characters set to zero.
"""

import ast
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from envs.contract import PyTree
from envs.errors import UsageError

FORMAT = "auxin checkpoint 1"
BEST = "best.safetensors"

_NAME = re.compile(r"checkpoint-(\d+)\.safetensors")
_SCALARS: dict[str, Callable[[str], Any]] = {"int": int, "float": float, "bool": lambda text: text == "True"}
# Neither a leaf's path nor a text inside the header can hold these bytes: their quotes would be escaped.
_SEAL = b'"sha256":"'
_OPEN_SEAL = "0" * 64
_HEADER_LIMIT = 100_000_000  # safetensors' own limit, in bytes
_log = logging.getLogger(__name__)


class Leaf(NamedTuple):
    """What a leaf was when it was saved, as the file's header records it.

    Attributes:
      kind: `jax`, `numpy`, `key` (a typed PRNG key), or `int`, `float`, `bool` of Python.
      detail: the dtype of an array, the implementation of a key, or the value of a Python scalar.
    """

    kind: str
    detail: str


def save(folder: str | os.PathLike[str], step: int, tree: PyTree, meta: dict[str, Any], keep: int = 3) -> Path:
    """Writes `tree` as the checkpoint of `step` and removes all but the newest `keep` of those up to `step`.

    Leaves are JAX or NumPy arrays of numbers or booleans, typed PRNG keys, and Python's int, float and bool. Later
    checkpoints (of a run that was taken up again from an earlier one) are left alone until they are overwritten.

    Raises:
      ValueError: if `keep` is below 1.
      TypeError: if a leaf is none of the above, or `meta` is not JSON.
    """
    if keep < 1:
        raise ValueError(f"keep must be at least 1, not {keep}")
    path = Path(folder) / f"checkpoint-{step:012d}.safetensors"
    _write(path, tree, meta)
    for _, old in [entry for entry in _checkpoints(path.parent) if entry[0] <= step][keep:]:
        old.unlink()
    return path


def save_best(folder: str | os.PathLike[str], tree: PyTree, meta: dict[str, Any]) -> Path:
    """Writes `tree` as the folder's best state, in place of the one before; `keep` never removes it."""
    path = Path(folder) / BEST
    _write(path, tree, meta)
    return path


def latest(folder: str | os.PathLike[str], warn: Callable[[str], None] = _log.warning) -> Path | None:
    """The newest undamaged checkpoint of a folder, None if there is none; `warn` is told of each passed over."""
    return _first_sound([path for _, path in _checkpoints(Path(folder))], warn)


def best(folder: str | os.PathLike[str], warn: Callable[[str], None] = _log.warning) -> Path | None:
    """The folder's best state, None if there is none or it is damaged (of which `warn` is told)."""
    path = Path(folder) / BEST
    return _first_sound([path] if path.exists() else [], warn)


def read_meta(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The notes saved with a checkpoint, after the whole file has been verified.

    Raises:
      UsageError: if the file cannot be read, is not a checkpoint, or is damaged.
    """
    return _open(Path(path)).meta


def load(path: str | os.PathLike[str], like: PyTree) -> tuple[PyTree, dict[str, Any]]:
    """Reads `(tree, meta)`; `like` gives the tree's structure and says what every leaf must be.

    A leaf of `like` is an array or scalar of the same shape and dtype as the saved one, or a `jax.ShapeDtypeStruct`;
    `...` takes an array of any shape and dtype, and `dict` a flat dictionary of such arrays under any names. Where
    `like` holds a JAX array or a struct with a sharding the leaf is placed as that is; where it holds a NumPy array the
    leaf is one too; otherwise it comes back as it was saved.

    Raises:
      UsageError: if the file cannot be read, is not a checkpoint or is damaged, and at the first leaf that is missing,
        unexpected, or of another shape or dtype.
    """
    file = _open(Path(path))
    return _fill(file, "", like), file.meta


def load_part(path: str | os.PathLike[str], prefix: str, like: PyTree) -> PyTree:
    """Reads only what lies below the path `prefix` of the saved tree, such as `".agent.params"`; `like` as in `load`.

    Raises:
      UsageError: as `load`, for the leaves below `prefix`.
    """
    return _fill(_open(Path(path)), prefix, like)


class _File(NamedTuple):
    """A verified checkpoint: where it is, what its leaves are, and the caller's notes."""

    path: Path
    leaves: dict[str, Leaf]
    meta: dict[str, Any]


def _checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """The folder's checkpoints as `(step, path)`, newest first; anything else in it is ignored."""
    named = [(match, path) for path in folder.glob("checkpoint-*") if (match := _NAME.fullmatch(path.name))]
    return sorted(((int(match[1]), path) for match, path in named), reverse=True)


def _first_sound(paths: list[Path], warn: Callable[[str], None]) -> Path | None:
    for path in paths:
        try:
            return _open(path).path
        except UsageError as error:
            warn(f"{error} It is passed over.")
    return None


# WRITE


def _write(path: Path, tree: PyTree, meta: dict[str, Any]) -> None:
    """Writes a sealed file and moves it to `path` once it is on disk, so that `path` is whole or not there."""
    arrays, leaves = _pack(tree)
    content = json.dumps({"leaves": leaves, "meta": meta})
    # A folder of its own, since safetensors writes under random names first: what a killed process left is all in it.
    writing = path.parent / "writing.tmp"
    shutil.rmtree(writing, ignore_errors=True)
    writing.mkdir(parents=True)
    temporary = writing / path.name
    save_file(arrays, temporary, {"format": FORMAT, "content": content, "sha256": _OPEN_SEAL})
    temporary.chmod(path.parent.stat().st_mode & 0o666)  # safetensors shuts out everybody else
    with temporary.open("r+b") as file:
        at, _, digest = _seal(file)
        file.seek(at)
        file.write(digest.encode())
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    writing.rmdir()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the rename itself must survive a power cut
    finally:
        os.close(folder)


def _pack(tree: PyTree) -> tuple[dict[str, np.ndarray], dict[str, Leaf]]:
    """The arrays to store and the record of every leaf, both by path."""
    waiting: dict[str, Any] = {}
    leaves: dict[str, Leaf] = {}
    for keys, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name = jax.tree_util.keystr(keys)
        if name in leaves:
            raise ValueError(f"two leaves of the tree share the path {name!r}")
        if type(leaf) in (int, float, bool):  # and not NumPy's subclasses of them
            leaves[name] = Leaf(type(leaf).__name__, repr(leaf))
        elif _is_key(leaf):
            leaves[name] = Leaf("key", str(jax.random.key_impl(leaf)))
            waiting[name] = jax.random.key_data(leaf)
        elif _is_numeric(leaf):
            leaves[name] = Leaf("jax" if isinstance(leaf, jax.Array) else "numpy", leaf.dtype.name)
            waiting[name] = leaf
        else:
            raise TypeError(f"a checkpoint holds numbers only, but {name!r} is a {_describe(leaf)}")
    return {name: _storable(array) for name, array in jax.device_get(waiting).items()}, leaves


def _storable(array: Any) -> np.ndarray:
    """Contiguous and of a dtype of NumPy's own: bfloat16 and its kin are stored as unsigned integers of their size."""
    array = np.asarray(array, order="C")
    if array.dtype.kind == "V":
        return array.view(f"u{array.dtype.itemsize}")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


# READ


def _open(path: Path) -> _File:
    """Verifies a file against its seal and reads its header."""
    try:
        with path.open("rb") as file:
            at, recorded, digest = _seal(file)
    except OSError as error:
        raise UsageError(f"{path} cannot be read as a checkpoint: {error.strerror}.") from error
    if at < 0:
        raise UsageError(f"{path} is not a checkpoint of Auxin, or ends within its header.")
    if recorded != digest:
        raise UsageError(
            f"{path} is damaged: it was cut short or altered, for its SHA-256 is not the one recorded in it."
        )
    try:
        with safe_open(path, "np") as stored:
            texts = stored.metadata()
        if texts["format"] != FORMAT:
            raise UsageError(f"{path} is of the format {texts['format']!r}, but this version reads {FORMAT!r}.")
        content = json.loads(texts["content"])
        return _File(path, {name: Leaf(*leaf) for name, leaf in content["leaves"].items()}, content["meta"])
    except (SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise UsageError(f"{path} is not a checkpoint of Auxin.") from error


def _seal(file: BinaryIO) -> tuple[int, str, str]:
    """Where a file keeps its digest (-1: nowhere), the digest recorded there, and the one it should be."""
    file.seek(0)
    size = file.read(8)
    header = size + file.read(min(int.from_bytes(size, "little"), _HEADER_LIMIT))
    found = header.find(_SEAL)
    if found < 0:
        return -1, "", ""
    at = found + len(_SEAL)
    recorded = header[at : at + len(_OPEN_SEAL)]
    digest = hashlib.sha256(header[:at] + _OPEN_SEAL.encode() + header[at + len(_OPEN_SEAL) :])
    while chunk := file.read(1 << 20):
        digest.update(chunk)
    return at, recorded.decode(errors="replace"), digest.hexdigest()


def _fill(file: _File, prefix: str, like: PyTree) -> PyTree:
    """The tree `like` with the file's leaves below `prefix` in place of its own."""
    like = jax.tree_util.tree_map_with_path(
        lambda keys, leaf: _names(file, prefix + jax.tree_util.keystr(keys)) if leaf is dict else leaf, like
    )
    paths, structure = jax.tree_util.tree_flatten_with_path(like)
    templates = {prefix + jax.tree_util.keystr(keys): template for keys, template in paths}
    filled = []
    with safe_open(file.path, "np") as stored:
        for name, template in templates.items():
            if name not in file.leaves:
                raise UsageError(f"{file.path} has no {name!r}, so it was saved with another configuration.")
            leaf = _restore(name, file.leaves[name], stored)
            if template is not ... and _describe(leaf) != _describe(template):
                raise UsageError(
                    f"{file.path} holds {name!r} as {_describe(leaf)}, but {_describe(template)} is needed: "
                    "it was saved with another configuration."
                )
            filled.append(_place(file.leaves[name].kind, leaf, template))
    for name in _below(file.leaves, prefix):
        if name not in templates:
            raise UsageError(
                f"{file.path} holds {name!r}, which has no place here: it was saved with another configuration."
            )
    return jax.tree_util.tree_unflatten(structure, filled)


def _names(file: _File, path: str) -> dict[str, Any]:
    """The template of a flat dictionary whose names only the file knows."""
    return {ast.literal_eval(name[len(path) + 1 : -1]): ... for name in _below(file.leaves, path)}


def _below(names: dict[str, Leaf], prefix: str) -> Iterator[str]:
    """The names at or below `prefix`: `.params` has `.params['w']` below it, but not `.params_old`."""
    return (name for name in names if name.startswith(prefix) and name[len(prefix) :][:1] in ("", ".", "["))


def _restore(name: str, leaf: Leaf, stored: Any) -> Any:
    """A leaf as a Python scalar, a NumPy array or a typed key."""
    if leaf.kind in _SCALARS:
        return _SCALARS[leaf.kind](leaf.detail)
    if leaf.kind == "key":
        return jax.random.wrap_key_data(jnp.asarray(stored.get_tensor(name)), impl=leaf.detail)
    return stored.get_tensor(name).view(jnp.dtype(leaf.detail))


def _place(kind: str, leaf: Any, template: Any) -> Any:
    """Puts a restored leaf where its template is: on the template's devices, or in the host's memory."""
    if kind in _SCALARS:
        return leaf
    if isinstance(template, np.ndarray | np.generic) or (kind == "numpy" and not isinstance(template, jax.Array)):
        return leaf[()] if isinstance(template, np.generic) else leaf
    # An uncommitted template must give an uncommitted leaf, and a weakly typed one a weakly typed leaf: either
    # difference would compile the caller's functions anew, and the second could change their results.
    sharding = getattr(template, "sharding", None) if getattr(template, "committed", True) else None
    placed = jax.device_put(leaf, sharding)
    if getattr(template, "weak_type", False):
        return jnp.broadcast_to(jnp.asarray(leaf.dtype.type(0).item()), leaf.shape).at[...].set(placed)
    return placed


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _is_numeric(leaf: Any) -> bool:
    if not isinstance(leaf, jax.Array | np.ndarray | np.generic):
        return False
    number = leaf.dtype.kind == "b" or jax.dtypes.issubdtype(leaf.dtype, np.number)
    return bool(number) and leaf.dtype.itemsize <= 8  # safetensors has no complex128


def _describe(leaf: Any) -> str:
    """What a leaf is, in words: `float32 [3, 4]`, `key<fry> []`, `int`."""
    if hasattr(leaf, "dtype") and hasattr(leaf, "shape"):
        return f"{leaf.dtype.name} {list(leaf.shape)}"
    return type(leaf).__name__
