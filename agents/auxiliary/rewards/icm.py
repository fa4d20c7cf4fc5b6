"""ICM: pays for what a forward model did not foresee of what actions can move (Pathak et al., 2017)."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

import losses
from agents.agent import Host, Rollout
from agents.auxiliary.auxiliary import Auxiliary
from agents.auxiliary.rewards import dynamics
from agents.config import build, require
from envs.contract import EnvSpec

# ------------------------------------------------------------------------------------------------------- CONFIG


@dataclass(frozen=True)
class Config(dynamics.ForwardConfig):
    """Options of ICM: its paper's errors, with the weights and sizes that RIDE's released code gives it on MiniGrid."""

    coef: float = 0.1
    """Weight of the bonus in the reward, the paper's eta; 0.1 is RIDE's code on KeyCorridor, the paper has 0.01."""

    def __post_init__(self):
        super().__post_init__()
        require(self.coef >= 0, "coef", self.coef, "at least 0")


# ---------------------------------------------------------------------------------------------------------- STEP


def step(config: Config, nets: dynamics.Dynamics, key: jax.Array, state: dynamics.State, batch: Rollout, host: Host):
    """Bonus `||f(phi(o_t), a_t) - phi(o_{t+1})||^2 / 2` `[T, B]` before the update; both models further on."""
    steps = dynamics.transitions(config, batch)
    phi, successor = dynamics.embeddings(config, nets, state.params, batch)
    foreseen = dynamics.foresee(nets, state.params, phi, steps.action)
    bonus = steps.counts * jax.vmap(partial(losses.icm_bonus, squared=config.squared))(foreseen, successor)
    state, found = dynamics.train(config, nets, state, key, steps)
    length = jnp.linalg.norm(successor, axis=-1)
    return state, bonus, {"bonus": bonus.mean(), "embedding": length.mean(), **found}


# ---------------------------------------------------------------------------------------------------------- MAKE


def make(spec: EnvSpec, **options: Any) -> Auxiliary:
    """`r_int = ||f(phi(o_t), a_t) - phi(o_{t+1})||^2 / 2`, `phi` learnt by telling `a_t` from `phi(o_t), phi(o_{t+1})`.

    With `squared` false the norm itself is paid and learnt from, as in RIDE's released code.
    """
    config = build(Config, options)
    nets = dynamics.networks(config, spec)
    return Auxiliary(
        name="icm",
        needs=("unroll",),
        init=partial(dynamics.init, config, nets),
        step=partial(step, config, nets),
        coef=config.coef,
    )
