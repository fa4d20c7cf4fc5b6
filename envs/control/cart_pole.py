"""CartPole-v1: a cart balances a pole, as Gymnasium 1.2 steps it; and the motion of any cart with a pole."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.contract import Array, Discrete, Env
from envs.control import drawing
from envs.control.episode import Outcome, environment, given

GRAVITY, FORCE, DT = 9.8, 10.0, 0.02  # m/s^2, N, s
CART, POLE, HALF = 1.0, 0.1, 0.5  # kg, kg, m: masses, and half of the pole's length
TRACK, TILT = 2.4, 12 * 2 * np.pi / 360  # m, rad: beyond them an episode ends


class Physics(NamedTuple):
    """What a cart with a pole is like: half of the pole's length in m, and the masses of pole and cart in kg."""

    half: jax.Array | float = HALF
    pole: jax.Array | float = POLE
    cart: jax.Array | float = CART


STANDARD = Physics()


def make(max_steps: int = 0) -> Env:
    """The cart-pole of Barto, Sutton and Anderson, 1983; a task is the body `[x, x velocity, angle, angular velocity]`.

    In m, m/s, rad from upright and rad/s; the body is also the observation. Actions: 0 pushes left, 1 right, with 10 N
    for an explicit Euler step of 0.02 s of `accelerations`. Every step pays 1; terminates where `|x| > 2.4` m or
    `|angle| > 12` degrees. Starts with all four within -0.05 and 0.05, uniformly; 500 steps.
    """
    return environment(
        id="CartPole-v1",
        obs=Array((4,), "float32"),
        action=Discrete(2),
        tasks=Array((4,), "float32"),
        max_steps=max_steps or 500,
        start=lambda key, task: given(task, jax.random.uniform(key, (4,), minval=-0.05, maxval=0.05)),
        advance=advance,
        see=lambda body: body,
        picture=lambda body: picture(body, TRACK),
    )


def accelerations(
    angle: jax.Array, velocity: jax.Array, force: jax.Array, gravity: float, physics: Physics = STANDARD
) -> tuple[jax.Array, jax.Array]:
    """Of the cart, in m/s^2, and of the pole, in rad/s^2, without friction.

    Florian, "Correct Equations for the Dynamics of the Cart-Pole System", 2007. With cart `M`, a uniform pole `m` of
    length `2 l`, `th` from upright and `w` its velocity:

    `a = (F + m l w^2 sin(th)) / (M + m)`;
    `w' = (g sin(th) - a cos(th)) / (l (4/3 - m cos(th)^2 / (M + m)))`, `v' = a - m l w' cos(th) / (M + m)`.

    Args:
      angle: `[]`, in rad from upright.
      velocity: `[]`, of the angle, in rad/s.
      force: `[]`, on the cart, in N.
      gravity: in m/s^2.
      physics: `l`, `m` and `M`.
    """
    half, pole, cart = physics
    sine, cosine, total = jnp.sin(angle), jnp.cos(angle), cart + pole
    push = (force + pole * half * velocity**2 * sine) / total
    turn = (gravity * sine - cosine * push) / (half * (4 / 3 - pole * cosine**2 / total))
    return push - pole * half * turn * cosine / total, turn


def advance(key: jax.Array, body: jax.Array, action: jax.Array) -> Outcome:
    """One step of 0.02 s."""
    x, v, angle, w = body
    push, turn = accelerations(angle, w, jnp.where(action == 1, FORCE, -FORCE), GRAVITY)
    body = jnp.stack([x + DT * v, v + DT * push, angle + DT * w, w + DT * turn])
    terminated = (jnp.abs(body[0]) > TRACK) | (jnp.abs(body[2]) > TILT)
    return Outcome(body, jnp.float32(1), terminated)


def picture(body: np.ndarray, track: float, half: float = HALF) -> np.ndarray:
    """The cart on its track, which reaches so far in m, and the pole, of which half is so long in m."""
    canvas, x, angle = drawing.canvas(2 * track + 1, 3.0), float(body[0]), float(body[2])
    canvas.bar((-track, 0), (track, 0), 0.02, drawing.GREY)
    canvas.bar((x - 0.15, 0), (x + 0.15, 0), 0.1, drawing.BLACK)
    canvas.bar((x, 0), (x + 2 * half * np.sin(angle), 2 * half * np.cos(angle)), 0.04, drawing.RED)
    return canvas.frame
