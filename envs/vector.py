"""Any Gymnasium environment as a `HostEnv`: several of them per worker process, exact to the last bit on resume.

Gymnasium's vector classes carry the arrays. What an array means is decided here, once, in the worker: it writes
the whole `TimeStep` of an environment as one record of bytes (through shared memory, whatever the dtypes are), and it
resets an ended episode within the same step. Every episode has a seed of its own, made from (seed, environment,
episode number), so an engine that cannot be saved is rebuilt by one reset and the actions of the current episode.
"""

import contextlib
import functools
import operator
import os
import signal
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

from envs.contract import EnvSpec, HostEnv, PyTree, TimeStep
from envs.errors import UsageError
from envs.records import (
    Recorder,
    action_layout,
    diverged,
    field,
    layout_of,
    leaves,
    present,
    state_extras,
    step_extras,
    timestep_of,
)

Thunk = Callable[[], gymnasium.Env[Any, Any]]


def open_vector(
    spec: EnvSpec,
    thunk: Thunk,
    seed: int,
    n: int,
    *,
    processes: bool,
    repeat: int = 1,
    limit: int = 0,
    render: bool = False,
    text: bool = False,
) -> HostEnv:
    """A batch of `n` environments made by `thunk`.

    Args:
      spec: what they are. An extra `X` for which `next_X` is declared too describes a state.
      thunk: picklable; makes an environment whose observations have the tree of `spec.obs`, whose actions are those of
        `spec.action`, and whose `info`, at resets and steps, has every extra by name (for a state's extra only `X`).
      seed: environment `i` plays its episode `k` with a seed made from `(seed, i, k)`.
      n: number of environments.
      processes: step them in spawned processes, one per core at most; otherwise in this one.
      repeat: how often each action is repeated; the extras are those of the last repetition.
      limit: time limit in engine steps, 0 for none; it truncates.
      render: whether `render` may be called.
      text: whether the environments have a `text()`, for `HostEnv.text`.

    Raises:
      UsageError: a negative seed or no environment; on `restore`, arrays of another run, or an engine that does not
        repeat itself.
    """
    if n < 1 or seed < 0:
        raise UsageError(f"environments need a seed of at least 0 and a count of at least 1, not {seed} and {n}.")
    layout = layout_of(spec)
    shape, dtype = action_layout(spec)
    width = -(-n // cores()) if processes else n
    workers = [
        functools.partial(
            Worker, spec, thunk, seed, range(first, min(first + width, n)), width, repeat, limit, os.getpid()
        )
        for first in range(0, n, width)
    ]
    with hidden_main():
        vector = (
            AsyncVectorEnv(workers, context="spawn", copy=False, autoreset_mode=AutoresetMode.DISABLED)
            if processes
            else SyncVectorEnv(workers, copy=False, autoreset_mode=AutoresetMode.DISABLED)
        )
    record = Recorder(n, shape, dtype)
    last = np.zeros(n, layout)

    def received(rows: Any) -> TimeStep:
        last[:] = np.ascontiguousarray(rows).reshape(-1, layout.itemsize)[:n].view(layout)[:, 0]
        return timestep_of(spec, last)

    def reset() -> TimeStep:
        return received(vector.reset()[0])

    def step(actions: np.ndarray) -> TimeStep:
        chosen = np.array(actions, dtype).reshape(n, *shape)
        padded = np.zeros((len(workers) * width, *shape), dtype)
        padded[:n] = chosen
        timestep = received(vector.step(padded.reshape(len(workers), width, *shape))[0])
        record.add(chosen, timestep.last)
        return timestep

    def save() -> dict[str, np.ndarray]:
        records = last.view(np.uint8).reshape(n, layout.itemsize).copy()
        return {"seed": np.asarray(seed, np.int64), "records": records, **record.save()}

    def restore(arrays: dict[str, np.ndarray]) -> TimeStep:
        records = np.ascontiguousarray(arrays["records"])
        if int(arrays["seed"]) != seed or records.shape != (n, layout.itemsize):
            raise UsageError(f"these saved environments are not the {n} of {spec.id} that were made with seed {seed}.")
        record.restore(arrays)
        saved = records.view(layout)[:, 0]
        replayed = np.concatenate(vector.call("replay", arrays["episode"], arrays["length"], arrays["actions"]))
        for name in layout.names or ():
            # Before an episode's first step only the present state is replayed; the rest was the episode before.
            rows = slice(None) if name in present(spec) else arrays["length"] > 0
            if saved[name][rows].tobytes() != replayed.view(layout)[:, 0][name][rows].tobytes():
                raise UsageError(f"{spec.id} does not repeat itself ({name} differs), so this run cannot be resumed.")
        return received(records)

    def frames() -> list[np.ndarray]:
        return [frame for group in vector.call("frames") for frame in group]

    def screens() -> list[str]:
        return [screen for group in vector.call("screens") for screen in group]

    drawn = (frames if render else None, screens if render and text else None)
    return HostEnv(spec, n, reset, step, save, restore, vector.close, *drawn)


class Worker(gymnasium.Env[np.ndarray, np.ndarray]):
    """The environments `indices` of a batch, stepped together; its observation is their records `[width]`, as bytes.

    Its own episode never ends: the ends are inside the records. Engines are made at the first reset, because
    Gymnasium makes one spare worker in the parent process to look at the spaces.
    """

    def __init__(
        self, spec: EnvSpec, thunk: Thunk, seed: int, indices: range, width: int, repeat: int, limit: int, owner: int
    ) -> None:
        if os.getpid() != owner:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the owner's business: it still has to save.
        self.records = np.zeros(width, layout_of(spec))
        self.metadata = {}
        self.observation_space = gymnasium.spaces.Box(0, 255, self.bytes().shape, np.uint8)
        self.action_space = carrier(width, *action_layout(spec))
        self.indices = indices
        self.make = lambda row: Episodes(thunk(), self.records[row : row + 1], spec, seed, indices[row], repeat, limit)
        self.episodes: list[Episodes] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        for one in self.opened():
            one.begin(0)
        return self.bytes(), {}

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        for one, action in zip(self.episodes, actions, strict=False):  # The last worker's rows may not all be used.
            one.step(action)
        return self.bytes(), 0.0, False, False, {}

    def replay(self, episode: np.ndarray, length: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """Each environment begins the episode it was in and plays its actions again; the records `[used, bytes]`."""
        for one, i in zip(self.opened(), self.indices, strict=True):
            one.begin(int(episode[i]))
            for action in actions[i, : length[i]]:
                one.step(action)
        return self.bytes()[: len(self.indices)].copy()

    def frames(self) -> list[np.ndarray]:
        return [np.array(one.env.render(), np.uint8) for one in self.episodes]

    def screens(self) -> list[str]:
        return [one.env.text() for one in self.episodes]  # type: ignore[attr-defined]

    def close(self) -> None:
        for one in self.episodes:
            one.env.close()

    def opened(self) -> list["Episodes"]:
        if not self.episodes:
            self.episodes = [self.make(row) for row in range(len(self.indices))]
        return self.episodes

    def bytes(self) -> np.ndarray:
        return self.records.view(np.uint8).reshape(len(self.records), -1)


class Episodes:
    """One environment that plays seeded episodes one after another and writes each step into `record` `[1]`."""

    def __init__(
        self, env: gymnasium.Env, record: np.ndarray, spec: EnvSpec, seed: int, index: int, repeat: int, limit: int
    ) -> None:
        self.env, self.record = env, record
        self.seed, self.index, self.repeat, self.limit = seed, index, repeat, limit
        self.obs = {
            prefix: [(field(f"{prefix}obs", path), path) for path in leaves(spec.obs)] for prefix in ("", "next_")
        }
        self.state_extras, self.step_extras = state_extras(spec), step_extras(spec)
        self.trial = spec.trial
        self.episode, self.steps = 0, 0

    def begin(self, episode: int) -> None:
        """The first step of an episode: nothing happened yet, and the successor is the state itself."""
        obs, info = self.reset(episode)
        self.write_state("next_", obs, info)
        self.write_step(info, 0.0, terminated=False, truncated=False)

    def step(self, action: np.ndarray) -> None:
        total = 0.0
        for _ in range(self.repeat):
            obs, reward, terminated, truncated, info = self.env.step(action)
            total += float(reward)
            self.steps += 1
            truncated = truncated or self.steps == self.limit
            if terminated or truncated:
                break
        self.write_state("next_", obs, info)  # Before the reset: engines reuse their buffers.
        if diverged(np.asarray([total]), {name: self.record[name] for name, _ in self.obs["next_"]}).any():
            total, terminated, truncated = float("nan"), False, True
        self.write_step(info, total, bool(terminated), bool(truncated))
        if terminated or truncated:
            self.reset(self.episode + 1)
        else:
            self.write_state("", obs, info)

    def reset(self, episode: int) -> tuple[Any, dict[str, Any]]:
        self.episode, self.steps = episode, 0
        seed = np.random.SeedSequence((self.seed, self.index, episode)).generate_state(1)[0]
        place = {"place": self.index, "episode": episode} if self.trial else None
        obs, info = self.env.reset(seed=int(seed), options=place)
        self.write_state("", obs, info)
        return obs, info

    def write_state(self, prefix: str, obs: PyTree, info: dict[str, Any]) -> None:
        for name, path in self.obs[prefix]:
            self.record[name][0] = functools.reduce(operator.getitem, path, obs)
        for name in self.state_extras:
            self.record[f"extras/{prefix}{name}"][0] = info[name]

    def write_step(self, info: dict[str, Any], reward: float, terminated: bool, truncated: bool) -> None:
        self.record["reward"] = reward
        self.record["discount"] = not terminated
        self.record["last"] = terminated or truncated
        for name in self.step_extras:
            self.record[f"extras/{name}"][0] = info[name]
        if self.trial:
            self.record["extras/trial_last"] = (terminated or truncated) and (self.episode + 1) % self.trial == 0


def carrier(width: int, shape: tuple[int, ...], dtype: np.dtype) -> gymnasium.spaces.Box:
    """A space for the actions of `width` environments, whatever their bounds."""
    low, high = (np.iinfo(dtype).min, np.iinfo(dtype).max) if dtype.kind == "i" else (-np.inf, np.inf)
    return gymnasium.spaces.Box(low, high, (width, *shape), dtype.type)


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def hidden_main() -> Iterator[None]:
    """A spawned process would first import the caller's script again, and JAX with it; ours need nothing of it."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
