"""What every environment speaks: `TimeStep`, `EnvSpec`, and the two kinds of environment, `Env` and `HostEnv`.

This file imports NumPy only, so that worker processes can use it without paying for JAX.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

PyTree = Any


@dataclass(frozen=True)
class Array:
    """Shape and dtype of one array of an observation or of an extra, without batch axes.

    `low` and `high` bound every element where bounds are known (integers need them to be embedded). Where the places of
    the last axis are of different kinds, `levels` says how many integers from `low` on each place takes.
    """

    shape: tuple[int, ...]
    dtype: str
    low: float | None = None
    high: float | None = None
    levels: tuple[int, ...] = ()


@dataclass(frozen=True)
class Discrete:
    """One choice out of `n`: actions are int32 of shape `[]`."""

    n: int
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class MultiDiscrete:
    """Several choices at once, `n[i]` options for the i-th: actions are int32 of shape `[len(n)]`."""

    n: tuple[int, ...]


@dataclass(frozen=True)
class Box:
    """A bounded box: actions are float32 of shape `[len(low)]`, each within `low[i]` and `high[i]`."""

    low: tuple[float, ...]
    high: tuple[float, ...]


Action = Discrete | MultiDiscrete | Box


@dataclass(frozen=True)
class EnvSpec:
    """What an agent may know of an environment before it starts.

    Attributes:
      id: the environment's name, as given to `envs.make`.
      version: package and version of the engine, e.g. `"envpool 1.2.5"`; recorded in every result.
      obs: PyTree of `Array`, without batch axes.
      action: `Discrete`, `MultiDiscrete` or `Box`.
      extras: name to `Array` of the named arrays in `TimeStep.extras`.
      max_steps: the time limit in agent steps, or 0 where there is none or none is known.
      agents: number of agents; above 1 every field of `TimeStep` has a leading axis of this length.
      tasks: PyTree of `Array` describing a task, `()` if there is only one.
      trial: how many episodes in a row one environment plays with one task, in a family of tasks that are to be found
        out; 0 elsewhere. Steps then have the extras of `envs/families/trials.py`.
      scores: names of extras of shape `()` whose values at an episode's last step say how it went, such as the depth
        that was reached; training and evaluation report their averages over episodes.
    """

    id: str
    version: str
    obs: PyTree
    action: Action
    extras: dict[str, Array] = field(default_factory=dict)
    max_steps: int = 0
    agents: int = 1
    tasks: PyTree = ()
    trial: int = 0
    scores: tuple[str, ...] = ()


class TimeStep(NamedTuple):
    """One step of a batch of environments; every leaf has the batch axis `[B, ...]` first.

    Attributes:
      obs: what the agent acts on next; after an end, the reset observation.
      reward: float32 `[B]`.
      discount: float32 `[B]`, 0 only at true termination.
      last: bool `[B]`, an episode's end, truncation included; termination wins where both fall on one step.
      next_obs: the true successor of the action just taken; differs from `obs` only where `last`.
      extras: named arrays declared in the spec. An extra that describes a state comes twice, like the
        observation itself: `grid_key` belongs to `obs` and `next_grid_key` to `next_obs`.

    Where a simulation gives numbers that are not finite, its episode ends there: `reward` is NaN, `discount` 1, `last`
    True, `obs` of a new episode, and `next_obs` whatever the simulation gave. The loops count and discard it.
    """

    obs: PyTree
    reward: Any
    discount: Any
    last: Any
    next_obs: PyTree
    extras: dict[str, Any]


class Env(NamedTuple):
    """One environment on the device, as pure functions; it never resets itself (`envs.batch` does).

    Attributes:
      spec: its `EnvSpec`.
      reset: `(key, task) -> (state, TimeStep)`, unbatched, reward 0, discount 1, last False.
      step: `(key, state, action) -> (state, TimeStep)`, unbatched, with `obs == next_obs`.
      refill: optional `(key, states, timestep, data) -> (states, timestep)` for the whole batch: where an episode ended
        (`timestep.last`), the state, `timestep.obs` and the extras that describe a state are those of a new episode;
        all else is untouched, so that few rows are written where few ended.
      options: the keyword arguments it was made with, recorded in results.
      data: PyTree of read-only arrays that all copies share, such as a bank of levels. It may be large: compiled
        programs take it as an argument and never hold it as a constant.
      draw: optional `(key, data) -> task`, unbatched: the task of a new episode, such as a level out of a bank.
      picture: optional `(state) -> uint8 [H, W, 3]`, a drawing of one state made on the host.
      evaluation: the same environment on levels kept apart for evaluation, None where nothing is kept apart.
      deal: optional `(key, n, data) -> tasks [n, ...]`: the tasks of the first episodes of a whole batch, in place of
        `draw`; `refill` has those of all later ones.
    """

    spec: EnvSpec
    reset: Callable[..., Any]
    step: Callable[..., Any]
    refill: Callable[..., Any] | None = None
    options: dict[str, Any] | None = None
    data: PyTree = ()
    draw: Callable[..., Any] | None = None
    picture: Callable[..., Any] | None = None
    evaluation: "Env | None" = None
    deal: Callable[..., Any] | None = None


class HostEnv(NamedTuple):
    """A batch of environments on the host: NumPy arrays in, a `TimeStep` of NumPy arrays out.

    Attributes:
      spec: its `EnvSpec`.
      n: number of environments in the batch.
      reset: `() -> TimeStep`, the first one; called once, before any step.
      step: `(actions [n, ...]) -> TimeStep`; ended episodes are already reset in `obs`.
      save: `() -> dict of arrays`: per environment its seed, the number of resets and the episode's actions.
      restore: `(arrays) -> TimeStep`, on a fresh engine made with the same arguments: replays what `save` recorded and
        returns the last TimeStep again (its reward, discount and last are those of the replayed last step).
      close: `() -> None`.
      render: `() -> list of n frames`, uint8 `[H, W, 3]`, where the engine can draw, else None.
      text: `() -> list of n screens`, text with ANSI colours, where it draws and its world is a terminal, else None.
    """

    spec: EnvSpec
    n: int
    reset: Callable[[], TimeStep]
    step: Callable[[np.ndarray], TimeStep]
    save: Callable[[], dict[str, np.ndarray]]
    restore: Callable[[dict[str, np.ndarray]], TimeStep]
    close: Callable[[], None]
    render: Callable[[], list[np.ndarray]] | None = None
    text: Callable[[], list[str]] | None = None


class HostMaker(NamedTuple):
    """What `envs.make(id, backend="host")` returns: the spec now, and engines when somebody opens them.

    Attributes:
      spec: its `EnvSpec`.
      backend: the name of the engine behind it, such as `"host"` or `"reference"`.
      options: the keyword arguments it was made with, recorded in results.
      open: `(seed, n, render=False) -> HostEnv`; environment `i` is seeded from `(seed, i)`. Raises `UsageError` where
        `render` is asked of an engine that cannot draw.
      evaluation: the same environment on tasks kept apart for evaluation, None where nothing is kept apart.
    """

    spec: EnvSpec
    backend: str
    options: dict[str, Any]
    open: Callable[..., HostEnv]
    evaluation: "HostMaker | None" = None
