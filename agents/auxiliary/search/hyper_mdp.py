"""The decision process over a whole run of MBPO: what is seen, what may be turned, and what it is worth.

Lai et al. 2021, "On Effective Scheduling of Model-based Reinforcement Learning", section 4.1. One episode is one run.
Every `decide_every` environment steps the knobs may be turned. All functions are pure and run in the agent's update.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from agents.config import require
from envs.errors import UsageError, nearest

KNOBS = ("model", "ratio", "policy", "rollout")
CHOICES = (2, 3, 3, 3)  # of each knob: fit now or not; down, stay, up
NEUTRAL = (0, 1, 1, 1)  # the action of a knob that nothing schedules


@dataclass(frozen=True)
class Rules:
    """Options of the decision process."""

    knobs: str = "model+ratio+policy"
    """Knobs to learn, joined by +: model (fit it now), ratio (share of real data), policy (updates for each step),
    rollout (length); groups of knobs that were learned before, and stay as they are, come first, behind commas."""
    decide_every: int = 125
    """Environment steps from one decision to the next."""
    epoch: int = 1000
    """Environment steps of an epoch."""
    real_ratio: float = 0.05
    """Share of real data in a batch at the start."""
    ratio_factor: float = 1.2
    """What one step up multiplies the share of real data by, and one down divides it by."""
    updates: int = 10
    """Updates for each environment step at the start."""
    most_updates: int = 20
    """Most updates for each environment step."""
    horizon: int = 1
    """Model steps of a rollout at the start."""
    most_horizon: int = 15
    """Most model steps of a rollout."""
    model_scale: float = 0.01
    """Holdout loss of the model that is seen as 1."""
    critic_scale: float = 100.0
    """Loss of the critics that is seen as 1."""
    shift_scale: float = 10.0
    """Policy shift that is seen as 1."""
    return_scale: float = 3000.0
    """Return that is seen as 1."""
    fit_cost: float = 0.1
    """Half of it is paid for a fit of the model, and earned where it is left out."""
    reward_scale: float = 300.0
    """Return above that of the base that is worth 1 at the end of an epoch."""

    def __post_init__(self):
        named = [knob for group in groups(self) for knob in group]
        for index, knob in enumerate(named):
            if knob not in KNOBS:
                raise UsageError(f"there is no knob {knob!r}: {nearest(knob, KNOBS)}")
            require(knob not in named[:index], "knobs", self.knobs, f"different, {knob} once")
        for name in ("decide_every", "epoch", "updates", "horizon", "most_updates", "most_horizon"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(
            self.epoch % self.decide_every == 0, "epoch", self.epoch, f"a multiple of decide_every, {self.decide_every}"
        )
        require(0 < self.real_ratio <= 1, "real_ratio", self.real_ratio, "above 0 and at most 1")
        require(self.ratio_factor >= 1, "ratio_factor", self.ratio_factor, "at least 1")
        require(self.updates <= self.most_updates, "updates", self.updates, f"at most most_updates {self.most_updates}")
        require(self.horizon <= self.most_horizon, "horizon", self.horizon, f"at most most_horizon {self.most_horizon}")
        for name in ("model_scale", "critic_scale", "shift_scale", "return_scale", "reward_scale"):
            require(getattr(self, name) > 0, name, getattr(self, name), "above 0")


class Setting(NamedTuple):
    """MBPO's knobs as they stand, float32 `[]` each: share of real data, updates for each step, model steps."""

    real_ratio: jax.Array
    updates: jax.Array
    horizon: jax.Array


class Facts(NamedTuple):
    """What is known of a run at a decision, float32 `[]` each; NaN where it is not known yet.

    Attributes:
      progress: share of the run that is done, 0 to 1.
      model_loss: the model's holdout error.
      critic_loss: mean loss of the critics.
      shift: how far the policy has moved from the one that acted: mean of `min(|pi_old(a|s) - pi_now(a|s)|, 100)`
        over the recent real data.
      returned: the latest evaluation's return.
    """

    progress: jax.Array
    model_loss: jax.Array
    critic_loss: jax.Array
    shift: jax.Array
    returned: jax.Array


class Log(NamedTuple):
    """The decisions of one run, room for `D` of them, the first `size` in use.

    Attributes:
      obs: float32 `[D, S]`.
      action: int32 `[D, 4]`, one column for each of `KNOBS`.
      logp: float32 `[D, 4]`, the controller's log-probability of each.
      acted: bool `[D, 4]`, the knobs that could be turned.
      reward: float32 `[D]`.
      size: int32 `[]`.
    """

    obs: jax.Array
    action: jax.Array
    logp: jax.Array
    acted: jax.Array
    reward: jax.Array
    size: jax.Array


# ---------------------------------------------------------------------------------------------------------- KNOBS


def groups(rules: Rules) -> tuple[tuple[str, ...], ...]:
    """The knobs in the groups in which they are learned; the last is learned now."""
    return tuple(tuple(knob.strip() for knob in group.split("+") if knob.strip()) for group in rules.knobs.split(","))


def acting(rules: Rules) -> tuple[str, ...]:
    """The knobs that a controller turns, in the order of `KNOBS`."""
    named = {knob for group in groups(rules) for knob in group}
    return tuple(knob for knob in KNOBS if knob in named)


def acted(rules: Rules, opens_epoch: jax.Array) -> jax.Array:
    """Which knobs a decision turns: bool `[4]`; `rollout` only the first of an epoch, `opens_epoch` `[]`."""
    named = jnp.asarray([knob in acting(rules) for knob in KNOBS])
    return named & jnp.asarray([True, True, True, opens_epoch])


def start(rules: Rules) -> Setting:
    """The knobs before the first decision."""
    return Setting(*(jnp.float32(value) for value in (rules.real_ratio, rules.updates, rules.horizon)))


def apply(rules: Rules, setting: Setting, action: jax.Array, opens_epoch: jax.Array) -> tuple[jax.Array, Setting]:
    """Turns the knobs: `(fit, setting)`.

    `real_ratio <- min(1, real_ratio * factor^(a - 1))`, `updates <- clip(updates + a - 1, 1, most_updates)`, `horizon`
    likewise, at the first decision of an epoch alone. A knob that is not scheduled keeps what it has.

    Args:
      rules: the process.
      setting: the knobs as they stand.
      action: int32 `[4]`.
      opens_epoch: bool `[]`.

    Returns:
      Whether to fit the model now, bool `[]` (true where `model` is not scheduled: the rhythm is then the agent's), and
      the knobs.
    """
    turns = acted(rules, opens_epoch)
    step = jnp.where(turns, action - 1, 0).astype(jnp.float32)
    fit = ~turns[0] | (action[0] == 0)
    return fit, Setting(
        jnp.where(turns[1], jnp.minimum(1.0, setting.real_ratio * rules.ratio_factor ** step[1]), setting.real_ratio),
        jnp.where(turns[2], jnp.clip(setting.updates + step[2], 1, rules.most_updates), setting.updates),
        jnp.where(turns[3], jnp.clip(setting.horizon + step[3], 1, rules.most_horizon), setting.horizon),
    )


# -------------------------------------------------------------------------------------------------- WHAT IS SEEN


def columns(rules: Rules, knob: str) -> tuple[int, ...]:
    """The columns of `observe` that the net of a knob sees: the facts, and the knobs of its group and those before."""
    known: set[str] = set()
    for group in groups(rules):
        known |= set(group)
        if knob in group:
            break
    shown = [name for name in acting(rules) if name != "model"]
    facts = len(Facts._fields)
    return (*range(facts), *(facts + index for index, name in enumerate(shown) if name in known))


def width(rules: Rules) -> int:
    """`S`, the numbers that are seen."""
    return len(Facts._fields) + sum(knob != "model" for knob in acting(rules))


def observe(rules: Rules, facts: Facts, setting: Setting) -> jax.Array:
    """What a controller sees, float32 `[S]` in -1 to 1: the facts in their scales, then the scheduled knobs as shares.

    What is not known yet (NaN) is seen as 0.
    """
    shares = {
        "ratio": setting.real_ratio,
        "policy": setting.updates / rules.most_updates,
        "rollout": setting.horizon / rules.most_horizon,
    }
    seen = [
        facts.progress,
        facts.model_loss / rules.model_scale,
        facts.critic_loss / rules.critic_scale,
        facts.shift / rules.shift_scale,
        facts.returned / rules.return_scale,
        *(shares[knob] for knob in acting(rules) if knob != "model"),
    ]
    return jnp.nan_to_num(jnp.clip(jnp.stack([jnp.asarray(value, jnp.float32) for value in seen]), -1.0, 1.0))


def fit_reward(rules: Rules, action: jax.Array) -> jax.Array:
    """`fit_cost (a_model - 1/2)` of the action int32 `[4]`, 0 where `model` is not scheduled; float32 `[]`."""
    return rules.fit_cost * (action[0] - 0.5) if "model" in acting(rules) else jnp.zeros(())


def epoch_reward(rules: Rules, returned: jax.Array, base_return: jax.Array) -> jax.Array:
    """`(J - J_base) / reward_scale`: the return at an epoch's end over that of plain MBPO, float32 `[]`."""
    return jnp.asarray((returned - base_return) / rules.reward_scale, jnp.float32)


def check_base(rules: Rules, base: tuple[float, ...], steps: int) -> None:
    """Makes sure that plain MBPO's returns reach to the end of a run.

    Raises:
      UsageError: where there are fewer than the run has whole epochs.
    """
    epochs = steps // rules.epoch
    if len(base) < epochs:
        raise UsageError(
            f"the base has returns of {len(base)} epochs, but a run of {steps:,} steps has {epochs} epochs of "
            f"{rules.epoch:,}."
        )


# ----------------------------------------------------------------------------------------------------- THE RECORD


def decisions(rules: Rules, steps: int) -> int:
    """How many decisions a run of `steps` environment steps has."""
    return -(-steps // rules.decide_every)


def empty(rules: Rules, count: int) -> Log:
    """A log with room for `count` decisions."""
    return Log(
        obs=jnp.zeros((count, width(rules))),
        action=jnp.zeros((count, len(KNOBS)), jnp.int32),
        logp=jnp.zeros((count, len(KNOBS))),
        acted=jnp.zeros((count, len(KNOBS)), bool),
        reward=jnp.zeros(count),
        size=jnp.zeros((), jnp.int32),
    )


def append(
    log: Log, obs: jax.Array, action: jax.Array, logp: jax.Array, acted: jax.Array, reward: jax.Array | float = 0.0
) -> Log:
    """The log with one decision more; one beyond its room is dropped."""
    at = log.size
    return Log(
        obs=log.obs.at[at].set(obs, mode="drop"),
        action=log.action.at[at].set(action, mode="drop"),
        logp=log.logp.at[at].set(logp, mode="drop"),
        acted=log.acted.at[at].set(acted, mode="drop"),
        reward=log.reward.at[at].set(reward, mode="drop"),
        size=jnp.minimum(at + 1, len(log.reward)),
    )


def credit(log: Log, amount: jax.Array) -> Log:
    """Adds to the reward of the latest decision what came of the steps after it; nothing where there is none yet."""
    at = jnp.where(log.size > 0, log.size - 1, len(log.reward))
    return log._replace(reward=log.reward.at[at].add(amount, mode="drop"))


def replayed(rules: Rules, log: Log) -> tuple[jax.Array, Setting]:
    """The schedule that a log amounts to: what `apply` gave at each decision, `[D]` each."""

    def turn(setting, row):
        fit, setting = apply(rules, setting, row[0], row[1])
        return setting, (fit, setting)

    # Where `rollout` is not scheduled it makes no difference whether a decision opens an epoch.
    _, found = jax.lax.scan(turn, start(rules), (log.action, log.acted[:, KNOBS.index("rollout")]))
    return found
