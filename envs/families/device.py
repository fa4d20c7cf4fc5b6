"""A family on the device: one environment over many tasks, each played for a trial of several episodes."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from envs.batch import select
from envs.contract import Env, EnvSpec, PyTree, TimeStep
from envs.families.trials import Deck, spec_of


class State(NamedTuple):
    """The environment's own state, the task that it plays, and the episode of this trial, int32 `[]` both."""

    inner: PyTree
    task_id: jax.Array
    episode: jax.Array


def across(env: Env, spec: EnvSpec, train: Deck, test: Deck, reward: Callable[..., jax.Array] | None = None) -> Env:
    """The environment as a family of `train` tasks, whose `evaluation` has those of `test`.

    Args:
      env: one environment, without a `refill`. Its `reset` takes a task's parameters `[k]`.
      spec: its spec, under the family's name.
      train: the tasks to learn.
      test: the tasks kept apart.
      reward: `(task [k], extras, action) -> reward []`, in place of the environment's own; `extras` are those of the
        step.
    """
    assert env.refill is None
    return _of(env, spec, train, reward)._replace(evaluation=_of(env, spec, test, reward))


def _of(env: Env, spec: EnvSpec, deck: Deck, reward: Callable[..., jax.Array] | None) -> Env:
    count, trial = len(deck.table), deck.trial
    spec = spec_of(spec, deck)

    def told(timestep: TimeStep, task_id: jax.Array, ended: jax.Array | bool) -> TimeStep:
        own = {"task_id": task_id, "task": jnp.asarray(deck.table)[task_id], "trial_last": jnp.asarray(ended)}
        return timestep._replace(extras={**timestep.extras, **own})

    def begin(key: jax.Array, task_id: jax.Array) -> tuple[PyTree, TimeStep]:
        return env.reset(key, jnp.asarray(deck.table)[task_id])

    def reset(key: jax.Array, task: PyTree) -> tuple[State, TimeStep]:
        # A task by its number; without one the family's first.
        task_id = jnp.int32(0) if isinstance(task, tuple) else jnp.asarray(task, jnp.int32)
        inner, timestep = begin(key, task_id)
        return State(inner, task_id, jnp.int32(0)), told(timestep, task_id, False)

    def step(key: jax.Array, state: State, action: PyTree) -> tuple[State, TimeStep]:
        inner, timestep = env.step(key, state.inner, action)
        if reward is not None:
            own = reward(jnp.asarray(deck.table)[state.task_id], timestep.extras, action)
            timestep = timestep._replace(reward=own.astype(jnp.float32))
        return state._replace(inner=inner), told(timestep, state.task_id, timestep.last & _over(state))

    def _over(states: State) -> jax.Array:
        return states.episode + 1 >= trial

    def deal(key: jax.Array, n: int, data: PyTree) -> jax.Array:
        cards = jnp.arange(n, dtype=jnp.int32) % count
        return jax.random.permutation(key, count).astype(jnp.int32)[cards] if deck.shuffled else cards

    def refill(key: jax.Array, states: State, timestep: TimeStep, data: PyTree) -> tuple[State, TimeStep]:
        ended, n = timestep.last, len(timestep.last)
        over = ended & _over(states)
        deal_key, reset_key = jax.random.split(key)
        following = deal(deal_key, n, data) if deck.shuffled else (states.task_id + n) % count
        task_id = jnp.where(over, following, states.task_id)
        inner, opening = jax.vmap(begin)(jax.random.split(reset_key, n), task_id)
        episode = jnp.where(over, 0, states.episode + ended)
        # A diverged simulation ended the episode after `step` had said what it is.
        timestep = timestep._replace(
            obs=select(ended, opening.obs, timestep.obs), extras={**timestep.extras, "trial_last": over}
        )
        paired = [name for name in spec.extras if f"next_{name}" in spec.extras]
        described = {name: select(ended, opening.extras[name], timestep.extras[name]) for name in paired}
        timestep = timestep._replace(extras={**timestep.extras, **described})
        return State(select(ended, inner, states.inner), task_id, episode), timestep

    def picture(state: State) -> Any:
        assert env.picture is not None
        return env.picture(state.inner)

    return env._replace(
        spec=spec, reset=reset, step=step, refill=refill, deal=deal, picture=picture if env.picture else None
    )
