"""Torsos: from one step's observation to a feature vector, over any leading axes; and the feed-forward encoder.

`auto` reads a spec and puts a torso together. Grids of small integers are embedded, and their convolutions are matrix
products: XLA's CPU convolution is many times slower inside a loop or under `vmap` over parameters.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from agents.networks.patches import Patches
from envs.contract import Array, PyTree
from envs.errors import UsageError, nearest

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {"tanh": jnp.tanh, "relu": nn.relu, "elu": nn.elu}
KINDS = ("auto", "cnn", "mlp")
# Above this many levels a one-hot costs more than a gather, even with the gather's scatter on the way back.
_ONE_HOT_LEVELS = 64
# Above this many levels an integer is a number rather than a kind, and has no table.
_TABLE_LEVELS = 8192
# More numbers than this in the one-hots of one observation are a mistake: a batch of them fills the memory.
_ONE_HOT_NUMBERS = 1_000_000
# The smallest side that the three convolutions of `ImageTorso` leave one position of.
_IMAGE_SIDE = 36


def dense(width: int, gain: float = math.sqrt(2), name: str | None = None) -> nn.Dense:
    """A dense layer with orthogonal weights of the given gain and zero bias."""
    return nn.Dense(width, kernel_init=nn.initializers.orthogonal(gain), name=name)


def _activation(name: str) -> Callable[[jax.Array], jax.Array]:
    """An activation by name; raises `UsageError` for one that is not in `ACTIVATIONS`."""
    if name not in ACTIVATIONS:
        raise UsageError(f"Unknown activation {name!r}: {nearest(name, ACTIVATIONS)}")
    return ACTIVATIONS[name]


class MLP(nn.Module):
    """Dense layers of the given widths, each followed by the activation: `[..., D]` to `[..., hidden[-1]]`.

    With `norm` each is normalised before its activation (layer norm, Ba et al., 2016).
    """

    hidden: tuple[int, ...]
    activation: str = "tanh"
    norm: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for width in self.hidden:
            x = dense(width)(x)
            x = _activation(self.activation)(nn.LayerNorm()(x) if self.norm else x)
        return x


class Vector(nn.Module):
    """Numbers as they are, flattened: `[N, ...]` to float32 `[N, D]`.

    Integers with bounds are scaled to [-1, 1]; without bounds they may be of any size (gold, experience), so they go
    through `symlog(x) = sign(x) log(1 + |x|)`.
    """

    low: float | None = None
    high: float | None = None

    def __call__(self, x: jax.Array) -> jax.Array:
        number = x.reshape(x.shape[0], -1).astype(jnp.float32)
        if jnp.issubdtype(x.dtype, jnp.floating):
            return number
        if self.low is None or self.high is None:
            return jnp.sign(number) * jnp.log1p(jnp.abs(number))
        return 2 * (number - self.low) / max(self.high - self.low, 1) - 1


class OneHot(nn.Module):
    """Each integer from `low` to `high` as a one-hot, flattened: `[N, ...]` to float32 `[N, D * levels]`."""

    high: int
    low: int = 0

    def __call__(self, x: jax.Array) -> jax.Array:
        return _one_hot(x, self.low, self.high).reshape(x.shape[0], -1)


class GridTorso(nn.Module):
    """A grid of small integers, such as MiniGrid's `image`: `[..., H, W, C]` integers to features `[..., D]`.

    Every channel of a cell is looked up in a table of its own and the channels are summed (the lookup is written as
    one-hot times matrix); then convolutions; then dense layers. `channels=()` flattens the embedded grid right
    away, the fastest torso; `embed=0` takes the one-hots themselves.

    Attributes:
      high: largest value of a channel.
      low: smallest value of a channel.
      embed: width of the embedding of a cell, 0 for one-hots.
      channels: widths of the convolutions.
      stride: stride of the convolutions.
      kernel: their side in cells.
      norm: normalise every layer before its activation, a convolution over all its places.
      hidden: widths of the dense layers; none gives the flattened grid.
      activation: a name in `ACTIVATIONS`.
      rank: axes of one grid: 3, or 2 for one channel, or 1 for a row of cells of one channel.
      levels: how many values from `low` on each channel takes; if empty, all of them up to `high`.

    Raises `UsageError` where the grid is too small for its convolutions.
    """

    high: int
    low: int = 0
    embed: int = 8
    channels: tuple[int, ...] = (32, 64)
    stride: int = 2
    hidden: tuple[int, ...] = ()
    activation: str = "relu"
    rank: int = 3
    levels: tuple[int, ...] = ()
    kernel: int = 3
    norm: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        leading, grid = x.shape[: x.ndim - self.rank], x.shape[x.ndim - self.rank :]
        x = self._cells(x.reshape(-1, *_three_axes(grid)))
        for width in self.channels:
            if min(x.shape[1:3]) < self.kernel:
                kind = f"{self.kernel}x{self.kernel}"
                raise UsageError(f"A grid of {x.shape[1]}x{x.shape[2]} is too small for another {kind} convolution.")
            x = Patches(width, self.stride, self.kernel)(x)
            x = _activation(self.activation)(nn.LayerNorm(reduction_axes=(1, 2, 3))(x) if self.norm else x)
        return MLP(self.hidden, self.activation, self.norm)(x.reshape(*leading, -1))

    def _cells(self, x: jax.Array) -> jax.Array:
        """`[N, H, W, C]` integers to `[N, H, W, E]`."""
        n, height, width, depth = x.shape
        levels = self.levels or (self.high - self.low + 1,) * depth
        if not self.embed:
            return self._one_hots(x, levels)
        table = self.param("table", nn.initializers.orthogonal(math.sqrt(2)), (sum(levels), self.embed))
        if max(levels) > _ONE_HOT_LEVELS:
            index = x.astype(jnp.int32) - self.low + np.cumsum((0, *levels[:-1]))
            return jnp.take(table, index, axis=0, mode="clip").sum(-2)
        rows = self._one_hots(x, levels).reshape(n * height * width, -1)
        return (rows @ table).reshape(n, height, width, self.embed)

    def _one_hots(self, x: jax.Array, levels: tuple[int, ...]) -> jax.Array:
        """`[N, H, W, C]` integers to float32 `[N, H, W, sum(levels)]`, the channels one after the other."""
        hots = [_one_hot(x[..., i], self.low, self.low + count - 1) for i, count in enumerate(levels)]
        return jnp.concatenate(hots, -1)


class ImageTorso(nn.Module):
    """The three convolutions of DQN (Mnih et al., 2015): `[..., H, W, C]` to `[..., D]`; sides of 36 pixels or more.

    uint8 pixels are divided by 255. The convolutions are rectified whatever the dense layers' activation is.
    """

    hidden: tuple[int, ...] = ()
    activation: str = "relu"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        leading, x = x.shape[:-3], x.reshape(-1, *x.shape[-3:])
        x = x.astype(jnp.float32) / (255 if x.dtype == jnp.uint8 else 1)
        for width, side, stride in ((32, 8, 4), (64, 4, 2), (64, 3, 1)):
            init = nn.initializers.orthogonal(math.sqrt(2))
            x = nn.relu(nn.Conv(width, (side, side), stride, padding="VALID", kernel_init=init)(x))
        return MLP(self.hidden, self.activation)(x.reshape(*leading, -1))


class Torso(nn.Module):
    """A whole observation: each leaf through its part, the parts side by side, then dense layers, to `[..., D]`.

    Attributes:
      parts: path of a leaf, its keys joined by dots (`obs` for an observation of one array), to the module that reads
        it, `[N, ...]` to `[N, D]`. Leaves that are not named are not read.
      ranks: path to the number of axes of one leaf.
      hidden: widths of the dense layers.
      activation: a name in `ACTIVATIONS`.
      norm: normalise every dense layer before its activation.
    """

    parts: Mapping[str, nn.Module]
    ranks: Mapping[str, int]
    hidden: tuple[int, ...]
    activation: str = "tanh"
    norm: bool = False

    @nn.compact
    def __call__(self, obs: PyTree) -> jax.Array:
        leaves = _by_path(obs)
        leading: tuple[int, ...] = ()
        features = []
        for path, part in self.parts.items():
            leaf = jnp.asarray(leaves[path])
            axes = leaf.ndim - self.ranks[path]
            leading = leaf.shape[:axes]
            features.append(part(leaf.reshape(-1, *leaf.shape[axes:])))
        return MLP(self.hidden, self.activation, self.norm)(jnp.concatenate(features, -1).reshape(*leading, -1))


class TorsoEncoder(nn.Module):
    """The feed-forward encoder: a torso that remembers nothing.

    Attributes:
      torso: a module from an observation `[B, ...]` to features `[B, D]`.
    """

    torso: nn.Module

    def begin(self, n: int) -> tuple[()]:
        """No memory."""
        return ()

    def __call__(self, obs: PyTree, carry: PyTree, first: jax.Array, *, train: bool) -> tuple[jax.Array, PyTree]:
        """`obs` `[B, ...]` to features `[B, D]`; the carry is handed back."""
        return self.torso(obs), carry


def auto(
    obs: PyTree,
    *,
    kind: str = "auto",
    hidden: tuple[int, ...] = (256,),
    activation: str = "tanh",
    embed: int = 8,
    channels: tuple[int, ...] = (32, 64),
    stride: int = 2,
    kernel: int = 3,
    norm: bool = False,
    ignore: tuple[str, ...] = (),
) -> nn.Module:
    """A torso for the observations that a spec describes, each leaf read by what it holds.

    Pixels of 36x36 or more are convolved as images. Integers and booleans with known bounds are kinds of things: few of
    them become one-hots, more are embedded, and matrices and `[H, W, C]` arrays are grids, convolved as often as they
    have room for. All else is numbers. NetHack's observations have a torso of their own (`nethack`). `kind="mlp"`
    convolves nothing; `kind="cnn"` insists on something to convolve. `kernel` and `norm` are for grids, and `norm` is
    for dense layers too. Leaves under a key in `ignore` are not read.

    Raises `UsageError` for an unknown kind or key, for nothing left to read, for a leaf with more than three axes, and
    for one-hots (`embed=0`) of more than a million numbers.
    """
    from agents.networks import nethack  # which is built of what is above

    if kind not in KINDS:
        raise UsageError(f"Unknown encoder {kind!r}: {nearest(kind, KINDS)}")
    _activation(activation)
    specs = _by_path(obs)
    keys = {key for path in specs for key in path.split(".")}
    for key in ignore:
        if key not in keys:
            raise UsageError(f"The observation has no part {key!r} to ignore: {nearest(key, keys)}")
    read = {path: spec for path, spec in specs.items() if not set(path.split(".")) & set(ignore)}
    if not read:
        raise UsageError("Every part of the observation is ignored: nothing is left to act on.")
    if kind == "auto" and nethack.fits(obs):
        room = channels[: fitting(nethack.ROWS, stride)]
        sizes = {"embed": embed, "channels": room, "stride": stride, "hidden": hidden, "activation": activation}
        return nethack.torso(obs, **sizes, ignore=ignore)

    def grid(path: str, spec: Array, low: float, high: float) -> GridTorso:
        size = math.prod(spec.shape) * int(high - low + 1)
        if not embed and not spec.levels and size > _ONE_HOT_NUMBERS:
            raise UsageError(
                f"One-hots of {path!r} would be {size:,} numbers for each observation: embed or ignore it."
            )
        room = () if kind == "mlp" else channels[: fitting(min(_three_axes(spec.shape)[:2]), stride, kernel)]
        rank = len(spec.shape)
        return GridTorso(int(high), int(low), embed, room, stride, (), activation, rank, spec.levels, kernel, norm)

    def part(path: str, spec: Array) -> nn.Module:
        low, high = (0.0, 1.0) if spec.dtype == "bool" else (spec.low, spec.high)
        if len(spec.shape) > 3:
            raise UsageError(f"The observation {path!r} has {len(spec.shape)} axes: that needs an encoder of your own.")
        if _is_image(spec):
            return Vector(0, 255) if kind == "mlp" else ImageTorso()
        if low is None or high is None or _is_float(spec) or high - low >= _TABLE_LEVELS:
            return Vector(low, high)
        if len(spec.shape) < 2 and math.prod(spec.shape) * (high - low + 1) <= _ONE_HOT_LEVELS:
            return OneHot(int(high), int(low))
        return grid(path, spec, low, high)

    parts = {path: part(path, spec) for path, spec in read.items()}
    if kind == "cnn" and not any(isinstance(p, ImageTorso) or getattr(p, "channels", ()) for p in parts.values()):
        raise UsageError("The encoder 'cnn' needs a grid or an image to look at; 'mlp' reads any observation.")
    return Torso(parts, {path: len(spec.shape) for path, spec in read.items()}, hidden, activation, norm)


def _by_path(tree: PyTree) -> dict[str, Any]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator=".") or "obs": leaf for path, leaf in leaves}


def _is_float(spec: Array) -> bool:
    return bool(np.issubdtype(np.dtype(spec.dtype), np.floating))


def _is_image(spec: Array) -> bool:
    pixels = _is_float(spec) or (spec.dtype == "uint8" and spec.high in (None, 255))
    return pixels and len(spec.shape) == 3 and min(spec.shape[:2]) >= _IMAGE_SIDE


def _three_axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """`[H, W, C]` of a grid of fewer axes: a matrix has one channel, a vector is a row, a scalar one cell."""
    return {0: (1, 1, 1), 1: (1, *shape, 1), 2: (*shape, 1)}.get(len(shape), shape)


def fitting(side: int, stride: int, kernel: int = 3) -> int:
    """How many convolutions, their kernel two cells wide or more, a side of this length has room for."""
    count = 0
    while side >= kernel:
        side, count = (side - kernel) // stride + 1, count + 1
    return count


def _one_hot(x: jax.Array, low: int, high: int) -> jax.Array:
    """Integers `[...]` to float32 `[..., levels]`; out of bounds gives zeros."""
    return (x.astype(jnp.int32)[..., None] == jnp.arange(low, high + 1)).astype(jnp.float32)
