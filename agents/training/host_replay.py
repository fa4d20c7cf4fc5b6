"""Learning from a buffer on the host: NumPy adds and draws records, and the device gets what its updates learn from.

The same as `learner.learn` with a buffer on the device, and with the same keys.
"""

from functools import partial
from typing import Any

import jax
import numpy as np

from agents.agent import Agent, Replay, Rollout, Sample, State, stored
from agents.training import learner
from agents.training.gradient import over_steps
from agents.training.learner import Learner
from envs.contract import EnvSpec, PyTree
from envs.errors import UsageError
from replay import sizes

CHUNK = 64_000_000  # bytes of the samples that go to the device at once, while as many are learned from


class HostReplay:
    """What the host loop does with a buffer on the host, for one agent.

    Raises:
      UsageError: where the agent reads the whole buffer, which must be on the device for that.
    """

    def __init__(self, agent: Agent, spec: EnvSpec):
        if not isinstance(agent.feed, Replay):
            raise UsageError(f"{agent.name} reads a whole buffer, which must be on the device: take --replay uniform.")
        self._feed, self._buffer = agent.feed, agent.feed.buffer
        self._watch = jax.jit(partial(learner.watch, agent, spec), donate_argnums=0)
        self._keys = jax.jit(_keys, static_argnums=2)
        self._updates = jax.jit(partial(_updates, agent), donate_argnums=0)
        self._blank: dict[str, Any] | None = None

    def opened(self, moved: Learner) -> Learner:
        """The learner with storage in the place of the record that `learner.init` left there."""
        return moved._replace(buffer=self._buffer.init(moved.buffer))

    def template(self, moved: Learner) -> Learner:
        """The shapes of `opened`. Memory that nothing was written to takes none, so storage may tell its own."""
        buffer = self.opened(moved).buffer
        return moved._replace(buffer=jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), buffer))

    def learn(
        self, key: jax.Array, update: np.uint32, moved: Learner, rollout: Rollout, progress: np.float32
    ) -> tuple[Learner, dict[str, Any]]:
        """Adds an unroll to the buffer, in place, and makes the updates that follow it; `moved` is spent."""
        buffer = moved.buffer
        moved, extras, found = self._watch(moved._replace(buffer=()), rollout, progress)
        records = _records(learner.with_extras(*jax.device_get((rollout, extras))))
        buffer = self._buffer.add(buffer, records)
        keys = jax.device_get(self._keys(key, update, learner.updates_of(self._feed, rollout)))
        if int(moved.steps) >= self._feed.warmup and self._buffer.can_sample(buffer, self._feed.size):
            state, metrics = self._learn(keys, moved.state, buffer, records)
        else:
            self._blank = self._blank or self._not_yet(keys, moved.state, records)
            state, metrics = moved.state, self._blank
        return moved._replace(state=state, buffer=buffer), {**metrics, **found}

    def _learn(self, keys: tuple, state: State, buffer: PyTree, records: Rollout) -> tuple[State, dict[str, Any]]:
        """One update for each key, and the metrics of all."""
        draw, learn = keys
        chunk = self._chunk(records)
        found: list[dict[str, jax.Array]] = []
        for begin in range(0, len(draw), chunk):
            now = slice(begin, begin + chunk)
            drawn = [self._drawn(buffer, key) for key in draw[now]]
            samples = jax.tree.map(lambda *leaves: np.stack(leaves), *drawn)
            # What is drawn ahead of the updates is at most one chunk.
            jax.block_until_ready(found[-1:])
            state, metrics = self._updates(state, learn[now], samples)
            found.append(metrics)
        joined = jax.tree.map(lambda *leaves: np.concatenate(leaves), *jax.device_get(found))
        return state, over_steps(joined)

    def _drawn(self, buffer: PyTree, key: np.ndarray) -> Sample:
        steps, places, weight = self._buffer.sample(key, buffer, self._feed.size)
        return Sample(stored(steps), places.astype(np.int32), weight)

    def _chunk(self, records: Rollout) -> int:
        """Updates that one program makes."""
        if jax.default_backend() == "cpu":
            return 1  # without a `scan`, in which gradients of convolutions take ten times as long
        return max(1, CHUNK // (self._feed.size * sizes.size_of(records) // len(records.timestep.last)))

    def _not_yet(self, keys: tuple, state: State, records: Rollout) -> dict[str, Any]:
        """The metrics of updates that are not made, as the shapes of one say."""
        size = self._feed.size
        several = lambda leaf: jax.ShapeDtypeStruct((1, size, *leaf.shape[1:]), leaf.dtype)  # noqa: E731
        places, weight = (jax.ShapeDtypeStruct((1, size), dtype) for dtype in (np.int32, np.float32))
        sample: Any = Sample(jax.tree.map(several, records), places, weight)  # type: ignore[arg-type]
        _, shapes = self._updates.eval_shape(state, keys[1][:1], sample)
        return learner.not_yet(jax.eval_shape(over_steps, shapes))


def _keys(key: jax.Array, update: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """The data of `count` keys to draw with, and of as many to learn with, `[count, ...]` each."""
    keys = jax.random.split(jax.random.fold_in(key, update), count)
    pairs = jax.random.key_data(jax.vmap(jax.random.split)(keys))
    return pairs[:, 0], pairs[:, 1]


def _updates(agent: Agent, state: State, keys: jax.Array, samples: Sample) -> tuple[State, dict[str, jax.Array]]:
    """Updates on samples `[K, size, ...]`, one after the other; the metrics of each."""

    def one(state, given):
        key, sample = given
        state, metrics = agent.update(jax.random.wrap_key_data(key), state, sample)
        return state, {name: value for name, value in metrics.items() if name != "priority"}

    if len(keys) > 1:
        return jax.lax.scan(one, state, (keys, samples))
    state, metrics = one(state, jax.tree.map(lambda leaf: leaf[0], (keys, samples)))
    return state, jax.tree.map(lambda leaf: leaf[None], metrics)


def _records(rollout: Rollout) -> Rollout:
    """`stored(single_steps(rollout))` of NumPy arrays."""
    obs = jax.tree.map(
        lambda first, later: np.concatenate([first[None], later[:-1]]), rollout.start.obs, rollout.timestep.obs
    )
    steps = stored(rollout._replace(carry=(), start=rollout.start._replace(obs=obs)))
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), steps)
