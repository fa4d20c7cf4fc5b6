"""Value losses: squared, clipped and Huber."""

import jax
import jax.numpy as jnp

from losses.checks import STEP_OR_SEQUENCE, Scalar, check_floats


def squared_value(value_tm1: jax.Array, target_tm1: jax.Array) -> jax.Array:
    """Squared value loss, one per element.

    Sutton and Barto, "Reinforcement Learning: An Introduction", 2018, chapter 9.

    `loss = (value_tm1 - target_tm1)^2 / 2`

    The gradient flows into `value_tm1` only; `target_tm1` is a constant. The caller averages.

    Args:
      value_tm1: `[T]` or `[]`, predicted values, in units of reward.
      target_tm1: the shape of `value_tm1`.

    Returns:
      Losses, the shape of `value_tm1`, in units of reward squared.

    Raises:
      AssertionError: if an argument has another rank, shape or dtype.
    """
    check_floats(STEP_OR_SEQUENCE, value_tm1, target_tm1)

    return jnp.square(value_tm1 - jax.lax.stop_gradient(target_tm1)) / 2


def clipped_value(value_tm1: jax.Array, old_value_tm1: jax.Array, target_tm1: jax.Array, epsilon: Scalar) -> jax.Array:
    """Squared value loss that gains nothing from moving far from the old value, one per element.

    The value counterpart of the clipped surrogate: Schulman et al., "Proximal Policy Optimization Algorithms", 2017 (in
    its implementation); studied by Engstrom et al., "Implementation Matters in Deep Policy Gradients", 2020.

    `loss = max((value - target)^2, (old + clip(value - old, -epsilon, epsilon) - target)^2) / 2`

    The gradient flows into `value_tm1` only, and is 0 where the clipped side is the larger; `old_value_tm1` and
    `target_tm1` are constants. The caller averages.

    Args:
      value_tm1: `[T]` or `[]`, predicted values, in units of reward.
      old_value_tm1: the shape of `value_tm1`, what was predicted when the steps were taken.
      target_tm1: the shape of `value_tm1`.
      epsilon: `[]`, how far a value may move, in units of reward.

    Returns:
      Losses, the shape of `value_tm1`, in units of reward squared.

    Raises:
      AssertionError: if an argument has another rank, shape or dtype.
    """
    check_floats(STEP_OR_SEQUENCE, value_tm1, old_value_tm1, target_tm1)
    check_floats(0, epsilon)

    old_value_tm1 = jax.lax.stop_gradient(old_value_tm1)
    clipped_tm1 = old_value_tm1 + jnp.clip(value_tm1 - old_value_tm1, -epsilon, epsilon)
    return jnp.maximum(squared_value(value_tm1, target_tm1), squared_value(clipped_tm1, target_tm1))


def huber_value(value_tm1: jax.Array, target_tm1: jax.Array, delta: Scalar) -> jax.Array:
    """Huber value loss, one per element: squared near the target, linear beyond `delta`.

    Huber, "Robust Estimation of a Location Parameter", 1964.

    `loss = e^2 / 2` where `|e| <= delta`, else `delta * (|e| - delta / 2)`, with `e = value_tm1 - target_tm1`.

    The gradient flows into `value_tm1` only and never exceeds `delta`; `target_tm1` is a constant. The caller averages.

    Args:
      value_tm1: `[T]` or `[]`, predicted values, in units of reward.
      target_tm1: the shape of `value_tm1`.
      delta: `[]`, positive, where the loss turns linear, in units of reward.

    Returns:
      Losses, the shape of `value_tm1`, in units of reward squared.

    Raises:
      AssertionError: if an argument has another rank, shape or dtype.
    """
    check_floats(STEP_OR_SEQUENCE, value_tm1, target_tm1)
    check_floats(0, delta)

    error = value_tm1 - jax.lax.stop_gradient(target_tm1)
    near = jnp.clip(error, -delta, delta)
    # Equal to e^2 / 2 where near == e, and linear in e beyond: one expression, finite whichever side is taken.
    return near * (error - near / 2)
