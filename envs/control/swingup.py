"""CartPoleSwingup-v0: a cart swings up a hanging pole and holds it, between the ends of a rail, under constraints."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from envs.contract import Array, Box, Env, PyTree
from envs.control.cart_pole import CART, HALF, POLE, STANDARD, Physics, accelerations, picture
from envs.control.episode import Outcome, environment, given, runge_kutta, wrapped
from envs.errors import UsageError, nearest

GRAVITY, FORCE, DT, RAIL = 9.81, 10.0, 0.01, 1.8  # m/s^2, N, s, m
CONSTRAINTS = ("balance_velocity", "slider_pos", "slider_accel")
STANDARDS = {"pole_length": 2 * HALF, "pole_mass": POLE, "cart_mass": CART}  # m, kg, kg
Range = Sequence[float] | str


def make(
    max_steps: int = 0,
    constraint: str = "balance_velocity",
    safety_coeff: float = 0.2,
    pole_length: Range | None = None,
    pole_mass: Range | None = None,
    cart_mass: Range | None = None,
) -> Env:
    """The cart-pole of dm_control's swing-up in masses, lengths, force and reward (Tassa et al., 2018), without MuJoCo.

    A task is the body `[x, x velocity, angle, angular velocity]`, in m, m/s, rad from upright and rad/s. The action,
    clipped to -1 and 1, is a force in units of 10 N, held for one Runge-Kutta step of 0.01 s of
    `cart_pole.accelerations`. The hinge turns without limit, nothing rubs, and the rail's ends at 1.8 m stop the cart
    dead. The observation is `[x, cos angle, sin angle, x velocity, angular velocity]`.

    The reward, after the step, is `(1 + cos th) / 2 * (1 + 0.1^((x / 2)^2)) / 2 * (4 + max(0, 1 - a^2)) / 5 *
    (1 + 0.1^((w / 5)^2)) / 2`: upright, centred, little force, little speed; in 0 to 1. Starts hanging in the middle,
    all four off by normal draws of 0.01; never terminates; 1000 steps.

    Extras, each 1 where the step violates a constraint, else 0 (those of the Real-World RL suite's swing-up,
    Dulac-Arnold et al., 2020), with `k = safety_coeff`, small for strict:

    - `balance_velocity`: `cos th > cos(2 (1 - k) + 0.15)` and `|w| > 0.5 k` rad/s, both after the step;
    - `slider_pos`: `|x| >= 2 k` m, after the step;
    - `slider_accel`: `|v' - v| / 0.01 s >= 130 k` m/s^2, the mean over the step, which stops at the ends count for;
    - `cost`: the one called `constraint`.

    The physics may change from episode to episode, a challenge of the same suite: each of the last three arguments is
    a range `(low, high)`, or `"low,high"`, out of which every reset draws evenly; what is not given stays at its
    standard. The agent does not see it. With any of them, the body goes on with half of the pole's length, its mass
    and the cart's, `[7]`.

    Args:
      max_steps: the time limit in steps, 0 for 1000.
      constraint: which violations the extra `cost` counts.
      safety_coeff: how strict the constraints are, 0 to 1, from strict to lax.
      pole_length: in m; the standard is 1. The mass does not change with it, as it would in the suite.
      pole_mass: in kg; the standard is 0.1.
      cart_mass: in kg; the standard is 1.

    Raises:
      UsageError: at an unknown constraint, a coefficient out of 0 to 1, or a range that is none of positive numbers.
    """
    if constraint not in CONSTRAINTS:
        raise UsageError(f"CartPoleSwingup-v0 has no constraint {constraint!r}: {nearest(constraint, CONSTRAINTS)}")
    if not 0 <= safety_coeff <= 1:
        raise UsageError(f"CartPoleSwingup-v0: safety_coeff must lie in 0..1, but is {safety_coeff}.")
    asked = {"pole_length": pole_length, "pole_mass": pole_mass, "cart_mass": cart_mass}
    perturbed = any(value is not None for value in asked.values())
    ranges = [(STANDARDS[name],) * 2 if value is None else _range(name, value) for name, value in asked.items()]

    def begin(key: jax.Array, task: PyTree) -> jax.Array:
        if not perturbed:
            return start(key, task)
        start_key, physics_key = jax.random.split(key)
        low, high = jnp.asarray(ranges).T
        length, pole, cart = jax.random.uniform(physics_key, (3,), minval=low, maxval=high)
        return jnp.concatenate([start(start_key, task), jnp.stack([length / 2, pole, cart])])

    def advance(key: jax.Array, body: jax.Array, action: jax.Array) -> Outcome:
        before, drawn = body[:4], body[4:]
        control = jnp.clip(action[0], -1.0, 1.0)
        after = move(before, FORCE * control, Physics(*drawn) if perturbed else STANDARD)
        costs = violations(before, after, safety_coeff)
        costs["cost"] = costs[constraint]
        return Outcome(jnp.concatenate([after, drawn]), reward(after, control), extras=costs)

    return environment(
        id="CartPoleSwingup-v0",
        obs=Array((5,), "float32"),
        action=Box((-1.0,), (1.0,)),
        tasks=Array((4,), "float32"),
        max_steps=max_steps or 1000,
        start=begin,
        advance=advance,
        see=lambda body: see(body[:4]),
        picture=lambda body: picture(body, RAIL, *map(float, body[4:5])),
        extras={name: Array((), "float32", 0.0, 1.0) for name in (*CONSTRAINTS, "cost")},
    )


def start(key: jax.Array, task: PyTree) -> jax.Array:
    """Hanging in the middle, nearly at rest."""
    return given(task, jnp.array([0.0, 0.0, jnp.pi, 0.0]) + 0.01 * jax.random.normal(key, (4,)))


def move(body: jax.Array, force: jax.Array, physics: Physics = STANDARD) -> jax.Array:
    """The body after 0.01 s under a force on the cart in N; at the rail's ends the cart stops dead.

    The stop's impulse passes through the hinge, about which the pole keeps its angular momentum
    `m (4/3 l^2 w + l v cos(th))`: it turns by the speed that the cart loses.
    """

    def derivative(body: jax.Array) -> jax.Array:
        _, v, angle, w = body
        push, turn = accelerations(angle, w, force, GRAVITY, physics)
        return jnp.stack([v, push, w, turn])

    x, v, angle, w = runge_kutta(derivative, body, DT)
    stopped = jnp.abs(x) > RAIL
    w = jnp.where(stopped, w + 3 * v * jnp.cos(angle) / (4 * physics.half), w)
    return jnp.stack([jnp.clip(x, -RAIL, RAIL), jnp.where(stopped, 0.0, v), wrapped(angle), w])


def reward(body: jax.Array, control: jax.Array) -> jax.Array:
    """How upright, centred, effortless and slow; see `make`."""
    x, _, angle, w = body
    upright = (1 + jnp.cos(angle)) / 2
    centred = (1 + 0.1 ** ((x / 2) ** 2)) / 2
    effortless = (4 + jnp.maximum(1 - control**2, 0)) / 5
    slow = (1 + 0.1 ** ((w / 5) ** 2)) / 2
    return upright * centred * effortless * slow


def violations(before: jax.Array, after: jax.Array, k: float) -> dict[str, jax.Array]:
    """Which constraints a step violates, float32 `[]` of 0 or 1 by name; see `make`."""
    x, v, angle, w = after
    near = jnp.cos(angle) > math.cos(2 * (1 - k) + 0.15)
    violated = {
        "balance_velocity": near & (jnp.abs(w) > 0.5 * k),
        "slider_pos": jnp.abs(x) >= 2 * k,
        "slider_accel": jnp.abs(v - before[1]) / DT >= 130 * k,
    }
    return {name: value.astype(jnp.float32) for name, value in violated.items()}


def see(body: jax.Array) -> jax.Array:
    """Place, cosine and sine of the angle, and both velocities."""
    x, v, angle, w = body
    return jnp.stack([x, jnp.cos(angle), jnp.sin(angle), v, w])


def _range(name: str, value: Range) -> tuple[float, float]:
    """The two ends of a range of positive numbers."""
    try:
        low, high = map(float, value.split(",") if isinstance(value, str) else value)
    except (TypeError, ValueError):
        low = high = math.nan
    if not 0 < low <= high < math.inf:
        raise UsageError(
            f"CartPoleSwingup-v0: {name} must be two finite positive numbers, the lower first, such as "
            f"{STANDARDS[name] / 2},{STANDARDS[name] * 2}, but is {value}."
        )
    return low, high
