"""What generators draw from: random words, all of a level's in one call, since each call takes long to compile."""

from math import prod

import jax
import jax.numpy as jnp
import numpy as np


def words(key: jax.Array, *shapes: tuple[int, ...]) -> list[jax.Array]:
    """Independent random words, a uint32 array of each shape."""
    ends = np.cumsum([prod(shape) for shape in shapes])
    parts = jnp.split(jax.random.bits(key, (int(ends[-1]),)), ends[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


def below(word: jax.Array, limit: jax.Array | int) -> jax.Array:
    """Integers in `[0, limit)` from words, int32; none is more likely than another by more than `2**-32`."""
    return (word % jnp.asarray(limit, jnp.uint32)).astype(jnp.int32)
