"""Losses and return estimates: pure functions of arrays, no networks and no state.

Conventions, the same in every file:

- Unbatched: `[T]` is one sequence in time, `[]` one step. The caller adds batch axes with `jax.vmap`.
- `_tm1` is the step before: `value_tm1[i]` belongs to the state where step `i` starts, `value_t[i]` to its TRUE
  successor (at an end, the final observation and not the reset one), `reward_t[i]` and `discount_t[i]` to the
  transition between them. `discount_t` is 0 only at true termination.
- `lambda_t` already holds 0 where an episode ends, truncation included: a truncated step then bootstraps from its own
  `value_t`, and nothing of the next episode leaks into it. A scalar is right only where no step is truncated.
- Elsewhere `value_t[i]` and `value_tm1[i + 1]` are the same state, and are taken to be the same number.
- Losses are to be minimised and come one per element: the caller masks and averages.
- Returns, advantages, targets and bonuses are constants: `jax.lax.stop_gradient` is applied inside.
- Wrong ranks, shapes or dtypes raise `AssertionError` before anything is computed, under `jit` and `vmap` too.
"""

from losses.agac import agac_advantage, agac_value_target
from losses.curiosity import icm_bonus, icm_loss, ngu_bonus, ngu_modulation, ride_bonus
from losses.deir import deir_bonus, deir_loss
from losses.elliptical import elliptical_bonus, elliptical_update
from losses.entropy import categorical_entropy, categorical_kl, entropy_loss
from losses.gae import gae
from losses.policy import clipped_surrogate, policy_gradient
from losses.returns import discounted_returns, lambda_returns, n_step_returns
from losses.rnd import bebold_bonus, rnd_loss, rnd_novelty
from losses.value import clipped_value, huber_value, squared_value
from losses.vtrace import VTrace, vtrace

__all__ = [
    "VTrace",
    "agac_advantage",
    "agac_value_target",
    "bebold_bonus",
    "categorical_entropy",
    "categorical_kl",
    "clipped_surrogate",
    "clipped_value",
    "deir_bonus",
    "deir_loss",
    "discounted_returns",
    "elliptical_bonus",
    "elliptical_update",
    "entropy_loss",
    "gae",
    "huber_value",
    "icm_bonus",
    "icm_loss",
    "lambda_returns",
    "n_step_returns",
    "ngu_bonus",
    "ngu_modulation",
    "policy_gradient",
    "ride_bonus",
    "rnd_loss",
    "rnd_novelty",
    "squared_value",
    "vtrace",
]
