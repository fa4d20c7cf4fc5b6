"""Records per second that the buffers on the device add, sample and give priorities to, in a compiled loop."""

import time
from collections.abc import Callable
from typing import Any

from scripts.benchmarks.benchmark import Benchmark, Measured, Peer

CAPACITY = 1_000_000
BATCH = 256
ROUNDS = 20  # in one compiled call
WORK = ("uniform add", "uniform sample", "prioritised add", "prioritised sample", "prioritised update")


def measure(seconds: int) -> Measured:
    """Records per second of each kind of work; the value is that of drawing by priority, the costliest."""
    import jax

    from replay import prioritised, sizes, uniform

    buffers = {"uniform": uniform.make(capacity=CAPACITY), "prioritised": prioritised.make(capacity=CAPACITY)}
    found = {work: rate(buffers[work.split()[0]], work.split()[1], seconds) for work in WORK}
    config = {
        "batch": BATCH,
        "capacity": CAPACITY,
        "storage": sizes.words(sizes.state_size(buffers["prioritised"], transition())),
        "device": jax.devices()[0].device_kind,
    }
    return Measured(found["prioritised sample"], config, found)


def transition() -> dict[str, Any]:
    """One of HalfCheetah's."""
    import jax.numpy as jnp

    one = jnp.zeros(())
    return {"obs": jnp.zeros(17), "action": jnp.zeros(6), "reward": one, "discount": one, "next_obs": jnp.zeros(17)}


def rate(buffer: Any, work: str, seconds: float) -> float:
    """Records per second of one kind of work on a buffer, in the fastest of many calls."""
    import jax
    import jax.numpy as jnp

    items = jax.tree.map(lambda leaf: jnp.ones((BATCH, *leaf.shape)), transition())

    def one(state: Any, key: jax.Array) -> tuple[Any, Any]:
        if work == "add":
            return buffer.add(state, items), 0.0
        if work == "sample":
            batch, _, weight = buffer.sample(key, state, BATCH)
            return state, sum(leaf.sum() for leaf in jax.tree.leaves(batch)) + weight.sum()
        places = (jax.random.bits(key, (BATCH,)) % CAPACITY).astype(jnp.int32)
        return buffer.update(state, places, jax.random.uniform(key, (BATCH,))), 0.0

    state = jax.jit(buffer.add, donate_argnums=0)(jax.jit(buffer.init)(transition()), items)
    return BATCH * ROUNDS / fastest(one, state, seconds)


def fastest(one: Callable[..., Any], state: Any, seconds: float) -> float:
    """Seconds of the fastest call of `ROUNDS` times `one`, the state donated."""
    import jax

    def rounds(state: Any, key: jax.Array) -> Any:
        def each(_: Any, carry: Any) -> Any:
            state, told, key = carry
            key, own = jax.random.split(key)
            state, more = one(state, own)
            return state, told + more, key

        return jax.lax.fori_loop(0, ROUNDS, each, (state, 0.0, key))[:2]

    run = jax.jit(rounds, donate_argnums=0)
    state, _ = jax.block_until_ready(run(state, jax.random.key(0)))
    best, began, calls = float("inf"), time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        calls += 1
        key = jax.block_until_ready(jax.random.key(calls))
        start = time.perf_counter()
        state, _ = jax.block_until_ready(run(state, key))
        best = min(best, time.perf_counter() - start)
    return best


BENCHMARK = Benchmark(
    doc="adding, drawing and giving priorities to 256 of a million transitions of HalfCheetah, compiled",
    unit="records/s",
    amounts=(3, 20),
    amount="seconds for each kind of work on each side",
    measure=measure,
    peers={
        f"flashbax_{work.replace(' ', '_')}": Peer(
            f"flashbax, {work}", "flashbax", "flashbax_replay.py", tuple(work.split()), against=work
        )
        for work in WORK
        if not work.endswith("update")  # some loops make XLA copy flashbax's tree at every write: no yardstick
    },
)
