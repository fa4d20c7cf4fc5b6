"""NovelD: pays for steps into more novel states, at their first visit in the episode (Zhang et al., 2021)."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp

import losses
from agents.auxiliary.auxiliary import Auxiliary
from agents.auxiliary.rewards import episodic, rnd
from agents.config import build, require
from envs.contract import EnvSpec

# ------------------------------------------------------------------------------------------------------- CONFIG


@dataclass(frozen=True)
class Config(rnd.Config):
    """Options of NovelD, beside RND's."""

    beta: float = 0.5
    """How much of the present state's novelty is taken off."""
    first_visit: bool = True
    """Pay only at the first visit of a state in an episode."""
    clip_negative: bool = True
    """Steps back into known land cost nothing."""
    episodic_key: Literal["full_grid", "obs"] = "full_grid"
    """What a visit is of: the full state (the environment must give its key), or the observation."""
    visited: int = 0
    """Slots for an episode's states, rounded up to a power of 2; 0 takes twice as many as the longest episode needs."""

    def __post_init__(self):
        super().__post_init__()
        require(self.beta >= 0, "beta", self.beta, "at least 0")
        require(self.visited >= 0, "visited", self.visited, "at least 0")


# ------------------------------------------------------------------------------------------------------- OBSERVE


def observe(config: Config, state, memory: episodic.Visited, timestep):
    """Whether the step led to a state that its episode had not seen."""
    key, opening = episodic.keys(timestep, config.episodic_key)
    memory, first = episodic.visit(memory, key, timestep.last, opening)
    return memory, {"first_visit": first}


# ---------------------------------------------------------------------------------------------------------- STEP


def step(config: Config, nets: rnd.Novelty, key, state: rnd.State, batch, host):
    """Bonus `max(n(o_{t+1}) - beta n(o_t), 0) 1[first visit]` `[T, B]`."""
    state, found = rnd.measure(config, nets, state, key, batch)
    first = batch.extras["first_visit"] if config.first_visit else jnp.ones_like(batch.timestep.last)
    floor = 0.0 if config.clip_negative else -jnp.inf
    pay = partial(losses.bebold_bonus, beta=config.beta, floor=floor)
    bonus = found.counts * jax.vmap(pay)(found.now, found.successor, first)
    seen = jnp.maximum((~first).sum(), 1)
    metrics = {
        "bonus": bonus.mean(),
        "paid": (bonus > 0).mean(),
        "novelty": found.successor.mean(),
        "novelty_first": (first * found.successor).sum() / jnp.maximum(first.sum(), 1),
        "novelty_again": (~first * found.successor).sum() / seen,
        "first_visits": first.mean(),
    }
    return state, bonus, metrics


# ---------------------------------------------------------------------------------------------------------- MAKE


def make(spec: EnvSpec, **options: Any) -> Auxiliary:
    """`r_int = max(n(o_{t+1}) - beta n(o_t), 0) 1[N_e(s_{t+1}) = 1]`, `n` the error of RND, `beta` 0.5."""
    return assemble("noveld", build(Config, options), spec)


def assemble(name: str, config: Config, spec: EnvSpec) -> Auxiliary:
    """The bonus under a name."""

    def watch(state, memory, timestep):
        return observe(config, state, memory, timestep)

    if not config.first_visit:
        return rnd.assemble(name, config, spec, step)
    episodic.slots(spec, config.visited)  # a table that is too small is an error here, not once training begins
    return rnd.assemble(
        name,
        config,
        spec,
        step,
        needs=("grid_key",) if config.episodic_key == "full_grid" else (),
        memory=lambda host: episodic.memory(host.spec, config.visited),
        observe=watch,
        restarts=True,
    )
