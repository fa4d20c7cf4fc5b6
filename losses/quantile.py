"""Return distributions as quantiles: the quantile Huber loss and the target of Q-learning."""

import chex  # type: ignore[import-untyped]
import jax
import jax.numpy as jnp

from losses.checks import STEP_OR_SEQUENCE, VECTOR_OR_VECTORS, check_floats, check_shapes

MATRIX_OR_MATRICES = {2, 3}


def quantile_huber(
    quantiles_tm1: jax.Array, tau_tm1: jax.Array, target_tm1: jax.Array, kappa: float = 1.0
) -> jax.Array:
    """Quantile regression loss with a Huber kernel, one per element.

    Dabney et al., "Distributional Reinforcement Learning with Quantile Regression", 2018, equations 9 and 10.

    `loss = sum_i mean_j |tau_tm1[i] - (u[i, j] < 0)| * H(u[i, j])`, `u[i, j] = target_tm1[j] - quantiles_tm1[i]`,
    `H(u) = u^2 / 2` where `|u| <= kappa`, else `kappa * (|u| - kappa / 2)`; `H(u) = |u|` for `kappa = 0`

    The gradient flows into `quantiles_tm1` only; the others are constants. The caller weights and averages.

    Args:
      quantiles_tm1: `[T, N]` or `[N]`, of the action that was taken, in units of reward.
      tau_tm1: `[N]`, levels in 0 to 1; `(i + 1/2) / N` in the paper.
      target_tm1: `[T, M]` or `[M]`, samples or quantiles of the return, in units of reward.
      kappa: where the loss turns linear, in units of reward, at least 0; static.

    Returns:
      Losses `[T]` or `[]`, in units of reward squared (of reward, for `kappa = 0`).

    Raises:
      AssertionError: if an argument has another rank, shape or dtype, or `kappa` is negative.
    """
    check_floats(VECTOR_OR_VECTORS, quantiles_tm1)
    check_floats(VECTOR_OR_VECTORS, target_tm1)
    check_floats(1, tau_tm1)
    check_shapes(quantiles_tm1[..., 0], target_tm1[..., 0])
    chex.assert_axis_dimension(quantiles_tm1, -1, len(tau_tm1))
    chex.assert_scalar_non_negative(kappa)

    error = jax.lax.stop_gradient(target_tm1)[..., None, :] - quantiles_tm1[..., :, None]
    near = jnp.clip(error, -kappa, kappa)
    kernel = near * (error - near / 2) if kappa else jnp.abs(error)
    weight = jnp.abs(jax.lax.stop_gradient(tau_tm1)[:, None] - (error < 0))
    return jnp.sum(jnp.mean(weight * kernel, axis=-1), axis=-1)


def quantile_q_target(
    quantiles_t: jax.Array, quantiles_selector_t: jax.Array, reward_t: jax.Array, discount_t: jax.Array
) -> jax.Array:
    """Target quantiles of Q-learning: those of the action with the highest mean.

    Dabney et al., 2018, algorithm 1, with `quantiles_t` twice; double Q-learning with those of the network that is
    trained as selector (van Hasselt, Guez and Silver, 2016).

    `y[j] = reward_t + discount_t * quantiles_t[a, j]`, `a = argmax_a mean_j quantiles_selector_t[a, j]`

    For n steps `reward_t` is their discounted sum, `discount_t` the product of their discounts. The first of equal
    actions is chosen. No gradient flows into any argument.

    Args:
      quantiles_t: `[T, A, N]` or `[A, N]`, of the true successor, by the target network, in units of reward.
      quantiles_selector_t: the shape of `quantiles_t`, by the network that chooses the action.
      reward_t: `[T]` or `[]`, in units of reward.
      discount_t: the shape of `reward_t`, in 0 to 1.

    Returns:
      Targets `[T, N]` or `[N]`, in units of reward.

    Raises:
      AssertionError: if an argument has another rank, shape or dtype.
    """
    check_floats(MATRIX_OR_MATRICES, quantiles_t, quantiles_selector_t)
    check_floats(STEP_OR_SEQUENCE, reward_t, discount_t)
    check_shapes(reward_t, quantiles_t[..., 0, 0])

    action = jnp.argmax(jnp.mean(quantiles_selector_t, axis=-1), axis=-1)
    chosen = jnp.take_along_axis(quantiles_t, action[..., None, None], axis=-2)[..., 0, :]
    return jax.lax.stop_gradient(reward_t[..., None] + discount_t[..., None] * chosen)
