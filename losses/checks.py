"""What every loss asserts of its arguments before it computes anything."""

import chex  # type: ignore[import-untyped]
import jax
import jax.numpy as jnp

Scalar = jax.Array | float

STEP_OR_SEQUENCE = {0, 1}
VECTOR_OR_VECTORS = {1, 2}


def check_floats(ranks: int | set[int], *arrays: Scalar) -> None:
    """Asserts that `arrays` are floats of one common shape, whose rank is among `ranks`.

    Raises:
      AssertionError: otherwise.
    """
    chex.assert_type(arrays, float)
    chex.assert_rank(arrays, ranks)
    check_shapes(*arrays)


def check_shapes(*arrays: Scalar) -> None:
    """Asserts that `arrays` have one common shape: `[T]` and `[1]` would otherwise broadcast in silence.

    Raises:
      AssertionError: otherwise.
    """
    shapes = [jnp.shape(array) for array in arrays]  # Python floats are welcome too: their shape is `[]`
    if len(set(shapes)) > 1:
        raise AssertionError(f"Arguments must have one common shape, not {', '.join(map(str, shapes))}.")


def check_lambda(lambda_t: Scalar, like: jax.Array) -> None:
    """Asserts that `lambda_t` is a float scalar, or floats of the shape of `like`.

    Raises:
      AssertionError: otherwise.
    """
    chex.assert_type(lambda_t, float)
    if jnp.ndim(lambda_t):
        check_shapes(lambda_t, like)
