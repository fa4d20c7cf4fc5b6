"""A tree of sums on the device, which draws slots in proportion to their weights in logarithmic time.

Schaul et al., "Prioritized Experience Replay", 2016, appendix B.2.1, with sixteen children to a node and not two: five
levels for a million slots, each gone through by all draws at once. Every sum is computed from its children whenever one
of these changes, never incremented, so that rounding errors do not build up.

A tree is one float32 array: the root's children, then theirs, and so on down to the weights of the slots; the children
of a level's node `i` are the nodes `WIDTH i` to `WIDTH (i + 1) - 1` of the next.
"""

import itertools

import jax
import jax.numpy as jnp

from replay.priorities import write

WIDTH = 16


def zeros(slots: int) -> jax.Array:
    """A tree without any weight."""
    return jnp.zeros(_starts(slots)[-1])


def build(weights: jax.Array) -> jax.Array:
    """The tree of given weights, float32 `[slots]`, each at least 0."""
    starts = _starts(weights.shape[0])
    levels: list[jax.Array] = []
    for start, end in reversed(list(itertools.pairwise(starts))):
        level = jnp.pad(weights, (0, end - start - weights.shape[0]))
        weights = level.reshape(-1, WIDTH).sum(-1)
        levels.insert(0, level)
    return jnp.concatenate(levels)


def weights(tree: jax.Array, slots: int) -> jax.Array:
    """The weights of all slots, float32 `[slots]`."""
    start = _starts(slots)[-2]
    return tree[start : start + slots]


def put(tree: jax.Array, slots: int, places: jax.Array, values: jax.Array, *, unique: bool = False) -> jax.Array:
    """The tree with other weights `values` `[n]` in the slots `places` `[n]`, in `O(n log slots)`.

    A place that is `outside` is left out. Of several values for one slot the last counts; `unique` promises that there
    are none.
    """
    starts = _starts(slots)
    leaves = starts[-2] + places
    tree = tree.at[leaves].set(values, mode="drop") if unique else write(tree, leaves, values)
    node = jnp.where(places < slots, places, 0)  # to sum up once more above slot 0 does no harm
    for above, level in reversed(list(itertools.pairwise(starts[:-1]))):
        node = node // WIDTH
        # Nodes that come twice write the same sum twice.
        tree = tree.at[above + node].set(_children(tree, level, node).sum(-1))
    return tree


def outside(slots: int) -> int:
    """A place that is no slot."""
    return -(-slots // WIDTH) * WIDTH


def draw(key: jax.Array, tree: jax.Array, slots: int, n: int) -> tuple[jax.Array, jax.Array]:
    """`n` independent draws with replacement: slot `i` with probability `weight_i / sum of weights`.

    Each level has random numbers of its own: a single one of 23 bits would have eight values for each of a million
    slots, and none for many of the lighter ones. A slot without weight is never drawn unless none has any.

    Returns:
      The slots, int32 `[n]`, and their weights, float32 `[n]`.
    """
    starts = _starts(slots)
    begin, depth = jnp.asarray(starts), len(starts) - 1
    uniform = jax.random.uniform(key, (depth, n))

    # A loop, for XLA would fuse unrolled levels and find each node anew for every child below it.
    def down(level, node):
        first = begin[level] + node * WIDTH
        # Added one after the other, sums never fall, and stand still at children without weight.
        sums = list(itertools.accumulate(tree[first + child] for child in range(WIDTH)))
        return node * WIDTH + sum((uniform[level] * sums[-1] >= below).astype(jnp.int32) for below in sums[:-1])

    node = jnp.minimum(jax.lax.fori_loop(0, depth, down, jnp.zeros(n, jnp.int32)), slots - 1)
    weight = tree[starts[-2] + node]
    # No weight is negative. But whoever uses the slots now waits until the tree has been read, and whoever writes to
    # them next needs no copy of it.
    return jnp.where(weight < 0, 0, node), weight


def _children(tree: jax.Array, level: int, node: jax.Array) -> jax.Array:
    """The weights of the children of nodes `[n]`, which are in the level that begins at `level`: `[n, WIDTH]`."""
    return jax.vmap(lambda first: jax.lax.dynamic_slice_in_dim(tree, first, WIDTH))(level + node * WIDTH)


def _starts(slots: int) -> list[int]:
    """Where each level begins, the root's children first, and where the last one ends; there are two at least.

    A loop over a single level is none to XLA, which then spends minutes on fusing it with what made the tree.
    """
    sizes = [-(-slots // WIDTH) * WIDTH]
    while sizes[0] > WIDTH or len(sizes) < 2:
        sizes.insert(0, -(-sizes[0] // WIDTH // WIDTH) * WIDTH)
    return list(itertools.accumulate(sizes, initial=0))
