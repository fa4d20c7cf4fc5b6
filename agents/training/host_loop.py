"""The host loop: environments step on the host while the last unroll is learned from, with a fixed lag of one update.

While update `k` runs in its own thread, unroll `k + 1` is collected with the parameters from before update `k`. Every
environment has its place and nobody waits for "whoever is ready", so a run repeats bit for bit.
"""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from agents.agent import Agent, Rollout, State
from agents.training import actor, learner
from agents.training.actor import Acting
from agents.training.host_replay import HostReplay
from agents.training.loop import Loop, Report
from envs.contract import EnvSpec, HostMaker, PyTree, TimeStep
from envs.wrappers import Chain


class HostLoop(Loop):
    """One agent on a batch of host environments."""

    def __init__(self, agent: Agent, maker: HostMaker, wrapper: Chain, *, n: int, seed: int):
        self.spec = wrapper.spec(maker.spec)
        self.steps_per_update = n * agent.feed.length
        self.seeds = (seed,)
        self._agent, self._n, self._length = agent, n, agent.feed.length
        self._env = maker.open(seed=seed, n=n)
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="learner")
        init_key, self._act_key, self._learn_key = jax.random.split(jax.random.key(seed), 3)
        self._init_key = init_key
        # With nothing to change what the environments say, it stays on the host; the device gets what acting reads.
        self._unwrapped = not wrapper.name

        def first(key, raw):
            _, timestep = wrapper.timestep(wrapper.init(maker.spec, n), raw, False)
            return learner.init(agent, key, self.spec, timestep, n)

        def decide(key, step, state, carry, wrapped, raw):
            acting = actor.decide(agent, wrapper, False, jax.random.fold_in(key, step), state, carry, wrapped, raw)
            shown: Any = None if self._unwrapped else acting.timestep
            return acting._replace(timestep=shown)

        def learn(key, update, moved, rollout, progress):
            return learner.learn(agent, self.spec, jax.random.fold_in(key, update), moved, rollout, progress)

        self._first = jax.jit(first)
        self._begin = jax.jit(partial(actor.begin, agent, wrapper, maker.spec))
        self._decide = jax.jit(decide)
        self._replay = HostReplay(agent, self.spec) if learner.on_host(agent.feed) else None
        self._learn = self._replay.learn if self._replay else jax.jit(learn, donate_argnums=2)
        self._lend = jax.jit(partial(actor.lend, agent))
        self.updates = 0

    def start(self, params: PyTree | None = None) -> None:
        """Resets the environments and collects the first unroll, with `params` instead of fresh ones if given."""
        raw = self._env.reset()
        moved = self._first(self._init_key, raw)
        self.learner = learner.given(self._replay.opened(moved) if self._replay else moved, params)
        state = self._lend(self.learner.state)
        self._acting = self._begin(state, jax.random.fold_in(self._act_key, 0), raw)
        self._pending = self._collect(state)

    def advance(self, *, count: int = 1, total: int = 0, allow: Sequence[int] | None = None) -> Report:
        """Up to `count` times: learns from the pending unroll while the next one is collected."""
        skipped = 0
        for _ in range(count):
            report = self._once(min(1.0, self.updates / total) if total else 0.0)
            skipped += report.skipped[0]
            if allow is not None and skipped > allow[0]:
                break
        return report._replace(skipped=[skipped])

    def _once(self, progress: float) -> Report:
        state = self._lend(self.learner.state)
        began = time.perf_counter()
        future = self._pool.submit(self._update, self.updates, self.learner, self._pending, np.float32(progress))
        try:
            following = self._collect(state)
            collected = time.perf_counter()
        finally:
            self.learner, metrics, learning = future.result()
        ended = time.perf_counter()
        batch, self._pending = self._pending, following
        self.updates += 1
        clock = {
            "actor_waited": (ended - collected) / (ended - began),
            "learner_waited": max(0.0, 1.0 - learning / (ended - began)),
        }
        found = {name: np.asarray(value) for name, value in metrics.items()}
        return Report([found], clock, batch, [int(found.get("nonfinite", 0) > 0)])

    def tree(self, index: int = 0) -> PyTree:
        """All that the run's future depends on."""
        return {
            "learner": self.learner,
            "acting": self._acting,
            "pending": self._pending,
            "engine": self._env.save(),
            "updates": self.updates,
        }

    def template(self) -> PyTree:
        """The shapes of `tree`, without stepping an environment; the engine's notes may have any shape."""
        raw = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, _zeros(self._env.spec, self._n)))
        moved = jax.eval_shape(self._first, self._init_key, raw)
        moved = self._replay.template(moved) if self._replay else moved
        acting = jax.eval_shape(self._begin, moved.state, self._act_key, raw)
        long = lambda leaf: jax.ShapeDtypeStruct((self._length, *leaf.shape), leaf.dtype)  # noqa: E731
        pending = Rollout(
            acting.before, acting.timestep, *jax.tree.map(long, (acting.action, acting.extras, acting.timestep))
        )
        return {"learner": moved, "acting": acting, "pending": pending, "engine": dict, "updates": 0}

    def restore(self, trees: list[PyTree]) -> None:
        """Takes the run up where `tree` left it, on a fresh engine."""
        (tree,) = trees
        self._env.restore(tree["engine"])
        moved = tree["learner"]
        kept = moved.buffer if self._replay else jax.tree.map(jnp.asarray, moved.buffer)
        self.learner = jax.tree.map(jnp.asarray, moved._replace(buffer=()))._replace(buffer=kept)
        self._acting, self._pending, self.updates = tree["acting"], tree["pending"], int(tree["updates"])

    def adopt(self, state: State, index: int = 0) -> None:
        """Goes on with another state of the agent, with which the unroll after the one at hand is collected."""
        self.learner = self.learner._replace(state=state)

    def wrapper_state(self, index: int = 0) -> PyTree:
        """The wrappers' statistics as they stand."""
        return self._acting.wrapper

    def close(self) -> None:
        """Ends the learner's thread and the engine."""
        self._pool.shutdown()
        self._env.close()

    def _update(self, update: int, moved: learner.Learner, rollout: Rollout, progress: np.float32) -> tuple[Any, ...]:
        began = time.perf_counter()
        moved, metrics = jax.block_until_ready(
            self._learn(self._learn_key, np.uint32(update), moved, rollout, progress)
        )
        return moved, metrics, time.perf_counter() - began

    def _collect(self, state) -> Rollout:
        begun: Acting = self._acting
        actions, extras = [], []
        # Written row by row: large arrays are copied once, while they are in the cache.
        timestep = jax.tree.map(lambda leaf: np.empty((self._length, *leaf.shape), leaf.dtype), begun.timestep)
        offset = self._offset()
        for step in range(self._length):
            now = self._acting
            actions.append(now.action)
            extras.append(now.extras)
            raw = actor.settled(np, self._env.step(np.asarray(now.sent)))
            decided = self._decide(self._act_key, np.uint32(offset + step), state, now.carry, now.wrapper, raw)
            self._acting = decided._replace(timestep=raw) if self._unwrapped else decided
            if raw.extras["diverged"].any():
                stayed = actor.stayed(np, *jax.device_get((now.timestep.obs, self._acting.timestep)))
                self._acting = self._acting._replace(timestep=stayed)
            jax.tree.map(partial(_write, step), timestep, self._acting.timestep)
        return actor.unroll(begun, actions, extras, timestep)

    def _offset(self) -> int:
        """The number of the first decision of the unroll being collected; decision 0 was made at the start."""
        collected = self.updates + (1 if hasattr(self, "_pending") else 0)
        return 1 + collected * self._length


def _write(step: int, rows: np.ndarray, row: Any) -> None:
    rows[step] = row


def _zeros(spec: EnvSpec, n: int) -> TimeStep:
    make = lambda leaf: np.zeros((n, *leaf.shape), leaf.dtype)  # noqa: E731
    return TimeStep(
        obs=jax.tree.map(make, spec.obs),
        reward=np.zeros(n, np.float32),
        discount=np.zeros(n, np.float32),
        last=np.zeros(n, bool),
        next_obs=jax.tree.map(make, spec.obs),
        extras={name: make(leaf) for name, leaf in spec.extras.items()},
    )
