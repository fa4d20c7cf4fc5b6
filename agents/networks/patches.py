"""Small convolutions without XLA's convolution, which on CPU is many times slower inside a loop or under `vmap`."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

# Up to this many cells a convolution is fastest as one matrix with shared entries, on the way back above all.
_MATRIX_CELLS = 64


class Patches(nn.Module):
    """A 3x3 convolution without padding: `[N, H, W, C]` to `[N, R, S, width]` with `R = (H - 3) // stride + 1`."""

    width: int
    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        n, height, width, depth = x.shape
        rows, columns = (height - 3) // self.stride + 1, (width - 3) // self.stride + 1
        kernel = self.param("kernel", nn.initializers.orthogonal(math.sqrt(2)), (9 * depth, self.width))
        bias = self.param("bias", nn.initializers.zeros, (self.width,))
        if height * width <= _MATRIX_CELLS:
            taps = kernel.reshape(9, depth, self.width)
            matrix = jnp.einsum("kpq,kco->pcqo", _tap_of(height, width, self.stride), taps)
            y = x.reshape(n, -1) @ matrix.reshape(height * width * depth, -1)
        else:
            s, bottom, right = self.stride, (rows - 1) * self.stride + 1, (columns - 1) * self.stride + 1
            shifted = [x[:, i : i + bottom : s, j : j + right : s] for i in range(3) for j in range(3)]
            y = jnp.concatenate(shifted, -1) @ kernel
        return y.reshape(n, rows, columns, self.width) + bias


def _tap_of(height: int, width: int, stride: int) -> np.ndarray:
    """`[9, H * W, rows * columns]`: 1 where the k-th tap of an output position lies on that cell."""
    rows, columns = (height - 3) // stride + 1, (width - 3) // stride + 1
    cells = np.arange(height * width).reshape(height, width)
    where = np.zeros((9, height * width, rows * columns), np.float32)
    for position, (r, c) in enumerate(np.ndindex(rows, columns)):
        under = cells[r * stride : r * stride + 3, c * stride : c * stride + 3].reshape(-1)
        where[np.arange(9), under, position] = 1
    return where
