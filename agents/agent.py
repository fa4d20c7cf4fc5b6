"""The contract of an agent: `Agent`, its `State`, what feeds it (`Unroll`, `Replay`, `Whole`), what it lends (`Host`).

An agent is a NamedTuple of pure functions made by a factory with keyword arguments. It knows no loop: the loops in
`agents/training/` call `act` at every environment step and `update` once per batch, and own buffers, keys and time.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from envs.contract import EnvSpec, PyTree, TimeStep
from replay.buffer import Buffer

Metrics = dict[str, jax.Array]


class State(NamedTuple):
    """All that an agent learns, as one PyTree.

    Attributes:
      params: the parameters that the optimiser moves.
      variables: Flax collections that are not trained. What `update` alone reads, large as it may be, is `learning`:
        the loops do not lend it to acting.
      opt: optimiser state.
      auxiliaries: name to the state of each auxiliary.
      knobs: flat dict of float32 scalars that `update` reads as traced values; written between updates.
      acting: the parameters to act with, or None where these are `params` (an average or a mask sets it).
      updates: int32, updates made so far.
    """

    params: PyTree
    variables: PyTree
    opt: PyTree
    auxiliaries: dict[str, PyTree]
    knobs: dict[str, jax.Array]
    acting: PyTree | None
    updates: jax.Array


class Rollout(NamedTuple):
    """The steps just taken by `B` environments, time first: what an `Unroll(T)` feed hands to `update`.

    Attributes:
      carry: the agent's memory before the first action, `[B, ...]`.
      start: the TimeStep that the first action answered, `[B, ...]`.
      action: `[T, B, ...]`.
      extras: what `act` returned beside the action and what `observe` returned on each step, `[T, B, ...]`.
      timestep: the TimeStep that each action led to, `[T, B, ...]`.
    """

    carry: PyTree
    start: TimeStep
    action: PyTree
    extras: dict[str, Any]
    timestep: TimeStep

    @property
    def obs(self) -> PyTree:
        """What each action answered: `[T, B, ...]`."""
        return jax.tree.map(
            lambda start, later: jax.numpy.concatenate([start[None], later[:-1]]), self.start.obs, self.timestep.obs
        )

    @property
    def first(self) -> jax.Array:
        """Whether each of `obs` opens an episode (the agent's memory is reset there): bool `[T, B]`."""
        return jax.numpy.concatenate([self.start.last[None], self.timestep.last[:-1]])


class Unroll(NamedTuple):
    """Feed: the last `length` steps of every environment, each used for one update, as a `Rollout`."""

    length: int


class Replay(NamedTuple):
    """Feed: samples of `buffer`, `size` records for each update, handed to `update` as a `Sample`.

    After every `length` steps of each environment the loop makes `ratio` updates for each step taken; learning starts
    after `warmup` environment steps. A metric named `priority` `[size]` goes back to the buffer.
    """

    buffer: Buffer
    size: int
    ratio: float
    warmup: int
    length: int = 1


class Sample(NamedTuple):
    """Records out of a buffer: a `stored` `Rollout` of single steps `[n, ...]`, where they lay, their weights `[n]`."""

    steps: Rollout
    places: jax.Array
    weight: jax.Array


class Whole(NamedTuple):
    """Feed: the buffer's own state, handed to `update` as it is after every `length` steps."""

    buffer: Buffer
    length: int


def stored(steps: Rollout) -> Rollout:
    """Single steps without what is there twice: `start.obs` is kept of the step before, and all but `timestep.obs`."""
    before = TimeStep(obs=steps.start.obs, reward=(), discount=(), last=(), next_obs=(), extras={})
    return steps._replace(start=before, timestep=steps.timestep._replace(obs=()))


def single_steps(rollout: Rollout) -> Rollout:
    """Every step as a record of its own, `[T * B, ...]`, without the agent's memory."""
    merge = lambda leaf: leaf.reshape(-1, *leaf.shape[2:])  # noqa: E731
    before = jax.tree.map(
        lambda first, later: jax.numpy.concatenate([first[None], later[:-1]]), rollout.start, rollout.timestep
    )
    return jax.tree.map(merge, rollout._replace(carry=(), start=before))


Feed = Unroll | Replay | Whole


class Evolution(NamedTuple):
    """What a loop does between updates for an agent whose weights also evolve: it plays episodes with several copies.

    Attributes:
      every: updates between two evaluations.
      episodes: of each copy in one evaluation, the same for all.
      size: copies, the agent itself among them.
      ask: `(key, state) -> params [size, ...]`, all that the agent has, its own first.
      tell: `(key, state, params [size, ...], fitness [size]) -> (state, metrics)`.
      check: whether the new parameters are played too, and given up where they are worse than the old ones.
    """

    every: int
    episodes: int
    size: int
    ask: Callable[[jax.Array, State], PyTree]
    tell: Callable[[jax.Array, State, PyTree, jax.Array], tuple[State, Metrics]]
    check: bool = False


class Agent(NamedTuple):
    """An agent as pure functions.

    Attributes:
      name: its name in the registry.
      config: the resolved configuration, flat: its own options and `NAME.FIELD` for each auxiliary's.
      init: `(key, spec) -> State`.
      begin: `(state, n) -> carry`, what each of `n` environments remembers between steps (`[n, ...]`).
      act: `(key, state, carry, timestep, evaluate) -> (action, carry, extras)`, batched `[B, ...]`; the memory of an
        environment whose `timestep.last` is set starts anew. `evaluate=True` (static) acts greedily.
      update: `(key, state, batch) -> (state, metrics)`.
      feed: `Unroll`, `Replay` or `Whole`.
      remember: `(n) -> memory`, zeros: what the auxiliaries remember of each of `n` environments.
      observe: `(state, memory, timestep) -> (memory, extras)`, batched; the auxiliaries' `observe` hooks.
      needs: names of what the auxiliaries and the agent ask of environment and loop; see `auxiliary.NEEDS`.
      evolution: what is done between updates, None for agents that learn by their updates alone.
      belief: optional `(carry) -> [B, D]`: what each environment's memory holds of the task that it is in.
    """

    name: str
    config: dict[str, Any]
    init: Callable[[jax.Array, EnvSpec], State]
    begin: Callable[[State, int], PyTree]
    act: Callable[..., tuple[PyTree, PyTree, dict[str, Any]]]
    update: Callable[[jax.Array, State, Any], tuple[State, Metrics]]
    feed: Feed
    remember: Callable[[int], PyTree]
    observe: Callable[[State, PyTree, TimeStep], tuple[PyTree, dict[str, Any]]]
    needs: tuple[str, ...] = ()
    belief: Callable[[PyTree], jax.Array] | None = None
    evolution: Evolution | None = None


class Windows(NamedTuple):
    """Stretches of trajectories, for objectives that compare them, and how an agent embeds them.

    Attributes:
      draw: `(key, batch, length) -> (windows, known)`: one window for each of `N` trajectories of a batch,
        `[N, length, ...]`, and whether there is one, bool `[N]`. Two draws give two windows of the same trajectories.
      same: `(batch) -> bool [N, N]`, which trajectories are known to be of one task.
      part: `(params) -> params`: those of the agent's that `embed` reads.
      embed: `(part, windows) -> (mean, deviation)`, a Gaussian `[N, D]` for each window, of deviation 0 for a vector.
      width: D.
      each: `(part, windows) -> (mean, deviation)`, the same for each step alone, `[N, length, D]`; None where a window
        has no meaning but as a whole.
    """

    draw: Callable[[jax.Array, Any, int], tuple[Any, jax.Array]]
    same: Callable[[Any], jax.Array]
    part: Callable[[PyTree], PyTree]
    embed: Callable[[PyTree, Any], tuple[jax.Array, jax.Array]]
    width: int
    each: Callable[[PyTree, Any], tuple[jax.Array, jax.Array]] | None = None


class Outputs(NamedTuple):
    """What one forward of an agent's network gives, time-major `[T, B, ...]`; sown losses and metrics are scalars."""

    features: jax.Array
    dist: Any
    value: jax.Array
    carry: PyTree
    losses: dict[str, jax.Array]
    taps: dict[str, jax.Array]
    metrics: dict[str, jax.Array]


class Host(NamedTuple):
    """What an agent lends to its auxiliaries: pure functions and its present state, nothing that can be mutated.

    Attributes:
      apply: `(params, obs, carry, first, *, train, rngs) -> Outputs`, time-major `[T, B, ...]`.
      loss: `(params, record, key) -> scalar`, the agent's own loss on one record.
      params: the agent's parameters.
      target: parameters of the target network, None where there is none.
      spec: the environment's spec.
      knobs: the knobs of this update.
      teacher: parameters of a policy to learn from, None unless lent.
      evaluate: `(params, seeds) -> returns`, lent by the loop, else None.
      windows: stretches of trajectories, None unless lent.
    """

    apply: Callable[..., Outputs] | None
    loss: Callable[..., jax.Array] | None
    params: PyTree
    target: PyTree | None
    spec: EnvSpec
    knobs: dict[str, jax.Array]
    teacher: PyTree | None = None
    evaluate: Callable[..., Any] | None = None
    windows: Windows | None = None


def acting_params(state: State) -> PyTree:
    """The parameters to act with: `acting` where an average or a mask set it, else `params`."""
    return state.params if state.acting is None else state.acting
