"""Evaluation of several sets of parameters on the same episodes, for agents whose weights evolve while they learn."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import envs
from agents.agent import Agent, State
from agents.training import actor
from envs.contract import Env, HostMaker, PyTree
from envs.errors import UsageError
from envs.wrappers import Chain, WrapperState


class Population:
    """Plays one episode of every set of parameters in each of `episodes` places, which begin alike for all sets.

    On the device it is one compiled program; on the host every set has engines of its own, opened anew with the same
    seed, and all sets act in one call.

    Args:
      agent: whose parameters they are.
      env: the environment of its training.
      wrapper: the wrappers around it, whose statistics stand still here.
      episodes: places.

    Raises:
      UsageError: where episodes have no time limit, and one could last for ever.
    """

    def __init__(self, agent: Agent, env: HostMaker | Env, wrapper: Chain, episodes: int):
        if not env.spec.max_steps:
            raise UsageError(f"{agent.name} plays whole episodes, and {env.spec.id} sets no limit: give it max_steps.")
        self._agent, self._env, self._wrapper, self._n = agent, env, wrapper, episodes
        self._lend = jax.jit(partial(actor.lend, agent))
        if isinstance(env, Env):
            self._data = jax.tree.map(jnp.asarray, env.data)
            self._played = jax.jit(self._on_device)
        else:
            self._decide = jax.jit(jax.vmap(self._one, in_axes=(0, 0, 0, None, None, None, 0)))

    def __call__(self, state: State, params: PyTree, trained: WrapperState, seed: int) -> tuple[np.ndarray, int]:
        """Returns `[size, episodes]` of `params` `[size, ...]`, and the environment steps that were taken."""
        state = self._lend(state)
        if isinstance(self._env, Env):
            returns, steps = self._played(state, params, trained, np.uint32(seed), self._data)
            return np.asarray(returns), int(steps)
        return self._on_host(state, params, trained, seed)

    def _one(self, params: PyTree, carry: PyTree, wrapped: PyTree, state: State, key: jax.Array, step: Any, raw: Any):
        lent = state._replace(params=params, acting=None)
        key = jax.random.fold_in(key, step)
        found = actor.decide(self._agent, self._wrapper, True, key, lent, carry, wrapped, raw)
        return found.sent, found.carry, found.wrapper

    def _on_device(self, state: State, params: PyTree, trained: WrapperState, seed: jax.Array, data: PyTree):
        assert isinstance(self._env, Env)
        batch = envs.batch(self._env, self._n)
        reset_key, step_key, act_key = jax.random.split(jax.random.key(seed), 3)
        limit = self._env.spec.max_steps

        def play(one: PyTree):
            states, raw = batch.reset(reset_key, data)
            wrapped = self._wrapper.init(self._env.spec, self._n)._replace(shared=trained.shared)
            carry = self._agent.begin(state._replace(params=one, acting=None), self._n)
            total, going = jnp.zeros(self._n), jnp.ones(self._n, bool)

            def step(now, number):
                carry, wrapped, states, raw, total, going = now
                sent, carry, wrapped = self._one(one, carry, wrapped, state, act_key, number, raw)
                states, raw = batch.step(jax.random.fold_in(step_key, number), states, sent, data)
                total = total + jnp.where(going, raw.reward, 0.0)
                return (carry, wrapped, states, raw, total, going & ~raw.last), going.sum()

            now: Any = carry, wrapped, states, raw, total, going
            (*_, total, _), counted = jax.lax.scan(step, now, jnp.arange(limit))
            return total, counted.sum()

        returns, steps = jax.vmap(play)(params)
        return returns, steps.sum()

    def _on_host(self, state: State, params: PyTree, trained: WrapperState, seed: int) -> tuple[np.ndarray, int]:
        assert isinstance(self._env, HostMaker)
        size = len(jax.tree.leaves(params)[0])
        engines = [self._env.open(seed=seed, n=self._n) for _ in range(size)]
        try:
            raw = _stacked([engine.reset() for engine in engines])
            wrapped = self._wrapper.init(self._env.spec, self._n)._replace(shared=trained.shared)
            begun = self._agent.begin(state._replace(acting=None), self._n)
            copies = lambda leaf: jnp.broadcast_to(leaf, (size, *jnp.shape(leaf)))  # noqa: E731
            carry, wrapped = jax.tree.map(copies, (begun, wrapped))
            key, step, steps = jax.random.key(seed), 0, 0
            total, going = np.zeros((size, self._n)), np.ones((size, self._n), bool)
            while going.any():
                sent, carry, wrapped = self._decide(params, carry, wrapped, state, key, np.uint32(step), raw)
                actions = np.asarray(sent)
                raw = _stacked([engine.step(each) for engine, each in zip(engines, actions, strict=True)])
                total += np.where(going, raw.reward, 0.0)
                steps += int(going.sum())
                going &= ~raw.last
                step += 1
            return total, steps
        finally:
            for engine in engines:
                engine.close()


def _stacked(timesteps: list[Any]) -> Any:
    return jax.tree.map(lambda *leaves: np.stack(leaves), *timesteps)
