"""What the tests of bonuses with an embedding share: walks in a small world, one with an end in it; running a bonus."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from agents.agent import Host, Rollout
from agents.auxiliary import pipeline as hooks
from agents.auxiliary.auxiliary import Auxiliary
from agents.auxiliary.pipeline import Pipeline
from agents.auxiliary.rewards import dynamics
from envs.contract import Action, Array, Box, Discrete, EnvSpec, TimeStep

T, B = 12, 2
END = (6, 1)  # the step and the environment whose episode ends
SPEC = EnvSpec("Walks-v0", "0", Array((3,), "float32"), Discrete(3), {}, max_steps=T)


def rollout(seed: int = 0, action: Action = SPEC.action) -> Rollout:
    """Three numbers mod 2, of which each action pushes one on, so that states come back; a box pushes them all."""
    rng = np.random.default_rng(seed)
    boxed = isinstance(action, Box)
    acts = rng.uniform(-1, 1, (T, B, 3)).astype(np.float32) if boxed else rng.integers(0, 3, (T, B))
    pushes = acts if boxed else np.eye(3, dtype=np.float32)[acts]
    last = np.zeros((T, B), bool)
    last[END] = True
    obs, next_obs = np.zeros((T + 1, B, 3), np.float32), np.zeros((T, B, 3), np.float32)
    for t in range(T):
        next_obs[t] = (obs[t] + pushes[t]) % 2
        obs[t + 1] = np.where(last[t][:, None], 1.0, next_obs[t])
    zeros, ones = np.zeros((T + 1, B), np.float32), np.ones((T + 1, B), np.float32)
    start = TimeStep(obs[0], zeros[0], ones[0], np.zeros(B, bool), obs[0], {})
    return Rollout((), start, acts, {}, TimeStep(obs[1:], zeros[1:], ones[1:], last, next_obs, {}))


def lend(name: str, spec: EnvSpec = SPEC) -> Host:
    """What an agent lends."""
    return Host(None, None, None, None, spec, {f"{name}.coef": np.ones((), np.float32)})


def fresh(member: Auxiliary, spec: EnvSpec = SPEC) -> Any:
    """A bonus's first state."""
    assert member.init
    return jax.jit(lambda key: member.init(key, lend(member.name, spec)))(jax.random.key(1))


def watcher(member: Auxiliary, spec: EnvSpec = SPEC):
    """`(state, batch) -> extras`: what is observed over an unroll from the start of its episodes."""
    pipeline = Pipeline((member,), spec)

    def watch(state, batch):
        states = {member.name: state}
        memory, _ = hooks.observe(pipeline, states, hooks.remember(pipeline, B), hooks.restart(batch.start))
        _, extras = jax.lax.scan(lambda m, t: hooks.observe(pipeline, states, m, t), memory, batch.timestep)
        return {name.removeprefix(f"{member.name}/"): leaf for name, leaf in extras.items()}

    return jax.jit(watch)


def updater(member: Auxiliary, spec: EnvSpec = SPEC):
    """`(state, batch, seed) -> (state, bonus, metrics, extras)`: an unroll from the start of its episodes, one step."""
    watch = watcher(member, spec)

    @jax.jit
    def update(state, batch, seed=0):
        assert member.step
        extras = watch(state, batch)
        lent = lend(member.name, spec)
        state, bonus, metrics = member.step(jax.random.key(seed), state, batch._replace(extras=extras), lent)
        return state, bonus, metrics, extras

    return update


def embedded(nets: dynamics.Dynamics, params: Any, batch: Rollout) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Embeddings of what was acted on, of the true successors, and of what was acted on next, `[T, B, D]` each."""
    rows = jnp.stack([batch.obs, batch.timestep.next_obs, batch.timestep.obs])
    now, successor, later = np.asarray(jax.jit(lambda rows: dynamics.embed(nets, params, rows))(rows), np.float64)
    return now, successor, later


def leaks(update, state, batch) -> bool:
    """Whether any gradient flows from the bonus into the state's parameters."""
    slope = jax.jit(jax.grad(lambda state: update(state, batch)[1].sum(), allow_int=True))(state)
    numbers = [leaf for leaf in jax.tree.leaves(slope) if leaf.dtype != jax.dtypes.float0]
    return any(np.any(leaf) for leaf in numbers)
