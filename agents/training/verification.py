"""A run as its verification sees it: its greedy policy as one function, and the states that it visits."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from agents import registry
from agents.agent import Rollout, acting_params
from agents.auxiliary.tool import Subject
from agents.auxiliary.verification.intervals import forbidden
from agents.auxiliary.verification.properties import Property
from agents.training import actor
from agents.training.evaluation import Evaluator, host_view
from agents.training.saved import Saved, open_run
from envs.contract import HostMaker, TimeStep
from envs.errors import UsageError


def subject(saved: Saved, seed: int = 1000, steps: int = 1000, envs: int = 8) -> Subject:
    """An opened run for a tool: `policy(params, obs [B, ...], carry, first)` gives greedy actions `[B, ...]`.

    Observations are the environment's own: what wrappers do to them, with their statistics, is part of the policy.

    Args:
      saved: the run.
      seed: of the environments of `data`.
      steps: to record in each of them; 0 records none, and `data` is then None.
      envs: how many are recorded side by side.

    Raises:
      UsageError: where the policy remembers, so that an observation alone does not say what it does.
    """
    agent, wrapper, spec = saved.agent, saved.wrapper, saved.env.spec
    if jax.tree.leaves((agent.begin(saved.state, 1), wrapper.init(spec, 1).each)):
        what = f"the policy of {saved.path}"
        raise UsageError(
            f"{what} remembers past steps and cannot be verified: one without a core or such wrappers can."
        )

    def policy(params: Any, obs: Any, carry: Any, first: Any) -> Any:
        n = first.shape[0]
        extras = {name: jnp.zeros((n, *leaf.shape), leaf.dtype) for name, leaf in spec.extras.items()}
        raw = TimeStep(obs, jnp.zeros(n), jnp.ones(n), first, obs, extras)
        state = saved.state._replace(params=params, acting=None)
        nothing = agent.begin(state, n)  # no arrays, though not always the empty tuple
        return actor.decide(agent, wrapper, True, jax.random.key(0), state, nothing, saved.wrapper_state, raw).sent

    def rollout(params: Any, seed: int, steps: int) -> Rollout:
        return _record(saved, jax.jit(policy), params, seed, steps, envs)

    def evaluate(params: Any, seeds: Any) -> np.ndarray:
        play = Evaluator(agent, saved.env, wrapper, episodes=1)
        state = saved.state._replace(params=params, acting=None)
        return np.asarray([play(state, saved.wrapper_state, int(seed)).returns[0] for seed in seeds])

    params = acting_params(saved.state)
    return Subject(policy, params, spec, rollout(params, seed, steps) if steps else None, rollout, evaluate)


def _record(saved: Saved, policy: Any, params: Any, seed: int, steps: int, envs: int) -> Rollout:
    """Steps of `envs` environments, `[T, B, ...]`, as the environment shows them, before any wrapper."""
    env = saved.env.evaluation or saved.env
    engine = (env if isinstance(env, HostMaker) else host_view(env)).open(seed=seed, n=envs)
    try:
        start = now = jax.tree.map(np.array, engine.reset())
        actions, seen = [], []
        for _ in range(steps):
            actions.append(np.asarray(policy(params, now.obs, (), now.last)))
            now = jax.tree.map(np.array, engine.step(actions[-1]))  # an engine may write into its arrays again
            seen.append(now)
    finally:
        engine.close()
    return Rollout((), start, np.stack(actions), {}, jax.tree.map(lambda *leaves: np.stack(leaves), *seen))


def verify_run(
    run: str | Path,
    *,
    checkpoint: str = "best",
    seed: int = 1000,
    steps: int = 1000,
    near: float = 0.05,
    **options: Any,
) -> tuple[Saved, Subject, list[Property], dict[str, Any]]:
    """Verifies the policy of a run, of several seeds the first's, and looks for what was forbidden where it goes.

    Args:
      run: the run's folder.
      checkpoint: `"best"` or `"last"`.
      seed: of samples and of the environments.
      steps: to play in each of eight environments; 0 plays none.
      near: how far outside a property's box an input may be for a visited state to count as in it.
      options: those of the verification `intervals`.

    Returns: the run, its subject, the properties, and the report of the tool with `visited` for each property.

    Raises:
      UsageError: where there is no run, a property does not fit, or the policy cannot be verified.
    """
    saved = open_run(run, checkpoint)
    tool = registry.load("verification", "intervals").make(**options)
    examined = subject(saved, seed, 0)
    key = jax.random.key(seed)
    properties = tool.init(key, examined)
    report, _ = tool.run(key, properties, examined)
    if steps:
        examined = examined._replace(data=examined.rollout(examined.params, seed, steps))
        for property in properties:
            report[property.name]["visited"] = visited(property, examined.data, near)
    return saved, examined, properties, report


def visited(property: Property, data: Rollout, near: float) -> dict[str, Any]:
    """What the policy did in the recorded states that lie in a property's box, or at most `near` outside it.

    `distance` is that of the nearest state, the largest over its inputs; `first` is the first forbidden decision.
    """
    obs, action = np.asarray(data.obs), np.asarray(data.action)
    outside = np.maximum(property.low - obs, obs - property.high).clip(0).max(-1)
    within = outside <= near
    wrong = within & forbidden(property, action)
    found: dict[str, Any] = {
        "states": int(within.size),
        "near": near,
        "within": int(within.sum()),
        "forbidden": int(wrong.sum()),
        "distance": float(outside.min()),
        "first": None,
    }
    if wrong.any():
        step, env = (int(index) for index in np.argwhere(wrong)[0])
        episode = int(np.asarray(data.timestep.last)[:step, env].sum())
        since = np.flatnonzero(np.asarray(data.timestep.last)[:step, env])
        found["first"] = {
            "env": env,
            "episode": episode,
            "step": step - (int(since[-1]) + 1 if len(since) else 0),
            "obs": obs[step, env].tolist(),
            "action": action[step, env].tolist(),
        }
    return found
