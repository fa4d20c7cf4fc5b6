"""Genetic soft updates: any agent, moved now and then towards the best of its mutated copies (Marchesini et al., 2021).

The agent learns as it always does. Every so many updates mutated copies of its present policy play the same episodes as
the policy itself, and where one is better the policy moves a part of the way to it. Where none is nothing happens: the
worst case is the agent without evolution.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from agents import parts, registry
from agents.agent import Agent, Evolution, Replay, State
from agents.auxiliary.search import genetic
from agents.auxiliary.search.genetic import Mutation
from agents.config import require
from envs.contract import EnvSpec, PyTree
from envs.errors import UsageError

# ------------------------------------------------------------------------------------------------------- CONFIG


@dataclass(frozen=True)
class Config:
    """Options of genetic soft updates; those of the agent that evolves are NAME.FIELD, such as sac.hidden."""

    agent: str = "ppo"
    """The agent that evolves, by name."""
    evolution: Literal["soft", "erl", "ga"] = "soft"
    """soft moves the agent towards its best copy; erl keeps a population whose champion acts; ga never learns."""
    every: int = 100
    """Updates between two evaluations of copies; where updates follow every few steps take more."""
    population: int = 10
    """Copies that are evaluated beside the agent."""
    episodes: int = 10
    """Episodes of each copy in one evaluation, the same for all."""
    tau: float = 0.5
    """How far the agent moves towards the best copy; 1 replaces it."""
    mutated: float = 0.25
    """Chance of each weight to be mutated."""
    sigma: float = 0.2
    """Deviation of what is added to a mutated weight."""
    relative: bool = False
    """Take sigma in units of the root mean square of each array of weights."""
    min_gain: float = 0.0
    """How much more than the agent its best copy must return."""
    check_blend: bool = False
    """Play the same episodes with the moved weights, and take them back where they return less than the old ones."""
    elites: int = 2
    """Individuals of a population that live on as they are, of erl and ga."""

    def __post_init__(self):
        for name in ("every", "population", "episodes"):
            require(getattr(self, name) > 0, name, getattr(self, name), "above 0")
        require(0 <= self.tau <= 1, "tau", self.tau, "between 0 and 1")
        require(0 <= self.mutated <= 1, "mutated", self.mutated, "between 0 and 1")
        require(self.sigma >= 0, "sigma", self.sigma, "at least 0")
        require(self.min_gain >= 0, "min_gain", self.min_gain, "at least 0")
        require(0 <= self.elites < self.population, "elites", self.elites, "at least 0 and below population")


# --------------------------------------------------------------------------------------------------------- STATE


class Split(NamedTuple):
    """The parameters that evolve, and all others, each by name."""

    policy: dict[str, PyTree]
    others: dict[str, PyTree]


def split(params: dict[str, PyTree]) -> Split:
    """What acts and what only judges: an actor alone where there is one; else all but values and temperatures.

    Of on-policy agents what policy and value share evolves with the policy; `separate` shares nothing.
    """

    def acts(name: str) -> bool:
        return name == "actor" if "actor" in params else not name.startswith("value")

    policy = {name: part for name, part in params.items() if acts(name)}
    return Split(policy, {name: part for name, part in params.items() if name not in policy})


def whole(policy: PyTree, others: PyTree, count: int) -> PyTree:
    """Full parameters `[count, ...]` of policies `[count, ...]`, all with the same other parts."""
    return {**policy, **jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), others)}


def init(base: Agent, config: Config, key: jax.Array, spec: EnvSpec) -> State:
    """The agent's own first state; a population of mutated copies where one is to last."""
    state = base.init(key, spec)
    if config.evolution == "soft":
        return state
    policy = split(state.params).policy
    born = genetic.children(jax.random.fold_in(key, 1), policy, mutation(config), config.population - 1)
    champion = jax.tree.map(jnp.copy, state.params)
    return state._replace(variables={**state.variables, "population": born}, acting=champion)


def mutation(config: Config) -> Mutation:
    """How copies are mutated."""
    return Mutation(config.mutated, config.sigma, config.relative)


# ----------------------------------------------------------------------------------------------------- EVOLUTION


def ask(config: Config, key: jax.Array, state: State) -> PyTree:
    """The agent and its mutated copies, or the lasting population behind it."""
    own = split(state.params)
    if config.evolution == "soft":
        policies = genetic.children(key, own.policy, mutation(config), config.population)
    else:
        policies = jax.tree.map(
            lambda one, rest: jnp.concatenate([one[None], rest]), own.policy, state.variables["population"]
        )
    return whole(policies, own.others, 1 + config.population)


def tell(config: Config, key: jax.Array, state: State, params: PyTree, fitness: jax.Array):
    """Moves the agent, or makes the next generation; `fitness` `[1 + population]` are mean returns."""
    found = {"fitness": fitness[0], "best": jnp.nanmax(fitness)}
    policies = split(params).policy
    if config.evolution == "soft":
        move = genetic.soft_update(policies, fitness, config.tau, config.min_gain)
        found |= {"improved": move.improved.astype(jnp.float32), "moved": move.distance}
        return state._replace(params={**state.params, **move.params}), found
    # The agent takes the place of the worst, so that what it learned can spread; without learning it is one of them.
    population = jax.tree.map(lambda leaf: leaf[1:], policies)
    worst = jnp.argmin(jnp.where(jnp.isnan(fitness[1:]), -jnp.inf, fitness[1:]))
    population = jax.tree.map(lambda rest, all: rest.at[worst].set(all[0]), population, policies)
    entered = fitness[1:].at[worst].set(fitness[0])
    best = jnp.argmax(jnp.where(jnp.isnan(fitness), -jnp.inf, fitness))
    champion = {**state.params, **jax.tree.map(lambda leaf: leaf[best], policies)}
    following = genetic.generation(key, population, entered, mutation(config), config.elites)
    found["improved"] = (best > 0).astype(jnp.float32)
    variables = {**state.variables, "population": following}
    state = state._replace(variables=variables, acting=champion)
    return (state._replace(params=champion) if config.evolution == "ga" else state), found


def unmoved(key: jax.Array, state: State, batch: Any):
    """No update at all: what `ga` does with a batch."""
    zero = jnp.zeros(())
    return state._replace(updates=state.updates + 1), {"loss": zero, "nonfinite": zero, "nonfinite_leaf": zero - 1}


# ---------------------------------------------------------------------------------------------------------- MAKE


def make(spec: EnvSpec, **options: Any) -> Agent:
    """An agent of the project whose policy also evolves.

    Options are the fields of `Config`, `NAME.FIELD` of the agent that evolves and of its parts, as in
    `make("genetic_soft_updates", spec, agent="sac", **{"sac.hidden": (64, 64)})`. Of the paper's settings frequency,
    copies, episodes, sigma, the share of weights and tau are not known for sure; the defaults are taken for them.

    `erl` is in the manner of Khadka and Tumer (2018): the population lasts, the agent enters it in the place of the
    worst, and the champion acts, so that its steps are learned from. Their populations' own evaluation episodes are
    learned from too, which is not done here. `ga` is the same without an agent that learns.

    Raises:
      UsageError: where the agent is none that can evolve, and where `erl` would act for an agent that must act itself.
    """
    own = {name: value for name, value in options.items() if "." not in name and name != "envs"}
    config, _ = parts.split(Config, own)
    if config.agent == "genetic_soft_updates":
        raise UsageError("agent must be another one than genetic_soft_updates, such as ppo.")
    prefix = f"{config.agent}."
    given = {name.removeprefix(prefix): value for name, value in options.items() if "." in name}
    if "envs" in options:
        given["envs"] = options["envs"]
    base: Agent = registry.load("agent", config.agent).make(spec, **given)
    if config.evolution == "erl" and not isinstance(base.feed, Replay):
        raise UsageError(
            f"erl acts with the champion of a population, and {config.agent} learns from its own steps alone."
        )
    fields = vars(config) | {f"{prefix}{name}": v for name, v in base.config.items() if "." not in name}
    fields |= {name: value for name, value in base.config.items() if "." in name}
    if "envs" in base.config:
        fields["envs"] = base.config["envs"]
    return base._replace(
        name="genetic_soft_updates",
        config=fields,
        init=partial(init, base, config),
        update=unmoved if config.evolution == "ga" else base.update,
        evolution=Evolution(
            every=config.every,
            episodes=config.episodes,
            size=1 + config.population,
            ask=partial(ask, config),
            tell=partial(tell, config),
            check=config.check_blend,
        ),
    )
