"""BeBold on the device, everything in one compiled program: its speed, and what stands beside acting and learning."""

import time
from typing import Any

from scripts.benchmarks.benchmark import TASK, Benchmark, Measured, Peer

WARM_UP = 2  # updates before the clock starts
SEEDS = 8


def measure(seconds: int) -> Measured:
    """Steps per second of a single seed; also the share of environment, bonus and metrics, and the cost of 8 seeds."""
    from agents.networks.actor_critic import count
    from scripts.benchmarks import fast_bebold

    cold = compile_seconds()
    one = fast_bebold.device_loop(seeds=1)
    each = update_seconds(one, seconds)
    learning = bare_seconds(seconds)
    several = update_seconds(fast_bebold.device_loop(seeds=SEEDS), seconds)
    config: dict[str, Any] = {
        "agent": "bebold, preset fast",
        "env": TASK,
        "parameters": count(one.learner.state.params),
        "cold compile (s)": cold,
        "acting and learning alone on stored observations (steps/s)": one.steps_per_update / learning,
        "environment, bonus and metrics add": each / learning - 1,
        f"{SEEDS} seeds at once (steps/s)": SEEDS * one.steps_per_update / several,
        f"{SEEDS} seeds take, times one": several / each,
    }
    return Measured(one.steps_per_update / each, config)


def update_seconds(loop: Any, seconds: float) -> float:
    """Seconds of one update of a device loop, over calls of several updates each."""
    loop.start()
    loop.advance(count=WARM_UP)
    updates, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        loop.advance(count=4)
        updates += 4
    return (time.perf_counter() - began) / updates


def bare_seconds(seconds: float) -> float:
    """Seconds of acting on the observations of one unroll, and of learning from it, without environment or bonus."""
    import jax
    import jax.numpy as jnp

    from agents.training import learner
    from scripts.benchmarks import fast_bebold

    agent, rollout = fast_bebold.plain_agent(), fast_bebold.rollout()
    n = rollout.timestep.last.shape[1]
    state = learner.with_progress(agent.init(jax.random.key(0), fast_bebold.device_env().spec), jnp.zeros(()))

    def both(state: Any, key: jax.Array, rollout: Any) -> Any:
        def act(carry: Any, inputs: Any) -> tuple[Any, Any]:
            timestep, key = inputs
            action, carry, extras = agent.act(key, state, carry, timestep, False)
            return carry, (action, extras)

        act_key, learn_key = jax.random.split(key)
        keys = jax.random.split(act_key, rollout.timestep.last.shape[0])
        _, (action, extras) = jax.lax.scan(act, agent.begin(state, n), (rollout.timestep, keys))
        return agent.update(learn_key, state, rollout._replace(action=action, extras=extras))

    run = jax.jit(both, donate_argnums=0)
    for number in range(WARM_UP):
        state, _ = run(state, jax.random.key(number), rollout)
    updates, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        state, metrics = run(state, jax.random.key(updates), rollout)
        jax.block_until_ready(metrics)
        updates += 1
    return (time.perf_counter() - began) / updates


def compile_seconds() -> float:
    """Seconds to trace and compile the whole training call, with nothing in the cache of compiled programs."""
    import jax

    from scripts.benchmarks import fast_bebold

    jax.config.update("jax_enable_compilation_cache", False)
    try:
        loop = fast_bebold.device_loop(seeds=1)
        loop.start()
        began = time.perf_counter()
        loop.advance(count=1)
        first = time.perf_counter() - began
        began = time.perf_counter()
        loop.advance(count=1)
        return first - (time.perf_counter() - began)
    finally:
        jax.config.update("jax_enable_compilation_cache", True)


BENCHMARK = Benchmark(
    doc="BeBold end to end on the device (act, step, bonus, learn, metrics) on KeyCorridorS3R3",
    unit="env steps/s",
    amounts=(8, 60),
    amount="seconds for each part on each side",
    measure=measure,
    peers={
        "sb3": Peer("Stable-Baselines3 PPO, MlpPolicy, 8 envs, no bonus", "stable_baselines3", "sb3_ppo.py", (TASK,)),
    },
)
