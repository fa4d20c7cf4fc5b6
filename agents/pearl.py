"""PEARL: SAC on many tasks at once, told apart by a latent that is inferred from transitions (Rakelly et al., 2019).

The base is SAC with two critics, target critics and a temperature of each task, as the released code of TCL has it;
the first release of PEARL has SAC's older form with a value network and a fixed temperature.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import losses
from agents import offpolicy, parts, sac
from agents.agent import Agent, Host, Rollout, State, Whole, Windows, acting_params
from agents.auxiliary import needs
from agents.auxiliary import pipeline as hooks
from agents.config import require
from agents.networks import off_policy as nets
from agents.networks.context import ContextEncoder
from agents.offpolicy import Base
from agents.training import gradient, mapped
from envs.batch import select
from envs.contract import Array, EnvSpec, PyTree, TimeStep
from envs.errors import UsageError
from replay import per_task
from replay.buffer import Buffer
from replay.per_task import PerTask

# ------------------------------------------------------------------------------------------------------- CONFIG


@dataclass(frozen=True)
class Config(sac.Config):
    """Options of PEARL."""

    envs: int = 16
    """Environments stepped together, each with a task of its own."""
    trials: int = 1
    """Trials of every environment between two rounds of updates; the steps of unroll follow from it."""
    ratio: float = 0.4
    """Updates for each environment step."""
    warmup: int = 0
    """Environment steps before learning begins; it also waits until a meta-batch of tasks has records."""
    meta_batch: int = 16
    """Tasks that each update learns from."""
    batch: int = 256
    """Records of each task that an update learns from."""
    context: int = 100
    """Transitions of each task that the latent is inferred from in an update."""
    prior_episodes: int = 2
    """Episodes of a trial whose latent is drawn from the prior; later ones infer it from all that the trial showed."""
    recent: int = 400
    """Latest transitions of each task with a latent from the prior: contexts are drawn from these."""
    latent: int = 5
    """Numbers of the latent."""
    kl_cost: float = 0.1
    """Weight of the latent's divergence from the standard normal, summed over tasks and numbers."""
    context_next_obs: bool = False
    """Show the encoder where a transition led to; for tasks that differ in their dynamics."""
    encoder_hidden: tuple[int, ...] = (200, 200, 200)
    """Widths of the context encoder's layers."""
    hidden: tuple[int, ...] = (300, 300, 300)
    """Widths of the dense layers of policy and critics."""
    reward_scale: float = 5.0
    """What is learned from is multiplied by this; contexts have rewards as they are."""
    policy_decay: float = 1e-3
    """Weight of the squared mean and logarithm of the deviation of the policy."""
    replay: str = "per_task"
    """How records are kept: per_task alone."""

    def __post_init__(self):
        super().__post_init__()
        for name in ("trials", "meta_batch", "context", "recent", "latent"):
            require(getattr(self, name) > 0, name, getattr(self, name), "above 0")
        require(self.prior_episodes >= 1, "prior_episodes", self.prior_episodes, "at least 1")
        require(self.kl_cost >= 0, "kl_cost", self.kl_cost, "at least 0")
        require(self.policy_decay >= 0, "policy_decay", self.policy_decay, "at least 0")
        require(self.n_step == 1, "n_step", self.n_step, "1, for contexts are made of single steps")
        require(self.replay == "per_task", "replay", self.replay, "per_task, which keeps tasks apart")


# --------------------------------------------------------------------------------------------------------- STATE


class Memory(NamedTuple):
    """What acting remembers of `B` environments in their trials.

    Attributes:
      latent: the one acted with, `[B, L]`.
      precision, shift: sums over the trial's transitions of `1 / v` and `m / v`, `[B, L]`: a product of Gaussians.
      obs, action: what the last action answered, and that action, `[B, ...]`.
      episode: int32 `[B]`, the episode of the trial.
      begun: bool `[B]`, whether there was a last action.
      informed: bool `[B]`, whether the latent was inferred rather than drawn from the prior.
    """

    latent: jax.Array
    precision: jax.Array
    shift: jax.Array
    obs: jax.Array
    action: jax.Array
    episode: jax.Array
    begun: jax.Array
    informed: jax.Array


class Stored(NamedTuple):
    """The buffer: all records of each task, and the latest that were collected with a latent from the prior."""

    all: PerTask
    recent: PerTask


class Built(NamedTuple):
    """What PEARL is built of: SAC's parts over observation and latent, the encoder, and how many tasks there are."""

    base: Base
    encoder: ContextEncoder
    spec: EnvSpec
    tasks: int


def begin(built: Built, state: State, n: int) -> Memory:
    """Nothing remembered of `n` environments; the first latent is drawn where they act."""
    zeros = jnp.zeros((n, built.base.config.latent))
    size, actions = built.spec.obs.shape, len(built.spec.action.low)  # type: ignore[union-attr]
    flag = jnp.zeros(n, bool)
    return Memory(
        zeros, zeros, zeros, jnp.zeros((n, *size)), jnp.zeros((n, actions)), jnp.zeros(n, jnp.int32), flag, flag
    )


def belief(memory: Memory) -> jax.Array:
    """The mean of the latent given all transitions of the trial, 0 where there are none: `[B, L]`."""
    return jnp.where(memory.precision > 0, memory.shift / jnp.maximum(memory.precision, 1e-12), 0.0)


def init(built: Built, key: jax.Array, spec: EnvSpec) -> State:
    """Fresh networks, a context encoder, and a temperature of each task."""
    net_key, key = jax.random.split(key)
    width = transition(built, *_blank(built)).shape[-1]
    others = {
        "temperature": jnp.full(built.tasks, jnp.log(built.base.config.temperature)),
        "context": built.encoder.init(net_key, jnp.zeros((1, width)))["params"],
    }
    bare = built.base._replace(pipeline=built.base.pipeline._replace(members=()))
    state = offpolicy.init(bare, key, built.base.spec, others, **hooks.coefficients(built.base.pipeline))
    return state._replace(auxiliaries=hooks.init(built.base.pipeline, key, host(built, state)))


def _blank(built: Built):
    memory = begin(built, None, 1)  # type: ignore[arg-type]
    return memory.obs, memory.action, jnp.zeros(1), memory.obs


# ----------------------------------------------------------------------------------------------------------- ACT


def transition(built: Built, obs: jax.Array, action: jax.Array, reward: jax.Array, next_obs: jax.Array) -> jax.Array:
    """What the encoder reads of steps `[..., ]`: observation, action on the scale of -1 to 1, reward, perhaps `s'`."""
    seen = [obs, nets.centred(action, built.spec.action), reward[..., None]]  # type: ignore[arg-type]
    return jnp.concatenate(seen + [next_obs] * built.base.config.context_next_obs, -1)


def act(built: Built, key: jax.Array, state: State, memory: Memory, timestep: TimeStep, evaluate: bool):
    """Reads what the last action led to, draws a latent where an episode begins, and an action under it.

    The latent is drawn from the prior in the first `prior_episodes` of a trial, then from the product of the trial's
    Gaussians. Evaluation does the same, with the policy's median.
    """
    latent_key, act_key = jax.random.split(key)
    params = acting_params(state)
    seen = transition(built, memory.obs, memory.action, timestep.reward, timestep.next_obs)
    mean, variance = encode(built, params["context"], seen)
    # What a simulation that diverged showed is not believed; loops clear its reward, and say so.
    sound = jnp.isfinite(seen).all(-1) & ~timestep.extras.get("diverged", jnp.zeros_like(timestep.last))
    counts = (memory.begun & sound)[:, None]
    precision = memory.precision + jnp.where(counts, 1.0 / jnp.maximum(variance, 1e-7), 0.0)
    shift = memory.shift + jnp.where(counts, mean / jnp.maximum(variance, 1e-7), 0.0)

    ended = timestep.last & memory.begun
    over = timestep.extras["trial_last"] & memory.begun
    episode = jnp.where(over, 0, memory.episode + ended)
    precision, shift = (jnp.where(over[:, None], 0.0, total) for total in (precision, shift))
    draws = ended | ~memory.begun
    knows = (episode >= built.base.config.prior_episodes) & (precision > 0).all(-1)
    informed = jnp.where(draws, knows, memory.informed)
    noise = jax.random.normal(latent_key, memory.latent.shape)
    spread = jnp.maximum(precision, 1e-12)
    inferred = shift / spread + noise / jnp.sqrt(spread)
    latent = select(draws, jnp.where(knows[:, None], inferred, noise), memory.latent)

    dist = built.base.networks["actor"].apply({"params": params["actor"]}, _with(timestep.obs, latent))
    action = dist.mode() if evaluate else dist.sample(act_key)
    begun = jnp.ones_like(memory.begun)
    memory = Memory(latent, precision, shift, timestep.obs, action, episode, begun, informed)
    return action, memory, {"prior": ~informed}


def _with(obs: jax.Array, latent: jax.Array) -> dict[str, jax.Array]:
    return {"obs": obs, "latent": latent}


# ---------------------------------------------------------------------------------------------------------- LOSS


class Batch(NamedTuple):
    """A meta-batch of `M` tasks.

    Attributes:
      tasks: int32 `[M]`.
      records: single steps to learn from, `[M, N, ...]`.
      context: what the latent is inferred from, `[M, C, D]` as `transition` gives it.
      recent: where contexts are drawn from.
    """

    tasks: jax.Array
    records: Rollout
    context: jax.Array
    recent: PerTask


def loss(built: Built, state: State, params: Any, key: jax.Array, batch: Batch):
    """SAC's terms over the records of all tasks under a latent drawn from each task's posterior, and its divergence.

    `sum_k (Q_k(s, a, z) - y)^2`, `alpha log pi - min_k Q_k` with `z` constant, each task's temperature, and
    `kl_cost sum_tasks KL(q(z|c) || N(0, 1))`. Only the critics' term and the divergence teach the encoder.
    """
    base, config = built.base, built.base.config
    actor, critic = base.networks["actor"], base.networks["critic"]
    latent_key, next_key, key = jax.random.split(key, 3)
    mean, variance = posterior(built, params["context"], batch.context)
    drawn = mean + jnp.sqrt(variance) * jax.random.normal(latent_key, mean.shape)

    size = batch.records.timestep.reward.shape[1]
    steps = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), batch.records)
    latent = jnp.repeat(drawn, size, 0)
    fixed = jax.lax.stop_gradient(latent)
    log_alpha = jnp.repeat(params["temperature"][batch.tasks], size)
    alpha = jax.lax.stop_gradient(jnp.exp(log_alpha))
    reward, discount = config.reward_scale * steps.timestep.reward, config.discount * steps.timestep.discount

    next_obs = _with(steps.timestep.next_obs, fixed)
    action_t, logp_t = actor.apply({"params": params["actor"]}, next_obs).sample_and_log_prob(next_key)
    q_t = critic.apply({"params": state.variables["target"]["critic"]}, next_obs, action_t)
    target = jax.vmap(losses.sac_target)(q_t, logp_t, reward, discount, alpha)
    q = critic.apply({"params": params["critic"]}, _with(steps.start.obs, latent), steps.action)

    obs = _with(steps.start.obs, fixed)
    dist = actor.apply({"params": params["actor"]}, obs)
    action, logp = dist.sample_and_log_prob(key)
    judged = critic.apply({"params": jax.lax.stop_gradient(params["critic"])}, obs, action)
    decay = jnp.square(dist.mean).mean() + jnp.square(dist.log_std).mean()
    divergence = losses.standard_normal_kl(mean, variance)
    terms = {
        "critic": jnp.square(q - target[:, None]).sum(1).mean(),
        "actor": jax.vmap(losses.sac_policy_loss)(judged, logp, alpha).mean() + config.policy_decay * decay,
        "divergence": config.kl_cost * divergence.sum(),
    }
    if config.learn_temperature:
        goal = config.target_entropy * steps.action.shape[-1]
        terms["temperature"] = jax.vmap(losses.sac_temperature_loss, (0, 0, None))(log_alpha, logp, goal).mean()
    return terms, {
        "alpha": alpha.mean(),
        "entropy": -logp.mean(),
        "q": q.mean(),
        "kl": divergence.mean(),
        "latent_mean": jnp.linalg.norm(mean, axis=-1).mean(),
        "latent_variance": variance.mean(),
    }


def posterior(built: Built, params: PyTree, context: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`q(z|c)` of each of `M` contexts `[M, C, D]`: mean and variance `[M, L]`."""
    return jax.vmap(losses.gaussian_product)(*encode(built, params, context))


def encode(built: Built, params: PyTree, seen: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The Gaussian over the latent for each of some transitions `[..., D]`: mean and variance `[..., L]`."""
    mean, variance = built.encoder.apply({"params": params}, seen)
    return mean, variance  # type: ignore[return-value]


# -------------------------------------------------------------------------------------------------------- UPDATE


def host(built: Built, state: State) -> Host:
    """What PEARL lends: what SAC does, and windows of the latest trajectories of each task of the batch."""

    def draw(key: jax.Array, batch: Batch, length: int) -> tuple[jax.Array, jax.Array]:
        steps, known = per_task.windows(key, batch.recent, batch.tasks, length)
        return _read(built, steps), known

    def each(params: PyTree, windows: jax.Array) -> tuple[jax.Array, jax.Array]:
        mean, variance = encode(built, params, windows)
        return mean, jnp.sqrt(variance)

    def embed(params: PyTree, windows: jax.Array) -> tuple[jax.Array, jax.Array]:
        mean, variance = posterior(built, params, windows)
        return mean, jnp.sqrt(variance)

    lent = Windows(
        draw=draw,
        same=lambda batch: batch.tasks[:, None] == batch.tasks[None],
        part=lambda params: params["context"],
        embed=embed,
        width=built.base.config.latent,
        each=each,
    )
    return offpolicy.host(built.base, state)._replace(spec=built.spec, windows=lent)


def _read(built: Built, steps: Rollout) -> jax.Array:
    after = steps.timestep
    return transition(built, steps.start.obs, steps.action, after.reward, after.next_obs)


def update(built: Built, key: jax.Array, state: State, stored: Stored):
    """The meta-updates that follow one unroll: `ratio` for each step, once enough tasks have records."""
    config = built.base.config
    many = min(config.meta_batch, built.tasks)
    ready = ((stored.recent.size > 0).sum() >= many) & (stored.all.size.sum() >= config.warmup)
    learn = partial(_learn, built, key, stored)
    shapes = jax.eval_shape(learn, state)[1]
    nothing = jax.tree.map(lambda leaf: jnp.full(leaf.shape, jnp.nan, leaf.dtype), shapes)
    return mapped.when(ready, lambda carry: learn(carry[0]), (state, nothing))


def _learn(built: Built, key: jax.Array, stored: Stored, state: State):
    config = built.base.config
    count = max(1, round(config.ratio * config.unroll * config.envs))

    def one(state: State, key: jax.Array):
        return meta_update(built, key, state, stored)

    state, metrics = jax.lax.scan(one, state, jax.random.split(key, count))
    return state, gradient.over_steps(metrics)


def meta_update(built: Built, key: jax.Array, state: State, stored: Stored):
    """One gradient step on a batch of tasks, and the targets."""
    base, config = built.base, built.base.config
    task_key, record_key, context_key, loss_key, after_key = jax.random.split(key, 5)
    tasks = chosen(built, task_key, stored)
    context = _read(built, per_task.draw(context_key, stored.recent, tasks, config.context))
    batch = Batch(tasks, per_task.draw(record_key, stored.all, tasks, config.batch), context, stored.recent)
    lent = host(built, state)
    trained, metrics = gradient.step(
        partial(loss, built, state),
        base.optimizer,
        base.pipeline,
        loss_key,
        gradient.Trained(state.params, state.opt, state.auxiliaries),
        batch,
        lent,
    )
    state = state._replace(
        params=trained.params, opt=trained.opt, auxiliaries=trained.auxiliaries, updates=state.updates + 1
    )
    state = offpolicy.follow(base, state)
    return hooks.after(base.pipeline, after_key, state, host(built, state)), metrics


def chosen(built: Built, key: jax.Array, stored: Stored) -> jax.Array:
    """A meta-batch of tasks that have records, int32 `[M]`: each at most once where there are enough tasks."""
    count = built.base.config.meta_batch
    scores = jnp.where(stored.recent.size > 0, 0.0, -jnp.inf)
    if built.tasks < count:
        return jax.random.categorical(key, scores, shape=(count,)).astype(jnp.int32)
    return jax.lax.top_k(scores + jax.random.gumbel(key, scores.shape), count)[1].astype(jnp.int32)


# ---------------------------------------------------------------------------------------------------------- MAKE


def make(spec: EnvSpec, **options: Any) -> Agent:
    """PEARL for a family of tasks with a bounded box of actions, whose observations are one vector.

    Options are the fields of `Config` and `NAME.FIELD` of its parts, such as `per_task.capacity`, the records kept of
    each task.

    Raises:
      UsageError: where the environment is no such family, or its trials are no longer than what explores.
    """
    config, rest = parts.split(Config, options)
    return build("pearl", config, spec, rest)


def build(name: str, config: Config, spec: EnvSpec, options: dict[str, Any]) -> Agent:
    """PEARL under a name; `options` are the `NAME.FIELD` ones of its parts."""
    tasks = family(name, spec)
    box = offpolicy.box(spec.action, name)
    if not (isinstance(spec.obs, Array) and len(spec.obs.shape) == 1 and spec.obs.dtype == "float32"):
        raise UsageError(f"{name} reads observations that are one vector of numbers, and those of {spec.id} are not.")
    if config.prior_episodes >= spec.trial:
        raise UsageError(
            f"prior_episodes is {config.prior_episodes}, and a trial of {spec.id} has {spec.trial} episodes: one must "
            "be left to act on what was inferred."
        )
    if config.bonus:
        raise UsageError(f"{name} learns from records of many tasks, which have nothing for a bonus.")
    config = replace(config, unroll=whole_trials(name, spec, config.trials, config.unroll, 1))
    for field, value in (("tasks", tasks), ("envs", config.envs)):
        if options.setdefault(f"per_task.{field}", value) != value:
            given = options[f"per_task.{field}"]
            raise UsageError(f"per_task.{field} is {given}, but there are {value} {field}: leave it out.")
    seen = replace(spec, obs={"obs": spec.obs, "latent": Array((config.latent,), "float32")})
    networks = {
        "actor": nets.Gaussian(nets.torso(seen, config), box),
        "critic": nets.critics(seen, config, box, count=config.critics),
    }
    base = offpolicy.base(
        config, seen, options, networks, ("critic",), others=("temperature", "context"), takes="per_task"
    )
    # Auxiliaries know the environment as it is.
    base = base._replace(pipeline=base.pipeline._replace(spec=spec))
    encoder = ContextEncoder(config.latent, config.encoder_hidden, config.activation)
    built = Built(base, encoder, spec, tasks)
    feed = Whole(_both(base.buffer, config, tasks), config.unroll)
    needs.check(base.pipeline, name, feed, lends=("windows",))
    return Agent(
        name=name,
        config=base.resolved,
        init=partial(init, built),
        begin=partial(begin, built),
        act=partial(act, built),
        update=partial(update, built),
        feed=feed,
        remember=partial(hooks.remember, base.pipeline),
        observe=lambda state, memory, timestep: hooks.observe(base.pipeline, state.auxiliaries, memory, timestep),
        needs=base.pipeline.needs,
        belief=belief,
    )


def family(agent: str, spec: EnvSpec) -> int:
    """How many tasks a family has.

    Raises:
      UsageError: where the environment is no family.
    """
    if not (spec.trial and spec.max_steps):
        raise UsageError(
            f"{agent} learns families of tasks, and {spec.id} is a single one: take one of the suites families or "
            "metaworld, such as PointRobot-v0."
        )
    return int(spec.extras["task_id"].high or 0) + 1


def whole_trials(agent: str, spec: EnvSpec, trials: int, given: int, default: int) -> int:
    """The steps of so many trials, where `given` steps of an unroll are those or the `default`.

    Raises:
      UsageError: where another number of steps is asked for.
    """
    steps = trials * spec.trial * spec.max_steps
    if given not in (default, steps):
        raise UsageError(f"{agent} acts for whole trials, which are {steps} steps here: set trials, not unroll.")
    return steps


def _both(everything: Buffer, config: Config, tasks: int) -> Buffer:
    """All records in one buffer, and those with a latent from the prior in another too."""
    recent = per_task.make(capacity=config.recent, tasks=tasks, envs=config.envs)

    def of(item: Rollout) -> Rollout:
        # What neither losses nor contexts read would only fill the memory.
        kept = {"task_id": item.timestep.extras["task_id"]}
        return Rollout((), item.start._replace(extras={}), item.action, {}, item.timestep._replace(extras=kept))

    def add(state: Stored, items: Rollout) -> Stored:
        slim = of(items)
        return Stored(everything.add(state.all, slim), recent.add(state.recent, slim, items.extras["prior"]))

    def sample(key: jax.Array, state: Stored, n: int, score: jax.Array | None = None):
        return everything.sample(key, state.all, n, score)

    return Buffer(
        init=lambda item: Stored(everything.init(of(item)), recent.init(of(item))),
        add=add,
        sample=sample,
        update=lambda state, index, values: state,
        can_sample=lambda state, n: everything.can_sample(state.all, n),
    )
