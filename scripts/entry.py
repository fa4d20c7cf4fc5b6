"""How a script of the source tree ends: 0, 2 after a mistake of the user's, 130 after Ctrl-C."""

import sys
from collections.abc import Callable, Sequence

from envs.errors import UsageError


def ended(run: Callable[[Sequence[str]], None], argv: Sequence[str], stopped: str = "stopped.") -> int:
    """Runs a command and returns its exit code; a mistake is one sentence on stderr, and so is `stopped`."""
    try:
        run(argv)
    except UsageError as error:
        print(f"auxin: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"auxin: {stopped}", file=sys.stderr)
        return 130
    return 0
