"""AutoMBPO: MBPO whose knobs are turned by a controller that was trained over many runs (Lai et al., 2021)."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from agents import mbpo, parts
from agents.agent import Agent, State
from agents.auxiliary.search import controller, hyper_mdp
from agents.auxiliary.search.controller import Design
from agents.auxiliary.search.hyper_mdp import Log, Setting
from agents.config import build, require
from agents.schedules import Facts, Schedule, Settings, due
from envs.contract import EnvSpec, PyTree
from envs.errors import UsageError

# ------------------------------------------------------------------------------------------------------- CONFIG


@dataclass(frozen=True)
class Config(mbpo.Config):
    """Options of AutoMBPO."""

    controller: str = ""
    """Folder of a trained controller; without one it is untrained, and turns its knobs at random."""
    greedy_controller: bool = False
    """Take the controller's likeliest decisions rather than draw them."""
    base: tuple[float, ...] = ()
    """Return of plain MBPO at the end of each epoch, which the reward compares with; 0 where there is none."""
    decisions: int = 4000
    """Decisions of the run that are kept in its log."""
    rollout_every: int = 125
    """Environment steps between two rollouts of the model."""
    rollouts: int = 50_000
    """Real states that each rollout of the model begins at."""

    def __post_init__(self):
        super().__post_init__()
        require(self.decisions > 0, "decisions", self.decisions, "above 0")
        require(self.schedule == "constant", "schedule", self.schedule, "constant: the controller is the schedule")


# --------------------------------------------------------------------------------------------------------- STATE


class Control(NamedTuple):
    """The schedule's state.

    Attributes:
      params: the controller's weights, which no run changes.
      explore: share of its decisions that are taken at random, float32.
      setting: the knobs as they stand.
      log: the decisions so far.
    """

    params: PyTree
    explore: jax.Array
    setting: Setting
    log: Log


def controlled(state: State, params: PyTree, explore: jax.Array | float = 0.0) -> State:
    """An agent's state under another controller of the same design, which takes a share of decisions at random."""
    learning: mbpo.Learning = state.variables["learning"]
    own = learning.schedule._replace(params=params, explore=jnp.asarray(explore, jnp.float32))
    return state._replace(variables={**state.variables, "learning": learning._replace(schedule=own)})


def log_of(state: State) -> Log:
    """What was decided in the run so far."""
    return state.variables["learning"].schedule.log


# ------------------------------------------------------------------------------------------------------ SCHEDULE


def schedule(config: Config, design: Design, params: PyTree | None) -> Schedule:
    """The schedule that a controller makes; `params` None draws its first weights.

    Every `design.decide_every` environment steps it sees `observe` of the facts, and draws an action for each of its
    knobs. The return that it sees, and is paid for at an epoch's end, is that of the latest episode of the run itself:
    acting and not an evaluation, which an agent cannot make of itself.
    """
    base = jnp.asarray(config.base or (0.0,))

    def init(key: jax.Array) -> Control:
        weights = controller.init(design, key) if params is None else params
        return Control(weights, jnp.zeros(()), hyper_mdp.start(design), hyper_mdp.empty(design, config.decisions))

    def decide(key: jax.Array, own: Control, facts: Facts) -> tuple[Control, Settings]:
        opens = due(facts, design.epoch)
        ended = jnp.clip(facts.step // design.epoch - 1, 0, len(base) - 1)
        paid = hyper_mdp.epoch_reward(design, facts.returned, base[ended])
        own = own._replace(log=hyper_mdp.credit(own.log, jnp.where(opens, paid, 0.0)))

        def turn(own: Control) -> tuple[Control, jax.Array]:
            seen = hyper_mdp.Facts(facts.progress, facts.model_loss, facts.critic_loss, facts.shift, facts.returned)
            obs = hyper_mdp.observe(design, seen, own.setting)
            action, logp = controller.sample(design, own.params, key, obs, own.explore, greedy=config.greedy_controller)
            fit, setting = hyper_mdp.apply(design, own.setting, action, opens)
            turned = hyper_mdp.acted(design, opens)
            log = hyper_mdp.append(own.log, obs, action, logp, turned, hyper_mdp.fit_reward(design, action))
            return own._replace(setting=setting, log=log), fit

        now = due(facts, design.decide_every)
        own, fit = jax.lax.cond(now, turn, lambda own: (own, jnp.zeros((), bool)), own)
        if "model" not in hyper_mdp.acting(design):
            fit = due(facts, config.fit_every)
        settings = Settings(
            real_ratio=own.setting.real_ratio,
            updates=own.setting.updates,
            horizon=own.setting.horizon.astype(jnp.int32),
            fit=fit | (facts.before < 0),  # without a model nothing could be imagined
        )
        return own, settings

    longest = design.most_horizon if "rollout" in hyper_mdp.acting(design) else design.horizon
    return Schedule(init, decide, longest, watches=True)


# ---------------------------------------------------------------------------------------------------------- MAKE


def make(spec: EnvSpec, **options: Any) -> Agent:
    """AutoMBPO for an environment with a bounded box of actions whose observations are one vector.

    Lai et al., "On Effective Scheduling of Model-based Reinforcement Learning", 2021. For those who would rather not
    tune MBPO by hand: `search.py autombpo` trains a controller, and `controller=FOLDER` applies it.

    Options are the fields of `Config`, `NAME.FIELD` of its parts, and `autombpo.FIELD` of an untrained controller, such
    as `autombpo.knobs`. Its first values stand in place of `real_ratio`, `ratio` and `horizon`.

    Raises:
      UsageError: where actions are no bounded box, observations no vector, nothing says when episodes end, or there is
        no such controller.
    """
    config, rest = parts.split(Config, options)
    own = {name.removeprefix(PREFIX): rest.pop(name) for name in list(rest) if name.startswith(PREFIX)}
    if config.controller:
        params, design = controller.load(config.controller)
        if own:
            raise UsageError(f"{PREFIX}{next(iter(own))} is settled by the controller in {config.controller}.")
    else:
        params, design = None, build(Design, own)
    agent = mbpo.build("autombpo", config, spec, rest, schedule(config, design, params))
    return agent._replace(config=agent.config | {f"{PREFIX}{name}": value for name, value in own.items()})


PREFIX = "autombpo."
