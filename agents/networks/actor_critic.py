"""The network of an actor-critic: encoder, core, a policy head and value heads, over time-major sequences."""

import copy
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.core.scope import DenyList

from agents.networks import torsos
from agents.networks.cores import Core
from agents.networks.distributions import Distribution, for_action
from agents.networks.torsos import MLP, TorsoEncoder, dense
from envs.contract import Action, Box, EnvSpec, PyTree
from envs.errors import UsageError

# Collections that an encoder sows into at every step; other collections of its own are states.
SOWN = ("losses", "metrics", "taps")


class Trunk(nn.Module):
    """An encoder and the core behind it.

    Attributes:
      encoder: a module `(obs, carry, first, *, train) -> (features, carry)` over a batch `[B, ...]`, with `begin(n)`.
      core: the memory behind it.
    """

    encoder: nn.Module
    core: Core

    def begin(self, n: int) -> PyTree:
        """The empty memory of `n` environments: the encoder's, then the core's."""
        return self.encoder.begin(n), self.core.begin(n)

    def __call__(
        self, obs: PyTree, carry: PyTree, first: jax.Array, *, train: bool
    ) -> tuple[jax.Array, jax.Array, PyTree, PyTree]:
        """`(encoded [T, B, D], y [T, B, H], carry [B, ...], carries [T, B, ...])` of `obs` `[T, B, ...]`."""
        seen, remembered = carry
        encode = self._scan if jax.tree.leaves(seen) else self._flat
        encoded, seen, seen_history = encode(obs, seen, first, train)
        y, remembered, remembered_history = self.core(encoded, remembered, first)
        return encoded, y, (seen, remembered), (seen_history, remembered_history)

    def _flat(self, obs: PyTree, carry: PyTree, first: jax.Array, train: bool) -> tuple[jax.Array, PyTree, PyTree]:
        """An encoder without memory reads all steps at once, as one batch `[T * B, ...]`."""
        merge = lambda x: x.reshape(-1, *x.shape[2:])  # noqa: E731
        features, carry = self.encoder(jax.tree.map(merge, obs), carry, merge(first), train=train)
        return features.reshape(*first.shape, *features.shape[1:]), carry, carry

    def _scan(self, obs: PyTree, carry: PyTree, first: jax.Array, train: bool) -> tuple[jax.Array, PyTree, PyTree]:
        """An encoder with a memory reads step after step."""

        def step(encoder: nn.Module, carry: PyTree, at: tuple[PyTree, jax.Array]) -> tuple[PyTree, Any]:
            features, carry = encoder(at[0], carry, at[1], train=train)
            return carry, (features, carry)

        if self.is_initializing():
            # A scan carries variables from step to step but cannot create them: one step does, and shapes are enough.
            carry, each = step(self.encoder, carry, jax.tree.map(lambda x: x[0], (obs, first)))
            features, history = jax.tree.map(lambda x: jnp.broadcast_to(x, (len(first), *x.shape)), each)
            return features, carry, history
        states = [name for name in self.variables if name not in ("params", *SOWN) and self.is_mutable_collection(name)]
        scan = nn.scan(
            step,
            variable_broadcast=DenyList((*states, *SOWN)),
            variable_carry=states,
            variable_axes={name: 0 for name in SOWN},
            split_rngs={"params": False, "net": True},
        )
        carry, (features, history) = scan(self.encoder, carry, (obs, first))
        return features, carry, history


class ActorCritic(nn.Module):
    """Policy and value over time-major sequences.

    The encoder's features `[T, B, D]` are sown into `taps` as `features`. What an encoder without memory sows for each
    record has `T * B` rows; one with memory sows `[T, B, ...]`. Drop the sown collections from the variables of `init`.

    Attributes:
      action: the action space.
      trunk: what the policy reads, and the value too unless it has its own.
      value_trunk: the value's own encoder and core, or None.
      squash: press a Gaussian policy into the box with a tanh.
      value_heads: number of values; 1 gives `[T, B]`, more `[T, B, value_heads]`.
      policy_gain: gain of the orthogonal weights of the policy head; small, so that the first policy is near uniform.
      heads: widths of dense layers of its own that each head has behind the core.
      activation: of these, a name in `torsos.ACTIVATIONS`.
      norm: normalise them before it.
    """

    action: Action
    trunk: Trunk
    value_trunk: Trunk | None = None
    squash: bool = False
    value_heads: int = 1
    policy_gain: float = 0.01
    heads: tuple[int, ...] = ()
    activation: str = "relu"
    norm: bool = False

    def begin(self, n: int) -> PyTree:
        """The empty memory of `n` environments, a PyTree of `[n, ...]` with a memory for each trunk."""
        return tuple(trunk.begin(n) for trunk in (self.trunk, self.value_trunk) if trunk is not None)

    @nn.compact
    def __call__(
        self, obs: PyTree, carry: PyTree, first: jax.Array, *, train: bool
    ) -> tuple[Distribution, jax.Array, jax.Array, PyTree, PyTree]:
        """Reads a sequence: `(dist, value [T, B], features [T, B, D], carry [B, ...], carries [T, B, ...])`.

        Args:
          obs: `[T, B, ...]`.
          carry: the memory before the first step, from `begin` or from the call before, `[B, ...]`.
          first: whether each observation opens an episode, bool `[T, B]`; the memory is emptied there before reading.
          train: False makes encoders deterministic.

        `features` is what the policy head and its layers read; `carries[t]` is the memory after step `t`.
        """
        read = [
            trunk(obs, memory, first, train=train)
            for trunk, memory in zip((self.trunk, self.value_trunk), carry, strict=False)
            if trunk is not None
        ]
        encoded, features, _, _ = read[0]
        self.sow("taps", "features", encoded)
        value = dense(self.value_heads, 1.0, name="value")(self._own("value", read[-1][1]))
        value = value[..., 0] if self.value_heads == 1 else value
        _, _, after, history = zip(*read, strict=True)
        return self._policy(self._own("policy", features)), value, features, after, history

    def _own(self, head: str, x: jax.Array) -> jax.Array:
        """The layers between core and a head."""
        return MLP(self.heads, self.activation, self.norm, name=f"{head}_layers")(x)

    def _policy(self, features: jax.Array) -> Distribution:
        count, head = for_action(self.action, squash=self.squash)
        if not isinstance(self.action, Box):
            return head(dense(count, self.policy_gain, name="policy")(features))
        # The spread of a Gaussian does not depend on the state: one parameter for each dimension.
        mean = dense(count // 2, self.policy_gain, name="policy")(features)
        log_std = self.param("log_std", nn.initializers.zeros, (count // 2,))
        return head(jnp.concatenate([mean, jnp.broadcast_to(log_std, mean.shape)], -1))


def build(
    spec: EnvSpec,
    *,
    encoder: str | nn.Module = "auto",
    hidden: tuple[int, ...] = (256,),
    core: str = "none",
    core_width: int = 128,
    core_layers: int = 1,
    separate: bool = False,
    squash: bool = False,
    activation: str = "tanh",
    embed: int = 8,
    channels: tuple[int, ...] = (32, 64),
    stride: int = 2,
    kernel: int = 3,
    norm: bool = False,
    ignore: tuple[str, ...] = (),
    heads: tuple[int, ...] = (),
    value_heads: int = 1,
    policy_gain: float = 0.01,
) -> ActorCritic:
    """An actor-critic for an environment.

    Args:
      spec: what is observed and how it acts.
      encoder: `auto`, `cnn` or `mlp` (see `torsos.auto`), or an encoder module; the options `hidden`, `activation`,
        `embed`, `channels`, `stride`, `kernel` and `ignore` are for those three.
      core: `none`, `gru` or `lstm`, with `core_width` units in each of `core_layers` layers.
      separate: give the value an encoder and a core of its own.
      squash: press a Gaussian policy into the box with a tanh.
      heads: widths of the dense layers that each head has behind the core.
      norm: normalise the layers of the three encoders, and those of the heads.
      value_heads: number of values.
      policy_gain: gain of the policy head's weights.

    Raises `UsageError` for unknown names and for what the spec cannot be given to.
    """
    for_action(spec.action, squash=squash)
    if isinstance(encoder, str):
        torso = torsos.auto(
            spec.obs,
            kind=encoder,
            hidden=hidden,
            activation=activation,
            embed=embed,
            channels=channels,
            stride=stride,
            kernel=kernel,
            norm=norm,
            ignore=ignore,
        )
        encoder = TorsoEncoder(torso)
    elif not hasattr(encoder, "begin"):
        raise UsageError(f"The encoder {type(encoder).__name__} has no begin(n): wrap a plain torso in TorsoEncoder.")

    def trunk() -> Trunk:
        # Flax shares the parameters of a module that two others hold, and its `clone` copies no modules within.
        return Trunk(copy.deepcopy(encoder), Core(core, core_width, core_layers))

    value_trunk = trunk() if separate else None
    return ActorCritic(spec.action, trunk(), value_trunk, squash, value_heads, policy_gain, heads, activation, norm)


def count(params: PyTree) -> int:
    """The number of scalars in a PyTree of parameters."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
