"""`run`: a loss evaluated as it stands, under jit, and under vmap of jit."""

import jax
import numpy as np
import pytest


def _vmapped(loss, *args):
    """Maps over three rows of which only the middle one holds `args`: rows must not mix."""
    axes = [0 if np.ndim(arg) else None for arg in args]
    rows = [np.stack([np.zeros_like(arg), arg, np.ones_like(arg)]) if np.ndim(arg) else arg for arg in args]
    return jax.tree.map(lambda x: x[1], jax.vmap(loss, in_axes=axes)(*rows))


VARIANTS = {
    "plain": lambda loss, *args: loss(*args),
    "jit": lambda loss, *args: jax.jit(loss)(*args),
    "vmap": lambda loss, *args: _vmapped(jax.jit(loss), *args),
}


@pytest.fixture(params=VARIANTS)
def run(request):
    return VARIANTS[request.param]
