"""`train AGENT --env ID`: trains an agent; every option comes from a config dataclass.

An explicit option wins over the preset, and the preset over the config's own default. Options of a part that is named
(`--bonus rnd`) are written `--rnd.FIELD`, those of the environment `--env.OPTION`, and those of a wrapper
`--wrap.NAME.OPTION`.
"""

from collections.abc import Sequence
from typing import Any, NoReturn

from agents import presets, registry
from agents.commands.output import emit, number, table
from agents.commands.parser import Parser, configured
from agents.commands.pieces import ENV, Pieces, add_agent, add_env_options, agent_options, dotted, look
from agents.config import fields
from agents.training.config import TrainConfig
from envs.errors import UsageError, nearest

_DOC = "Trains an agent. Ctrl-C saves and stops; the same command with --resume goes on."
_WRAP = "--wrap."


def run(argv: Sequence[str]) -> None:
    """Parses, trains and prints the result."""
    env_options, words = dotted(argv, ENV)
    wrap_options, words = dotted(words, _WRAP)
    if not words or words[0].startswith("-"):
        _without_agent(words)
    agent, *words = words
    pieces = look(agent, words, TrainConfig)
    found = _parser(pieces).parse(words)
    if not found.get("env"):
        raise UsageError("train needs an environment: --env ID, one of those that `list envs` names.")
    config = configured(TrainConfig, found)
    options = agent_options(pieces, found)

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


def _parser(pieces: Pieces) -> Parser:
    parser = Parser(f"train {pieces.agent}", "--env ID [options]", _DOC, _presets(pieces.agent))
    defaults = {field.name: field.default for field in fields(pieces.config)} | pieces.preset
    named = ", ".join(presets.names(pieces.agent))
    parser.add(
        "training",
        TrainConfig,
        shown={name: defaults[name] for name in pieces.shared},
        notes={"preset": f"({named})"} if named else {},
    )
    add_env_options(parser)
    parser.add_argument_group("wrappers").add_argument(
        f"{_WRAP}NAME.OPTION", metavar="VALUE", help="an option of a wrapper that --wrap names, as frame_stack.k"
    )
    add_agent(parser, pieces)
    return parser


def _presets(agent: str) -> str:
    lines = [f"  {name:<12} {doc}" for name, doc in presets.names(agent).items()]
    more = "--bonus NAME --help and the like show the options of what is named."
    return "\n".join([f"presets of {agent}:", *lines, "", more] if lines else [more])


def _show(result: dict[str, Any]) -> None:
    """One line for each seed."""
    rows = []
    for one in result.get("runs", [result]):
        final = one["final"]
        shown = [number(final[name]) if name in final else "" for name in ("episode_return", "success")]
        rows.append([one["run"], str(one["seed"]), number(one["steps"]), *shown, one["stopped"]])
    table("", ["run", "seed", "steps", "return", "success", "stopped by"], rows)
