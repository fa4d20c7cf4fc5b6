"""PPO: proximal policy optimisation with a clipped surrogate (Schulman et al., 2017)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

import losses
from agents import moments, onpolicy, parts
from agents.agent import Agent, Host, Rollout, State, Unroll, single_steps
from agents.auxiliary import pipeline as hooks
from agents.config import require
from agents.moments import Moments
from agents.onpolicy import Base
from agents.training import gradient
from agents.training.devices import divided
from envs.contract import EnvSpec, PyTree
from envs.errors import UsageError

# ------------------------------------------------------------------------------------------------------- CONFIG


@dataclass(frozen=True)
class Config(onpolicy.Config):
    """Options of PPO."""

    epochs: int = 4
    """Passes over each unroll."""
    minibatches: int = 4
    """Parts that each pass is split into, one gradient step each."""
    clip: float = 0.2
    """How far the probability ratio may move before its gradient stops."""
    value_clip: float = 0.0
    """How far the value may move from the one that acted before its gradient stops; 0 for no limit."""
    trace: float = 0.95
    """Lambda of the generalised advantage estimate."""
    standardise: Literal["minibatch", "unroll"] = "minibatch"
    """Over what advantages are brought to mean 0 and deviation 1."""
    momentum: float = 0.0
    """Of the moving mean and variance that advantages of an unroll are standardised by; 0 takes each unroll's own."""
    backprop: Literal["unroll", "step"] = "unroll"
    """Memories learn through whole unrolls, or minibatches mix single steps, each with the memory it acted with."""

    def __post_init__(self):
        super().__post_init__()
        require(self.epochs > 0, "epochs", self.epochs, "above 0")
        require(self.minibatches > 0, "minibatches", self.minibatches, "above 0")
        require(self.clip > 0, "clip", self.clip, "above 0")
        require(self.value_clip >= 0, "value_clip", self.value_clip, "at least 0")
        require(0 <= self.trace <= 1, "trace", self.trace, "between 0 and 1")
        require(0 <= self.momentum < 1, "momentum", self.momentum, "at least 0 and below 1")


# --------------------------------------------------------------------------------------------------------- STATE


def init(base: Base, key: jax.Array, spec: EnvSpec) -> State:
    """The state of on-policy agents, with moments of the advantages beside it where these are standardised by some."""
    state = onpolicy.init(base, key, spec)
    if base.config.standardise == "minibatch":
        return state
    return state._replace(variables={**state.variables, "advantage": moments.first()._asdict()})


# ---------------------------------------------------------------------------------------------------------- LOSS


class Batch(NamedTuple):
    """An unroll with what its steps are trained towards, each `[T, B]`."""

    rollout: Rollout
    advantage: jax.Array
    target: jax.Array
    value: jax.Array


def loss(base: Base, state: State, params: Any, key: jax.Array, batch: Batch):
    """`- min(rho A, clip(rho) A) + c_V (V - target)^2 / 2 - c_H H`, means over the batch; `A` is standardised."""
    rollout, knobs = batch.rollout, state.knobs
    outputs, _ = onpolicy.forward(
        base, params, state.variables, rollout.obs, rollout.carry, rollout.first, train=True, rngs={"net": key}
    )
    ratio = jnp.exp(outputs.dist.log_prob(onpolicy.taken(rollout)) - rollout.extras["logp"])
    advantage = batch.advantage
    if base.config.standardise == "minibatch":
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    surrogate = losses.clipped_surrogate(ratio.reshape(-1), advantage.reshape(-1), base.config.clip)
    value, target = outputs.value.reshape(-1), batch.target.reshape(-1)
    if base.config.value_clip:
        error = losses.clipped_value(value, batch.value.reshape(-1), target, base.config.value_clip)
    else:
        error = losses.squared_value(value, target)
    entropy = outputs.dist.entropy().mean()
    terms = {
        "policy": surrogate.mean(),
        "value": knobs["value_cost"] * error.mean(),
        "entropy": -knobs["entropy_cost"] * entropy,
        **outputs.losses,
    }
    metrics = {
        **outputs.metrics,
        "entropy": entropy,
        "clipped": (jnp.abs(ratio - 1.0) > base.config.clip).mean(),
        "kl": (ratio - 1.0 - jnp.log(ratio)).mean(),
    }
    return terms, metrics


# -------------------------------------------------------------------------------------------------------- UPDATE


def update(base: Base, key: jax.Array, state: State, rollout: Rollout):
    """Bonuses, advantages, then `epochs` passes over minibatches of the unroll."""
    config, pipeline = base.config, base.pipeline
    step_key, pass_key, after_key = jax.random.split(key, 3)
    state = onpolicy.annealed(base, state)
    host = onpolicy.host(base, state)
    states, output, metrics = hooks.step(pipeline, step_key, state.auxiliaries, rollout, host)
    state, rollout = state._replace(auxiliaries=states), output.batch

    live = hooks.reparam(pipeline, states, state.params)
    evaluation = onpolicy.evaluate(base, live, state.variables, rollout)
    value = evaluation.outputs.value
    reward = onpolicy.reward(base, rollout, output.bonus)
    discount = state.knobs["discount"] * rollout.timestep.discount
    trace = config.trace * (1.0 - rollout.timestep.last)
    advantage = jax.vmap(losses.gae, in_axes=1, out_axes=1)(value, evaluation.value_t, reward, discount, trace)
    batch = Batch(rollout, advantage, advantage + value, value)
    if config.backprop == "step":
        batch = batch._replace(rollout=rollout._replace(carry=memories(rollout, evaluation.carries)))
    metrics["explained_variance"] = 1.0 - jnp.var(advantage) / (jnp.var(batch.target) + 1e-8)

    state, found = passes(base, partial(loss, base, state), pass_key, state, batch, host)
    return hooks.after(pipeline, after_key, state, onpolicy.host(base, state)), {**metrics, **found}


def passes(base: Base, loss: Callable, key: jax.Array, state: State, batch: Batch, host: Host):
    """`(state, metrics)` after `epochs` passes over shuffled minibatches, each a step on `loss(params, key, batch)`.

    Raises:
      UsageError: where there are fewer environments than minibatches.
    """
    config = base.config
    if config.standardise == "unroll":
        moved = moments.advance(Moments(**state.variables["advantage"]), batch.advantage, config.momentum)
        state = state._replace(variables={**state.variables, "advantage": moved._asdict()})
        batch = batch._replace(advantage=moments.standardised(batch.advantage, moved))
    remembers = jax.tree.leaves(batch.rollout.carry) and config.backprop == "unroll"
    if not remembers and "sequences" not in base.pipeline.needs:
        batch = flatten(batch)
    size = batch.advantage.shape[1]
    if size < config.minibatches:
        raise UsageError(f"{size} environments do not split into {config.minibatches} minibatches: take fewer.")

    def minibatch(trained, inputs):
        key, index = inputs
        return gradient.step(
            loss,
            base.optimizer,
            base.pipeline,
            key,
            trained,
            part_of(batch, index),
            host,
            rollout=lambda part: part.rollout,
            records=records,
        )

    def epoch(trained, key):
        shuffle, key = jax.random.split(key)
        count = config.minibatches
        index = jax.random.permutation(shuffle, size)[: size // count * count].reshape(count, -1)
        return jax.lax.scan(minibatch, trained, (jax.random.split(key, count), index))

    trained = gradient.Trained(state.params, state.opt, state.auxiliaries)
    trained, found = jax.lax.scan(epoch, trained, jax.random.split(key, config.epochs))
    state = state._replace(
        params=trained.params, opt=trained.opt, auxiliaries=trained.auxiliaries, updates=state.updates + 1
    )
    return state, gradient.over_steps(found)


def part_of(batch: Batch, index: jax.Array) -> Batch:
    """The same batch of the environments in `index`."""
    at = lambda axis: lambda leaf: divided(jnp.take(leaf, index, axis=axis), axis)  # noqa: E731
    rollout = batch.rollout
    return Batch(
        Rollout(
            carry=jax.tree.map(at(0), rollout.carry),
            start=jax.tree.map(at(0), rollout.start),
            action=jax.tree.map(at(1), rollout.action),
            extras=jax.tree.map(at(1), rollout.extras),
            timestep=jax.tree.map(at(1), rollout.timestep),
        ),
        *map(at(1), (batch.advantage, batch.target, batch.value)),
    )


def memories(rollout: Rollout, carries: PyTree) -> PyTree:
    """The memory with which each step was acted, `[T * B, ...]`, of those after each step, `[T, B, ...]`."""
    before = jax.tree.map(lambda first, later: jnp.concatenate([first[None], later[:-1]]), rollout.carry, carries)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), before)


def flatten(batch: Batch) -> Batch:
    """Where every step stands alone `[T, B]` becomes `[1, T * B]`, so that minibatches mix times.

    A memory of each step, if there is one, is already in `carry` `[T * B, ...]`.
    """
    flat = lambda leaf: leaf.reshape(1, -1)  # noqa: E731
    steps = single_steps(batch.rollout)
    wide = lambda tree: jax.tree.map(lambda leaf: leaf[None], tree)  # noqa: E731
    rollout = steps._replace(
        carry=batch.rollout.carry,
        action=wide(steps.action),
        extras=wide(steps.extras),
        timestep=wide(steps.timestep),
    )
    return Batch(rollout, flat(batch.advantage), flat(batch.target), flat(batch.value))


def records(batch: Batch) -> Batch:
    """Every environment's unroll (every step, without memory) as a batch of its own, stacked on a leading axis."""
    return jax.vmap(lambda index: part_of(batch, index))(jnp.arange(batch.advantage.shape[1])[:, None])


# ---------------------------------------------------------------------------------------------------------- MAKE


def make(spec: EnvSpec, **options: Any) -> Agent:
    """PPO for an environment; options are the fields of `Config` and `NAME.FIELD` of auxiliaries."""
    config, rest = parts.split(Config, options)
    return assemble("ppo", onpolicy.base(config, spec, rest))


def assemble(name: str, base: Base) -> Agent:
    """The agent's functions around its parts.

    Raises:
      UsageError: for minibatches of single steps where an auxiliary needs sequences.
    """
    if base.config.backprop == "step" and "sequences" in base.pipeline.needs:
        raise UsageError(f"{name} with backprop step learns from single steps, and an auxiliary needs sequences.")
    agent = onpolicy.agent(name, base, partial(update, base), Unroll(base.config.unroll))
    return agent._replace(init=partial(init, base))
