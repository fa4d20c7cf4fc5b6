"""XLand-MiniGrid alone: `xminigrid_steps.py TASK SECONDS` prints steps per second with random actions and resets.

The whole rollout is one jitted scan over a batch of environments; the best of several batch sizes counts.
"""

import sys
import time

import jax
import jax.numpy as jnp
import xminigrid
from xminigrid.wrappers import GymAutoResetWrapper

BATCHES = (256, 1024, 4096)
STEPS = 64  # in one compiled call


def rate(task: str, n: int, seconds: float) -> float:
    """Steps per second of `n` environments."""
    env, params = xminigrid.make(task)
    env = GymAutoResetWrapper(env)
    reset = jax.jit(jax.vmap(env.reset, in_axes=(None, 0)))

    def roll(key, timestep):
        def step(timestep, key):
            actions = jax.random.randint(key, (n,), 0, env.num_actions(params))
            return jax.vmap(env.step, in_axes=(None, 0, 0))(params, timestep, actions), None

        return jax.lax.scan(step, timestep, jax.random.split(key, STEPS))[0]

    roll = jax.jit(roll, donate_argnums=1)
    timestep = reset(params, jax.random.split(jax.random.key(0), n))
    timestep = jax.block_until_ready(roll(jax.random.key(0), timestep))
    calls, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        timestep = jax.block_until_ready(roll(jax.random.key(calls), timestep))
        calls += 1
    return calls * STEPS * n / (time.perf_counter() - began)


def main(task: str, seconds: float) -> float:
    """The best rate over the batch sizes, each measured for an equal share of the time."""
    return max(rate(task, n, seconds / len(BATCHES)) for n in BATCHES)


if __name__ == "__main__":
    jnp.zeros(())  # JAX starts before the clock does
    print(main(sys.argv[1], float(sys.argv[2])))
