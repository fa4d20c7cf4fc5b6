"""Small convolutions without XLA's convolution, which on CPU is many times slower inside a loop or under `vmap`."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp


class Patches(nn.Module):
    """A convolution without padding: `[N, H, W, C]` to `[N, R, S, width]` with `R = (H - side) // stride + 1`.

    The shifted grids lie side by side, and one matrix product reads them all.
    """

    width: int
    stride: int = 1
    side: int = 3

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        _, height, width, depth = x.shape
        side, stride = self.side, self.stride
        bottom, right = ((length - side) // stride * stride + 1 for length in (height, width))
        kernel = self.param("kernel", nn.initializers.orthogonal(math.sqrt(2)), (side**2 * depth, self.width))
        bias = self.param("bias", nn.initializers.zeros, (self.width,))
        shifted = [x[:, i : i + bottom : stride, j : j + right : stride] for i in range(side) for j in range(side)]
        return jnp.concatenate(shifted, -1) @ kernel + bias
