"""Wrappers that learn statistics while the agent trains: `normalize_obs` and `scale_reward`."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from envs.contract import Array, EnvSpec, PyTree, TimeStep
from envs.errors import UsageError
from envs.wrappers.wrapper import Wrapper, WrapperState, lead


class Moments(NamedTuple):
    """Mean and variance of all that was seen.

    Attributes:
      mean: float32, shaped like one sample.
      var: float32, shaped like one sample; the population variance.
      seen: float32 `[]`, how many samples. Where float32 can no longer count up, the newest samples keep the weight
        that they had by then, as in a slow moving average.
    """

    mean: jax.Array
    var: jax.Array
    seen: jax.Array


def moments(shape: tuple[int, ...]) -> Moments:
    """Of nothing: mean 0 and variance 1, which leave what they normalise as it is."""
    return Moments(jnp.zeros(shape), jnp.ones(shape), jnp.zeros(()))


def merge(old: Moments, x: jax.Array) -> Moments:
    """Adds the samples `x` `[N, ...]` to what was seen.

    Chan, Golub & LeVeque 1983, "Algorithms for computing the sample variance". With `w = N / (seen + N)` and
    `delta = mean(x) - mean`: `mean += w delta` and `var += w (var(x) - var + (1 - w) delta²)`. Written with the
    weight rather than with sums of squares, no term grows with the number of samples.
    """
    seen = old.seen + x.shape[0]
    weight = x.shape[0] / seen
    delta = x.mean(axis=0) - old.mean
    var = old.var + weight * (x.var(axis=0) - old.var + (1.0 - weight) * delta**2)
    return Moments(old.mean + weight * delta, var, seen)


def normalize_obs(epsilon: float = 1e-8, clip: float = 10.0) -> Wrapper:
    """Brings every element of the float observations to mean 0 and variance 1.

    `(obs - mean) / sqrt(var + epsilon)`, clipped to `[-clip, clip]`, with running statistics of every `obs` seen so
    far, the present one included; `next_obs` is normalised with the same statistics and never counted. Leaves of
    other types pass unchanged. Output is float32.

    Args:
      epsilon: added to the variance.
      clip: bound of the result.

    Raises:
      UsageError: in `spec`, where the observation has no float array.
    """
    _positive("normalize_obs.epsilon", epsilon)
    _positive("normalize_obs.clip", clip)

    def spec(spec: EnvSpec) -> EnvSpec:
        if not any(map(_is_float, jax.tree.leaves(spec.obs))):
            raise UsageError(f"normalize_obs finds no float array in the observation of {spec.id}.")
        normal = {"dtype": "float32", "low": -clip, "high": clip}
        obs = jax.tree.map(lambda a: dataclasses.replace(a, **normal) if _is_float(a) else a, spec.obs)
        return dataclasses.replace(spec, obs=obs)

    def init(spec: EnvSpec, n: int) -> WrapperState:
        return WrapperState([moments(a.shape) if _is_float(a) else None for a in jax.tree.leaves(spec.obs)], ())

    def normalize(stats: Moments | None, x: jax.Array) -> jax.Array:
        if stats is None:
            return x
        # The maximum keeps XLA from adding epsilon to the first variance, a constant 1, where float32 would lose it.
        scale = jax.lax.rsqrt(jnp.maximum(stats.var, 0.0) + epsilon)
        return jnp.clip((x - stats.mean) * scale, -clip, clip).astype(jnp.float32)

    def timestep(state: WrapperState, timestep: TimeStep, evaluate: bool) -> tuple[WrapperState, TimeStep]:
        shared = state.shared
        if not evaluate:
            shared = [
                # All axes in front of one sample's are samples: environments, and agents where there are several.
                None if stats is None else merge(stats, jnp.asarray(x, jnp.float32).reshape(-1, *stats.mean.shape))
                for stats, x in zip(shared, jax.tree.leaves(timestep.obs), strict=True)
            ]

        def normal(obs: PyTree) -> PyTree:
            arrays, tree = jax.tree.flatten(obs)
            return jax.tree.unflatten(tree, [normalize(stats, x) for stats, x in zip(shared, arrays, strict=True)])

        timestep = timestep._replace(obs=normal(timestep.obs), next_obs=normal(timestep.next_obs))
        return state._replace(shared=shared), timestep

    return Wrapper("normalize_obs", spec, init, None, timestep)


class Returns(NamedTuple):
    """The discounted return so far of each environment `[n]`, and whether its stream has begun, bool `[n]`."""

    value: jax.Array
    started: jax.Array


def scale_reward(gamma: float = 0.99, epsilon: float = 1e-8, clip: float = 10.0) -> Wrapper:
    """Divides rewards by the spread of the discounted return, so that returns have a variance near 1.

    Engstrom et al. 2020, "Implementation matters in deep policy gradients". Per environment `R = gamma R + reward`,
    zeroed after an episode's end; the reward becomes `reward / sqrt(var(R) + epsilon)`, clipped to `[-clip, clip]` and
    never shifted, with the variance of every `R` so far, the present one included. The environment's own reward stays
    in the extra `raw_reward`.

    Args:
      gamma: discount of the accumulated return, best the agent's own.
      epsilon: added to the variance.
      clip: bound of the result.
    """
    if not 0.0 <= gamma <= 1.0:
        raise UsageError(f"scale_reward.gamma must lie in 0..1, but is {gamma}.")
    _positive("scale_reward.epsilon", epsilon)
    _positive("scale_reward.clip", clip)

    def spec(spec: EnvSpec) -> EnvSpec:
        return dataclasses.replace(spec, extras={"raw_reward": Array((), "float32")} | spec.extras)

    def init(spec: EnvSpec, n: int) -> WrapperState:
        shape = lead(spec, n)
        return WrapperState(moments(()), Returns(jnp.zeros(shape), jnp.zeros(shape, bool)))

    def timestep(state: WrapperState, timestep: TimeStep, evaluate: bool) -> tuple[WrapperState, TimeStep]:
        stats, each = state
        reward = jnp.asarray(timestep.reward, jnp.float32)
        value = gamma * each.value + reward
        if not evaluate:
            # A reset pays nothing: counting its zeros would make the returns look calmer than they are.
            counted = merge(stats, value.reshape(-1))
            stats = jax.tree.map(lambda new, old: jnp.where(each.started.all(), new, old), counted, stats)
        each = Returns(jnp.where(timestep.last, 0.0, value), jnp.ones_like(each.started))
        scaled = jnp.clip(reward * jax.lax.rsqrt(stats.var + epsilon), -clip, clip)
        # An inner scale_reward has already kept the environment's own.
        extras = {"raw_reward": reward} | timestep.extras
        return WrapperState(stats, each), timestep._replace(reward=scaled, extras=extras)

    return Wrapper("scale_reward", spec, init, None, timestep)


def _is_float(array: Array) -> bool:
    return jnp.issubdtype(array.dtype, jnp.floating)


def _positive(name: str, value: float) -> None:
    if not value > 0:
        raise UsageError(f"{name} must be positive, but is {value}.")
