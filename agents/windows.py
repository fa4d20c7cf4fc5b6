"""Windows of unrolls, embedded by a recurrent agent's memory: what on-policy agents lend to contrastive objectives."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from agents.agent import Rollout, Windows
from envs.contract import PyTree
from envs.errors import UsageError


def of_unrolls(apply: Callable, begin: Callable[[int], PyTree], width: int) -> Windows:
    """Stretches of each environment's unroll within one episode, and the memory's output after their last step.

    Args:
      apply: as `Host.apply`.
      begin: `(n) -> carry`, an empty memory.
      width: of that output.
    """

    def draw(key: jax.Array, rollout: Rollout, length: int) -> tuple[PyTree, jax.Array]:
        first = rollout.first
        steps, n = first.shape
        if steps < length:
            raise UsageError(f"a window of {length} steps is longer than an unroll of {steps}: take a larger unroll.")
        # Episodes that have begun before each step; a stretch within one crosses no beginning.
        begun = jnp.cumsum(first, 0)
        whole = begun[length - 1 :] == begun[: steps - length + 1]
        start = jax.random.categorical(key, jnp.where(whole, 0.0, -jnp.inf).T)
        known = whole.any(0)
        times = jnp.where(known, start, 0)[:, None] + jnp.arange(length)
        return jax.tree.map(lambda leaf: leaf[times, jnp.arange(n)[:, None]], rollout.obs), known

    def same(rollout: Rollout) -> jax.Array:
        extras = rollout.timestep.extras
        if "task_id" in extras:
            task = extras["task_id"][0]
            return task[:, None] == task[None]
        return jnp.eye(rollout.timestep.last.shape[1], dtype=bool)

    def embed(params: PyTree, windows: PyTree) -> tuple[jax.Array, jax.Array]:
        obs = jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), windows)
        length, n = jax.tree.leaves(obs)[0].shape[:2]
        first = jnp.broadcast_to(jnp.arange(length)[:, None] == 0, (length, n))
        mean = apply(params, obs, begin(n), first).features[-1]
        return mean, jnp.zeros_like(mean)

    return Windows(draw=draw, same=same, part=lambda params: params, embed=embed, width=width)
