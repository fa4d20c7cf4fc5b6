"""Per task: a ring of the latest records of each task, for agents that learn many tasks and tell them apart."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from envs.errors import UsageError, nearest
from replay import ring, sizes, sum_tree
from replay.buffer import Buffer
from replay.options import build, require

# ------------------------------------------------------------------------------------------------------- CONFIG


@dataclass(frozen=True)
class Config:
    """Options of the buffer with a ring for each task."""

    capacity: int = 10_000
    """Records that are kept of each task."""
    tasks: int = 1
    """How many tasks there are."""
    envs: int = 1
    """Environments that the steps come from."""
    task: str = "task_id"
    """Extra of a step that has its task's number."""

    def __post_init__(self):
        for name in ("capacity", "tasks", "envs"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")


# --------------------------------------------------------------------------------------------------------- STATE


class PerTask(NamedTuple):
    """What the buffer holds.

    Attributes:
      items: PyTree of `[tasks, capacity, ...]`.
      place: int32 `[tasks]`, the slot of each task's next record.
      size: int32 `[tasks]`, the slots in use.
      run: int32 `[tasks, capacity]`, how many of the records right before it are of the same episode.
      latest: int32 `[tasks]`, the number of the episode of each task's latest record, -1 where there is none.
      episode: int32 `[envs]`, episodes that have ended in each environment.
    """

    items: Any
    place: jax.Array
    size: jax.Array
    run: jax.Array
    latest: jax.Array
    episode: jax.Array


def draw(key: jax.Array, state: PerTask, tasks: jax.Array, n: int) -> Any:
    """`n` records of each of `tasks` int32 `[M]`, with replacement: `[M, n, ...]`; zeros where there are none."""
    bits = jax.random.bits(key, (len(tasks), n))
    slots = (bits % jnp.maximum(state.size[tasks], 1)[:, None].astype(jnp.uint32)).astype(jnp.int32)
    return jax.tree.map(lambda leaf: leaf[tasks[:, None], slots], state.items)


def windows(key: jax.Array, state: PerTask, tasks: jax.Array, length: int) -> tuple[Any, jax.Array]:
    """One stretch of `length` consecutive steps of an episode of each of `tasks` `[M]`, each that is held as likely.

    Returns:
      `[M, length, ...]`, the first step first, and whether the task has such a stretch, bool `[M]`. Where it has none
      the records are any.
    """
    capacity = state.run.shape[1]
    slots = jnp.arange(capacity)
    age = (state.place[tasks][:, None] - 1 - slots) % capacity
    whole = (state.run[tasks] >= length - 1) & (age + length <= state.size[tasks][:, None])
    end = jax.random.categorical(key, jnp.where(whole, 0.0, -jnp.inf)) if capacity > 1 else jnp.zeros(len(tasks), int)
    found = whole.any(1)
    times = (jnp.where(found, end, 0)[:, None] - jnp.arange(length)[::-1]) % capacity
    return jax.tree.map(lambda leaf: leaf[tasks[:, None], times], state.items), found


# ---------------------------------------------------------------------------------------------------------- MAKE


def make(**options: Any) -> Buffer:
    """The latest `capacity` records of each task.

    `draw` and `windows` take records of chosen tasks; `sample` takes them of all, uniformly, `index` being
    `task * capacity + slot`; all weights are 1 and `update` changes nothing.

    Steps are NamedTuples with a `timestep`, whose `last` ends an episode. `add` takes them `[T * envs, ...]`, time
    first, as `single_steps` makes them of an unroll, where each environment's follow those of the last `add`; `keep`
    bool `[T * envs]` leaves whole episodes out. Steps of one environment stay together where several play one task.

    Raises:
      UsageError: for options that are unknown or out of range, an extra that there is not, and a number of steps that
        is no multiple of `envs`.
    """
    config = build(Config, options)
    envs, tasks, capacity = config.envs, config.tasks, config.capacity

    def init(item: Any) -> PerTask:
        if config.task not in item.timestep.extras:
            raise UsageError(f"there is no extra {config.task!r}: {nearest(config.task, item.timestep.extras)}")

        def stored(leaf: Any) -> jax.Array:
            return jnp.zeros((tasks, capacity, *jnp.shape(leaf)), jnp.result_type(leaf))

        each = jnp.zeros(tasks, jnp.int32)
        return PerTask(
            items=jax.tree.map(stored, item),
            place=each,
            size=each,
            run=jnp.zeros((tasks, capacity), jnp.int32),
            latest=each - 1,
            episode=jnp.zeros(envs, jnp.int32),
        )

    def add(state: PerTask, items: Any, keep: jax.Array | None = None) -> PerTask:
        count = ring.count(items)
        if count % envs:
            raise UsageError(f"per_task got {count} steps at once, which are not the same number of {envs} envs.")

        def apart(leaf: jax.Array) -> jax.Array:
            """One environment's steps after the other's, `[envs * T, ...]`."""
            return jnp.swapaxes(leaf.reshape(count // envs, envs, *leaf.shape[1:]), 0, 1).reshape(leaf.shape)

        items = jax.tree.map(apart, items)
        last = items.timestep.last.reshape(envs, -1)
        ended = jnp.cumsum(last, 1, dtype=jnp.int32)
        number = (state.episode[:, None] + ended - last) * envs + jnp.arange(envs)[:, None]
        task = items.timestep.extras[config.task].astype(jnp.int32)
        task = task if keep is None else jnp.where(apart(keep), task, tasks)
        # Steps task by task, each task's in their order; those that are not kept come last.
        order = jnp.argsort(task)
        task, number = task[order], number.reshape(-1)[order]
        added = jnp.bincount(task, length=tasks + 1)
        place = jnp.arange(count)
        rank = place - (jnp.cumsum(added) - added)[task]
        previous = jnp.where(rank == 0, state.latest[task], jnp.roll(number, 1))  # `tasks` is read as the last task
        same = number == previous
        start = jax.lax.cummax(jnp.where((rank == 0) | ~same, place, 0))
        before = state.run[task, (state.place[task] - 1) % capacity] + 1
        run = place - start + jnp.where((rank == place - start) & same[start], before, 0)
        # More of a task than it keeps: only the latest are written. `tasks` is no row.
        row = jnp.where(rank >= added[task] - capacity, task, tasks)
        slot = (state.place[task] + rank) % capacity

        def write(old: jax.Array, new: jax.Array) -> jax.Array:
            return old.at[row, slot].set(new[order].astype(old.dtype), mode="drop")

        added = added[:tasks]
        final = jnp.where(rank == added[jnp.minimum(task, tasks - 1)] - 1, task, tasks)
        return PerTask(
            items=jax.tree.map(write, state.items, items),
            place=(state.place + added) % capacity,
            size=jnp.minimum(state.size + added, capacity),
            run=state.run.at[row, slot].set(run, mode="drop"),
            latest=state.latest.at[final].set(number, mode="drop"),
            episode=state.episode + ended[:, -1],
        )

    def sample(key: jax.Array, state: PerTask, n: int, score: jax.Array | None = None):
        chances = (jnp.arange(capacity) < state.size[:, None]).astype(jnp.float32).reshape(-1)
        chances = chances if score is None else chances * score
        index, _ = sum_tree.draw(key, sum_tree.build(chances), tasks * capacity, n)
        task, slot = jnp.divmod(index, capacity)
        return jax.tree.map(lambda leaf: leaf[task, slot], state.items), index, jnp.ones(n)

    def update(state: PerTask, index: jax.Array, values: Any) -> PerTask:
        return state

    return Buffer(sizes.checked(init), add, sample, update, lambda state, n: state.size.sum() >= n)
