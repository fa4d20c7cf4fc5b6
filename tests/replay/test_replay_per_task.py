"""Rings of records by task beside lists of them, and the stretches of episodes that are cut out of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replay_records import Stream, compiled, item

from envs.errors import UsageError
from replay import per_task

ENVS, TASKS, CAPACITY = 3, 4, 7
BUFFER = compiled(per_task.make(capacity=CAPACITY, tasks=TASKS, envs=ENVS, task="task"))
DRAW = jax.jit(per_task.draw, static_argnums=3)
WINDOWS = jax.jit(per_task.windows, static_argnums=3)


class Tasks(Stream):
    """A stream whose environments take another task, by chance, where an episode begins."""

    def __init__(self, seed: int):
        super().__init__(ENVS, seed)
        self.dice = np.random.default_rng(seed + 1)
        self.task = self.dice.integers(0, TASKS, ENVS)
        self.number = np.zeros(ENVS, int)
        self.rows: list[list[tuple[int, int, float, int]]] = []  # of each add: environment, task, state, episode

    def batch(self, steps: int):
        """The next records, and the same as rows in the order in which a list of each task would get them."""
        found, rows = [], []
        for _ in range(steps):
            record = self.take(1)
            task = self.task.astype(np.int32)
            found.append(
                record._replace(timestep=record.timestep._replace(extras={**record.timestep.extras, "task": task}))
            )
            for env in range(ENVS):
                rows.append((env, int(task[env]), float(record.start.obs[env, 0]), int(self.number[env])))
            last = record.timestep.last
            self.number += last
            self.task = np.where(last, self.dice.integers(0, TASKS, ENVS), self.task)
        self.rows.append(sorted(rows, key=lambda row: row[0]))  # sorted is stable: time stays in its order
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *found)


def held(stream: Tasks, keep: list[list[bool]] | None = None) -> list[list[tuple[int, float, int]]]:
    """Environment, state and episode of the latest records of each task, oldest first."""
    lists: list[list[tuple[int, float, int]]] = [[] for _ in range(TASKS)]
    for index, rows in enumerate(stream.rows):
        for number, (env, task, state, episode) in enumerate(rows):
            if keep is None or keep[index][number]:
                lists[task].append((env, state, episode))
    return [records[-CAPACITY:] for records in lists]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from([1, 3, 9]), min_size=1, max_size=6), st.integers(0, 1000))
def test_each_task_has_its_latest_records_and_its_whole_stretches(lengths, seed):
    stream = Tasks(seed)
    state = None
    for length in lengths:
        batch = stream.batch(length)
        state = BUFFER.add(BUFFER.init(item(batch)) if state is None else state, batch)
    expected = held(stream)
    assert np.asarray(state.size).tolist() == [len(records) for records in expected]
    tasks = jnp.arange(TASKS)
    drawn = np.asarray(DRAW(jax.random.key(seed), state, tasks, 200).start.obs)
    for task, records in enumerate(expected):
        if records:
            assert {(int(env), value) for value, env in drawn[task]} == {(env, value) for env, value, _ in records}
    for width in (1, 2, 4):
        allowed = [stretches(records, width) for records in expected]
        got: list[set] = [set() for _ in range(TASKS)]
        for key in jax.random.split(jax.random.key(seed), 40):
            cut, found = WINDOWS(key, state, tasks, width)
            assert np.asarray(found).tolist() == [bool(one) for one in allowed]
            for task in np.flatnonzero(found):
                got[task].add(tuple(np.asarray(cut.start.obs)[task, :, 0].tolist()))
        for one, other in zip(got, allowed, strict=True):
            assert one <= other
            assert len(one) >= min(len(other), 2)  # forty draws miss none of two but once in 2^39


def stretches(records, width) -> set:
    """Stretches of so many consecutive records of one environment's episode."""
    found = set()
    for start in range(len(records) - width + 1):
        part = records[start : start + width]
        if len({(env, episode) for env, _, episode in part}) == 1:
            found.add(tuple(value for _, value, _ in part))
    return found


def test_what_is_not_kept_is_left_out():
    stream = Tasks(5)
    batch = stream.batch(6)
    odd = np.asarray(batch.start.obs)[:, 0] % 2 == 1
    state = BUFFER.add(BUFFER.init(item(batch)), batch, jnp.asarray(odd))
    expected = held(stream, [[value % 2 == 1 for _, _, value, _ in stream.rows[0]]])
    assert np.asarray(state.size).tolist() == [len(records) for records in expected]
    drawn = np.asarray(DRAW(jax.random.key(0), state, jnp.arange(TASKS), 100).start.obs)[..., 0]
    for task, records in enumerate(expected):
        if records:
            assert set(drawn[task].tolist()) == {value for _, value, _ in records}


def test_a_sample_is_of_all_tasks_and_a_score_chooses():
    stream = Tasks(2)
    batch = stream.batch(9)
    state = BUFFER.add(BUFFER.init(item(batch)), batch)
    got, index, weight = BUFFER.sample(jax.random.key(0), state, 400)
    task, slot = np.divmod(np.asarray(index), CAPACITY)
    assert set(task.tolist()) == set(np.flatnonzero(np.asarray(state.size)).tolist())
    np.testing.assert_array_equal(got.start.obs, np.asarray(state.items.start.obs)[task, slot])
    assert (np.asarray(weight) == 1).all()
    only = jnp.repeat(jnp.arange(TASKS) == task[0], CAPACITY).astype(jnp.float32)
    _, index, _ = BUFFER.sample(jax.random.key(0), state, 100, only)
    assert (np.asarray(index) // CAPACITY == task[0]).all()
    held_in_all = int(state.size.sum())
    assert bool(BUFFER.can_sample(state, held_in_all))
    assert not bool(BUFFER.can_sample(state, held_in_all + 1))


def test_mistakes_are_one_sentence():
    steps = Stream(2, seed=0).take(3)
    with pytest.raises(UsageError, match=r"there is no extra 'tsk': did you mean task\?"):
        per_task.make(task="tsk").init(item(steps))
    buffer = per_task.make(task="task", envs=4)
    with pytest.raises(UsageError, match=r"per_task got 6 steps at once, which are not the same number of 4 envs\."):
        buffer.add(buffer.init(item(steps)), steps)
    with pytest.raises(UsageError, match=r"tasks must be at least 1, not 0\."):
        per_task.make(tasks=0)
