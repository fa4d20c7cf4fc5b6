"""AGAC: an actor-critic that keeps away from an adversary which imitates it (Flet-Berliac et al., 2021).

PPO with a second policy, the adversary, that learns slowly to predict the actor and so stands for what the actor did
lately. The advantage pays for actions that the adversary did not expect; the critic's target holds the average of
that. Steps are numbered as they follow one another in an update:

1. `act` keeps the log-probability and both distributions of acting time. Values are those of the parameters that the
   update begins with, as in PPO here: the ones that acted, or in the host loop, whose lag is one update, the next ones.
2. Bonuses enter the advantage, `r~ = r + sum of coef * bonus`, with first visits of the episode as the default one.
   The paper's text has `1 / sqrt(N)` (`episodic_count.floor false`); both released codes round it down.
3. `A = GAE(r)`, `A~ = GAE(r~)`; the value's base target is `A + V`, without the bonus.
4. `A' = A~ + c (log pi_old(a) - log adv_old(a))`, then standardised per minibatch, as the first released code does.
5. The policy loss is PPO's clipped surrogate of `A'`.
6. The value loss is PPO's clipped one towards `A + V + c KL(pi_old || adv_old)`.
7. The adversary's loss is `KL(pi_old || adv)`, `pi_old` the stored one. A Gaussian's divergence has the actor's own
   spread, where one of the released codes reads the adversary's.
8. Actor and critic are moved as in PPO, the adversary by an optimiser, a clip and a network of its own.
9. `c` falls linearly to 0 over the run.

With a memory the adversary has a core of its own: what the actor's core remembers moves with the actor, and an
adversary that reads it would not lag.
"""

import copy
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

import losses
from agents import onpolicy, parts, ppo
from agents.agent import Agent, Rollout, State, Unroll, acting_params
from agents.auxiliary import pipeline as hooks
from agents.config import require
from agents.networks.actor_critic import ActorCritic
from agents.networks.distributions import Distribution
from agents.networks.torsos import MLP
from agents.onpolicy import Base
from agents.ppo import Batch
from agents.training import gradient
from envs.contract import Box, EnvSpec, PyTree, TimeStep
from envs.errors import UsageError

# ------------------------------------------------------------------------------------------------------- CONFIG


@dataclass(frozen=True)
class Config(ppo.Config):
    """Options of AGAC, beside PPO's."""

    bonus: str = "episodic_count"
    """Intrinsic rewards: names of that door joined by +; each is weighted by its own coef."""
    value_clip: float = 0.2
    """How far the value may move from the one that acted before its gradient stops; 0 for no limit."""
    activation: str = "elu"  # type: ignore[assignment]
    """Activation of the dense layers."""
    separate: bool = True
    """Give the value function an encoder of its own; the adversary always has one."""
    agac_c: float = 4e-4
    """Weight at the start of what the adversary did not expect, in units of reward per nat."""
    anneal_c: bool = True
    """Decay that weight linearly to zero over the run."""
    beta_adv: float = 4e-5
    """Weight of the adversary's loss; its optimiser's epsilon damps gradients as small as these."""
    adv_lr_scale: float = 0.3
    """Step size of the adversary over that of actor and critic."""
    adv_hidden: tuple[int, ...] = (128,)
    """Widths of the adversary's extra dense layers before its head."""
    value_target_kl: bool = True
    """Let the critic expect what the adversary adds to the advantage on average."""
    bonus_in_target: bool = False
    """Let the critic learn bonuses too, as PPO does; here they enter the advantage alone."""

    def __post_init__(self):
        super().__post_init__()
        require(self.agac_c >= 0, "agac_c", self.agac_c, "at least 0")
        require(self.beta_adv >= 0, "beta_adv", self.beta_adv, "at least 0")
        require(self.adv_lr_scale >= 0, "adv_lr_scale", self.adv_lr_scale, "at least 0")
        # The adversary's memory at each step is known in whole unrolls alone.
        require(self.backprop == "unroll", "backprop", self.backprop, "unroll")
        require(all(width > 0 for width in self.adv_hidden), "adv_hidden", self.adv_hidden, "made of widths above 0")


# ------------------------------------------------------------------------------------------------------ NETWORKS


class Adversary(ActorCritic):
    """A policy alone: the actor's kind of trunk and head with `hidden` dense layers between them."""

    hidden: tuple[int, ...] = ()
    activation: str = "elu"

    @nn.compact
    def __call__(self, obs: PyTree, carry: PyTree, first: jax.Array, *, train: bool) -> tuple[Distribution, PyTree]:  # type: ignore[override]
        """Reads a sequence: `(dist, carry [B, ...])` of `obs` `[T, B, ...]` and `first` bool `[T, B]`."""
        _, y, after, _ = self.trunk(obs, carry[0], first, train=train)
        return self._policy(MLP(self.hidden, self.activation)(y)), (after,)


class Networks(NamedTuple):
    """Actor-critic and adversary as one network: parameters and variables under both names, memories as a pair."""

    actor_critic: ActorCritic
    adversary: Adversary

    def begin(self, n: int) -> PyTree:
        """The empty memories of `n` environments."""
        return self.actor_critic.begin(n), self.adversary.begin(n)

    def init(self, key: jax.Array, obs: PyTree, carry: PyTree, first: jax.Array, *, train: bool) -> PyTree:
        """Fresh variables of both; actor and critic begin as PPO's do under the same key."""
        both = {
            "actor_critic": self.actor_critic.init(key, obs, carry[0], first, train=train),
            "adversary": self.adversary.init(jax.random.fold_in(key, 1), obs, carry[1], first, train=train),
        }
        return {kind: {name: own[kind] for name, own in both.items() if kind in own} for kind in both["actor_critic"]}

    def apply(self, variables: PyTree, obs: PyTree, carry: PyTree, first: jax.Array, **options: Any) -> Any:
        """Actor and critic alone, with the results of `ActorCritic`; the adversary's memory is handed back."""
        mine, theirs = carry
        read = self.actor_critic.apply(part_of(variables, "actor_critic"), obs, mine, first, **options)
        (dist, value, features, mine, history), sown = read
        return (dist, value, features, (mine, theirs), (history, ())), sown

    def imitate(
        self, variables: PyTree, obs: PyTree, carry: PyTree, first: jax.Array, **options: Any
    ) -> tuple[Distribution, PyTree, dict[str, jax.Array]]:
        """The adversary alone: its distributions `[T, B]`, both memories, and what its encoder sowed as losses."""
        mine, theirs = carry
        own = part_of(variables, "adversary")
        sown = ["losses", "metrics", "taps"]
        (dist, theirs), found = self.adversary.apply(own, obs, theirs, first, mutable=sown, **options)
        return dist, (mine, theirs), {name: leaf.mean() for name, leaf in onpolicy.named(found, "losses").items()}


def part_of(variables: PyTree, name: str) -> PyTree:
    """The collections of one of both networks."""
    return {kind: tree[name] for kind, tree in variables.items() if name in tree}


# --------------------------------------------------------------------------------------------------------- STATE


def init(base: Base, key: jax.Array, spec: EnvSpec) -> State:
    """PPO's state with the adversary's parameters beside it, and the knobs `agac_c` and `beta_adv`."""
    state = ppo.init(base, key, spec)
    own = {name: jnp.asarray(getattr(base.config, name), jnp.float32) for name in ("agac_c", "beta_adv")}
    return state._replace(knobs=state.knobs | own)


# ----------------------------------------------------------------------------------------------------------- ACT


def act(base: Base, key: jax.Array, state: State, carry: PyTree, timestep: TimeStep, evaluate: bool):
    """Step 1: acts as PPO does; the unroll keeps `logp` `[B]` and the distributions `actor` and `adversary`."""
    params = hooks.reparam(base.pipeline, state.auxiliaries, acting_params(state))
    obs, first = jax.tree.map(lambda leaf: leaf[None], timestep.obs), timestep.last[None]
    outputs, _ = onpolicy.forward(base, params, state.variables, obs, carry, first, train=False)
    variables = {"params": params, **state.variables}
    adversary, carry, _ = base.network.imitate(variables, obs, outputs.carry, first, train=False)
    dist, adversary = jax.tree.map(lambda leaf: leaf[0], (outputs.dist, adversary))
    sampled = dist.mode() if evaluate else dist.sample(key)
    extras = {"logp": dist.log_prob(sampled), "actor": dist, "adversary": adversary}
    action = sampled
    if isinstance(base.spec.action, Box):
        extras["sampled"] = sampled
        action = jnp.clip(sampled, jnp.asarray(base.spec.action.low), jnp.asarray(base.spec.action.high))
    return action, carry, extras


def distributions(rollout: Rollout) -> tuple[Any, Any]:
    """The actor's and the adversary's distributions of acting time, `[T, B]` each.

    Raises:
      UsageError: where the unroll lacks one (recomputed later they would be others), or both are not comparable.
    """
    for name in ("actor", "adversary"):
        if name not in rollout.extras:
            raise UsageError(
                f"agac learns from distributions of acting time, and the unroll has no {name!r}: use its act."
            )
    actor, adversary = rollout.extras["actor"], rollout.extras["adversary"]
    kinds = type(actor).__name__, type(adversary).__name__
    if kinds[0] != kinds[1]:
        raise UsageError(
            f"agac compares distributions of one kind: the actor's is {kinds[0]}, the adversary's {kinds[1]}."
        )
    sizes = [tree.shape[-1] for dist in (actor, adversary) for tree in jax.tree.leaves(dist)[:1]]
    if sizes[0] != sizes[1]:
        raise UsageError(
            f"agac compares distributions of one size: the actor's is {sizes[0]}, the adversary's {sizes[1]}."
        )
    return actor, adversary


# ---------------------------------------------------------------------------------------------------------- LOSS


def coefficient(base: Base, state: State) -> jax.Array:
    """Step 9: `c = c0 (1 - progress)`; advantages are in units of the scaled reward, and so is it."""
    c = base.config.reward_scale * state.knobs["agac_c"]
    return c * (1.0 - state.knobs["progress"]) if base.config.anneal_c else c


def guided(base: Base, state: State, rollout: Rollout, evaluation: onpolicy.Evaluation, bonus: jax.Array | None):
    """Steps 2 to 4 and the target of step 6: `(Batch, metrics)`, all of it constant in the passes that follow."""
    config, value, c = base.config, evaluation.outputs.value, coefficient(base, state)
    actor, adversary = distributions(rollout)
    logp, logp_adversary = rollout.extras["logp"], adversary.log_prob(onpolicy.taken(rollout))
    divergence = actor.kl(adversary)
    discount = state.knobs["discount"] * rollout.timestep.discount
    trace = config.trace * (1.0 - rollout.timestep.last)

    def estimate(bonus):
        reward = onpolicy.reward(base, rollout, bonus)
        return jax.vmap(losses.gae, in_axes=1, out_axes=1)(value, evaluation.value_t, reward, discount, trace)

    # Steps 2 and 3: bonuses enter the advantage, not the target.
    paid = estimate(bonus)
    plain = paid if bonus is None or config.bonus_in_target else estimate(None)
    # Step 4. The standardisation is that of `ppo.loss`.
    over = partial(jax.vmap, in_axes=(1, 1, 1, None), out_axes=1)
    advantage = over(losses.agac_advantage)(paid, logp, logp_adversary, c)
    # Step 6, the target.
    target = plain + value
    if config.value_target_kl:
        target = jax.vmap(losses.agac_value_target, in_axes=(1, 1, None), out_axes=1)(target, divergence, c)

    term = advantage - paid
    spread = jnp.var(advantage)
    shared = jnp.mean((term - term.mean()) * (advantage - advantage.mean()))
    metrics = {
        "c": c,
        "c_term": (c * (logp - logp_adversary)).mean(),
        "c_share": jnp.where(spread > 0, shared / jnp.where(spread > 0, spread, 1.0), 0.0),
        "adversary_kl": divergence.mean(),
        "explained_variance": 1.0 - jnp.var(plain) / (jnp.var(target) + 1e-8),
    }
    if not isinstance(base.spec.action, Box):
        hit = adversary.mode() == rollout.action
        metrics["adversary_accuracy"] = hit.mean()
    return Batch(rollout, advantage, target, value), metrics


def loss(base: Base, state: State, params: Any, key: jax.Array, batch: Batch):
    """Steps 5 to 8: PPO's loss of actor and critic, and `beta KL(pi_old || adv)`, which reaches the adversary alone."""
    terms, metrics = ppo.loss(base, state, params, key, batch)
    rollout, beta = batch.rollout, state.knobs["beta_adv"]
    adversary, _, sown = base.network.imitate(
        {"params": params, **state.variables},
        rollout.obs,
        rollout.carry,
        rollout.first,
        train=True,
        rngs={"net": jax.random.fold_in(key, 1)},
    )
    imitation = rollout.extras["actor"].kl(adversary).mean()
    terms["adversary"] = beta * imitation
    terms |= {f"adversary_{name}": beta * term for name, term in sown.items()}
    return terms, metrics


# -------------------------------------------------------------------------------------------------------- UPDATE


def update(base: Base, key: jax.Array, state: State, rollout: Rollout):
    """Bonuses, both advantages, then PPO's passes over minibatches with the adversary's loss beside its own."""
    pipeline = base.pipeline
    step_key, pass_key, after_key = jax.random.split(key, 3)
    state = onpolicy.annealed(base, state)
    host = onpolicy.host(base, state)
    states, output, metrics = hooks.step(pipeline, step_key, state.auxiliaries, rollout, host)
    state = state._replace(auxiliaries=states)
    live = hooks.reparam(pipeline, states, state.params)
    evaluation = onpolicy.evaluate(base, live, state.variables, output.batch)
    batch, found = guided(base, state, output.batch, evaluation, output.bonus)
    state, learned = ppo.passes(base, partial(loss, base, state), pass_key, state, batch, host)
    return hooks.after(pipeline, after_key, state, onpolicy.host(base, state)), {**metrics, **found, **learned}


# ---------------------------------------------------------------------------------------------------------- MAKE


def make(spec: EnvSpec, **options: Any) -> Agent:
    """AGAC for an environment; options are the fields of `Config` and `NAME.FIELD` of auxiliaries."""
    config, rest = parts.split(Config, options)
    return assemble("agac", with_adversary(onpolicy.base(config, spec, rest)))


def with_adversary(base: Base) -> Base:
    """PPO's parts with an adversary beside the actor: step 8, an optimiser, a clip and a torso of its own."""
    config, mine = base.config, base.network
    adversary = Adversary(
        mine.action,
        copy.deepcopy(mine.trunk),  # Flax shares the parameters of a module that two others hold
        squash=mine.squash,
        policy_gain=mine.policy_gain,
        hidden=config.adv_hidden,
        activation=config.activation,
    )
    slower = optax.chain(base.optimizer, optax.scale(config.adv_lr_scale))
    return base._replace(
        network=Networks(mine, adversary),
        optimizer=gradient.by_part({"actor_critic": base.optimizer, "adversary": slower}),
    )


def assemble(name: str, base: Base) -> Agent:
    """The agent's functions around its parts."""
    made = onpolicy.agent(name, base, partial(update, base), Unroll(base.config.unroll))
    return made._replace(init=partial(init, base), act=partial(act, base))
