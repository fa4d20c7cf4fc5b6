"""Records as buffers get them, made from a scripted stream: `Stream` numbers the steps of several environments."""

from typing import Any, NamedTuple

import jax
import numpy as np

from envs.contract import TimeStep
from replay.buffer import Buffer


class Record(NamedTuple):
    carry: Any
    start: TimeStep
    action: Any
    extras: dict[str, Any]
    timestep: TimeStep


class Stream:
    """`envs` environments whose episodes end by chance; observations are `[number of the state, environment]`."""

    def __init__(self, envs: int, seed: int, end: float = 0.3):
        self.envs, self.end, self.rng = envs, end, np.random.default_rng(seed)
        self.counter = 0
        self.obs = self._fresh()
        self.all: list[Record] = []

    def _fresh(self):
        self.counter += 1
        return np.stack([np.full(self.envs, self.counter), np.arange(self.envs)], -1).astype(np.float32)

    def _timestep(self, obs, next_obs, reward, discount, last):
        extras = {
            "cost": (reward > 0.5).astype(np.float32),
            "task": (np.arange(self.envs) % 2).astype(np.int32),
        }
        return TimeStep(obs, reward, discount, last, next_obs, extras)

    def take(self, steps: int) -> Record:
        """The next `steps` of every environment, `[steps * envs, ...]`, time first."""
        records = []
        for _ in range(steps):
            reward = self.rng.normal(size=self.envs).astype(np.float32)
            last = self.rng.random(self.envs) < self.end
            over = last & (self.rng.random(self.envs) < 0.5)
            next_obs = self._fresh()
            obs = np.where(last[:, None], self._fresh(), next_obs)
            zero = np.zeros(self.envs, np.float32)
            start = self._timestep(self.obs, self.obs, zero, zero + 1, zero > 0)
            action = self.rng.integers(0, 9, self.envs).astype(np.int32)
            after = self._timestep(obs, next_obs, reward, 1 - over.astype(np.float32), last)
            records.append(Record((), start, action, {"log_prob": reward * 2}, after))
            self.obs = obs
        self.all += records
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *records)


def compiled(buffer: Buffer) -> Buffer:
    """The same buffer, each function compiled."""
    return buffer._replace(
        init=jax.jit(buffer.init),
        add=jax.jit(buffer.add),
        sample=jax.jit(buffer.sample, static_argnums=2),
        update=jax.jit(buffer.update),
        can_sample=jax.jit(buffer.can_sample, static_argnums=1),
    )


def item(records: Record) -> Record:
    """One of the records, without the batch axis."""
    return jax.tree.map(lambda leaf: leaf[0], records)


def same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for one, other in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
