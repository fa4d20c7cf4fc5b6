"""Environment steps per second of MiniGrid on the device, alone: random actions, images with occlusion, resets."""

import time

from scripts.benchmarks.benchmark import Benchmark, Measured, Peer

DOORS, CORRIDOR, ROOMS = "MiniGrid-DoorKey-8x8-v0", "MiniGrid-KeyCorridorS6R3-v0", "MiniGrid-MultiRoom-N6-v0"
BATCHES = (256, 1024, 4096, 16384)
STEPS = 64  # in one compiled call
LEVELS = 2000


def measure(seconds: int) -> Measured:
    """The best rate over batch sizes on each task; `value` is that of KeyCorridorS6R3."""
    found = {task: {n: rate(task, n, seconds / len(BATCHES)) for n in BATCHES} for task in (DOORS, CORRIDOR, ROOMS)}
    best = {task: max(rates.values()) for task, rates in found.items()}
    sizes = {f"batch of {task}": max(rates, key=lambda n: rates[n]) for task, rates in found.items()}
    return Measured(best[CORRIDOR], {"env": CORRIDOR, **sizes}, best)


def rate(task: str, n: int, seconds: float) -> float:
    """Steps per second of a batch of `n`; every TimeStep is made whole, the images of both `obs` and `next_obs`."""
    import jax
    import jax.numpy as jnp

    import envs
    from envs.contract import Env

    env = envs.make(task, backend="device", levels=levels(task), count=LEVELS)
    assert isinstance(env, Env)
    batch = envs.batch(env, n)

    def roll(key, states, timestep, data):
        def step(carry, key):
            act_key, env_key = jax.random.split(key)
            actions = jax.random.bits(act_key, (n,), jnp.uint8).astype(jnp.int32) % 7
            return batch.step(env_key, carry[0], actions, data), None

        return jax.lax.scan(step, (states, timestep), jax.random.split(key, STEPS))[0]

    roll = jax.jit(roll, donate_argnums=(1, 2))
    # Apart from one another in time, as they are once a run is on its way, so that episodes do not end all at once.
    states, timestep = jax.jit(batch.reset)(jax.random.key(0), env.data)
    states = states._replace(steps=jnp.arange(n, dtype=jnp.int32) % env.spec.max_steps)
    carry = jax.block_until_ready(roll(jax.random.key(0), states, timestep, env.data))
    calls, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        carry = jax.block_until_ready(roll(jax.random.key(calls), *carry, env.data))
        calls += 1
    return calls * STEPS * n / (time.perf_counter() - began)


def levels(task: str) -> str:
    """Where the levels come from: DoorKey has no generator, so its bank is made where there is none yet."""
    from envs.minigrid import bank, build

    if task != DOORS:
        return "generated"
    build.build(bank.find_task(task), levels=LEVELS)
    return "bank"


BENCHMARK = Benchmark(
    doc="MiniGrid on the device alone: random actions, images with occlusion, resets; DoorKey, KeyCorridor, MultiRoom",
    unit="env steps/s",
    amounts=(6, 60),
    amount="seconds for each task on each side",
    measure=measure,
    peers={
        "xminigrid": Peer("XLand-MiniGrid, no occlusion", "xminigrid", "xminigrid_steps.py", (DOORS[:-3],), DOORS),
        "envpool": Peer("EnvPool on the same task", "envpool", "envpool_steps.py", (CORRIDOR,), CORRIDOR),
        "envpool_rooms": Peer("EnvPool, whose levels are faulty", "envpool", "envpool_steps.py", (ROOMS,), ROOMS),
    },
)
