"""Transitions for datasets: played with even actions or by a policy, or taken out of a training's replay buffer."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from agents.agent import Agent, Rollout, State
from agents.training import actor, checkpoints
from agents.training.device_loop import DeviceLoop
from agents.training.evaluation import host_view
from agents.training.host_loop import HostLoop
from agents.training.progress import Progress
from envs import wrappers
from envs.contract import Box, Discrete, Env, EnvSpec, HostMaker, MultiDiscrete, TimeStep
from envs.errors import UsageError
from replay import ring
from replay.dataset import Dataset

EPISODES = 10  # as long as at least so many episodes of full length each stream is, where the size allows
MOST = 64  # environments side by side
LENGTH = 1000  # taken for an episode's length where the environment tells none


class Play(NamedTuple):
    """What to play: `size` transitions in `env`, seeded; `label` and `quiet` are for the progress."""

    env: HostMaker | Env
    size: int
    seed: int
    label: str
    quiet: bool


def evenly(play: Play) -> Dataset:
    """Transitions of actions drawn evenly.

    Raises:
      UsageError: where actions have no bounds.
    """
    spec, random = play.env.spec, np.random.default_rng(play.seed)
    if isinstance(spec.action, Box) and not np.isfinite([spec.action.low, spec.action.high]).all():
        raise UsageError(f"{spec.id} bounds its actions nowhere: none can be drawn evenly.")
    return _played(play, lambda n: (), lambda step, carry, timestep: (_even(random, spec, len(timestep.last)), carry))


def by_policy(play: Play, agent: Agent, state: State, greedy: bool) -> Dataset:
    """Transitions of a policy, its actions drawn as in training unless `greedy`."""
    key = jax.random.key(play.seed)

    @jax.jit
    def act(state, step, carry, timestep):
        action, carry, _ = agent.act(jax.random.fold_in(key, step), state, carry, timestep, greedy)
        return action, carry

    return _played(
        play,
        lambda n: agent.begin(state, n),
        lambda step, carry, timestep: act(state, np.uint32(step), carry, timestep),
    )


def buffered(agent: Agent, env: HostMaker | Env, path: Path, seed: int) -> Dataset:
    """What the buffer of single records held in a checkpoint, the oldest first, environment by environment.

    Where the buffer had begun to forget, each environment's first episode in it, whose start may be lost, is left out.

    Raises:
      UsageError: where no episode is left.
    """
    n, plain = checkpoints.read_meta(path)["n"], wrappers.parse("")
    if isinstance(env, Env):
        loop: Any = DeviceLoop(agent, env, plain, n=n, seeds=(seed,))
    else:
        loop = HostLoop(agent, env, plain, n=n, seed=seed)
    try:
        like = loop.template()["learner"].buffer
    finally:
        loop.close()
    held = jax.device_get(checkpoints.load_part(path, "['learner'].buffer", like))
    held = held if isinstance(held, ring.Ring) else held.ring
    capacity, size = agent.config[f"{agent.config['replay']}.capacity"], int(held.size)
    steps = size // n
    oldest = int(held.place) - steps * n if size == capacity else 0
    order = (oldest + np.arange(steps * n).reshape(steps, n).T) % capacity
    rows: Rollout = jax.tree.map(lambda leaf: np.asarray(leaf)[ring.margin(capacity) + order], held.items)
    begins = np.zeros(n, int)
    if size == capacity:
        ends = rows.timestep.last
        begins = np.where(ends.any(1), ends.argmax(1) + 1, steps)
    kept = np.arange(steps) >= begins[:, None]
    if not kept.any():
        raise UsageError("the replay buffer holds no whole episode: give it a larger capacity.")
    rows = jax.tree.map(lambda leaf: leaf[kept], rows)
    after = rows.timestep
    return Dataset(
        obs=rows.start.obs,
        action=rows.action,
        reward=after.reward,
        discount=after.discount,
        last=after.last,
        next_obs=after.next_obs,
        extras={name: leaf for name, leaf in after.extras.items() if name in env.spec.extras},
        facts={"streams": [int(length) for length in kept.sum(1) if length]},
    )


def _even(random: np.random.Generator, spec: EnvSpec, n: int) -> np.ndarray:
    match spec.action:
        case Box(low=low, high=high):
            return random.uniform(low, high, (n, len(low))).astype(np.float32)
        case MultiDiscrete(n=sizes):
            return random.integers(0, sizes, (n, len(sizes))).astype(np.int32)
        case Discrete(n=choices):
            return random.integers(0, choices, n).astype(np.int32)


def _played(play: Play, begin: Callable[[int], Any], decide: Callable[..., Any]) -> Dataset:
    """Steps environments side by side, each for a stream of its own, until there are enough transitions.

    `decide(step, carry, timestep) -> (action, carry)`; `begin(n) -> carry`.
    """
    spec = play.env.spec
    n = int(np.clip(play.size // (EPISODES * (spec.max_steps or LENGTH)), 1, MOST))
    length = -(-play.size // n)
    maker = play.env if isinstance(play.env, HostMaker) else host_view(play.env)
    engine = maker.open(seed=play.seed, n=n)
    rows: list[dict[str, Any]] = []
    try:
        with Progress(play.size, play.label, quiet=play.quiet, unit="transitions") as progress:
            timestep, carry = actor.settled(np, engine.reset()), begin(n)
            for step in range(length):
                action, carry = decide(step, carry, timestep)
                action = np.asarray(action)
                after = actor.stayed(np, timestep.obs, actor.settled(np, engine.step(action)))
                rows.append(_row(spec, timestep, action, after))
                timestep = after
                progress.update(min(play.size, (step + 1) * n), {})
    finally:
        engine.close()

    def joined(*leaves: np.ndarray) -> np.ndarray:
        stacked = np.stack(leaves, 1)  # one environment after the other
        return stacked.reshape(-1, *stacked.shape[2:])[: play.size]

    whole, rest = divmod(play.size, length)
    streams = [length] * whole + [rest] * (rest > 0)
    return Dataset(**jax.tree.map(joined, *rows), facts={"streams": streams})


def _row(spec: EnvSpec, before: TimeStep, action: np.ndarray, after: TimeStep) -> dict[str, Any]:
    """One step of every environment, `[n, ...]`; copies, for an engine may write into its arrays again."""
    row = {
        "obs": before.obs,
        "action": action,
        "reward": after.reward,
        "discount": after.discount,
        "last": after.last,
        "next_obs": after.next_obs,
        "extras": {name: after.extras[name] for name in spec.extras},
    }
    return jax.tree.map(np.array, row)
