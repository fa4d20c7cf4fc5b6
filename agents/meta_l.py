"""MetaL: D4PG under a constraint, with a meta-gradient for how fast the constraint's price moves (Calian et al., 2021).

The multiplier moves at the rate `alpha_1 exp(alpha)`. In every update half of the records make the step, at the new
multiplier, and the other half ask how good the critic that came of it is; `alpha` descends that loss, exactly, through
the optimiser's step. So the price grows only as fast as the critic can follow.

The paper's steps, as numbered there:

1. The penalty is the cost of the episode that ended last (the paper draws one of the latest).
2. `lambda' = max(0, lambda - alpha_1 exp(alpha) (beta - J_C))`.
3. The sample is split in two; draws are independent, so its two ends will do.
4. The inner step moves critic and policy by D4PG's losses of `r - lambda' c`, with their own optimisers.
5. The outer loss is the critic's on the other half, at the same `lambda'`; targets are constants but for the reward.
6. `alpha` moves by Adam.

A single scalar is learned, so the derivative is taken forward: one more forward pass beside the step, and no reversal.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

import losses
from agents import d4pg, ddpg, offpolicy, parts, rc_d4pg
from agents.agent import Agent, Host, Sample, State
from agents.auxiliary import pipeline as hooks
from agents.config import require
from agents.offpolicy import Base, Batch
from agents.training import gradient
from envs.contract import EnvSpec

# ------------------------------------------------------------------------------------------------------- CONFIG


@dataclass(frozen=True)
class Config(rc_d4pg.Config):
    """Options of MetaL."""

    multiplier_rate: float = 1e-3
    """The paper's alpha_1: the multiplier's rate at first, in every update."""
    alpha: float = 0.0
    """Logarithm of what multiplies that rate, at first."""
    alpha_rate: float = 1e-3
    """Adam's step size for it; 0 keeps it, which is RC-D4PG with a price that moves in every update."""
    validation: float = 0.5
    """Share of the records that judge the step instead of making it."""
    outer: Literal["critic", "actor", "both"] = "critic"
    """Which losses judge it."""

    def __post_init__(self):
        super().__post_init__()
        require(self.alpha_rate >= 0, "alpha_rate", self.alpha_rate, "at least 0")
        require(0 < self.validation < 1, "validation", self.validation, "above 0 and below 1")
        require(self.batch > 1, "batch", self.batch, "at least 2, for some records judge what the others do")


# --------------------------------------------------------------------------------------------------------- STATE


def init(base: Base, key: jax.Array, spec: EnvSpec) -> State:
    """RC-D4PG's state, `alpha`, and its optimiser's state."""
    alpha = jnp.float32(base.config.alpha)
    return rc_d4pg.init(base, key, spec, alpha=alpha, opt=optimiser(base.config).init(alpha))


def optimiser(config: Any) -> optax.GradientTransformation:
    """Adam for what is learned by meta-gradients."""
    return optax.adam(config.alpha_rate)


# ---------------------------------------------------------------------------------------------------------- LOSS


def halves(batch: Batch, validation: float) -> tuple[Batch, Batch]:
    """The records that make the step, and those that judge it; at least one of each."""
    n = len(batch.reward)
    cut = min(n - 1, max(1, round(n * (1 - validation))))
    first, second = (jax.tree.map(lambda leaf, part=part: leaf[part], batch) for part in (slice(cut), slice(cut, n)))
    return first, second


def judged(base: Base, state: State, params: Any, batch: Batch) -> jax.Array:
    """Step 5: the loss of new parameters on records that made no step; targets follow the reward, and it alone."""
    total = jnp.zeros(())
    if base.config.outer != "actor":
        logits, target = d4pg.evaluate(base, state, params["critic"], batch, constant=False)
        total += losses.categorical_cross_entropy(logits, target, stop_target_gradients=False).mean()
    if base.config.outer != "critic":
        action = base.networks["actor"].apply({"params": params["actor"]}, batch.obs)
        # Here the critic is no constant: how it values the policy is what the multiplier has changed.
        values = base.networks["critic"].apply({"params": params["critic"]}, batch.obs, action)[:, 0]
        total -= losses.categorical_mean(values, d4pg.support(base.config)).mean()
    return total


# -------------------------------------------------------------------------------------------------------- UPDATE


class Ready(NamedTuple):
    """What an update with a meta-gradient begins with: the sample after the auxiliaries' `step`, split in two."""

    state: State
    train: Batch
    validation: Batch
    host: Host
    metrics: dict[str, jax.Array]
    learn_key: jax.Array
    after_key: jax.Array


def update(base: Base, loss: Callable, key: jax.Array, state: State, sample: Sample):
    """The six steps, and then what every off-policy update ends with."""
    ready = prepared(base, key, state, sample)
    price = ready.state.variables["price"]

    def outer(alpha: jax.Array):
        multiplier = next_multiplier(base, ready.state, alpha)
        shaped = rc_d4pg.penalised(base, ready.train, multiplier)
        trained, found = inner(base, ready.state, ready.learn_key, shaped, ready.host)
        told = judged(base, ready.state, trained.params, rc_d4pg.penalised(base, ready.validation, multiplier))
        return told, (multiplier, trained, found)

    value, slope, (multiplier, trained, found) = jax.jvp(outer, (price["alpha"],), (jnp.ones(()),), has_aux=True)
    state, slope = descended(base, ready.state, "alpha", slope)
    state = moved(rc_d4pg.priced(state, multiplier=multiplier), trained)
    told = {"outer_loss": value, "meta_gradient": slope, "rate": base.config.multiplier_rate * jnp.exp(price["alpha"])}
    return offpolicy.finish(base, ready.after_key, state), {**ready.metrics, **found, **rc_d4pg.told(state), **told}


def prepared(base: Base, key: jax.Array, state: State, sample: Sample) -> Ready:
    """The auxiliaries' `step`, and step 3."""
    step_key, learn_key, after_key = jax.random.split(key, 3)
    lent = offpolicy.host(base, state)
    states, output, metrics = hooks.step(base.pipeline, step_key, state.auxiliaries, sample, lent)
    batch = offpolicy.batch_of(base, output.batch, output.bonus)
    train, validation = halves(batch, base.config.validation)
    return Ready(state._replace(auxiliaries=states), train, validation, lent, metrics, learn_key, after_key)


def descended(base: Base, state: State, name: str, slope: Any) -> tuple[State, Any]:
    """Step 6: the part `name` of the price moved against its slope, and the slope, 0 where it was not finite."""
    price = state.variables["price"]
    # What is not finite would stay for ever.
    finite = jnp.isfinite(optax.global_norm(slope))
    slope = jax.tree.map(lambda leaf: jnp.where(finite, leaf, 0.0), slope)
    step, opt = optimiser(base.config).update(slope, price["opt"])
    learned = {name: optax.apply_updates(price[name], step)}
    return rc_d4pg.priced(state, **learned, opt=opt, episodes=state.knobs["episodes"]), slope


def next_multiplier(base: Base, state: State, alpha: jax.Array) -> jax.Array:
    """Steps 1 and 2; before the first episode has ended the multiplier stays."""
    knobs, multiplier = state.knobs, state.variables["price"]["multiplier"]
    rate = base.config.multiplier_rate * jnp.exp(alpha)
    after = losses.multiplier_update(multiplier, knobs["episode_cost"], knobs["beta"], rate)
    return jnp.where(knobs["episodes"] > 0, after, multiplier)


def inner(base: Base, state: State, key: jax.Array, batch: Batch, lent: Host):
    """Step 4: one step of D4PG on a batch whose reward is shaped already."""

    def loss(params: Any, key: jax.Array, batch: Batch):
        # The target's reward may depend on what is learned by the meta-gradient; it is no parameter of these losses.
        return d4pg.loss(base, state, params, key, batch, constant=False)

    trained = gradient.Trained(state.params, state.opt, state.auxiliaries)
    return gradient.step(loss, base.optimizer, base.pipeline, key, trained, batch, lent)


def moved(state: State, trained: gradient.Trained) -> State:
    """The state after the inner step."""
    return state._replace(
        params=trained.params, opt=trained.opt, auxiliaries=trained.auxiliaries, updates=state.updates + 1
    )


# ---------------------------------------------------------------------------------------------------------- MAKE


def make(spec: EnvSpec, **options: Any) -> Agent:
    """MetaL for an environment with a bounded box of actions and the extra `cost`, 0 to 1 at every step.

    Options are the fields of `Config` and `NAME.FIELD` of its parts, such as `uniform.capacity`.

    Raises:
      UsageError: where actions are no bounded box, or steps have no cost.
    """
    config, rest = parts.split(Config, options)
    base = rc_d4pg.assemble("meta_l", config, spec, rest)
    return offpolicy.agent("meta_l", base, ddpg.act, rc_d4pg.loss, init, update)
