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
from losses.balance import dot_balance, gaussian_balance
from losses.categorical import (
    categorical_cross_entropy,
    categorical_mean,
    categorical_project,
    categorical_q_target,
    categorical_target,
)
from losses.contrastive import bilinear_similarity, info_nce, mahalanobis_similarity, wasserstein_similarity
from losses.curiosity import icm_bonus, icm_loss, ngu_bonus, ngu_modulation, ride_bonus
from losses.deir import deir_bonus, deir_loss
from losses.deterministic import dpg_loss
from losses.elliptical import elliptical_bonus, elliptical_update
from losses.entropy import categorical_entropy, categorical_kl, entropy_loss
from losses.gae import gae
from losses.gaussian import gaussian_nll, gaussian_product, soft_clamp, standard_normal_kl
from losses.lagrange import multiplier_update, overshoot, penalised_return, penalised_reward
from losses.policy import clipped_surrogate, policy_gradient
from losses.quantile import quantile_huber, quantile_q_target
from losses.returns import discounted_returns, lambda_returns, n_step_returns
from losses.rnd import bebold_bonus, rnd_loss, rnd_novelty
from losses.sac import sac_policy_loss, sac_target, sac_temperature_loss
from losses.td import double_q_target, huber_td, q_learning_target, td_error, td_target
from losses.td3 import td3_smoothed_action, td3_target
from losses.value import clipped_value, huber_value, squared_value
from losses.vtrace import VTrace, vtrace

__all__ = [
    "VTrace",
    "agac_advantage",
    "agac_value_target",
    "bebold_bonus",
    "bilinear_similarity",
    "categorical_cross_entropy",
    "categorical_entropy",
    "categorical_kl",
    "categorical_mean",
    "categorical_project",
    "categorical_q_target",
    "categorical_target",
    "clipped_surrogate",
    "clipped_value",
    "deir_bonus",
    "deir_loss",
    "discounted_returns",
    "dot_balance",
    "double_q_target",
    "dpg_loss",
    "elliptical_bonus",
    "elliptical_update",
    "entropy_loss",
    "gae",
    "gaussian_balance",
    "gaussian_nll",
    "gaussian_product",
    "huber_td",
    "huber_value",
    "icm_bonus",
    "icm_loss",
    "info_nce",
    "lambda_returns",
    "mahalanobis_similarity",
    "multiplier_update",
    "n_step_returns",
    "ngu_bonus",
    "ngu_modulation",
    "overshoot",
    "penalised_return",
    "penalised_reward",
    "policy_gradient",
    "q_learning_target",
    "quantile_huber",
    "quantile_q_target",
    "ride_bonus",
    "rnd_loss",
    "rnd_novelty",
    "sac_policy_loss",
    "sac_target",
    "sac_temperature_loss",
    "soft_clamp",
    "squared_value",
    "standard_normal_kl",
    "td3_smoothed_action",
    "td3_target",
    "td_error",
    "td_target",
    "vtrace",
    "wasserstein_similarity",
]
