"""Discs and boxes in the plane: how far a ray gets, and how near a point is. Exact, in metres and radians.

Obstacles are float32 `[n, 6]`, each a row of place `x, y`, half length, half width, angle, and whether it is round. A
box turns by its angle against the clock; a round one is a disc with the half length as its radius.
"""

import jax
import jax.numpy as jnp

TINY = 1e-9  # keeps a ray along a side from 0 / 0


def disc(x: float, y: float, radius: float) -> tuple[float, ...]:
    """A row of obstacles."""
    return x, y, radius, radius, 0.0, 1.0


def box(x: float, y: float, length: float, width: float, angle: float = 0.0) -> tuple[float, ...]:
    """A row of obstacles: a rectangle of these half sides, the first along its angle."""
    return x, y, length, width, angle, 0.0


def ranges(origin: jax.Array, angles: jax.Array, obstacles: jax.Array, half: float, reach: float) -> jax.Array:
    """How far rays get before they meet an obstacle or a wall, in m; 0 for all that begin in an obstacle.

    Args:
      origin: where they begin, `[2]`.
      angles: where they point to, `[k]`.
      obstacles: `[n, 6]`.
      half: half a side of the arena, the square around 0.
      reach: the longest answer.

    Returns:
      `[k]`, in 0 to `reach`.
    """
    ways = jnp.stack([jnp.cos(angles), jnp.sin(angles)], -1)
    centre, sides, angle, round_ = _parts(obstacles)
    away = centre - origin  # [n, 2]
    # Discs: from the foot of the centre on the ray, half a chord back.
    along = ways @ away.T  # [k, n]
    aside = ways[:, :1] * away[:, 1] - ways[:, 1:] * away[:, 0]
    inside = (away**2).sum(-1) < sides[:, 0] ** 2
    chord = sides[:, 0] ** 2 - aside**2
    entry = along - jnp.sqrt(jnp.maximum(chord, 0.0))
    to_disc = jnp.where(inside, 0.0, jnp.where((chord >= 0) & (entry >= 0), entry, reach))
    # Boxes: the ray is inside where it is between both pairs of sides.
    first, last = _between(_turned(-away, angle), _turned(ways[:, None], angle), sides)
    to_box = jnp.where(last >= jnp.maximum(first, 0.0), jnp.maximum(first, 0.0), reach)
    _, to_wall = _between(origin, ways, jnp.float32(half))
    nearest = jnp.where(round_, to_disc, to_box).min(-1, initial=reach)
    return jnp.clip(jnp.minimum(nearest, to_wall), 0.0, reach)


def room(point: jax.Array, obstacles: jax.Array, half: float) -> jax.Array:
    """The distance from a point `[2]` to what is nearest of obstacles and walls, in m `[]`; negative inside of one."""
    centre, sides, angle, round_ = _parts(obstacles)
    to_disc = jnp.linalg.norm(point - centre, axis=-1) - sides[:, 0]
    beyond = jnp.abs(_turned(point - centre, angle)) - sides
    to_box = jnp.linalg.norm(jnp.maximum(beyond, 0.0), axis=-1) + jnp.minimum(beyond.max(-1), 0.0)
    to_wall = half - jnp.abs(point).max()
    return jnp.minimum(jnp.where(round_, to_disc, to_box).min(initial=jnp.inf), to_wall)


def _parts(obstacles: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    return obstacles[:, :2], obstacles[:, 2:4], obstacles[:, 4], obstacles[:, 5] > 0.5


def _turned(vectors: jax.Array, angle: jax.Array) -> jax.Array:
    """Vectors `[..., n, 2]` as boxes at these angles `[n]` see them."""
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    x, y = vectors[..., 0], vectors[..., 1]
    return jnp.stack([cos * x + sin * y, cos * y - sin * x], -1)


def _between(origin: jax.Array, ways: jax.Array, sides: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Where rays enter and leave the box of these half sides around 0; they miss it where the first is the larger."""
    ways = jnp.where(jnp.abs(ways) < TINY, TINY, ways)
    one, other = (-sides - origin) / ways, (sides - origin) / ways
    return jnp.minimum(one, other).max(-1), jnp.maximum(one, other).min(-1)
