"""Several networks of one shape as one: their weights are stacked, and each layer is one batched product."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp


class Layers(nn.Module):
    """Dense layers of `members` networks apart: `[E, N, D]` to `[E, N, widths[-1]]`, swish between them.

    Weights begin as draws from a normal of deviation `1 / (2 sqrt(D))`, cut at two deviations, biases at 0 (Chua et
    al., 2018). `apply` with weights of fewer members, taken out of the stack, runs those alone.

    Attributes:
      members: networks.
      widths: of the layers.
      bounded: indices of layers that end in tanh rather than swish.
    """

    members: int
    widths: tuple[int, ...]
    bounded: tuple[int, ...] = ()

    @nn.compact
    def __call__(self, x: jax.Array, until: int | None = None) -> jax.Array:
        """The last layer's outputs, or those of the first `until` layers."""
        for index, width in enumerate(self.widths[:until]):
            inputs = x.shape[-1]
            size = nn.initializers.truncated_normal(1 / (2 * math.sqrt(inputs)))
            kernel = self.param(f"kernel_{index}", size, (self.members, inputs, width))
            bias = self.param(f"bias_{index}", nn.initializers.zeros, (self.members, 1, width))
            x = jnp.matmul(x, kernel) + bias
            if index in self.bounded:
                x = jnp.tanh(x)
            elif index < len(self.widths) - 1:
                x = nn.swish(x)
        return x
