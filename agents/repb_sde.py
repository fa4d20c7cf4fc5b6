"""RepB-SDE: offline SAC on a model that is balanced for the policy's own states, and doubted (Lee et al., 2021)."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from agents import mbpo, parts, schedules
from agents.agent import Agent
from agents.config import require
from agents.schedules import Facts, Schedule, Settings
from envs.contract import EnvSpec

# ------------------------------------------------------------------------------------------------------- CONFIG


@dataclass(frozen=True)
class Config(mbpo.Config):
    """Options of RepB-SDE; in an offline run a step is an update."""

    model: str = "repb_sde"
    """World model by name."""
    rounds: int = 2
    """Fits of the model, evenly over the run, each for the policy of that time; the first knows none yet."""
    fit_every: int = 0
    """Steps between two fits of the model, in place of rounds; 0 leaves it to those."""
    ratio: float = 1.0
    """Updates for each step."""
    warmup: int = 0
    """Environment steps before learning begins; until then actions are drawn evenly."""
    horizon: tuple[int, int, int, int] = (5, 5, 0, 0)
    """Steps that the model is followed at first and at last, and the epochs between which they grow."""
    epoch: int = 10_000
    """Steps of an epoch."""
    rollout_every: int = 10_000
    """Steps between two rollouts of the model."""
    rollouts: int = 200_000
    """States of the data that each rollout of the model begins at."""
    retain: int = 5
    """Epochs for which what the model imagined is kept."""
    penalty: float = 10.0
    """What each unit of the model's doubt takes off an imagined reward."""

    def __post_init__(self):
        super().__post_init__()
        require(self.rounds > 0, "rounds", self.rounds, "above 0")


# ------------------------------------------------------------------------------------------------------ SCHEDULE


def by_rounds(plain: Schedule, rounds: int) -> Schedule:
    """A schedule that fits the model at the beginning of each of `rounds` equal parts of the run."""

    def init(key: jax.Array) -> tuple[Any, jax.Array]:
        return plain.init(key), jnp.int32(0)

    def decide(key: jax.Array, own: tuple[Any, jax.Array], facts: Facts) -> tuple[Any, Settings]:
        inner, fits = own
        inner, settings = plain.decide(key, inner, facts)
        # A hair more, or half of 10 steps would come at the sixth.
        begun = jnp.minimum(rounds, 1 + jnp.floor(facts.progress * rounds + 1e-4).astype(jnp.int32))
        return (inner, jnp.maximum(fits, begun)), settings._replace(fit=begun > fits)

    return plain._replace(init=init, decide=decide)


# ---------------------------------------------------------------------------------------------------------- MAKE


def make(spec: EnvSpec, **options: Any) -> Agent:
    """RepB-SDE for an environment with a bounded box of actions whose observations are one vector.

    Lee, Lee and Kim, "Representation Balancing Offline Model-based Reinforcement Learning", 2021. To learn from a
    dataset (`--data`) without an environment: SAC on `real_ratio` of its records and else on rollouts of a model, whose
    rewards are lowered by `penalty` times its members' disagreement. It runs on-line too, where `fit_every` should be
    set, as MBPO's is.

    The model is fitted, a policy is learned in it, the model is fitted again and balanced for that policy, and so on
    for `rounds`; model and policy go on from where they were, while the authors' code begins both anew, with twice the
    updates. `model/ipm_before` and `model/ipm` tell how far the data were from the policy's states before the last fit
    and after it.

    Options are the fields of `Config` and `NAME.FIELD` of its parts, such as `repb_sde.alpha`.

    Raises:
      UsageError: where actions are no bounded box, observations no vector, or nothing says when episodes end.
    """
    config, rest = parts.split(Config, options)
    if config.model == "repb_sde":
        rest.setdefault("repb_sde.discount", config.discount)
    schedule = schedules.of(config)
    if not config.fit_every and config.schedule in schedules.NAMES:
        schedule = by_rounds(schedule, config.rounds)
    return mbpo.build("repb_sde", config, spec, rest, schedule)
