"""Generators of levels in JAX, for the tasks that have one: the same distribution as Farama's, without Farama.

A generator is `draw(key) -> (level, ok)`: one attempt at one level, pure and of static shapes. Where `ok` is false the
attempt has to be thrown away, whatever the level holds.
"""

from collections.abc import Callable
from functools import cache
from itertools import count

import jax
import numpy as np

from envs.errors import UsageError
from envs.minigrid.generators import keycorridor, multiroom
from envs.minigrid.levels import Level
from envs.minigrid.tasks import Task

Watch = Callable[[int, int], None]
Draw = Callable[[jax.Array], tuple[Level, jax.Array]]
FAMILIES = {"MiniGrid-MultiRoom-": multiroom.generator, "MiniGrid-KeyCorridor": keycorridor.generator}


@cache
def find(task: Task) -> Draw | None:
    """The generator of a task, or None."""
    return next((make(task) for family, make in FAMILIES.items() if task.id.startswith(family)), None)


def sample(task: Task, key: jax.Array, n: int, batch: int = 1024, watch: Watch = lambda done, total: None) -> Level:
    """The first `n` levels of a task that come of `key`, NumPy arrays with an axis `[n]` in front; see `collect`.

    `watch(done, n)` is called as levels are found, which is a few a second where few attempts succeed.

    Raises:
      UsageError: the task has no generator, or `n` or `batch` is below 1.
    """
    draw = find(task)
    if draw is None:
        raise UsageError(f"{task.id} has no generator in JAX: choose a MultiRoom or a KeyCorridor.")
    if min(n, batch) < 1:
        raise UsageError(
            f"The numbers of levels and of attempts at a time must be at least 1, but are {n} and {batch}."
        )
    return collect(draw, key, n, batch, watch)


def collect(draw: Draw, key: jax.Array, n: int, batch: int = 1024, watch: Watch = lambda done, total: None) -> Level:
    """The first `n` good levels of a generator, `batch` attempts at a time.

    Attempt number i draws from `fold_in(key, i)`, and good ones are kept in order: the levels depend on the key alone,
    whatever the batch, and a smaller number of levels is the beginning of a larger one.
    """
    succeeds, level = _compiled(draw)
    good = np.zeros(0, np.uint32)
    for first in count(0, batch):
        numbers = np.arange(first, first + batch, dtype=np.uint32)
        good = np.concatenate([good, numbers[np.asarray(succeeds(key, numbers))]])
        watch(min(len(good), n), n)
        if len(good) >= n:
            break
    whole = np.resize(good[:n], (-(-n // batch), batch))  # the last batch is filled up with levels drawn already
    parts = [jax.tree.map(np.asarray, level(key, numbers)) for numbers in whole]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:n], *parts)


@cache
def _compiled(draw: Draw) -> tuple[Callable, Callable]:
    """Whether attempts succeed, and their levels: where most fail, only the others' grids are worth filling."""

    def succeeds(key: jax.Array, number: jax.Array) -> jax.Array:
        return draw(jax.random.fold_in(key, number))[1]

    def level(key: jax.Array, number: jax.Array) -> Level:
        return draw(jax.random.fold_in(key, number))[0]

    return jax.jit(jax.vmap(succeeds, in_axes=(None, 0))), jax.jit(jax.vmap(level, in_axes=(None, 0)))
