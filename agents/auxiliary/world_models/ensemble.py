"""Ensemble: probabilistic networks that predict reward and change of the observation (Chua et al., 2018)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

import losses
from agents.auxiliary.world_model import Believed, Predicted, Records, WorldModel, sizes
from agents.config import build, require
from agents.networks.ensembles import Layers
from envs.contract import EnvSpec, PyTree

# ------------------------------------------------------------------------------------------------------- CONFIG


@dataclass(frozen=True)
class Config:
    """Options of the ensemble."""

    members: int = 7
    """Networks, each fitted to a bootstrap sample of its own."""
    elites: int = 5
    """Networks that predict: those with the least error on records held out."""
    hidden: tuple[int, ...] = (200, 200, 200, 200)
    """Widths of the dense layers of each network."""
    learning_rate: float = 1e-3
    """Step size of Adam."""
    weight_decay: tuple[float, ...] = (2.5e-5, 5e-5, 7.5e-5, 7.5e-5, 1e-4)
    """Weight of half the squared weights of each layer in the loss; the last stands for further layers."""
    batch: int = 256
    """Records of each member in one step."""
    holdout: float = 0.2
    """Share of the records that are held out."""
    most_holdout: int = 5000
    """Records held out at most."""
    patience: int = 5
    """A fit ends after so many epochs in which no member became better."""
    gain: float = 0.01
    """Share of its error that a member must lose to count as better."""
    most_epochs: int = 200
    """A fit ends after so many epochs at the latest."""
    scale_targets: bool = True
    """Predict in units of the targets' standard deviations; the published ensembles do not."""
    doubt: Literal["none", "noise", "disagreement"] = "none"
    """What the model is unsure by: the largest noise that a member predicts, or the spread of their means."""

    def __post_init__(self):
        require(self.members > 0, "members", self.members, "above 0")
        require(0 < self.elites <= self.members, "elites", self.elites, f"between 1 and {self.members}, the members")
        require(len(self.hidden) > 0 and all(width > 0 for width in self.hidden), "hidden", self.hidden, "above 0")
        require(self.learning_rate > 0, "learning_rate", self.learning_rate, "above 0")
        require(len(self.weight_decay) > 0, "weight_decay", self.weight_decay, "one number at least")
        require(min(self.weight_decay, default=0) >= 0, "weight_decay", self.weight_decay, "at least 0")
        require(0 < self.holdout < 1, "holdout", self.holdout, "between 0 and 1")
        for name in ("batch", "most_holdout", "patience", "most_epochs"):
            require(getattr(self, name) > 0, name, getattr(self, name), "above 0")
        require(0 <= self.gain < 1, "gain", self.gain, "at least 0 and below 1")


# --------------------------------------------------------------------------------------------------------- STATE


class Scale(NamedTuple):
    """Mean and standard deviation of each number, `[D]`."""

    mean: jax.Array
    deviation: jax.Array


class Ensemble(NamedTuple):
    """What the ensemble has learned.

    Attributes:
      params: `layers`, stacked by member, and the bounds `low` and `high` of the predicted log-variance.
      opt: Adam's state.
      inputs: scale of observation and action.
      targets: scale of reward and change of the observation.
      elites: int32 `[elites]`.
      error: mean squared error of each member on the records held out, float32 `[members]`.
    """

    params: PyTree
    opt: PyTree
    inputs: Scale
    targets: Scale
    elites: jax.Array
    error: jax.Array


class Fitting(NamedTuple):
    """A fit on its way: what moves, the best of each member so far, and when it was found."""

    params: PyTree
    opt: PyTree
    best: PyTree
    error: jax.Array
    stale: jax.Array
    epoch: jax.Array


# --------------------------------------------------------------------------------------------------------- LOSS

# `(params, key, rows, obs, action) -> scalar`: what a model adds to the loss of a batch.
Extra = Callable[..., jax.Array]


def forward(config: Config, params: PyTree, x: jax.Array, bounded: tuple[int, ...] = ()) -> tuple[jax.Array, jax.Array]:
    """Means and log-variances `[E, N, D]` of scaled inputs `[E, N, I]`; `bounded` as in `Layers`."""
    members, outputs = x.shape[0], params["low"].shape[0]
    found: Any = Layers(members, (*config.hidden, 2 * outputs), bounded).apply({"params": params["layers"]}, x)
    mean, log_variance = jnp.split(found, 2, axis=-1)
    clamp = jax.vmap(jax.vmap(losses.soft_clamp, (0, None, None)), (0, None, None))
    return mean, clamp(log_variance, params["low"], params["high"])


def regularised(config: Config, params: PyTree) -> jax.Array:
    """`sum_layers decay_l |W_l|^2 / 2 + 0.01 sum (high - low)`."""
    total = 0.01 * (params["high"] - params["low"]).sum()
    for index in range(len(config.hidden) + 1):
        decay = config.weight_decay[min(index, len(config.weight_decay) - 1)]
        total += decay * jnp.square(params["layers"][f"kernel_{index}"]).sum() / 2
    return total


# ---------------------------------------------------------------------------------------------------------- MAKE


def make(spec: EnvSpec, **options: Any) -> WorldModel:
    """An ensemble of Gaussian networks, each `(s, a) -> N(mean, variance)` of `(r, s' - s)`.

    Chua et al., "Deep Reinforcement Learning in a Handful of Trials using Probabilistic Dynamics Models", 2018; Janner
    et al., "When to Trust Your Model: Model-Based Policy Optimization", 2019. For agents that learn from what a model
    imagines, such as `mbpo`, and for whoever wants to know how sure a prediction is.

    The loss is the sum of all members' `losses.gaussian_nll`, a decay of the weights, and `0.01 sum (high - low)` of
    the learned bounds of the log-variance. Inputs and targets are standardised anew at each fit, which goes on from the
    last one's weights and keeps each member's best on the records held out. Batches are drawn with replacement from a
    member's bootstrap sample; as many as it takes to see all records once are an epoch. Small steps among large rewards
    are hardly learned from a thousand records unless targets are scaled.

    A prediction divides the rows evenly among the elites, at random at each step, so that every row is predicted by
    one network alone: each row's elite is as likely as any other, at a fraction of the work.

    Raises:
      UsageError: where observations are no vector, actions no box, or an option is unknown or out of range.
    """
    return model(spec, build(Config, options))


def model(
    spec: EnvSpec,
    config: Config,
    *,
    bounded: tuple[int, ...] = (),
    extra: Callable[[PyTree, Records, Callable], Extra] | None = None,
) -> WorldModel:
    """The ensemble with a further term in its loss: `extra(state, records, policy)` is asked once for each fit.

    The layers whose indices are `bounded` end in tanh rather than swish.
    """
    obs_size, action_size = sizes(spec)
    outputs = 1 + obs_size
    run = partial(forward, config, bounded=bounded)
    optimizer = optax.adam(config.learning_rate)

    def init(key: jax.Array) -> Ensemble:
        layers = Layers(config.members, (*config.hidden, 2 * outputs))
        first = jnp.zeros((config.members, 1, obs_size + action_size))
        params = {
            "layers": layers.init(key, first)["params"],
            "low": jnp.full(outputs, -10.0, jnp.float32),
            "high": jnp.full(outputs, 0.5, jnp.float32),
        }
        return Ensemble(
            params,
            optimizer.init(params),
            Scale(jnp.zeros(obs_size + action_size), jnp.ones(obs_size + action_size)),
            Scale(jnp.zeros(outputs), jnp.ones(outputs)),
            jnp.arange(config.elites),
            jnp.full(config.members, jnp.inf, jnp.float32),
        )

    def fit(key: jax.Array, state: Ensemble, records: Records, policy: Callable) -> tuple[Ensemble, dict]:
        order_key, boot_key, step_key = jax.random.split(key, 3)
        slots = records.reward.shape[0]
        inputs = scale_of(inputs_of(records.obs, records.action), records.held)
        targets = scale_of(targets_of(records), records.held) if config.scale_targets else state.targets
        state = state._replace(inputs=inputs, targets=targets)
        # The slots in use in a random order, those held out first.
        chance = jnp.where(jnp.arange(slots) < records.held, jax.random.uniform(order_key, (slots,)), 2.0)
        order = jnp.argsort(chance)
        out = jnp.minimum((config.holdout * records.held).astype(jnp.int32), config.most_holdout)
        kept = records.held - out
        boot = order[out + jax.random.randint(boot_key, (config.members, slots), 0, kept)]
        added = extra(state, records, policy) if extra else None

        def read(rows: jax.Array) -> tuple[jax.Array, jax.Array]:
            few = jax.tree.map(lambda leaf: leaf[rows] if leaf.ndim else leaf, records)
            x = inputs_of(few.obs, few.action)
            return scaled(inputs, x), scaled(targets, targets_of(few))

        def loss(params: PyTree, key: jax.Array, rows: jax.Array) -> jax.Array:
            x, y = read(rows)
            mean, log_variance = run(params, x)
            error = jax.vmap(losses.gaussian_nll)(mean, log_variance, y).mean(1).sum()
            return error + regularised(config, params) + (added(params, key, rows) if added else 0.0)

        held_out = order[: min(config.most_holdout, slots)]
        counted = (jnp.arange(held_out.shape[0]) < out) / jnp.maximum(out, 1)

        def judge(params: PyTree) -> jax.Array:
            x, y = read(held_out)
            mean, _ = run(params, jnp.broadcast_to(x, (config.members, *x.shape)))
            return (jnp.square(mean - y).mean(-1) * counted).sum(-1)

        def batch(index: jax.Array, moved: tuple, key: jax.Array) -> tuple:
            draw_key, own_key = jax.random.split(jax.random.fold_in(key, index))
            params, opt = moved
            place = jax.random.randint(draw_key, (config.members, config.batch), 0, kept)
            rows = jnp.take_along_axis(boot, place, axis=1)
            updates, opt = optimizer.update(jax.grad(loss)(params, own_key, rows), opt, params)
            return optax.apply_updates(params, updates), opt

        def epoch(now: Fitting) -> Fitting:
            own = jax.random.fold_in(step_key, now.epoch)
            batches = -(-kept // config.batch)
            moved = jax.lax.fori_loop(0, batches, lambda i, moved: batch(i, moved, own), (now.params, now.opt))
            error = judge(moved[0])
            better = error < (1 - config.gain) * now.error
            best = now.best | {"layers": chosen(better, moved[0]["layers"], now.best["layers"])}
            best |= {name: moved[0][name] for name in ("low", "high")}
            stale = jnp.where(better.any(), 0, now.stale + 1)
            params, opt = moved
            return Fitting(params, opt, best, jnp.where(better, error, now.error), stale, now.epoch + 1)

        def going(now: Fitting) -> jax.Array:
            return (now.stale < config.patience) & (now.epoch < config.most_epochs)

        zero = jnp.zeros((), jnp.int32)
        begun = Fitting(
            state.params, state.opt, state.params, jnp.full(config.members, jnp.inf, jnp.float32), zero, zero
        )
        done = jax.lax.while_loop(going, epoch, begun)
        order = jnp.argsort(done.error)
        state = state._replace(params=done.best, opt=done.opt, elites=order[: config.elites], error=done.error)
        return state, {"loss": done.error[state.elites].mean(), "epochs": done.epoch.astype(jnp.float32)}

    def predict(key: jax.Array, state: Ensemble, obs: jax.Array, action: jax.Array) -> Predicted:
        order_key, noise_key = jax.random.split(key)
        n, each = obs.shape[0], -(-obs.shape[0] // config.elites)
        # Rows that fill up the last group are predicted again, and left out.
        order = jnp.resize(jax.random.permutation(order_key, n), (config.elites, each))
        x = scaled(state.inputs, inputs_of(obs, action))
        params = state.params | {"layers": jax.tree.map(lambda leaf: leaf[state.elites], state.params["layers"])}
        mean, log_variance = run(params, x[order])
        drawn = mean + jnp.exp(log_variance / 2) * jax.random.normal(noise_key, mean.shape)
        flat = unscaled(state.targets, drawn).reshape(-1, outputs)[:n]
        found = jnp.zeros((n, outputs)).at[order.reshape(-1)[:n]].set(flat, unique_indices=True)
        return Predicted(obs + found[:, 1:], found[:, 0], doubt(state, params, x))

    def doubt(state: Ensemble, params: PyTree, x: jax.Array) -> jax.Array:
        """MOPO's `max_i |deviation_i|` (Yu et al., 2020) over the elites, or `|std_i mean_i|` of all members."""
        if config.doubt == "none":
            return jnp.zeros(x.shape[0])
        noise = config.doubt == "noise"
        members = config.elites if noise else config.members
        mean, log_variance = run(params if noise else state.params, jnp.broadcast_to(x, (members, *x.shape)))
        if noise:
            return jnp.linalg.norm(state.targets.deviation * jnp.exp(log_variance / 2), axis=-1).max(0)
        return jnp.linalg.norm(mean.std(0), axis=-1)

    def believe(state: Ensemble, obs: jax.Array, action: jax.Array) -> Believed:
        """The elites' mixture: their mean, and its deviation by the law of total variance."""
        params = state.params | {"layers": jax.tree.map(lambda leaf: leaf[state.elites], state.params["layers"])}
        x = scaled(state.inputs, inputs_of(obs, action))
        mean, log_variance = run(params, jnp.broadcast_to(x, (config.elites, *x.shape)))
        spread = jnp.sqrt(jnp.exp(log_variance).mean(0) + mean.var(0)) * state.targets.deviation
        centre = unscaled(state.targets, mean.mean(0))
        return Believed(obs + centre[:, 1:], spread[:, 1:], centre[:, 0], spread[:, 0])

    return WorldModel(init, fit, predict, believe)


def inputs_of(obs: jax.Array, action: jax.Array) -> jax.Array:
    """Observation and action as one vector, `[..., I]`."""
    return jnp.concatenate([obs, action], -1)


def targets_of(records: Records) -> jax.Array:
    """Reward and change of the observation as one vector, `[..., 1 + D]`."""
    return jnp.concatenate([records.reward[..., None], records.next_obs - records.obs], -1)


def scale_of(rows: jax.Array, held: jax.Array) -> Scale:
    """Mean and deviation of the first `held` of `rows` `[N, D]`; a number that never changes has deviation 1."""
    used = (jnp.arange(rows.shape[0]) < held)[:, None] / held
    mean = (used * rows).sum(0)
    deviation = jnp.sqrt((used * jnp.square(rows - mean)).sum(0))
    return Scale(mean, jnp.where(deviation < 1e-6, 1.0, deviation))


def scaled(scale: Scale, rows: jax.Array) -> jax.Array:
    """`(rows - mean) / deviation`."""
    return (rows - scale.mean) / scale.deviation


def unscaled(scale: Scale, rows: jax.Array) -> jax.Array:
    """`mean + deviation rows`."""
    return scale.mean + scale.deviation * rows


def chosen(better: jax.Array, new: PyTree, old: PyTree) -> PyTree:
    """Of each member `[E, ...]` the new weights where they are better, else the old ones."""
    return jax.tree.map(lambda n, o: jnp.where(better.reshape(-1, *[1] * (n.ndim - 1)), n, o), new, old)
