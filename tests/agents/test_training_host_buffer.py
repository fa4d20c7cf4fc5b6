"""Agents that learn from a buffer on the host: the same as on the device, exact to resume, and of pixels."""

from typing import NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training_runs import checkpoints as checkpoints_of
from training_runs import column, device_loop, drive, host_loop, leaves, same_bits, same_run

import agents
import envs
from agents.agent import Whole
from agents.training import checkpoints
from agents.training.config import TrainConfig
from agents.training.host_replay import HostReplay
from agents.training.setup import prepare
from envs.errors import UsageError
from envs.wrappers import parse
from replay import ring, sizes
from replay.buffer import Buffer

K, N, CAPACITY = 4, 4, 256
WRAP = "frame_stack"


class Corridor(gymnasium.Env):
    """Four places drawn as pixels, uint8 `[4, 1]`: 0 steps left, 1 steps right, and reaching the last one pays 1."""

    observation_space = gymnasium.spaces.Box(0, 1, (4, 1), np.uint8)
    action_space = gymnasium.spaces.Discrete(2)

    def _drawn(self):
        return np.eye(4, dtype=np.uint8)[self.place][:, None]

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = 0
        return self._drawn(), {}

    def step(self, action):
        self.place = min(3, max(0, self.place + 2 * int(action) - 1))
        return self._drawn(), float(self.place == 3), self.place == 3, False, {}


gymnasium.register("Corridor-v0", Corridor, max_episode_steps=12)
CORRIDOR = envs.make("Corridor-v0")


def make(replay="host", **options):
    own = {"hidden": (16,), "batch": 8, "warmup": 16, "unroll": 2, "ratio": 0.5, "envs": N, "target_every": 8}
    kept = {"uniform": {"uniform.capacity": CAPACITY}, "host": {"host.capacity": CAPACITY}}[replay]
    return agents.make("dqn", parse(WRAP).spec(CORRIDOR.spec), **{**own, "replay": replay, **kept, **options})


def begun(agent, **options):
    return host_loop(agent, CORRIDOR, n=N, wrap=WRAP, **options)


@pytest.fixture(scope="module", autouse=True)
def _cache(compilation_cache):
    prepare(TrainConfig())


# ------------------------------------------------------------------------------------------- THE SAME AS ON THE DEVICE


class Ring(NamedTuple):
    items: object
    place: np.ndarray
    size: np.ndarray


def ring_on_the_host() -> Buffer:
    """`uniform` in NumPy, its draws included."""

    def init(item):
        items = jax.tree.map(lambda leaf: np.zeros((CAPACITY, *leaf.shape), leaf.dtype), item)
        return Ring(items, np.zeros((), np.int64), np.zeros((), np.int64))

    def add(state, items):
        count = len(items.action)
        places = (state.place + np.arange(count)) % CAPACITY
        jax.tree.map(lambda old, new: old.__setitem__(places, new), state.items, items)
        return Ring(state.items, (state.place + count) % CAPACITY, np.minimum(state.size + count, CAPACITY))

    def sample(key, state, n, score=None):
        bits = np.asarray(jax.random.bits(jax.random.wrap_key_data(key), (n,)))
        places = (bits % np.uint32(state.size)).astype(np.int32)
        return jax.tree.map(lambda leaf: leaf[places], state.items), places, np.ones(n, np.float32)

    return Buffer(init, add, sample, lambda state, *_: state, lambda state, n: state.size >= n, host=True)


def test_what_is_learned_is_the_same_wherever_the_records_lie(monkeypatch):
    # Something is observed at every step, so that memory and extras have their way to go too.
    made = make("uniform")._replace(
        remember=lambda n: jnp.zeros(n),
        observe=lambda state, memory, timestep: (memory + 1 + timestep.reward, {"seen": memory}),
    )
    there = begun(made)
    expected = drive(there, 6)
    records = ring.take(there.learner.buffer, CAPACITY, np.arange(6 * 2 * N))
    monkeypatch.setattr(HostReplay, "_chunk", lambda self, records: 3)  # of four updates, so that one is left
    here = begun(made._replace(feed=made.feed._replace(buffer=ring_on_the_host())))
    rows = drive(here, 6)
    for one, other in zip(expected, rows, strict=True):
        assert one[0].keys() == other[0].keys()
        for name, value in one[0].items():
            np.testing.assert_allclose(value, other[0][name], rtol=1e-5, atol=1e-6, err_msg=name)
    assert [bool(np.isnan(row[0]["loss"])) for row in rows] == [True] + 5 * [False]
    assert int(here.learner.state.updates) == 5 * 4
    same_bits(records, jax.tree.map(lambda leaf: leaf[: 6 * 2 * N], here.learner.buffer.items))
    moved = [loop.learner._replace(buffer=()) for loop in (there, here)]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), *moved)


def test_the_host_buffer_is_given_the_steps_that_uniform_is_given():
    """Before learning begins both agents act alike, and so both buffers must hold the same records."""
    loops = [begun(make(replay, warmup=10**6)) for replay in ("uniform", "host")]
    for loop in loops:
        drive(loop, 10)
    records_of_uniform, frames = (loop.learner.buffer for loop in loops)
    drawn, index, _ = make().feed.buffer.sample(jax.random.key(0), frames, 2000)
    held = ring.take(records_of_uniform, CAPACITY, np.arange(10 * 2 * N))

    def records(steps):
        leaves = (steps.start.obs, steps.action, steps.timestep._replace(obs=()))
        return sorted(b"".join(np.asarray(leaf)[row].tobytes() for leaf in jax.tree.leaves(leaves)) for row in rows)

    rows = range(10 * 2 * N)
    expected = records(held)
    rows = np.unique(index, return_index=True)[1]
    assert records(drawn) == expected
    # Each of uniform's records has two stacks of `K` frames; here a step has one frame, an episode one more.
    stacks = 2 * held.start.obs[0].nbytes
    assert frames.frames.nbytes / CAPACITY == stacks / (2 * K)


# ----------------------------------------------------------------------------------------------------------- RESUMED


def test_a_restored_loop_goes_on_bit_for_bit(tmp_path):
    made = make(**{"host.capacity": 64})
    left_alone, again = begun(made), begun(made)
    left_alone.start()
    for _ in range(12):
        left_alone.advance(total=20)
    path = checkpoints.save(tmp_path, 12, left_alone.tree(), {})
    assert left_alone.learner.buffer.size.min() == 64 // N - 1, "the ring is to have turned"
    rows = [left_alone.advance(total=20).metrics for _ in range(8)]
    assert np.isfinite(rows[0][0]["loss"])
    again.restore([checkpoints.load(path, again.template())[0]])
    same_bits(rows, [again.advance(total=20).metrics for _ in range(8)])
    same_bits(left_alone.tree(), again.tree())
    assert {type(leaf) for leaf in jax.tree.leaves(again.learner.buffer)} == {np.ndarray}
    left_alone.close()
    again.close()


def test_a_run_says_what_its_buffer_takes_and_goes_on_after_a_stop(tmp_path, capfd):
    def train(out, **options):
        given = {"steps": 96, "envs": N, "wrap": WRAP, "log_every": 1, "tensorboard": False}
        return agents.train(make(), CORRIDOR, out=str(tmp_path / out), **given, **options)

    whole = train("whole")
    said = capfd.readouterr().err
    frames = sizes.words(sizes.size_of(checkpoint_buffer(whole)))
    assert f", {frames} of it replay" in said
    train("parts", hours=1e-9)
    same_run(whole.folder, train("parts", resume=True).folder)


def checkpoint_buffer(run):
    found = leaves(checkpoints_of(run.folder)[-1])
    return [leaf for name, leaf in found.items() if name.startswith("['learner'].buffer")]


# ------------------------------------------------------------------------------------------------ LEARNED AND REFUSED


def test_dqn_learns_the_corridor_from_its_pictures():
    made = make(ratio=1.0, unroll=4, batch=16, warmup=32, learning_rate=3e-3, epsilon_share=0.5)
    loop = begun(made)
    rows = drive(loop, 60)
    assert column(rows[-1], "episode_length")[0] < 6
    assert loop.learner.buffer.size.min() == CAPACITY // N - 1


def test_mistakes_are_one_sentence():
    with pytest.raises(UsageError, match=r"runs on the device, .* take --replay uniform, or an"):
        device_loop(make(), envs.make("Chain-v0"), n=N)
    whole = make()._replace(feed=Whole(make().feed.buffer, length=2))
    with pytest.raises(UsageError, match=r"dqn reads a whole buffer, .* on the device: take --replay uniform"):
        begun(whole)
    with pytest.raises(UsageError, match="keeps single steps, not 3-step records: take n_step 1"):
        make(n_step=3)
    with pytest.raises(UsageError, match=r"host\.envs is 2, but 4 environments are stepped: leave host\.envs out"):
        make(**{"host.envs": 2})
    with pytest.raises(UsageError, match="draw single records, and sequence keeps none: uniform does"):
        agents.make("dqn", CORRIDOR.spec, replay="sequence")
    loop = begun(make(**{"host.stack": 2}))
    with pytest.raises(UsageError, match=r"no stacks of 2 frames: host\.stack must be that of frame_stack"):
        drive(loop, 10)
