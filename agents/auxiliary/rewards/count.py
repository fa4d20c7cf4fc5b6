"""Count: pays the inverse root of how often a state was seen (Strehl and Littman, 2008)."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from agents.agent import Host, Rollout
from agents.auxiliary.auxiliary import Auxiliary
from agents.auxiliary.rewards import episodic
from agents.config import build, require
from envs.contract import EnvSpec

# ------------------------------------------------------------------------------------------------------- CONFIG


@dataclass(frozen=True)
class Config:
    """Options of the count bonus."""

    coef: float = 0.005
    """Weight of the bonus in the reward."""
    bits: int = 20
    """The table has 2 to this power places; states that share one are counted together."""
    key: Literal["full_grid", "obs"] = "obs"
    """What is counted: the full state (the environment must give its key), or the observation."""

    def __post_init__(self):
        require(self.coef >= 0, "coef", self.coef, "at least 0")
        require(4 <= self.bits <= 28, "bits", self.bits, "between 4 and 28")


# --------------------------------------------------------------------------------------------------------- STATE


class State(NamedTuple):
    """Visits of all environments over the whole run, int32 `[2 ** bits]`."""

    visits: jax.Array


# ---------------------------------------------------------------------------------------------------------- STEP


def step(config: Config, key: jax.Array, state: State, batch: Rollout, host: Host):
    """Counts the states that the unroll led to, itself included, then pays `N(s_{t+1}) ** -1/2` `[T, B]`."""
    if config.key == "full_grid":
        keys = batch.timestep.extras["next_grid_key"]
    else:
        keys = jax.vmap(jax.vmap(episodic.hash_tree))(batch.timestep.next_obs)
    place = (keys[..., 0] ^ keys[..., 1]) & jnp.uint32(2**config.bits - 1)
    visits = state.visits.at[place].add(1)
    bonus = jax.lax.rsqrt(visits[place].astype(jnp.float32))
    return State(visits), bonus, {"bonus": bonus.mean(), "states": (visits > 0).sum()}


# ---------------------------------------------------------------------------------------------------------- MAKE


def make(spec: EnvSpec, **options: Any) -> Auxiliary:
    """`r_int = 1 / sqrt(N(s_{t+1}))`, `N` over the whole run, in a table of hashed states."""
    config = build(Config, options)

    def init(key, host):
        return State(jnp.zeros(2**config.bits, jnp.int32))

    needs = ("unroll", "grid_key") if config.key == "full_grid" else ("unroll",)
    return Auxiliary(name="count", needs=needs, init=init, step=partial(step, config), coef=config.coef)
