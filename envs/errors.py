"""The one kind of error that a user's own input can cause, and how to name the nearest valid choice."""

import difflib
from collections.abc import Iterable


class UsageError(ValueError):
    """A mistake in what the user asked for, told in one sentence. Commands print it and exit with 2."""


def nearest(name: str, choices: Iterable[str], limit: int = 3) -> str:
    """A tail for an error sentence: the closest valid names, or all of them when nothing is close."""
    known = sorted(choices)
    close = difflib.get_close_matches(name, known, n=limit, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(close) + "?"
    return "choose from " + ", ".join(known) + "." if known else "there is nothing to choose from."


def missing_extra(extra: str, package: str) -> UsageError:
    """The sentence for a suite whose package is not installed."""
    return UsageError(f"{package} is not installed: pip install 'auxin[{extra}]' brings it.")
