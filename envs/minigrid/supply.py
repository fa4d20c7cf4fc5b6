"""Which levels a task on the device begins its episodes with: a bank's, or some that are generated at the start."""

import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from envs.errors import UsageError, nearest
from envs.minigrid import bank
from envs.minigrid.levels import Level
from envs.minigrid.tasks import Task

GENERATED = 10_000  # levels that are generated where no number is given
SOURCES = ("bank", "generated")
PATIENCE = 5.0  # seconds without a word while levels are drawn


class Supply(NamedTuple):
    """The levels of training and of evaluation, and the options that name exactly these, their hash among them."""

    train: Level
    evaluation: Level
    options: dict[str, Any]


def find(task: Task, source: str, count: int, seed: int, folder: str, hash: str) -> Supply:
    """The levels that the options of `envs.minigrid.make` name.

    Raises:
      UsageError: an unknown source, a task without a generator, no bank, too few levels in it, or another hash than
        `hash`, if that is given.
    """
    if source and source not in SOURCES:
        raise UsageError(f"levels cannot come from {source!r}: {nearest(source, SOURCES)}")
    if count < 0 or seed < 0:
        raise UsageError(f"count and level_seed must be at least 0, but are {count} and {seed}.")
    bank.check(task)
    if not source:
        source = (
            "bank" if bank.part_path(bank.home(task, folder, seed), 0).exists() or not _draws(task) else "generated"
        )
    found = bank.read(task, folder or None, seed, count) if source == "bank" else generate(task, seed, count)
    if hash and hash != found.hash:
        raise UsageError(
            f"these {found.count} levels of {task.id} are not the ones asked for: their hash is {found.hash[:12]}, "
            f"not {hash[:12]}."
        )
    options = {"levels": source, "count": found.count, "level_seed": seed, "banks": folder, "levels_hash": found.hash}
    return Supply(bank.split(found, "train"), bank.split(found, "evaluation"), options)


def generate(task: Task, seed: int, count: int = 0) -> bank.Bank:
    """A bank of levels drawn by the task's generator in JAX; it stays in memory.

    Raises:
      UsageError: the task has no generator.
    """
    import jax

    from envs.minigrid import generators

    levels = generators.sample(task, jax.random.key(seed), count or GENERATED, watch=_telling(task))
    return bank.assemble(task, seed, "generated", None, levels, 0)


def _draws(task: Task) -> bool:
    from envs.minigrid import generators

    return generators.find(task) is not None


def _telling(task: Task) -> Callable[[int, int], None]:
    """Says on stderr how far the levels are, for those tasks whose levels take their time."""
    latest = time.monotonic()

    def watch(done: int, total: int) -> None:
        nonlocal latest
        if time.monotonic() - latest > PATIENCE:
            latest = time.monotonic()
            print(f"{task.id}: {done:,} of {total:,} levels are drawn", file=sys.stderr, flush=True)

    return watch
