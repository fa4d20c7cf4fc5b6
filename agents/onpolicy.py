"""What on-policy actor-critics share: network, acting, values of an unroll, and the auxiliaries around them.

`ppo.py` and `impala.py` hold what is their own: the loss and the update.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from agents import parts
from agents.agent import Agent, Feed, Host, Outputs, Rollout, State, acting_params
from agents.auxiliary import needs
from agents.auxiliary import pipeline as hooks
from agents.auxiliary.pipeline import Pipeline
from agents.config import require
from agents.networks import actor_critic, chunks, torsos
from agents.windows import of_unrolls
from envs.contract import Box, EnvSpec, PyTree, TimeStep

# ------------------------------------------------------------------------------------------------------- CONFIG


@dataclass(frozen=True)
class Config:
    """Options of every on-policy agent."""

    envs: int = 64
    """Environments stepped together, unless the run says otherwise."""
    unroll: int = 64
    """Steps of every environment that one update learns from."""
    discount: float = 0.99
    """Discount factor per step."""
    learning_rate: float = 3e-4
    """Step size of the optimiser."""
    anneal: bool = False
    """Decay the learning rate linearly to zero over the run."""
    entropy_cost: float = 0.01
    """Weight of the policy's entropy."""
    value_cost: float = 0.5
    """Weight of the value loss."""
    max_grad_norm: float = 0.5
    """Gradients are clipped to this global norm; 0 leaves them."""
    reward_clip: float = 0.0
    """The sum of reward and bonus is clipped to plus and minus this; 0 leaves it."""
    reward_scale: float = 1.0
    """What is learned from is multiplied by this, after the clip; it sets the size of the values alone."""
    optimizer: str = "adam"
    """Gradient transform: names of that door joined by +, in the order of application."""
    bonus: str = ""
    """Intrinsic rewards: names of that door joined by +; each is weighted by its own coef."""
    auxiliary: str = ""
    """Auxiliary losses: names of that door joined by +."""
    encoder: str = "auto"
    """Network between observation and heads: auto, mlp, cnn, or one name of the encoder door."""
    hidden: tuple[int, ...] = (256, 128)
    """Widths of the dense layers after the encoder's first."""
    embed: int = 8
    """Width of the embedding of a grid's cell; 0 takes one-hots."""
    channels: tuple[int, ...] = (32, 64)
    """Widths of the convolutions over a grid."""
    kernel: int = 3
    """Side of these convolutions, in cells."""
    stride: int = 2
    """Their stride, in cells."""
    norm: bool = False
    """Normalise the layers of grids and the dense ones before their activation (layer norm)."""
    ignore: tuple[str, ...] = ()
    """Parts of the observation that the policy does not look at."""
    activation: Literal["tanh", "relu", "elu"] = "relu"
    """Activation of the dense layers."""
    separate: bool = False
    """Give the value function an encoder of its own."""
    core: Literal["none", "gru", "lstm"] = "none"
    """Memory between encoder and heads."""
    core_width: int = 128
    """Units of that memory."""
    heads: tuple[int, ...] = ()
    """Widths of the dense layers that policy and value each have behind encoder and memory."""

    def __post_init__(self):
        require(self.envs > 0, "envs", self.envs, "above 0")
        require(self.unroll > 0, "unroll", self.unroll, "above 0")
        require(0 <= self.discount <= 1, "discount", self.discount, "between 0 and 1")
        require(self.learning_rate > 0, "learning_rate", self.learning_rate, "above 0")
        require(self.entropy_cost >= 0, "entropy_cost", self.entropy_cost, "at least 0")
        require(self.value_cost >= 0, "value_cost", self.value_cost, "at least 0")
        require(self.max_grad_norm >= 0, "max_grad_norm", self.max_grad_norm, "at least 0")
        require(self.reward_scale > 0, "reward_scale", self.reward_scale, "above 0")
        require(self.reward_clip >= 0, "reward_clip", self.reward_clip, "at least 0")
        require(all(width > 0 for width in self.hidden), "hidden", self.hidden, "made of widths above 0")
        require(self.core_width > 0, "core_width", self.core_width, "above 0")
        require(self.kernel > 1, "kernel", self.kernel, "at least 2")
        require(self.stride > 0, "stride", self.stride, "above 0")
        require(all(width > 0 for width in self.heads), "heads", self.heads, "made of widths above 0")


# ------------------------------------------------------------------------------------------------------ NETWORKS


class Base(NamedTuple):
    """What PPO and IMPALA are built around: their config, a network, its optimiser, and the auxiliaries."""

    spec: EnvSpec
    config: Any
    network: Any
    optimizer: optax.GradientTransformation
    pipeline: Pipeline
    resolved: dict[str, Any]


def base(config: Config, spec: EnvSpec, options: dict[str, Any]) -> Base:
    """Builds network, optimiser and auxiliaries by name; `options` are the `NAME.FIELD` ones of the latter."""
    bonuses = parts.find("intrinsic reward", config.bonus, spec, options)
    objectives = parts.find("auxiliary loss", config.auxiliary, spec, options)
    transforms = parts.find("gradient transform", config.optimizer, spec, options)
    built = (*bonuses, *objectives, *transforms)
    members = tuple(part.made for part in (*bonuses, *objectives))
    clip = optax.clip_by_global_norm(config.max_grad_norm) if config.max_grad_norm else optax.identity()
    encoder: Any = config.encoder
    if config.encoder not in torsos.KINDS:
        (found,) = parts.find("encoder", config.encoder, spec, options)
        built, encoder = (*built, found), found.made
    network = actor_critic.build(
        spec,
        encoder=encoder,
        hidden=config.hidden,
        embed=config.embed,
        channels=config.channels,
        kernel=config.kernel,
        stride=config.stride,
        norm=config.norm,
        ignore=config.ignore,
        heads=config.heads,
        core=config.core,
        core_width=config.core_width,
        separate=config.separate,
        activation=config.activation,
    )
    parts.finish(options, built)
    return Base(
        spec=spec,
        config=config,
        network=network,
        optimizer=optax.chain(clip, *(part.made for part in transforms)),
        pipeline=Pipeline(members, spec),
        resolved=parts.resolved(config, built),
    )


def forward(base: Base, params: PyTree, variables: PyTree, obs, carry, first, *, train: bool, rngs=None):
    """The network over a time-major sequence `[T, B, ...]`: `(Outputs, carries)`.

    `carries` is the memory after every step, `[T, B, ...]`.
    """
    (dist, value, features, carry, carries), sown = base.network.apply(
        {"params": params, **variables},
        obs,
        carry,
        first,
        train=train,
        rngs=rngs,
        mutable=["losses", "metrics", "taps"],
    )
    # An encoder with a memory sows at every step of the unroll: what is asked for is the mean.
    averaged = {kind: {name: leaf.mean() for name, leaf in named(sown, kind).items()} for kind in ("losses", "metrics")}
    return Outputs(features, dist, value, carry, averaged["losses"], named(sown, "taps"), averaged["metrics"]), carries


def named(sown: PyTree, kind: str) -> dict[str, jax.Array]:
    """What was sown into a collection, by name; Flax sows tuples, so the name is the last key but one of a path."""
    return {path[-2].key: leaf for path, leaf in jax.tree_util.tree_leaves_with_path(sown.get(kind, {}))}


# --------------------------------------------------------------------------------------------------------- STATE


def init(base: Base, key: jax.Array, spec: EnvSpec) -> State:
    """Fresh parameters, optimiser, auxiliaries and knobs."""
    net_key, aux_key = jax.random.split(key)
    obs = jax.tree.map(lambda leaf: jnp.zeros((1, 1, *leaf.shape), leaf.dtype), spec.obs)
    first = jnp.zeros((1, 1), bool)
    variables = dict(base.network.init(net_key, obs, base.network.begin(1), first, train=False))
    params = variables.pop("params")
    for sown in ("losses", "metrics", "taps"):
        variables.pop(sown, None)
    config = base.config
    knobs = {
        "learning_rate": config.learning_rate,
        "entropy_cost": config.entropy_cost,
        "value_cost": config.value_cost,
        "discount": config.discount,
        **hooks.coefficients(base.pipeline),
    }
    state = State(
        params=params,
        variables=variables,
        opt=base.optimizer.init(params),
        auxiliaries={},
        knobs={name: jnp.asarray(value, jnp.float32) for name, value in knobs.items()},
        acting=None,
        updates=jnp.zeros((), jnp.int32),
    )
    return state._replace(auxiliaries=hooks.init(base.pipeline, aux_key, host(base, state)))


def host(base: Base, state: State, loss: Callable | None = None) -> Host:
    """What this agent lends to its auxiliaries."""

    def apply(params, obs, carry, first, *, train=False, rngs=None):
        return forward(base, params, state.variables, obs, carry, first, train=train, rngs=rngs)[0]

    windows = of_unrolls(apply, base.network.begin, base.config.core_width) if _remembers(base) else None
    return Host(apply, loss, state.params, None, base.spec, state.knobs, windows=windows)


def _remembers(base: Base) -> bool:
    return base.config.core != "none" and getattr(base.config, "backprop", "unroll") == "unroll"


def begin(base: Base, state: State, n: int) -> PyTree:
    """The network's memory of `n` environments, `()` without a core."""
    return base.network.begin(n)


# ----------------------------------------------------------------------------------------------------------- ACT


def act(base: Base, key: jax.Array, state: State, carry: PyTree, timestep: TimeStep, evaluate: bool):
    """Samples an action, or takes the likeliest where `evaluate`. The unroll keeps `logp` `[B]`.

    A Gaussian policy is unbounded: the environment gets the action clipped to its box, and the unroll keeps what was
    sampled in `sampled`, so that log-probabilities are recomputed the way they were acted.
    """
    params = hooks.reparam(base.pipeline, state.auxiliaries, acting_params(state))
    outputs, _ = forward(
        base,
        params,
        state.variables,
        jax.tree.map(lambda leaf: leaf[None], timestep.obs),
        carry,
        timestep.last[None],
        train=False,
    )
    dist = jax.tree.map(lambda leaf: leaf[0], outputs.dist)
    sampled = dist.mode() if evaluate else dist.sample(key)
    extras = {"logp": dist.log_prob(sampled)}
    action = sampled
    if isinstance(base.spec.action, Box):
        extras["sampled"] = sampled
        action = jnp.clip(sampled, jnp.asarray(base.spec.action.low), jnp.asarray(base.spec.action.high))
    return action, outputs.carry, extras


def taken(rollout: Rollout) -> jax.Array:
    """The actions as they were sampled, `[T, B, ...]`."""
    return jnp.asarray(rollout.extras.get("sampled", rollout.action))


# ---------------------------------------------------------------------------------------------- VALUES OF AN UNROLL


class Evaluation(NamedTuple):
    """A forward over an unroll.

    Attributes:
      outputs: of each acted step, `[T, B]`.
      value_t: of each step's true successor, `[T, B]`.
      carries: the network's memory after it read each acted step's observation, `[T, B, ...]`.
    """

    outputs: Outputs
    value_t: jax.Array
    carries: PyTree


def evaluate(
    base: Base, params: PyTree, variables: PyTree, rollout: Rollout, *, train: bool = False, rngs=None
) -> Evaluation:
    """One forward over the unroll and its last observation.

    Where a time limit ended an episode the successor is not the next row but `next_obs`, which is evaluated for
    those rows alone: an environment can be truncated at most `1 + (T - 1) // max_steps` times in `T` steps.
    """
    steps, n = rollout.timestep.last.shape
    obs = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), rollout.start.obs, rollout.timestep.obs)
    first = jnp.concatenate([rollout.start.last[None], rollout.timestep.last])
    outputs, carries = _in_chunks(base, params, variables, obs, rollout.carry, first, train=train, rngs=rngs)
    value_t = outputs.value[1:]

    truncated = (rollout.timestep.last & (rollout.timestep.discount > 0)).reshape(-1)
    limit = base.spec.max_steps
    rows = min(steps * n, n * (1 + (steps - 1) // limit)) if limit else steps * n
    (index,) = jnp.nonzero(truncated, size=rows, fill_value=steps * n)
    pick = lambda leaf: leaf[:steps].reshape(steps * n, *leaf.shape[2:])[jnp.minimum(index, steps * n - 1)]  # noqa: E731
    ends, _ = forward(
        base,
        params,
        variables,
        jax.tree.map(lambda leaf: pick(leaf)[None], rollout.timestep.next_obs),
        jax.tree.map(pick, carries),
        jnp.zeros((1, rows), bool),
        train=train,
        rngs=rngs,
    )
    value_t = value_t.reshape(-1).at[index].set(ends.value[0], mode="drop").reshape(steps, n)
    acted = jax.tree.map(lambda leaf: leaf[:steps], without_sown(outputs))
    after = jax.tree.map(lambda leaf: leaf[:steps], carries)
    return Evaluation(acted._replace(losses=outputs.losses, metrics=outputs.metrics), value_t, after)


def without_sown(outputs: Outputs) -> Outputs:
    """Only what has a time axis."""
    return outputs._replace(carry=(), losses={}, taps={}, metrics={})


def _in_chunks(base: Base, params: PyTree, variables: PyTree, obs, carry, first, *, train: bool, rngs=None):
    """`forward`, but a few steps at a time where there is no memory.

    With rngs or a training forward all steps are read at once, as `forward` does.
    """
    if train or rngs or jax.tree.leaves(carry):
        return forward(base, params, variables, obs, carry, first, train=train, rngs=rngs)

    def read(chunk):
        outputs, carries = forward(base, params, variables, chunk[0], carry, chunk[1], train=train)
        return without_sown(outputs), carries

    return chunks.over_time(read, (obs, first))


def reward(base: Base, rollout: Rollout, bonus: jax.Array | None) -> jax.Array:
    """What the agent learns from: reward plus weighted bonuses `[T, B]`, the sum clipped and scaled where asked."""
    total = rollout.timestep.reward if bonus is None else rollout.timestep.reward + bonus
    clip = base.config.reward_clip
    return base.config.reward_scale * (jnp.clip(total, -clip, clip) if clip else jnp.asarray(total))


def annealed(base: Base, state: State) -> State:
    """The state whose learning rate has decayed with the run's progress, where the config asks for it."""
    if not base.config.anneal:
        return state
    rate = base.config.learning_rate * (1.0 - state.knobs["progress"])
    return state._replace(knobs={**state.knobs, "learning_rate": rate})


# ---------------------------------------------------------------------------------------------------------- MAKE


def agent(name: str, base: Base, update: Callable, feed: Feed) -> Agent:
    """The contract's functions around the parts and one update.

    Raises:
      UsageError: where an auxiliary needs what this agent or its environment cannot give.
    """
    lends = ("per_example", "taps:features", *["windows"] * _remembers(base))
    needs.check(base.pipeline, name, feed, lends=lends)
    return Agent(
        name=name,
        config=base.resolved,
        init=partial(init, base),
        begin=partial(begin, base),
        act=partial(act, base),
        update=update,
        feed=feed,
        remember=partial(hooks.remember, base.pipeline),
        observe=lambda state, memory, timestep: hooks.observe(base.pipeline, state.auxiliaries, memory, timestep),
        needs=base.pipeline.needs,
    )
