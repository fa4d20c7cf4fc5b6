"""Steps of a MuJoCo model in JAX, with what the C engine leaves behind after a step."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import mujoco  # type: ignore[import-untyped]
from mujoco import mjx

from envs.mjx import fluid

_PLANE_AND_CAPSULE = mujoco.mjtGeom.mjGEOM_PLANE, mujoco.mjtGeom.mjGEOM_CAPSULE
_AHEAD = (0.5, 0.5, 1.0, 0.0)  # how far the next stage is from the start, in steps
_WEIGHT = (1 / 6, 1 / 3, 1 / 3, 1 / 6)  # of each stage in the step


class World(NamedTuple):
    """A model.

    Attributes:
      host: the model on the host.
      model: the model on the device, in no fluid.
      blank: data with nothing in it.
      frames: substeps per agent step.
      drag: `(data) -> [nbody, 6]`, forces of the fluid, None where there is none.
    """

    host: mujoco.MjModel
    model: mjx.Model
    blank: mjx.Data
    frames: int
    drag: Callable[[mjx.Data], jax.Array] | None


def load(id: str, iterations: int = 0, ls_iterations: int = 0) -> World:
    """Gymnasium's model of a task; 0 keeps the model's own limit of the solver's and the line search's iterations.

    The humanoids ask for projected Gauss-Seidel, which MJX lacks. Newton's method solves the same problem further.
    """
    import gymnasium

    task: Any = gymnasium.make(id, disable_env_checker=True).unwrapped
    host, frames = task.model, task.frame_skip
    if host.opt.solver == mujoco.mjtSolver.mjSOL_PGS:
        host.opt.solver = mujoco.mjtSolver.mjSOL_NEWTON
    host.opt.iterations = iterations or host.opt.iterations
    host.opt.ls_iterations = ls_iterations or host.opt.ls_iterations
    drag = None
    if host.opt.density or host.opt.viscosity:
        edges, root = fluid.boxes(host), host.body_rootid.copy()
        drag = partial(fluid.forces, edges, host.opt.density, host.opt.viscosity, root)
        host.opt.density = host.opt.viscosity = 0.0
    return World(host, mjx.put_model(host), mjx.make_data(host), frames, drag)


def forward(world: World, data: mjx.Data) -> mjx.Data:
    """All that follows from positions, velocities and controls, without a step."""
    model, qpos = world.model, data.qpos
    data = mjx.fwd_position(model, data).replace(qpos=qpos)  # MJX also brings quaternions to length 1 there
    data = mjx.make_constraint(model, _aligned(world.host, data))
    data = mjx.fwd_velocity(model, data)
    if world.drag is not None:
        data = data.replace(xfrc_applied=world.drag(data))
    return mjx.solve(model, mjx.fwd_acceleration(model, mjx.fwd_actuation(model, data)))


def _aligned(host: mujoco.MjModel, data: mjx.Data) -> mjx.Data:
    """The data with friction of a capsule on a plane along and across the capsule, as in the C engine.

    Directions matter, as a pyramid stands for the cone of friction. MJX takes the world's y for steep capsules.
    """
    contact = data.contact
    one, other = contact.geom[:, 0], contact.geom[:, 1]
    plane, capsule = (jnp.asarray(host.geom_type == int(kind)) for kind in _PLANE_AND_CAPSULE)
    normal, axis = contact.frame[:, 0], data.geom_xmat[other][:, :, 2]
    along = axis - normal * (normal * axis).sum(axis=1, keepdims=True)
    length = jnp.linalg.norm(along, axis=1, keepdims=True)
    along = along / jnp.maximum(length, 1e-6)
    frame = jnp.stack([normal, along, jnp.cross(normal, along)], axis=1)
    frame = jnp.where((plane[one] & capsule[other] & (length[:, 0] > 1e-6))[:, None, None], frame, contact.frame)
    return data.replace(contact=contact.replace(frame=frame))


def advance(world: World, data: mjx.Data) -> mjx.Data:
    """One agent step under `data.ctrl`.

    As in the C engine, all but positions and velocities is that of the last point where forces were evaluated: the
    start of the last substep (Euler) or its last stage (Runge-Kutta). Contact forces on bodies, `cfrc_ext`, too.
    """
    euler = world.host.opt.integrator == mujoco.mjtIntegrator.mjINT_EULER
    substep = _euler if euler else _runge_kutta
    data, _ = jax.lax.scan(lambda data, _: (substep(world, data), None), data, length=world.frames)
    posed = mjx.rne_postconstraint(world.model, data)
    return data.replace(cfrc_ext=posed.cfrc_ext)


def _euler(world: World, data: mjx.Data) -> mjx.Data:
    """One substep, semi-implicit in velocity."""
    return mjx.euler(world.model, forward(world, data))


def _runge_kutta(world: World, data: mjx.Data) -> mjx.Data:
    """One substep by the classical method of fourth order.

    MJX's own gives back what belongs to the first stage. This one also holds the program of one stage, not of four.
    """
    model = world.model
    dt, qpos, qvel = model.opt.timestep, data.qpos, data.qvel

    def stage(held: tuple[mjx.Data, jax.Array, jax.Array], pace: Any) -> tuple[Any, None]:
        data, velocity, acceleration = held
        ahead, weight = pace
        data = forward(world, data)
        velocity, acceleration = velocity + weight * data.qvel, acceleration + weight * data.qacc
        there = data.replace(qpos=_moved(model, qpos, data.qvel, ahead * dt), qvel=qvel + ahead * dt * data.qacc)
        return (there, velocity, acceleration), None

    none = jnp.zeros_like(qvel)
    (data, velocity, acceleration), _ = jax.lax.scan(stage, (data, none, none), (jnp.array(_AHEAD), jnp.array(_WEIGHT)))
    return data.replace(qpos=_moved(model, qpos, velocity, dt), qvel=qvel + dt * acceleration)


def _moved(model: mjx.Model, qpos: jax.Array, qvel: jax.Array, dt: jax.Array) -> jax.Array:
    """Positions after `dt` seconds at this velocity; only the first joint may be free, all others have one axis."""
    if model.jnt_type[0] != mujoco.mjtJoint.mjJNT_FREE:
        return qpos + dt * qvel
    turned = _turned(qpos[3:7], dt * qvel[3:6])
    return jnp.concatenate([qpos[:3] + dt * qvel[:3], turned, qpos[7:] + dt * qvel[6:]])


def _turned(orientation: jax.Array, rotation: jax.Array) -> jax.Array:
    """The quaternion `[4]` after a rotation `[3]` about axes of the body, in radians."""
    half = jnp.sqrt((rotation**2).sum() + 1e-20) / 2  # above 0, where the root has a slope
    w, v = jnp.cos(half), rotation * jnp.sin(half) / (2 * half)
    w0, v0 = orientation[0], orientation[1:]
    product = jnp.concatenate([(w0 * w - v0 @ v)[None], w0 * v + w * v0 + jnp.cross(v0, v)])
    return product / jnp.linalg.norm(product)
