"""EnvPool's C++ engines as a `HostEnv`, shared by every suite that EnvPool runs.

EnvPool resets an ended environment at the step after the end, ignores `reset(seed=)`, and calls a termination that
falls on its own time limit a truncation. So this adapter resets ended environments itself right after the ending step
(whose observation is the true successor), seeds every environment at construction, and gives the engine a limit one
step above the task's: the engine then never truncates, its terminations are all real, and the limit is kept here.

Only tasks that draw random numbers at resets alone belong here: `restore` repeats the resets of an environment without
the steps between them, which leaves its generator where it was. Tasks that draw while stepping go through
`envs.vector`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from envs.contract import EnvSpec, HostEnv, PyTree, TimeStep
from envs.errors import UsageError, missing_extra
from envs.records import Recorder, action_layout, diverged, field, layout_of, leaves, present, timestep_of
from envs.vector import cores

Arrays = dict[str, np.ndarray]


class Reading(NamedTuple):
    """How a suite reads what EnvPool shows. All functions are vectorised over a leading axis `[m]` of environments.

    A `record` holds the arrays of EnvPool's observation and info named by `keys` (a plain array observation is called
    `obs`). A `memory` holds what has to be carried from the start of an episode, `{}` if nothing.

    Attributes:
      keys: names of the arrays to keep.
      start: `record -> memory` of episodes that have just begun.
      advance: `(memory, record, actions, next_record) -> memory` of the successors.
      read: `(record, memory) -> (obs, extras)`, extras of the state by their plain name, without `next_`.
      reward: `(reward [m], elapsed [m]) -> reward [m]`, undoing what the raised limit does to the engine's reward.
      outcome: `(reward [m], terminated [m]) -> extras` that belong to the step rather than to a state.
    """

    keys: tuple[str, ...]
    start: Callable[[Arrays], Arrays]
    advance: Callable[[Arrays, Arrays, np.ndarray, Arrays], Arrays]
    read: Callable[[Arrays, Arrays], tuple[PyTree, Arrays]]
    reward: Callable[[np.ndarray, np.ndarray], np.ndarray]
    outcome: Callable[[np.ndarray, np.ndarray], Arrays]


def open_pool(
    spec: EnvSpec,
    seed: int,
    n: int,
    reading: Reading,
    *,
    extra: str,
    limit: int,
    repeat: int = 1,
    threads: int = 0,
    engine: dict[str, Any] | None = None,
) -> HostEnv:
    """Opens `n` environments of EnvPool's task `spec.id`.

    Args:
      spec: what the adapter promises; its id is EnvPool's.
      seed: environment `i` is seeded from `(seed, i)`.
      n: number of environments.
      reading: how to read the engine's arrays.
      extra: the pip extra that brings EnvPool, for the error sentence.
      limit: the time limit in engine steps.
      repeat: how often each action is repeated; rewards are summed and an end stops the repetition.
      threads: threads that step, 0 for one per core.
      engine: further options of EnvPool's task.

    Raises:
      UsageError: a negative seed or no environment; EnvPool is not installed; on `restore`, arrays of another run or an
        engine that does not repeat itself.
    """
    if n < 1 or seed < 0:
        raise UsageError(f"environments need a seed of at least 0 and a count of at least 1, not {seed} and {n}.")
    try:
        import envpool
    except ImportError as error:
        raise missing_extra(extra, "envpool") from error
    pool = envpool.make(
        spec.id,
        env_type="gymnasium",
        num_envs=n,
        num_threads=threads or min(cores(), n),
        seed=[int(np.random.SeedSequence((seed, i)).generate_state(1)[0] >> 1) for i in range(n)],
        max_episode_steps=limit + 1,
        **engine or {},
    )
    env = _Pool(pool, spec, seed, n, reading, limit, repeat)
    return HostEnv(spec, n, env.reset, env.step, env.save, env.restore, pool.close)


class _Pool:
    def __init__(self, engine: Any, spec: EnvSpec, seed: int, n: int, reading: Reading, limit: int, repeat: int):
        self.engine, self.spec, self.seed, self.n = engine, spec, seed, n
        self.reading, self.limit, self.repeat = reading, limit, repeat
        self.everyone = np.arange(n, dtype=np.int32)
        self.record: Arrays = {}  # what the engine shows of every environment now
        self.memory: Arrays = {}
        self.elapsed = np.zeros(n, np.int64)  # engine steps of the current episode
        self.action_dtype = action_layout(spec)[1]
        self.recorder = Recorder(n, *action_layout(spec))
        self.timestep: TimeStep | None = None

    def reset(self) -> TimeStep:
        self._begin(self.everyone)
        obs, extras = self.reading.read(self.record, self.memory)
        reward, going = np.zeros(self.n, np.float32), np.zeros(self.n, bool)
        extras = _both(extras, extras) | self.reading.outcome(reward, going)
        self.timestep = TimeStep(obs, reward, np.ones(self.n, np.float32), going, obs, extras)
        return self.timestep

    def step(self, actions: np.ndarray) -> TimeStep:
        actions = np.array(actions, self.action_dtype)  # a copy: the recorder keeps it
        reward, terminated = self._play(self.everyone, actions)
        next_obs, next_extras = self.reading.read(self.record, self.memory)
        broken = diverged(reward, next_obs, next_extras)
        if broken.any():
            reward, terminated = np.where(broken, np.float32(np.nan), reward), terminated & ~broken
        last = terminated | broken | (self.elapsed >= self.limit)
        self.recorder.add(actions, last)
        obs, extras = next_obs, next_extras
        ended = _where(last)
        if ended.size:
            self._begin(ended)
            fresh_obs, fresh_extras = self.reading.read(_take(self.record, ended), _take(self.memory, ended))
            obs, extras = _put(obs, ended, fresh_obs), _put(extras, ended, fresh_extras)
        extras = _both(extras, next_extras) | self.reading.outcome(reward, terminated)
        self.timestep = TimeStep(obs, reward, (~terminated).astype(np.float32), last, next_obs, extras)
        return self.timestep

    def save(self) -> Arrays:
        if self.timestep is None:
            raise UsageError(f"{self.spec.id} has nothing to save before its first reset.")
        records = _records(layout_of(self.spec), self.n, self.timestep._asdict())
        rows = records.view(np.uint8).reshape(self.n, -1)
        return {"seed": np.array(self.seed), "records": rows, **self.recorder.save()}

    def restore(self, arrays: Arrays) -> TimeStep:
        layout = layout_of(self.spec)
        if self.timestep is not None:
            raise UsageError(f"{self.spec.id} can only be restored into a fresh engine.")
        if int(arrays["seed"]) != self.seed or arrays["records"].shape != (self.n, layout.itemsize):
            raise UsageError(f"these saved environments are not the {self.n} of {self.spec.id} with seed {self.seed}.")
        episode, length, actions = arrays["episode"], arrays["length"], arrays["actions"]
        for k in range(int(episode.max()) + 1):
            self._begin(_where(episode >= k))
        for t in range(int(length.max())):
            ids = _where(length > t)
            self._play(ids, actions[ids, t])
        records = np.ascontiguousarray(arrays["records"]).view(layout)[:, 0]
        obs, extras = self.reading.read(self.record, self.memory)
        replayed = _records(layout, self.n, {"obs": obs, "extras": extras})
        for name in present(self.spec):
            if replayed[name].tobytes() != records[name].tobytes():
                raise UsageError(
                    f"{self.spec.id} does not repeat itself ({name} differs), so this run cannot be resumed."
                )
        self.recorder.restore(arrays)
        self.timestep = timestep_of(self.spec, records)
        return self.timestep

    def _begin(self, ids: np.ndarray) -> None:
        """Starts a new episode in the environments `ids`."""
        obs, info = self.engine.reset(ids)
        record = self._recorded(obs, info, ids)
        memory = self.reading.start(record)
        whole = len(ids) == self.n
        self.record = record if whole else _put(self.record, ids, record)
        self.memory = memory if whole else _put(self.memory, ids, memory)
        self.elapsed[ids] = 0

    def _play(self, ids: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One agent step of the environments `ids`: `(reward, terminated)`, both `[len(ids)]`."""
        reward, terminated = self._engine_step(ids, actions)
        for _ in range(self.repeat - 1):
            going = np.flatnonzero(~terminated & (self.elapsed[ids] < self.limit))
            if not going.size:
                break
            more, terminated[going] = self._engine_step(ids[going], actions[going])
            reward[going] += more
        return reward, terminated

    def _engine_step(self, ids: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        obs, reward, terminated, _, info = self.engine.step(actions, ids)
        record = self._recorded(obs, info, ids)
        if len(ids) == self.n:  # the fast path: no gather, no scatter
            self.memory = self.reading.advance(self.memory, self.record, actions, record)
            self.record = record
        else:
            memory = self.reading.advance(_take(self.memory, ids), _take(self.record, ids), actions, record)
            self.memory, self.record = _put(self.memory, ids, memory), _put(self.record, ids, record)
        self.elapsed[ids] += 1
        return self.reading.reward(reward, self.elapsed[ids]), terminated

    def _recorded(self, obs: PyTree, info: Arrays, ids: np.ndarray) -> Arrays:
        # A synchronous EnvPool answers in the order asked; everything here would be wrong if it did not.
        if not np.array_equal(info["env_id"], ids):
            raise RuntimeError(f"EnvPool answered for environments {info['env_id']} where {ids} were asked.")
        shown = {**info, **obs} if isinstance(obs, dict) else {**info, "obs": obs}
        return {key: shown[key] for key in self.reading.keys}


def _records(layout: np.dtype, n: int, trees: dict[str, PyTree]) -> np.ndarray:
    """Records `[n]` that hold the leaves of `trees`, a `TimeStep` or a part of one."""
    records = np.zeros(n, layout)
    for root, tree in trees.items():
        for path, leaf in leaves(tree).items():
            records[field(root, path)] = leaf
    return records


def _where(mask: np.ndarray) -> np.ndarray:
    return np.flatnonzero(mask).astype(np.int32)


def _both(extras: Arrays, next_extras: Arrays) -> Arrays:
    """Extras of a state appear twice in a `TimeStep`, like the observation itself."""
    return extras | {f"next_{name}": value for name, value in next_extras.items()}


def _take(tree: PyTree, ids: np.ndarray) -> PyTree:
    return {key: _take(value, ids) for key, value in tree.items()} if isinstance(tree, dict) else tree[ids]


def _put(tree: PyTree, ids: np.ndarray, rows: PyTree) -> PyTree:
    """A copy of `tree` with `rows` at `ids`; the arrays of earlier time steps stay as they were."""
    if isinstance(tree, dict):
        return {key: _put(value, ids, rows[key]) for key, value in tree.items()}
    tree = tree.copy()
    tree[ids] = rows
    return tree
