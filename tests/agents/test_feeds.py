"""The feeds beside unrolls: a ring buffer and a Q-learner of a few lines, in both loops, by seeds and by resume."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from agents.agent import Agent, Replay, State, Whole
from agents.training import checkpoints
from agents.training.device_loop import DeviceLoop
from agents.training.evaluation import host_view
from agents.training.host_loop import HostLoop
from envs.wrappers import parse
from replay.buffer import Buffer

CHAIN = envs.make("Chain-v0", length=4)
STATES, SIZE = 4, 512


class Ring(NamedTuple):
    items: Any
    priority: jax.Array
    added: jax.Array


def ring(size=SIZE) -> Buffer:
    """The latest `size` records, drawn uniformly; priorities are only kept, to show that they arrive."""

    def init(item):
        stored = jax.tree.map(lambda leaf: jnp.zeros((size, *leaf.shape), leaf.dtype), item)
        return Ring(stored, jnp.zeros(size), jnp.zeros((), jnp.int32))

    def add(state, items):
        n = items.action.shape[0]
        places = (state.added + jnp.arange(n)) % size
        stored = jax.tree.map(lambda old, new: old.at[places].set(new), state.items, items)
        return Ring(stored, state.priority.at[places].set(1.0), state.added + n)

    def sample(key, state, n, score=None):
        places = jax.random.randint(key, (n,), 0, jnp.minimum(state.added, size))
        return jax.tree.map(lambda leaf: leaf[places], state.items), places, jnp.ones(n)

    def update(state, index, values):
        return state._replace(priority=state.priority.at[index].set(values))

    return Buffer(init, add, sample, update, lambda state, n: state.added >= n)


def learner(feed) -> Agent:
    """Tabular Q-learning on the corridor, from samples or from everything that is stored."""

    def init(key, spec):
        return State(
            jnp.zeros((STATES, 2)), {}, (), {}, {"learning_rate": jnp.asarray(0.2)}, None, jnp.zeros((), jnp.int32)
        )

    def place(obs):
        return obs.argmax(-1)

    def act(key, state, carry, timestep, evaluate):
        n = timestep.last.shape[0]
        greedy = (state.params[place(timestep.obs)] + 1e-3 * jax.random.normal(key, (n, 2))).argmax(-1)
        explore = jax.random.bernoulli(key, 0.0 if evaluate else 0.3, (n,))
        action = jnp.where(explore, jax.random.randint(key, (n,), 0, 2), greedy).astype(jnp.int32)
        return action, carry, {}

    def learn(state, steps, weight):
        here, there = place(steps.start.obs), place(steps.timestep.next_obs)
        target = steps.timestep.reward + 0.9 * steps.timestep.discount * state.params[there].max(-1)
        error = weight * (target - state.params[here, steps.action])
        params = state.params.at[here, steps.action].add(state.knobs["learning_rate"] * error / weight.sum() * STATES)
        return state._replace(params=params, updates=state.updates + 1), error

    def update(key, state, batch):
        if isinstance(feed, Replay):
            state, error = learn(state, batch.steps, batch.weight)
            return state, {"loss": (error**2).mean(), "priority": 2.0 + jnp.abs(error)}
        known = (jnp.arange(SIZE) < batch.added).astype(jnp.float32)
        for _ in range(10):
            state, error = learn(state, batch.items, known)
        return state, {"loss": (error**2).mean()}

    return Agent(
        "q",
        {},
        init,
        lambda state, n: (),
        act,
        update,
        feed,
        lambda n: {},
        lambda state, memory, timestep: (memory, {}),
    )


FEEDS = {
    "replay": lambda: Replay(ring(), size=16, ratio=0.25, warmup=64, length=4),
    "whole": lambda: Whole(ring(), length=8),
}
LOOPS = {
    "device": lambda agent, seeds=(0,): DeviceLoop(agent, CHAIN, parse(""), n=8, seeds=seeds),
    "host": lambda agent, seeds=(0,): HostLoop(agent, host_view(CHAIN), parse(""), n=8, seed=seeds[0]),
}


@pytest.mark.parametrize("feed", FEEDS)
@pytest.mark.parametrize("loop", LOOPS)
def test_a_buffer_is_owned_by_the_loop_and_the_corridor_is_learned(loop, feed):
    made = LOOPS[loop](learner(FEEDS[feed]()))
    made.start()
    reports = [made.advance().metrics[0] for _ in range(60)]
    made.close()
    one = made.learner if loop == "host" else jax.tree.map(lambda leaf: leaf[0], made.learner)
    assert (np.asarray(one.state.params[:-1]).argmax(-1) == 1).all(), "right is best everywhere"
    assert int(one.buffer.added) == int(one.steps) == 60 * made.steps_per_update
    if feed == "replay":
        # 32 steps an iteration: the second one reaches the warm-up, and then 8 updates follow each.
        assert np.isnan(reports[0]["loss"])
        assert np.isfinite(reports[1]["loss"])
        assert int(one.state.updates) == 59 * 8
        assert (np.asarray(one.buffer.priority) > 1.5).any()
    else:
        assert int(one.state.updates) == 60 * 10


def test_seeds_side_by_side_wait_for_their_buffers_without_copying_them():
    """Under `vmap` a branch on a mapped flag would become a selection of whole buffers in every update."""
    loop = DeviceLoop(learner(FEEDS["replay"]()), CHAIN, parse(""), n=8, seeds=(0, 1), together=True)
    tree = jax.eval_shape(loop._start, loop._seeds, None, ())
    program = str(jax.make_jaxpr(loop._advance)(tree, (), 1, 1, np.zeros(2, np.int32)))
    assert "cond[" in program


def test_seeds_side_by_side_own_a_buffer_each():
    made = LOOPS["device"](learner(FEEDS["replay"]()), seeds=(0, 1))
    alone = LOOPS["device"](learner(FEEDS["replay"]()), seeds=(1,))
    for loop in (made, alone):
        loop.start()
        for _ in range(5):
            loop.advance()
    for a, b in zip(jax.tree.leaves(made.tree(1)["learner"]), jax.tree.leaves(alone.tree()["learner"]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("feed", FEEDS)
def test_a_buffer_survives_a_resume_bit_for_bit(feed, tmp_path):
    make = partial(LOOPS["device"], learner(FEEDS[feed]()))
    straight = make()
    straight.start()
    for _ in range(4):
        straight.advance()
    path = checkpoints.save(tmp_path, 4, straight.tree(), {})
    resumed = make()
    tree, _ = checkpoints.load(path, resumed.template())
    resumed.restore([tree])
    for _ in range(4):
        straight.advance()
        resumed.advance()
    for a, b in zip(
        jax.tree.leaves(straight.tree()["learner"]), jax.tree.leaves(resumed.tree()["learner"]), strict=True
    ):
        np.testing.assert_array_equal(a, b)
