"""What a user can switch on, found by name: one file per method in its door's folder, read without importing it.

A member of a door is a file `NAME.py` with a top-level function `make` and a class `Config`; its line of help is the
first of its docstring. A file with a syntax error is listed as broken and harms nothing else. Packages outside the
project add members by the entry point group `auxin.DOOR` (`auxin.intrinsic_reward = my_bonus = my_package.my_bonus`).
"""

import ast
import importlib
import importlib.util
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Literal, NamedTuple

from envs.errors import UsageError, nearest

ROOT = Path(__file__).resolve().parent.parent


class Door(NamedTuple):
    """A place of an agent's pipeline where something plugs in.

    Attributes:
      name: its name.
      folder: where its members live, from the project's root.
      option: how the command line asks for a member.
      doc: what enters there.
    """

    name: str
    folder: str
    option: str
    doc: str


class Member(NamedTuple):
    """Something that can be asked for by name.

    Attributes:
      name: its file's name, or its entry point's.
      door: the name of its door.
      doc: one line.
      path: its file.
      module: what to import.
      status: `"broken"` where the file cannot be read as Python.
    """

    name: str
    door: str
    doc: str
    path: str
    module: str
    status: Literal["ready", "broken"]


_AUXILIARY = "agents/auxiliary"
DOORS: dict[str, Door] = {
    door.name: door
    for door in (
        Door("env", "envs", "--env", "environments, task families, wrappers"),
        Door("agent", "agents", "the first word", "whole agents"),
        Door("encoder", f"{_AUXILIARY}/encoders", "--encoder", "modules between observation and policy or value"),
        Door("auxiliary loss", f"{_AUXILIARY}/objectives", "--auxiliary", "objectives trained in the agent's update"),
        Door("intrinsic reward", f"{_AUXILIARY}/rewards", "--bonus", "bonuses computed before the agent's loss"),
        Door("world model", f"{_AUXILIARY}/world_models", "--model", "dynamics and sequence models of experience"),
        Door("replay", "replay", "--replay", "how experience is stored, compressed, selected, relabelled"),
        Door("gradient transform", f"{_AUXILIARY}/gradients", "--optimizer", "what turns gradients into steps"),
        Door("compression", f"{_AUXILIARY}/compression", "--compress", "pruning, quantisation, conversion of policies"),
        Door("search", f"{_AUXILIARY}/search", "scripts/search.py", "schedules, architectures, losses, populations"),
        Door("verification", f"{_AUXILIARY}/verification", "scripts/verify.py", "certificates, attacks, audits"),
        Door("analysis", f"{_AUXILIARY}/analysis", "scripts/analyse.py", "explanation, causal discovery, diagnostics"),
    )
}


def members(door: str) -> dict[str, Member]:
    """The members of a door by name, in alphabetical order; none of them is imported.

    Raises:
      UsageError: if there is no such door.
    """
    if door not in DOORS:
        raise UsageError(f"there is no door {door!r}: {nearest(door, DOORS)}")
    folder = DOORS[door].folder
    found = {}
    for path in (ROOT / folder).glob("*.py"):
        member = _read(path.stem, door, path, f"{folder.replace('/', '.')}.{path.stem}")
        if member:
            found[member.name] = member
    for point in entry_points(group=f"auxin.{door.replace(' ', '_')}"):
        found.setdefault(point.name, _outside(point, door))  # nothing outside takes a name of ours
    return dict(sorted(found.items()))


def load(door: str, name: str) -> ModuleType:
    """The module of one member, imported now.

    Raises:
      UsageError: if there is no such member, or its file or something that it needs cannot be imported.
    """
    known = members(door)
    if name not in known:
        raise UsageError(f"there is no {door} {name!r}: {nearest(name, known)}")
    try:
        return importlib.import_module(known[name].module)
    except (SyntaxError, ImportError) as error:
        raise UsageError(f"the {door} {name!r} cannot be imported: {error}.") from error


def parse_names(names: str, door: str) -> list[str]:
    """The members named in `names`, joined by `+`, in order; `""` names none.

    Raises:
      UsageError: for a name that the door does not know, or one that is given twice.
    """
    wanted = [name.strip() for name in names.split("+")] if names.strip() else []
    known = members(door)
    for index, name in enumerate(wanted):
        if name not in known:
            raise UsageError(f"there is no {door} {name!r}: {nearest(name, known)}")
        if name in wanted[:index]:
            raise UsageError(f"the {door} {name!r} is named twice in {names!r}.")
    return wanted


def _read(name: str, door: str, path: Path, module: str) -> Member | None:
    """The member in a file, or None where it holds none."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError) as error:
        return Member(name, door, str(error), str(path), module, "broken")
    top = {node.name: type(node) for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    if top.get("make") is not ast.FunctionDef or top.get("Config") is not ast.ClassDef:
        return None
    doc = (ast.get_docstring(tree) or "").partition("\n")[0]
    return Member(name, door, doc, str(path), module, "ready")


def _outside(point: EntryPoint, door: str) -> Member:
    """The member behind an entry point; looking for it imports the packages around it, which may be broken."""
    broken = Member(point.name, door, f"{point.value} cannot be found", "", point.module, "broken")
    try:
        found = importlib.util.find_spec(point.module)
    except Exception as error:  # somebody else's package must not break listing
        return broken._replace(doc=f"{point.value} cannot be imported: {error}")
    if not found or not found.origin:
        return broken
    path = Path(found.origin)
    return _read(point.name, door, path, point.module) or broken._replace(
        doc=f"{point.value} has no make and Config", path=str(path)
    )
