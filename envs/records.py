"""A batch of host environments as plain arrays: one record per environment's step, and the actions that led there.

A record is one row of a structured array with a named field per leaf of the `TimeStep`. It crosses process borders as
bytes, keeps every dtype, and two of them are equal exactly when the steps are.
"""

from typing import Any

import numpy as np

from envs.contract import Discrete, EnvSpec, MultiDiscrete, PyTree, TimeStep


def layout_of(spec: EnvSpec) -> np.dtype:
    """The dtype of a record: fields `reward`, `discount`, `last`, `obs/...`, `next_obs/...`, `extras/...`."""
    trees = [("obs", spec.obs), ("next_obs", spec.obs), ("extras", spec.extras)]
    step: list[tuple[str, str, tuple[int, ...]]] = [("reward", "float32", ()), ("discount", "float32", ())]
    step.append(("last", "bool", ()))
    for root, tree in trees:
        step += [(field(root, path), array.dtype, array.shape) for path, array in leaves(tree).items()]
    return np.dtype(step)


def timestep_of(spec: EnvSpec, records: np.ndarray) -> TimeStep:
    """The `TimeStep` in `records` `[n]`, as arrays of its own."""

    def tree(shape: PyTree, root: str, path: tuple = ()) -> PyTree:
        if isinstance(shape, dict):
            return {key: tree(part, root, (*path, key)) for key, part in shape.items()}
        if isinstance(shape, tuple):
            return tuple(tree(part, root, (*path, i)) for i, part in enumerate(shape))
        return records[field(root, path)].copy()

    reward, discount, last = (records[name].copy() for name in ("reward", "discount", "last"))
    obs, next_obs, extras = tree(spec.obs, "obs"), tree(spec.obs, "next_obs"), tree(spec.extras, "extras")
    return TimeStep(obs, reward, discount, last, next_obs, extras)


def leaves(tree: PyTree, path: tuple = ()) -> dict[tuple, Any]:
    """The leaves of nested dicts and tuples, each under its path of keys and positions."""
    if not isinstance(tree, (dict, tuple)):
        return {path: tree}
    parts = tree.items() if isinstance(tree, dict) else enumerate(tree)
    return {at: leaf for key, part in parts for at, leaf in leaves(part, (*path, key)).items()}


def field(root: str, path: tuple) -> str:
    """The record's field of the leaf at `path` of the tree `root`."""
    return "/".join(map(str, (root, *path)))


def state_extras(spec: EnvSpec) -> list[str]:
    """The extras that describe a state: those declared for its successor too."""
    return [name for name in spec.extras if f"next_{name}" in spec.extras]


def step_extras(spec: EnvSpec) -> list[str]:
    """The extras that describe the step just taken."""
    states = state_extras(spec)
    return [name for name in spec.extras if name not in states and name.removeprefix("next_") not in states]


def present(spec: EnvSpec) -> list[str]:
    """The fields that describe the state to act on next, not the step that led to it."""
    return [field("obs", path) for path in leaves(spec.obs)] + [f"extras/{name}" for name in state_extras(spec)]


def diverged(reward: np.ndarray, *trees: PyTree) -> np.ndarray:
    """Which of `n` environments show a number that is not finite, in the reward or a leaf of the trees; bool `[n]`."""
    found = ~np.isfinite(reward)
    for tree in trees:
        for leaf in leaves(tree).values():
            if leaf.dtype.kind == "f":
                found |= ~np.isfinite(leaf).reshape(len(found), -1).all(axis=1)
    return found


def action_layout(spec: EnvSpec) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and dtype of one environment's action."""
    match spec.action:
        case Discrete():
            return (), np.dtype(np.int32)
        case MultiDiscrete():
            return (len(spec.action.n),), np.dtype(np.int32)
    return (len(spec.action.low),), np.dtype(np.float32)


class Recorder:
    """What `save` must know of a batch: each environment's episode number and the actions of that episode."""

    def __init__(self, n: int, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.shape, self.dtype = shape, dtype
        self.episode = np.zeros(n, np.int64)
        self.start = np.zeros(n, np.int64)  # where in `log` each current episode begins
        self.log: list[np.ndarray] = []

    def add(self, actions: np.ndarray, last: np.ndarray) -> None:
        self.log.append(actions)
        self.episode += last
        self.start[last] = len(self.log)
        unused = int(self.start.min())
        if 2 * unused > len(self.log):  # Forgetting in halves keeps a long run's cost per step constant.
            del self.log[:unused]
            self.start -= unused

    def save(self) -> dict[str, np.ndarray]:
        """`episode` `[n]`, `length` `[n]` and `actions` `[n, T, ...]`, padded with zeros."""
        length = len(self.log) - self.start
        actions = np.zeros((len(length), int(length.max()), *self.shape), self.dtype)
        log = np.array(self.log, self.dtype).reshape(len(self.log), len(length), *self.shape)
        for i, start in enumerate(self.start):
            actions[i, : length[i]] = log[start:, i]
        return {"episode": self.episode.copy(), "length": length, "actions": actions}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        actions, length = arrays["actions"], np.asarray(arrays["length"], np.int64)
        log = np.zeros((actions.shape[1], len(length), *self.shape), self.dtype)
        self.episode = np.array(arrays["episode"], np.int64)
        self.start = actions.shape[1] - length
        for i, start in enumerate(self.start):
            log[start:, i] = actions[i, : length[i]]
        self.log = list(log)
