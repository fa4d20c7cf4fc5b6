"""TD3: DDPG with two critics, a smoothed target and a delayed policy (Fujimoto, van Hoof and Meger, 2018)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

import losses
from agents import ddpg, offpolicy, parts
from agents.agent import Agent, Sample, State
from agents.config import require
from agents.offpolicy import Base, Batch
from envs.contract import EnvSpec

# ------------------------------------------------------------------------------------------------------- CONFIG


@dataclass(frozen=True)
class Config(ddpg.Config):
    """Options of TD3."""

    delay: int = 2
    """Updates of the critics for each of the policy."""
    target_every: int = 2
    """Updates between two moves of the target networks."""
    smoothing: float = 0.2
    """Standard deviation of the noise on the target policy's actions, in halves of the box's width."""
    smoothing_clip: float = 0.5
    """That noise stays within plus and minus this, in halves of the box's width."""

    def __post_init__(self):
        super().__post_init__()
        require(self.delay > 0, "delay", self.delay, "above 0")
        require(self.smoothing >= 0, "smoothing", self.smoothing, "at least 0")
        require(self.smoothing_clip >= 0, "smoothing_clip", self.smoothing_clip, "at least 0")


# ---------------------------------------------------------------------------------------------------------- LOSS


def due(base: Base, updates: jax.Array) -> jax.Array:
    """Whether the policy moves in the update that is number `updates`, counted from 1."""
    return updates % base.config.delay == 0


def loss(base: Base, state: State, params: Any, key: jax.Array, batch: Batch):
    """`sum_k (Q_k(s, a) - y)^2 / 2`, `y = r + gamma min_k Q'_k(s', pi'(s') + noise)`; where due `-Q_1(s, pi(s))`."""
    actor, critic, target = base.networks["actor"], base.networks["critic"], state.variables["target"]
    low, half = ddpg.bounds(base.spec.action)
    action_t = actor.apply({"params": target["actor"]}, batch.next_obs)
    noise = half * base.config.smoothing * jax.random.normal(key, action_t.shape)
    # Noise is clipped in halves of each dimension's width, which differ.
    noise = jnp.clip(noise, -half * base.config.smoothing_clip, half * base.config.smoothing_clip)
    action_t = losses.td3_smoothed_action(action_t, noise, jnp.inf, low, low + 2 * half)
    q_t = critic.apply({"params": target["critic"]}, batch.next_obs, action_t)
    q = critic.apply({"params": params["critic"]}, batch.obs, batch.action)
    error = q - losses.td3_target(q_t, batch.reward, batch.discount)[:, None]

    def value(action: jax.Array) -> jax.Array:
        return critic.apply({"params": jax.lax.stop_gradient(params["critic"])}, batch.obs, action)[:, 0]

    terms = {
        "critic": (batch.weight * jnp.square(error).sum(1) / 2).mean(),
        "actor": jax.lax.cond(
            due(base, state.updates + 1),
            lambda params: ddpg.climb(base, params, batch, value),
            lambda params: jnp.zeros(()),
            params["actor"],
        ),
    }
    return terms, {"q": q.mean(), "priority": jnp.abs(error).mean(1)}


# -------------------------------------------------------------------------------------------------------- UPDATE


def update(base: Base, loss: Callable, key: jax.Array, state: State, sample: Sample):
    """As for every off-policy agent, but the policy and its optimiser move only where that is due."""
    learn_key, after_key = jax.random.split(key)
    after, metrics = offpolicy.learn(base, loss, learn_key, state, sample)

    def kept(new: dict[str, Any], old: dict[str, Any]) -> dict[str, Any]:
        moved = due(base, after.updates)
        return {**new, "actor": jax.tree.map(lambda n, o: jnp.where(moved, n, o), new["actor"], old["actor"])}

    after = after._replace(params=kept(after.params, state.params), opt=kept(after.opt, state.opt))
    return offpolicy.finish(base, after_key, after), metrics


# ---------------------------------------------------------------------------------------------------------- MAKE


def make(spec: EnvSpec, **options: Any) -> Agent:
    """TD3 for an environment with a bounded box of actions.

    Options are the fields of `Config` and `NAME.FIELD` of its parts, such as `uniform.capacity`.

    Raises:
      UsageError: where actions are no bounded box.
    """
    config, rest = parts.split(Config, options)
    box = offpolicy.box(spec.action, "td3")
    networks = ddpg.policy_and_critics(config, spec, box, 2)
    base = offpolicy.base(config, spec, rest, networks, ("actor", "critic"))
    return offpolicy.agent("td3", base, ddpg.act, loss, update=update)
