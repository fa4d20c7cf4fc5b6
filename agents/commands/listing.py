"""`list [agents|envs|auxiliaries]`: what there is to choose from, without importing any of it."""

from collections.abc import Sequence
from typing import Any

from agents import registry
from agents.commands.output import emit, table
from agents.commands.parser import Parser
from envs.errors import UsageError, nearest


def run(argv: Sequence[str]) -> None:
    """Prints everything, or the kinds that are named."""
    parser = Parser("list", "[agents] [envs] [auxiliaries]", "Lists what can be named on the command line.")
    found = parser.parse(argv, words="at most agents, envs, auxiliaries", least=0)
    for word in found["words"]:
        if word not in _KINDS:
            raise UsageError(f"there is no list of {word!r}: {nearest(word, _KINDS)}")
    lists = {kind: gather() for kind, gather in _KINDS.items() if not found["words"] or kind in found["words"]}
    if found["json"]:
        emit(lists)
        return
    for kind, entries in lists.items():
        # A column for every key but the doc, which comes last.
        columns = sorted(entries[0], key="doc".__eq__) if entries else []
        columns = [name for name in columns if name != "status"]
        table(kind, columns, [[_cell(entry, name) for name in columns] for entry in entries])
        print()


def _agents() -> list[dict[str, Any]]:
    return [{"name": agent.name, "doc": agent.doc} for agent in registry.members("agent").values()]


def _envs() -> list[dict[str, Any]]:
    from envs.registry import ids

    return [{**listing._asdict(), "backends": list(listing.backends)} for listing in ids()]


def _auxiliaries() -> list[dict[str, Any]]:
    doors = [door for door in registry.DOORS if door not in ("env", "agent")]
    members = [member for door in doors for member in registry.members(door).values()]
    return [{"name": m.name, "door": m.door, "doc": m.doc, "status": m.status} for m in members]


_KINDS = {"agents": _agents, "envs": _envs, "auxiliaries": _auxiliaries}


def _cell(entry: dict[str, Any], name: str) -> str:
    value = entry[name]
    if name == "doc" and entry.get("status") == "broken":
        return f"broken: {value}"
    return ", ".join(value) if isinstance(value, list) else value
