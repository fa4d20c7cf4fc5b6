"""RIDE: pays for steps that move the embedding, less where the episode has been (Raileanu and Rocktaschel, 2020)."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp

import losses
from agents.agent import Host, Rollout
from agents.auxiliary.auxiliary import Auxiliary
from agents.auxiliary.rewards import dynamics, episodic, episodic_count
from agents.config import build, require
from envs.contract import EnvSpec, TimeStep

# ------------------------------------------------------------------------------------------------------- CONFIG


@dataclass(frozen=True)
class Config(dynamics.ForwardConfig):
    """Options of RIDE, with the values of its released code on MiniGrid."""

    coef: float = 0.1
    """Weight of the bonus in the reward: the released code has 0.1 for KeyCorridor, 0.5 for ObstructedMaze."""
    squared: bool = False
    """Train the forward model on half the squared error; false takes the norm, as the released code does."""
    episodic_key: Literal["obs", "full_grid"] = "obs"
    """What is counted: the observation less what is ignored, or the full state (the environment must give its key)."""
    visited: int = 0
    """Slots for an episode's states, rounded up to a power of 2; 0 takes twice as many as the longest episode needs."""

    def __post_init__(self):
        super().__post_init__()
        require(self.coef >= 0, "coef", self.coef, "at least 0")
        require(self.visited >= 0, "visited", self.visited, "at least 0")


# ------------------------------------------------------------------------------------------------------- OBSERVE


def memory(config: Config, host: Host) -> episodic_count.Counted:
    """The states of one environment's episode and their counts."""
    visited = episodic.memory(host.spec, config.visited)
    return episodic_count.Counted(visited, jnp.zeros(visited.slots.shape[:2], jnp.uint32))


def observe(config: Config, state, memory: episodic_count.Counted, timestep: TimeStep):
    """How often the episode has now seen the state that the step led to."""
    seen = timestep._replace(
        obs=dynamics.looked_at(config, timestep.obs), next_obs=dynamics.looked_at(config, timestep.next_obs)
    )
    key, opening = episodic.keys(seen, config.episodic_key)
    memory, visits = episodic_count.count(memory, key, timestep.last, opening)
    return memory, {"visits": visits}


# ---------------------------------------------------------------------------------------------------------- STEP


def step(config: Config, nets: dynamics.Dynamics, key: jax.Array, state: dynamics.State, batch: Rollout, host: Host):
    """Bonus `||phi(o_{t+1}) - phi(o_t)|| / sqrt(N_ep(s_{t+1}))` `[T, B]` before the update; both models further on."""
    steps = dynamics.transitions(config, batch)
    phi, successor = dynamics.embeddings(config, nets, state.params, batch)
    visits = batch.extras["visits"].astype(jnp.float32)
    bonus = steps.counts * jax.vmap(losses.ride_bonus)(phi, successor, visits)
    state, found = dynamics.train(config, nets, state, key, steps)
    impact = jnp.linalg.norm(successor - phi, axis=-1)
    metrics = {"bonus": bonus.mean(), "impact": impact.mean(), "visits": visits.mean(), **found}
    return state, bonus, metrics


# ---------------------------------------------------------------------------------------------------------- MAKE


def make(spec: EnvSpec, **options: Any) -> Auxiliary:
    """`r_int = ||phi(o_{t+1}) - phi(o_t)||_2 / sqrt(N_ep(s_{t+1}))`, `phi` learnt by an inverse and a forward model.

    `N_ep` counts the state's visits in the episode, this one and the observation that opens the episode included.

    Raises:
      UsageError: where the environment has no time limit, or `visited` is too small for its episodes.
    """
    config = build(Config, options)
    nets = dynamics.networks(config, spec)
    episodic.slots(spec, config.visited)  # a table that is too small is an error here, not once training begins
    return Auxiliary(
        name="ride",
        needs=("unroll", "grid_key") if config.episodic_key == "full_grid" else ("unroll",),
        init=partial(dynamics.init, config, nets),
        memory=partial(memory, config),
        observe=partial(observe, config),
        restarts=True,
        step=partial(step, config, nets),
        coef=config.coef,
    )
