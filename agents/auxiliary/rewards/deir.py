"""DEIR: pays for observations unlike all of the episode's, in the eyes of a discriminator (Wan et al., 2023)."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

import losses
from agents import moments
from agents.agent import Host, Rollout
from agents.auxiliary.auxiliary import Auxiliary
from agents.auxiliary.rewards import dynamics
from agents.config import build, require
from agents.moments import Moments
from agents.networks import torsos
from envs.contract import Action, EnvSpec, PyTree, TimeStep
from envs.errors import UsageError

# ------------------------------------------------------------------------------------------------------- CONFIG


@dataclass(frozen=True)
class Config:
    """Options of DEIR, with the values of its released code."""

    coef: float = 0.01
    """Weight of the bonus in the reward."""
    learning_rate: float = 3e-4
    """Adam's step size for the discriminator."""
    max_grad_norm: float = 0.5
    """The discriminator's gradient is clipped to this global norm."""
    epochs: int = 4
    """Passes of the discriminator over the steps of each update."""
    minibatch_size: int = 512
    """Steps in each of its gradient steps."""
    embedding: int = 128
    """Units of the embeddings of observations and of trajectories."""
    hidden: int = 256
    """Units of the hidden layer of the discriminator's head."""
    channels: tuple[int, ...] = (32, 64)
    """Widths of the embedding's convolutions over a grid, as many as it has room for."""
    kernel: int = 3
    """Side of these convolutions, in cells."""
    stride: int = 2
    """Their stride, in cells."""
    history: int = 1000
    """The bonus looks back at no more than this many observations of the episode, the latest ones."""
    queue: int = 100_000
    """Observations that false successors are drawn from, the latest ones of those added."""
    queue_dtype: Literal["integer", "float16", "float32"] = "integer"
    """How the queue keeps numbers that are no integers; `integer` means that there must be none."""
    momentum: float = 0.9
    """Of the moving mean and variance that the bonus is standardised by."""
    ignore: tuple[str, ...] = ("direction", "mission")
    """Parts of the observation that the bonus does not look at."""

    def __post_init__(self):
        require(self.coef >= 0, "coef", self.coef, "at least 0")
        require(0 <= self.momentum < 1, "momentum", self.momentum, "at least 0 and below 1")
        for name in ("learning_rate", "max_grad_norm", "epochs", "minibatch_size", "embedding", "hidden", "stride"):
            require(getattr(self, name) > 0, name, getattr(self, name), "above 0")
        require(self.kernel > 1, "kernel", self.kernel, "at least 2")
        require(self.history > 0, "history", self.history, "above 0")
        require(self.queue > 0, "queue", self.queue, "above 0")


# ------------------------------------------------------------------------------------------------------ NETWORKS


class Model(nn.Module):
    """Embeds observations and trajectories, and tells whether an observation really followed.

    Dense layers are followed by layer norm. The released code has batch norm behind every layer but the GRU, which
    needs two sets of statistics: of minibatches to train with, and moving ones for the steps as they are taken.
    """

    torso: nn.Module
    width: int
    hidden: int
    action: Action

    def setup(self):
        self.dense = torsos.dense(self.width)
        self.norm = nn.LayerNorm()
        self.gru = nn.GRUCell(self.width)
        self.head = torsos.dense(self.hidden)
        self.head_norm = nn.LayerNorm()
        self.logit = torsos.dense(1, gain=1.0)

    def embed(self, obs: PyTree) -> jax.Array:
        """`e(o)`: observations `[N, ...]` to `[N, D]`."""
        return nn.relu(self.norm(self.dense(self.torso(obs))))

    def advance(self, trajectory: jax.Array, embedding: jax.Array) -> jax.Array:
        """`tau_t` of `tau_{t-1}` and `e(o_t)`, `[N, D]` each; a GRU."""
        return self.gru(trajectory, embedding)[0]

    def judge(self, trajectory: jax.Array, successor: jax.Array, action: PyTree) -> jax.Array:
        """The logit of `o_{t+1}` having followed, of `tau_t`, `tau_{t+1}` `[N, D]` and `a_t` `[N, ...]`; `[N]`."""
        parts = (trajectory, successor, dynamics.features(self.action, action))
        return self.logit(nn.relu(self.head_norm(self.head(jnp.concatenate(parts, -1)))))[:, 0]

    def __call__(self, trajectory: jax.Array, obs: PyTree, action: PyTree, *successors: PyTree):
        """The logits `[N]` of each of `successors`, of `tau_{t-1}` and what followed it."""
        rows = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), obs, *successors)
        now, *others = jnp.split(self.embed(rows), 1 + len(successors))
        trajectory = self.advance(trajectory, now)
        return [self.judge(trajectory, self.advance(trajectory, other), action) for other in others]


def network(config: Config, spec: EnvSpec) -> Model:
    """The model for an environment's observations and actions."""
    torso = torsos.auto(
        spec.obs,
        hidden=(),
        activation="relu",
        channels=config.channels,
        kernel=config.kernel,
        stride=config.stride,
        norm=True,
        ignore=tuple(name for name in config.ignore if isinstance(spec.obs, dict) and name in spec.obs),
    )
    return Model(torso, config.embedding, config.hidden, spec.action)


def looked_at(config: Config, obs: PyTree) -> PyTree:
    """An observation, or its spec, without the parts that the bonus does not look at."""
    return {name: part for name, part in obs.items() if name not in config.ignore} if isinstance(obs, dict) else obs


# --------------------------------------------------------------------------------------------------------- STATE


class Queue(NamedTuple):
    """A ring of observations `[Q, ...]`, the place that is written next and how many are in use, int32 `[]` each."""

    obs: PyTree
    place: jax.Array
    filled: jax.Array


class State(NamedTuple):
    """The model, its optimiser, the queue, and the moments of the bonus."""

    params: PyTree
    opt: PyTree
    queue: Queue
    moments: Moments


class Memory(NamedTuple):
    """The episode so far: `e(o_0) .. e(o_t)` and with each the trajectory before it, `0, tau_0 .. tau_{t-1}`.

    Attributes:
      embeddings: `[N, D]`, a ring: an observation lies at its number modulo `N`.
      trajectories: `[N, D]`.
      trajectory: `tau_t` `[D]`.
      length: observations so far, int32 `[]`.
    """

    embeddings: jax.Array
    trajectories: jax.Array
    trajectory: jax.Array
    length: jax.Array


def optimiser(config: Config) -> optax.GradientTransformation:
    """Adam behind a global-norm clip of its own: the agent's gradients have no part in it."""
    return optax.chain(optax.clip_by_global_norm(config.max_grad_norm), optax.adam(config.learning_rate, eps=1e-5))


def init(config: Config, model: Model, key: jax.Array, host: Host) -> State:
    """A fresh model, an empty queue, and the moments before the first bonus."""
    obs = jax.tree.map(lambda leaf: jnp.zeros((1, *leaf.shape), leaf.dtype), looked_at(config, host.spec.obs))
    params = model.init(key, jnp.zeros((1, config.embedding)), obs, jnp.zeros(1, jnp.int32), obs)
    kept = jax.tree.map(lambda leaf: jnp.zeros((config.queue, *leaf.shape[1:]), _kept_as(config, leaf.dtype)), obs)
    queue = Queue(kept, jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))
    return State(params, optimiser(config).init(params), queue, moments.first())


def memory(config: Config, host: Host) -> Memory:
    """The memory of one environment before its first episode: as many places as an episode needs, or `history`."""
    limit = host.spec.max_steps
    ring = jnp.zeros((min(limit, config.history) if limit else config.history, config.embedding))
    return Memory(ring, ring, ring[0], jnp.zeros((), jnp.int32))


def _kept_as(config: Config, dtype: Any) -> Any:
    return config.queue_dtype if jnp.issubdtype(dtype, jnp.floating) else dtype


# ------------------------------------------------------------------------------------------------------- OBSERVE


def observe(config: Config, model: Model, state: State, memory: Memory, timestep: TimeStep):
    """The bonus of the step, and `tau_{t-1}`, from which its action's trajectory can be taken up again.

    Then the observation that the step led to joins the episode, or the one that opens the next.
    """
    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), timestep.next_obs, timestep.obs)
    embedded: Any = model.apply(state.params, looked_at(config, both), method="embed")
    successor, opening = embedded
    places = len(memory.embeddings)
    square = jnp.square(memory.embeddings - successor).sum(-1)
    distance = jnp.sqrt(jnp.square(memory.trajectories - memory.trajectory).sum(-1))
    bonus = losses.deir_bonus(square, distance, jnp.arange(places) < memory.length)
    extras = {"bonus": bonus, "trajectory": memory.trajectories[(memory.length - 1) % places]}

    embedding = jnp.where(timestep.last, opening, successor)
    before = jnp.where(timestep.last, 0.0, memory.trajectory)
    after: Any = model.apply(state.params, before[None], embedding[None], method="advance")
    place = jnp.where(timestep.last, 0, memory.length % places)
    memory = Memory(
        memory.embeddings.at[place].set(embedding),
        memory.trajectories.at[place].set(before),
        after[0],
        jnp.where(timestep.last, 1, memory.length + 1),
    )
    return memory, extras


# ---------------------------------------------------------------------------------------------------------- STEP


class Records(NamedTuple):
    """Steps `[N, ...]`: `tau_{t-1}`, `o_t`, `a_t`, `o_{t+1}`, and whether the episode went on after it."""

    trajectory: jax.Array
    obs: PyTree
    action: PyTree
    next_obs: PyTree
    counts: jax.Array


def step(config: Config, model: Model, key: jax.Array, state: State, batch: Rollout, host: Host):
    """The bonuses of the unroll `[T, B]`, standardised; the queue and the discriminator further on."""
    n = batch.timestep.last.shape[1]
    require(config.queue >= n, "queue", config.queue, f"at least 1 for each of the {n} environments")
    raw = batch.extras["bonus"]
    queue, added = enqueue(state.queue, *additions(config, state.queue, raw, batch))

    moved = moments.advance(state.moments, raw, config.momentum)
    bonus = moments.standardised(raw, moved)

    steps = Records(
        batch.extras["trajectory"],
        looked_at(config, batch.obs),
        batch.action,
        looked_at(config, batch.timestep.next_obs),
        ~batch.timestep.last,
    )
    records = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), steps)
    params, opt, found = train(config, model, state._replace(queue=queue), key, records)
    metrics = {"bonus": raw.mean(), "deviation": jnp.sqrt(moved.variance), "added": added / raw.size, **found}
    return State(params, opt, queue, moved), bonus, metrics


def additions(config: Config, queue: Queue, bonus: jax.Array, batch: Rollout) -> tuple[PyTree, jax.Array]:
    """What could be added to the queue, in the order of time, and whether it is: `[B + T B, ...]`, bool `[B + T B]`.

    Successors are added that pay no less than the unroll's mean; in the first unroll all are, behind the observations
    that it began with.
    """
    obs = jax.tree.map(
        lambda start, later: jnp.concatenate([start, later.reshape(-1, *later.shape[2:])]),
        looked_at(config, batch.start.obs),
        looked_at(config, batch.timestep.next_obs),
    )
    first = jnp.broadcast_to(queue.filled == 0, bonus.shape[1:])
    return obs, jnp.concatenate([first, ((bonus >= bonus.mean()) | first).reshape(-1)])


def enqueue(queue: Queue, obs: PyTree, keep: jax.Array) -> tuple[Queue, jax.Array]:
    """The queue with those of `obs` `[N, ...]` that `keep` names, and how many these are."""
    size = len(jax.tree.leaves(queue.obs)[0])
    number = jnp.cumsum(keep) - 1
    added = keep.sum()
    # Of more than fit the latest stay; a place outside the ring is not written.
    keep &= number >= added - size
    place = jnp.where(keep, (queue.place + number) % size, size)
    kept = jax.tree.map(lambda old, new: old.at[place].set(new.astype(old.dtype), mode="drop"), queue.obs, obs)
    return Queue(kept, (queue.place + added) % size, jnp.minimum(queue.filled + added, size)), added


def false_successors(queue: Queue, key: jax.Array, truth: PyTree) -> tuple[PyTree, jax.Array]:
    """Observations `[N, ...]` out of the queue, and whether they differ from `truth`: of two draws one that does."""
    n = len(jax.tree.leaves(truth)[0])
    index = jax.random.randint(key, (2, n), 0, queue.filled)
    drawn = jax.tree.map(lambda leaf: leaf[index], queue.obs)

    def unlike(draw, true):
        return (draw != true.astype(draw.dtype)).reshape(2, n, -1).any(-1)

    differs = jnp.stack(jax.tree.leaves(jax.tree.map(unlike, drawn, truth))).any(0)
    rows = jnp.arange(n)
    chosen = jax.tree.map(lambda draw, true: draw[1 - differs[0], rows].astype(true.dtype), drawn, truth)
    return chosen, differs.any(0)


def discriminate(model: Model, params: PyTree, queue: Queue, key: jax.Array, records: Records):
    """The loss on a minibatch, and metrics. Rows whose episode ended, or that drew no false successor, do not count."""
    false, differs = false_successors(queue, key, records.next_obs)
    logits: Any = model.apply(params, records.trajectory, records.obs, records.action, records.next_obs, false)
    true_counts, false_counts = records.counts, records.counts & differs
    loss = losses.deir_loss(logits[0], logits[1], true_counts, false_counts).sum()
    right = (true_counts * (logits[0] > 0)).sum() + (false_counts * (logits[1] < 0)).sum()
    return loss, {"loss": loss, "accuracy": right / jnp.maximum(true_counts.sum() + false_counts.sum(), 1)}


def train(config: Config, model: Model, state: State, key: jax.Array, records: Records):
    """`epochs` passes over the records: parameters, optimiser, and the means of the metrics."""
    optimizer = optimiser(config)
    total = len(records.counts)
    parts = max(1, total // config.minibatch_size)
    order_key, draw_key = jax.random.split(key)
    orders = jax.vmap(jax.random.permutation, (0, None))(jax.random.split(order_key, config.epochs), total)
    index = orders[:, : total // parts * parts].reshape(config.epochs * parts, -1)

    def move(carry, at):
        params, opt = carry
        index, key = at
        part = jax.tree.map(lambda leaf: leaf[index], records)
        gradient, found = jax.grad(lambda p: discriminate(model, p, state.queue, key, part), has_aux=True)(params)
        updates, opt = optimizer.update(gradient, opt, params)
        return (optax.apply_updates(params, updates), opt), found

    keys = jax.random.split(draw_key, len(index))
    (params, opt), found = jax.lax.scan(move, (state.params, state.opt), (index, keys))
    return params, opt, jax.tree.map(jnp.mean, found)


# ---------------------------------------------------------------------------------------------------------- MAKE


def make(spec: EnvSpec, **options: Any) -> Auxiliary:
    """`r_int = min_i ||e(o_i) - e(o_{t+1})||^2 / (||tau_{i-1} - tau_t|| + 1e-6)` over the episode's `o_0 .. o_t`.

    `e` embeds an observation and `tau_i` all of `o_0 .. o_i`; `tau_{-1}` is 0, as in the released code. A discriminator
    `D(tau_t, tau_{t+1}, a_t)` trains both, on true successors and on ones drawn from a queue. The trajectory is the
    model's own, so that the agent needs no memory.

    Raises:
      UsageError: for an observation of other than integers, unless `queue_dtype` says how to keep it.
    """
    config = build(Config, options)
    obs = jax.tree.leaves(looked_at(config, spec.obs))
    if config.queue_dtype == "integer" and any(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in obs):
        raise UsageError(
            f"deir keeps {config.queue} observations, and those of {spec.id} are no integers: "
            "queue_dtype must be float16 or float32."
        )
    model = network(config, spec)
    return Auxiliary(
        name="deir",
        needs=("unroll", "discrete"),
        init=partial(init, config, model),
        memory=partial(memory, config),
        observe=partial(observe, config, model),
        restarts=True,
        step=partial(step, config, model),
        coef=config.coef,
    )
