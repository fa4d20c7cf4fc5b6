"""DDPG: a deterministic policy that climbs its critic (Lillicrap et al., 2016)."""

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
from envs.contract import Box, EnvSpec, TimeStep

# ------------------------------------------------------------------------------------------------------- CONFIG


@dataclass(frozen=True)
class Config(offpolicy.Config):
    """Options of DDPG."""

    noise: float = 0.1
    """Standard deviation of what is added to actions, in halves of the box's width."""
    action_slope: float = 0.0
    """The critic's gradient in an action is clipped to this norm, in halves of the box's width; 0 leaves it."""

    def __post_init__(self):
        super().__post_init__()
        require(self.noise >= 0, "noise", self.noise, "at least 0")
        require(self.action_slope >= 0, "action_slope", self.action_slope, "at least 0")


# ----------------------------------------------------------------------------------------------------------- ACT


def act(base: Base, key: jax.Array, state: State, timestep: TimeStep, evaluate: bool) -> jax.Array:
    """The policy's action, with Gaussian noise unless `evaluate`, within the box; `[B, A]`."""
    action = base.networks["actor"].apply({"params": acting_params(state)["actor"]}, timestep.obs)
    if evaluate:
        return action
    low, half = bounds(base.spec.action)
    noise = base.config.noise * half * jax.random.normal(key, action.shape)
    return jnp.clip(action + noise, low, low + 2 * half)


def bounds(box: Any) -> tuple[jax.Array, jax.Array]:
    """A box's lower bounds and half of its widths, `[A]` each."""
    low, high = jnp.asarray(box.low), jnp.asarray(box.high)
    return low, (high - low) / 2


# ---------------------------------------------------------------------------------------------------------- LOSS


def loss(base: Base, state: State, params: Any, key: jax.Array, batch: Batch):
    """`(Q(s, a) - y)^2 / 2` with `y = r + gamma Q'(s', pi'(s'))`, and `-Q(s, pi(s))`; means over the batch."""
    actor, critic, target = base.networks["actor"], base.networks["critic"], state.variables["target"]
    action_t = actor.apply({"params": target["actor"]}, batch.next_obs)
    q_t = critic.apply({"params": target["critic"]}, batch.next_obs, action_t)[:, 0]
    error = critic.apply({"params": params["critic"]}, batch.obs, batch.action)[:, 0]
    q, error = error, error - losses.td_target(q_t, batch.reward, batch.discount)

    def value(action: jax.Array) -> jax.Array:
        return critic.apply({"params": jax.lax.stop_gradient(params["critic"])}, batch.obs, action)[:, 0]

    terms = {
        "critic": (batch.weight * jnp.square(error) / 2).mean(),
        "actor": climb(base, params["actor"], batch, value),
    }
    return terms, {"q": q.mean(), "priority": jnp.abs(error)}


def climb(base: Base, params: Any, batch: Batch, value: Any) -> jax.Array:
    """The policy's loss: its slope is that of `-value(action)` `[N]`, clipped where the config asks for it."""
    action = base.networks["actor"].apply({"params": params}, batch.obs)
    _, half = bounds(base.spec.action)
    # In halves of the box's width, so that one norm fits every box.
    slope = half * jax.grad(lambda action: value(action).sum())(action)
    most = base.config.action_slope or float("inf")
    return losses.dpg_loss(action / half, slope, most).mean()


# ---------------------------------------------------------------------------------------------------------- MAKE


def make(spec: EnvSpec, **options: Any) -> Agent:
    """DDPG for an environment with a bounded box of actions.

    Options are the fields of `Config` and `NAME.FIELD` of its parts, such as `uniform.capacity`.

    Raises:
      UsageError: where actions are no bounded box.
    """
    config, rest = parts.split(Config, options)
    box = offpolicy.box(spec.action, "ddpg")
    networks = policy_and_critics(config, spec, box, 1)
    base = offpolicy.base(config, spec, rest, networks, ("actor", "critic"))
    return offpolicy.agent("ddpg", base, act, loss)


def policy_and_critics(config: Config, spec: EnvSpec, box: Box, count: int, **shape: Any) -> dict[str, Any]:
    """A deterministic policy and `count` critics; `shape` are further attributes of the latter."""
    actor = nets.Deterministic(nets.torso(spec, config), box)
    return {"actor": actor, "critic": nets.critics(spec, config, box, count, **shape)}
