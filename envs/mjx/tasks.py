"""What differs between the tasks: starts, observations, rewards and ends, as functions of MJX's data.

`host` is the model on the host, `data` the data after a step, `v` the velocity along x over it, in metres per second,
and `a` the action. Every number is a default of Gymnasium's version 5.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from mujoco import MjModel as Model  # type: ignore[import-untyped]
from mujoco.mjx import Data  # type: ignore[import-untyped]

Start = Callable[[Array, Array, int], tuple[Array, Array]]
Judgement = tuple[Array, Array | bool]


def nowhere(host: Model, data: Data) -> Array:
    """The place of a task that does not move along x."""
    return jnp.float32(0)


def root(host: Model, data: Data) -> Array:
    """Where the first joint is along x, in metres."""
    return data.qpos[0]


class Task(NamedTuple):
    """One task.

    Attributes:
      start: `(key, qpos0 [nq], nv) -> (qpos [nq], qvel [nv])`.
      see: `(host, data) -> observation`.
      judge: `(host, data, v, a) -> (reward, terminated)`.
      place: `(host, data) -> []`, where the body is along x.
    """

    start: Start
    see: Callable[[Model, Data], Array]
    judge: Callable[[Model, Data, Array, Array], Judgement]
    place: Callable[[Model, Data], Array] = nowhere


def around(scale: float, normal: bool = False) -> Start:
    """Uniform noise around the model's own pose, within `scale`; velocities normal with that deviation if `normal`."""

    def start(key: Array, qpos0: Array, nv: int) -> tuple[Array, Array]:
        key_qpos, key_qvel = jax.random.split(key)
        qpos = qpos0 + jax.random.uniform(key_qpos, qpos0.shape, minval=-scale, maxval=scale)
        if normal:
            return qpos, scale * jax.random.normal(key_qvel, (nv,))
        return qpos, jax.random.uniform(key_qvel, (nv,), minval=-scale, maxval=scale)

    return start


def body(skip: int, bound: float = jnp.inf) -> Callable[[Model, Data], Array]:
    """Positions without the first `skip`, which are the place, and velocities clipped at `bound`."""

    def see(host: Model, data: Data) -> Array:
        return jnp.concatenate([data.qpos[skip:], jnp.clip(data.qvel, -bound, bound)])

    return see


def square(x: Array) -> Array:
    """The sum of squares."""
    return (x**2).sum()


def between(low: float, x: Array, high: float) -> Array:
    """Whether `x` lies strictly between the two."""
    return (low < x) & (x < high)


def apart(host: Model, data: Data, one: str, other: str) -> Array:
    """From one body to the other, `[3]`, in metres."""
    return data.xpos[host.body(one).id] - data.xpos[host.body(other).id]


def cheetah(host: Model, data: Data, v: Array, a: Array) -> Judgement:
    """Speed for little effort; it never ends."""
    return v - 0.1 * square(a), False


def swimmer(host: Model, data: Data, v: Array, a: Array) -> Judgement:
    """Speed for little effort; it never ends."""
    return v - 1e-4 * square(a), False


def hopper(host: Model, data: Data, v: Array, a: Array) -> Judgement:
    """Speed and 1 per step until it falls."""
    state = jnp.concatenate([data.qpos[2:], data.qvel])
    healthy = (data.qpos[1] > 0.7) & between(-0.2, data.qpos[2], 0.2) & between(-100, state, 100).all()
    return v + healthy - 1e-3 * square(a), ~healthy


def walker(host: Model, data: Data, v: Array, a: Array) -> Judgement:
    """Speed and 1 per step until it falls."""
    healthy = between(0.8, data.qpos[1], 2.0) & between(-1.0, data.qpos[2], 1.0)
    return v + healthy - 1e-3 * square(a), ~healthy


def touched(data: Data) -> Array:
    """Ant's contact forces on bodies `[nbody, 6]`, clipped at 1."""
    return jnp.clip(data.cfrc_ext, -1.0, 1.0)


def see_ant(host: Model, data: Data) -> Array:
    """Positions, velocities and contact forces."""
    return jnp.concatenate([data.qpos[2:], data.qvel, touched(data)[1:].ravel()])


def ant(host: Model, data: Data, v: Array, a: Array) -> Judgement:
    """Speed and 1 per step until it falls or flies."""
    healthy = (data.qpos[2] >= 0.2) & (data.qpos[2] <= 1.0)
    return v + healthy - 0.5 * square(a) - 5e-4 * square(touched(data)), ~healthy


def torso(host: Model, data: Data) -> Array:
    """Where the first body was along x when forces were last evaluated, in metres."""
    return data.xpos[1, 0]


def mass(host: Model, data: Data) -> Array:
    """Where the centre of mass was along x when forces were last evaluated, in metres."""
    return (host.body_mass @ data.xipos[:, 0]) / host.body_mass.sum()


def see_humanoid(host: Model, data: Data) -> Array:
    """Positions, velocities, inertias and velocities of bodies about the centre of mass, motor and contact forces."""
    forces = data.qfrc_actuator[6:], data.cfrc_ext[1:].ravel()
    return jnp.concatenate([data.qpos[2:], data.qvel, data.cinert[1:].ravel(), data.cvel[1:].ravel(), *forces])


def humanoid(host: Model, data: Data, v: Array, a: Array) -> Judgement:
    """Speed and 5 per step until it falls."""
    healthy = between(1.0, data.qpos[2], 2.0)
    contact = jnp.minimum(5e-7 * square(data.cfrc_ext), 10.0)
    return 1.25 * v + 5.0 * healthy - 0.1 * square(a) - contact, ~healthy


def standup(host: Model, data: Data, v: Array, a: Array) -> Judgement:
    """Height, as if it had been gained within one substep, and 1 per step."""
    contact = jnp.minimum(5e-7 * square(data.cfrc_ext), 10.0)
    return data.qpos[2] / host.opt.timestep + 1.0 - 0.1 * square(a) - contact, False


def pole(host: Model, data: Data, v: Array, a: Array) -> Judgement:
    """1 per step until the pole leans by more than 0.2 radians."""
    fallen = jnp.abs(data.qpos[1]) > 0.2
    return 1.0 - fallen, fallen


def see_poles(host: Model, data: Data) -> Array:
    """The cart, sines and cosines of both angles, velocities, and the force of the rail's ends on the cart."""
    turned = jnp.sin(data.qpos[1:]), jnp.cos(data.qpos[1:])
    pushed = jnp.clip(data.qfrc_constraint[:1], -10, 10)
    return jnp.concatenate([data.qpos[:1], *turned, jnp.clip(data.qvel, -10, 10), pushed])


def poles(host: Model, data: Data, v: Array, a: Array) -> Judgement:
    """10 per step, less what the tip is away from its place and what the poles turn, until the tip is below 1 m."""
    x, _, y = data.site_xpos[0]
    fallen = y <= 1.0
    away = 0.01 * x**2 + (y - 2.0) ** 2
    return 10.0 * (1.0 - fallen) - away - 1e-3 * data.qvel[1] ** 2 - 5e-3 * data.qvel[2] ** 2, fallen


def start_reacher(key: Array, qpos0: Array, nv: int) -> tuple[Array, Array]:
    """An arm around the model's own pose, and a target anywhere in a disc of 0.2 m."""
    key_arm, key_velocity, key_target = jax.random.split(key, 3)
    arm = qpos0[:2] + jax.random.uniform(key_arm, (2,), minval=-0.1, maxval=0.1)
    radius, turn = jax.random.uniform(key_target, (2,))
    angle = 2 * jnp.pi * turn
    target = 0.2 * jnp.sqrt(radius) * jnp.stack([jnp.cos(angle), jnp.sin(angle)])
    moving = jax.random.uniform(key_velocity, (2,), minval=-0.005, maxval=0.005)
    return jnp.concatenate([arm, target]), jnp.concatenate([moving, jnp.zeros(nv - 2)])


def see_reacher(host: Model, data: Data) -> Array:
    """Cosines and sines of the arm's angles, the target, the arm's velocities, and from the target to the fingertip."""
    angles, away = data.qpos[:2], apart(host, data, "fingertip", "target")
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles), data.qpos[2:], data.qvel[:2], away[:2]])


def reacher(host: Model, data: Data, v: Array, a: Array) -> Judgement:
    """Less the distance to the target and the effort."""
    return -jnp.linalg.norm(apart(host, data, "fingertip", "target")) - square(a), False


def start_pusher(key: Array, qpos0: Array, nv: int) -> tuple[Array, Array]:
    """The model's own arm, and a cylinder on a rectangle of 0.3 m by 0.4 m, at least 0.17 m from the goal."""
    key_cylinder, key_velocity = jax.random.split(key)
    # Of 64 candidates one is far enough, but for one case in 10^27.
    candidates = jax.random.uniform(key_cylinder, (64, 2)) * jnp.array([-0.3, 0.4]) - jnp.array([0.0, 0.2])
    cylinder = candidates[jnp.argmax(jnp.linalg.norm(candidates, axis=1) > 0.17)]
    moving = jax.random.uniform(key_velocity, (nv - 4,), minval=-0.005, maxval=0.005)
    qpos = jnp.concatenate([qpos0[:-4], cylinder, jnp.zeros(2)])
    return qpos, jnp.concatenate([moving, jnp.zeros(4)])


def see_pusher(host: Model, data: Data) -> Array:
    """The arm's angles and velocities, and where its tip, the cylinder and the goal are."""
    places = (data.xpos[host.body(name).id] for name in ("tips_arm", "object", "goal"))
    return jnp.concatenate([data.qpos[:7], data.qvel[:7], *places])


def pusher(host: Model, data: Data, v: Array, a: Array) -> Judgement:
    """Less the cylinder's distances to the tip, by half, and to the goal, and the effort."""
    near, far = apart(host, data, "object", "tips_arm"), apart(host, data, "object", "goal")
    return -0.5 * jnp.linalg.norm(near) - jnp.linalg.norm(far) - 0.1 * square(a), False


TASKS = {
    "Ant-v5": Task(around(0.1, normal=True), see_ant, ant, torso),
    "HalfCheetah-v5": Task(around(0.1, normal=True), body(1), cheetah, root),
    "Hopper-v5": Task(around(5e-3), body(1, 10.0), hopper, root),
    "Humanoid-v5": Task(around(1e-2), see_humanoid, humanoid, mass),
    "HumanoidStandup-v5": Task(around(1e-2), see_humanoid, standup),
    "InvertedDoublePendulum-v5": Task(around(0.1, normal=True), see_poles, poles),
    "InvertedPendulum-v5": Task(around(0.01), body(0), pole),
    "Pusher-v5": Task(start_pusher, see_pusher, pusher),
    "Reacher-v5": Task(start_reacher, see_reacher, reacher),
    "Swimmer-v5": Task(around(0.1), body(2), swimmer, root),
    "Walker2d-v5": Task(around(5e-3), body(1, 10.0), walker, root),
}
