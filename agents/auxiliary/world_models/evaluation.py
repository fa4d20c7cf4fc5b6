"""Off-policy evaluation by a model: what a policy would return, from a dataset that another one made."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from agents.auxiliary.world_model import Records, WorldModel
from agents.config import require
from envs import termination
from envs.errors import UsageError
from replay.dataset import Dataset, size

Policy = Callable[[jax.Array, jax.Array], jax.Array]


class Estimate(NamedTuple):
    """A policy's value, the mean discounted return, float32 `[]`, and the return of each rollout, float32 `[N]`."""

    value: jax.Array
    returns: jax.Array


def records(data: Dataset) -> Records:
    """A dataset as world models are fitted to it.

    Raises:
      UsageError: where observations or actions are no vectors.
    """
    count, obs, action = size(data), np.asarray(data.obs), np.asarray(data.action)
    if obs.ndim != 2 or action.ndim != 2:
        raise UsageError("world models are fitted to vectors of numbers, and the dataset's states or actions are none.")
    return Records(
        obs=jnp.asarray(obs, jnp.float32),
        action=jnp.asarray(action, jnp.float32),
        reward=jnp.asarray(data.reward, jnp.float32),
        discount=jnp.asarray(data.discount, jnp.float32),
        next_obs=jnp.asarray(data.next_obs, jnp.float32),
        held=jnp.int32(count),
    )


def first_states(data: Dataset) -> jax.Array:
    """The states in which the episodes of a dataset begin, float32 `[N, D]`."""
    opens = np.concatenate([[True], np.asarray(data.last)[:-1]])
    streams = data.facts.get("streams") or [size(data)]
    opens[np.cumsum(streams)[:-1]] = True
    return jnp.asarray(np.asarray(data.obs)[opens], jnp.float32)


def evaluate(
    key: jax.Array,
    model: WorldModel,
    state: Any,
    policy: Policy,
    starts: jax.Array,
    *,
    horizon: int,
    discount: float,
    ends: termination.Rule = termination.never,
) -> Estimate:
    """Follows a policy in a model from each of `starts`, by Monte Carlo.

    `V = mean_starts sum_(t < horizon) discount^t r_t`, until the episode ends; for an endless task take a horizon whose
    `discount^horizon` is small.

    Args:
      key: of the policy's actions and the model's draws.
      model: the world model.
      state: what it has learned, by a fit.
      policy: `(key, obs [N, D]) -> action [N, A]`.
      starts: `[N, D]`, such as `first_states` of a dataset or all its states; each is followed once.
      horizon: steps.
      discount: per step.
      ends: `(next_obs) -> bool [N]`, `termination.of` the task.

    Raises:
      UsageError: where there are no starts, or a number is out of range.
    """
    require(horizon > 0, "horizon", horizon, "above 0")
    require(0 <= discount <= 1, "discount", discount, "between 0 and 1")
    if not len(starts):
        raise UsageError("there is no state to begin at: give first_states of the dataset, or all its states.")
    returns = _follow(model, policy, ends, horizon, key, state, starts, jnp.float32(discount))
    return Estimate(returns.mean(), returns)


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _follow(model, policy, ends, horizon, key, state, starts, discount):
    def step(now, key):
        obs, weight = now
        act_key, model_key = jax.random.split(key)
        found = model.predict(model_key, state, obs, policy(act_key, obs))
        gained = jnp.where(weight > 0, weight * found.reward, 0.0)
        return (found.next_obs, weight * discount * ~ends(found.next_obs)), gained

    begun = (starts, jnp.ones(starts.shape[0]))
    _, gained = jax.lax.scan(step, begun, jax.random.split(key, horizon))
    return gained.sum(0)
