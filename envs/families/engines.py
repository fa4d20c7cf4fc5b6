"""Families that differ in their reward on the engines of `envs.mujoco`: its own reward is left out, all else stays."""

from dataclasses import replace
from typing import Any

import numpy as np

from envs import mujoco
from envs.contract import Env, HostEnv, HostMaker, TimeStep
from envs.families.motion import Family
from envs.families.trials import Deck, spec_of


def on_host(id: str, family: Family, backend: str, deck: Deck, limit: int, **engine: Any) -> HostMaker:
    """The family in EnvPool (`"host"`) or in Gymnasium (`"reference"`).

    Args:
      id: its name.
      family: its rewards.
      backend: the engine.
      deck: its tasks; the order in which they are dealt is that of the seed with which environments are opened.
      limit: steps of an episode.
      **engine: `threads` and `processes`, as in `envs.mujoco.make`.
    """
    inner = mujoco.spec_of(family.engine, backend, family.view, limit)
    open_inner = mujoco.opener(inner, backend, family.view, limit, **engine)
    spec = spec_of(replace(inner, id=id), deck)

    def open(seed: int, n: int, render: bool = False) -> HostEnv:
        env = open_inner(seed, n, render)
        player = _Player(env, deck._replace(seed=seed, n=n), family)
        return env._replace(spec=spec, reset=player.reset, step=player.step, save=player.save, restore=player.restore)

    return HostMaker(spec, backend, {}, open)


def on_device(id: str, family: Family, train: Deck, test: Deck, limit: int, iterations: int, ls_iterations: int) -> Env:
    """The family in MJX; its `evaluation` has the tasks `test`."""
    from envs.families import mjx
    from envs.families.device import across

    inner = mujoco.spec_of(family.engine, "device", family.view, limit)
    env = mjx.make(inner, family.view, limit, iterations, ls_iterations)
    return across(env, replace(inner, id=id), train, test, family.pays)


class _Player:
    """Deals tasks to the environments of an engine and pays by them."""

    def __init__(self, env: HostEnv, deck: Deck, family: Family):
        self.env, self.deck, self.pays = env, deck, family.pays
        self.episode = np.zeros(env.n, np.int64)
        self.task_id = deck.tasks(self.episode)  # of the episodes that are being played
        self.paid = np.zeros(env.n, np.float32)  # by the last step

    def reset(self) -> TimeStep:
        return self._told(self.env.reset(), self.task_id, self.episode)

    def step(self, actions: np.ndarray) -> TimeStep:
        timestep, played, episode = self.env.step(actions), self.task_id, self.episode
        paid = self.pays(self.deck.table[played], timestep.extras, np.asarray(actions, np.float32))
        # What the engine found not to be finite has no reward here either.
        self.paid = np.where(np.isnan(timestep.reward), timestep.reward, paid).astype(np.float32)
        if timestep.last.any():
            self.episode = episode + timestep.last
            self.task_id = self.deck.tasks(self.episode)
        return self._told(timestep, played, episode)

    def save(self) -> dict[str, np.ndarray]:
        return {**self.env.save(), "paid": self.paid}

    def restore(self, arrays: dict[str, np.ndarray]) -> TimeStep:
        timestep = self.env.restore(arrays)
        self.paid, self.episode = np.array(arrays["paid"]), np.array(arrays["episode"], np.int64)
        self.task_id = self.deck.tasks(self.episode)
        before = self.episode - timestep.last
        return self._told(timestep, self.deck.tasks(before), before)

    def _told(self, timestep: TimeStep, task_id: np.ndarray, episode: np.ndarray) -> TimeStep:
        over = timestep.last & self.deck.ends_trial(episode)
        own = {"task_id": task_id.copy(), "task": self.deck.table[task_id], "trial_last": over}
        return timestep._replace(reward=self.paid.copy(), extras={**timestep.extras, **own})
