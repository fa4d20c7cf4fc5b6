"""RC-D4PG: D4PG under a constraint, whose price rises while episodes cost more than is allowed.

Reward-constrained policy optimisation (Tessler, Mankowitz and Mannor, 2019) on D4PG, as in Calian et al., 2021. With
`multiplier_rate 0` the price is fixed: a penalty shaped by hand.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

import losses
from agents import d4pg, ddpg, offpolicy, parts
from agents.agent import Agent, Sample, State
from agents.config import require
from agents.offpolicy import Base, Batch
from envs.contract import EnvSpec
from envs.errors import UsageError

# ------------------------------------------------------------------------------------------------------- CONFIG


@dataclass(frozen=True)
class Config(d4pg.Config):
    """Options of RC-D4PG."""

    beta: float = 0.1
    """Mean cost of an episode's steps that is allowed, from 0 to 1."""
    multiplier: float = 0.0
    """Price of a cost of 1 in units of reward, at first."""
    multiplier_rate: float = 0.01
    """How far the price moves after an episode for each unit of cost above what is allowed; 0 keeps it."""

    def __post_init__(self):
        super().__post_init__()
        require(0 <= self.beta <= 1, "beta", self.beta, "between 0 and 1")
        require(self.multiplier >= 0, "multiplier", self.multiplier, "at least 0")
        require(self.multiplier_rate >= 0, "multiplier_rate", self.multiplier_rate, "at least 0")


# --------------------------------------------------------------------------------------------------------- STATE


def init(base: Base, key: jax.Array, spec: EnvSpec, **more: Any) -> State:
    """D4PG's state, and beside it the multiplier and the episodes that it has answered; `more` goes with these."""
    state = offpolicy.init(base, key, spec, beta=base.config.beta)
    price = {"multiplier": jnp.float32(base.config.multiplier), "episodes": jnp.zeros(())}
    return state._replace(variables={**state.variables, "price": {**price, **more}})


def priced(state: State, **changes: Any) -> State:
    """The state with some of what belongs to the price changed."""
    return state._replace(variables={**state.variables, "price": {**state.variables["price"], **changes}})


# ---------------------------------------------------------------------------------------------------------- LOSS


def loss(base: Base, state: State, params: Any, key: jax.Array, batch: Batch):
    """D4PG's loss of `rho = r - lambda c`."""
    multiplier = state.variables["price"]["multiplier"]
    return d4pg.loss(base, state, params, key, penalised(base, batch, multiplier))


def penalised(base: Base, batch: Batch, multiplier: jax.Array) -> Batch:
    """The batch with `rho = r - lambda c` for its reward; both are sums of n steps, discounted and scaled alike."""
    cost = base.config.reward_scale * batch.extras["cost"]
    return batch._replace(reward=losses.penalised_reward(batch.reward, cost, multiplier))


# -------------------------------------------------------------------------------------------------------- UPDATE


def update(base: Base, loss: Callable, key: jax.Array, state: State, sample: Sample):
    """The multiplier answers the episodes that ended since the last update; then D4PG's update."""
    knobs, price = state.knobs, state.variables["price"]
    ended = knobs["episodes"] - price["episodes"]
    rate = base.config.multiplier_rate * ended
    moved = losses.multiplier_update(price["multiplier"], knobs["episode_cost"], knobs["beta"], rate)
    # Without a new episode there is no cost to look at, and before the first one it is no number.
    multiplier = jnp.where(ended > 0, moved, price["multiplier"])
    state = priced(state, multiplier=multiplier, episodes=knobs["episodes"])
    state, metrics = offpolicy.update(base, loss, key, state, sample)
    return state, {**metrics, **told(state)}


def told(state: State) -> dict[str, jax.Array]:
    """What every update says of the constraint."""
    knobs = state.knobs
    seen = knobs["episodes"] > 0
    known = lambda value: jnp.where(seen, value, jnp.nan)  # noqa: E731
    return {
        "multiplier": state.variables["price"]["multiplier"],
        "threshold": knobs["beta"],
        "episode_cost": known(knobs["episode_cost"]),
        "overshoot": known(losses.overshoot(knobs["episode_cost"], knobs["beta"])),
    }


# ---------------------------------------------------------------------------------------------------------- MAKE


def make(spec: EnvSpec, **options: Any) -> Agent:
    """RC-D4PG for an environment with a bounded box of actions and the extra `cost`, 0 to 1 at every step.

    Options are the fields of `Config` and `NAME.FIELD` of its parts, such as `uniform.capacity`.

    Raises:
      UsageError: where actions are no bounded box, or steps have no cost.
    """
    config, rest = parts.split(Config, options)
    base = assemble("rc_d4pg", config, spec, rest)
    return offpolicy.agent("rc_d4pg", base, ddpg.act, loss, init, update)


def assemble(name: str, config: Config, spec: EnvSpec, options: dict[str, Any], **more: Any) -> Base:
    """D4PG's parts, whose n-step records sum costs as they sum rewards.

    Raises:
      UsageError: where steps have no cost.
    """
    if "cost" not in spec.extras:
        raise UsageError(f"{name} learns under a constraint, and the steps of {spec.id} have no cost.")
    return d4pg.assemble(name, config, spec, options, summed=("cost",), **more)
