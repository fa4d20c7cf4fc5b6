"""A wrapper that disturbs what an agent does: `perturb_action`, pushes from outside that last for a while."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from envs.batch import select
from envs.contract import EnvSpec, TimeStep
from envs.errors import UsageError
from envs.wrappers.delays import check_steps
from envs.wrappers.noise import check_probability, draw, finite_box, first_keys, keys_of, mixed
from envs.wrappers.wrapper import Wrapper, WrapperState, lead


class Push(NamedTuple):
    """Of each environment: its key, uint32 `[n, 2]`, for how many more steps it is pushed, int32 `[n]`, and how.

    The push itself is float32 `[n, A]`, in half widths of the box.
    """

    key: jax.Array
    left: jax.Array
    push: jax.Array


def perturb_action(p: float = 0.01, size: float = 1.0, steps: int = 1) -> Wrapper:
    """Pushes: now and then a constant vector is added to the actions of `steps` steps.

    At every step at which nothing pushes, a push begins with probability `p`; its direction is uniform on the sphere
    and its length `size`, both measured in half widths of the box. All actions are moved to the nearest point of the
    box. An episode begins without a push. Each environment, and each of several agents, draws for itself, in training
    and in evaluation.

    Args:
      p: probability that a push begins, in 0..1.
      size: length of a push in half widths of the box, at least 0; a push of 2 outweighs any action.
      steps: how long it lasts in agent steps, at least 1.

    Raises:
      UsageError: in `spec`, where actions are not continuous or a bound is infinite.
    """
    check_probability("perturb_action.p", p)
    check_steps("perturb_action.steps", steps)
    if not 0.0 <= size < float("inf"):
        raise UsageError(f"perturb_action.size must be a finite number of at least 0, but is {size}.")

    def spec(spec: EnvSpec) -> EnvSpec:
        finite_box("perturb_action", spec)
        return spec

    def init(spec: EnvSpec, n: int) -> WrapperState:
        box, axes = finite_box("perturb_action", spec), lead(spec, n)
        return WrapperState(box, Push(first_keys(n), jnp.zeros(axes, jnp.int32), jnp.zeros((*axes, len(box.low)))))

    def action(key: jax.Array, state: WrapperState, action: jax.Array) -> tuple[WrapperState, jax.Array]:
        (low, high), (held, left, push) = state
        held = mixed(key, held)
        keys = keys_of(held)
        chance = draw(jax.random.uniform, keys, 0, jnp.zeros(left.shape))
        way = draw(jax.random.normal, keys, 1, push)
        begins = (left == 0) & (chance < p)
        push = select(begins, size * way / jnp.linalg.norm(way, axis=-1, keepdims=True), push)
        left = jnp.where(begins, steps, left)
        pushed = select(left > 0, action + 0.5 * (high - low) * push, action)
        return state._replace(each=Push(held, jnp.maximum(left - 1, 0), push)), jnp.clip(pushed, low, high)

    def timestep(state: WrapperState, timestep: TimeStep, evaluate: bool) -> tuple[WrapperState, TimeStep]:
        each = state.each
        return state._replace(each=each._replace(left=jnp.where(timestep.last, 0, each.left))), timestep

    return Wrapper("perturb_action", spec, init, action, timestep)
