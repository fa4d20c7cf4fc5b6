"""flashbax's item buffers: `flashbax_replay.py KIND WORK SECONDS` prints records per second.

KIND is uniform or prioritised, WORK add or sample. A million transitions of HalfCheetah's shape, 256 at once,
in a compiled loop on a donated state; the fastest of many calls counts. The prioritised buffer tells probabilities, of
which the importance weights are computed as a learner must.
"""

import sys
import time
import warnings

import flashbax  # type: ignore[import-untyped]
import jax
import jax.numpy as jnp

CAPACITY = 1_000_000
BATCH = 256
ROUNDS = 20  # in one compiled call


def main(kind: str, work: str, seconds: float) -> float:
    """Records per second."""
    warnings.simplefilter("ignore")
    shape = {"max_length": CAPACITY, "min_length": 1, "sample_batch_size": BATCH, "add_batches": True}
    if kind == "uniform":
        buffer = flashbax.make_item_buffer(**shape)
    else:
        backend = jax.default_backend()
        buffer = flashbax.make_prioritised_item_buffer(**shape, priority_exponent=0.6, device=backend)
    one = jnp.zeros(())
    item = {"obs": jnp.zeros(17), "action": jnp.zeros(6), "reward": one, "discount": one, "next_obs": jnp.zeros(17)}
    items = jax.tree.map(lambda leaf: jnp.ones((BATCH, *leaf.shape)), item)

    def once(state, key):
        if work == "add":
            return buffer.add(state, items), 0.0
        drawn = buffer.sample(state, key)
        told = sum(leaf.sum() for leaf in jax.tree.leaves(drawn.experience))
        if kind == "prioritised":
            weight = (CAPACITY * drawn.probabilities) ** -0.4
            told += (weight / weight.max()).sum()
        return state, told

    def each(_, carry):
        state, told, key = carry
        key, own = jax.random.split(key)
        state, more = once(state, own)
        return state, told + more, key

    run = jax.jit(lambda state, key: jax.lax.fori_loop(0, ROUNDS, each, (state, 0.0, key))[:2], donate_argnums=0)
    state = jax.jit(buffer.add, donate_argnums=0)(buffer.init(item), items)
    state, _ = jax.block_until_ready(run(state, jax.random.key(0)))
    best, began, calls = float("inf"), time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        calls += 1
        key = jax.block_until_ready(jax.random.key(calls))
        start = time.perf_counter()
        state, _ = jax.block_until_ready(run(state, key))
        best = min(best, time.perf_counter() - start)
    return BATCH * ROUNDS / best


if __name__ == "__main__":
    print(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
