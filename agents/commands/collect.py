"""`collect --env ID`: makes datasets to learn from offline with the project's own agents, as D4RL does."""

import math
from collections.abc import Sequence
from typing import Any

from agents.commands.output import emit, number, table
from agents.commands.parser import Parser, configured
from agents.commands.pieces import ENV, add_agent, add_env_options, agent_options, dotted, look
from agents.training.kinds import CollectConfig
from envs.errors import UsageError

_DOC = "Makes datasets to learn from offline: one training, its policies early and late, and its replay buffer."
_EPILOG = """What is there is not made again, so the same command goes on after Ctrl-C.
train AGENT --data FOLDER learns from one of the datasets.
collect --agent AGENT --help shows the options of an agent."""


def run(argv: Sequence[str]) -> None:
    """Parses, makes what is missing, and prints what the datasets hold."""
    env_options, words = dotted(argv, ENV)
    first = _parser()
    agent = first.glance(words).get("agent", "")
    if not agent and {"-h", "--help"} & set(words):
        first.parse(words)
    pieces = look(agent or CollectConfig.agent, words, CollectConfig)
    parser = _parser()
    add_agent(parser, pieces)
    found = parser.parse(words)
    if not found.get("env"):
        raise UsageError("collect needs an environment: --env ID, one of those that `list envs` names.")
    config, options = configured(CollectConfig, found), agent_options(pieces, found)

    from agents.training.collect import collect

    result = collect(config, options, env_options)
    if found["json"]:
        emit(result)
    else:
        _show(result)


def _parser() -> Parser:
    parser = Parser("collect", "--env ID [--agent AGENT] [options]", _DOC, _EPILOG)
    parser.add("collection", CollectConfig)
    add_env_options(parser)
    return parser


def _show(result: dict[str, Any]) -> None:
    rows = []
    for kind, data in result["datasets"].items():
        returns = [data[f"return_{name}"] for name in ("mean", "std", "min", "max")]
        shown = ["" if math.isnan(value) else number(value) for value in returns]
        rows.append([kind, number(data["transitions"]), number(data["episodes"]), *shown])
    columns = ["dataset", "transitions", "episodes", "return", "deviation", "least", "most"]
    table(f"{result['agent']} on {result['env']}, in {result['out']}", columns, rows)
