"""Sound bounds of a network on a box: intervals, and linear relaxations carried back to the input (CROWN).

Zhang et al., "Efficient Neural Network Robustness Certification with General Activation Functions", 2018. All is in
float64 and every bound is moved outward by more than rounding can amount to. The policy's own float32 arithmetic is off
by at most `gamma_k (sum_k |z_k| @ sizes_k + size)` in each affine map, in whatever order it sums, with `gamma_k = k u /
(1 - k u)`, `u = 2^-24` and `k` roundings (Higham, "Accuracy and Stability of Numerical Algorithms", 2002, chapter 3).
That is some 1e8 times what float64 adds to the same sums; what it adds to the rest is below `SLACK` of the magnitudes
that a bound is summed of.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from agents.auxiliary.verification.network import Layer, Network

SLACK = 2.0**-36
ACTIVATION = 2.0**-20  # by which float32's tanh and expm1 may be off
_TINY = 1e-30  # more than numbers that are flushed to zero add up to
_POINT = 1e-9  # below this width of an interval a chord has no meaning


class Box(NamedTuple):
    """Lower and upper bounds, `[n]` each."""

    low: jax.Array
    high: jax.Array


class Lines(NamedTuple):
    """`low_slope y + low <= z <= high_slope y + high`, `[n]` each."""

    low_slope: jax.Array
    low: jax.Array
    high_slope: jax.Array
    high: jax.Array


class Relaxed(NamedTuple):
    """What is known of one layer on a box.

    Attributes:
      post: bounds of its outputs.
      lines: that hold its activation between its bounds.
      error: how far float32 may be off before the activation, `[n]`.
    """

    post: Box
    lines: Lines
    error: jax.Array


def bounds(
    network: Network, rows: jax.Array, offset: jax.Array, box: Box, *, linear: bool = True
) -> tuple[Box, jax.Array]:
    """Bounds of `rows @ outputs + offset` `[R]` on a box, and the slopes `[R, D]` of their lower bounds in the input.

    They hold for the outputs as the policy computes them in float32, whatever the order of its sums. With `linear` the
    relaxation's bounds are cut with the intervals'; without it the slopes are zero.

    Args:
      network: of `D` inputs and `K` outputs.
      rows: float64 `[R, K]`.
      offset: float64 `[R]`.
      box: of the input, float64 `[D]`.
      linear: relax; else intervals alone.
    """
    known: list[Relaxed] = [Relaxed(box, _unused(box), jnp.zeros_like(box.low))]
    for layer in network.layers:
        error = rounding(layer, known)
        pre = _intervals(layer, known, error)
        if linear and set(layer.weights) != {0}:
            eye = jnp.eye(len(layer.bias))
            found, _ = _relaxation(network, layer, known, error, eye, jnp.zeros(len(layer.bias)))
            pre = _cut(pre, found)
        off = 0.0 if layer.kind == "relu" else ACTIVATION
        post = Box(_pad(value(layer.kind, pre.low), -1) - off, _pad(value(layer.kind, pre.high), 1) + off)
        known.append(Relaxed(post, lines(layer.kind, pre, off), error))
    error = rounding(network.output, known)
    folded = _folded(network.output, rows, offset)
    plain = _intervals(folded, known, jnp.abs(rows) @ error)
    if not linear:
        return plain, jnp.zeros((len(rows), network.inputs))
    found, slopes = _relaxation(network, network.output, known, error, rows, offset)
    return _cut(plain, found), slopes


def evaluate(network: Network, x: jax.Array) -> jax.Array:
    """The outputs `[K]` of one input `[D]` in float64."""
    found = [x]
    for layer in (*network.layers, network.output):
        y = sum((found[k] @ weights for k, weights in layer.weights.items()), layer.bias)
        found.append(value(layer.kind, y))
    return found[-1]


def rounding(layer: Layer, known: list[Relaxed]) -> jax.Array:
    """How far a layer's `y` may be from that of exact arithmetic on the same inputs, `[n]`."""
    unit = layer.roundings * 2.0**-24
    most = [jnp.maximum(jnp.abs(each.post.low), jnp.abs(each.post.high)) for each in known]
    size = sum((most[k] @ weights for k, weights in layer.sizes.items()), layer.size)
    # A little more, for the float64 sums made of the same terms.
    return unit / (1 - unit) * (1 + 2.0**-8) * size + _TINY


def _intervals(layer: Layer, known: list[Relaxed], error: jax.Array) -> Box:
    low, high = layer.bias - error, layer.bias + error
    for k, weights in layer.weights.items():
        middle = (known[k].post.low + known[k].post.high) / 2 @ weights
        reach = (known[k].post.high - known[k].post.low) / 2 @ jnp.abs(weights)
        low, high = low + middle - reach, high + middle + reach
    return Box(low, high)


def _folded(layer: Layer, rows: jax.Array, offset: jax.Array) -> Layer:
    """`rows @ y + offset` as a layer."""
    return layer.replace(  # type: ignore[attr-defined]
        weights={k: weights @ rows.T for k, weights in layer.weights.items()}, bias=rows @ layer.bias + offset
    )


def _relaxation(
    network: Network, layer: Layer, known: list[Relaxed], error: jax.Array, rows: jax.Array, offset: jax.Array
) -> tuple[Box, jax.Array]:
    """Bounds of `rows @ y + offset` of a layer, and the slopes of the lower ones in the input."""
    both = jnp.concatenate([rows, -rows])
    constant = jnp.concatenate([offset, -offset])
    size = jnp.abs(constant)
    slopes: dict[int, jax.Array] = {}

    def through(layer: Layer, error: jax.Array, rows: jax.Array) -> None:
        nonlocal constant, size
        constant = constant + rows @ layer.bias - jnp.abs(rows) @ error
        size = size + jnp.abs(rows) @ jnp.abs(layer.bias)
        for k, weights in layer.weights.items():
            slopes[k] = slopes.get(k, 0.0) + rows @ weights.T

    through(layer, error, both)
    for k in range(max(slopes), 0, -1):
        if k not in slopes:
            continue
        found = slopes.pop(k)
        up, down, line = jnp.maximum(found, 0), jnp.minimum(found, 0), known[k].lines
        constant = constant + up @ line.low + down @ line.high
        size = size + up @ jnp.abs(line.low) - down @ jnp.abs(line.high)
        through(network.layers[k - 1], known[k].error, up * line.low_slope + down * line.high_slope)
    found = slopes[0] if 0 in slopes else jnp.zeros((len(both), network.inputs))
    up, down, box = jnp.maximum(found, 0), jnp.minimum(found, 0), known[0].post
    size = size + up @ jnp.abs(box.low) - down @ jnp.abs(box.high)
    low = constant + up @ box.low + down @ box.high - SLACK * size
    return Box(low[: len(rows)], -low[len(rows) :]), found[: len(rows)]


def _cut(one: Box, other: Box) -> Box:
    return Box(jnp.maximum(one.low, other.low), jnp.minimum(one.high, other.high))


def _pad(x: jax.Array, sign: int) -> jax.Array:
    """Outward by more than an elementary function of float64 is off."""
    return x + sign * 2.0**-45 * (1 + jnp.abs(x))


def _unused(box: Box) -> Lines:
    zero = jnp.zeros_like(box.low)
    return Lines(zero, zero, zero, zero)


# --------------------------------------------------------------------------------------------------------- ACTIVATIONS


def value(kind: str, x: jax.Array) -> jax.Array:
    """An activation, elementwise; all of them are increasing."""
    match kind:
        case "relu":
            return jnp.maximum(x, 0)
        case "tanh":
            return jnp.tanh(x)
        case "elu":
            return jnp.where(x > 0, x, jnp.expm1(jnp.minimum(x, 0)))
    return x


def _slope(kind: str, x: jax.Array) -> jax.Array:
    match kind:
        case "relu":
            return (x > 0).astype(x.dtype)
        case "tanh":
            return 1 - jnp.tanh(x) ** 2
    return jnp.exp(jnp.minimum(x, 0))


def lines(kind: str, pre: Box, off: float) -> Lines:
    """Lines that hold an activation between bounds of its input, `off` further apart on either side.

    The slopes are a choice; whatever they are, the heights are the extremes of `kind(y) - slope y` between the bounds,
    which lie at the ends or where the activation has that slope.
    """
    middle, width = (pre.low + pre.high) / 2, pre.high - pre.low
    rise = value(kind, pre.high) - value(kind, pre.low)
    tangent = _slope(kind, middle)
    chord = jnp.clip(jnp.where(width > _POINT, rise / jnp.where(width > _POINT, width, 1.0), tangent), 0, 1)
    if kind == "tanh":  # convex below 0, concave above it
        low_slope = jnp.where(pre.high <= 0, tangent, chord)
        high_slope = jnp.where(pre.low >= 0, tangent, chord)
    else:
        low_slope, high_slope = tangent, chord
    low, high = _height(kind, low_slope, pre, jnp.minimum), _height(kind, high_slope, pre, jnp.maximum)
    pad = off + 2.0**-45 * (1 + jnp.maximum(jnp.abs(pre.low), jnp.abs(pre.high)))
    return Lines(low_slope, low - pad, high_slope, high + pad)


def _height(kind: str, slope: jax.Array, pre: Box, extreme) -> jax.Array:
    least = extreme is jnp.minimum

    def over(x: jax.Array) -> jax.Array:
        return value(kind, x) - slope * x

    found = extreme(over(pre.low), over(pre.high))
    if kind == "tanh":
        turn = jnp.arctanh(jnp.sqrt(jnp.clip(1 - slope, 0, 1)))
        return extreme(found, over(jnp.clip(-turn if least else turn, pre.low, pre.high)))
    if not least:
        return found  # a convex function is highest at an end
    turn = jnp.log(slope) if kind == "elu" else jnp.zeros_like(slope)
    return extreme(found, over(jnp.clip(turn, pre.low, pre.high)))
