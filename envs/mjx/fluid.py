"""Forces of a still fluid on the bodies of a model, by MuJoCo's inertia model.

MJX 3.3 computes them with an argument that JAX has since removed from `clip`; so they are external forces here.
"""

import jax
import jax.numpy as jnp
import numpy as np
from mujoco import MjModel, mjx  # type: ignore[import-untyped]


def boxes(host: MjModel) -> np.ndarray:
    """Edges `[nbody, 3]` of a box with each body's mass and inertia, in metres; 0 for bodies without mass."""
    heavy = host.body_mass > 0
    squared = 6 * (host.body_inertia.sum(axis=1, keepdims=True) - 2 * host.body_inertia)
    return np.sqrt(squared / np.where(heavy, host.body_mass, 1.0)[:, None]) * heavy[:, None]


def forces(edges: np.ndarray, density: float, viscosity: float, root: np.ndarray, data: mjx.Data) -> jax.Array:
    """Forces and torques `[nbody, 6]` at the bodies' centres of mass, in N and N m along the world's axes.

    Stokes' drag on a ball as wide as the box is on average, and drag of the fluid that the box's sides push away,
    with the square of the speed across each side.

    Args:
      edges: from `boxes`.
      density: kg/m^3.
      viscosity: Pa s.
      root: for each body, the one its tree begins with, int `[nbody]`.
      data: with positions and velocities of bodies.
    """
    offset = data.xipos - data.subtree_com[root]
    turning, moving = data.cvel[:, :3], data.cvel[:, 3:] + jnp.cross(data.cvel[:, :3], offset)
    # Into each body's own axes.
    turning, moving = (jnp.einsum("bij,bi->bj", data.ximat, v) for v in (turning, moving))
    x, y, z = edges.T
    width = edges.mean(axis=1, keepdims=True)
    sides = np.stack([y * z, x * z, x * y], axis=1)
    arms = np.stack([x * (y**4 + z**4), y * (x**4 + z**4), z * (x**4 + y**4)], axis=1)
    force = -3 * np.pi * viscosity * width * moving - density / 2 * sides * jnp.abs(moving) * moving
    torque = -np.pi * viscosity * width**3 * turning - density / 64 * arms * jnp.abs(turning) * turning
    return jnp.concatenate([jnp.einsum("bij,bj->bi", data.ximat, f) for f in (force, torque)], axis=1)
