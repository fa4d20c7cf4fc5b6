"""First visits within an episode: what several bonuses remember of each environment."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from envs.contract import EnvSpec, PyTree, TimeStep
from envs.errors import UsageError

WINDOW = 8  # neighbouring slots that are compared at once


class Visited(NamedTuple):
    """The states of one episode so far, in a hash table with open addressing.

    A state's key says in which window of slots it is looked for first; where that window is full of others, the next
    one is (linear probing). A slot is in use where its stamp is that of the present episode, so a new episode leaves
    the table as it is. Stamps last for the first 2^32 - 1 episodes of one environment.

    Attributes:
      slots: the two halves of the state's 64-bit key and the stamp of its episode, uint32 `[windows, WINDOW, 3]`.
      ended: how many episodes ended before, uint32 `[]`. The present one's stamp is one more: 0 is an unused slot.
    """

    slots: jax.Array
    ended: jax.Array


def slots(spec: EnvSpec, asked: int = 0) -> int:
    """How many slots the table of one environment has: a power of 2, at most half of them in use in any episode.

    Raises:
      UsageError: where the environment has no time limit, or where fewer slots than the episodes need are asked for.
    """
    if not spec.max_steps:
        raise UsageError(f"an episodic bonus needs a time limit, and {spec.id} has none: give it max_steps.")
    least = 2 * (spec.max_steps + 1)
    if 0 < asked < least:
        raise UsageError(
            f"visited must be at least {least} slots for the {spec.max_steps} steps of {spec.id}, not {asked}; "
            "0 takes as many as are needed."
        )
    return max(WINDOW, 1 << (max(least, asked) - 1).bit_length())


def memory(spec: EnvSpec, asked: int = 0) -> Visited:
    """An empty set for one environment, of at least `asked` slots, or as many as are needed.

    Raises:
      UsageError: as `slots` does.
    """
    table = jnp.zeros((slots(spec, asked) // WINDOW, WINDOW, 3), jnp.uint32)
    return Visited(table, jnp.zeros((), jnp.uint32))


def visit(visited: Visited, key: jax.Array, last: jax.Array, opening: jax.Array) -> tuple[Visited, jax.Array]:
    """Adds the state that a step led to; True at its first visit in the episode.

    Where the step is the episode's `last`, the set becomes that of the next episode, which has shown the state that
    opens it. Either way at most one slot is written. States beyond the time limit that find no slot count as new.

    Args:
      visited: the states of the episode so far.
      key: the state's 64 bits, uint32 `[2]`.
      last: whether the episode ends here, bool `[]`.
      opening: the key of the state that opens the next episode, uint32 `[2]`; read only where `last`.
    """
    table, stamp = visited.slots, visited.ended + 1
    windows = table.shape[0]
    found = find(visited, key)
    # A table that nobody has written to since the episode began has room in every window's first slot.
    window = jnp.where(last, home(opening, windows), found.window)
    slot = jnp.where(last, 0, found.slot)
    entry = jnp.where(last, jnp.append(opening, stamp + 1), jnp.append(key, stamp))
    # What must not be written goes to a place outside the table: a choice between two tables would copy them.
    window = jnp.where(last | (found.new & ~found.full), window, windows)
    return Visited(table.at[window, slot].set(entry, mode="drop"), visited.ended + last), found.new


class Place(NamedTuple):
    """Where in the table a state lies, or would if it were added.

    Attributes:
      window: the window, uint32 `[]`.
      slot: the slot in it, int32 `[]`.
      new: whether the episode has not seen the state, bool `[]`.
      full: whether a new state finds no slot, bool `[]`.
    """

    window: jax.Array
    slot: jax.Array
    new: jax.Array
    full: jax.Array


def find(visited: Visited, key: jax.Array) -> Place:
    """Looks for a state, key uint32 `[2]`, among those of the episode so far."""
    table, stamp = visited.slots, visited.ended + 1
    windows = table.shape[0]
    start = home(key, windows)

    def used(window):
        return window[:, 2] == stamp

    def matches(window):
        return used(window) & (window[:, :2] == key).all(-1)

    def full_of_others(at):
        turn, window = at
        return used(window).all() & ~matches(window).any() & (turn < windows)

    def onward(at):
        turn = at[0] + 1
        return turn, table[(start + turn) % windows]

    turn, window = jax.lax.while_loop(full_of_others, onward, (jnp.uint32(0), table[start]))
    new = ~matches(window).any()
    slot = jnp.where(new, used(window).argmin(), matches(window).argmax())
    return Place((start + turn) % windows, slot, new, new & used(window).all())


def home(key: jax.Array, windows: int) -> jax.Array:
    """The window where a key is looked for first, uint32 `[]`; keys that differ little are spread all the same."""
    return mix(key[0] ^ mix(key[1])) % jnp.uint32(windows)


def keys(timestep: TimeStep, kind: str) -> tuple[jax.Array, jax.Array]:
    """Keys of the state that a step led to and of the one acted on next: the environment's own, or the observations'.

    They differ only where an episode ended.
    """
    if kind == "full_grid":
        return timestep.extras["next_grid_key"], timestep.extras["grid_key"]
    return hash_tree(timestep.next_obs), hash_tree(timestep.obs)


def hash_tree(tree: PyTree) -> jax.Array:
    """A 64-bit hash of every bit of one observation, as uint32 `[2]` (two seeds of MurmurHash3's finaliser)."""
    words = jnp.concatenate([_words(leaf) for leaf in jax.tree.leaves(tree)])
    seeds = (jnp.uint32(1), jnp.uint32(0x5BD1E995))
    places = jnp.arange(words.shape[0], dtype=jnp.uint32)

    # Mixing each word with its place makes the sum depend on the order.
    halves = [
        mix(mix(words + seed) ^ mix(places * jnp.uint32(0x9E3779B9) + seed)).sum(dtype=jnp.uint32) for seed in seeds
    ]
    return jnp.stack([mix(half) for half in halves])


def mix(x: jax.Array) -> jax.Array:
    """MurmurHash3's finaliser: a bijection of uint32 in which every bit of `x` moves every bit of the result."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)


def _words(leaf: jax.Array) -> jax.Array:
    leaf = jnp.asarray(leaf).reshape(-1)
    if leaf.dtype == jnp.bool_ or leaf.dtype.itemsize < 4:
        return leaf.astype(jnp.uint32)
    return jax.lax.bitcast_convert_type(leaf, jnp.uint32).reshape(-1)
