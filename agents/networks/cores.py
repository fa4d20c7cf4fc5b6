"""Recurrent cores: memory over a time-major sequence, forgotten where an episode begins."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from envs.errors import UsageError, nearest

KINDS = ("none", "gru", "lstm")


class Core(nn.Module):
    """Layers of memory between encoder and heads.

    `gru` (Cho et al., 2014): `r, z = sigmoid(W x + U h + b)`, `n = tanh(W x + b + r (U h + c))`,
    `h' = (1 - z) n + z h`.
    `lstm` (Hochreiter and Schmidhuber, 1997; forget gates of Gers et al., 2000, opened by a bias of 1):
    `i, f, o = sigmoid(W x + U h + b)`, `g = tanh(W x + U h + b)`, `c' = f c + i g`, `h' = o tanh(c')`.
    `none` hands everything on and remembers nothing.

    Attributes:
      kind: `none`, `gru` or `lstm`.
      width: units of each layer.
      layers: layers, each reading the output of the one before.

    Raises `UsageError` for an unknown kind.
    """

    kind: str = "none"
    width: int = 128
    layers: int = 1

    def __post_init__(self):
        if self.kind not in KINDS:
            raise UsageError(f"Unknown core {self.kind!r}: {nearest(self.kind, KINDS)}")
        super().__post_init__()

    def begin(self, n: int) -> tuple[Any, ...]:
        """The empty memory of `n` environments: per layer `h` `[n, width]`, or `(c, h)`; `()` without a core."""
        if self.kind == "none":
            return ()
        zeros = jnp.zeros((n, self.width))
        return tuple(zeros if self.kind == "gru" else (zeros, zeros) for _ in range(self.layers))

    @nn.compact
    def __call__(self, x: jax.Array, carry: Any, first: jax.Array) -> tuple[jax.Array, Any, Any]:
        """Reads a sequence: `(y [T, B, width], carry [B, ...], carries [T, B, ...])`.

        `x` is `[T, B, D]` and `first` bool `[T, B]`; where it is set the memory is emptied before `x[t]` is read.
        `carries[t]` is the memory after step `t`; `carry` is the last of them.
        """
        if self.kind == "none":
            return x, carry, carry
        after, history = [], []
        for layer, memory in enumerate(carry):
            x, last, all_of_them = self._layer(layer, x, memory, first)
            after.append(last)
            history.append(all_of_them)
        return x, tuple(after), tuple(history)

    def _layer(self, layer: int, x: jax.Array, carry: Any, first: jax.Array) -> tuple[jax.Array, Any, Any]:
        gates = 3 if self.kind == "gru" else 4
        # Each gate is orthogonal by itself, and what is read from x needs no loop: one product for the whole sequence.
        recurrent = self.param(f"recurrent_{layer}", _orthogonal_gates, (self.width, gates, self.width))
        recurrent = recurrent.reshape(self.width, -1)
        read = nn.Dense(gates * self.width, bias_init=self._bias, name=f"input_{layer}")(x)
        if self.kind == "gru":
            bias = self.param(f"candidate_{layer}", nn.initializers.zeros, (self.width,))

        def gru(h: jax.Array, read: jax.Array) -> jax.Array:
            (r, z, n), (hr, hz, hn) = jnp.split(read, 3, -1), jnp.split(h @ recurrent, 3, -1)
            z = nn.sigmoid(z + hz)
            return (1 - z) * jnp.tanh(n + nn.sigmoid(r + hr) * (hn + bias)) + z * h

        def lstm(memory: tuple[jax.Array, jax.Array], read: jax.Array) -> tuple[jax.Array, jax.Array]:
            c, h = memory
            i, f, o, g = jnp.split(read + h @ recurrent, 4, -1)
            c = nn.sigmoid(f) * c + nn.sigmoid(i) * jnp.tanh(g)
            return c, nn.sigmoid(o) * jnp.tanh(c)

        def step(memory: Any, at: tuple[jax.Array, jax.Array]) -> tuple[Any, Any]:
            read, first = at
            memory = jax.tree.map(lambda m: jnp.where(first[:, None], 0.0, m), memory)
            memory = (gru if self.kind == "gru" else lstm)(memory, read)
            return memory, memory

        last, history = jax.lax.scan(step, carry, (read, first))
        return history if self.kind == "gru" else history[1], last, history

    def _bias(self, key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
        bias = jnp.zeros(shape, dtype)
        return bias if self.kind == "gru" else bias.at[self.width : 2 * self.width].set(1.0)


def _orthogonal_gates(key: jax.Array, shape: tuple[int, int, int], dtype: Any = jnp.float32) -> jax.Array:
    width, gates, _ = shape
    init = nn.initializers.orthogonal()
    return jnp.stack([init(k, (width, width), dtype) for k in jax.random.split(key, gates)], 1)
