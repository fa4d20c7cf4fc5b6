"""D4PG: a deterministic policy that climbs the mean of a distributional critic, from n-step records.

Barth-Maron et al., 2018. Its fleets of actors are the environments that a loop steps together.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

import losses
from agents import ddpg, offpolicy, parts
from agents.agent import Agent, State
from agents.config import require
from agents.offpolicy import Base, Batch
from envs.contract import EnvSpec

# ------------------------------------------------------------------------------------------------------- CONFIG


@dataclass(frozen=True)
class Config(ddpg.Config):
    """Options of D4PG, with the values of DeepMind's public one."""

    n_step: int = 5
    """Steps that are folded into one record."""
    atoms: int = 51
    """Values between which a return is distributed."""
    v_min: float = -150.0
    """The least of these."""
    v_max: float = 150.0
    """The largest of these."""
    learning_rate: float = 1e-4
    """Step size of the optimiser."""
    max_grad_norm: float = 40.0
    """Gradients of each network are clipped to this global norm; 0 leaves them."""
    action_slope: float = 1.0
    """The critic's gradient in an action is clipped to this norm, in halves of the box's width; 0 leaves it."""
    tau: float = 1.0
    """How far target networks move towards their own at each of their moves; 1 copies."""
    target_every: int = 100
    """Updates between two moves of the target networks."""
    hidden: tuple[int, ...] = (256, 256, 256)
    """Widths of the dense layers of the policy, and of the critic if it has none of its own."""
    critic_hidden: tuple[int, ...] = (512, 512, 256)
    """Widths of the critic's dense layers; empty for those of the policy."""
    activation: str = "elu"  # type: ignore[assignment]
    """Activation of these layers."""

    def __post_init__(self):
        super().__post_init__()
        require(self.atoms > 1, "atoms", self.atoms, "at least 2")
        require(self.v_min < self.v_max, "v_min", self.v_min, f"below v_max, which is {self.v_max}")


# ---------------------------------------------------------------------------------------------------------- LOSS


def support(config: Config) -> jax.Array:
    """The atoms `z`, float32 `[atoms]`."""
    return jnp.linspace(config.v_min, config.v_max, config.atoms)


def loss(base: Base, state: State, params: Any, key: jax.Array, batch: Batch, constant: bool = True):
    """`- sum_i m_i log p_i(s, a)` with `m` the projection of `r + gamma z`, and `-sum_i z_i p_i(s, pi(s))`.

    With `constant=False` the target is no constant, so that a derivative can be taken in what the reward is made of.
    """
    z = support(base.config)
    logits, target = evaluate(base, state, params["critic"], batch, constant)
    error = losses.categorical_cross_entropy(logits, target, constant)
    terms = {
        "critic": (batch.weight * error).mean(),
        "actor": ddpg.climb(base, params["actor"], batch, mean_of(base, params["critic"], batch)),
    }
    q = losses.categorical_mean(logits, z)
    # Cross entropy less the entropy of the target: how far the critic is off, 0 where it is right.
    apart = error + jnp.sum(jnp.where(target > 0, target * jnp.log(jnp.where(target > 0, target, 1.0)), 0.0), -1)
    # What lies beyond the atoms is heaped on the last ones: much there says that the range is too small.
    at_ends = (target[:, 0] + target[:, -1]).mean()
    return terms, {"q": q.mean(), "divergence": apart.mean(), "at_ends": at_ends, "priority": apart}


def evaluate(base: Base, state: State, critic: Any, batch: Batch, constant: bool = True) -> tuple[jax.Array, jax.Array]:
    """The critic's logits of what was done, and the target distribution, `[N, atoms]` each.

    With `constant=False` a gradient flows through the target into the batch's reward.
    """
    actor, target = base.networks["actor"], state.variables["target"]
    action_t = actor.apply({"params": target["actor"]}, batch.next_obs)
    logits_t = base.networks["critic"].apply({"params": target["critic"]}, batch.next_obs, action_t)[:, 0]
    m = losses.categorical_target(logits_t, batch.reward, batch.discount, support(base.config), constant)
    return base.networks["critic"].apply({"params": critic}, batch.obs, batch.action)[:, 0], m


def mean_of(base: Base, critic: Any, batch: Batch):
    """`action -> value` `[N]` at the batch's observations, with the critic's parameters as constants."""

    def value(action: jax.Array) -> jax.Array:
        logits = base.networks["critic"].apply({"params": jax.lax.stop_gradient(critic)}, batch.obs, action)[:, 0]
        return losses.categorical_mean(logits, support(base.config))

    return value


# ---------------------------------------------------------------------------------------------------------- MAKE


def make(spec: EnvSpec, **options: Any) -> Agent:
    """D4PG for an environment with a bounded box of actions.

    Options are the fields of `Config` and `NAME.FIELD` of its parts, such as `uniform.capacity`.

    Raises:
      UsageError: where actions are no bounded box.
    """
    config, rest = parts.split(Config, options)
    return offpolicy.agent("d4pg", assemble("d4pg", config, spec, rest), ddpg.act, loss)


def assemble(name: str, config: Config, spec: EnvSpec, options: dict[str, Any], **more: Any) -> Base:
    """The parts around a policy and a distributional critic."""
    box = offpolicy.box(spec.action, name)
    shape = {"outputs": config.atoms, "hidden": config.critic_hidden or config.hidden}
    networks = ddpg.policy_and_critics(config, spec, box, 1, **shape)
    return offpolicy.base(config, spec, options, networks, ("actor", "critic"), **more)
