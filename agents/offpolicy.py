"""What off-policy agents share: their feed, records, targets that follow, exploration, and the auxiliaries around them.

`dqn.py`, `ddpg.py`, `td3.py`, `sac.py` and `d4pg.py` hold what is their own: networks, acting and losses.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from agents import parts
from agents.agent import Agent, Host, Replay, Sample, State
from agents.auxiliary import needs
from agents.auxiliary import pipeline as hooks
from agents.auxiliary.pipeline import Pipeline
from agents.config import require
from agents.training import gradient
from envs.contract import Action, Box, Discrete, EnvSpec, PyTree, TimeStep
from envs.errors import UsageError
from replay import n_step
from replay.buffer import Buffer

# Members of the door `replay` that hand over something else than single records; `n_step` is an option of its own.
NOT_SINGLE = ("episode", "n_step", "per_task", "sequence")

# ------------------------------------------------------------------------------------------------------- CONFIG


@dataclass(frozen=True)
class Config:
    """Options of every off-policy agent."""

    envs: int = 1
    """Environments stepped together, unless the run says otherwise."""
    unroll: int = 1
    """Steps of every environment between two rounds of updates."""
    ratio: float = 1.0
    """Updates for each environment step."""
    warmup: int = 10_000
    """Environment steps before learning begins; until then actions are drawn evenly."""
    batch: int = 256
    """Records that each update learns from."""
    replay: str = "uniform"
    """How records are kept and drawn: uniform, prioritised, or host, which keeps pixels in the machine's memory."""
    n_step: int = 1
    """Steps that are folded into one record."""
    discount: float = 0.99
    """Discount factor per step."""
    learning_rate: float = 3e-4
    """Step size of the optimiser."""
    max_grad_norm: float = 0.0
    """Gradients of each network are clipped to this global norm; 0 leaves them."""
    optimizer: str = "adam"
    """Gradient transform: names of that door joined by +, in the order of application."""
    tau: float = 0.005
    """How far target networks move towards their own at each of their moves; 1 copies."""
    target_every: int = 1
    """Updates between two moves of the target networks."""
    reward_scale: float = 1.0
    """What is learned from is multiplied by this."""
    bonus: str = ""
    """Intrinsic rewards: names of that door joined by +; each is weighted by its own coef."""
    auxiliary: str = ""
    """Auxiliary losses: names of that door joined by +."""
    hidden: tuple[int, ...] = (256, 256)
    """Widths of the dense layers of every network."""
    activation: Literal["relu", "tanh", "elu"] = "relu"
    """Activation of these layers."""
    norm: bool = False
    """Normalise these layers before their activation (layer norm)."""
    ignore: tuple[str, ...] = ()
    """Parts of the observation that are not looked at."""

    def __post_init__(self):
        for name in ("envs", "unroll", "batch", "n_step", "target_every"):
            require(getattr(self, name) > 0, name, getattr(self, name), "above 0")
        for name in ("ratio", "learning_rate", "reward_scale"):
            require(getattr(self, name) > 0, name, getattr(self, name), "above 0")
        require(self.warmup >= 0, "warmup", self.warmup, "at least 0")
        require(0 <= self.discount <= 1, "discount", self.discount, "between 0 and 1")
        require(self.max_grad_norm >= 0, "max_grad_norm", self.max_grad_norm, "at least 0")
        require(0 < self.tau <= 1, "tau", self.tau, "above 0 and at most 1")
        require(all(width > 0 for width in self.hidden), "hidden", self.hidden, "made of widths above 0")


# ------------------------------------------------------------------------------------------------------ NETWORKS


class Base(NamedTuple):
    """What an agent is built around: its config, networks by name, how they move, its buffer, and the auxiliaries.

    Attributes:
      spec: the environment's.
      config: the agent's.
      networks: Flax modules by name; the parameters have the same names.
      targets: the names of those that have a target network.
      optimizer: of all parameters, by their names.
      pipeline: the auxiliaries.
      buffer: of single records, or of folded ones.
      resolved: every option with its value.
    """

    spec: EnvSpec
    config: Any
    networks: dict[str, Any]
    targets: tuple[str, ...]
    optimizer: optax.GradientTransformation
    pipeline: Pipeline
    buffer: Buffer
    resolved: dict[str, Any]


def base(
    config: Config,
    spec: EnvSpec,
    options: dict[str, Any],
    networks: dict[str, Any],
    targets: tuple[str, ...],
    *,
    others: tuple[str, ...] = (),
    summed: tuple[str, ...] = (),
    takes: str = "",
) -> Base:
    """Builds buffer, optimiser and auxiliaries by name; `options` are the `NAME.FIELD` ones of these.

    Args:
      networks: by name, see `Base`.
      targets: the names of those that have a target network.
      others: names of parameters beside the networks', such as a temperature.
      summed: extras that n-step records sum like the reward.
      takes: the buffer of something else than single records that the agent can learn from, if any.
    """
    bonuses = parts.find("intrinsic reward", config.bonus, spec, options)
    objectives = parts.find("auxiliary loss", config.auxiliary, spec, options)
    transforms = parts.find("gradient transform", config.optimizer, spec, options)
    if config.replay in NOT_SINGLE and config.replay != takes:
        raise UsageError(f"off-policy agents draw single records, and {config.replay} keeps none: uniform does.")
    if config.replay == "host":
        options.setdefault("host.envs", config.envs)
        _check_host(config, options["host.envs"])
    (kept,) = parts.find("replay", config.replay, spec, options)
    built = (*bonuses, *objectives, *transforms, kept)
    parts.finish(options, built)
    clip = optax.clip_by_global_norm(config.max_grad_norm) if config.max_grad_norm else optax.identity()
    moves = optax.chain(clip, *(part.made for part in transforms))
    buffer = kept.made
    if config.n_step > 1:
        buffer = n_step.make(buffer, n=config.n_step, discount=config.discount, envs=config.envs, summed=summed)
    return Base(
        spec=spec,
        config=config,
        networks=networks,
        targets=targets,
        optimizer=gradient.by_part({name: moves for name in (*networks, *others)}),
        pipeline=Pipeline(tuple(part.made for part in (*bonuses, *objectives)), spec),
        buffer=buffer,
        resolved=parts.resolved(config, built),
    )


def _check_host(config: Config, envs: int) -> None:
    if envs != config.envs:
        raise UsageError(f"host.envs is {envs}, but {config.envs} environments are stepped: leave host.envs out.")
    if config.n_step > 1:
        raise UsageError(f"the host buffer keeps single steps, not {config.n_step}-step records: take n_step 1.")


def box(action: Action, agent: str) -> Box:
    """The action space of an agent that acts in a bounded box.

    Raises:
      UsageError: where it is none, or not bounded.
    """
    if not isinstance(action, Box):
        raise UsageError(f"{agent} acts in a bounded box, and these actions are choices: dqn or ppo learn those.")
    if not all(map(_finite, (*action.low, *action.high))):
        raise UsageError(f"{agent} needs finite bounds of every action, and these are {action.low} to {action.high}.")
    return action


def discrete(action: Action, agent: str) -> Discrete:
    """The action space of an agent that chooses one of several actions.

    Raises:
      UsageError: where it is another.
    """
    if not isinstance(action, Discrete):
        raise UsageError(f"{agent} chooses one of several actions, and these are numbers: sac or ppo learn those.")
    return action


def _finite(bound: float) -> bool:
    return -float("inf") < bound < float("inf")


# --------------------------------------------------------------------------------------------------------- STATE


def init(base: Base, key: jax.Array, spec: EnvSpec, others: dict[str, Any] | None = None, **knobs: float) -> State:
    """Fresh networks with equal targets, and `others` beside them; further knobs by name."""
    net_key, aux_key = jax.random.split(key)
    obs = jax.tree.map(lambda leaf: jnp.zeros((1, *leaf.shape), leaf.dtype), spec.obs)
    action = jnp.zeros((1, len(spec.action.low))) if isinstance(spec.action, Box) else None
    params: dict[str, Any] = {}
    for index, (name, network) in enumerate(base.networks.items()):
        inputs = (obs, action) if getattr(network, "takes_action", False) else (obs,)
        params[name] = network.init(jax.random.fold_in(net_key, index), *inputs)["params"]
    params |= jax.tree.map(lambda value: jnp.asarray(value, jnp.float32), others or {})
    given = {"learning_rate": base.config.learning_rate, **knobs, **hooks.coefficients(base.pipeline)}
    state = State(
        params=params,
        # A copy: the loops donate the state, and an array cannot be donated twice.
        variables={"target": {name: jax.tree.map(jnp.copy, params[name]) for name in base.targets}},
        opt=base.optimizer.init(params),
        auxiliaries={},
        knobs={name: jnp.asarray(value, jnp.float32) for name, value in given.items()},
        acting=None,
        updates=jnp.zeros((), jnp.int32),
    )
    return state._replace(auxiliaries=hooks.init(base.pipeline, aux_key, host(base, state)))


def host(base: Base, state: State) -> Host:
    """What an off-policy agent lends to its auxiliaries."""
    return Host(None, None, state.params, state.variables["target"], base.spec, state.knobs)


# ----------------------------------------------------------------------------------------------------------- ACT


def explore(state: State, key: jax.Array, action: jax.Array, space: Action, evaluate: bool) -> jax.Array:
    """The action, or one drawn evenly until the first update has been made."""
    if evaluate:
        return action
    if isinstance(space, Box):
        even = jax.random.uniform(key, action.shape, minval=jnp.asarray(space.low), maxval=jnp.asarray(space.high))
    else:
        assert isinstance(space, Discrete)
        even = jax.random.randint(key, action.shape, 0, space.n)
    return jnp.where(state.updates == 0, even, action).astype(action.dtype)


# -------------------------------------------------------------------------------------------------------- UPDATE


class Batch(NamedTuple):
    """Records `[N, ...]` as losses read them.

    Attributes:
      obs: what was acted on.
      action: what was done.
      reward: the summed reward and bonus, scaled, float32 `[N]`.
      discount: of what follows `next_obs`, float32 `[N]`.
      next_obs: the true successor.
      weight: importance of each record, float32 `[N]`.
      extras: of the step, by name.
    """

    obs: PyTree
    action: PyTree
    reward: jax.Array
    discount: jax.Array
    next_obs: PyTree
    weight: jax.Array
    extras: dict[str, Any]


def batch_of(base: Base, sample: Sample, bonus: jax.Array | None) -> Batch:
    """A buffer's sample as losses read it."""
    steps = sample.steps
    reward = steps.timestep.reward if bonus is None else steps.timestep.reward + bonus
    return Batch(
        obs=steps.start.obs,
        action=steps.action,
        reward=base.config.reward_scale * reward,
        discount=base.config.discount * steps.timestep.discount,
        next_obs=steps.timestep.next_obs,
        weight=sample.weight,
        extras=steps.timestep.extras,
    )


def update(base: Base, loss: Callable, key: jax.Array, state: State, sample: Sample):
    """Bonuses, one gradient step on `loss(base, state, params, key, batch) -> (terms, metrics)`, and the targets.

    A metric named `priority` `[N]` goes back to the buffer.
    """
    learn_key, after_key = jax.random.split(key)
    state, metrics = learn(base, loss, learn_key, state, sample)
    return finish(base, after_key, state), metrics


def learn(base: Base, loss: Callable, key: jax.Array, state: State, sample: Sample):
    """The first part of `update`: bonuses and the gradient step; the count of updates is one further."""
    step_key, loss_key = jax.random.split(key)
    lent = host(base, state)
    states, output, metrics = hooks.step(base.pipeline, step_key, state.auxiliaries, sample, lent)
    trained, found = gradient.step(
        partial(loss, base, state),
        base.optimizer,
        base.pipeline,
        loss_key,
        gradient.Trained(state.params, state.opt, states),
        batch_of(base, output.batch, output.bonus),
        lent,
    )
    state = state._replace(
        params=trained.params, opt=trained.opt, auxiliaries=trained.auxiliaries, updates=state.updates + 1
    )
    return state, {**metrics, **found}


def finish(base: Base, key: jax.Array, state: State) -> State:
    """The second part of `update`: the targets follow, and auxiliaries look at what came of it."""
    state = follow(base, state)
    return hooks.after(base.pipeline, key, state, host(base, state))


def follow(base: Base, state: State) -> State:
    """The targets after an update: `target <- tau params + (1 - tau) target`, every `target_every` updates."""
    config, target = base.config, state.variables["target"]
    due = state.updates % config.target_every == 0
    tau = jnp.where(due, config.tau, 0.0)
    own = {name: state.params[name] for name in base.targets}
    moved = jax.tree.map(lambda new, old: jnp.where(due, tau * new + (1 - tau) * old, old), own, target)
    return state._replace(variables={**state.variables, "target": moved})


# ---------------------------------------------------------------------------------------------------------- MAKE


def agent(
    name: str, base: Base, act: Callable, loss: Callable, init: Callable = init, update: Callable = update
) -> Agent:
    """The contract's functions around an agent's own.

    Args:
      name: the agent's.
      base: its parts.
      act: `(base, key, state, timestep, evaluate) -> action`.
      loss: as `update` takes it.
      init: `(base, key, spec) -> state`, where there is more than networks.
      update: `(base, loss, key, state, sample) -> (state, metrics)`, where there is more than one gradient step.

    Raises:
      UsageError: where an auxiliary needs what this agent or its environment cannot give.
    """
    config = base.config
    feed = Replay(base.buffer, size=config.batch, ratio=config.ratio, warmup=config.warmup, length=config.unroll)
    needs.check(base.pipeline, name, feed)

    def decide(key: jax.Array, state: State, carry: PyTree, timestep: TimeStep, evaluate: bool):
        act_key, even_key = jax.random.split(key)
        action = act(base, act_key, state, timestep, evaluate)
        return explore(state, even_key, action, base.spec.action, evaluate), carry, {}

    return Agent(
        name=name,
        config=base.resolved,
        init=partial(init, base),
        begin=lambda state, n: (),
        act=decide,
        update=partial(update, base, loss),
        feed=feed,
        remember=partial(hooks.remember, base.pipeline),
        observe=lambda state, memory, timestep: hooks.observe(base.pipeline, state.auxiliaries, memory, timestep),
        needs=base.pipeline.needs,
    )
