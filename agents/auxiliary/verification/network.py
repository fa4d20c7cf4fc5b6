"""A JAX function of one vector as a network: affine maps of what came before, each with an elementwise activation.

The function is traced and its jaxpr is read. All that is linear (dense layers, shifts, scales, sums, means, slices) is
folded into one affine map between two activations; `max`, `min`, `clip` and `abs` are written with ReLUs.
"""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.extend.core import Literal

from agents.auxiliary.verification import affine
from agents.auxiliary.verification.affine import Affine
from envs.errors import UsageError

_CALLS = {"jit", "pjit", "closed_call", "core_call", "remat", "checkpoint", "custom_jvp_call", "custom_vjp_call"}
# Linear in their first argument, the others constant; applied to each row of a matrix they apply to the matrix.
_LINEAR = {"broadcast_in_dim", "copy", "dynamic_slice", "gather", "reduce_sum", "reshape", "rev", "slice", "squeeze"}
_LINEAR |= {"stop_gradient", "tile", "transpose"}

_ELEMENTWISE = {"add", "clamp", "div", "max", "min", "mul", "sub"}


@struct.dataclass
class Layer:
    """`z = kind(y)`, `y = sum_k z_k @ weights[k] + bias`, where `z_0` is the input and `z_k` comes of the k-th layer.

    Attributes:
      weights: float64 `[n_k, n]` by `k`.
      bias: float64 `[n]`.
      sizes: the same with every product and sum taken of magnitudes, which bounds what rounding can do.
      size: that of the bias.
      kind: `identity`, `relu`, `tanh` or `elu`.
      roundings: how often the policy's float32 arithmetic rounds a term of `y` at most.
    """

    weights: dict[int, Any]
    bias: Any
    sizes: dict[int, Any]
    size: Any
    kind: str = struct.field(pytree_node=False)
    roundings: int = struct.field(pytree_node=False)


@struct.dataclass
class Network:
    """Layers in order, each reading the input and those before it.

    Attributes:
      layers: the layers with an activation.
      output: the last, affine one: `[K]`.
      inputs: length of the input.
      chosen: whether the function returned the index of the largest output rather than the outputs.
    """

    layers: tuple[Layer, ...]
    output: Layer
    inputs: int = struct.field(pytree_node=False)
    chosen: bool = struct.field(pytree_node=False)


class _Chosen(NamedTuple):
    """The index of the largest of some numbers."""

    scores: Affine


class _Step(NamedTuple):
    """An equation of a jaxpr with its calls written out; inputs are constants or the tokens of other steps' outputs."""

    name: str
    primitive: Any
    params: dict[str, Any]
    inputs: list[Any]
    outputs: list[Any]
    shape: tuple[int, ...]


class _Token:
    """Stands for an array of the trace."""


def trace(function: Callable[[jax.Array], jax.Array], inputs: int) -> Network:
    """Reads a function of a float32 vector `[inputs]`.

    It returns numbers, or one choice: the `argmax` of numbers, which are then the outputs.

    Raises:
      UsageError: for whatever is no feed-forward network of dense layers with ReLU, tanh or ELU; it names what is not.
    """
    closed = jax.make_jaxpr(function)(jax.ShapeDtypeStruct((inputs,), jnp.float32))
    if len(closed.out_avals) != 1:
        raise UsageError(f"a policy to verify gives one array, not {len(closed.out_avals)}.")
    token = _Token()
    steps: list[_Step] = []
    (result,) = _inline(closed.jaxpr, closed.consts, [token], steps)
    with jax.enable_x64(True):
        reader = _Reader(inputs)
        values: dict[int, Any] = {id(token): reader.variable(0, (inputs,))}
        for step in _needed(steps, result):
            read = [values[id(each)] if isinstance(each, _Token) else each for each in step.inputs]
            found = reader.apply(step, read)
            values |= {id(out): value for out, value in zip(step.outputs, found, strict=True)}
        found = values[id(result)] if isinstance(result, _Token) else result
        chosen = isinstance(found, _Chosen)
        scores = found.scores if isinstance(found, _Chosen) else found
        if not isinstance(scores, Affine) or not scores.terms:
            raise UsageError("the policy's action does not depend on its observation: there is nothing to verify.")
        return Network(tuple(reader.layers), _layer("identity", scores), inputs, chosen)


def _inline(jaxpr: Any, consts: Any, arguments: list[Any], steps: list[_Step]) -> list[Any]:
    """Appends a jaxpr's equations to `steps`, those of its calls in place of these; what stands for its outputs."""
    values: dict[Any, Any] = dict(zip(jaxpr.constvars, consts, strict=True))
    values |= dict(zip(jaxpr.invars, arguments, strict=True))

    def read(atom: Any) -> Any:
        if not isinstance(atom, Literal):
            return values[atom]
        aval: Any = atom.aval
        return np.asarray(atom.val, aval.dtype)

    for equation in jaxpr.eqns:
        name, inputs = equation.primitive.name, [read(atom) for atom in equation.invars]
        called = equation.params.get("jaxpr", equation.params.get("call_jaxpr")) if name in _CALLS else None
        if called is not None and not _is_elu(equation, called):
            outputs = _inline(getattr(called, "jaxpr", called), getattr(called, "consts", ()), inputs, steps)
        else:
            name = name if called is None else "elu"
            outputs = [_Token() for _ in equation.outvars]
            steps.append(
                _Step(name, equation.primitive, equation.params, inputs, outputs, equation.outvars[0].aval.shape)
            )
        values |= dict(zip(equation.outvars, outputs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _is_elu(equation: Any, called: Any) -> bool:
    """Whether a call is `jax.nn.elu` with its default slope, by what it computes rather than by its name alone."""
    if equation.params.get("name") != "elu" or len(equation.invars) != 1:
        return False
    aval: Any = equation.invars[0].aval
    like = jax.make_jaxpr(jax.nn.elu)(jax.ShapeDtypeStruct(aval.shape, aval.dtype)).eqns[0].params["jaxpr"]
    return str(called) == str(like)


def _needed(steps: list[_Step], result: Any) -> Iterator[_Step]:
    """The steps that the result depends on, in order."""
    wanted, kept = {id(result)}, []
    for step in reversed(steps):
        if any(id(out) in wanted for out in step.outputs):
            wanted |= {id(each) for each in step.inputs}
            kept.append(step)
    return reversed(kept)


class _Reader:
    """Reads steps one after the other and collects the layers."""

    def __init__(self, inputs: int):
        self.inputs = inputs
        self.layers: list[Layer] = []

    def variable(self, k: int, shape: tuple[int, ...]) -> Affine:
        """The outputs of layer `k` themselves, in a shape."""
        size = math.prod(shape)
        eye = np.eye(size).reshape(size, *shape)
        return Affine({k: eye}, np.zeros(shape), {k: eye}, np.zeros(shape))

    def activated(self, kind: str, x: Affine) -> Affine:
        """Another layer's outputs, in the shape of what goes into it."""
        self.layers.append(_layer(kind, x))
        return self.variable(len(self.layers), x.bias.shape)

    def maximum(self, x: Affine, y: Affine) -> Affine:
        """`max(x, y) = y + relu(x - y)`."""
        if any(not np.isfinite(each.bias).all() for each in (x, y)):
            return self._infinite(x, y)
        return affine.plus(y, self.activated("relu", affine.plus(x, affine.negative(y))))

    def _infinite(self, x: Affine, y: Affine) -> Affine:
        """`max(x, y)` where one of them is -inf, a bound that is none."""
        for one, other in ((x, y), (y, x)):
            if not one.terms and np.all(np.isneginf(one.bias)):
                return other
        raise UsageError("a policy that is clipped to bounds of which some are infinite cannot be verified.")

    def apply(self, step: _Step, inputs: list[Any]) -> list[Any]:
        """The outputs of one step."""
        if not any(isinstance(each, Affine | _Chosen) for each in inputs):
            return _constant(step, inputs)
        if isinstance(inputs[0], _Chosen):
            if step.name in _LINEAR | {"convert_element_type"} and math.prod(step.shape) == 1:
                return [inputs[0]]
            raise _unknown(step.name)
        if step.name == "argmax":
            (x,) = inputs
            if x.bias.size != x.bias.shape[step.params["axes"][0]]:
                raise UsageError(
                    "a policy that makes several choices at once cannot be verified, one that makes one can."
                )
            return [_Chosen(affine.reshaped(x, (-1,)))]
        if step.name == "split":
            return self._split(step, inputs[0])
        return [self._one(step, inputs)]

    def _split(self, step: _Step, x: Affine) -> list[Affine]:
        ends, axis = np.cumsum(step.params["sizes"]), step.params["axis"] + 1
        cuts = [np.arange(end - size, end) for end, size in zip(ends, step.params["sizes"], strict=True)]
        return [x.mapped(partial(np.take, indices=cut, axis=axis)) for cut in cuts]

    def _one(self, step: _Step, inputs: list[Any]) -> Affine:
        name, params = step.name, step.params
        if name in ("tanh", "elu"):
            return self.activated(name, inputs[0])
        if name == "logistic":
            return affine.scaled(affine.shifted(self.activated("tanh", affine.scaled(inputs[0], 0.5)), 1.0), 0.5)
        if name == "neg":
            return affine.negative(inputs[0])
        if name == "abs":
            return self.maximum(inputs[0], affine.negative(inputs[0]))
        if name == "convert_element_type" and params["new_dtype"] in (jnp.float32, jnp.float64):
            return inputs[0]
        if name in _LINEAR and not any(isinstance(each, Affine) for each in inputs[1:]):
            return affine.linear(step.primitive, params, step.shape, inputs, 0)
        if name in _ELEMENTWISE:  # scalars stand for arrays of them
            shape = np.broadcast_shapes(*(_bias(each).shape for each in inputs))
            inputs = [affine.widened(each, shape) if isinstance(each, Affine) else each for each in inputs]
        known = [index for index, each in enumerate(inputs) if isinstance(each, Affine)]
        if name == "dot_general" and len(known) == 1:
            return affine.linear(step.primitive, params, step.shape, inputs, known[0])
        if (name == "mul" and len(known) == 1) or (name == "div" and known == [0]):
            factor = np.asarray(inputs[1 - known[0]], np.float64)
            return affine.scaled(inputs[known[0]], factor if name == "mul" else 1 / factor)
        if name in ("concatenate", "stack"):
            parts = [each if isinstance(each, Affine) else affine.fixed(each, None) for each in inputs]
            return self._joined(name, parts, params)
        if name in ("add", "sub", "max", "min", "clamp"):
            parts = [each if isinstance(each, Affine) else affine.fixed(each, shape) for each in inputs]
            return self._joined(name, parts, params)
        raise _unknown(name)

    def _joined(self, name: str, parts: list[Affine], params: dict[str, Any]) -> Affine:
        match name:
            case "add":
                return affine.rounded(affine.plus(*parts))
            case "sub":
                return affine.rounded(affine.plus(parts[0], affine.negative(parts[1])))
            case "max":
                return self.maximum(*parts)
            case "min":
                return affine.negative(self.maximum(*map(affine.negative, parts)))
            case "clamp":
                above = self.maximum(parts[1], parts[0])
                return affine.negative(self.maximum(affine.negative(above), affine.negative(parts[2])))
            case "stack":
                axis = params["axis"]
                shape = list(parts[0].bias.shape)
                thin = (*shape[:axis], 1, *shape[axis:])
                return affine.concatenated([affine.reshaped(part, thin) for part in parts], axis)
        return affine.concatenated(parts, params["dimension"])


def _layer(kind: str, x: Affine) -> Layer:
    flat = affine.reshaped(x, (-1,))
    return Layer(flat.terms, flat.bias, flat.sizes, flat.size, kind, max(flat.roundings, 1))


def _constant(step: _Step, inputs: list[Any]) -> list[Any]:
    """What does not depend on the observation is computed as the policy computes it."""
    if step.name == "elu":
        return [jax.nn.elu(inputs[0])]
    found = step.primitive.bind(*map(jnp.asarray, inputs), **step.params)
    return list(found) if step.primitive.multiple_results else [found]


def _bias(x: Any) -> np.ndarray:
    return x.bias if isinstance(x, Affine) else np.asarray(x)


def _unknown(name: str) -> UsageError:
    return UsageError(
        f"the policy computes {name!r} of its observation, which has no bounds here: dense layers with relu, tanh "
        "or elu, sums, means and clips have."
    )
