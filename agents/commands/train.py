"""`train AGENT --env ID`: trains an agent; every option comes from a config dataclass.

An explicit option wins over the preset, and the preset over the config's own default. Options of a part that is named
(`--bonus rnd`) are written `--rnd.FIELD`, those of the environment `--env.OPTION`, and those of a wrapper
`--wrap.NAME.OPTION`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

from agents import presets, registry
from agents.commands.output import emit, number, table
from agents.commands.parser import Parser, configured
from agents.config import fields
from agents.training.config import TrainConfig
from envs.errors import UsageError, nearest

_DOC = "Trains an agent. Ctrl-C saves and stops; the same command with --resume goes on."
_ENV, _WRAP = "--env.", "--wrap."


class Pieces(NamedTuple):
    """What one training is made of: the agent's config class, and those of the parts that are named, by prefix."""

    agent: str
    config: type
    parts: dict[str, type]
    preset: dict[str, Any]


def run(argv: Sequence[str]) -> None:
    """Parses, trains and prints the result."""
    env_options, words = _dotted_options(argv, _ENV)
    wrap_options, words = _dotted_options(words, _WRAP)
    if not words or words[0].startswith("-"):
        _without_agent(words)
    agent, *words = words
    pieces = _pieces(agent, words)
    found = _parser(pieces).parse(words)
    if not found.get("env"):
        raise UsageError("train needs an environment: --env ID, one of those that `list envs` names.")
    config = configured(TrainConfig, found)
    options = _options(pieces, found)

    from agents.training.run import train_command

    result = train_command(agent, options, config, env_options, wrap_options)
    if found["json"]:
        emit(result)
    else:
        _show(result)


def _without_agent(words: Sequence[str]) -> NoReturn:
    """Help on what all agents share, or the sentence that one is missing."""
    agents = registry.members("agent")
    lines = [f"  {member.name:<12} {member.doc}" for member in agents.values()]
    epilog = "\n".join(["agents:", *lines, "", "train AGENT --help shows the options of an agent and its presets."])
    parser = Parser("train", "AGENT --env ID [options]", _DOC, epilog)
    parser.add("training", TrainConfig)
    parser.parse(words)
    raise UsageError(f"train needs an agent as its first word: {nearest('', agents)}")


def _pieces(agent: str, words: Sequence[str]) -> Pieces:
    """A first look at the words, for what decides which options there are: environment, preset, and named parts."""
    if agent not in registry.members("agent"):
        raise UsageError(f"there is no agent {agent!r}: {nearest(agent, registry.members('agent'))}")
    config = registry.load("agent", agent).Config
    defaults = {field.name: field.default for field in fields(config)}
    doors = _doors(config)
    parser = Parser(f"train {agent}", "", "")
    parser.add("", TrainConfig)
    parser.add("", config, leave_out=_shared(config))
    given = parser.glance(words)
    preset: dict[str, Any] = {}
    if "preset" in given and "env" in given:
        preset = presets.find(agent, given["preset"], given["env"])
    parts = {}
    for option, door in doors.items():
        names = {**defaults, **preset, **given}[option]
        for name in _named(names, door):
            parts[f"{name}."] = registry.load(door, name).Config
    named = {prefix.removesuffix(".") for prefix in parts}
    return Pieces(agent, config, parts, presets.for_parts(preset, named))


def _doors(config: type) -> dict[str, str]:
    """The fields of an agent's config that take names of a door: field to door."""
    names = {field.name for field in fields(config)}
    found = {door.option.removeprefix("--"): door.name for door in registry.DOORS.values()}
    return {option: door for option, door in found.items() if option in names}


def _named(names: str, door: str) -> list[str]:
    if door == "encoder":  # agents have encoders of their own beside those of the door, and check them themselves
        return [name for name in names.split("+") if name in registry.members(door)]
    return registry.parse_names(names, door)


def _shared(config: type) -> list[str]:
    """Fields that the run's options have too: there is one option, and it is the run's."""
    run = {field.name for field in fields(TrainConfig)}
    return [field.name for field in fields(config) if field.name in run]


def _parser(pieces: Pieces) -> Parser:
    parser = Parser(f"train {pieces.agent}", "--env ID [options]", _DOC, _presets(pieces.agent))
    shared = _shared(pieces.config)
    defaults = {field.name: field.default for field in fields(pieces.config)} | pieces.preset
    named = ", ".join(presets.names(pieces.agent))
    parser.add(
        "training",
        TrainConfig,
        shown={name: defaults[name] for name in shared},
        notes={"preset": f"({named})"} if named else {},
    )
    parser.add_argument_group("environment").add_argument(
        f"{_ENV}OPTION", metavar="VALUE", help="an option of the environment: max_steps, repeat, or one of its suite's"
    )
    parser.add_argument_group("wrappers").add_argument(
        f"{_WRAP}NAME.OPTION", metavar="VALUE", help="an option of a wrapper that --wrap names, as frame_stack.k"
    )
    notes = {
        option: f"({', '.join(registry.members(door)) or 'none yet'})" for option, door in _doors(pieces.config).items()
    }
    parser.add(f"agent {pieces.agent}", pieces.config, shown=pieces.preset, notes=notes, leave_out=shared)
    for prefix, config in pieces.parts.items():
        parser.add(prefix[:-1], config, prefix, shown=pieces.preset)
    return parser


def _presets(agent: str) -> str:
    lines = [f"  {name:<12} {doc}" for name, doc in presets.names(agent).items()]
    more = "--bonus NAME --help and the like show the options of what is named."
    return "\n".join([f"presets of {agent}:", *lines, "", more] if lines else [more])


def _options(pieces: Pieces, found: dict[str, Any]) -> dict[str, Any]:
    """The agent's options and its parts', by full name: the preset's under those that were given, all checked."""
    merged = {**pieces.preset, **{name: value for name, value in found.items() if name not in _shared(pieces.config)}}
    options: dict[str, Any] = {}
    for prefix, config in {"": pieces.config, **pieces.parts}.items():
        made: Any = configured(config, merged, prefix)
        given = [field.name for field in fields(config) if prefix + field.name in merged]
        options |= {prefix + name: getattr(made, name) for name in given}
    return options


def _dotted_options(argv: Sequence[str], prefix: str) -> tuple[dict[str, Any], list[str]]:
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


def _show(result: dict[str, Any]) -> None:
    """One line for each seed."""
    rows = []
    for one in result.get("runs", [result]):
        final = one["final"]
        shown = [number(final[name]) if name in final else "" for name in ("episode_return", "success")]
        rows.append([one["run"], str(one["seed"]), number(one["steps"]), *shown, one["stopped"]])
    table("", ["run", "seed", "steps", "return", "success", "stopped by"], rows)
