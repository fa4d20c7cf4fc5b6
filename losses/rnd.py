"""Random network distillation: novelty, the predictor's loss, and the bonus of BeBold and NovelD."""

import chex  # type: ignore[import-untyped]
import jax
import jax.numpy as jnp

from losses.checks import STEP_OR_SEQUENCE, VECTOR_OR_VECTORS, Scalar, check_floats, check_shapes


def rnd_loss(prediction_t: jax.Array, target_t: jax.Array, squared: bool = False) -> jax.Array:
    """Loss of the predictor of random network distillation, one per element.

    Burda et al., "Exploration by Random Network Distillation", 2018 (`squared=True`); Zhang et al., "BeBold:
    Exploration Beyond the Boundary of Explored Regions", 2020 (the norm itself).

    `loss = ||prediction_t - target_t||_2`, or its square.

    The gradient flows into `prediction_t` only, and is 0 and not NaN where both agree; `target_t`, the output of the
    fixed network, is a constant. The caller averages.

    Args:
      prediction_t: `[T, K]` or `[K]`, output of the trained network.
      target_t: the shape of `prediction_t`.
      squared: whether to square the norm; static.

    Returns:
      Losses `[T]` or `[]`.

    Raises:
      AssertionError: if an argument has another rank, shape or dtype.
    """
    check_floats(VECTOR_OR_VECTORS, prediction_t, target_t)

    total = jnp.sum(jnp.square(prediction_t - jax.lax.stop_gradient(target_t)), axis=-1)
    if squared:
        return total
    # The slope of the square root at 0 is infinite: 0 is kept away from it, not only from its result.
    agree = total == 0
    return jnp.where(agree, 0, jnp.sqrt(jnp.where(agree, 1, total)))


def rnd_novelty(prediction_t: jax.Array, target_t: jax.Array, squared: bool = False) -> jax.Array:
    """Novelty of observations by random network distillation.

    Burda et al., "Exploration by Random Network Distillation", 2018 (`squared=True`); Zhang et al., "BeBold:
    Exploration Beyond the Boundary of Explored Regions", 2020 (the norm itself).

    `n = ||prediction_t - target_t||_2`, or its square: `rnd_loss` as a constant, so that one forward serves both.

    No gradient flows into any argument.

    Args:
      prediction_t: `[T, K]` or `[K]`, output of the trained network.
      target_t: the shape of `prediction_t`, output of the fixed network.
      squared: whether to square the norm; static.

    Returns:
      Novelties `[T]` or `[]`, at least 0.

    Raises:
      AssertionError: if an argument has another rank, shape or dtype.
    """
    return jax.lax.stop_gradient(rnd_loss(prediction_t, target_t, squared))


def bebold_bonus(
    novelty_tm1: jax.Array,
    novelty_t: jax.Array,
    first_visit_t: jax.Array,
    beta: Scalar = 1.0,
    floor: Scalar = 0.0,
) -> jax.Array:
    """Bonus for crossing the boundary of what is known: how much rarer the successor is, at its first visit only.

    Zhang et al., "BeBold: Exploration Beyond the Boundary of Explored Regions", 2020 (`beta = 1`); Zhang et al.,
    "NovelD: A Simple yet Effective Exploration Criterion", 2021 (`beta = 0.5`).

    `bonus = max(novelty_t - beta * novelty_tm1, floor)` where `first_visit_t`, else 0.

    No gradient flows into any argument.

    Args:
      novelty_tm1: `[T]` or `[]`, novelty of the state where each step starts.
      novelty_t: the shape of `novelty_tm1`, novelty of its true successor.
      first_visit_t: bool, the shape of `novelty_tm1`, whether its episode sees the successor for the first time.
      beta: `[]`, weight of the novelty left behind.
      floor: `[]`, the least a first visit pays.

    Returns:
      Bonuses, the shape of `novelty_tm1`, in units of novelty.

    Raises:
      AssertionError: if an argument has another rank, shape or dtype.
    """
    check_floats(STEP_OR_SEQUENCE, novelty_tm1, novelty_t)
    check_floats(0, beta, floor)
    chex.assert_type(first_visit_t, bool)
    check_shapes(first_visit_t, novelty_t)

    bonus = jnp.maximum(novelty_t - beta * novelty_tm1, floor)
    return jax.lax.stop_gradient(jnp.where(first_visit_t, bonus, 0))
