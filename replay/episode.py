"""Episode: whole episodes padded to one length, to be drawn by their task, as meta-learners draw contexts."""

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
    """Options of the episode buffer."""

    capacity: int = 1000
    """Whole episodes that are kept of all environments together, rounded up to as many of each."""
    max_steps: int = 1000
    """Steps that are kept of an episode; what comes after them is left out."""
    envs: int = 1
    """Environments that the steps come from."""
    task: str = ""
    """Extra of a step that has its task's number; none if empty."""

    def __post_init__(self):
        require(self.capacity >= 1, "capacity", self.capacity, "at least 1")
        require(self.max_steps >= 1, "max_steps", self.max_steps, "at least 1")
        require(self.envs >= 1, "envs", self.envs, "at least 1")


# --------------------------------------------------------------------------------------------------------- STATE


class Episodes(NamedTuple):
    """What the buffer holds: a ring of slots for each environment, one of which is being filled.

    Attributes:
      items: PyTree of `[envs, slots, max_steps, ...]`.
      length: int32 `[envs, slots]`, the steps in each slot.
      whole: bool `[envs, slots]`, whether it holds an episode that has ended.
      task: int32 `[envs, slots]`, its task, 0 where none is told.
      slot: int32 `[envs]`, the slot being filled.
      step: int32 `[envs]`, the steps of its episode so far.
    """

    items: Any
    length: jax.Array
    whole: jax.Array
    task: jax.Array
    slot: jax.Array
    step: jax.Array


class Padded(NamedTuple):
    """A sample: steps `[n, max_steps, ...]`, zero where `mask`, bool `[n, max_steps]`, is false; `task` int32 `[n]`."""

    steps: Any
    mask: jax.Array
    task: jax.Array


def of_task(state: Episodes, task: jax.Array | int) -> jax.Array:
    """The `score` that draws from the episodes of one task alone, float32 `[envs * slots]`."""
    return (state.task == task).astype(jnp.float32).reshape(-1)


def held(state: Episodes, task: jax.Array | int) -> jax.Array:
    """How many whole episodes there are of a task, int32."""
    return (state.whole & (state.task == task)).sum(dtype=jnp.int32)


# ---------------------------------------------------------------------------------------------------------- MAKE


def make(**options: Any) -> Buffer:
    """The latest whole episodes of each environment, drawn uniformly with replacement, as `Padded`.

    Steps are NamedTuples with a `timestep`, whose `last` ends an episode. `add` takes them `[T * envs, ...]`, time
    first, as `single_steps` makes them of an unroll, where each environment's follow those of the last `add`. An
    episode is drawn once it has ended; the oldest of its environment goes as soon as another begins.

    `sample(key, state, n, of_task(state, task))` draws from one task; where that has no episode, every `mask` is empty.
    `index` is the episode's place among `envs * slots`, int32 `[n]`; all weights are 1 and `update` changes nothing.

    Raises:
      UsageError: for options that are unknown or out of range, an extra that there is not, and a number of steps that
        is no multiple of `envs`.
    """
    config = build(Config, options)
    envs, limit, slots = config.envs, config.max_steps, -(-config.capacity // config.envs) + 1

    def init(item: Any) -> Episodes:
        if config.task and config.task not in item.timestep.extras:
            raise UsageError(f"there is no extra {config.task!r}: {nearest(config.task, item.timestep.extras)}")

        def stored(leaf: Any) -> jax.Array:
            return jnp.zeros((envs, slots, limit, *jnp.shape(leaf)), jnp.result_type(leaf))

        each, zero = jnp.zeros((envs, slots), jnp.int32), jnp.zeros(envs, jnp.int32)
        return Episodes(jax.tree.map(stored, item), each, each.astype(bool), each, zero, zero)

    def add(state: Episodes, items: Any) -> Episodes:
        count = ring.count(items)
        if count % envs:
            raise UsageError(f"episode got {count} steps at once, which are not the same number of {envs} envs.")
        fresh = jax.tree.map(lambda leaf: leaf.reshape(count // envs, envs, *leaf.shape[1:]), items)
        last = fresh.timestep.last
        time, env = jnp.arange(count // envs)[:, None], jnp.arange(envs)
        ended = jnp.cumsum(last, axis=0, dtype=jnp.int32)
        total, before = ended[-1], ended - last
        begun = jax.lax.cummax(jnp.where(last, time + 1, -state.step), axis=0)  # when the episode after a step begins
        begun = jnp.concatenate([-state.step[None], begun[:-1]])
        step = time - begun
        # More episodes in one call than there are slots: only the latest are written. `slots` is no slot.
        slot = jnp.where(total - before < slots, (state.slot + before) % slots, slots)
        opened = jnp.where(last & (total - ended < slots), (state.slot + ended) % slots, slots)
        closed = jnp.where(last, slot, slots)

        def write(old: jax.Array, new: jax.Array) -> jax.Array:
            return old.at[env, slot, step].set(new.astype(old.dtype), mode="drop")  # a step beyond the limit too

        length = state.length.at[env, opened].set(0, mode="drop")
        whole = state.whole.at[env, opened].set(False, mode="drop")
        task = state.task
        if config.task:
            told = fresh.timestep.extras[config.task].astype(jnp.int32)
            task = task.at[env, closed].set(told, mode="drop")
        return Episodes(
            items=jax.tree.map(write, state.items, fresh),
            length=length.at[env, slot].max(jnp.minimum(step + 1, limit), mode="drop"),
            whole=whole.at[env, closed].set(True, mode="drop"),
            task=task,
            slot=(state.slot + total) % slots,
            step=jnp.where(last[-1], 0, step[-1] + 1),
        )

    def sample(key: jax.Array, state: Episodes, n: int, score: jax.Array | None = None):
        chances = state.whole.astype(jnp.float32).reshape(-1)
        chances = chances if score is None else chances * score
        index, _ = sum_tree.draw(key, sum_tree.build(chances), envs * slots, n)
        env, slot = jnp.divmod(index, slots)
        mask = (jnp.arange(limit) < state.length[env, slot][:, None]) & (chances[index] > 0)[:, None]

        def padded(leaf: jax.Array) -> jax.Array:
            found = leaf[env, slot]
            return jnp.where(mask.reshape(mask.shape + (1,) * (found.ndim - 2)), found, jnp.zeros((), leaf.dtype))

        return Padded(jax.tree.map(padded, state.items), mask, state.task[env, slot]), index, jnp.ones(n)

    def update(state: Episodes, index: jax.Array, values: Any) -> Episodes:
        return state

    return Buffer(sizes.checked(init), add, sample, update, lambda state, n: state.whole.sum() >= n)
