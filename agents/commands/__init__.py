"""The command line: `auxin COMMAND ...`, and the same through `python scripts/COMMAND.py ...`.

A mistake of the user's is one sentence on stderr and exit code 2, wherever in the run it is found. Nothing heavy is
imported before a command needs it.
"""

import importlib
import os
import sys
from collections.abc import Sequence

from envs.errors import UsageError, nearest

# The command, its module, and its line of help.
COMMANDS = {
    "train": ("train", "train an agent in an environment"),
    "evaluate": ("evaluate", "play seeded episodes with a trained agent, and film it"),
    "collect": ("collect", "make datasets to learn from offline with an agent's training"),
    "search": ("search", "search for the schedule of an agent's knobs over many runs"),
    "list": ("listing", "say which agents, environments and auxiliaries there are"),
    "plot": ("plot", "draw the metrics of several runs into one figure"),
    "map": ("map", "draw where runs go on a MiniGrid level, what their bonus pays there, and the rooms they reach"),
    "adapt": ("adaptation", "draw how agents adapt to tasks that they never saw, and what they believe of them"),
    "calibration": ("calibration", "compare what a run's world model predicts with what happens"),
    "verify": ("verify", "prove where a trained policy decides what is forbidden, and where it does not"),
    "export": ("export", "write a trained policy as one self-contained file"),
    "bank": ("bank", "make the levels of a MiniGrid task that is compiled with the agent"),
    "demo": ("demo", "train BeBold and the same agent without bonus, compare, draw and film them"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code: 0, 2 after a mistake of the user's, 130 after Ctrl-C."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(words)
    except UsageError as error:
        return _end(str(error), 2)
    except KeyboardInterrupt as interrupt:
        return _end(str(interrupt) or "stopped.", 130)
    except BrokenPipeError:  # the reader has seen enough, as in `auxin list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains again at exit
        return 1


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(_help())
        return 0
    name, *rest = words
    if name == "benchmark":
        raise UsageError("benchmark needs the source tree: run python scripts/benchmark.py there.")
    if name not in COMMANDS:
        raise UsageError(f"there is no command {name!r}: {nearest(name, COMMANDS)}")
    importlib.import_module(f"{__name__}.{COMMANDS[name][0]}").run(rest)
    return 0


def _help() -> str:
    lines = [f"  {name:<11} {doc}" for name, (_, doc) in COMMANDS.items()]
    return "\n".join(["usage: auxin COMMAND ...", "", *lines, "", "auxin COMMAND --help tells the rest."])


def _end(sentence: str, code: int) -> int:
    print(f"auxin: {' '.join(sentence.split())}", file=sys.stderr)
    return code
