"""What both loops do with the steps they took: observe, count episodes, update the agent, as one pure function."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from agents.agent import Agent, Feed, Replay, Rollout, Sample, State, Unroll, single_steps, stored
from agents.training import mapped
from agents.training.gradient import over_steps
from envs.contract import EnvSpec, PyTree, TimeStep
from envs.errors import UsageError

WINDOW = 128  # the episodes that running averages look back on


class Episodes(NamedTuple):
    """Running episodes of `B` environments and a ring of the latest that ended.

    `current`, `cost` and `steps` are `[B]`; `returns`, `lengths`, `successes`, `costs` are rings of `max(WINDOW, B)`,
    and so is each of the spec's `scores`; `ended` counts all episodes so far. An episode's cost is the mean of its
    steps' extra `cost`, where there is one. `discarded` counts the episodes whose simulation diverged: they are in
    nothing else.
    """

    current: jax.Array
    cost: jax.Array
    steps: jax.Array
    returns: jax.Array
    lengths: jax.Array
    successes: jax.Array
    costs: jax.Array
    ended: jax.Array
    discarded: jax.Array
    scores: dict[str, jax.Array] = {}  # noqa: RUF012


class Learner(NamedTuple):
    """What an update moves: the agent's state, the auxiliaries' memory of each environment, and the episode counts.

    `buffer` is the feed's storage, `()` for unrolls; `steps` counts environment steps.
    """

    state: State
    memory: PyTree
    episodes: Episodes
    buffer: PyTree
    steps: jax.Array


def init(agent: Agent, key: jax.Array, spec: EnvSpec, first: TimeStep, n: int) -> Learner:
    """A fresh learner; `first` is the TimeStep that `reset` gave, which opens every episode for the auxiliaries.

    In place of a buffer on the host it has the record that this is to store, for what is traced makes no storage there.

    Raises:
      UsageError: where a buffer was made for another number of environments.
    """
    if not isinstance(agent.feed, Unroll) and agent.config.get("envs", n) != n:
        raise UsageError(f"{agent.name} keeps the steps of {agent.config['envs']} environments: make it with envs={n}.")
    state = begin(agent, key, spec)
    memory, seen = agent.observe(state, agent.remember(n), first)
    ring = max(WINDOW, n)
    episodes = Episodes(
        current=jnp.zeros(n),
        cost=jnp.zeros(n),
        steps=jnp.zeros(n, jnp.int32),
        returns=jnp.zeros(ring),
        lengths=jnp.zeros(ring),
        successes=jnp.zeros(ring),
        costs=jnp.zeros(ring),
        ended=jnp.zeros((), jnp.int32),
        discarded=jnp.zeros((), jnp.int32),
        scores={name: jnp.zeros(ring) for name in spec.scores},
    )
    buffer: PyTree = ()
    if not isinstance(agent.feed, Unroll):
        record = _record(agent, state, first, seen)
        buffer = record if on_host(agent.feed) else agent.feed.buffer.init(record)
    return Learner(state, memory, episodes, buffer, jnp.zeros((), jnp.int32))


def on_host(feed: Feed) -> bool:
    """Whether the feed's buffer lives on the host."""
    return not isinstance(feed, Unroll) and feed.buffer.host


def begin(agent: Agent, key: jax.Array, spec: EnvSpec) -> State:
    """An agent's first state with the knobs that every loop gives it."""
    state = with_progress(agent.init(key, spec), jnp.zeros(()))
    return with_cost(state, jnp.zeros(()), jnp.zeros(())) if "cost" in spec.extras else state


def with_progress(state: State, progress: jax.Array, returned: jax.Array | float = 0.0) -> State:
    """The state with knobs that every loop gives: the share of the run that is done, the latest episode's return."""
    told = {"progress": progress, "episode_return": jnp.asarray(returned, jnp.float32)}
    return state._replace(knobs={**state.knobs, **told})


def with_cost(state: State, ended: jax.Array, cost: jax.Array) -> State:
    """The state with the number of episodes that have ended as a knob, and the latest one's cost."""
    return state._replace(knobs={**state.knobs, "episodes": ended.astype(jnp.float32), "episode_cost": cost})


def _record(agent: Agent, state: State, first: TimeStep, seen: PyTree) -> Rollout:
    """One step as a buffer holds it, made of zeros."""
    n = first.last.shape[0]
    action, _, extras = jax.eval_shape(lambda: agent.act(jax.random.key(0), state, agent.begin(state, n), first, False))
    step = stored(Rollout((), first, action, {**extras, **seen}, first))
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape[1:], leaf.dtype), step)


def given(learner: Learner, params: PyTree | None) -> Learner:
    """The same learner with other parameters, if any are given."""
    return learner if params is None else learner._replace(state=learner.state._replace(params=params))


def count(episodes: Episodes, timestep: TimeStep) -> Episodes:
    """Adds one step of the batch. Returns count the environment's own reward, before any scaling by a wrapper."""
    reward = timestep.extras.get("raw_reward", timestep.reward)
    current, steps = episodes.current + reward, episodes.steps + 1
    last = timestep.last
    diverged = timestep.extras.get("diverged", jnp.zeros_like(last))
    over = last & ~diverged
    ring = episodes.returns.shape[0]
    # Episodes that end together take consecutive places; the others are sent outside the ring and dropped.
    place = jnp.where(over, (episodes.ended + jnp.cumsum(over) - 1) % ring, ring)
    success = timestep.extras.get("success", jnp.zeros_like(last))
    cost = episodes.cost + timestep.extras.get("cost", jnp.zeros_like(reward))

    def kept(values: jax.Array, new: jax.Array) -> jax.Array:
        return values.at[place].set(jnp.asarray(new, jnp.float32), mode="drop")

    return Episodes(
        current=jnp.where(last, 0.0, current),
        cost=jnp.where(last, 0.0, cost),
        steps=jnp.where(last, 0, steps),
        returns=kept(episodes.returns, current),
        lengths=kept(episodes.lengths, steps),
        successes=kept(episodes.successes, success),
        costs=kept(episodes.costs, cost / steps),
        ended=episodes.ended + over.sum(dtype=jnp.int32),
        discarded=episodes.discarded + diverged.sum(dtype=jnp.int32),
        scores={name: kept(values, timestep.extras[name]) for name, values in episodes.scores.items()},
    )


def report(episodes: Episodes, spec: EnvSpec) -> dict[str, jax.Array]:
    """Averages over the latest episodes, the spec's `scores` by their names; NaN before the first has ended."""
    ring = episodes.returns.shape[0]
    known = jnp.arange(ring) < episodes.ended
    # Not 0 / 0: under jit, XLA simplifies that to 0.
    mean = lambda values: jnp.where(known.any(), (known * values).sum() / known.sum(), jnp.nan)  # noqa: E731
    found = {
        "episodes": episodes.ended,
        "discarded": episodes.discarded,
        "episode_return": mean(episodes.returns),
        "episode_length": mean(episodes.lengths),
    }
    if "success" in spec.extras:
        found["success"] = mean(episodes.successes)
    if "cost" in spec.extras:
        found["cost"] = mean(episodes.costs)
    return found | {name: mean(values) for name, values in episodes.scores.items()}


def learn(
    agent: Agent, spec: EnvSpec, key: jax.Array, learner: Learner, rollout: Rollout, progress: jax.Array
) -> tuple[Learner, dict[str, jax.Array]]:
    """What the agent's feed makes of one unroll: one update, or none or several from a buffer.

    `progress` in `[0, 1]` is the share of the run that is done, for schedules.
    """
    learner, extras, found = watch(agent, spec, learner, rollout, progress)
    rollout = with_extras(rollout, extras)
    state, buffer, metrics = _update(agent, key, learner.state, learner.buffer, rollout, learner.steps)
    return learner._replace(state=state, buffer=buffer), {**metrics, **found}


def watch(
    agent: Agent, spec: EnvSpec, learner: Learner, rollout: Rollout, progress: jax.Array
) -> tuple[Learner, dict[str, PyTree], dict[str, jax.Array]]:
    """What comes before learning, whatever the feed: auxiliaries observe, episodes and steps count, knobs are set.

    Returns the learner, the extras `[T, B, ...]` that `observe` gave, and the averages over episodes.
    """

    def each(carry, timestep):
        memory, episodes = carry
        memory, extras = agent.observe(state, memory, timestep)
        return (memory, count(episodes, timestep)), extras

    state = with_progress(learner.state, progress, learner.state.knobs["episode_return"])
    (memory, episodes), extras = jax.lax.scan(each, (learner.memory, learner.episodes), rollout.timestep)
    latest = (episodes.ended - 1) % len(episodes.returns)
    state = with_progress(state, progress, episodes.returns[latest])
    if "cost" in spec.extras:
        state = with_cost(state, episodes.ended, episodes.costs[latest])
    steps = learner.steps + rollout.timestep.last.size
    return Learner(state, memory, episodes, learner.buffer, steps), extras, report(episodes, spec)


def with_extras(rollout: Rollout, extras: dict[str, PyTree]) -> Rollout:
    """The rollout with what `observe` gave, and without the extra `diverged`, which nothing is learned from."""

    def without(timestep: TimeStep) -> TimeStep:
        return timestep._replace(extras={name: leaf for name, leaf in timestep.extras.items() if name != "diverged"})

    own = {**rollout.extras, **extras}
    return rollout._replace(start=without(rollout.start), extras=own, timestep=without(rollout.timestep))


def updates_of(feed: Replay, rollout: Rollout) -> int:
    """How many updates follow one unroll."""
    return max(1, round(feed.ratio * rollout.timestep.last.size))


def not_yet(shapes: PyTree) -> PyTree:
    """Metrics of updates that were not made: NaN each."""
    return jax.tree.map(lambda leaf: jnp.full(leaf.shape, jnp.nan, leaf.dtype), shapes)


def _update(agent: Agent, key: jax.Array, state: State, buffer: PyTree, rollout: Rollout, steps: jax.Array):
    """Hands the agent what its feed promises: `(state, buffer, metrics)`."""
    feed = agent.feed
    if isinstance(feed, Unroll):
        state, metrics = agent.update(key, state, rollout)
        return state, buffer, metrics
    buffer = feed.buffer.add(buffer, stored(single_steps(rollout)))
    if not isinstance(feed, Replay):
        state, metrics = agent.update(key, state, buffer)
        return state, buffer, metrics

    def one(carry, key):
        state, buffer = carry
        sample_key, update_key = jax.random.split(key)
        sample = Sample(*feed.buffer.sample(sample_key, buffer, feed.size))
        state, metrics = agent.update(update_key, state, sample)
        metrics = dict(metrics)
        if "priority" in metrics:
            buffer = feed.buffer.update(buffer, sample.places, metrics.pop("priority"))
        return (state, buffer), metrics

    def learn(carry):
        carry, metrics = jax.lax.scan(one, carry, jax.random.split(key, updates_of(feed, rollout)))
        return carry, over_steps(metrics)

    def wait(carry):
        return carry, not_yet(shapes)

    _, shapes = jax.eval_shape(learn, (state, buffer))
    ready = mapped.agreed((steps >= feed.warmup) & feed.buffer.can_sample(buffer, feed.size))
    (state, buffer), metrics = jax.lax.cond(ready, learn, wait, (state, buffer))
    return state, buffer, metrics
