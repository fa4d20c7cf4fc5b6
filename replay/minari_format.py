"""Minari's datasets (Younis et al., 2024) as `replay.dataset.Dataset`."""

import os
from pathlib import Path
from typing import Any

import jax
import numpy as np

from envs.contract import Action, Array, Box, MultiDiscrete, PyTree
from envs.errors import UsageError, missing_extra, nearest
from replay.dataset import Dataset, concatenate


def convert(source: str | os.PathLike[str]) -> Dataset:
    """A dataset of Minari, by its id where it was downloaded, or by its folder.

    Numbers become as small as the environments here have them (float32, int32), choices count from 0, boxes of actions
    have one axis, and actions beyond them are clipped. No extras are taken over: Minari's mean something else in every
    dataset.

    Raises:
      UsageError: where the package is not installed, there is no such dataset, or its spaces are beyond what an agent
        can use.
    """
    try:
        import minari  # type: ignore[import-untyped, import-not-found, unused-ignore]
    except ImportError as error:
        raise missing_extra("offline", "minari") from error
    from envs.spaces import action_of, array_of

    data = _opened(minari, source)
    obs, acted = array_of(data.spec.observation_space), data.spec.action_space
    action = action_of(acted)
    made, streams = [], [0]
    for episode in data.iterate_episodes():
        over = np.asarray(episode.terminations, bool)
        last = over | np.asarray(episode.truncations, bool)
        made.append(
            Dataset(
                obs=_rows(obs, episode.observations, slice(None, -1)),
                action=_actions(action, acted, np.asarray(episode.actions)),
                reward=np.asarray(episode.rewards, np.float32),
                discount=1 - over.astype(np.float32),
                last=last,
                next_obs=_rows(obs, episode.observations, slice(1, None)),
                extras={},
                facts={},
            )
        )
        streams[-1] += len(last)
        if not last[-1]:  # cut off: the next episode does not follow it
            streams.append(0)
    if not made:
        raise UsageError(f"the dataset {data.spec.dataset_id} of Minari has no episode.")
    named, notes = data.spec.env_spec, data.storage.metadata
    origin = {name: _told(notes[name]) for name in ("author", "algorithm_name", "code_permalink") if notes.get(name)}
    facts = {
        "env": named.id if named else "",
        "env_version": ", ".join(map(str, notes.get("requirements") or [])),
        "backend": "",
        "env_options": {},
        "kind": data.spec.dataset_id,
        "provenance": {"minari": data.spec.minari_version, **origin},
        "streams": [length for length in streams if length],
    }
    return concatenate(made)._replace(facts=facts)


def _opened(minari: Any, source: str | os.PathLike[str]) -> Any:
    path = Path(source)
    try:
        if not path.is_dir():
            return minari.load_dataset(str(source))
        return minari.MinariDataset(path / "data" if (path / "data").is_dir() else path)
    except (OSError, ValueError, KeyError) as error:
        known = list(minari.list_local_datasets())
        raise UsageError(
            f"there is no dataset {str(source)!r} of Minari on this machine: `minari download ID` brings one; "
            f"{nearest(str(source), known)}"
        ) from error


def _rows(like: PyTree, tree: PyTree, rows: slice) -> PyTree:
    """Some of an episode's observations, `[T + 1, ...]`, in the shapes and dtypes of `like`."""
    return jax.tree.map(lambda array, leaf: _small(array, leaf)[rows], like, tree)


def _small(array: Array, leaf: Any) -> np.ndarray:
    return np.asarray(leaf).reshape(-1, *array.shape).astype(array.dtype)


def _actions(action: Action, space: Any, taken: np.ndarray) -> np.ndarray:
    """An episode's actions as `envs.spaces.action_of` has them."""
    match action:
        case Box(low=low, high=high):
            return np.clip(taken.reshape(len(taken), -1), low, high).astype(np.float32)
        case MultiDiscrete():
            return (taken.reshape(len(taken), -1) - np.ravel(getattr(space, "start", 0))).astype(np.int32)
    return (taken - space.start).astype(np.int32)


def _told(value: Any) -> str:
    return ", ".join(sorted(map(str, value))) if isinstance(value, set | list | tuple) else str(value)
