"""AutoMBPO: a controller that schedules MBPO's knobs, trained over many whole runs (Lai et al., 2021).

Per stage a few runs are made under the present controller; every decision then has its undiscounted reward-to-go as its
advantage, without critic or normalisation, and the nets follow PPO's clipped surrogate, summed over the knobs.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax  # type: ignore[import-untyped]

import losses
from agents.auxiliary.search import controller
from agents.auxiliary.search.controller import Design, load, log_probability, sample, save
from agents.auxiliary.search.hyper_mdp import (
    KNOBS,
    Facts,
    Log,
    Setting,
    acted,
    acting,
    append,
    apply,
    check_base,
    credit,
    decisions,
    empty,
    epoch_reward,
    fit_reward,
    groups,
    observe,
    replayed,
    start,
)
from agents.auxiliary.tool import Outcome, Search
from agents.config import build, require
from envs.contract import PyTree
from envs.errors import UsageError

# What an agent that is scheduled needs, and what a script does with what came of it.
__all__ = [
    "KNOBS",
    "Config",
    "Design",
    "Facts",
    "Log",
    "Setting",
    "State",
    "acted",
    "acting",
    "append",
    "apply",
    "check_base",
    "credit",
    "decisions",
    "empty",
    "epoch_reward",
    "fit_reward",
    "load",
    "log_probability",
    "make",
    "observe",
    "replayed",
    "resolve",
    "sample",
    "save",
    "start",
    "surrogate",
]

# -------------------------------------------------------------------------------------------------------- CONFIG


@dataclass(frozen=True)
class Config(Design):
    """Options of the search."""

    frozen: str = ""
    """Folder of a trained controller whose knobs are turned as it learned to, while those of this one are learned."""
    explore_stages: int = 5
    """Stages over which the share of decisions taken at random goes from 1 to 0."""
    learning_rate: float = 3e-4
    """Step size of Adam."""
    clip: float = 0.2
    """How far the probability of an action may move from what it was, as a share of it."""
    grad_steps: int = 300
    """Gradient steps of each stage."""
    batch: int = 64
    """Decisions of each gradient step."""

    def __post_init__(self):
        super().__post_init__()
        for name in ("learning_rate", "clip", "grad_steps", "batch"):
            require(getattr(self, name) > 0, name, getattr(self, name), "above 0")
        require(self.explore_stages >= 0, "explore_stages", self.explore_stages, "at least 0")


def resolve(config: Config) -> tuple[Config, PyTree]:
    """The config with the knobs of its frozen controller, and that controller's weights (none: `{}`).

    Raises:
      UsageError: where the frozen controller does not fit.
    """
    if not config.frozen:
        return config, {}
    params, knobs = controller.follow(config, config.frozen)
    return replace(config, knobs=knobs, frozen=""), params


# --------------------------------------------------------------------------------------------------------- STATE


class State(NamedTuple):
    """What a search has learned.

    Attributes:
      params: the weights of every knob that acts.
      opt: the optimiser's state for those that are learned.
      stage: int32 `[]`, stages that are done.
      best: the weights that acted in the best stage.
      best_score: float32 `[]`, its mean score; -inf while stages still explore.
      best_stage: int32 `[]`, which one it was.
    """

    params: PyTree
    opt: PyTree
    stage: jax.Array
    best: PyTree
    best_score: jax.Array
    best_stage: jax.Array


def explored(config: Config, stage: int) -> float:
    """The share of decisions that a stage takes at random, linear from 1 to 0."""
    return max(0.0, 1.0 - stage / config.explore_stages) if config.explore_stages else 0.0


# ---------------------------------------------------------------------------------------------------------- LOSS


def surrogate(config: Config, params: PyTree, records: Log, advantage: jax.Array) -> jax.Array:
    """`-mean sum_k min(rho_k A, clip(rho_k, 1 - clip, 1 + clip) A)` over the knobs `k` being learned that acted.

    Args:
      config: the search's.
      params: the weights to judge.
      records: decisions `[N, ...]`; `reward` and `size` are not used.
      advantage: `[N]`, the reward-to-go of each.

    Returns:
      The loss `[]`.
    """
    rho = jnp.exp(log_probability(config, params, records.obs, records.action) - records.logp)
    learned = jnp.asarray([knob in groups(config)[-1] for knob in KNOBS])
    each = jax.vmap(lambda column: losses.clipped_surrogate(column, advantage, config.clip), 1, 1)(rho)
    return jnp.where(records.acted & learned, each, 0.0).sum(1).mean()


def rewards_to_go(log: Log) -> jax.Array:
    """`sum_{i >= d} r_i` of each decision of one run, `[D]`; 0 beyond the last."""
    known = jnp.arange(len(log.reward)) < log.size
    rewards = jnp.where(known, log.reward, 0.0)
    return losses.discounted_returns(rewards, jnp.ones_like(rewards), jnp.zeros(()))


# -------------------------------------------------------------------------------------------------------- UPDATE


def improve(config: Config, optimizer: Any, key: jax.Array, params: PyTree, opt: PyTree, logs: Log):
    """One stage of learning: `(params, opt, loss [grad_steps])` from the logs `[R, D, ...]` of its runs."""
    advantage = jax.vmap(rewards_to_go)(logs).reshape(-1)
    known = (jnp.arange(logs.reward.shape[1]) < logs.size[:, None]).reshape(-1)
    records = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), logs._replace(size=logs.reward))
    places = jnp.argsort(~known, stable=True)  # those in use first
    learned = groups(config)[-1]
    kept = {knob: params[knob] for knob in params if knob not in learned}

    def move(carry, key):
        mine, opt = carry
        rows = places[jax.random.randint(key, (config.batch,), 0, known.sum())]
        batch = jax.tree.map(lambda leaf: leaf[rows], records)
        loss, grads = jax.value_and_grad(lambda mine: surrogate(config, {**kept, **mine}, batch, advantage[rows]))(mine)
        updates, opt = optimizer.update(grads, opt)
        return (optax.apply_updates(mine, updates), opt), loss

    mine = {knob: params[knob] for knob in learned}
    (mine, opt), loss = jax.lax.scan(move, (mine, opt), jax.random.split(key, config.grad_steps))
    return {**kept, **mine}, opt, loss


def gathered(outcomes: list[Outcome]) -> Log:
    """The logs of a stage as one `[R, D, ...]`; a run that failed counts for no decision.

    Raises:
      UsageError: where all of them failed.
    """
    good = [bool(np.isfinite(each.score)) for each in outcomes]
    if not any(good):
        raise UsageError(f"all {len(outcomes)} runs of this stage failed: there is nothing to learn from.")
    logs = [Log(**{name: each.log[name] for name in Log._fields}) for each in outcomes if np.isfinite(each.score)]
    spare = logs[0]._replace(size=jnp.zeros((), jnp.int32))
    kept = iter(logs)
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *(next(kept) if fine else spare for fine in good))


# ---------------------------------------------------------------------------------------------------------- MAKE


def make(**options: Any) -> Search:
    """A search for a schedule of MBPO.

    A proposal is `{"params", "explore"}`: the controller's weights, the same for all runs of a stage, and the share of
    decisions to take at random, float32. The log of an outcome holds the fields of `Log`; its score is the undiscounted
    sum of the rewards. The controller kept is the one that acted in the stage with the best mean score, among the
    stages that explored no more; until there is one, the latest.

    Raises:
      UsageError: for an option out of range, or a frozen controller that does not fit.
    """
    config, frozen = resolve(build(Config, options))
    if not groups(config)[-1]:
        raise UsageError(f"knobs must name at least one to learn: {', '.join(KNOBS)}.")
    optimizer = optax.adam(config.learning_rate)

    @jax.jit
    def stage(key, params, opt, logs):
        return improve(config, optimizer, key, params, opt, logs)

    def init(key: jax.Array) -> State:
        params = {**controller.init(config, key), **frozen}
        opt = optimizer.init({knob: params[knob] for knob in groups(config)[-1]})
        none = jnp.zeros((), jnp.int32)
        return State(params, opt, none, params, jnp.float32(-math.inf), none - 1)

    def ask(key: jax.Array, state: State, n: int) -> tuple[State, list[dict[str, Any]]]:
        explore = np.float32(explored(config, int(state.stage)))
        return state, [{"params": state.params, "explore": explore} for _ in range(n)]

    def tell(key: jax.Array, state: State, proposals: list[dict[str, Any]], outcomes: list[Outcome]) -> State:
        logs = gathered(outcomes)
        mean = np.nanmean([each.score if np.isfinite(each.score) else np.nan for each in outcomes])
        if mean > state.best_score:
            score = jnp.float32(-math.inf if proposals[0]["explore"] > 0 else mean)
            state = state._replace(best=state.params, best_score=score, best_stage=state.stage)
        params, opt, _ = stage(key, state.params, state.opt, logs)
        return state._replace(params=params, opt=opt, stage=state.stage + 1)

    def best(state: State) -> dict[str, Any]:
        return {"params": state.best, "explore": np.float32(0.0)}

    return Search("autombpo", init, ask, tell, best)
