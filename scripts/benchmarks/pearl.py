"""PEARL's meta-updates per second on HalfCheetah with a hidden speed, at the published sizes.

One update infers 16 tasks from 100 transitions each and learns from 256 records of each. On both sides records are
drawn from full buffers of 100 tasks, which random numbers fill, and nothing else runs. The peer's file has the same
numbers.
"""

import time
from typing import Any

from scripts.benchmarks.benchmark import Benchmark, Measured, Peer

TASK = "HalfCheetahVel-v5"
OBS, ACTION = 17, 6
TASKS, RECORDS, CONTEXTS = 100, 2_000, 400  # and what the buffers hold of each task
UPDATES = 20  # in one compiled call
SIZES: dict[str, Any] = {
    "meta_batch": 16,
    "batch": 256,
    "context": 100,
    "latent": 5,
    "encoder_hidden": (200, 200, 200),
    "hidden": (300, 300, 300),
}


def measure(updates: int) -> Measured:
    """Times at least so many updates."""
    import jax

    import agents
    import envs
    from agents.networks.actor_critic import count
    from agents.training.config import TrainConfig
    from agents.training.setup import prepare

    prepare(TrainConfig())
    spec = envs.make(TASK, backend="host", tasks=TASKS).spec
    steps = spec.trial * spec.max_steps * TASKS  # of one round, with an environment for each task
    rooms: dict[str, Any] = {"recent": CONTEXTS, "per_task.capacity": RECORDS}
    agent = agents.make("pearl", spec, envs=TASKS, ratio=UPDATES / steps, **rooms, **SIZES)
    state, buffer = jax.block_until_ready(filled(agent, spec))
    many = jax.jit(agent.update, donate_argnums=1)

    state, _ = jax.block_until_ready(many(jax.random.key(0), state, buffer))  # compiles
    calls = -(-updates // UPDATES)
    began = time.perf_counter()
    for call in range(calls):
        state, metrics = jax.block_until_ready(many(jax.random.key(1 + call), state, buffer))
    seconds = time.perf_counter() - began
    assert int(state.updates) == (1 + calls) * UPDATES
    config = {
        "env": TASK,
        "parameters": count(state.params),
        "loss of the critics": float(metrics["critic_loss"]),
        "device": jax.devices()[0].device_kind,
    }
    return Measured(calls * UPDATES / seconds, config)


def filled(agent: Any, spec: Any) -> tuple[Any, Any]:
    """The agent's first state, and its buffer full of random steps, all with a latent from the prior."""
    import jax
    import jax.numpy as jnp

    from agents.agent import Rollout, single_steps, stored
    from agents.training import learner
    from envs.contract import TimeStep

    def numbers(length: int) -> TimeStep:
        """Timesteps `[length, TASKS, ...]`, the tasks in order."""
        shape = length, TASKS
        extras = {name: jnp.zeros((*shape, *array.shape), array.dtype) for name, array in spec.extras.items()}
        extras["task_id"] = jnp.broadcast_to(jnp.arange(TASKS, dtype=jnp.int32), shape)
        obs_key, reward_key = jax.random.split(jax.random.key(length))
        obs = jax.random.normal(obs_key, (*shape, *spec.obs.shape))
        return TimeStep(obs, jax.random.normal(reward_key, shape), jnp.ones(shape), jnp.zeros(shape, bool), obs, extras)

    def fill() -> tuple[Any, Any]:
        first = jax.tree.map(lambda leaf: leaf[0], numbers(1))
        moved = learner.init(agent, jax.random.key(0), spec, first, TASKS)
        after = numbers(RECORDS)
        action = jax.random.uniform(jax.random.key(1), (RECORDS, TASKS, len(spec.action.low)), minval=-1.0)
        rollout = Rollout((), first, action, {"prior": jnp.ones((RECORDS, TASKS), bool)}, after)
        return moved.state, agent.feed.buffer.add(moved.buffer, stored(single_steps(rollout)))

    return jax.jit(fill)()


BENCHMARK = Benchmark(
    doc="PEARL's meta-updates: 16 tasks, 100 transitions of context and 256 records of each, 300x300x300",
    unit="updates/s",
    amounts=(200, 2_000),
    amount="updates on each side",
    measure=measure,
    peers={
        "torch_pearl": Peer(
            "PEARL in PyTorch as it comes, the same sizes, two threads",
            "torch",
            "torch_pearl.py",
            ("default", str(OBS), str(ACTION)),
        ),
        "torch_pearl_onednn": Peer(
            "the same, its products by oneDNN instead of MKL",
            "torch",
            "torch_pearl.py",
            ("onednn", str(OBS), str(ACTION)),
        ),
    },
)
