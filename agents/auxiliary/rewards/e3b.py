"""E3B: pays for embeddings outside of the ellipse of those that the episode has shown (Henaff et al., 2022)."""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import losses
from agents.agent import Host, Rollout
from agents.auxiliary.auxiliary import Auxiliary
from agents.auxiliary.rewards import dynamics
from agents.config import build, require
from envs.contract import EnvSpec, TimeStep

# ------------------------------------------------------------------------------------------------------- CONFIG


@dataclass(frozen=True)
class Config(dynamics.Config):
    """Options of E3B, with the values of its released code for MiniHack but for the width of the embedding.

    There it has 1024 units: each environment then keeps 4 MB, and a step of it moves some 20. With 128 both are 64
    times less.
    """

    coef: float = 1.0
    """Weight of the bonus in the reward."""
    ridge: float = 0.1
    """The paper's lambda: an episode begins with C = lambda I. Lower pays more for what is new."""
    normalize: bool = True
    """Divide the bonus by its standard deviation over the whole run."""

    def __post_init__(self):
        super().__post_init__()
        require(self.coef >= 0, "coef", self.coef, "at least 0")
        require(self.ridge > 0, "ridge", self.ridge, "above 0")


# --------------------------------------------------------------------------------------------------------- STATE


class State(NamedTuple):
    """`dynamics`: embedding and inverse model; `number`, `mean`, `variance`: of all bonuses so far, float32 `[]`."""

    dynamics: dynamics.State
    number: jax.Array
    mean: jax.Array
    variance: jax.Array


class Memory(NamedTuple):
    """`inverse`: `C^-1` of the episode so far, `[D, D]`, and whether it has begun, bool `[]`."""

    inverse: jax.Array
    begun: jax.Array


def init(config: Config, nets: dynamics.Dynamics, key: jax.Array, host: Host) -> State:
    """Fresh networks, and no bonus seen."""
    return State(dynamics.init(config, nets, key, host), jnp.zeros(()), jnp.zeros(()), jnp.zeros(()))


def memory(config: Config, host: Host) -> Memory:
    """The memory of one environment before its first episode."""
    return Memory(jnp.zeros((config.embedding, config.embedding)), jnp.zeros((), bool))


# ------------------------------------------------------------------------------------------------------- OBSERVE


def observe(config: Config, nets: dynamics.Dynamics, state: State, memory: Memory, timestep: TimeStep):
    """The bonus of the state that the step led to; then that state counts too, or the one that opens an episode."""
    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), timestep.next_obs, timestep.obs)
    successor, opening = dynamics.embed(nets, state.dynamics.params, both)
    bonus = losses.elliptical_bonus(successor, memory.inverse)
    # Every entry changes at every step, so that a new episode's matrix costs nothing beside: E3B restarts by itself.
    anew = timestep.last | ~memory.begun
    inverse = jnp.where(anew, jnp.eye(config.embedding) / config.ridge, memory.inverse)
    inverse = losses.elliptical_update(jnp.where(timestep.last, opening, successor), inverse)
    return Memory(inverse, jnp.ones((), bool)), {"bonus": bonus}


# ---------------------------------------------------------------------------------------------------------- STEP


def step(config: Config, nets: dynamics.Dynamics, key: jax.Array, state: State, batch: Rollout, host: Host):
    """The bonuses of the unroll `[T, B]`, in units of their deviation so far; the embedding further on."""
    steps = dynamics.transitions(config, batch)
    raw = steps.counts * batch.extras["bonus"]
    state = seen(state, raw)
    moved, found = dynamics.train(config, nets, state.dynamics, key, steps)
    deviation = jnp.sqrt(state.variance)
    bonus = raw / jnp.where(deviation > 0, deviation, 1.0) if config.normalize else raw
    metrics = {"bonus": bonus.mean(), "raw": raw.mean(), "deviation": deviation, **found}
    return state._replace(dynamics=moved), bonus, metrics


def seen(state: State, bonus: jax.Array) -> State:
    """The moments of all bonuses, these `[T, B]` included (Chan et al., 1979)."""
    number = state.number + bonus.size
    part = bonus.size / number
    away = bonus.mean() - state.mean
    variance = (1 - part) * state.variance + part * bonus.var() + part * (1 - part) * jnp.square(away)
    return state._replace(number=number, mean=state.mean + part * away, variance=variance)


# ---------------------------------------------------------------------------------------------------------- MAKE


def make(spec: EnvSpec, **options: Any) -> Auxiliary:
    """`r_int = phi^T C^-1 phi` of the successor, `C = lambda I + sum_i phi_i phi_i^T` over the episode before it.

    `phi` is the embedding of an inverse model. `C` holds all states of the episode from its first on, and stays what it
    is when the embedding learns on within one.
    """
    config = build(Config, options)
    nets = dynamics.networks(config, spec)
    return Auxiliary(
        name="e3b",
        needs=("unroll",),
        init=partial(init, config, nets),
        memory=partial(memory, config),
        observe=partial(observe, config, nets),
        restarts=True,
        step=partial(step, config, nets),
        coef=config.coef,
    )
