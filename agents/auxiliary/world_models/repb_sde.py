"""RepB-SDE: an ensemble whose representation looks alike on the data and where a policy goes (Lee et al., 2021)."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

import losses
from agents.auxiliary.world_model import Records, WorldModel
from agents.auxiliary.world_models import ensemble
from agents.auxiliary.world_models.ensemble import Ensemble, Extra, inputs_of, scaled
from agents.config import build, require
from agents.networks.ensembles import Layers
from envs.contract import EnvSpec, PyTree

# ------------------------------------------------------------------------------------------------------- CONFIG


@dataclass(frozen=True)
class Config(ensemble.Config):
    """Options of the balanced ensemble."""

    alpha: float = 0.1
    """Weight of the squared distance between the data and where the policy goes in each member's loss."""
    balance_first: bool = False
    """Balance the first fit too, as for a policy that is to be evaluated; agents first need one worth balancing for."""
    kernel: Literal["dot", "rbf"] = "dot"
    """Kernel of the distance: products of representations, or a Gaussian of their differences."""
    bandwidth: float = 1.0
    """Bandwidth of the Gaussian kernel, in units of the square root of the representation's width."""
    representation: int = 3
    """Hidden layer, counted from 1, that ends in the representation."""
    tanh: bool = True
    """The representation ends in tanh rather than swish; without a bound the dot kernel rewards mere shrinking."""
    init_states: Literal["all", "starts"] = "all"
    """Where the policy is taken to begin: in any state of the data, or where their episodes do."""
    discount: float = 0.99
    """Discount of the states that the policy visits, per step; agents set their own."""
    most_holdout: int = 1000
    """Records held out at most."""
    scale_targets: bool = True
    """Predict in units of the targets' standard deviations."""
    doubt: Literal["none", "noise", "disagreement"] = "disagreement"
    """What the model is unsure by: the largest noise that a member predicts, or the spread of their means."""

    def __post_init__(self):
        super().__post_init__()
        require(self.alpha >= 0, "alpha", self.alpha, "at least 0")
        require(self.bandwidth > 0, "bandwidth", self.bandwidth, "above 0")
        require(0 <= self.discount < 1, "discount", self.discount, "at least 0 and below 1")
        layers = len(self.hidden)
        require(1 <= self.representation <= layers, "representation", self.representation, f"between 1 and {layers}")


MEASURED = 1024  # records of each member that the distance is told of
_MEASURE = 1_000_003  # sets the measure's key apart from the fit's, which stays the plain ensemble's

# --------------------------------------------------------------------------------------------------------- STATE


class Balanced(NamedTuple):
    """The ensemble, and how far its data were from the policy's states before and after the last fit, float32 `[]`.

    The distance is the mean of all members', not squared, both times for the policy of that fit.
    """

    ensemble: Ensemble
    before: jax.Array
    after: jax.Array


# --------------------------------------------------------------------------------------------------------- LOSS

# `(key, shape) -> rows`: draws states in which the policy may begin.
Draw = Callable[[jax.Array, tuple[int, ...]], jax.Array]


def starts(records: Records) -> jax.Array:
    """Which rows open an episode, bool `[N]`: those whose state is not the successor of the row before.

    Records must be in the order of time. Of environments whose steps alternate every row looks like a start.
    """
    moved = (records.obs[1:] != records.next_obs[:-1]).any(-1)
    held = jnp.arange(records.reward.shape[0]) < records.held
    return held & jnp.concatenate([jnp.ones(1, bool), moved])


def drawing(config: Config, records: Records) -> Draw:
    """Draws rows evenly, with replacement, from all in use or from the starts among them."""
    if config.init_states == "all":
        return lambda key, shape: jax.random.randint(key, shape, 0, records.held)
    found = starts(records)
    order, count = jnp.argsort(~found, stable=True), found.sum()
    return lambda key, shape: order[jax.random.randint(key, shape, 0, count)]


def represent(config: Config, params: PyTree, x: jax.Array) -> jax.Array:
    """Representations `[E, N, W]` of scaled inputs `[E, N, I]`."""
    layers = Layers(x.shape[0], config.hidden, bounded(config))
    found: Any = layers.apply({"params": params["layers"]}, x, config.representation)
    return found


def bounded(config: Config) -> tuple[int, ...]:
    """The layers that end in tanh."""
    return (config.representation - 1,) if config.tanh else ()


def distances(
    config: Config,
    key: jax.Array,
    state: Ensemble,
    records: Records,
    policy: Callable,
    draw: Draw,
    params: PyTree,
    rows: jax.Array,
) -> jax.Array:
    """The squared distance of each member's `rows` `[E, B]` from the states of `policy`, `[E]`."""
    act_key, first_key, first_act_key = jax.random.split(key, 3)

    def act(key: jax.Array, obs: jax.Array) -> jax.Array:
        flat = policy(key, obs.reshape(-1, obs.shape[-1]))
        return jax.lax.stop_gradient(flat).reshape(*obs.shape[:-1], -1)

    def phi(obs: jax.Array, action: jax.Array) -> jax.Array:
        return represent(config, params, scaled(state.inputs, inputs_of(obs, action)))

    next_obs, first = records.next_obs[rows], records.obs[draw(first_key, rows.shape)]
    seen = (
        phi(records.obs[rows], records.action[rows]),
        phi(next_obs, act(act_key, next_obs)),
        phi(first, act(first_act_key, first)),
        records.discount[rows],
    )
    if config.kernel == "dot":
        return jax.vmap(losses.dot_balance, (0, 0, 0, 0, None))(*seen, config.discount)
    width = config.bandwidth * config.hidden[config.representation - 1] ** 0.5
    return jax.vmap(losses.gaussian_balance, (0, 0, 0, 0, None, None))(*seen, config.discount, width)


# ---------------------------------------------------------------------------------------------------------- MAKE


def make(spec: EnvSpec, **options: Any) -> WorldModel:
    """The ensemble with `alpha sum_members IPM^2` more in its loss, for models that are used where data are few.

    Lee, Lee and Kim, "Representation Balancing Offline Model-based Reinforcement Learning", 2021. For offline agents
    such as `repb_sde`, and to evaluate a policy by a model. The error of such an evaluation is bounded by the error on
    the data plus the distance, seen by the representation `phi(s, a)`, of the data from the policy's discounted
    stationary distribution `d`. For `x' = phi(s', a')`, `a' ~ policy(s')`, and `x_0 = phi(s_0, a_0)` no sample of `d`
    is needed, and nothing of the policy that made the data:

    `IPM = sup_g |E g(x) - (1 - gamma) E g(x_0) - gamma E m g(x')|`, over the unit ball of the kernel's space

    whose square is `losses.dot_balance` or `losses.gaussian_balance`; `m` is 0 where an episode ended. The gradient
    flows into the representation, not into the policy, whose actions are drawn once in each step.

    What the paper leaves open, as it is here: the first fit of a run is not balanced unless `balance_first`, as there
    is no policy worth it; later ones go on from its weights, where the authors' code begins anew. By `init_states`
    `all` the policy may begin in any state of the data, as in the authors' code, held-out ones too; `starts` asks for
    records in the order of time. The weight `alpha` was tuned for each data set among 0.01, 0.1, 1 and 10. The Gaussian
    kernel has a fixed bandwidth.

    `ipm` and `ipm_before` among the metrics are the distance after and before the fit, the mean of all members, on
    1,024 records of each. With `alpha` 0 it is the plain ensemble of the same layers, bit for bit.

    Raises:
      UsageError: where observations are no vector, actions no box, or an option is unknown or out of range.
    """
    config = build(Config, options)
    if config.alpha and config.kernel == "dot" and not config.tanh:
        warnings.warn(
            "without tanh the representation has no bound, and the dot kernel's distance shrinks with it: take "
            "tanh=true or kernel=rbf.",
            stacklevel=2,
        )

    def balance(state: Ensemble, records: Records, policy: Callable) -> Extra:
        draw = drawing(config, records)
        due = jnp.isfinite(state.error).all() | config.balance_first

        def added(params: PyTree, key: jax.Array, rows: jax.Array) -> jax.Array:
            return jax.lax.cond(
                due,
                lambda: config.alpha * distances(config, key, state, records, policy, draw, params, rows).sum(),
                lambda: jnp.zeros(()),
            )

        return added

    plain = ensemble.model(spec, config, bounded=bounded(config), extra=balance if config.alpha else None)

    def init(key: jax.Array) -> Balanced:
        return Balanced(plain.init(key), jnp.zeros(()), jnp.zeros(()))

    def fit(key: jax.Array, state: Balanced, records: Records, policy: Callable) -> tuple[Balanced, dict]:
        fitted, metrics = plain.fit(key, state.ensemble, records, policy)
        row_key, look_key = jax.random.split(jax.random.fold_in(key, _MEASURE))
        rows = jax.random.randint(row_key, (1, MEASURED), 0, records.held)
        draw = drawing(config, records)

        def measure(params: PyTree) -> jax.Array:
            def one(layers: PyTree) -> jax.Array:
                alone = {"layers": jax.tree.map(lambda leaf: leaf[None], layers)}
                return distances(config, look_key, fitted, records, policy, draw, alone, rows)[0]

            # One after the other: the Gaussian kernel takes nine million numbers for each.
            return jnp.sqrt(jnp.maximum(jax.lax.map(one, params["layers"]), 0.0)).mean()

        found = Balanced(fitted, measure(state.ensemble.params), measure(fitted.params))
        return found, metrics | report(found)

    def report(state: Balanced) -> dict[str, jax.Array]:
        return {"ipm": state.after, "ipm_before": state.before}

    assert plain.believe is not None
    believe = plain.believe
    return WorldModel(
        init=init,
        fit=fit,
        predict=lambda key, state, obs, action: plain.predict(key, state.ensemble, obs, action),
        believe=lambda state, obs, action: believe(state.ensemble, obs, action),
        report=report,
    )
