"""Point robots that look for a goal: the toy families of PEARL (Rakelly et al., 2019), compiled with the agent."""

import jax
import jax.numpy as jnp
import numpy as np

from envs.contract import Array, Box, Env, PyTree
from envs.control import drawing
from envs.control.episode import Outcome, environment
from envs.families.device import across
from envs.families.trials import Deck

STEP = 0.1  # m, the longest way of one step in each direction
NEAR = 0.2  # m, the radius of a goal of the sparse family
LIMIT = 20  # steps


def dense(train: Deck, test: Deck, max_steps: int) -> Env:
    """`PointRobot-v0`: goals anywhere in the square from -1 to 1 m; the reward is `-d`, the distance in m.

    `x' = x + 0.1 clip(a, -1, 1)` in m; it starts in the middle; 20 steps, no termination. The observation is the place
    `[2]` alone: where the goal is must be found out from rewards. `success`: whether `d` is below 0.2 m.
    """
    return _family("PointRobot-v0", train, test, max_steps, lambda distance: -distance)


def sparse(train: Deck, test: Deck, max_steps: int) -> Env:
    """`SparsePointRobot-v0`: goals on the upper half of a circle of 1 m; the reward is `1 - d` within 0.2 m, else 0.

    Otherwise as `dense`. PEARL hands its encoder the dense distance while it learns; here all is learned from what the
    task pays.
    """
    return _family(
        "SparsePointRobot-v0", train, test, max_steps, lambda distance: (distance <= NEAR) * (1.0 - distance)
    )


def square(rng: np.random.Generator, count: int) -> np.ndarray:
    """Goals of `dense`, float32 `[count, 2]`."""
    return rng.uniform(-1, 1, (count, 2)).astype(np.float32)


def semicircle(rng: np.random.Generator, count: int) -> np.ndarray:
    """Goals of `sparse`, float32 `[count, 2]`."""
    angle = rng.uniform(0, np.pi, count)
    return np.stack([np.cos(angle), np.sin(angle)], -1).astype(np.float32)


def _family(id: str, train: Deck, test: Deck, max_steps: int, pays) -> Env:
    def advance(key: jax.Array, body: jax.Array, action: jax.Array) -> Outcome:
        place, goal = jnp.split(body, 2)
        place = place + STEP * jnp.clip(action, -1.0, 1.0)
        distance = jnp.linalg.norm(place - goal)
        return Outcome(jnp.concatenate([place, goal]), pays(distance), extras={"success": distance <= NEAR})

    robot = environment(
        id=id,
        obs=Array((2,), "float32"),
        action=Box((-1.0, -1.0), (1.0, 1.0)),
        tasks=Array((2,), "float32", -1.0, 1.0),
        max_steps=max_steps or LIMIT,
        start=start,
        advance=advance,
        see=lambda body: body[:2],
        picture=picture,
        extras={"success": Array((), "bool")},
    )
    return across(robot, robot.spec, train, test)


def start(key: jax.Array, task: PyTree) -> jax.Array:
    """In the middle, with the task's goal."""
    return jnp.concatenate([jnp.zeros(2), task])


def picture(body: np.ndarray) -> np.ndarray:
    """The robot and its goal."""
    canvas = drawing.canvas(2.6, 2.6)
    canvas.disc((float(body[2]), float(body[3])), NEAR, drawing.GREEN)
    canvas.disc((float(body[0]), float(body[1])), 0.05, drawing.RED)
    return canvas.frame
