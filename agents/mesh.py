"""MeSh: D4PG under a constraint, with a penalty whose shape is learned by a meta-gradient (Calian et al., 2021).

There is no multiplier: a small network gives the penalty of every step a scale and an offset,
`c~ = scale * c + offset`, and the reward is `r - x c~` with a fixed `x`. In every update half of the records make
D4PG's step on that reward and the other half ask how good the critic that came of it is, at the same shaped reward;
the network descends that loss, exactly, through the optimiser's step.

Known of the method are scale and offset and what they are for. Chosen here: the network reads observation and action,
its scale is `2 sigmoid` of its output (1 at first, never below 0) and its offset `tanh` of the other (0 at first), so
that neither leaves what a cost can be.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from agents import ddpg, meta_l, offpolicy, parts, rc_d4pg
from agents.agent import Agent, Sample, State
from agents.config import require
from agents.networks import off_policy as nets
from agents.offpolicy import Base, Batch
from envs.contract import EnvSpec

# ------------------------------------------------------------------------------------------------------- CONFIG


@dataclass(frozen=True)
class Config(meta_l.Config):
    """Options of MeSh."""

    multiplier: float = 1.0
    """The fixed x: price of a shaped penalty of 1, in units of reward."""
    multiplier_rate: float = 0.0
    """The price does not move."""
    shape_hidden: tuple[int, ...] = (64,)
    """Widths of the dense layers of the network that shapes the penalty."""

    def __post_init__(self):
        super().__post_init__()
        require(self.multiplier_rate == 0, "multiplier_rate", self.multiplier_rate, "0, for mesh has a fixed price")
        require(
            all(width > 0 for width in self.shape_hidden), "shape_hidden", self.shape_hidden, "made of widths above 0"
        )


# ------------------------------------------------------------------------------------------------------ NETWORKS


def shaper(base: Base) -> nn.Module:
    """The network: observation and action to two numbers, both 0 at first."""
    config, box = base.config, offpolicy.box(base.spec.action, "mesh")
    return nets.critics(base.spec, config, box, outputs=2, hidden=config.shape_hidden, gain=0.0)


def shaped(base: Base, params: Any, batch: Batch) -> tuple[Batch, dict[str, jax.Array]]:
    """The batch with `r - x (scale * c + offset)` for its reward, and means of scale and offset."""
    numbers: Any = shaper(base).apply({"params": params}, batch.obs, batch.action)
    scale, offset = 2 * jax.nn.sigmoid(numbers[:, 0, 0]), jnp.tanh(numbers[:, 0, 1])
    cost = scale * batch.extras["cost"] + offset
    batch = batch._replace(extras={**batch.extras, "cost": cost})
    return rc_d4pg.penalised(base, batch, jnp.float32(base.config.multiplier)), {
        "scale": scale.mean(),
        "offset": offset.mean(),
    }


# --------------------------------------------------------------------------------------------------------- STATE


def init(base: Base, key: jax.Array, spec: EnvSpec) -> State:
    """RC-D4PG's state, and beside it the network that shapes the penalty and its optimiser's state."""
    state_key, key = jax.random.split(key)
    obs = jax.tree.map(lambda leaf: jnp.zeros((1, *leaf.shape), leaf.dtype), spec.obs)
    params = shaper(base).init(key, obs, jnp.zeros((1, len(offpolicy.box(spec.action, "mesh").low))))["params"]
    return rc_d4pg.init(base, state_key, spec, shape=params, opt=meta_l.optimiser(base.config).init(params))


# -------------------------------------------------------------------------------------------------------- UPDATE


def update(base: Base, loss: Callable, key: jax.Array, state: State, sample: Sample):
    """MetaL's update with the shape of the penalty in the multiplier's place."""
    ready = meta_l.prepared(base, key, state, sample)

    def outer(shape: Any):
        batch, _ = shaped(base, shape, ready.train)
        trained, found = meta_l.inner(base, ready.state, ready.learn_key, batch, ready.host)
        batch, means = shaped(base, shape, ready.validation)
        return meta_l.judged(base, ready.state, trained.params, batch), (trained, found, means)

    shape = ready.state.variables["price"]["shape"]
    (value, (trained, found, means)), slope = jax.value_and_grad(outer, has_aux=True)(shape)
    state, slope = meta_l.descended(base, ready.state, "shape", slope)
    state = meta_l.moved(state, trained)
    told = {"outer_loss": value, "meta_gradient": optax.global_norm(slope), **means}
    return offpolicy.finish(base, ready.after_key, state), {**ready.metrics, **found, **rc_d4pg.told(state), **told}


# ---------------------------------------------------------------------------------------------------------- MAKE


def make(spec: EnvSpec, **options: Any) -> Agent:
    """MeSh for an environment with a bounded box of actions and the extra `cost`, 0 to 1 at every step.

    Options are the fields of `Config` and `NAME.FIELD` of its parts, such as `uniform.capacity`.

    Raises:
      UsageError: where actions are no bounded box, or steps have no cost.
    """
    config, rest = parts.split(Config, options)
    base = rc_d4pg.assemble("mesh", config, spec, rest)
    return offpolicy.agent("mesh", base, ddpg.act, rc_d4pg.loss, init, update)
