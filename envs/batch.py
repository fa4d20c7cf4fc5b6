"""Many copies of one device environment, stepped together; the one place where device episodes start anew."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from envs.contract import Env, EnvSpec, PyTree, TimeStep
from envs.errors import UsageError


class Batch(NamedTuple):
    """`n` copies of an environment as pure functions; they run under `jit`, `scan` and `vmap` over seeds.

    Attributes:
      spec: the `EnvSpec` of one environment.
      n: number of environments.
      reset: `(key, data=None) -> (states, TimeStep [n, ...])`, the first one: reward 0, discount 1, last False.
      step: `(key, states, actions [n, ...], data=None) -> (states, TimeStep [n, ...])`; ended episodes are already
        reset in `states` and `obs`.

    `data` is the environment's `data`. Jitted code should hand it over as an argument: without it, it is compiled in.
    """

    spec: EnvSpec
    n: int
    reset: Callable[..., tuple[PyTree, TimeStep]]
    step: Callable[..., tuple[PyTree, TimeStep]]


def select(mask: jax.Array, new: PyTree, old: PyTree) -> PyTree:
    """`new` where `mask`, else `old`, leaf by leaf; the axes of `mask` are the first axes of every leaf."""

    def leaf(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.where(mask.reshape(mask.shape + (1,) * (jnp.ndim(b) - mask.ndim)), a, b)

    return jax.tree.map(leaf, new, old)


def batch(env: Env, n: int, tasks: Callable[[jax.Array], PyTree] | None = None) -> Batch:
    """Runs `n` copies of `env` side by side and resets each where its episode ends.

    Where `last` is set, `obs` and the returned state are those of a new episode and `next_obs` stays the true
    successor. Extras that describe a state follow: with `X` and `next_X` both in `spec.extras`, `X` comes from the new
    episode and `next_X` from the ending step. All other extras are those of the step. With several agents an episode
    ends where `last` is set for all of them.

    Where a step has numbers that are not finite its episode ends there, see `TimeStep`.

    Time limits belong to the environment, which counts its own steps and sets `last` itself: nothing here reads
    `spec.max_steps` (`envs.wrappers.time_limit` adds a limit).

    New episodes come from `env.refill` where there is one, else every environment is reset at every step and the
    result used where it is needed: under `vmap` a branch would cost the same.

    Args:
      env: the environment.
      n: number of copies, at least 1.
      tasks: `(key) -> task`, drawn for every episode and handed to `env.reset`, in place of `env.draw`; a refill draws
        by itself, so it is not used then. With neither, `env.reset` gets `()` as its task.

    Raises:
      UsageError: where `n` is below 1.
    """
    if n < 1:
        raise UsageError(f"A batch needs at least one environment, but n is {n}.")
    paired = [name for name in env.spec.extras if f"next_{name}" in env.spec.extras]

    def reset(key: jax.Array, data: PyTree = None) -> tuple[PyTree, TimeStep]:
        key_reset, key_task = jax.random.split(key)
        keys = jax.random.split(key_task, n)
        task: PyTree = ()
        if tasks is not None:
            task = jax.vmap(tasks)(keys)
        elif env.deal is not None:
            task = env.deal(key_task, n, env.data if data is None else data)
        elif env.draw is not None:
            task = jax.vmap(env.draw, in_axes=(0, None))(keys, env.data if data is None else data)
        return jax.vmap(env.reset)(jax.random.split(key_reset, n), task)

    def begin_anew(key: jax.Array, states: PyTree, timestep: TimeStep, data: PyTree) -> tuple[PyTree, TimeStep]:
        if env.refill is not None and tasks is None:
            return env.refill(key, states, timestep, env.data if data is None else data)
        ended = timestep.last if env.spec.agents == 1 else timestep.last.all(axis=1)
        fresh, opening = reset(key, data)
        described = {name: select(ended, opening.extras[name], timestep.extras[name]) for name in paired}
        obs = select(ended, opening.obs, timestep.obs)
        return select(ended, fresh, states), timestep._replace(obs=obs, extras={**timestep.extras, **described})

    def step(key: jax.Array, states: PyTree, actions: PyTree, data: PyTree = None) -> tuple[PyTree, TimeStep]:
        key_step, key_reset = jax.random.split(key)
        states, timestep = jax.vmap(env.step)(jax.random.split(key_step, n), states, actions)
        return begin_anew(key_reset, states, _ended_if_diverged(timestep), data)

    return Batch(env.spec, n, reset, step)


def _ended_if_diverged(timestep: TimeStep) -> TimeStep:
    """The TimeStep with the episodes ended that show a number that is not finite."""
    reward = timestep.reward
    diverged = ~jnp.isfinite(reward)
    for leaf in jax.tree.leaves(timestep.next_obs):
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            diverged |= ~jnp.isfinite(leaf).all(axis=tuple(range(reward.ndim, leaf.ndim)))
    return timestep._replace(
        reward=jnp.where(diverged, jnp.nan, reward),
        discount=jnp.where(diverged, 1.0, timestep.discount),
        last=timestep.last | diverged,
    )
