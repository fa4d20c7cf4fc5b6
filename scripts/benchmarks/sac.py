"""SAC with simulation: gradient updates per second on HalfCheetah, beside the same update in a bare loop.

Two critics and a policy of 256x256, batches of 256, one update for each environment step. The bare loop makes updates
on samples of a full buffer and steps no environment: what the loop around it costs is the rest.
"""

import time
from typing import Any

from scripts.benchmarks.benchmark import Benchmark, Measured, Peer

TASK = "HalfCheetah-v5"
UNROLL = 50  # steps between two rounds of as many updates, in one call of the compiled learner
WARM_UP = 3  # rounds before the clock starts


def measure(seconds: int) -> Measured:
    """Runs the host loop for so many seconds, and then the bare updates."""
    import agents
    import envs
    from agents.networks.actor_critic import count
    from agents.training.config import TrainConfig
    from agents.training.host_loop import HostLoop
    from agents.training.setup import prepare
    from envs import wrappers
    from envs.contract import HostMaker

    prepare(TrainConfig())
    maker = envs.make(TASK, backend="host")
    assert isinstance(maker, HostMaker)
    options: dict[str, Any] = {"warmup": UNROLL, "unroll": UNROLL, "uniform.capacity": 100_000}
    agent = agents.make("sac", maker.spec, **options)
    loop = HostLoop(agent, maker, wrappers.parse(""), n=1, seed=0)
    try:
        loop.start()
        for _ in range(6 + WARM_UP):  # a batch must be there before updates are made
            loop.advance()
        began = at = time.perf_counter()
        rounds, waited = 0, {"actor_waited": 0.0, "learner_waited": 0.0}
        while at - began < seconds:
            before = at
            clock = loop.advance().clock
            at = time.perf_counter()
            rounds += 1
            waited = {name: total + clock[name] * (at - before) for name, total in waited.items()}
        rate = rounds * UNROLL / (at - began)
        moved = loop.learner
        bare = bare_rate(agent, moved.state, moved.buffer, seconds)
    finally:
        loop.close()
    config = {
        "env": TASK,
        "parameters": count(moved.state.params),
        "updates for each step": 1,
        "of the bare loop's rate": rate / bare,
        **{f"{name} (share of the time)": total / (at - began) for name, total in waited.items()},
    }
    return Measured(rate, config, {"bare": bare})


def bare_rate(agent: Any, state: Any, buffer: Any, seconds: float) -> float:
    """Updates per second in a compiled loop over samples of a buffer that does not change."""
    import jax

    from agents.agent import Sample

    def one(state: Any, key: jax.Array) -> tuple[Any, None]:
        sample_key, update_key = jax.random.split(key)
        sample = Sample(*agent.feed.buffer.sample(sample_key, buffer, agent.feed.size))
        return agent.update(update_key, state, sample)[0], None

    many = jax.jit(lambda state, key: jax.lax.scan(one, state, jax.random.split(key, UNROLL))[0])
    state = jax.block_until_ready(many(state, jax.random.key(0)))
    began, rounds = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        state = jax.block_until_ready(many(state, jax.random.key(rounds)))
        rounds += 1
    return rounds * UNROLL / (time.perf_counter() - began)


BENCHMARK = Benchmark(
    doc="SAC on HalfCheetah through EnvPool, one update of batch 256 for each step, 256x256",
    unit="updates/s",
    amounts=(10, 60),
    amount="seconds on each side",
    measure=measure,
    peers={
        "sb3": Peer("Stable-Baselines3 SAC, the same sizes", "stable_baselines3", "sb3_sac.py", (TASK,)),
        "sbx": Peer("SBX SAC (JAX), the same sizes", "sbx", "sbx_sac.py", (TASK,)),
    },
)
