"""Episodic count: pays for a state's first visit in the episode, or the inverse root of its visits so far."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from agents.agent import Host, Rollout
from agents.auxiliary.auxiliary import Auxiliary
from agents.auxiliary.rewards import episodic
from agents.config import build, require
from envs.contract import EnvSpec, TimeStep
from envs.errors import UsageError

# ------------------------------------------------------------------------------------------------------- CONFIG


@dataclass(frozen=True)
class Config:
    """Options of the episodic count."""

    coef: float = 0.1
    """Weight of the bonus in the reward."""
    floor: bool = True
    """Pay 1 at the first visit and nothing later, not the inverse root of the visits."""
    key: Literal["position", "full_grid", "obs"] = "position"
    """What is counted: where the agent stands, the full state (the environment must tell), or the observation."""
    visited: int = 0
    """Slots for an episode's states, rounded up to a power of 2; 0 takes twice as many as the longest episode needs."""

    def __post_init__(self):
        require(self.coef >= 0, "coef", self.coef, "at least 0")
        require(self.visited >= 0, "visited", self.visited, "at least 0")


# ------------------------------------------------------------------------------------------------------- OBSERVE


class Counted(NamedTuple):
    """The states of one episode so far, and how often each was seen, uint32 `[windows, WINDOW]`, slot for slot."""

    visited: episodic.Visited
    visits: jax.Array


def memory(config: Config, spec: EnvSpec) -> episodic.Visited | Counted:
    """What is remembered of one environment: a set is enough where only first visits pay."""
    visited = episodic.memory(spec, config.visited)
    return visited if config.floor else Counted(visited, jnp.zeros(visited.slots.shape[:2], jnp.uint32))


def observe(config: Config, state, memory: Any, timestep: TimeStep):
    """How often the episode has now seen the state that the step led to; with `floor`, whether that was the first."""
    key, opening = keys(timestep, config.key)
    if config.floor:
        memory, first = episodic.visit(memory, key, timestep.last, opening)
        return memory, {"first_visit": first}
    memory, visits = count(memory, key, timestep.last, opening)
    return memory, {"visits": visits}


def count(counted: Counted, key: jax.Array, last: jax.Array, opening: jax.Array) -> tuple[Counted, jax.Array]:
    """`episodic.visit` with counts: how often the episode has seen the state, this visit included, uint32 `[]`."""
    place = episodic.find(counted.visited, key)
    visited, _ = episodic.visit(counted.visited, key, last, opening)
    visits = jnp.where(place.new, 0, counted.visits[place.window, place.slot]) + 1
    # Counts of a slot that an earlier episode left are never read: `new` tells.
    windows = counted.visits.shape[0]
    window = jnp.where(last, episodic.home(opening, windows), jnp.where(place.full, windows, place.window))
    slot = jnp.where(last, 0, place.slot)
    written = counted.visits.at[window, slot].set(jnp.where(last, 1, visits), mode="drop")
    return Counted(visited, written), visits


def keys(timestep: TimeStep, kind: str) -> tuple[jax.Array, jax.Array]:
    """Keys of the state that a step led to and of the one acted on next, uint32 `[2]` each."""
    if kind == "position":
        return episodic.hash_tree(timestep.extras["next_position"]), episodic.hash_tree(timestep.extras["position"])
    return episodic.keys(timestep, kind)


# ---------------------------------------------------------------------------------------------------------- STEP


def step(config: Config, key: jax.Array, state, batch: Rollout, host: Host):
    """Pays `N_ep(s_{t+1}) ** -1/2` `[T, B]`, with `floor` rounded down: 1 at the first visit, else 0."""
    if config.floor:
        first = batch.extras["first_visit"]
        bonus = first.astype(jnp.float32)
    else:
        first = batch.extras["visits"] == 1
        bonus = jax.lax.rsqrt(batch.extras["visits"].astype(jnp.float32))
    return state, bonus, {"bonus": bonus.mean(), "first_visits": first.mean()}


# ---------------------------------------------------------------------------------------------------------- MAKE


def make(spec: EnvSpec, **options: Any) -> Auxiliary:
    """`r_int = floor(1 / sqrt(N_ep(s_{t+1})))`, `N_ep` over the episode, the observation that opens it included.

    Raises:
      UsageError: where the environment does not tell what is to be counted, or has no time limit.
    """
    config = build(Config, options)
    if config.key == "position" and "next_position" not in spec.extras:
        raise UsageError(
            f"episodic_count counts positions, and {spec.id} tells none: "
            "take episodic_count.key full_grid or obs, or no bonus."
        )
    episodic.slots(spec, config.visited)  # a table that is too small is an error here, not once training begins
    return Auxiliary(
        name="episodic_count",
        needs=("unroll", "grid_key") if config.key == "full_grid" else ("unroll",),
        memory=lambda host: memory(config, host.spec),
        observe=partial(observe, config),
        restarts=True,
        step=partial(step, config),
        coef=config.coef,
    )
