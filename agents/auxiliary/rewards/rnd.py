"""RND: the error of a network that learns to predict a fixed random one (Burda et al., 2019)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

import losses
from agents.agent import Host, Rollout
from agents.auxiliary.auxiliary import Auxiliary
from agents.config import build, require
from agents.networks import chunks, torsos
from envs.contract import EnvSpec, PyTree
from envs.errors import UsageError

# ------------------------------------------------------------------------------------------------------- CONFIG


@dataclass(frozen=True)
class Config:
    """Options of RND, and of the bonuses built on its novelty."""

    coef: float = 0.05
    """Weight of the bonus in the reward."""
    learning_rate: float = 1e-4
    """Adam's step size for the predictor."""
    max_grad_norm: float = 40.0
    """The predictor's gradient is clipped to this global norm."""
    out: int = 128
    """Units of the two outputs that are compared."""
    hidden: tuple[int, ...] = (128,)
    """Widths of the frozen encoder's dense layers."""
    predictor: tuple[int, ...] = (128, 128)
    """Widths of the predictor's hidden layers."""
    target: tuple[int, ...] = (128,)
    """Widths of the random target's hidden layers."""
    features: Literal["torso", "fourier"] = "torso"
    """The frozen encoder: a random torso, or random Fourier features, which tell observations apart more sharply."""
    bandwidth: float = 0.3
    """Standard deviation of the frequencies of Fourier features; higher tells apart more."""
    squared: bool = False
    """Train the predictor on the squared error; novelty stays the error itself."""
    minibatches: int = 1
    """Gradient steps of the predictor in each update, on equal parts of it."""
    ignore: tuple[str, ...] = ("direction", "mission")
    """Parts of the observation that novelty does not look at."""
    terminal: Literal["true_next", "mask"] = "true_next"
    """At an episode's end: true_next looks at the true last observation, mask pays no bonus (and costs half)."""

    def __post_init__(self):
        require(self.coef >= 0, "coef", self.coef, "at least 0")
        require(self.learning_rate > 0, "learning_rate", self.learning_rate, "above 0")
        require(self.max_grad_norm > 0, "max_grad_norm", self.max_grad_norm, "above 0")
        require(self.out > 0, "out", self.out, "above 0")
        require(self.bandwidth > 0, "bandwidth", self.bandwidth, "above 0")
        require(self.minibatches > 0, "minibatches", self.minibatches, "above 0")


# ------------------------------------------------------------------------------------------------------ NETWORKS


class Novelty(NamedTuple):
    """The networks of RND: `encode(frozen, obs)`, then two heads whose outputs are compared."""

    encoder: nn.Module
    target: nn.Module
    predictor: nn.Module


class Head(nn.Module):
    """Dense layers with ReLU between them and none at the end."""

    widths: tuple[int, ...]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for width in self.widths[:-1]:
            x = nn.relu(torsos.dense(width)(x))
        return torsos.dense(self.widths[-1], gain=1.0)(x)


class Fourier(nn.Module):
    """Random Fourier features (Rahimi and Recht, 2007): `sqrt(2) cos(W x + b)`, whose products are a Gaussian kernel.

    `W ~ N(0, bandwidth^2)`, `b ~ U(0, 2 pi)`; `x` is what `torso` gives.
    """

    torso: nn.Module
    width: int
    bandwidth: float

    @nn.compact
    def __call__(self, obs: PyTree) -> jax.Array:
        weights = nn.initializers.normal(self.bandwidth)
        phases = nn.initializers.uniform(2 * jnp.pi)
        return jnp.sqrt(2.0) * jnp.cos(nn.Dense(self.width, kernel_init=weights, bias_init=phases)(self.torso(obs)))


def networks(config: Config, spec: EnvSpec) -> Novelty:
    """The three networks for an environment's observations."""
    present = spec.obs if isinstance(spec.obs, dict) else {}
    ignore = tuple(name for name in config.ignore if name in present)
    if config.features == "fourier":
        whole = torsos.auto(spec.obs, kind="mlp", embed=0, hidden=(), ignore=ignore)
        encoder: nn.Module = Fourier(whole, config.hidden[-1], config.bandwidth)
    else:
        encoder = torsos.auto(spec.obs, hidden=config.hidden, activation="relu", ignore=ignore)
    return Novelty(encoder, Head((*config.target, config.out)), Head((*config.predictor, config.out)))


# --------------------------------------------------------------------------------------------------------- STATE


class State(NamedTuple):
    """`frozen`: parameters of encoder and target, never moved; `params`: the predictor's; `opt`: its optimiser."""

    frozen: PyTree
    predictor: PyTree
    opt: PyTree


def optimiser(config: Config) -> optax.GradientTransformation:
    """Adam behind a global-norm clip of its own: the agent's gradients have no part in it."""
    return optax.chain(optax.clip_by_global_norm(config.max_grad_norm), optax.adam(config.learning_rate, eps=1e-5))


def init(config: Config, nets: Novelty, key: jax.Array, host: Host) -> State:
    """Random encoder and target, kept for ever, and a fresh predictor."""
    encoder_key, target_key, predictor_key = jax.random.split(key, 3)
    obs = jax.tree.map(lambda leaf: jnp.zeros((1, *leaf.shape), leaf.dtype), host.spec.obs)
    encoder = nets.encoder.init(encoder_key, obs)
    features = nets.encoder.apply(encoder, obs)
    predictor = nets.predictor.init(predictor_key, features)
    frozen = {"encoder": encoder, "target": nets.target.init(target_key, features)}
    return State(frozen, predictor, optimiser(config).init(predictor))


# ---------------------------------------------------------------------------------------------------------- STEP


class Measured(NamedTuple):
    """Novelty of every acted observation and of its true successor, `[T, B]` each, and what predicts them."""

    now: jax.Array
    successor: jax.Array
    counts: jax.Array


def measure(config: Config, nets: Novelty, state: State, key: jax.Array, batch: Rollout) -> tuple[State, Measured]:
    """Novelty before the update, and the predictor further on with the successors.

    With `terminal="mask"` successors are read off the following row; the rows in which an episode ended have none there
    and count for nothing (`counts` is 0).
    """
    last = batch.timestep.last
    steps = last.shape[0]
    if config.terminal == "mask":
        obs = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), batch.start.obs, batch.timestep.obs)
        counts, successor = 1.0 - last, slice(1, None)
    else:
        obs = jax.tree.map(lambda *xs: jnp.concatenate(xs), batch.obs, batch.timestep.next_obs)
        counts, successor = jnp.ones_like(batch.timestep.reward), slice(steps, None)

    def read(obs: PyTree) -> tuple[Any, Any, Any]:
        features = nets.encoder.apply(state.frozen["encoder"], obs)
        return (
            features,
            nets.target.apply(state.frozen["target"], features),
            nets.predictor.apply(state.predictor, features),
        )

    features, target, prediction = chunks.over_time(read, obs)
    novelty = jax.vmap(losses.rnd_novelty)(prediction, target)
    records = jax.tree.map(
        lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), (features[successor], target[successor], counts)
    )
    state = train(config, nets, state, key, *records)
    return state, Measured(novelty[:steps], novelty[successor], counts)


def train(config: Config, nets: Novelty, state: State, key: jax.Array, features, target, counts) -> State:
    """One pass over the records `[N, ...]`, in `minibatches` gradient steps on `sum counts * error / sum counts`."""
    optimizer = optimiser(config)
    size = counts.shape[0] // config.minibatches
    if size == 0:
        raise UsageError(f"{counts.shape[0]} steps do not split into {config.minibatches} minibatches of a predictor.")
    index = jax.random.permutation(key, counts.shape[0])[: size * config.minibatches].reshape(config.minibatches, size)

    def move(carry, index):
        predictor, opt = carry

        def loss(predictor):
            prediction: Any = nets.predictor.apply(predictor, features[index])
            error = losses.rnd_loss(prediction, target[index], squared=config.squared)
            return (counts[index] * error).sum() / jnp.maximum(counts[index].sum(), 1.0)

        updates, opt = optimizer.update(jax.grad(loss)(predictor), opt)
        return (optax.apply_updates(predictor, updates), opt), None

    (predictor, opt), _ = jax.lax.scan(move, (state.predictor, state.opt), index)
    return state._replace(predictor=predictor, opt=opt)


def step(config: Config, nets: Novelty, key: jax.Array, state: State, batch: Rollout, host: Host):
    """Bonus `n(o_{t+1})` `[T, B]`."""
    state, found = measure(config, nets, state, key, batch)
    bonus = found.counts * found.successor
    return state, bonus, {"bonus": bonus.mean(), "novelty": found.successor.mean()}


# ---------------------------------------------------------------------------------------------------------- MAKE


def make(spec: EnvSpec, **options: Any) -> Auxiliary:
    """`r_int = || f_pred(e(o_{t+1})) - f_rand(e(o_{t+1})) ||_2`, all but `f_pred` fixed at random.

    The norm is not squared and nothing is normalised, as in the family of bonuses compared on MiniGrid (NovelD's
    released code), not as in RND's own Atari setting.
    """
    config = build(Config, options)
    return assemble("rnd", config, spec, step)


def assemble(name: str, config: Config, spec: EnvSpec, step: Callable, **hooks: Any) -> Auxiliary:
    """A bonus around RND's networks; `step(config, networks, key, state, batch, host)`."""
    nets = networks(config, spec)

    def initialise(key, host):
        return init(config, nets, key, host)

    def run(key, state, batch, host):
        return step(config, nets, key, state, batch, host)

    return Auxiliary(
        name=name, needs=("unroll", *hooks.pop("needs", ())), init=initialise, step=run, coef=config.coef, **hooks
    )
