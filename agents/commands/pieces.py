"""What commands that build an agent share: its options, those of the parts it names, and those of the environment."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from agents import presets, registry
from agents.commands.parser import Parser, configured
from agents.config import fields
from envs.errors import UsageError, nearest

ENV = "--env."


class Pieces(NamedTuple):
    """What an agent is made of.

    Attributes:
      agent: its name.
      config: its config class.
      parts: the config classes of the parts that are named, by prefix.
      preset: the options of the preset that is named.
      shared: fields of `config` that the command's own options have too: there is one option, and it is the command's.
    """

    agent: str
    config: type
    parts: dict[str, type]
    preset: dict[str, Any]
    shared: list[str]


def look(agent: str, words: Sequence[str], command: type) -> Pieces:
    """A first look at the words, for what decides which options there are: environment, preset, and named parts.

    `command` is the config class of the command's own options.
    """
    if agent not in registry.members("agent"):
        raise UsageError(f"there is no agent {agent!r}: {nearest(agent, registry.members('agent'))}")
    config = registry.load("agent", agent).Config
    defaults = {field.name: field.default for field in fields(config)}
    own = {field.name for field in fields(command)}
    shared = [name for name in defaults if name in own]
    parser = Parser(agent, "", "")
    parser.add("", command)
    parser.add("", config, leave_out=shared)
    given = parser.glance(words)
    preset: dict[str, Any] = {}
    if "preset" in given and "env" in given:
        preset = presets.find(agent, given["preset"], given["env"])
    chosen = {**defaults, **preset, **given}
    parts = _parts(config, chosen)
    if "agent" in defaults:  # one that is made around another, whose parts it then has too
        base = chosen["agent"]
        inner = registry.load("agent", base).Config
        parser.add(base, inner, f"{base}.")
        given = parser.glance(words)
        of_base = {field.name: given.get(f"{base}.{field.name}", field.default) for field in fields(inner)}
        parts |= {f"{base}.": inner, **_parts(inner, of_base)}
    named = {prefix.removesuffix(".") for prefix in parts}
    return Pieces(agent, config, parts, presets.for_parts(preset, named), shared)


def add_env_options(parser: Parser) -> None:
    """Adds the line of help of the environment's options, which `dotted` takes out of the words."""
    parser.add_argument_group("environment").add_argument(
        f"{ENV}OPTION", metavar="VALUE", help="an option of the environment: max_steps, repeat, or one of its suite's"
    )


def add_agent(parser: Parser, pieces: Pieces) -> None:
    """Adds the options of the agent and its parts."""
    notes = {
        option: f"({', '.join(registry.members(door)) or 'none yet'})" for option, door in _doors(pieces.config).items()
    }
    title = f"agent {pieces.agent}"
    parser.add(title, pieces.config, shown=pieces.preset, notes=notes, leave_out=pieces.shared)
    for prefix, config in pieces.parts.items():
        parser.add(prefix[:-1], config, prefix, shown=pieces.preset)


def agent_options(pieces: Pieces, found: dict[str, Any]) -> dict[str, Any]:
    """The agent's options and its parts', by full name: the preset's under those that were given, all checked."""
    merged = {**pieces.preset, **{name: value for name, value in found.items() if name not in pieces.shared}}
    options: dict[str, Any] = {}
    for prefix, config in {"": pieces.config, **pieces.parts}.items():
        made: Any = configured(config, merged, prefix)
        given = [field.name for field in fields(config) if prefix + field.name in merged]
        options |= {prefix + name: getattr(made, name) for name in given}
    return options


def dotted(argv: Sequence[str], prefix: str) -> tuple[dict[str, Any], list[str]]:
    """Takes `--env.OPTION VALUE`, say, out of the words; without a value it is true."""
    options: dict[str, Any] = {}
    words, rest = list(argv), []
    while words:
        word = words.pop(0)
        if not word.startswith(prefix):
            rest.append(word)
            continue
        name, equals, value = word.removeprefix(prefix).partition("=")
        if not equals:
            value = words.pop(0) if words and not words[0].startswith("--") else "true"
        options[name.replace("-", "_")] = _literal(value)
    return options, rest


def _parts(config: type, chosen: dict[str, Any]) -> dict[str, type]:
    """The config classes of the parts that an agent's options name, by prefix."""
    return {
        f"{name}.": registry.load(door, name).Config
        for option, door in _doors(config).items()
        for name in _named(chosen[option], door)
    }


def _doors(config: type) -> dict[str, str]:
    """The fields of an agent's config that take names of a door: field to door."""
    names = {field.name for field in fields(config)}
    found = {door.option.removeprefix("--"): door.name for door in registry.DOORS.values()}
    return {option: door for option, door in found.items() if option in names}


def _named(names: str, door: str) -> list[str]:
    if door == "encoder":  # agents have encoders of their own beside those of the door, and check them themselves
        return [name for name in names.split("+") if name in registry.members(door)]
    return registry.parse_names(names, door)


def _literal(word: str) -> Any:
    """A word as a boolean, a number, none or text, whichever it looks like."""
    constants = {"true": True, "false": False, "none": None}
    if word.lower() in constants:
        return constants[word.lower()]
    try:
        value = float(word)
    except ValueError:
        return word
    return int(value) if value.is_integer() and "." not in word else value
