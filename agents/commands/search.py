"""`search METHOD --env ID`: searches with a member of the door `search`, and leaves what it found in a folder."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agents import registry
from agents.commands.output import emit
from agents.commands.parser import Parser, configured
from agents.commands.pieces import ENV, add_env_options, dotted
from agents.config import fields, require
from envs.errors import UsageError, nearest

# What lends a method its trials, and says what came of them: a module with `AGENT`, `study` and `show`.
STUDIES = {"autombpo": "agents.commands.schedules"}
AGENT = "--agent."
_DOC = "Searches. What is there is not done again, so the same command goes on after Ctrl-C."


@dataclass(frozen=True)
class SearchConfig:
    """Options of a search."""

    env: str = ""
    """The environment's id, see `list envs`."""
    backend: str | None = None
    """What runs the environment; none takes the first backend that the environment has."""
    preset: str = ""
    """A named set of options for the agent that is searched for."""
    steps: int = 55_000
    """Environment steps of each run."""
    stages: int = 10
    """Stages; a search that is done goes on with more of them."""
    runs: int = 10
    """Runs of each stage."""
    base: str = ""
    """A file with the returns to compare with, base.json of another search; empty has plain runs made for them."""
    base_runs: int = 5
    """Plain runs that the returns to compare with are a mean of."""
    workers: int = 1
    """Processes that share the runs of a stage, by Ray; 1 makes them in this process."""
    seed: int = 0
    """Seed of everything random."""
    out: str = ""
    """The search's folder; runs/search/METHOD-ENV if empty."""
    quiet: bool = False
    """Show no progress."""

    def __post_init__(self):
        for name in ("steps", "stages", "runs", "base_runs", "workers"):
            require(getattr(self, name) > 0, name, getattr(self, name), "above 0")
        require(0 <= self.seed < 2**31, "seed", self.seed, f"between 0 and {2**31 - 1}")


def run(argv: Sequence[str]) -> None:
    """Parses, searches and prints what was found."""
    env_options, words = dotted(argv, ENV)
    agent_options, words = dotted(words, AGENT)
    agent_options = {name: str(value) for name, value in agent_options.items()}  # the agent knows what each is
    if not words or words[0].startswith("-"):
        Parser("search", "METHOD --env ID [options]", _DOC, _methods()).parse(words)
        raise UsageError(f"search needs a method as its first word: {nearest('', registry.members('search'))}")
    method, *words = words
    chosen = registry.load("search", method).Config
    if method not in STUDIES:
        raise UsageError(f"no command makes trials for the search {method}: {nearest(method, STUDIES)}")
    study = importlib.import_module(STUDIES[method])
    parser = Parser(f"search {method}", "--env ID [options]", _DOC)
    parser.add("search", SearchConfig)
    add_env_options(parser)
    parser.add_argument_group("agent").add_argument(
        f"{AGENT}OPTION", metavar="VALUE", help=f"an option of the agent, see `train {study.AGENT} --help`"
    )
    parser.add(method, chosen)
    found = parser.parse(words)
    if not found.get("env"):
        raise UsageError("search needs an environment: --env ID, one of those that `list envs` names.")
    config, options = configured(SearchConfig, found), configured(chosen, found)
    given = {field.name: getattr(options, field.name) for field in fields(chosen)}
    report: dict[str, Any] = study.study(config, given, agent_options, env_options)
    if found["json"]:
        emit(report)
    else:
        study.show(report)


def _methods() -> str:
    lines = [f"  {member.name:<12} {member.doc}" for member in registry.members("search").values()]
    return "\n".join(["methods:", *lines, "", "search METHOD --help shows the options of a method."])
