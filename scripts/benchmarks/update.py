"""Milliseconds of one learner's update of BeBold, and of its parts compiled apart."""

import time
from collections.abc import Callable

from scripts.benchmarks.benchmark import Benchmark, Measured


def measure(repeats: int) -> Measured:
    """The shortest of so many updates on one unroll; nothing else runs meanwhile."""
    import jax

    from agents import onpolicy
    from agents.auxiliary import pipeline as hooks
    from agents.training import learner
    from scripts.benchmarks import fast_bebold

    agent, loop = fast_bebold.agent(), fast_bebold.loop()
    try:
        loop.start()
        tree = loop.tree()
    finally:
        loop.close()
    moved, rollout = tree["learner"], jax.device_put(tree["pending"])
    base = fast_bebold.base(loop.spec)
    key = jax.random.key(0)

    def watch(moved, rollout):
        def step(memory, timestep):
            return agent.observe(moved.state, memory, timestep)

        return jax.lax.scan(step, moved.memory, rollout.timestep)[1]

    def learn(moved, rollout):
        return learner.learn(agent, loop.spec, key, moved, rollout, jax.numpy.float32(0))

    def bonus(state, rollout):
        states, output, _ = hooks.step(base.pipeline, key, state.auxiliaries, rollout, onpolicy.host(base, state))
        return states, output.bonus  # with the states, or the compiler would leave the predictor's training out

    def evaluate(state, rollout):
        return onpolicy.evaluate(base, state.params, state.variables, rollout).value_t

    seen = rollout._replace(extras={**rollout.extras, **jax.jit(watch)(moved, rollout)})
    whole = shortest(jax.jit(learn), repeats, moved, rollout)
    parts = {
        "first visits": shortest(jax.jit(watch), repeats, moved, rollout),
        "bonus": shortest(jax.jit(bonus), repeats, moved.state, seen),
        "evaluate": shortest(jax.jit(evaluate), repeats, moved.state, seen),
    }
    parts["epochs and the rest"] = whole - sum(parts.values())
    config = {"steps": loop.steps_per_update, **{f"{name} (ms)": value for name, value in parts.items()}}
    return Measured(whole, config)


def shortest(function: Callable, repeats: int, *arguments) -> float:
    """The shortest of several calls in milliseconds, after one that compiles."""
    import jax

    jax.block_until_ready(function(*arguments))
    found = []
    for _ in range(repeats):
        began = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        found.append(time.perf_counter() - began)
    return 1e3 * min(found)


BENCHMARK = Benchmark(
    doc="one update of BeBold (preset fast) on an unroll that lies ready: the shortest of several",
    unit="ms",
    amounts=(20, 200),
    amount="repeats",
    measure=measure,
    peers={},
)
