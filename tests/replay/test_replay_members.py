"""What holds for every buffer: found by name, options, sizes before anything is allocated, checkpoints."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from replay_records import Stream, item, same

from agents import registry
from agents.training import checkpoints
from envs.errors import UsageError
from replay import episode, n_step, per_task, prioritised, sequence, sizes, uniform

MAKERS = {
    "uniform": lambda **options: uniform.make(**{"capacity": 64, **options}),
    "prioritised": lambda **options: prioritised.make(**{"capacity": 64, **options}),
    "n_step": lambda **options: n_step.make(prioritised.make(**{"capacity": 64, **options}), n=3, envs=2),
    "sequence": lambda **options: sequence.make(**{"capacity": 64, "envs": 2, "length": 4, "stride": 2, **options}),
    "episode": lambda **options: episode.make(**{"capacity": 8, "envs": 2, "max_steps": 9, **options}),
    "per_task": lambda **options: per_task.make(**{"capacity": 16, "envs": 2, "tasks": 2, "task": "task", **options}),
}


def test_the_door_has_them_all():
    assert set(registry.members("replay")) == {*MAKERS, "host"}


@pytest.mark.parametrize("name", MAKERS)
def test_a_saved_state_goes_on_as_if_nothing_had_been(name, tmp_path):
    buffer, stream = MAKERS[name](), Stream(2, seed=0)
    first, later = stream.take(12), stream.take(7)
    add = jax.jit(buffer.add)
    state = add(buffer.init(item(first)), first)
    path = checkpoints.save(tmp_path, 1, state, {})
    loaded, _ = checkpoints.load(path, jax.eval_shape(buffer.init, item(first)))
    same(state, loaded)
    straight, resumed = add(state, later), add(loaded, later)
    same(straight, resumed)
    sample = jax.jit(buffer.sample, static_argnums=2)
    same(sample(jax.random.key(1), straight, 8), sample(jax.random.key(1), resumed, 8))


@pytest.mark.parametrize("name", MAKERS)
def test_bytes_are_known_before_anything_is_allocated(name):
    record = item(Stream(2, seed=0).take(1))
    assert sizes.state_size(MAKERS[name](), record) == sizes.size_of(MAKERS[name]().init(record))


@pytest.mark.parametrize("name", MAKERS)
def test_what_no_memory_holds_is_refused(name):
    record = item(Stream(2, seed=0).take(1))
    with pytest.raises(UsageError, match=r"the replay buffer takes [\d.]+ [TG]B of memory, there are only"):
        jax.eval_shape(MAKERS[name](capacity=2**30).init, record)


def test_what_is_free_is_asked_at_the_moment(monkeypatch):
    monkeypatch.setattr(sizes, "room", lambda *, host=False, total=False: 1_300_000_000)
    sizes.require_room(1_300_000_000)
    with pytest.raises(UsageError, match=r"takes 2.5 GB of memory, of which are free only 1.3 GB: lower its size"):
        sizes.require_room(2_500_000_000)


def test_a_device_is_asked_for_its_own_memory(monkeypatch):
    class Device:
        @staticmethod
        def memory_stats():
            return {"bytes_limit": 80, "bytes_in_use": 30}

    monkeypatch.setattr(jax, "local_devices", lambda: [Device])
    assert sizes.room() == 50
    assert sizes.room(total=True) == 80
    assert sizes.room(host=True) > 10**6


@pytest.mark.parametrize(
    ("number", "text"), [(900, "1 kB"), (612_000_000, "612 MB"), (999_900_000, "1.0 GB"), (1.34e12, "1.3 TB")]
)
def test_bytes_are_read_by_people(number, text):
    assert sizes.words(number) == text


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: uniform.make(capcity=3), "there is no option 'capcity': did you mean capacity?"),
        (lambda: uniform.make(capacity=0), "capacity must be at least 1, not 0."),
        (lambda: prioritised.make(alpha=-1.0), "alpha must be at least 0, not -1.0."),
        (lambda: prioritised.make(beta=2.0), "beta must be between 0 and 1, not 2.0."),
        (lambda: sequence.make(stride=0), "stride must be at least 1, not 0."),
        (lambda: episode.make(max_steps=0), "max_steps must be at least 1, not 0."),
    ],
)
def test_mistakes_are_one_sentence(make, sentence):
    with pytest.raises(UsageError) as error:
        make()
    assert str(error.value) == sentence


@pytest.mark.parametrize("name", ["uniform", "prioritised"])
def test_seeds_side_by_side_hold_what_they_hold_alone(name):
    buffer = MAKERS[name]()
    streams = [Stream(2, seed=seed).take(5) for seed in (0, 1)]
    many = jax.tree.map(lambda *leaves: jnp.stack(leaves), *streams)
    states = jax.vmap(lambda items: buffer.add(buffer.init(item(streams[0])), items))(many)
    keys = jax.random.split(jax.random.key(0), 2)
    drawn = jax.vmap(lambda key, state: buffer.sample(key, state, 8))(keys, states)
    alone = buffer.add(buffer.init(item(streams[1])), streams[1])
    same(jax.tree.map(lambda leaf: leaf[1], states), alone)
    np.testing.assert_array_equal(drawn[1][1], buffer.sample(keys[1], alone, 8)[1])
