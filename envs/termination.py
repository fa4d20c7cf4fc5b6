"""When episodes truly end, told from observations alone: what a model of an environment needs and does not learn.

Model-based agents are given these rules (Janner et al., "When to Trust Your Model", 2019). They are written for the
observations that the tasks of this project give. Time limits are no termination.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from envs.contract import EnvSpec, PyTree
from envs.errors import UsageError, nearest

Rule = Callable[[jax.Array], jax.Array]


def never(next_obs: PyTree) -> jax.Array:
    """Episodes end by their time limit alone: False for each of `next_obs` `[N, ...]`."""
    return jnp.zeros(jax.tree.leaves(next_obs)[0].shape[0], bool)


def hopper(next_obs: jax.Array) -> jax.Array:
    """The torso is below 0.7 m or leans by 0.2 rad, or a number of the state reaches 100."""
    height, angle = next_obs[:, 0], next_obs[:, 1]
    sound = (jnp.abs(next_obs[:, 1:]) < 100).all(1)
    return ~(sound & (height > 0.7) & (jnp.abs(angle) < 0.2))


def walker(next_obs: jax.Array) -> jax.Array:
    """The torso is outside 0.8 to 2 m, or leans by 1 rad."""
    height, angle = next_obs[:, 0], next_obs[:, 1]
    return ~((height > 0.8) & (height < 2.0) & (jnp.abs(angle) < 1.0))


def ant(next_obs: jax.Array) -> jax.Array:
    """The torso is outside 0.2 to 1 m, or a number is not finite."""
    height = next_obs[:, 0]
    return ~(jnp.isfinite(next_obs).all(1) & (height >= 0.2) & (height <= 1.0))


def humanoid(next_obs: jax.Array) -> jax.Array:
    """The torso is outside 1 to 2 m."""
    height = next_obs[:, 0]
    return ~((height > 1.0) & (height < 2.0))


def pole(next_obs: jax.Array) -> jax.Array:
    """The pole leans by more than 0.2 rad."""
    return ~(jnp.abs(next_obs[:, 1]) <= 0.2)


def double_pole(next_obs: jax.Array) -> jax.Array:
    """The tip of two poles of 0.6 m is at most 1 m above the cart."""
    sine_1, sine_2, cosine_1, cosine_2 = next_obs[:, 1:5].T
    height = 0.6 * cosine_1 + 0.6 * (cosine_1 * cosine_2 - sine_1 * sine_2)
    return ~(height > 1.0)


def mountain_car(next_obs: jax.Array) -> jax.Array:
    """The car has reached the top at 0.45 and does not roll back."""
    return (next_obs[:, 0] >= 0.45) & (next_obs[:, 1] >= 0)


RULES: dict[str, Rule] = {
    "Ant-v5": ant,
    "CartPoleSwingup-v0": never,
    "ConstrainedCartPole-v0": never,
    "ConstrainedHumanoid-v0": never,
    "ConstrainedQuadruped-v0": never,
    "ConstrainedWalker-v0": never,
    "HalfCheetah-v5": never,
    "Hopper-v5": hopper,
    "Humanoid-v5": humanoid,
    "HumanoidStandup-v5": never,
    "InvertedDoublePendulum-v5": double_pole,
    "InvertedPendulum-v5": pole,
    "MountainCarContinuous-v0": mountain_car,
    "Pendulum-v1": never,
    "PointMass-v0": never,
    "Pusher-v5": never,
    "Reacher-v5": never,
    "Swimmer-v5": never,
    "Walker2d-v5": walker,
}


def of(spec: EnvSpec, name: str = "") -> Rule:
    """`(next_obs [N, ...]) -> bool [N]`: whether the episode ends with each of these successors.

    Args:
      spec: the environment's.
      name: the task whose rule it is; the environment's own if empty, `"never"` for one that ends by time alone.

    Raises:
      UsageError: where no rule is known.
    """
    if name == "never":
        return never
    wanted = name or spec.id
    if wanted not in RULES:
        raise UsageError(f"no rule says when episodes of {wanted} end: {nearest(wanted, ('never', *RULES))}")
    return RULES[wanted]
