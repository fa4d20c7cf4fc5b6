"""The offline loop: an agent learns from a dataset, and no environment is stepped; a step of the run is an update.

The buffer of the agent's feed is filled once. What no update changes of it (the records) is no part of the state: it
is not donated, not copied, and not written into checkpoints, for the dataset brings it back.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from agents.agent import Agent, Replay, Rollout, Sample, State, Unroll, Whole, stored
from agents.training import learner
from agents.training.learner import Learner
from agents.training.loop import Loop, Report
from envs.contract import EnvSpec, PyTree, TimeStep
from envs.errors import UsageError
from envs.wrappers import Chain
from replay import sizes
from replay.buffer import Buffer
from replay.dataset import Dataset, check, size

# Buffers of single records, which fill from any dataset; the others need to know which steps follow each other.
SINGLE = ("uniform", "prioritised")
_EPISODES = ("episodes", "episode_cost")  # knobs that tell of episodes played


class OfflineLoop(Loop):
    """One agent on one dataset, for one seed.

    Args:
      agent: the agent; its feed is `Replay` or `Whole`.
      spec: the environment's own.
      wrapper: the wrappers around the environment; they may change nothing.
      data: the dataset; `require` has found that all of these fit together.
      seed: the seed.

    Raises:
      UsageError: where memory is too small.
    """

    def __init__(self, agent: Agent, spec: EnvSpec, wrapper: Chain, data: Dataset, *, seed: int):
        self.spec, self.seeds, self.steps_per_update, self.updates = spec, (seed,), 1, 0
        self._agent, self._records, self._wrapped = agent, records(data, spec), wrapper.init(spec, 1)
        self._init_key, self._learn_key = jax.random.split(jax.random.key(seed))
        self._begin = jax.jit(partial(learner.begin, agent, spec=spec))
        self._state = jax.eval_shape(self._begin, self._init_key)
        self._buffer = jax.eval_shape(_buffer(agent).init, _item(self._records))
        self._split = _split(agent, self._buffer)
        sizes.require_room(sizes.size_of(self._buffer) + sizes.size_of(self._records))
        self._advance = jax.jit(_advance(agent, self._split), donate_argnums=0)

    def start(self, params: PyTree | None = None) -> None:
        """Fills the buffer and begins a fresh run, with `params` instead of fresh ones if given."""
        moved = Learner(self._begin(self._init_key), (), _NOBODY, self._fill(), jnp.zeros((), jnp.int32))
        self.learner, self.updates = learner.given(moved, params), 0

    def advance(self, *, count: int = 1, total: int = 0, allow: Sequence[int] | None = None) -> Report:
        """Up to `count` updates in one call."""
        limit = np.iinfo(np.int32).max if allow is None else allow[0]
        plan = np.asarray([self.updates, count, total, limit], np.int32)
        moved = (self.learner.state, self.learner.buffer)
        (state, moving), told, batch = self._advance(moved, self._fixed, self._learn_key, plan)
        self.learner = self.learner._replace(state=state, buffer=moving)
        done, skipped, metrics = jax.device_get(told)
        self.updates += int(done)
        return Report([metrics], {}, batch, [int(skipped)])

    def tree(self, index: int = 0) -> PyTree:
        """All that the run's future depends on, but the dataset and the seed."""
        return {"learner": self.learner, "updates": self.updates}

    def template(self) -> PyTree:
        """The shapes of `tree`."""
        _, moving = self._split.apart(self._buffer)
        steps: Any = jax.ShapeDtypeStruct((), jnp.int32)
        return {"learner": Learner(self._state, (), _NOBODY, moving, steps), "updates": 0}

    def restore(self, trees: list[PyTree]) -> None:
        """Fills the buffer, and takes the run up where `tree` left it."""
        (tree,) = trees
        self._fill()
        self.learner, self.updates = jax.tree.map(jnp.asarray, tree["learner"]), int(tree["updates"])

    def adopt(self, state: State, index: int = 0) -> None:
        """Goes on with another state of the agent."""
        self.learner = self.learner._replace(state=state)

    def wrapper_state(self, index: int = 0) -> PyTree:
        """The state of the wrappers, which is none."""
        return self._wrapped

    def close(self) -> None:
        """Nothing to let go of."""

    def _fill(self) -> PyTree:
        """Puts the records into the buffer, all at once; what updates will change of it."""
        buffer = _buffer(self._agent)

        def fill(items: Rollout) -> tuple[PyTree, PyTree]:
            blank = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), _item(items))
            return self._split.apart(buffer.add(buffer.init(blank), items))

        self._fixed, moving = jax.jit(fill)(self._records)
        return moving


_NOBODY: Any = ()  # in place of the counts of episodes played


def records(data: Dataset, spec: EnvSpec) -> Rollout:
    """The transitions as buffers hold them, `[N, ...]`, with those extras that the spec declares."""
    extras = {name: leaf for name, leaf in data.extras.items() if name in spec.extras}
    nothing = TimeStep(obs=data.obs, reward=(), discount=(), last=(), next_obs=(), extras={})
    timestep = TimeStep((), data.reward, data.discount, data.last, data.next_obs, extras)
    return stored(Rollout((), nothing, data.action, {}, timestep))


# ------------------------------------------------------------------------------------------------------------ CHECKS


def require(agent: Agent, spec: EnvSpec, wrapper: Chain, data: Dataset) -> None:
    """Refuses what an offline run cannot do with these.

    Raises:
      UsageError: where the dataset is not of this environment (`replay.dataset.check`), where wrappers change it, where
        the agent learns from something else than single transitions or from what the dataset lacks, and where its
        buffer is too small.
    """
    if wrapper.name:
        raise UsageError(f"an offline run learns from the dataset as it is: leave out the wrappers {wrapper.name}.")
    check(data, spec)
    if isinstance(agent.feed, Unroll):
        raise UsageError(f"{agent.name} learns from the steps it has just taken, not from a dataset: sac or dqn do.")
    kept, steps = agent.config.get("replay", SINGLE[0]), agent.config.get("n_step", 1)
    if kept not in SINGLE or agent.feed.buffer.host:
        raise UsageError(f"a dataset is kept in a buffer of single records, not in {kept}: take {' or '.join(SINGLE)}.")
    if steps > 1:
        raise UsageError(f"a dataset holds single steps, and this agent learns from {steps} at once: take n_step=1.")
    capacity = agent.config.get(f"{kept}.capacity")
    if capacity is not None and capacity < size(data):
        raise UsageError(
            f"the dataset has {size(data):,} transitions and the buffer holds {capacity:,}: "
            f"take {kept}.capacity={size(data)} or more."
        )
    if isinstance(agent.feed, Whole) and size(data) < agent.config.get("batch", 0):
        raise UsageError(
            f"the dataset has {size(data):,} transitions, fewer than a batch of {agent.config['batch']:,}: "
            f"take batch={size(data)} or less."
        )
    _require_learnable(agent, spec, _item(records(data, spec)))


def _require_learnable(agent: Agent, spec: EnvSpec, item: Rollout) -> None:
    """Refuses an agent that learns from more than transitions, or from extras that the dataset lacks."""
    state = jax.eval_shape(partial(learner.begin, agent, spec=spec), jax.random.key(0))
    first = jax.eval_shape(lambda: _first(spec, item))
    seen = jax.eval_shape(lambda state, first: agent.observe(state, agent.remember(1), first)[1], state, first)
    acted = jax.eval_shape(
        lambda state, first: agent.act(jax.random.key(0), state, agent.begin(state, 1), first, False)[2], state, first
    )
    if more := sorted({**seen, **acted}):
        raise UsageError(f"{agent.name} learns from what it notes while it acts, {', '.join(more)}: no dataset has it.")
    # Nobody plays the episodes that these knobs tell of: an agent that asks for them would learn from zeros.
    blind = state._replace(knobs={name: value for name, value in state.knobs.items() if name not in _EPISODES})
    try:
        buffer = jax.eval_shape(_buffer(agent).init, item)
        jax.eval_shape(lambda state, buffer: _update(agent, jax.random.key(0), state, buffer), blind, buffer)
    except KeyError as error:
        name = error.args[0]
        if name in _EPISODES:
            raise UsageError(f"{agent.name} learns from the episodes it plays, and offline it plays none.") from error
        if name in spec.extras:
            raise UsageError(
                f"{agent.name} learns from the extra {name!r} of {spec.id}, which the dataset lacks."
            ) from error
        raise


def _item(items: Rollout) -> Rollout:
    """One of the records, in shapes."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), items)


def _first(spec: EnvSpec, item: Rollout) -> TimeStep:
    """A TimeStep of one environment, as acting sees it."""
    extras = {name: jnp.zeros((1, *array.shape), array.dtype) for name, array in spec.extras.items()}
    obs = jax.tree.map(lambda leaf: jnp.zeros((1, *leaf.shape), leaf.dtype), item.start.obs)
    return TimeStep(obs, jnp.zeros(1), jnp.ones(1), jnp.zeros(1, bool), obs, extras)


class Split(NamedTuple):
    """Which leaves of a buffer's state updates change.

    Attributes:
      moves: of each leaf, whether one may.
      structure: of the state.
    """

    moves: tuple[bool, ...]
    structure: Any

    def apart(self, state: PyTree) -> tuple[list[Any], list[Any]]:
        """The leaves that stay, and those that move."""
        leaves = list(zip(jax.tree.leaves(state), self.moves, strict=True))
        return [leaf for leaf, moves in leaves if not moves], [leaf for leaf, moves in leaves if moves]

    def together(self, fixed: Sequence[Any], moving: Sequence[Any]) -> PyTree:
        """The state of these two."""
        still, changed = iter(fixed), iter(moving)
        leaves = [next(changed if moves else still) for moves in self.moves]
        return jax.tree.unflatten(self.structure, leaves)


def _split(agent: Agent, state: PyTree) -> Split:
    """What of the buffer's state its `update` hands back as it was given."""
    feed = agent.feed
    leaves, structure = jax.tree.flatten(state)
    if not isinstance(feed, Replay):
        return Split((False,) * len(leaves), structure)

    def update(*leaves: jax.Array) -> list[jax.Array]:
        index, values = jnp.zeros(feed.size, jnp.int32), jnp.zeros(feed.size)
        return jax.tree.leaves(feed.buffer.update(jax.tree.unflatten(structure, leaves), index, values))

    program = jax.make_jaxpr(update)(*leaves).jaxpr
    moves = tuple(after is not before for before, after in zip(program.invars, program.outvars, strict=True))
    return Split(moves, structure)


# ------------------------------------------------------------------------------------------------------------ UPDATES


def _update(agent: Agent, key: jax.Array, state: State, buffer: PyTree):
    """One update from the buffer: `(state, buffer, metrics, batch)`, where a `Whole` feed has no batch of its own."""
    feed = agent.feed
    if not isinstance(feed, Replay):
        state, metrics = agent.update(key, state, buffer)
        return state, buffer, dict(metrics), ()
    sample_key, update_key = jax.random.split(key)
    sample = Sample(*feed.buffer.sample(sample_key, buffer, feed.size))
    state, metrics = agent.update(update_key, state, sample)
    metrics = dict(metrics)
    if "priority" in metrics:
        buffer = feed.buffer.update(buffer, sample.places, metrics.pop("priority"))
    return state, buffer, metrics, sample


def _advance(agent: Agent, split: Split) -> Callable[..., Any]:
    """`((state, moving), fixed, key, plan) -> ((state, moving), (done, skipped, metrics), batch)`.

    `plan` is the updates made before, those to make now, those of the whole run, and how many of the ones to make may
    be not finite: int32 `[4]`.
    """

    def advance(moved, fixed, key, plan):
        made, count, total, allow = plan

        def once(state, moving, number):
            progress = jnp.minimum(1.0, number.astype(jnp.float32) / jnp.maximum(total, 1)) * (total > 0)
            state = learner.with_progress(state, progress, state.knobs["episode_return"])
            buffer = split.together(fixed, moving)
            state, buffer, metrics, batch = _update(agent, jax.random.fold_in(key, number), state, buffer)
            return state, split.apart(buffer)[1], metrics, batch

        def going(carry):
            done, skipped, *_ = carry
            return (done < count) & (skipped <= allow)

        def one(carry):
            done, skipped, state, moving, _, _ = carry
            state, moving, metrics, batch = once(state, moving, made + done)
            return done + 1, skipped + (metrics.get("nonfinite", 0) > 0), state, moving, metrics, batch

        *_, metrics, batch = jax.tree.map(
            lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(once, *moved, made)
        )
        none = jnp.zeros((), jnp.int32)
        begun = (none, none, *moved, metrics, batch)
        done, skipped, state, moving, metrics, batch = jax.lax.while_loop(going, one, begun)
        return (state, moving), (done, skipped, metrics), batch

    return advance


def _buffer(agent: Agent) -> Buffer:
    assert not isinstance(agent.feed, Unroll)
    return agent.feed.buffer
