"""First visits within an episode: what several bonuses remember of each environment."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from envs.contract import EnvSpec, PyTree, TimeStep
from envs.errors import UsageError


class Visited(NamedTuple):
    """The states of one episode so far: 64-bit keys as pairs of uint32 `[max_steps + 1, 2]`, `used` of them in use."""

    keys: jax.Array
    used: jax.Array


def memory(spec: EnvSpec) -> Visited:
    """An empty set for one environment.

    Raises:
      UsageError: where the environment has no time limit, so that the set has no size.
    """
    if not spec.max_steps:
        raise UsageError(f"an episodic bonus needs a time limit, and {spec.id} has none: give it max_steps.")
    return Visited(jnp.zeros((spec.max_steps + 1, 2), jnp.uint32), jnp.zeros((), jnp.int32))


def visit(visited: Visited, key: jax.Array) -> tuple[Visited, jax.Array]:
    """Adds the state with `key` uint32 `[2]`; True at its first visit in the episode."""
    places = jnp.arange(visited.keys.shape[0])
    known = ((visited.keys == key) & (places < visited.used)[:, None]).all(-1).any()
    # Only new states take a place, so the table cannot overflow within the time limit.
    keys = visited.keys.at[visited.used].set(jnp.where(known, visited.keys[visited.used], key))
    return Visited(keys, visited.used + ~known), ~known


def key_of(timestep: TimeStep, kind: str) -> jax.Array:
    """The key of the state that a step led to: the environment's own, or a hash of the observation."""
    return timestep.extras["next_grid_key"] if kind == "full_grid" else hash_tree(timestep.next_obs)


def hash_tree(tree: PyTree) -> jax.Array:
    """A 64-bit hash of every bit of one observation, as uint32 `[2]` (two seeds of MurmurHash3's finaliser)."""
    words = jnp.concatenate([_words(leaf) for leaf in jax.tree.leaves(tree)])
    seeds = (jnp.uint32(1), jnp.uint32(0x5BD1E995))
    places = jnp.arange(words.shape[0], dtype=jnp.uint32)

    def mix(x):
        x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
        x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
        return x ^ (x >> 16)

    # Mixing each word with its place makes the sum depend on the order.
    halves = [
        mix(mix(words + seed) ^ mix(places * jnp.uint32(0x9E3779B9) + seed)).sum(dtype=jnp.uint32) for seed in seeds
    ]
    return jnp.stack([mix(half) for half in halves])


def _words(leaf: jax.Array) -> jax.Array:
    leaf = jnp.asarray(leaf).reshape(-1)
    if leaf.dtype == jnp.bool_ or leaf.dtype.itemsize < 4:
        return leaf.astype(jnp.uint32)
    return jax.lax.bitcast_convert_type(leaf, jnp.uint32).reshape(-1)
