"""RL2: PPO whose memory lasts for a whole trial and reads actions, rewards and ends (Duan et al.; Wang et al., 2016).

To the policy a trial is one episode: what it learns to maximise is the sum over all its episodes, so that exploring in
the first can pay in the later ones.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from agents import onpolicy, parts, pearl, ppo
from agents.agent import Agent, Rollout, State
from agents.config import require
from agents.networks import off_policy as nets
from agents.onpolicy import Base
from envs.contract import Array, Box, Discrete, EnvSpec, PyTree, TimeStep
from envs.errors import UsageError

# ------------------------------------------------------------------------------------------------------- CONFIG


@dataclass(frozen=True)
class Config(ppo.Config):
    """Options of RL2."""

    trials: int = 1
    """Trials of every environment that one update learns from; the steps of unroll follow from it."""
    core: Literal["none", "gru", "lstm"] = "gru"
    """Memory between encoder and heads: gru or lstm."""

    def __post_init__(self):
        super().__post_init__()
        require(self.trials > 0, "trials", self.trials, "above 0")
        require(self.core != "none", "core", repr(self.core), "gru or lstm: it holds what was found out of the task")


# --------------------------------------------------------------------------------------------------------- STATE


class Memory(NamedTuple):
    """The network's memory, and the last action as it is read, `[B, A]`."""

    core: PyTree
    action: jax.Array


def begin(base: Base, action: Any, state: State, n: int) -> Memory:
    """Nothing remembered of `n` environments."""
    return Memory(base.network.begin(n), jnp.zeros((n, _width(action))))


def belief(memory: Memory) -> jax.Array:
    """The memory itself, `[B, D]`."""
    leaves = jax.tree.leaves(memory.core)
    return jnp.concatenate([leaf.reshape(len(memory.action), -1) for leaf in leaves], -1)


# ----------------------------------------------------------------------------------------------------------- ACT


def _width(action: Any) -> int:
    return action.n if isinstance(action, Discrete) else len(action.low)


def read(action: Any, taken: jax.Array) -> jax.Array:
    """An action as the network reads it: a one-hot, or on the scale of -1 to 1; `[..., A]`."""
    if isinstance(action, Discrete):
        return jax.nn.one_hot(taken, action.n)
    return nets.centred(taken, action)


def told(timestep: TimeStep, action: jax.Array) -> TimeStep:
    """The step as one of a trial: what was done, paid and whether an episode ended is observed, the trial's end ends.

    At the start of a trial nothing was done before.
    """
    over = timestep.extras["trial_last"]
    going = 1.0 - over.astype(jnp.float32)

    def seen(obs: PyTree, going: jax.Array) -> dict[str, Any]:
        # What a simulation that diverged paid must not stay in the memory.
        paid = jnp.nan_to_num(timestep.reward)
        ended = timestep.last.astype(jnp.float32)
        return {"obs": obs, "action": going[..., None] * action, "reward": going * paid, "last": going * ended}

    return timestep._replace(
        obs=seen(timestep.obs, going),
        next_obs=seen(timestep.next_obs, jnp.ones_like(going)),
        discount=going,
        last=over,
    )


def act(base: Base, action: Any, key: jax.Array, state: State, memory: Memory, timestep: TimeStep, evaluate: bool):
    """PPO's act on what a trial shows."""
    taken, core, extras = onpolicy.act(base, key, state, memory.core, told(timestep, memory.action), evaluate)
    return taken, Memory(core, read(action, taken)), extras


# -------------------------------------------------------------------------------------------------------- UPDATE


def update(base: Base, action: Any, key: jax.Array, state: State, rollout: Rollout):
    """PPO's update on the unroll as a sequence of trials."""
    return ppo.update(
        base,
        key,
        state,
        rollout._replace(
            carry=rollout.carry.core,
            start=told(rollout.start, rollout.carry.action),
            timestep=told(rollout.timestep, read(action, rollout.action)),
        ),
    )


# ---------------------------------------------------------------------------------------------------------- MAKE


def make(spec: EnvSpec, **options: Any) -> Agent:
    """RL2 for a family of tasks with discrete actions or a box of them.

    Options are the fields of `Config` and `NAME.FIELD` of auxiliaries.

    Raises:
      UsageError: where the environment is no family, or for an intrinsic reward, which knows episodes and not trials.
    """
    config, rest = parts.split(Config, options)
    pearl.family("rl2", spec)
    if not isinstance(spec.action, (Box, Discrete)):
        raise UsageError(f"rl2 reads its last action, one choice or a box of numbers, and {spec.id} has another kind.")
    if config.bonus:
        raise UsageError("rl2 learns from trials, and an intrinsic reward knows episodes: leave --bonus out.")
    config = replace(config, unroll=pearl.whole_trials("rl2", spec, config.trials, config.unroll, 64))
    number = Array((), "float32")
    shown = {"obs": spec.obs, "action": Array((_width(spec.action),), "float32"), "reward": number, "last": number}
    seen = replace(spec, obs=shown, max_steps=spec.max_steps * spec.trial)
    base = onpolicy.base(config, seen, rest)
    agent = ppo.assemble("rl2", base)
    return agent._replace(
        init=lambda key, spec: ppo.init(base, key, seen),
        begin=partial(begin, base, spec.action),
        act=partial(act, base, spec.action),
        update=partial(update, base, spec.action),
        belief=belief,
    )
