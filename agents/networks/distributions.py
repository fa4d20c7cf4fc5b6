"""Distributions over actions: what a policy head gives.

Each is a PyTree of float32 parameters with any leading axes `[...]`, so it passes through jit, vmap and scan, and
`jax.tree.map(lambda x: x[t], dist)` takes one step out of a sequence. Event axes are summed over: `log_prob`, `entropy`
and `kl` have shape `[...]`.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from envs.contract import Action, Box, Discrete, MultiDiscrete
from envs.errors import UsageError

_HALF_LOG_TWO_PI = 0.5 * float(np.log(2 * np.pi))
# Gauss-Hermite nodes and weights (probabilists'): an expectation under N(0, 1) without sampling noise.
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(32)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


@struct.dataclass
class Categorical:
    """One choice out of `A`; a logit of `-inf` forbids a choice (at least one must stay allowed).

    Attributes:
      logits: `[..., A]`, unnormalised.
    """

    logits: jax.Array

    def sample(self, key: jax.Array) -> jax.Array:
        """A random action, int32 `[...]`."""
        return jax.random.categorical(key, self.logits).astype(jnp.int32)

    def mode(self) -> jax.Array:
        """The most probable action, int32 `[...]`."""
        return jnp.argmax(self.logits, -1).astype(jnp.int32)

    def log_prob(self, action: jax.Array) -> jax.Array:
        """`log p(action)`, `[...]`; `-inf` for a forbidden action."""
        # A mask instead of a gather, whose gradient would be a scatter.
        chosen = jnp.arange(self.logits.shape[-1]) == action[..., None]
        return jnp.sum(jnp.where(chosen, jax.nn.log_softmax(self.logits), 0.0), -1)

    def entropy(self) -> jax.Array:
        """`-sum p log p` in nats, `[...]`; forbidden choices count nothing."""
        log_p = jax.nn.log_softmax(self.logits)
        return -jnp.sum(jnp.exp(log_p) * jnp.where(jnp.isfinite(log_p), log_p, 0.0), -1)

    def kl(self, other: "Categorical") -> jax.Array:
        """`KL(self || other) = sum p (log p - log q)`, `[...]`; infinite where `other` forbids what self allows."""
        log_p, log_q = jax.nn.log_softmax(self.logits), jax.nn.log_softmax(other.logits)
        return jnp.sum(jnp.exp(log_p) * jnp.where(jnp.isfinite(log_p), log_p - log_q, 0.0), -1)


@struct.dataclass
class MultiCategorical:
    """Several independent choices at once.

    Attributes:
      logits: `[..., sum(n)]`, the logits of each choice one after another.
      n: options of each choice (static).
    """

    logits: jax.Array
    n: tuple[int, ...] = struct.field(pytree_node=False)

    def parts(self) -> list[Categorical]:
        """The independent choices, in order."""
        return [Categorical(logits) for logits in jnp.split(self.logits, np.cumsum(self.n)[:-1], axis=-1)]

    def sample(self, key: jax.Array) -> jax.Array:
        """A random action, int32 `[..., len(n)]`."""
        keys = jax.random.split(key, len(self.n))
        return jnp.stack([part.sample(k) for part, k in zip(self.parts(), keys, strict=True)], -1)

    def mode(self) -> jax.Array:
        """The most probable action, int32 `[..., len(n)]`."""
        return jnp.stack([part.mode() for part in self.parts()], -1)

    def log_prob(self, action: jax.Array) -> jax.Array:
        """`sum_i log p_i(action_i)`, `[...]`."""
        return sum((part.log_prob(action[..., i]) for i, part in enumerate(self.parts())), jnp.zeros(()))

    def entropy(self) -> jax.Array:
        """Sum of the entropies of the choices in nats, `[...]`."""
        return sum((part.entropy() for part in self.parts()), jnp.zeros(()))

    def kl(self, other: "MultiCategorical") -> jax.Array:
        """`KL(self || other)`, the sum over the choices, `[...]`."""
        pairs = zip(self.parts(), other.parts(), strict=True)
        return sum((mine.kl(theirs) for mine, theirs in pairs), jnp.zeros(()))


@struct.dataclass
class Normal:
    """A Gaussian with diagonal covariance over the last axis; it knows no bounds.

    An agent in a bounded box stores and scores the unclipped sample and clips only what it hands to the environment.

    Attributes:
      mean: `[..., D]`.
      log_std: `[..., D]`.
    """

    mean: jax.Array
    log_std: jax.Array

    def sample(self, key: jax.Array) -> jax.Array:
        """A random action, float32 `[..., D]`, differentiable in the parameters."""
        return self.mean + jnp.exp(self.log_std) * jax.random.normal(key, self.mean.shape, self.mean.dtype)

    def mode(self) -> jax.Array:
        """The mean, `[..., D]`."""
        return self.mean

    def log_prob(self, action: jax.Array) -> jax.Array:
        """`-sum_d (z_d^2 / 2 + log std_d + log(2 pi) / 2)` with `z = (action - mean) / std`, `[...]`."""
        z = (action - self.mean) * jnp.exp(-self.log_std)
        return -jnp.sum(0.5 * z**2 + self.log_std + _HALF_LOG_TWO_PI, -1)

    def entropy(self) -> jax.Array:
        """`sum_d (log std_d + log(2 pi e) / 2)` in nats, `[...]`."""
        return jnp.sum(self.log_std + 0.5 + _HALF_LOG_TWO_PI, -1)

    def kl(self, other: "Normal") -> jax.Array:
        """`KL(self || other) = sum_d (log s_q / s_p + (s_p^2 + (m_p - m_q)^2) / (2 s_q^2) - 1/2)`, `[...]`."""
        log_ratio = self.log_std - other.log_std
        z = (self.mean - other.mean) * jnp.exp(-other.log_std)
        return jnp.sum(0.5 * (jnp.exp(2 * log_ratio) + z**2 - 1) - log_ratio, -1)


@struct.dataclass
class SquashedNormal:
    """A diagonal Gaussian pressed into a box by `a = middle + half_width * tanh(u)`, `u ~ N(mean, std)`.

    Soft actor-critic (Haarnoja et al., 2018), appendix C. `log_prob` needs the action alone: it is pulled back through
    a tanh clipped `1e-6` short of the bounds, on acting and on learning alike, so that probability ratios start at 1.

    Attributes:
      mean: `[..., D]`, of the Gaussian before the tanh.
      log_std: `[..., D]`, of the Gaussian before the tanh.
      low: lower bounds, length `D` (static).
      high: upper bounds, length `D` (static).
    """

    mean: jax.Array
    log_std: jax.Array
    low: tuple[float, ...] = struct.field(pytree_node=False)
    high: tuple[float, ...] = struct.field(pytree_node=False)

    def base(self) -> Normal:
        """The Gaussian of `u`, before the tanh."""
        return Normal(self.mean, self.log_std)

    def squash(self, u: jax.Array) -> jax.Array:
        """From `u` `[..., D]` to the action `[..., D]` inside the box."""
        middle, half = self._box()
        return middle + half * jnp.tanh(u)

    def sample(self, key: jax.Array) -> jax.Array:
        """A random action, float32 `[..., D]`, differentiable in the parameters."""
        return self.squash(self.base().sample(key))

    def sample_and_log_prob(self, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """A random action and its log-density, exact up to the bounds because `u` is known; for pathwise gradients."""
        u = self.base().sample(key)
        return self.squash(u), self.base().log_prob(u) - jnp.sum(self._log_slope(u), -1)

    def mode(self) -> jax.Array:
        """The squashed mean, `[..., D]`: the median of every coordinate, the usual greedy action."""
        return self.squash(self.mean)

    def log_prob(self, action: jax.Array) -> jax.Array:
        """`log N(u) - sum_d log |da_d / du_d|` with `u` recovered from the action, `[...]`."""
        middle, half = self._box()
        u = jnp.arctanh(jnp.clip((action - middle) / half, -1 + 1e-6, 1 - 1e-6))
        return self.base().log_prob(u) - jnp.sum(self._log_slope(u), -1)

    def entropy(self) -> jax.Array:
        """Differential entropy `H(u) + sum_d E[log |da_d / du_d|]` in nats, `[...]`.

        There is no closed form; the expectation is a 32-point Gauss-Hermite sum, without noise. Unlike the entropy of
        the Gaussian alone it falls again when a wide Gaussian piles up at the bounds, so a bonus on it has an optimum.
        """
        u = self.mean[..., None] + jnp.exp(self.log_std)[..., None] * jnp.asarray(_NODES, self.mean.dtype)
        slope = self._log_slope(jnp.moveaxis(u, -1, 0))
        return self.base().entropy() + jnp.sum(jnp.tensordot(jnp.asarray(_WEIGHTS, u.dtype), slope, 1), -1)

    def kl(self, other: "SquashedNormal") -> jax.Array:
        """`KL(self || other)`, `[...]`: that of the two Gaussians, since both go through the same bijection.

        Raises `UsageError` where the boxes differ.
        """
        if (self.low, self.high) != (other.low, other.high):
            raise UsageError("The divergence of two squashed Gaussians needs one box for both.")
        return self.base().kl(other.base())

    def _box(self) -> tuple[jax.Array, jax.Array]:
        low, high = jnp.asarray(self.low, self.mean.dtype), jnp.asarray(self.high, self.mean.dtype)
        return (low + high) / 2, (high - low) / 2

    def _log_slope(self, u: jax.Array) -> jax.Array:
        # log(1 - tanh(u)^2) written without the subtraction that loses every digit from |u| = 9 on.
        return jnp.log(self._box()[1]) + 2 * (jnp.log(2.0) - u - jax.nn.softplus(-2 * u))


Distribution = Categorical | MultiCategorical | Normal | SquashedNormal


def for_action(action: Action, *, squash: bool = False) -> tuple[int, Callable[[jax.Array], Any]]:
    """The head for a kind of action: how many numbers parametrise it, and `parameters [..., count] -> Distribution`.

    `Discrete(n)` takes `n` logits; `MultiDiscrete(n)` takes `sum(n)`; `Box` of `D` dimensions takes `2 D`, means then
    log standard deviations, and gives a `Normal`, or with `squash` a `SquashedNormal` whose log standard deviations are
    clipped to `[-20, 2]`. Parameters are cast to float32. Raises `UsageError` for other actions and where `squash` is
    asked of anything but a box with finite bounds.
    """
    if squash and not (isinstance(action, Box) and np.all(np.isfinite((action.low, action.high)))):
        raise UsageError(f"squash needs a box with finite bounds as action space, not {action}.")
    match action:
        case Discrete(n=n):
            return n, lambda x: Categorical(x.astype(jnp.float32))
        case MultiDiscrete(n=several):
            return sum(several), lambda x: MultiCategorical(x.astype(jnp.float32), several)
        case Box(low=low, high=high) if squash:
            return 2 * len(low), lambda x: _squashed(x.astype(jnp.float32), low, high)
        case Box(low=low):
            return 2 * len(low), lambda x: Normal(*jnp.split(x.astype(jnp.float32), 2, -1))
    raise UsageError(f"No policy head for an action space of kind {type(action).__name__}.")


def _squashed(parameters: jax.Array, low: tuple[float, ...], high: tuple[float, ...]) -> SquashedNormal:
    mean, log_std = jnp.split(parameters, 2, -1)
    return SquashedNormal(mean, jnp.clip(log_std, -20.0, 2.0), low, high)
