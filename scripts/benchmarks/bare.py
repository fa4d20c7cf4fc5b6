"""Bare updates: an agent's update compiled in a loop over samples of a buffer, without an environment."""

import time
from collections.abc import Callable
from typing import Any

UPDATES = 20  # in one compiled call
FILL = 2_000  # records in the buffer
TASK = "PointMass-v0"  # small, with a cost where one is asked for: the networks are nearly all of the work


def updates(agent: str, seeds: int = 1, **options: Any) -> Callable[[int], None]:
    """`call(number)`: `UPDATES` updates of an agent, of many seeds side by side by `vmap`, on samples of one buffer.

    The buffer was filled by an untrained policy on `TASK` under a speed limit.
    """
    import jax

    import agents
    import envs
    from agents.agent import Replay, Sample
    from agents.training.device_loop import DeviceLoop
    from envs import wrappers
    from envs.contract import Env

    env = envs.make(TASK, speed_limit=0.5)
    assert isinstance(env, Env)
    made = agents.make(agent, env.spec, **{"envs": 8, "warmup": 10 * FILL, "uniform.capacity": 10_000, **options})
    feed = made.feed
    assert isinstance(feed, Replay)
    loop = DeviceLoop(made, env, wrappers.parse(""), n=8, seeds=(0,))
    loop.start()
    loop.advance(count=FILL // 8)
    buffer, state = jax.tree.map(lambda leaf: leaf[0], (loop.learner.buffer, loop.learner.state))
    states = jax.tree.map(lambda leaf: jax.numpy.stack([leaf] * seeds), state)

    def one(state: Any, key: jax.Array) -> Any:
        sample_key, update_key = jax.random.split(key)
        return made.update(update_key, state, Sample(*feed.buffer.sample(sample_key, buffer, feed.size)))[0]

    def each(states: Any, key: jax.Array) -> tuple[Any, None]:
        if seeds == 1:  # not mapped over: `vmap` would take both sides of every branch
            after = one(jax.tree.map(lambda leaf: leaf[0], states), key)
            return jax.tree.map(lambda leaf: leaf[None], after), None
        return jax.vmap(one)(states, jax.random.split(key, seeds)), None

    many = jax.jit(lambda states, key: jax.lax.scan(each, states, jax.random.split(key, UPDATES))[0], donate_argnums=0)
    held = [many(states, jax.random.key(0))]

    def call(number: int) -> None:
        held[0] = jax.block_until_ready(many(held[0], jax.random.key(number)))

    return call


def rates(calls: dict[str, Callable[[int], None]], seconds: float) -> dict[str, float]:
    """Updates of every seed per second, each in its fastest call; the calls take turns, so that all see one machine."""
    fastest = dict.fromkeys(calls, float("inf"))
    for call in calls.values():
        call(0)
    began, number = time.perf_counter(), 0
    while time.perf_counter() - began < seconds * len(calls):
        number += 1
        for name, call in calls.items():
            at = time.perf_counter()
            call(number)
            fastest[name] = min(fastest[name], time.perf_counter() - at)
    return {name: UPDATES / time for name, time in fastest.items()}
