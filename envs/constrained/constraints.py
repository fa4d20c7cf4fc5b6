"""The constraints of the Real-World RL suite (Dulac-Arnold et al., 2020), from what EnvPool shows of each domain.

A constraint is `(before, after, k) -> bool [m]`, true where a step violates it: `before` and `after` are the engine's
arrays at both ends of the step, with the actuators' commands as `control` `[m, d]` (zeros before the first step), and
`k`, the safety coefficient, scales its limit.
"""

import math
from collections.abc import Callable

import numpy as np

Arrays = dict[str, np.ndarray]
Constraint = Callable[[Arrays, Arrays, float], np.ndarray]
Read = Callable[[Arrays], np.ndarray]

DT = 0.01  # s, one step of the cart-pole


def reaches(read: Read, limit: float) -> Constraint:
    """Violated where the largest magnitude of what is read of the state, `[m, ...]`, is at least `limit * k`."""
    return lambda before, after, k: np.abs(read(after)).max(axis=1) >= limit * k


def sinks_to(read: Read, limit: Callable[[float], float]) -> Constraint:
    """Violated where what is read of the state, `[m]`, is no more than `limit(k)`."""
    return lambda before, after, k: read(after) <= limit(k)


def action_rate(limit: float) -> Constraint:
    """Violated where a command changes by at least `limit * k`, in units of its actuator."""
    return lambda before, after, k: np.abs(after["control"] - before["control"]).max(axis=1) >= limit * k


def balance_velocity(before: Arrays, after: Arrays, k: float) -> np.ndarray:
    """Violated where the pole is near upright and turns fast."""
    near = after["position"][:, 1] > math.cos(2 * (1 - k) + 0.15)
    return near & (np.abs(after["velocity"][:, 1]) > 0.5 * k)


def slider_accel(before: Arrays, after: Arrays, k: float) -> np.ndarray:
    """Violated where the cart's mean acceleration over the step is at least `130 k` m/s^2."""
    return np.abs(after["velocity"][:, 0] - before["velocity"][:, 0]) / DT >= 130 * k


def toe_forces(state: Arrays) -> np.ndarray:
    """Magnitudes of the quadruped's four toe forces, N, `[m, 4]`; the engine shows the inverse sinh of the vectors."""
    return np.linalg.norm(np.sinh(state["force_torque"][:, :12]).reshape(-1, 4, 3), axis=2)


# The first constraint of each is the one that the paper is taken to have used.
CARTPOLE: dict[str, Constraint] = {
    "balance_velocity": balance_velocity,
    "slider_pos": reaches(lambda state: state["position"][:, :1], 2.0),
    "slider_accel": slider_accel,
    "action_rate": action_rate(1.5),
}
WALKER: dict[str, Constraint] = {
    "joint_velocity": reaches(lambda state: state["velocity"][:, 3:], 65.0),
    "torso_upright": sinks_to(lambda state: state["orientations"][:, 0], lambda k: 1 - k),
    "dangerous_fall": sinks_to(lambda state: state["orientations"][:, 1], lambda k: -0.5 * k),
    "action_rate": action_rate(1.55),
}
QUADRUPED: dict[str, Constraint] = {
    "joint_angle": reaches(lambda state: state["egocentric_state"][:, :16], math.radians(60)),
    "joint_velocity": reaches(lambda state: state["egocentric_state"][:, 16:32], 20.0),
    "upright": sinks_to(lambda state: state["torso_upright"], lambda k: 1 - 0.7 * k),
    "foot_force": reaches(toe_forces, 20_000.0),
    "action_rate": action_rate(1.4),
}
HUMANOID: dict[str, Constraint] = {
    "joint_angle": reaches(lambda state: state["joint_angles"], math.pi),
    # The suite leaves out the first hinge, which is velocity 6.
    "joint_velocity": reaches(lambda state: state["velocity"][:, 7:], 90.0),
    "upright": sinks_to(lambda state: state["torso_vertical"][:, 2], lambda k: 1 - k),
    "action_rate": action_rate(1.85),
}
