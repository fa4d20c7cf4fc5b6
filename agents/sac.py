"""SAC: soft actor-critic, two critics and a learned temperature (Haarnoja et al., 2018 and 2019)."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

import losses
from agents import offpolicy, parts
from agents.agent import Agent, State, acting_params
from agents.config import require
from agents.networks import off_policy as nets
from agents.offpolicy import Base, Batch
from envs.contract import EnvSpec, TimeStep

# ------------------------------------------------------------------------------------------------------- CONFIG


@dataclass(frozen=True)
class Config(offpolicy.Config):
    """Options of SAC."""

    critics: int = 2
    """Critics; targets take the least of their values."""
    temperature: float = 1.0
    """Weight of the policy's entropy, in units of reward per nat; where it is learned, its first value."""
    learn_temperature: bool = True
    """Move the temperature so that the policy keeps the target entropy."""
    target_entropy: float = -1.0
    """Entropy that is aimed at, in nats for each dimension of the action."""

    def __post_init__(self):
        super().__post_init__()
        require(self.critics > 0, "critics", self.critics, "above 0")
        require(self.temperature > 0, "temperature", self.temperature, "above 0")


# ----------------------------------------------------------------------------------------------------------- ACT


def act(base: Base, key: jax.Array, state: State, timestep: TimeStep, evaluate: bool) -> jax.Array:
    """A draw from the policy, or its median where `evaluate`; `[B, A]`."""
    dist = base.networks["actor"].apply({"params": acting_params(state)["actor"]}, timestep.obs)
    return dist.mode() if evaluate else dist.sample(key)


# ---------------------------------------------------------------------------------------------------------- LOSS


def loss(base: Base, state: State, params: Any, key: jax.Array, batch: Batch):
    """`sum_k (Q_k - y)^2 / 2`, `alpha log pi - min_k Q_k`, and the temperature's; means over the batch.

    `y = r + gamma (min_k Q'_k(s', a') - alpha log pi(a'|s'))`, `a'` drawn from the policy at `s'`.
    """
    actor, critic = base.networks["actor"], base.networks["critic"]
    next_key, key = jax.random.split(key)
    log_alpha = params["temperature"]
    alpha = jax.lax.stop_gradient(jnp.exp(log_alpha))

    action_t, logp_t = actor.apply({"params": params["actor"]}, batch.next_obs).sample_and_log_prob(next_key)
    q_t = critic.apply({"params": state.variables["target"]["critic"]}, batch.next_obs, action_t)
    target = losses.sac_target(q_t, logp_t, batch.reward, batch.discount, alpha)
    q = critic.apply({"params": params["critic"]}, batch.obs, batch.action)
    error = q - target[:, None]

    action, logp = actor.apply({"params": params["actor"]}, batch.obs).sample_and_log_prob(key)
    judged = critic.apply({"params": jax.lax.stop_gradient(params["critic"])}, batch.obs, action)
    terms = {
        "critic": (batch.weight * jnp.square(error).sum(1) / 2).mean(),
        "actor": losses.sac_policy_loss(judged, logp, alpha).mean(),
    }
    if base.config.learn_temperature:
        goal = base.config.target_entropy * batch.action.shape[-1]
        terms["temperature"] = losses.sac_temperature_loss(log_alpha, logp, goal).mean()
    return terms, {"alpha": alpha, "entropy": -logp.mean(), "q": q.mean(), "priority": jnp.abs(error).mean(1)}


# ---------------------------------------------------------------------------------------------------------- MAKE


def make(spec: EnvSpec, **options: Any) -> Agent:
    """SAC for an environment with a bounded box of actions.

    Options are the fields of `Config` and `NAME.FIELD` of its parts, such as `uniform.capacity`.

    Raises:
      UsageError: where actions are no bounded box.
    """
    config, rest = parts.split(Config, options)
    return offpolicy.agent("sac", assemble("sac", config, spec, rest), act, loss, init)


def assemble(name: str, config: Config, spec: EnvSpec, options: dict[str, Any]) -> Base:
    """SAC's networks and parts, for it and those that build on it."""
    box = offpolicy.box(spec.action, name)
    networks = {
        "actor": nets.Gaussian(nets.torso(spec, config), box),
        "critic": nets.critics(spec, config, box, count=config.critics),
    }
    return offpolicy.base(config, spec, options, networks, ("critic",), others=("temperature",))


def init(base: Base, key: jax.Array, spec: EnvSpec) -> State:
    """Fresh networks and the temperature's logarithm."""
    return offpolicy.init(base, key, spec, {"temperature": jnp.log(base.config.temperature)})
