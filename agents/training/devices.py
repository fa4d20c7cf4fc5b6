"""Several devices: which of them, and how the state of a run is laid out over them.

The environments are divided among the devices; XLA divides the program accordingly, so agents and losses know nothing
of it and what is computed is what one device computes, up to the order of sums.
"""

from contextlib import AbstractContextManager, nullcontext

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from envs.contract import PyTree
from envs.errors import UsageError

AXIS = "envs"


def mesh(devices: int, n: int) -> Mesh | None:
    """The first `devices` devices (0: all there are) in a row, to hold `n` environments; None where it is one device.

    Raises:
      UsageError: where there are fewer devices, or the environments do not divide evenly.
    """
    there = jax.devices()
    if devices > len(there):
        raise UsageError(f"devices is {devices}, but JAX sees {len(there)}: take --devices {len(there)}.")
    devices = devices or len(there)
    if n % devices:
        near = max(devices, n - n % devices)
        raise UsageError(f"{n} environments do not divide evenly among {devices} devices: take --envs {near}.")
    return Mesh(np.asarray(there[:devices]), (AXIS,)) if devices > 1 else None


def shardings(mesh: Mesh, of_n: PyTree, of_2n: PyTree) -> PyTree:
    """Where each leaf lies: divided along its axis of environments, whole on every device where it has none.

    Args:
      mesh: the devices.
      of_n: the leaves' shapes (`jax.eval_shape`) with `n` environments.
      of_2n: the same with twice as many; the axis that has doubled is that of the environments.
    """

    def leaf(one: jax.ShapeDtypeStruct, two: jax.ShapeDtypeStruct) -> NamedSharding:
        doubled = [0 < 2 * short == long for short, long in zip(one.shape, two.shape, strict=True)]
        before = doubled.index(True) if True in doubled else None
        return NamedSharding(mesh, PartitionSpec() if before is None else PartitionSpec(*[None] * before, AXIS))

    return jax.tree.map(leaf, of_n, of_2n)


def everywhere(mesh: Mesh) -> NamedSharding:
    """The layout of what every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def among(mesh: Mesh | None) -> AbstractContextManager:
    """Within it `divided` knows the devices that a program is compiled for."""
    return nullcontext() if mesh is None else jax.set_mesh(mesh)


def divided(leaf: jax.Array, axis: int) -> jax.Array:
    """The same array, to be divided among the devices along an axis of records, where several share the work.

    XLA divides what follows from the environments by itself; records that were gathered in another order it would leave
    whole on every device, and each would compute all of what follows.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if AXIS not in mesh.axis_names or leaf.shape[axis] % mesh.shape[AXIS]:
        return leaf
    return jax.lax.with_sharding_constraint(leaf, PartitionSpec(*[None] * axis, AXIS))
