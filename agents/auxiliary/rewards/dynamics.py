"""Dynamics: an embedding that tells which action was taken, and models of it; what several bonuses are built on.

The inverse model reads the action off two embeddings in a row, so that what no action moves leaves no trace in them
(Pathak et al., 2017). The forward model foresees the embedding that an action leads to. This file is no bonus itself.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import losses
from agents.agent import Host, Rollout
from agents.config import require
from agents.networks import chunks, distributions, torsos
from envs.contract import Action, Box, Discrete, EnvSpec, MultiDiscrete, PyTree
from envs.errors import UsageError

# ------------------------------------------------------------------------------------------------------- CONFIG


@dataclass(frozen=True)
class Config:
    """Options of the embedding and its inverse model, with the values of RIDE's released code for MiniGrid."""

    learning_rate: float = 1e-4
    """Adam's step size for the bonus's own networks."""
    max_grad_norm: float = 40.0
    """Their gradient is clipped to this global norm."""
    embedding: int = 128
    """Units of the embedding."""
    layers: tuple[int, ...] = (128,)
    """Widths of the dense layers between the observation's encoder and the embedding."""
    gain: float = 1.0
    """Size of the embedding's first weights."""
    model: tuple[int, ...] = (256,)
    """Widths of the hidden layers of the models of the dynamics."""
    minibatches: int = 1
    """Gradient steps in each update, on equal parts of it."""
    ignore: tuple[str, ...] = ("direction", "mission")
    """Parts of the observation that the bonus does not look at."""
    terminal: Literal["true_next", "mask"] = "true_next"
    """At an episode's end: true_next looks at the true last observation, mask pays no bonus (and costs half)."""

    def __post_init__(self):
        require(self.learning_rate > 0, "learning_rate", self.learning_rate, "above 0")
        require(self.max_grad_norm > 0, "max_grad_norm", self.max_grad_norm, "above 0")
        require(self.embedding > 0, "embedding", self.embedding, "above 0")
        require(self.gain > 0, "gain", self.gain, "above 0")
        require(self.minibatches > 0, "minibatches", self.minibatches, "above 0")


@dataclass(frozen=True)
class ForwardConfig(Config):
    """Options of both models, with the weights of RIDE's released code."""

    gain: float = 0.01
    """Size of the embedding's first weights; 0.01 makes embeddings as small as RIDE's code does, whose coef this is."""
    forward_cost: float = 10.0
    """Weight of the forward model's loss."""
    inverse_cost: float = 0.1
    """Weight of the inverse model's loss."""
    squared: bool = True
    """Train the forward model on half the squared error (ICM's paper); false takes the norm (RIDE's released code)."""

    def __post_init__(self):
        super().__post_init__()
        require(self.forward_cost > 0, "forward_cost", self.forward_cost, "above 0")
        require(self.inverse_cost >= 0, "inverse_cost", self.inverse_cost, "at least 0")


# ------------------------------------------------------------------------------------------------------ NETWORKS


class Dynamics(NamedTuple):
    """The networks, and the actions that they are for.

    Attributes:
      embedding: `(obs) -> phi`.
      inverse: `(phi, phi') -> logits of the action`, or its mean in a box.
      forward: `(phi, action) -> phi'`, None where only the inverse model is asked for.
      action: the action space.
    """

    embedding: nn.Module
    inverse: nn.Module
    forward: nn.Module | None
    action: Action


class Embedding(nn.Module):
    """A torso, then one dense layer with ELU: `[..., *]` to `[..., width]`."""

    torso: nn.Module
    width: int
    gain: float

    @nn.compact
    def __call__(self, obs: PyTree) -> jax.Array:
        return nn.elu(torsos.dense(self.width, self.gain)(self.torso(obs)))


class Model(nn.Module):
    """Arrays side by side through dense layers with ReLU and a linear one: `[..., D]` each to `[..., out]`."""

    hidden: tuple[int, ...]
    out: int

    @nn.compact
    def __call__(self, *parts: jax.Array) -> jax.Array:
        x = torsos.MLP(self.hidden, "relu")(jnp.concatenate(parts, -1))
        return torsos.dense(self.out, gain=1.0)(x)


def networks(config: Config, spec: EnvSpec) -> Dynamics:
    """The networks for an environment's observations and actions; a forward model for a `ForwardConfig` only.

    Raises:
      UsageError: for a box of actions without finite bounds.
    """
    if isinstance(spec.action, Box) and not np.isfinite((spec.action.low, spec.action.high)).all():
        raise UsageError(f"a model of dynamics needs finite bounds of the actions, and {spec.id} has none.")
    present = spec.obs if isinstance(spec.obs, dict) else {}
    ignore = tuple(name for name in config.ignore if name in present)
    torso = torsos.auto(spec.obs, hidden=config.layers, activation="elu", ignore=ignore)
    embedding = Embedding(torso, config.embedding, config.gain)
    inverse = Model(config.model, _width(spec.action))
    forward = Model(config.model, config.embedding) if isinstance(config, ForwardConfig) else None
    return Dynamics(embedding, inverse, forward, spec.action)


def looked_at(config: Config, obs: PyTree) -> PyTree:
    """An observation without the parts that the bonus ignores."""
    if not isinstance(obs, dict):
        return obs
    return {name: part for name, part in obs.items() if name not in config.ignore}


def embed(nets: Dynamics, params: PyTree, obs: PyTree) -> jax.Array:
    """The embedding of observations `[..., *]`, float32 `[..., D]`."""
    return jnp.asarray(nets.embedding.apply(params["embedding"], obs))


def foresee(nets: Dynamics, params: PyTree, phi: jax.Array, action: PyTree) -> jax.Array:
    """The embedding `[..., D]` that the forward model expects after `action` in `phi` `[..., D]`."""
    assert nets.forward is not None
    return jnp.asarray(nets.forward.apply(params["forward"], phi, features(nets.action, action)))


def inverse_loss(nets: Dynamics, params: PyTree, phi: jax.Array, action: PyTree, successor: jax.Array) -> jax.Array:
    """`-log p(a | phi, phi')` in nats, `[...]`, of embeddings `[..., D]`.

    Choices are categorical. A box is scaled to [-1, 1] and its action is Gaussian around the model's with deviation 1.
    """
    read: Any = nets.inverse.apply(params["inverse"], phi, successor)
    match nets.action:
        case Discrete():
            return -distributions.Categorical(read).log_prob(action)
        case MultiDiscrete(n):
            return -distributions.MultiCategorical(read, n).log_prob(action)
    return -distributions.Normal(read, jnp.zeros_like(read)).log_prob(features(nets.action, action))


def features(space: Action, action: PyTree) -> jax.Array:
    """Actions as numbers for a model, float32 `[..., A]`: choices as one-hots, a box scaled to [-1, 1]."""
    match space:
        case Discrete(n):
            return jax.nn.one_hot(action, n)
        case MultiDiscrete(n):
            return jnp.concatenate([jax.nn.one_hot(action[..., i], size) for i, size in enumerate(n)], -1)
        case Box(low, high):
            least, most = jnp.asarray(low), jnp.asarray(high)
            return 2 * (action - least) / (most - least) - 1


def _width(space: Action) -> int:
    match space:
        case Discrete(n):
            return n
        case MultiDiscrete(n):
            return sum(n)
        case Box(low):
            return len(low)


# --------------------------------------------------------------------------------------------------------- STATE


class State(NamedTuple):
    """`params`: of `embedding`, `inverse` and, where there is one, `forward`, by name; `opt`: their optimiser."""

    params: PyTree
    opt: PyTree


def optimiser(config: Config) -> optax.GradientTransformation:
    """Adam behind a global-norm clip of its own: the agent's gradients have no part in it."""
    return optax.chain(optax.clip_by_global_norm(config.max_grad_norm), optax.adam(config.learning_rate, eps=1e-5))


def init(config: Config, nets: Dynamics, key: jax.Array, host: Host) -> State:
    """Fresh networks."""
    embedding_key, inverse_key, forward_key = jax.random.split(key, 3)
    obs = jax.tree.map(lambda leaf: jnp.zeros((1, *leaf.shape), leaf.dtype), host.spec.obs)
    phi = jnp.zeros((1, config.embedding))
    params = {
        "embedding": nets.embedding.init(embedding_key, obs),
        "inverse": nets.inverse.init(inverse_key, phi, phi),
    }
    if nets.forward:
        params["forward"] = nets.forward.init(forward_key, phi, jnp.zeros((1, _width(nets.action))))
    return State(params, optimiser(config).init(params))


# --------------------------------------------------------------------------------------------------------- TRAIN


class Transitions(NamedTuple):
    """The steps of an unroll, `[T, B, ...]` each; `counts` is 0 where a step has no successor, else 1."""

    obs: PyTree
    action: PyTree
    next_obs: PyTree
    counts: jax.Array


def transitions(config: Config, batch: Rollout) -> Transitions:
    """What each action answered and its true successor.

    With `terminal="mask"` successors are the following rows, and the rows in which an episode ended count for nothing.
    """
    if config.terminal == "mask":
        return Transitions(batch.obs, batch.action, batch.timestep.obs, 1.0 - batch.timestep.last)
    counts = jnp.ones(batch.timestep.last.shape)
    return Transitions(batch.obs, batch.action, batch.timestep.next_obs, counts)


def embeddings(config: Config, nets: Dynamics, params: PyTree, batch: Rollout) -> tuple[jax.Array, jax.Array]:
    """`phi(o_t)` and `phi(o_{t+1})` of `transitions`, `[T, B, D]` each; a row that both need is read once."""
    if config.terminal == "mask":
        obs = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), batch.start.obs, batch.timestep.obs)
        phi = chunks.over_time(lambda obs: embed(nets, params, obs), obs)
        return phi[:-1], phi[1:]
    obs = jax.tree.map(lambda *xs: jnp.concatenate(xs), batch.obs, batch.timestep.next_obs)
    phi = chunks.over_time(lambda obs: embed(nets, params, obs), obs)
    return phi[: len(phi) // 2], phi[len(phi) // 2 :]


def loss(config: Config, nets: Dynamics, params: PyTree, steps: Transitions) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Mean loss over the steps that count, `[N, ...]`, and the mean of each model's own.

    `-log p(a | phi, phi')`; for a `ForwardConfig`, `inverse_cost` times it and `forward_cost` times the forward
    model's. The embedding learns from both.
    """
    phi, successor = embed(nets, params, steps.obs), embed(nets, params, steps.next_obs)
    total = jnp.maximum(steps.counts.sum(), 1.0)
    inverse = (steps.counts * inverse_loss(nets, params, phi, steps.action, successor)).sum() / total
    if not isinstance(config, ForwardConfig):
        return inverse, {"inverse_loss": inverse}
    error = losses.icm_loss(foresee(nets, params, phi, steps.action), successor, squared=config.squared)
    forward = (steps.counts * error).sum() / total
    both = config.inverse_cost * inverse + config.forward_cost * forward
    return both, {"inverse_loss": inverse, "forward_loss": forward}


def train(
    config: Config, nets: Dynamics, state: State, key: jax.Array, steps: Transitions
) -> tuple[State, dict[str, jax.Array]]:
    """One pass over the steps `[T, B, ...]`, in `minibatches` gradient steps; losses are means over these.

    Raises:
      UsageError: where there are fewer steps than minibatches.
    """
    optimizer = optimiser(config)
    records = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), steps)
    number = records.counts.shape[0]
    size = number // config.minibatches
    if size == 0:
        raise UsageError(f"{number} steps do not split into {config.minibatches} minibatches of a model of dynamics.")
    index = jax.random.permutation(key, number)[: size * config.minibatches].reshape(config.minibatches, size)

    def move(state, index):
        part = jax.tree.map(lambda leaf: leaf[index], records)
        gradient, found = jax.grad(lambda params: loss(config, nets, params, part), has_aux=True)(state.params)
        updates, opt = optimizer.update(gradient, state.opt, state.params)
        return State(optax.apply_updates(state.params, updates), opt), found

    state, found = jax.lax.scan(move, state, index)
    return state, jax.tree.map(jnp.mean, found)
