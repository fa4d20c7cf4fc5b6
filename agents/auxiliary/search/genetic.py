"""Genetic operators on the weights of a policy: mutation, tournament, crossover, soft updates towards the best."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from envs.contract import PyTree


class Mutation(NamedTuple):
    """How a child differs from its parent.

    Attributes:
      share: chance of each weight to be changed.
      sigma: deviation of the normal number that is added to it.
      relative: whether that is in units of the root mean square of the weights of its array.
    """

    share: float = 0.25
    sigma: float = 0.2
    relative: bool = False


def mutate(key: jax.Array, params: PyTree, mutation: Mutation) -> PyTree:
    """`w + m e`, `m` Bernoulli of `share` and `e` normal of deviation `sigma`, for each weight by itself."""
    leaves, structure = jax.tree.flatten(params)

    def changed(leaf: jax.Array, key: jax.Array) -> jax.Array:
        mask_key, noise_key = jax.random.split(key)
        size = mutation.sigma * (jnp.sqrt(jnp.mean(jnp.square(leaf))) if mutation.relative else 1.0)
        mask = jax.random.bernoulli(mask_key, mutation.share, leaf.shape)
        return leaf + mask * size * jax.random.normal(noise_key, leaf.shape, leaf.dtype)

    keys = jax.random.split(key, len(leaves))
    return jax.tree.unflatten(structure, [changed(leaf, k) for leaf, k in zip(leaves, keys, strict=True)])


def children(key: jax.Array, params: PyTree, mutation: Mutation, count: int) -> PyTree:
    """The parent and `count` mutated copies of it, `[1 + count, ...]`, the parent first."""
    made = jax.vmap(lambda key: mutate(key, params, mutation))(jax.random.split(key, count))
    return jax.tree.map(lambda parent, child: jnp.concatenate([parent[None], child]), params, made)


class Move(NamedTuple):
    """What came of an evaluation of a parent and its children.

    Attributes:
      params: the parent's, moved or as they were.
      improved: bool, whether a child was better.
      best: int32, which was the best, 0 for the parent.
      distance: how far the parent moved, the norm over all weights.
    """

    params: PyTree
    improved: jax.Array
    best: jax.Array
    distance: jax.Array


def soft_update(population: PyTree, fitness: jax.Array, tau: float, min_gain: float = 0.0) -> Move:
    """The parent moved a part of the way to its best child, where that is better; else as it was, bit for bit.

    `w <- tau w_best + (1 - tau) w` (Marchesini, Corsi and Farinelli, "Genetic Soft Updates for Policy Evolution in Deep
    Reinforcement Learning", 2021).

    Args:
      population: `[N, ...]`, the parent first.
      fitness: `[N]`; NaN counts as the worst.
      tau: in 0 to 1.
      min_gain: how much better a child must be.
    """
    fitness = jnp.where(jnp.isnan(fitness), -jnp.inf, fitness)
    best = jnp.argmax(fitness).astype(jnp.int32)  # of equals the first: the parent, if it is among them
    improved = fitness[best] > fitness[0] + min_gain

    def blended(leaf: jax.Array) -> jax.Array:
        return jnp.where(improved, tau * leaf[best] + (1 - tau) * leaf[0], leaf[0])

    moved = jax.tree.map(blended, population)
    gaps = [jnp.sum(jnp.square(a - b[0])) for a, b in zip(*map(jax.tree.leaves, (moved, population)), strict=True)]
    return Move(moved, improved, jnp.where(improved, best, 0), jnp.sqrt(sum(gaps, jnp.zeros(()))))


def tournament(key: jax.Array, fitness: jax.Array, count: int, size: int) -> jax.Array:
    """`count` winners, int32 `[count]`, each the fittest of `size` that are drawn evenly."""
    drawn = jax.random.randint(key, (count, size), 0, len(fitness))
    return drawn[jnp.arange(count), jnp.argmax(fitness[drawn], 1)]


def crossover(key: jax.Array, one: PyTree, other: PyTree) -> PyTree:
    """A child that has each weight of one parent or of the other, as likely as not (uniform crossover)."""
    leaves, structure = jax.tree.flatten(one)
    keys = jax.random.split(key, len(leaves))
    mixed = [
        jnp.where(jax.random.bernoulli(k, 0.5, a.shape), a, b)
        for a, b, k in zip(leaves, jax.tree.leaves(other), keys, strict=True)
    ]
    return jax.tree.unflatten(structure, mixed)


def generation(key: jax.Array, population: PyTree, fitness: jax.Array, mutation: Mutation, elites: int) -> PyTree:
    """The next population `[N, ...]`: the fittest `elites` as they are, then mutated children of tournament winners."""
    count = len(fitness)
    fitness = jnp.where(jnp.isnan(fitness), -jnp.inf, fitness)
    kept = jnp.argsort(-fitness)[:elites]
    first_key, second_key, mix_key, mutate_key = jax.random.split(key, 4)
    parents = [tournament(k, fitness, count - elites, 3) for k in (first_key, second_key)]
    one, other = (jax.tree.map(lambda leaf, at=at: leaf[at], population) for at in parents)
    mixed = jax.vmap(crossover)(jax.random.split(mix_key, count - elites), one, other)
    born = jax.vmap(lambda k, child: mutate(k, child, mutation))(jax.random.split(mutate_key, count - elites), mixed)
    return jax.tree.map(lambda old, new: jnp.concatenate([old[kept], new]), population, born)
