"""Acrobot-v1: two links swing their tip above a line, as Gymnasium 1.2 steps them (Sutton, 1996)."""

import jax
import jax.numpy as jnp
import numpy as np

from envs.contract import Array, Discrete, Env
from envs.control import drawing
from envs.control.episode import Outcome, environment, given, runge_kutta, wrapped

GRAVITY, MASS, LENGTH, CENTRE, INERTIA = 9.8, 1.0, 1.0, 0.5, 1.0  # m/s^2; kg, m, m and kg m^2 of either link
SPEEDS = (4 * np.pi, 9 * np.pi)  # rad/s
DT = 0.2  # s


def make(max_steps: int = 0) -> Env:
    """The acrobot; a task is the body `[angle 1, angle 2, velocity 1, velocity 2]`, in rad and rad/s.

    Angle 1 is from hanging, angle 2 that of the second link from the first. Actions 0, 1 and 2 apply -1, 0 and 1 N m
    between the links for a Runge-Kutta step of 0.2 s of `derivative`, after which velocities are clipped to 4 pi and 9
    pi. The observation is both angles' cosine and sine, in turn, and the velocities. A step costs 1, unless it lifts
    the tip above the line, `-cos(th1) - cos(th1 + th2) > 1`, which terminates. Starts with all four within -0.1 and
    0.1, uniformly; 500 steps.
    """
    high = float(np.float32(SPEEDS[1]))
    return environment(
        id="Acrobot-v1",
        obs=Array((6,), "float32", -high, high),
        action=Discrete(3),
        tasks=Array((4,), "float32"),
        max_steps=max_steps or 500,
        start=lambda key, task: given(task, jax.random.uniform(key, (4,), minval=-0.1, maxval=0.1)),
        advance=advance,
        see=see,
        picture=picture,
    )


def derivative(body: jax.Array, torque: jax.Array) -> jax.Array:
    """Velocities and accelerations: Sutton and Barto, "Reinforcement Learning: An Introduction", 2018, section 11.3."""
    th1, th2, w1, w2 = body
    mgc = MASS * GRAVITY * CENTRE
    coupling = MASS * LENGTH * CENTRE
    own = MASS * CENTRE**2 + INERTIA
    d1 = own + own + MASS * LENGTH**2 + 2 * coupling * jnp.cos(th2)
    d2 = own + coupling * jnp.cos(th2)
    phi2 = mgc * jnp.sin(th1 + th2)
    swing = coupling * jnp.sin(th2)
    phi1 = -swing * w2 * (w2 + 2 * w1) + (mgc + MASS * GRAVITY * LENGTH) * jnp.sin(th1) + phi2
    a2 = (torque + d2 / d1 * phi1 - swing * w1**2 - phi2) / (own - d2**2 / d1)
    return jnp.stack([w1, w2, -(d2 * a2 + phi1) / d1, a2])


def advance(key: jax.Array, body: jax.Array, action: jax.Array) -> Outcome:
    """One step of 0.2 s."""
    body = runge_kutta(lambda body: derivative(body, action - 1.0), body, DT)
    limits = jnp.array(SPEEDS, jnp.float32)
    body = jnp.concatenate([wrapped(body[:2]), jnp.clip(body[2:], -limits, limits)])
    terminated = -jnp.cos(body[0]) - jnp.cos(body[0] + body[1]) > 1
    return Outcome(body, jnp.where(terminated, 0.0, -1.0), terminated)


def see(body: jax.Array) -> jax.Array:
    """Cosine and sine of both angles, and the velocities."""
    cosine, sine = jnp.cos(body[:2]), jnp.sin(body[:2])
    return jnp.stack([cosine[0], sine[0], cosine[1], sine[1], body[2], body[3]])


def picture(body: np.ndarray) -> np.ndarray:
    """Both links, and the line that the tip must pass."""
    canvas, angles = drawing.canvas(4.4, 4.4), np.cumsum(body[:2])
    elbow = (float(np.sin(angles[0])), -float(np.cos(angles[0])))
    tip = (elbow[0] + float(np.sin(angles[1])), elbow[1] - float(np.cos(angles[1])))
    canvas.bar((-2.2, 1), (2.2, 1), 0.02, drawing.GREY)
    canvas.bar((0, 0), elbow, 0.1, drawing.BLUE)
    canvas.bar(elbow, tip, 0.1, drawing.RED)
    return canvas.frame
