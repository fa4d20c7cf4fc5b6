"""Builds the parts that an agent is asked for by name, and keeps account of their options.

An option of an auxiliary is written `NAME.FIELD`, as in `rnd.coef`; all others are the agent's own.
"""

import dataclasses
from typing import Any, NamedTuple

from agents import registry
from agents.auxiliary.auxiliary import Auxiliary
from agents.config import build
from envs.contract import EnvSpec
from envs.errors import UsageError, nearest


class Part(NamedTuple):
    """One part as built: its name, its resolved configuration, and what its factory returned."""

    name: str
    config: Any
    made: Any


def split(config: type, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The agent's own configuration, and the dotted options that are left for its parts."""
    own = {name: value for name, value in options.items() if "." not in name}
    return build(config, own), {name: value for name, value in options.items() if "." in name}


def find(door: str, names: str, spec: EnvSpec, options: dict[str, Any]) -> tuple[Part, ...]:
    """Builds `names` (joined by `+`) of a door, taking their options out of `options`.

    Raises:
      UsageError: for an unknown name, or an option that is unknown or out of range.
    """
    found = []
    for name in registry.parse_names(names, door):
        prefix = f"{name}."
        own = {key.removeprefix(prefix): options.pop(key) for key in list(options) if key.startswith(prefix)}
        module = registry.load(door, name)
        config = build(module.Config, own)
        resolved = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
        # Buffers store whatever they are given, and are told of no environment.
        made = module.make(**resolved) if door == "replay" else module.make(spec, **resolved)
        found.append(Part(name, config, made._replace(door=door) if isinstance(made, Auxiliary) else made))
    return tuple(found)


def named(options: dict[str, Any]) -> set[str]:
    """The names of all parts that an agent's options ask for.

    Raises:
      UsageError: for a name that is not there.
    """
    doors = {door.option.removeprefix("--"): door.name for door in registry.DOORS.values()}
    found: set[str] = set()
    for option in options.keys() & doors.keys():
        if option == "encoder":  # agents have encoders of their own beside those of the door
            found.update(options[option].split("+"))
        else:
            found.update(registry.parse_names(options[option], doors[option]))
    return found


def finish(options: dict[str, Any], built: tuple[Part, ...]) -> None:
    """Refuses options that no part took."""
    for name in options:
        part = name.partition(".")[0]
        raise UsageError(f"{name} belongs to no part of this agent: {nearest(part, [p.name for p in built])}")


def resolved(config: Any, built: tuple[Part, ...]) -> dict[str, Any]:
    """Every option with its value, flat, as results record it and `agents.make` takes it."""
    flat = dataclasses.asdict(config)
    for part in built:
        flat.update({f"{part.name}.{key}": value for key, value in dataclasses.asdict(part.config).items()})
    return flat
