"""Networks of off-policy agents: policies of an observation, critics of an observation and an action, action values."""

from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from agents.networks import torsos
from agents.networks.distributions import Distribution, for_action
from agents.networks.torsos import MLP, dense
from envs.contract import Box, EnvSpec, PyTree


def centred(action: jax.Array, box: Box) -> jax.Array:
    """An action of a box on the scale of -1 to 1."""
    low, high = jnp.asarray(box.low), jnp.asarray(box.high)
    return (2 * action - low - high) / (high - low)


def in_box(x: jax.Array, box: Box) -> jax.Array:
    """What is on the scale of -1 to 1 as an action of a box."""
    low, high = jnp.asarray(box.low), jnp.asarray(box.high)
    return (low + high + x * (high - low)) / 2


class Gaussian(nn.Module):
    """A policy: an observation `[N, ...]` to a Gaussian pressed into the box (Haarnoja et al., 2018).

    Attributes:
      torso: from an observation to features `[N, D]`.
      box: the actions.
    """

    torso: nn.Module
    box: Box

    @nn.compact
    def __call__(self, obs: PyTree) -> Distribution:
        count, head = for_action(self.box, squash=True)
        return head(dense(count, 0.01, name="policy")(self.torso(obs)))


class Deterministic(nn.Module):
    """A policy: an observation `[N, ...]` to one action `[N, A]` of the box, by a tanh (Lillicrap et al., 2016)."""

    torso: nn.Module
    box: Box

    @nn.compact
    def __call__(self, obs: PyTree) -> jax.Array:
        x = dense(len(self.box.low), 0.01, name="policy")(self.torso(obs))
        return in_box(jnp.tanh(x), self.box)


class Critics(nn.Module):
    """K critics apart: an observation `[N, ...]` and an action `[N, A]` to `[N, K, outputs]`.

    The action joins the observation's features before the dense layers.

    Attributes:
      torsos: of each critic, from an observation to what its dense layers read.
      box: the actions, which are read on the scale of -1 to 1.
      hidden: widths of the dense layers.
      activation: a name in `torsos.ACTIVATIONS`.
      norm: normalise the dense layers before it.
      outputs: numbers that each gives; 1 is left out of the shape, `[N, K]`.
      gain: of the last layer's first weights.
    """

    takes_action: ClassVar[bool] = True

    torsos: tuple[nn.Module, ...]
    box: Box
    hidden: tuple[int, ...] = (256, 256)
    activation: str = "relu"
    norm: bool = False
    outputs: int = 1
    gain: float = 1.0

    @nn.compact
    def __call__(self, obs: PyTree, action: jax.Array) -> jax.Array:
        found = []
        for index, torso in enumerate(self.torsos):
            read = jnp.concatenate([torso(obs), centred(action, self.box)], -1)
            x = MLP(self.hidden, self.activation, self.norm, name=f"layers_{index}")(read)
            found.append(dense(self.outputs, self.gain, name=f"value_{index}")(x))
        values = jnp.stack(found, 1)
        return values[..., 0] if self.outputs == 1 else values


class ActionValues(nn.Module):
    """Values of every action: an observation `[N, ...]` to `[N, actions]`, or to `[N, actions, outputs]`.

    With `duelling` a value and each action's advantage apart (Wang et al., 2016): `V + A - mean A`, for each output.
    With `noisy` the last layers are `Noisy`.
    """

    torso: nn.Module
    actions: int
    outputs: int = 1
    duelling: bool = False
    noisy: bool = False

    @nn.compact
    def __call__(self, obs: PyTree) -> jax.Array:
        x = self.torso(obs)
        values = self._last(self.actions * self.outputs, "advantage", x).reshape(-1, self.actions, self.outputs)
        if self.duelling:
            value = self._last(self.outputs, "value", x)[:, None]
            values = value + values - values.mean(1, keepdims=True)
        return values[..., 0] if self.outputs == 1 else values

    def _last(self, width: int, name: str, x: jax.Array) -> jax.Array:
        return Noisy(width, name=name)(x) if self.noisy else dense(width, 1.0, name=name)(x)


class Noisy(nn.Module):
    """A dense layer with factorised noise of a learned size on its weights (Fortunato et al., 2018): `[N, D]`.

    `y = (W + S * f(p) f(q)^T) x + b + s * f(q)`, `f(e) = sign(e) sqrt(|e|)`, `p` and `q` normal, drawn once for a
    call from the stream `net`; without that stream there is no noise. Sizes begin at `first / sqrt(D)`.

    Attributes:
      width: outputs.
      first: size of the noise at first, the paper's 0.5.
    """

    width: int
    first: float = 0.5

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        inputs = x.shape[-1]
        y = dense(self.width, 1.0, name="mean")(x)
        size = nn.initializers.constant(self.first / inputs**0.5)
        weights = self.param("noise", size, (inputs, self.width))
        bias = self.param("bias_noise", size, (self.width,))
        if not self.has_rng("net"):
            return y
        left, right = (
            jnp.sign(draw) * jnp.sqrt(jnp.abs(draw))
            for draw in (jax.random.normal(self.make_rng("net"), (n,)) for n in (inputs, self.width))
        )
        return y + ((x * left) @ weights + bias) * right


def torso(spec: EnvSpec, config: Any, *, hidden: tuple[int, ...] | None = None) -> nn.Module:
    """What reads an environment's observations, with the dense layers of a config or with others."""
    return torsos.auto(
        spec.obs,
        hidden=config.hidden if hidden is None else hidden,
        activation=config.activation,
        norm=config.norm,
        ignore=config.ignore,
    )


def critics(spec: EnvSpec, config: Any, box: Box, count: int = 1, **shape: Any) -> Critics:
    """`count` critics with the dense layers of a config; `shape` are further attributes of `Critics`."""
    bare = tuple(torso(spec, config, hidden=()) for _ in range(count))
    layers = {"hidden": config.hidden, "activation": config.activation, "norm": config.norm}
    return Critics(bare, box, **{**layers, **shape})
