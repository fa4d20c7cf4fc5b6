"""Arrays of a traced function as affine maps of the input and of layers' outputs, beside what bounds their rounding."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

_ROUNDINGS = 4  # of a sum, product or quotient with a constant: its own, and those by which the constant may be off

_Map = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Affine:
    """An array of the trace: `sum_k z_k @ terms[k] + bias`, terms `[n_k, *shape]`; sizes as in `Layer`."""

    terms: dict[int, np.ndarray]
    bias: np.ndarray
    sizes: dict[int, np.ndarray]
    size: np.ndarray
    roundings: int = 0

    def mapped(self, apply: _Map, size: _Map | None = None, roundings: int = 0) -> "Affine":
        """A linear map of it, and of its sizes if that is another; both take arrays with one more axis in front."""
        size = size or apply
        return Affine(
            {k: apply(term) for k, term in self.terms.items()},
            apply(self.bias[None])[0],
            {k: np.abs(size(term)) for k, term in self.sizes.items()},
            np.abs(size(self.size[None])[0]),
            self.roundings + roundings,
        )


def linear(primitive: Any, params: dict[str, Any], shape: tuple[int, ...], inputs: list[Any], at: int) -> Affine:
    """A primitive that is linear in one input, applied to every row of it."""
    params = dict(params)
    roundings = 0
    if primitive.name == "dot_general":
        params["preferred_element_type"] = None
        contracted = params["dimension_numbers"][0][at]
        roundings = math.prod(inputs[at].bias.shape[axis] for axis in contracted) + 1
    elif primitive.name == "reduce_sum":
        roundings = math.prod(inputs[at].bias.shape[axis] for axis in params["axes"])

    def applied(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
        others = [each if index == at else change(_double(each)) for index, each in enumerate(inputs)]
        direct = _direct(primitive.name, params, shape, at, others)

        def one(row: jax.Array) -> jax.Array:
            return primitive.bind(*[row if index == at else each for index, each in enumerate(others)], **params)

        return direct or (lambda rows: np.asarray(jax.vmap(one)(rows)))

    absolute = applied(lambda a: np.abs(a) if a.dtype == np.float64 else a)
    return inputs[at].mapped(applied(lambda a: a), absolute, roundings)


def _direct(name: str, params: dict[str, Any], shape: tuple[int, ...], at: int, inputs: list[Any]):
    """The same for a stack of rows in NumPy, which compiles nothing; None where it is not one of the common ones."""
    match name:
        case "reshape" | "squeeze":
            return lambda rows: rows.reshape(len(rows), *shape)
        case "broadcast_in_dim":
            axes = params["broadcast_dimensions"]

            def spread(rows: np.ndarray) -> np.ndarray:
                thin = [rows.shape[1 + axes.index(axis)] if axis in axes else 1 for axis in range(len(shape))]
                return np.broadcast_to(rows.reshape(len(rows), *thin), (len(rows), *shape))

            return spread
        case "reduce_sum":
            return lambda rows: rows.sum(tuple(axis + 1 for axis in params["axes"]))
        case "dot_general" if at == 0 and not params["dimension_numbers"][1][0]:
            left, right = params["dimension_numbers"][0]
            return lambda rows: np.tensordot(rows, inputs[1], ([axis + 1 for axis in left], right))
        case "copy" | "stop_gradient":
            return lambda rows: rows
    return None


def _double(x: Any) -> np.ndarray:
    if isinstance(x, Affine):
        return x  # type: ignore[return-value]
    array = np.asarray(x)
    return array.astype(np.float64) if np.issubdtype(array.dtype, np.floating) else array


def scaled(x: Affine, factor: Any) -> Affine:
    return x.mapped(lambda a: a * factor, lambda a: a * np.abs(factor), _ROUNDINGS)


def shifted(x: Affine, constant: float) -> Affine:
    return rounded(plus(x, fixed(constant, x.bias.shape)))


def negative(x: Affine) -> Affine:
    return x.mapped(np.negative, lambda a: a)


def rounded(x: Affine) -> Affine:
    return dataclasses.replace(x, roundings=x.roundings + _ROUNDINGS)


def plus(x: Affine, y: Affine) -> Affine:
    def summed(one: dict[int, np.ndarray], other: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
        return {k: one.get(k, 0.0) + other.get(k, 0.0) for k in {**one, **other}}  # type: ignore[misc]

    roundings = max(x.roundings, y.roundings)
    return Affine(summed(x.terms, y.terms), x.bias + y.bias, summed(x.sizes, y.sizes), x.size + y.size, roundings)


def concatenated(parts: list[Affine], axis: int) -> Affine:
    def joined(which: str, k: int) -> np.ndarray:
        known = next(getattr(part, which)[k] for part in parts if k in getattr(part, which))
        blank = [np.zeros((len(known), *part.bias.shape)) for part in parts]
        found = [getattr(part, which).get(k, zeros) for part, zeros in zip(parts, blank, strict=True)]
        return np.concatenate(found, axis + 1)

    sources = {k for part in parts for k in part.terms}
    return Affine(
        {k: joined("terms", k) for k in sources},
        np.concatenate([part.bias for part in parts], axis),
        {k: joined("sizes", k) for k in sources},
        np.concatenate([part.size for part in parts], axis),
        max(part.roundings for part in parts),
    )


def reshaped(x: Affine, shape: tuple[int, ...]) -> Affine:
    return x.mapped(lambda a: a.reshape(len(a), *shape))


def widened(x: Affine, shape: tuple[int, ...]) -> Affine:
    """A scalar as an array of a shape; an array that has the shape as it is."""
    if x.bias.shape == shape:
        return x
    return x.mapped(lambda a: np.broadcast_to(a.reshape(len(a), *[1] * len(shape)), (len(a), *shape)))


def fixed(x: Any, shape: tuple[int, ...] | None) -> Affine:
    """A constant as an affine map of nothing."""
    bias = np.asarray(x, np.float64)
    bias = bias if shape is None else np.broadcast_to(bias, shape)
    return Affine({}, bias, {}, np.abs(bias))
