"""DQN and the parts of Rainbow, each a switch: double, duelling, n-step, prioritised, distributional, noisy.

Mnih et al., 2015; van Hasselt, Guez and Silver, 2016; Wang et al., 2016; Schaul et al., 2016 (`--replay prioritised`);
Bellemare, Dabney and Munos, 2017; Dabney et al., 2018; Fortunato et al., 2018; together Hessel et al., 2018.
"""

from dataclasses import dataclass
from typing import Any, Literal

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
    """Options of DQN."""

    critic: Literal["mean", "categorical", "quantile"] = "mean"
    """What is learned of returns: their mean (DQN), probabilities of atoms (C51), or quantiles (QR-DQN)."""
    double: bool = True
    """Let the network that is trained choose the action that the target network values."""
    duelling: bool = False
    """Learn a state's value and each action's advantage apart."""
    noisy: bool = False
    """Explore by noise on the last layers' weights, of a size that is learned, not by epsilon."""
    atoms: int = 51
    """Atoms, or quantiles, of the distributional critics."""
    v_min: float = -10.0
    """The least atom."""
    v_max: float = 10.0
    """The largest atom."""
    huber: float = 1.0
    """Errors beyond this count in a straight line; 0 squares all (and takes their size itself for quantiles)."""
    epsilon: float = 1.0
    """Share of actions drawn evenly, when learning begins."""
    epsilon_end: float = 0.05
    """The same from `epsilon_share` of the run on; between both it falls in a straight line."""
    epsilon_share: float = 0.1
    """See epsilon_end."""
    warmup: int = 1_000
    """Environment steps before learning begins; until then actions are drawn evenly."""
    ratio: float = 0.25
    """Updates for each environment step."""
    tau: float = 1.0
    """How far target networks move towards their own at each of their moves; 1 copies."""
    target_every: int = 500
    """Updates between two moves of the target network."""

    def __post_init__(self):
        super().__post_init__()
        require(self.atoms > 1, "atoms", self.atoms, "at least 2")
        require(self.v_min < self.v_max, "v_min", self.v_min, f"below v_max, which is {self.v_max}")
        require(self.huber >= 0, "huber", self.huber, "at least 0")
        for name in ("epsilon", "epsilon_end", "epsilon_share"):
            require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "between 0 and 1")


# ----------------------------------------------------------------------------------------------------------- ACT


def act(base: Base, key: jax.Array, state: State, timestep: TimeStep, evaluate: bool) -> jax.Array:
    """The action of the highest value, and with probability epsilon, unless `evaluate`, any; int32 `[B]`."""
    noise_key, coin_key, even_key = jax.random.split(key, 3)
    outputs = read(base, acting_params(state)["q"], timestep.obs, None if evaluate else noise_key)
    greedy = jnp.argmax(means(base.config, outputs), -1).astype(jnp.int32)
    if evaluate or base.config.noisy:
        return greedy
    even = jax.random.randint(even_key, greedy.shape, 0, means(base.config, outputs).shape[-1])
    share = epsilon(base.config, state.knobs["progress"])
    return jnp.where(jax.random.bernoulli(coin_key, share, greedy.shape), even, greedy).astype(jnp.int32)


def epsilon(config: Config, progress: jax.Array) -> jax.Array:
    """The share of actions that are drawn evenly, where `progress` of the run is done."""
    done = jnp.clip(progress / max(config.epsilon_share, 1e-9), 0, 1)
    return config.epsilon + (config.epsilon_end - config.epsilon) * done


def read(base: Base, params: Any, obs: Any, noise: jax.Array | None) -> jax.Array:
    """What the network gives for every action, `[N, A]` or `[N, A, atoms]`; noisy layers take a key."""
    rngs = {"net": noise} if base.config.noisy and noise is not None else None
    return base.networks["q"].apply({"params": params}, obs, rngs=rngs)


def means(config: Config, outputs: jax.Array) -> jax.Array:
    """The expected return of every action, `[N, A]`."""
    match config.critic:
        case "mean":
            return outputs
        case "categorical":
            return jnp.sum(jax.nn.softmax(outputs) * support(config), -1)
    return outputs.mean(-1)


def support(config: Config) -> jax.Array:
    """The atoms `z`, float32 `[atoms]`."""
    return jnp.linspace(config.v_min, config.v_max, config.atoms)


# ---------------------------------------------------------------------------------------------------------- LOSS


def loss(base: Base, state: State, params: Any, key: jax.Array, batch: Batch):
    """Temporal difference of what is learned of returns, of the kind that `critic` names; a mean over the batch."""
    config = base.config
    own_key, target_key, choice_key = jax.random.split(key, 3)
    outputs = read(base, params["q"], batch.obs, own_key)
    outputs_t = read(base, state.variables["target"]["q"], batch.next_obs, target_key)
    selector = read(base, params["q"], batch.next_obs, choice_key) if config.double else outputs_t
    selector = jax.lax.stop_gradient(selector)
    q = jnp.take_along_axis(means(config, outputs), batch.action[:, None], 1)[:, 0]
    if config.critic == "mean":
        target = losses.double_q_target(outputs_t, selector, batch.reward, batch.discount)
        error = losses.td_error(outputs, batch.action, target)
        each = losses.huber_td(outputs, batch.action, target, config.huber) if config.huber else jnp.square(error) / 2
        priority = jnp.abs(error)
    elif config.critic == "categorical":
        logits = chosen(outputs, batch.action)
        z = support(config)
        target = losses.categorical_q_target(outputs_t, selector, batch.reward, batch.discount, z)
        priority = each = losses.categorical_cross_entropy(logits, target)
    else:
        taus = (jnp.arange(config.atoms) + 0.5) / config.atoms
        target = losses.quantile_q_target(outputs_t, selector, batch.reward, batch.discount)
        each = losses.quantile_huber(chosen(outputs, batch.action), taus, target, config.huber)
        priority = jnp.abs(q - target.mean(-1))
    metrics = {"q": q.mean(), "priority": priority, "epsilon": epsilon(config, state.knobs["progress"])}
    return {"value": (batch.weight * each).mean()}, metrics


def chosen(outputs: jax.Array, action: jax.Array) -> jax.Array:
    """The outputs of the actions that were taken, `[N, A, atoms]` to `[N, atoms]`."""
    return jnp.take_along_axis(outputs, action[:, None, None], 1)[:, 0]


# ---------------------------------------------------------------------------------------------------------- MAKE


def make(spec: EnvSpec, **options: Any) -> Agent:
    """DQN for an environment with one choice of several actions.

    Options are the fields of `Config` and `NAME.FIELD` of its parts, such as `prioritised.alpha`.

    Raises:
      UsageError: where actions are something else.
    """
    config, rest = parts.split(Config, options)
    actions = offpolicy.discrete(spec.action, "dqn").n
    outputs = 1 if config.critic == "mean" else config.atoms
    network = nets.ActionValues(nets.torso(spec, config), actions, outputs, config.duelling, config.noisy)
    base = offpolicy.base(config, spec, rest, {"q": network}, ("q",))
    return offpolicy.agent("dqn", base, act, loss)
