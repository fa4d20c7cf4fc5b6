"""IMPALA: an actor-critic whose lag is corrected by V-trace (Espeholt et al., 2018)."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

import losses
from agents import onpolicy, parts
from agents.agent import Agent, Rollout, State, Unroll
from agents.auxiliary import pipeline as hooks
from agents.config import require
from agents.onpolicy import Base
from agents.training import gradient
from envs.contract import EnvSpec

# ------------------------------------------------------------------------------------------------------- CONFIG


@dataclass(frozen=True)
class Config(onpolicy.Config):
    """Options of IMPALA."""

    optimizer: str = "rmsprop"
    """Gradient transform: names of that door joined by +, in the order of application."""
    learning_rate: float = 1e-4
    """Step size of the optimiser."""
    max_grad_norm: float = 40.0
    """Gradients are clipped to this global norm; 0 leaves them."""
    trace: float = 1.0
    """Lambda of V-trace."""
    clip_rho: float = 1.0
    """Ceiling of the importance ratio in the temporal-difference error."""
    clip_c: float = 1.0
    """Ceiling of the importance ratio in the trace."""

    def __post_init__(self):
        super().__post_init__()
        require(0 <= self.trace <= 1, "trace", self.trace, "between 0 and 1")
        require(self.clip_rho > 0, "clip_rho", self.clip_rho, "above 0")
        require(self.clip_c > 0, "clip_c", self.clip_c, "above 0")


# ---------------------------------------------------------------------------------------------------------- LOSS


def loss(base: Base, state: State, reward: jax.Array, params: Any, key: jax.Array, rollout: Rollout):
    """`sum_t mean_B [- log pi(a) A + c_V (vs - V)^2 / 2 - c_H H]`; `vs` and `A` by V-trace, both constants."""
    config, knobs = base.config, state.knobs
    outputs, value_t, _ = onpolicy.evaluate(base, params, state.variables, rollout, train=True, rngs={"net": key})
    logp = outputs.dist.log_prob(onpolicy.taken(rollout))
    ratio = jnp.exp(logp - rollout.extras["logp"])
    discount = knobs["discount"] * rollout.timestep.discount
    trace = config.trace * (1.0 - rollout.timestep.last)
    corrected = jax.vmap(partial(losses.vtrace, clip_rho=config.clip_rho, clip_c=config.clip_c), in_axes=1, out_axes=1)(
        outputs.value, value_t, reward, discount, ratio, trace
    )

    over_time = lambda x: x.sum(0).mean()  # noqa: E731
    per_step = lambda f, *xs: jax.vmap(f, in_axes=1, out_axes=1)(*xs)  # noqa: E731
    entropy = outputs.dist.entropy()
    terms = {
        "policy": over_time(per_step(losses.policy_gradient, logp, corrected.advantage)),
        "value": knobs["value_cost"] * over_time(per_step(losses.squared_value, outputs.value, corrected.target)),
        "entropy": -knobs["entropy_cost"] * over_time(entropy),
        **outputs.losses,
    }
    spread = jnp.var(corrected.target) + 1e-8
    metrics = {
        **outputs.metrics,
        "entropy": entropy.mean(),
        "ratio": ratio.mean(),
        "explained_variance": 1.0 - jnp.var(corrected.target - outputs.value) / spread,
    }
    return terms, metrics


# -------------------------------------------------------------------------------------------------------- UPDATE


def update(base: Base, key: jax.Array, state: State, rollout: Rollout):
    """Bonuses, then one gradient step on the whole unroll."""
    step_key, loss_key, after_key = jax.random.split(key, 3)
    state = onpolicy.annealed(base, state)
    host = onpolicy.host(base, state)
    states, output, metrics = hooks.step(base.pipeline, step_key, state.auxiliaries, rollout, host)
    reward = onpolicy.reward(base, output.batch, output.bonus)
    trained, found = gradient.step(
        partial(loss, base, state, reward),
        base.optimizer,
        base.pipeline,
        loss_key,
        gradient.Trained(state.params, state.opt, states),
        output.batch,
        host,
    )
    state = state._replace(
        params=trained.params, opt=trained.opt, auxiliaries=trained.auxiliaries, updates=state.updates + 1
    )
    return hooks.after(base.pipeline, after_key, state, onpolicy.host(base, state)), metrics | found


# ---------------------------------------------------------------------------------------------------------- MAKE


def make(spec: EnvSpec, **options: Any) -> Agent:
    """IMPALA for an environment; options are the fields of `Config` and `NAME.FIELD` of auxiliaries."""
    config, rest = parts.split(Config, options)
    return assemble("impala", onpolicy.base(config, spec, rest))


def assemble(name: str, base: Base) -> Agent:
    """The agent's functions around its parts."""
    return onpolicy.agent(name, base, partial(update, base), Unroll(base.config.unroll))
