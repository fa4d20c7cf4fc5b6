"""Tiny device environments that learn in seconds and whose right answers are known; tests and docs use them.

This file lists and makes them; `games.py` is what they are. Listing needs no JAX.
"""

import inspect
from typing import TYPE_CHECKING, Any

from envs.contract import Env

if TYPE_CHECKING:
    from envs.registry import Listing

SUITE = "toys"
EXTRA = ""

DOCS = {
    "Bandit-v0": "k arms with noisy pay, episodes of one step; the last arm is the best",
    "Chain-v0": "a corridor with the only reward at its far end",
    "Counting-device-v0": "counts its steps and ends exactly when told, to test what a loop makes of ends",
    "Memory-v0": "a cue shown once must be recalled at the end of a corridor: needs a recurrent policy",
}


def ids() -> "dict[str, Listing]":
    """Every environment of this suite."""
    from envs.registry import Listing

    return {id: Listing(id, SUITE, ("device",), doc) for id, doc in DOCS.items()}


def make(id: str, backend: str = "device", **options: Any) -> Env:
    """One environment on the device; `options` are the keyword arguments of its factory in `games.py`.

    Raises:
      UsageError: at an unknown option, or a value out of range.
    """
    from envs.registry import check_options
    from envs.toys.games import GAMES

    check_options(id, options, inspect.signature(GAMES[id]).parameters)
    return GAMES[id](**options)
