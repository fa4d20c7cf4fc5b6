"""Delays between agent and environment, in agent steps: `delay_action`, `delay_obs` and `delay_reward`.

Three of the challenges of Dulac-Arnold et al. 2020, "An empirical investigation of the challenges of real-world
reinforcement learning". What is under way belongs to its episode: nothing of it crosses an end.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from envs.batch import select
from envs.contract import Array, EnvSpec, PyTree, TimeStep
from envs.errors import UsageError
from envs.wrappers.wrapper import Wrapper, WrapperState, lead, no_action


class Queue(NamedTuple):
    """What is under way in each environment, oldest first, `[n, steps, ...]`, and whether anything is, bool `[n]`."""

    items: PyTree
    filled: jax.Array


def delay_action(steps: int = 1) -> Wrapper:
    """Has the environment execute at every step what the agent decided `steps` steps before.

    An episode's first action is executed at once and repeated until the second one arrives, as the Real-World RL
    suite does in the first episode; later episodes begin the same way here.

    Args:
      steps: agent steps between a decision and its execution, at least 1.
    """
    check_steps("delay_action.steps", steps)

    def init(spec: EnvSpec, n: int) -> WrapperState:
        return WrapperState((), Queue(_full(no_action(spec, n), steps), jnp.zeros(n, bool)))

    def action(key: jax.Array, state: WrapperState, action: jax.Array) -> tuple[WrapperState, jax.Array]:
        executed, queue = _pass(state.each, action, steps)
        return state._replace(each=queue), executed

    def timestep(state: WrapperState, timestep: TimeStep, evaluate: bool) -> tuple[WrapperState, TimeStep]:
        queue = state.each
        return state._replace(each=queue._replace(filled=queue.filled & ~ended(timestep))), timestep

    return Wrapper("delay_action", None, init, action, timestep)


def delay_obs(steps: int = 1) -> Wrapper:
    """Shows at every step the observation of `steps` steps before.

    An episode's first observation is seen until the second one arrives, as in the Real-World RL suite. After an end
    `next_obs` is the delayed successor of the old episode, and `obs` the first observation of the new one. Rewards,
    ends and extras stay those of the present.

    Args:
      steps: the age of what is seen, in agent steps, at least 1.
    """
    check_steps("delay_obs.steps", steps)

    def init(spec: EnvSpec, n: int) -> WrapperState:
        def zeros(array: Array) -> jax.Array:
            return jnp.zeros(lead(spec, n) + array.shape, jax.dtypes.canonicalize_dtype(array.dtype))

        return WrapperState((), Queue(_full(jax.tree.map(zeros, spec.obs), steps), jnp.zeros(n, bool)))

    def timestep(state: WrapperState, timestep: TimeStep, evaluate: bool) -> tuple[WrapperState, TimeStep]:
        next_obs, queue = _pass(state.each, timestep.next_obs, steps)
        over = ended(timestep)
        queue = queue._replace(items=select(over, _full(timestep.obs, steps), queue.items))
        obs = select(over, timestep.obs, next_obs)
        return state._replace(each=queue), timestep._replace(obs=obs, next_obs=next_obs)

    return Wrapper("delay_obs", None, init, None, timestep)


def delay_reward(steps: int = 1) -> Wrapper:
    """Pays every reward `steps` steps later, and at an episode's end all that is still owed.

    So an episode's sum of rewards stays what it was. (The Real-World RL suite pays the first reward `steps` times too
    many and never what is owed at the end.) The environment's own reward stays in the extra `raw_reward`.

    Args:
      steps: agent steps between earning and being paid, at least 1.
    """
    check_steps("delay_reward.steps", steps)

    def spec(spec: EnvSpec) -> EnvSpec:
        return dataclasses.replace(spec, extras={"raw_reward": Array((), "float32")} | spec.extras)

    def init(spec: EnvSpec, n: int) -> WrapperState:
        return WrapperState((), jnp.zeros((*lead(spec, n), steps)))

    def timestep(state: WrapperState, timestep: TimeStep, evaluate: bool) -> tuple[WrapperState, TimeStep]:
        reward = jnp.asarray(timestep.reward, jnp.float32)
        owed = jnp.concatenate([state.each, reward[..., None]], axis=-1)
        paid = jnp.where(timestep.last, owed.sum(axis=-1), owed[..., 0])
        each = jnp.where(timestep.last[..., None], 0.0, owed[..., 1:])
        # A wrapper nearer to the environment has already kept its own.
        extras = {"raw_reward": reward} | timestep.extras
        return state._replace(each=each), timestep._replace(reward=paid, extras=extras)

    return Wrapper("delay_reward", spec, init, None, timestep)


def ended(timestep: TimeStep) -> jax.Array:
    """Where an episode ended, bool `[n]`: with several agents, where it did for all of them."""
    return timestep.last.all(axis=tuple(range(1, timestep.last.ndim)))


def check_steps(name: str, steps: int) -> None:
    """Raises UsageError where a number of agent steps is not a whole one of at least 1."""
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise UsageError(f"{name} must be a whole number of at least 1, but is {steps}.")


def _full(new: PyTree, steps: int) -> PyTree:
    """Items of a queue that are all `new`."""
    return jax.tree.map(lambda x: jnp.stack([jnp.asarray(x)] * steps, axis=1), new)


def _pass(queue: Queue, new: PyTree, steps: int) -> tuple[PyTree, Queue]:
    """Puts `new` `[n, ...]` in and takes the oldest out; where nothing was under way, `new` fills the queue first."""
    items = select(queue.filled, queue.items, _full(new, steps))
    oldest = jax.tree.map(lambda item: item[:, 0], items)
    items = jax.tree.map(lambda item, x: jnp.concatenate([item[:, 1:], x[:, None]], axis=1), items, new)
    return oldest, Queue(items, jnp.ones_like(queue.filled))
