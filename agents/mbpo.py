"""MBPO: SAC on short rollouts of a learned model that branch off from real states (Janner et al., 2019)."""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from agents import offpolicy, parts, sac, schedules
from agents.agent import Agent, Metrics, Rollout, Sample, State, Whole
from agents.auxiliary.world_model import Records, WorldModel
from agents.config import require
from agents.offpolicy import Base
from agents.schedules import Facts, Schedule
from agents.training import gradient, mapped
from envs import termination
from envs.contract import EnvSpec, PyTree, TimeStep
from envs.errors import UsageError
from replay import ring, sizes
from replay.ring import Ring

# ------------------------------------------------------------------------------------------------------- CONFIG


@dataclass(frozen=True)
class Config(sac.Config):
    """Options of MBPO."""

    ratio: float = 20.0
    """Updates for each environment step."""
    warmup: int = 5000
    """Environment steps before learning begins; until then actions are drawn evenly."""
    model: str = "ensemble"
    """World model by name."""
    schedule: str = "constant"
    """What sets real_ratio, ratio, horizon and the fits over the run: constant, linear, exponential, or a JSON file."""
    real_ratio: float = 0.05
    """Share of real records in a batch; of a schedule its first value."""
    last_real_ratio: float = 0.5
    """Share of real records at the end of a linear or exponential schedule."""
    growth: float = 1.2
    """Factor of the share of real records from one epoch to the next in an exponential schedule."""
    horizon: tuple[int, int, int, int] = (1, 1, 20, 150)
    """Steps that the model is followed at first and at last, and the epochs between which they grow."""
    epoch: int = 1000
    """Environment steps of an epoch."""
    fit_every: int = 250
    """Environment steps between two fits of the model; 0 fits it once."""
    rollout_every: int = 250
    """Environment steps between two rollouts of the model."""
    rollouts: int = 100_000
    """Real states that each rollout of the model begins at."""
    retain: int = 1
    """Epochs for which what the model imagined is kept."""
    penalty: float = 0.0
    """What each unit of the model's doubt takes off an imagined reward; offline agents need it."""
    termination: str = ""
    """Task whose rule ends imagined episodes: the environment's own if empty; never is for ends by time alone."""

    def __post_init__(self):
        super().__post_init__()
        for name in ("epoch", "rollout_every", "rollouts", "retain"):
            require(getattr(self, name) > 0, name, getattr(self, name), "above 0")
        for name in ("real_ratio", "last_real_ratio"):
            require(0 < getattr(self, name) <= 1, name, getattr(self, name), "above 0 and at most 1")
        require(self.growth > 0, "growth", self.growth, "above 0")
        require(self.fit_every >= 0, "fit_every", self.fit_every, "at least 0")
        require(self.penalty >= 0, "penalty", self.penalty, "at least 0")
        least, most, since, until = self.horizon
        require(1 <= least <= most, "horizon", self.horizon, "at least 1 step, and at last no fewer than at first")
        require(0 <= since <= until, "horizon", self.horizon, "in a row: its last two numbers are epochs")
        require(self.n_step == 1, "n_step", self.n_step, "1, for the model predicts single steps")
        require(self.replay == "uniform", "replay", self.replay, "uniform, whose records the model is fitted to")


# --------------------------------------------------------------------------------------------------------- STATE


class Imagined(NamedTuple):
    """A step that the model made: what `Records` has, without a count."""

    obs: jax.Array
    action: jax.Array
    reward: jax.Array
    discount: jax.Array
    next_obs: jax.Array


class Learning(NamedTuple):
    """What MBPO keeps beside SAC's state.

    Attributes:
      steps: environment steps so far, int32.
      model: the world model's state.
      imagined: the ring of what it imagined; `()` where that is kept out of the way of a branch.
      live: int32, how many of the latest imagined steps are drawn from.
      schedule: the schedule's state.
      actor: the policy's parameters at the last epoch's end, `()` unless the schedule watches the policy.
      shift: how far the policy had moved then.
      model_loss: of the last fit.
      critic_loss: of the last round of updates.
    """

    steps: jax.Array
    model: PyTree
    imagined: Any
    live: jax.Array
    schedule: PyTree
    actor: PyTree
    shift: jax.Array
    model_loss: jax.Array
    critic_loss: jax.Array


class Built(NamedTuple):
    """What MBPO is built of: SAC's parts, the model, the schedule, when episodes end, and places of either storage."""

    base: Base
    model: WorldModel
    schedule: Schedule
    ends: termination.Rule
    capacity: int
    slots: int


def init(built: Built, key: jax.Array, spec: EnvSpec) -> State:
    """SAC's first state and an untrained model that has imagined nothing."""
    own_key, model_key, schedule_key = jax.random.split(key, 3)
    state = sac.init(built.base, own_key, spec)
    obs, action = jnp.zeros(spec.obs.shape), jnp.zeros(len(spec.action.low))  # type: ignore[union-attr]
    zero, number = jnp.zeros((), jnp.int32), jnp.zeros(())
    kept = sizes.checked(lambda step: ring.zeros(step, built.slots))
    learning = Learning(
        steps=zero,
        model=built.model.init(model_key),
        imagined=kept(Imagined(obs, action, number, number, obs)),
        live=zero,
        schedule=built.schedule.init(schedule_key),
        actor=jax.tree.map(jnp.copy, state.params["actor"]) if built.schedule.watches else (),
        shift=number,
        model_loss=number,
        critic_loss=number,
    )
    return state._replace(variables={**state.variables, "learning": learning})


# -------------------------------------------------------------------------------------------------------- MODEL


def fit(built: Built, key: jax.Array, state: State, learning: Learning, real: Ring) -> tuple[Learning, jax.Array]:
    """The model fitted to all real records, and for how many epochs."""
    rows: Rollout = ring.records(real, built.capacity)
    step = rows.timestep
    records = Records(rows.start.obs, rows.action, step.reward, step.discount, step.next_obs, real.size)
    model, metrics = built.model.fit(key, learning.model, records, partial(policy, built, state))
    return learning._replace(model=model, model_loss=metrics["loss"]), metrics.get("epochs", jnp.zeros(()))


def policy(built: Built, state: State, key: jax.Array, obs: jax.Array) -> jax.Array:
    """A draw from the policy for each of `obs` `[N, D]`."""
    return built.base.networks["actor"].apply({"params": state.params["actor"]}, obs).sample(key)


CHUNK = 10_000  # rows that are imagined at once: they stay in the cache, and what XLA prepares for them is small


def imagine(built: Built, key: jax.Array, state: State, learning: Learning, real: Ring, horizon: jax.Array) -> Learning:
    """Follows the policy in the model for `horizon` steps from real states, and keeps each step that was still on."""
    config = built.base.config
    chunks = -(-config.rollouts // CHUNK)
    count = -(-config.rollouts // chunks)

    def chunk(index: jax.Array, kept: Ring) -> Ring:
        start_key, roll_key = jax.random.split(jax.random.fold_in(key, index))
        starts, _, _ = built.base.buffer.sample(start_key, real, count)
        asked = index * count + jnp.arange(count) < config.rollouts  # the last chunk may have some to spare

        def step(number: jax.Array, now: tuple[jax.Array, jax.Array, Ring]):
            obs, alive, kept = now
            act_key, model_key = jax.random.split(jax.random.fold_in(roll_key, number))
            action = policy(built, state, act_key, obs)
            found = built.model.predict(model_key, learning.model, obs, action)
            reward = found.reward - config.penalty * found.doubt if config.penalty else found.reward
            ended = built.ends(found.next_obs)
            made = Imagined(obs, action, reward, 1.0 - ended, found.next_obs)
            # A row whose numbers left the finite ones ends there, and is not learned from.
            sound = alive & jnp.isfinite(found.next_obs).all(1) & jnp.isfinite(reward)
            kept = ring.add(kept, made, built.slots, ring.places(kept, made, built.slots, sound), sound)
            return found.next_obs, sound & ~ended, kept

        *_, kept = jax.lax.fori_loop(0, horizon, step, (starts.start.obs, asked, kept))
        return kept

    imagined = jax.lax.fori_loop(0, chunks, chunk, learning.imagined)
    rounds = config.retain * config.epoch / config.rollout_every
    live = jnp.minimum(imagined.size, (horizon * config.rollouts * rounds).astype(jnp.int32))
    return learning._replace(imagined=imagined, live=live)


def mixture(built: Built, key: jax.Array, learning: Learning, real: Ring, ratio: jax.Array) -> Sample:
    """A batch of `floor(batch * ratio)` real records, the rest imagined; all real where nothing is imagined yet."""
    config = built.base.config
    real_key, own_key = jax.random.split(key)
    rows, places, weight = built.base.buffer.sample(real_key, real, config.batch)
    back = jax.random.randint(own_key, (config.batch,), 0, jnp.maximum(learning.live, 1))
    slots = (learning.imagined.place - 1 - back) % built.slots
    made: Imagined = ring.take(learning.imagined, built.slots, slots)
    # A hair more, or 0.05 of 20 would be none.
    count = jnp.where(learning.live > 0, jnp.floor(config.batch * ratio + 1e-4), config.batch)
    is_real = jnp.arange(config.batch) < count

    def pick(one: jax.Array, other: jax.Array) -> jax.Array:
        return jnp.where(is_real.reshape(-1, *[1] * (one.ndim - 1)), one, other)

    before, after = rows.start, rows.timestep
    step = jax.tree.map(pick, Imagined(before.obs, rows.action, after.reward, after.discount, after.next_obs), made)
    start = before._replace(obs=step.obs)
    timestep = TimeStep((), step.reward, step.discount, step.discount == 0, step.next_obs, {})
    return Sample(Rollout((), start, step.action, {}, timestep), places, weight)


# -------------------------------------------------------------------------------------------------------- UPDATE


def update(built: Built, key: jax.Array, state: State, real: Ring):
    """What follows one unroll: a fit and a rollout of the model where they are due, and the updates of SAC."""
    config = built.base.config
    learning: Learning = state.variables["learning"]
    learning = learning._replace(steps=learning.steps + config.unroll * config.envs)
    state = state._replace(variables={**state.variables, "learning": learning})
    learn = partial(_learn, built, key, real)
    shapes = jax.eval_shape(learn, state)[1]
    nothing = jax.tree.map(lambda leaf: jnp.full(leaf.shape, jnp.nan, leaf.dtype), shapes)
    ready = (learning.steps >= config.warmup) & (real.size >= config.batch)
    return mapped.when(ready, lambda carry: learn(carry[0]), (state, nothing))


def _learn(built: Built, key: jax.Array, real: Ring, state: State):
    config, schedule = built.base.config, built.schedule
    taken = config.unroll * config.envs
    decide_key, fit_key, roll_key, learn_key = jax.random.split(key, 4)
    learning: Learning = state.variables["learning"]
    since = learning.steps - jnp.maximum(config.warmup, taken)
    facts = Facts(
        step=since,
        before=jnp.where(state.updates == 0, -1, since - taken),  # the buffer may have filled after the warmup
        progress=state.knobs["progress"],
        model_loss=learning.model_loss,
        critic_loss=learning.critic_loss,
        shift=learning.shift,
        returned=state.knobs["episode_return"],
    )
    if schedule.watches:
        learning = _watch(built, state, learning, real, schedules.due(facts, config.epoch))
        facts = facts._replace(shift=learning.shift)
    own, settings = schedule.decide(decide_key, learning.schedule, facts)
    learning, imagined = learning._replace(schedule=own), learning.imagined

    def fitted(kept: Learning) -> tuple[Learning, jax.Array]:
        found = fit(built, fit_key, state, kept, real)
        return jax.tree.map(partial(jnp.where, settings.fit), found, (kept, jnp.zeros(())))

    learning = learning._replace(imagined=())  # larger than all else, and nothing to fit
    learning, epochs = jax.lax.cond(mapped.wanted(settings.fit), fitted, lambda kept: (kept, jnp.zeros(())), learning)
    learning = learning._replace(imagined=imagined)
    learning = mapped.when(
        schedules.due(facts, config.rollout_every),
        lambda kept: imagine(built, roll_key, state, kept, real, settings.horizon),
        learning,
    )
    state = state._replace(variables={**state.variables, "learning": ()})

    def one(key: jax.Array, state: State):
        sample_key, update_key = jax.random.split(key)
        sample = mixture(built, sample_key, learning, real, settings.real_ratio)
        state, metrics = offpolicy.update(built.base, sac.loss, update_key, state, sample)
        metrics.pop("priority")  # nothing is drawn by it
        return state, metrics

    def next(number: jax.Array, carry: tuple[State, Metrics]):
        state, metrics = one(jax.random.fold_in(learn_key, number), carry[0])
        return state, gradient.joined(carry[1], metrics)

    count = jnp.maximum(1, jnp.round(settings.updates * taken).astype(jnp.int32))
    _, shapes = jax.eval_shape(one, learn_key, state)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    state, metrics = jax.lax.fori_loop(0, count, next, (state, zeros))
    metrics = gradient.averaged(metrics, count)
    learning = learning._replace(critic_loss=metrics["critic_loss"])
    metrics |= {
        "real_ratio": settings.real_ratio,
        "horizon": settings.horizon.astype(jnp.float32),
        "updates_per_step": settings.updates,
        "imagined": learning.live.astype(jnp.float32),
        "model/loss": learning.model_loss,
        "model/epochs": epochs,
        "model/fit": settings.fit.astype(jnp.float32),
    }
    if built.model.report:
        metrics |= {f"model/{name}": value for name, value in built.model.report(learning.model).items()}
    return state._replace(variables={**state.variables, "learning": learning}), metrics


def _watch(built: Built, state: State, learning: Learning, real: Ring, now: jax.Array) -> Learning:
    """At an epoch's end: how far the policy has moved since the last, on the real records of five epochs.

    The mean of `min(|log pi_old(a|s) - log pi(a|s)|, 100)`, either logarithm held within 100 of 0.
    """
    most = min(WATCHED * built.base.config.epoch, built.capacity)
    age = jnp.arange(most)
    rows: Rollout = ring.take(real, built.capacity, (real.place - 1 - age) % built.capacity)
    actor = built.base.networks["actor"]

    def likely(params: PyTree) -> jax.Array:
        dist = actor.apply({"params": params}, rows.start.obs)
        return jnp.clip(dist.log_prob(rows.action), -100.0, 100.0)

    def moved(learning: Learning) -> Learning:
        gap = jnp.minimum(jnp.abs(likely(learning.actor) - likely(state.params["actor"])), 100.0)
        held = (age < real.size) & jnp.isfinite(gap)
        shift = jnp.where(held, gap, 0.0).sum() / jnp.maximum(held.sum(), 1)
        return learning._replace(shift=shift, actor=state.params["actor"])

    return jax.lax.cond(mapped.agreed(now), moved, lambda learning: learning, learning)


WATCHED = 5  # epochs of real records that the policy's shift is measured on

# ---------------------------------------------------------------------------------------------------------- MAKE


def make(spec: EnvSpec, **options: Any) -> Agent:
    """MBPO for an environment with a bounded box of actions whose observations are one vector.

    Options are the fields of `Config` and `NAME.FIELD` of its parts, such as `ensemble.members`.

    Raises:
      UsageError: where actions are no bounded box, observations no vector, or nothing says when episodes end.
    """
    config, rest = parts.split(Config, options)
    return build("mbpo", config, spec, rest, schedules.of(config))


def build(name: str, config: Config, spec: EnvSpec, options: dict[str, Any], schedule: Schedule) -> Agent:
    """MBPO under a schedule; `options` are the `NAME.FIELD` ones of its parts."""
    if config.bonus or config.auxiliary:
        raise UsageError(f"{name} learns from steps that a model made, which have nothing for a bonus or auxiliary.")
    (model,) = parts.find("world model", config.model, spec, options)
    base = sac.assemble(name, config, spec, options)
    rounds = -(-config.retain * config.epoch // config.rollout_every)
    own = Built(
        base=base,
        model=model.made,
        schedule=schedule,
        ends=termination.of(spec, config.termination),
        capacity=base.resolved["uniform.capacity"],
        slots=rounds * schedule.most_horizon * config.rollouts,
    )
    resolved = parts.resolved(config, (model,)) | base.resolved
    agent = offpolicy.agent(name, base, sac.act, sac.loss)
    return agent._replace(
        config=resolved, init=partial(init, own), update=partial(update, own), feed=Whole(base.buffer, config.unroll)
    )
