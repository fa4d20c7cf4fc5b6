"""The contract of a world model: pure functions that fit a model of the environment and predict with it, under `jit`.

A member of the door `world model` is a file with `Config` and `make(spec, **options) -> WorldModel`. The agent owns
its state, lends it the records and the policy, and decides when it is fitted and for how long it is followed.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from envs.contract import Box, EnvSpec
from envs.errors import UsageError


class Records(NamedTuple):
    """Single transitions, of which the first `held` slots are in use: what a model is fitted to.

    Attributes:
      obs: float32 `[N, D]`.
      action: float32 `[N, A]`.
      reward: float32 `[N]`.
      discount: float32 `[N]`, 0 where the episode truly ended with `next_obs`.
      next_obs: float32 `[N, D]`.
      held: int32 `[]`.
    """

    obs: jax.Array
    action: jax.Array
    reward: jax.Array
    discount: jax.Array
    next_obs: jax.Array
    held: jax.Array


class Predicted(NamedTuple):
    """One predicted step: `next_obs` `[N, D]`, `reward` `[N]`, and `doubt` `[N]`, how unsure the model is of it."""

    next_obs: jax.Array
    reward: jax.Array
    doubt: jax.Array


class Believed(NamedTuple):
    """A step as a distribution: mean and standard deviation of the successor `[N, D]` and of the reward `[N]`."""

    next_obs: jax.Array
    next_obs_deviation: jax.Array
    reward: jax.Array
    reward_deviation: jax.Array


class WorldModel(NamedTuple):
    """A model of the environment over a state of its own.

    Attributes:
      init: `(key) -> state`.
      fit: `(key, state, records, policy) -> (state, metrics)`; `policy` is `(key, obs [N, D]) -> action [N, A]`, the
        policy that the model will be used for. Among the metrics is `loss`, the error on records held out.
      predict: `(key, state, obs, action) -> Predicted`, one draw for each row.
      believe: `(state, obs, action) -> Believed`, where it can say so much, else None.
      report: `(state) -> metrics` of the last fit, for the run's own, else None.
    """

    init: Callable[[jax.Array], Any]
    fit: Callable[..., tuple[Any, dict[str, jax.Array]]]
    predict: Callable[..., Predicted]
    believe: Callable[..., Believed] | None = None
    report: Callable[[Any], dict[str, jax.Array]] | None = None


def sizes(spec: EnvSpec) -> tuple[int, int]:
    """The lengths of observation and action vectors.

    Raises:
      UsageError: where observations are no vector of numbers, or actions no box.
    """
    shape = getattr(spec.obs, "shape", None)
    if shape is None or len(shape) != 1 or spec.obs.dtype != "float32":
        raise UsageError(f"world models predict one vector of numbers, and {spec.id} shows something else.")
    if not isinstance(spec.action, Box):
        raise UsageError(f"world models predict what actions of a box do, and those of {spec.id} are choices.")
    return shape[0], len(spec.action.low)
