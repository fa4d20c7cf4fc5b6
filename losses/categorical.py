"""Return distributions on fixed atoms: projection, targets for chosen and greedy actions, cross entropy, mean."""

import chex  # type: ignore[import-untyped]
import jax
import jax.numpy as jnp

from losses.checks import STEP_OR_SEQUENCE, VECTOR_OR_VECTORS, check_floats, check_shapes

MATRIX_OR_MATRICES = {2, 3}


def categorical_project(z_p: jax.Array, probs: jax.Array, z_q: jax.Array) -> jax.Array:
    """Moves the probability on atoms `z_p` to the evenly spaced atoms `z_q`.

    Bellemare, Dabney and Munos, "A Distributional Perspective on Reinforcement Learning", 2017, algorithm 1.

    `m[i] = sum_j probs[j] * max(0, 1 - |clip(z_p[j], z_q[0], z_q[-1]) - z_q[i]| / dz)`, `dz = z_q[1] - z_q[0]`

    Each atom is shared by its two neighbours so that the mean stays what it was, and beyond the ends goes to the last
    one. Every pair of atoms is computed: no scatter. The gradient flows into `z_p` and `probs`; `z_q` is a constant.

    Args:
      z_p: `[T, N]` or `[N]`, where the probability is, in units of reward.
      probs: the shape of `z_p`, at least 0, with sum 1.
      z_q: `[N]`, at least two, evenly spaced and ascending, in units of reward.

    Returns:
      Probabilities on `z_q`, the shape of `z_p`.

    Raises:
      AssertionError: if an argument has another rank, shape or dtype, or there is a single atom.
    """
    check_floats(VECTOR_OR_VECTORS, z_p, probs)
    _check_atoms(z_q, z_p)

    z_q = jax.lax.stop_gradient(z_q)
    low, high = z_q[0], z_q[-1]
    # Summed over an axis before the last: XLA's CPU makes vectors of the last one, and no sum along it.
    apart = jnp.clip(z_p, low, high)[..., :, None] - z_q
    share = jnp.maximum(1 - jnp.abs(apart) * ((len(z_q) - 1) / (high - low)), 0)
    return jnp.sum(share * probs[..., :, None], axis=-2)


def categorical_target(
    logits_t: jax.Array,
    reward_t: jax.Array,
    discount_t: jax.Array,
    z: jax.Array,
    stop_target_gradients: bool = True,
) -> jax.Array:
    """Target distribution of a critic, that of D4PG.

    Barth-Maron et al., "Distributed Distributional Deterministic Policy Gradients", 2018.

    `m = categorical_project(reward_t + discount_t * z, softmax(logits_t), z)`

    For n steps `reward_t` is their discounted sum, `discount_t` the product of their discounts and `logits_t` belong to
    the state after them. No gradient flows into any argument, except that with `stop_target_gradients=False` it flows
    into all but `z`, which a meta-gradient through the reward needs.

    Args:
      logits_t: `[T, N]` or `[N]`, the target critic's at the true successor and the target policy's action.
      reward_t: `[T]` or `[]`, in units of reward.
      discount_t: the shape of `reward_t`, in 0 to 1.
      z: `[N]`, the atoms, evenly spaced and ascending, in units of reward.
      stop_target_gradients: whether the target is a constant; static.

    Returns:
      Probabilities on `z`, the shape of `logits_t`.

    Raises:
      AssertionError: if an argument has another rank, shape or dtype, or there is a single atom.
    """
    check_floats(VECTOR_OR_VECTORS, logits_t)
    check_floats(STEP_OR_SEQUENCE, reward_t, discount_t)
    check_shapes(reward_t, logits_t[..., 0])
    _check_atoms(z, logits_t)

    z_p = reward_t[..., None] + discount_t[..., None] * jax.lax.stop_gradient(z)
    target = categorical_project(z_p, jax.nn.softmax(logits_t), z)
    return jax.lax.stop_gradient(target) if stop_target_gradients else target


def categorical_q_target(
    logits_t: jax.Array, logits_selector_t: jax.Array, reward_t: jax.Array, discount_t: jax.Array, z: jax.Array
) -> jax.Array:
    """Target distribution of Q-learning: that of the action with the highest mean.

    Bellemare, Dabney and Munos, 2017, with `logits_t` twice; Hessel et al., "Rainbow: Combining Improvements in Deep
    Reinforcement Learning", 2018, with the logits of the network that is trained as selector.

    `m = categorical_target(logits_t[a], reward_t, discount_t, z)`, `a = argmax_a mean(logits_selector_t[a])`

    The first of equal actions is chosen. No gradient flows into any argument.

    Args:
      logits_t: `[T, A, N]` or `[A, N]`, of the true successor, by the target network.
      logits_selector_t: the shape of `logits_t`, by the network that chooses the action.
      reward_t: `[T]` or `[]`, in units of reward.
      discount_t: the shape of `reward_t`, in 0 to 1.
      z: `[N]`, the atoms, evenly spaced and ascending, in units of reward.

    Returns:
      Probabilities on `z`, `[T, N]` or `[N]`.

    Raises:
      AssertionError: if an argument has another rank, shape or dtype, or there is a single atom.
    """
    check_floats(MATRIX_OR_MATRICES, logits_t, logits_selector_t)
    _check_atoms(z, logits_t)

    action = jnp.argmax(jnp.sum(jax.nn.softmax(logits_selector_t) * z, axis=-1), axis=-1)
    chosen = jnp.take_along_axis(logits_t, action[..., None, None], axis=-2)[..., 0, :]
    return categorical_target(chosen, reward_t, discount_t, z)


def categorical_cross_entropy(
    logits_tm1: jax.Array, target_tm1: jax.Array, stop_target_gradients: bool = True
) -> jax.Array:
    """Cross entropy of a predicted distribution against a target one, one per element.

    Bellemare, Dabney and Munos, 2017.

    `loss = -sum_i target_tm1[i] * log softmax(logits_tm1)[i]`

    The gradient flows into `logits_tm1` only, unless `stop_target_gradients=False` lets it into `target_tm1` too. The
    caller weights and averages.

    Args:
      logits_tm1: `[T, N]` or `[N]`, of the action that was taken.
      target_tm1: the shape of `logits_tm1`, probabilities of the same atoms.
      stop_target_gradients: whether the target is a constant; static.

    Returns:
      Losses `[T]` or `[]`, in nats.

    Raises:
      AssertionError: if an argument has another rank, shape or dtype.
    """
    check_floats(VECTOR_OR_VECTORS, logits_tm1, target_tm1)

    target_tm1 = jax.lax.stop_gradient(target_tm1) if stop_target_gradients else target_tm1
    return -jnp.sum(target_tm1 * jax.nn.log_softmax(logits_tm1), axis=-1)


def categorical_mean(logits_t: jax.Array, z: jax.Array) -> jax.Array:
    """Mean of a distribution on atoms: the value that a distributional critic predicts.

    Bellemare, Dabney and Munos, 2017.

    `value = sum_i softmax(logits_t)[i] * z[i]`

    The gradient flows into `logits_t` only; `z` is a constant.

    Args:
      logits_t: `[T, N]` or `[N]`.
      z: `[N]`, the atoms, in units of reward.

    Returns:
      Values `[T]` or `[]`, in units of reward.

    Raises:
      AssertionError: if an argument has another rank, shape or dtype.
    """
    check_floats(VECTOR_OR_VECTORS, logits_t)
    _check_atoms(z, logits_t)

    return jnp.sum(jax.nn.softmax(logits_t) * jax.lax.stop_gradient(z), axis=-1)


def _check_atoms(z: jax.Array, like: jax.Array) -> None:
    check_floats(1, z)
    chex.assert_axis_dimension(like, -1, len(z))
    chex.assert_axis_dimension_gt(z, 0, 1)
