"""Context encoders: what single transitions say of the task that they come from."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from agents.networks.torsos import MLP, dense


class ContextEncoder(nn.Module):
    """A transition `[..., D]` to a Gaussian over the task's latent: mean and variance `[..., L]` each.

    The variance is a softplus of its own output (Rakelly et al., 2019).

    Attributes:
      latent: L.
      hidden: widths of the dense layers.
      activation: a name in `torsos.ACTIVATIONS`.
    """

    latent: int
    hidden: tuple[int, ...] = (200, 200, 200)
    activation: str = "relu"

    @nn.compact
    def __call__(self, transition: jax.Array) -> tuple[jax.Array, jax.Array]:
        x = MLP(self.hidden, self.activation)(transition)
        mean, raw = jnp.split(dense(2 * self.latent, 1.0)(x), 2, -1)
        return mean, nn.softplus(raw)
