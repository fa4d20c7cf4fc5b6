"""NGU: pays for what the episode has not been near to, more where it is new to the run (Badia et al., 2020)."""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import losses
from agents.agent import Host, Rollout
from agents.auxiliary.auxiliary import Auxiliary
from agents.auxiliary.rewards import dynamics, rnd
from agents.config import build, require
from envs.contract import EnvSpec, TimeStep

CAP = 2_000  # embeddings that one environment keeps unless more are asked for

# ------------------------------------------------------------------------------------------------------- CONFIG


@dataclass(frozen=True)
class Config(dynamics.Config, rnd.Config):
    """Options of NGU, with the values of its paper."""

    coef: float = 0.3
    """Weight of the bonus in the reward, the paper's largest beta; its games pay far more than 1 in an episode."""
    learning_rate: float = 5e-4
    """Adam's step size for the inverse model and for RND's predictor."""
    embedding: int = 32
    """Units of the embedding."""
    layers: tuple[int, ...] = ()
    """Widths of the dense layers between the observation's encoder and the embedding."""
    model: tuple[int, ...] = (128,)
    """Widths of the inverse model's hidden layers."""
    squared: bool = True
    """Train RND's predictor on the squared error; the modulation reads the squared error either way."""
    neighbours: int = 10
    """The paper's k: nearest embeddings of the episode that are looked at."""
    epsilon: float = 1e-3
    """Width of the kernel (the paper's text; its tables have 1e-4)."""
    cluster: float = 0.008
    """Distance within which two embeddings are one place, in units of the mean distance."""
    constant: float = 1e-3
    """The paper's c: added to the similarity, so that the bonus is at most its inverse."""
    similarity: float = 8.0
    """Places that are more similar than this to the episode's pay nothing."""
    limit: float = 5.0
    """The paper's L: the most that novelty to the run multiplies the bonus by."""
    momentum: float = 0.99
    """What each update keeps of the running means and deviations (the paper does not say)."""
    memory: int = 0
    """Latest embeddings of its episode that each environment keeps; 0 takes the longest episode's, at most 2000."""

    def __post_init__(self):
        super().__post_init__()
        rnd.Config.__post_init__(self)
        require(self.neighbours > 0, "neighbours", self.neighbours, "above 0")
        require(self.epsilon > 0, "epsilon", self.epsilon, "above 0")
        require(self.cluster >= 0, "cluster", self.cluster, "at least 0")
        require(self.constant > 0, "constant", self.constant, "above 0")
        require(self.similarity > 0, "similarity", self.similarity, "above 0")
        require(self.limit >= 1, "limit", self.limit, "at least 1")
        require(0 <= self.momentum < 1, "momentum", self.momentum, "at least 0 and below 1")
        require(self.memory >= 0, "memory", self.memory, "at least 0")
        enough = self.memory == 0 or self.memory >= self.neighbours
        require(enough, "memory", self.memory, f"at least the {self.neighbours} neighbours, or 0")


# ------------------------------------------------------------------------------------------------------ NETWORKS


class Networks(NamedTuple):
    """The embedding with its inverse model, and RND."""

    dynamics: dynamics.Dynamics
    novelty: rnd.Novelty


# --------------------------------------------------------------------------------------------------------- STATE


class Moments(NamedTuple):
    """A running mean and mean square, float32 `[]`, and whether anything has gone into them, bool `[]`."""

    mean: jax.Array
    square: jax.Array
    begun: jax.Array


class State(NamedTuple):
    """The two models, and moments of the squared distances to nearest neighbours and of RND's squared errors."""

    dynamics: dynamics.State
    rnd: rnd.State
    distance: Moments
    error: Moments


def init(config: Config, nets: Networks, key: jax.Array, host: Host) -> State:
    """Fresh models and empty moments."""
    dynamics_key, rnd_key = jax.random.split(key)
    empty = Moments(jnp.zeros(()), jnp.zeros(()), jnp.zeros((), bool))
    return State(
        dynamics.init(config, nets.dynamics, dynamics_key, host),
        rnd.init(config, nets.novelty, rnd_key, host),
        empty,
        empty,
    )


def follow(config: Config, moments: Moments, values: jax.Array, counts: jax.Array) -> Moments:
    """Moves the moments towards those of the values that count, of the shape of `counts`; the first are taken whole."""
    total = counts.sum()
    kept = jnp.where(moments.begun, config.momentum, 0.0)
    kept = jnp.where(total > 0, kept, 1.0)
    values = jnp.where(counts > 0, values, 0.0)  # what does not count may be infinite
    mean, square = (x.sum() / jnp.maximum(total, 1.0) for x in (values, jnp.square(values)))
    return Moments(
        kept * moments.mean + (1 - kept) * mean,
        kept * moments.square + (1 - kept) * square,
        moments.begun | (total > 0),
    )


# ------------------------------------------------------------------------------------------------------- OBSERVE


class Memory(NamedTuple):
    """What one environment keeps of its episode: a ring of its latest embeddings.

    Attributes:
      ring: float32 `[capacity, D]`; the first `min(seen, capacity)` rows are of this episode.
      seen: states of the episode so far, int32 `[]`.
    """

    ring: jax.Array
    seen: jax.Array


def capacity(config: Config, spec: EnvSpec) -> int:
    """How many embeddings each environment keeps."""
    longest = min(spec.max_steps + 1, CAP) if spec.max_steps else CAP
    return max(config.memory or longest, config.neighbours)


def memory(config: Config, host: Host) -> Memory:
    """An empty ring."""
    return Memory(jnp.zeros((capacity(config, host.spec), config.embedding)), jnp.zeros((), jnp.int32))


def observe(config: Config, nets: Networks, state: State, memory: Memory, timestep: TimeStep):
    """Squared distances `[k]` from the state that the step led to to the nearest of its episode, `inf` where fewer are.

    Embeddings are those of the networks as they are now; earlier ones in the ring stay as they were made.
    """
    rows = memory.ring.shape[0]

    def embed(obs):
        one = jax.tree.map(lambda leaf: leaf[None], obs)
        return dynamics.embed(nets.dynamics, state.dynamics.params, one)[0]

    opening = embed(timestep.obs)
    # They differ at an episode's end only, and there a masked step is not paid for.
    phi = opening if config.terminal == "mask" else embed(timestep.next_obs)
    distance = jnp.square(memory.ring - phi).sum(-1)
    distance = jnp.where(jnp.arange(rows) < memory.seen, distance, jnp.inf)
    nearest = -jax.lax.top_k(-distance, config.neighbours)[0]

    # What is no number is not kept. That the place depends on the search also says that the ring is read before it is
    # written to: XLA would copy it to be safe.
    place = jnp.where(timestep.last, 0, memory.seen % rows)
    kept = ~jnp.isnan(nearest[0])
    place = jnp.where(kept, place, rows)
    ring = memory.ring.at[place].set(jnp.where(timestep.last, opening, phi), mode="drop")
    seen = jnp.where(timestep.last, 0, memory.seen) + kept
    return Memory(ring, seen), {"distance": nearest}


# ---------------------------------------------------------------------------------------------------------- STEP


def step(config: Config, nets: Networks, key: jax.Array, state: State, batch: Rollout, host: Host):
    """Bonus `r_episode * clip(1 + (e - mean(e)) / deviation(e), 1, L)` `[T, B]`, `e` the squared error of RND."""
    rnd_key, dynamics_key = jax.random.split(key)
    distance = batch.extras["distance"]
    moved, found = rnd.measure(config, nets.novelty, state.rnd, rnd_key, batch)
    steps = dynamics.transitions(config, batch)
    embedding, metrics = dynamics.train(config, nets.dynamics, state.dynamics, dynamics_key, steps)

    known = jnp.isfinite(distance) * found.counts[..., None]
    near = follow(config, state.distance, distance, known)
    error = jnp.square(found.successor)
    usual = follow(config, state.error, error, found.counts)

    episodic = jax.vmap(
        lambda row: losses.ngu_bonus(row, near.mean, config.epsilon, config.cluster, config.constant, config.similarity)
    )(distance)
    deviation = jnp.sqrt(jnp.maximum(usual.square - jnp.square(usual.mean), 1e-12))
    factor = jax.vmap(lambda row: losses.ngu_modulation(row, usual.mean, deviation, config.limit))(error)
    bonus = found.counts * episodic * factor
    metrics |= {
        "bonus": bonus.mean(),
        "episodic": episodic.mean(),
        "modulation": factor.mean(),
        "distance": near.mean,
        "novelty": error.mean(),
    }
    return State(embedding, moved, near, usual), bonus, metrics


# ---------------------------------------------------------------------------------------------------------- MAKE


def make(spec: EnvSpec, **options: Any) -> Auxiliary:
    """`r_int = r_episode * clip(alpha, 1, L)`, an episodic count by nearest neighbours times novelty to the run.

    `r_episode = 1 / (sqrt(sum_k K(phi, phi_k)) + c)` over the `k` nearest embeddings of the episode, which an inverse
    model has learnt; `alpha = 1 + (e - mean(e)) / deviation(e)`, `e` the squared error of RND. One coefficient and one
    value function: the paper's family of policies and its replayed training are an agent's affair.
    """
    config = build(Config, options)
    nets = Networks(dynamics.networks(config, spec), rnd.networks(config, spec))
    return Auxiliary(
        name="ngu",
        needs=("unroll",),
        init=partial(init, config, nets),
        memory=partial(memory, config),
        observe=partial(observe, config, nets),
        restarts=True,
        step=partial(step, config, nets),
        coef=config.coef,
    )
