"""Long forwards in pieces: the same numbers, and no piece larger than asked."""

import jax.numpy as jnp
import numpy as np
import pytest

from agents.networks import chunks


@pytest.mark.parametrize(("steps", "n", "pieces"), [(65, 128, 5), (8, 4, 1), (7, 4096, 7), (101, 64, 101)])
def test_pieces_divide_the_steps_evenly(steps, n, pieces):
    seen = []

    def function(tree):
        seen.append(tree["x"].shape)
        return tree["x"] * 2.0, tree["y"].sum(-1)

    x, y = np.random.default_rng(0).normal(size=(2, steps, n, 3)).astype(np.float32)
    doubled, summed = chunks.over_time(function, {"x": jnp.asarray(x), "y": jnp.asarray(y)})
    np.testing.assert_array_equal(doubled, x * 2)
    np.testing.assert_allclose(summed, y.sum(-1), rtol=1e-5, atol=1e-6)
    assert set(seen) == {(steps // pieces, n, 3)}
