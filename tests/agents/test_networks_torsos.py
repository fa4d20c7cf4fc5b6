"""Torsos: what `auto` reads from a spec, the convolution as a matrix, leading axes, and the encoder contract."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.networks import GridTorso, ImageTorso, Torso, TorsoEncoder, auto, patches
from agents.networks.torsos import OneHot, Vector
from envs.contract import Array
from envs.errors import UsageError

KEY = jax.random.key(0)
MINIGRID = {
    "image": Array((7, 7, 3), "uint8", 0, 10),
    "direction": Array((), "int32", 0, 3),
    "mission": Array((20,), "int32", 0, 40),
}


def _draw(spec: Array, leading: tuple[int, ...]) -> jax.Array:
    random, shape = np.random.default_rng(0), leading + spec.shape
    if np.issubdtype(np.dtype(spec.dtype), np.floating):
        return jnp.asarray(random.normal(size=shape), jnp.float32)
    return jnp.asarray(random.integers(int(spec.low or 0), int(spec.high or 1) + 1, shape).astype(spec.dtype))


def _params(module, *inputs):
    """Small random numbers: a program that draws orthogonal ones takes seconds to compile."""
    random, shapes = np.random.default_rng(0), jax.eval_shape(module.init, KEY, *inputs)
    return jax.tree.map(lambda leaf: jnp.asarray(random.normal(0, 0.3, leaf.shape), leaf.dtype), shapes)


@pytest.mark.parametrize(("stride", "side"), [(1, 3), (2, 3), (1, 2)])
@pytest.mark.parametrize("shape", [(7, 7), (5, 8)])
def test_patches_are_a_convolution_in_value_and_gradient(shape, stride, side):
    x = _draw(Array((*shape, 4), "float32"), (3,))
    module = patches.Patches(6, stride, side)
    params = _params(module, x)["params"]

    def convolved(params, x):
        kernel = params["kernel"].reshape(side, side, 4, 6)
        dims = ("NHWC", "HWIO", "NHWC")
        out = jax.lax.conv_general_dilated(x, kernel, (stride, stride), "VALID", dimension_numbers=dims)
        return out + params["bias"]

    def mine(params, x):
        return module.apply({"params": params}, x)

    def both(f):
        return jax.jit(lambda p, x: (f(p, x), jax.grad(lambda p, x: jnp.sum(jnp.sin(f(p, x))), (0, 1))(p, x)))(
            params, x
        )

    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), both(mine), both(convolved))


@pytest.mark.parametrize(("low", "high"), [(0, 10), (-2, 3), (0, 300)])
def test_grid_embeds_by_table_lookup(low, high):
    module = GridTorso(high, low, embed=5, channels=())
    x = _draw(Array((6, 5, 2), "int32", low, high), (4,))
    params = _params(module, x)["params"]
    levels = high - low + 1
    assert params["table"].shape == (2 * levels, 5)
    table = np.asarray(params["table"]).reshape(2, levels, 5)
    expected = sum(table[c][np.asarray(x)[..., c] - low] for c in range(2))
    np.testing.assert_allclose(module.apply({"params": params}, x), expected.reshape(4, -1), atol=1e-5)


@pytest.mark.parametrize("embed", [0, 8])
@pytest.mark.parametrize("channels", [(), (16, 32)])
def test_grid_torso_takes_any_leading_axes(embed, channels):
    module = GridTorso(10, embed=embed, channels=channels, stride=1, hidden=(24,))
    x = _draw(MINIGRID["image"], (3, 2))
    params, apply = _params(module, x), jax.jit(module.apply)
    whole = apply(params, x)
    assert whole.shape == (3, 2, 24)
    np.testing.assert_allclose(apply(params, x[0, 0]), whole[0, 0], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(apply(params, x.reshape(6, 7, 7, 3)), whole.reshape(6, 24), rtol=1e-4, atol=1e-4)


def test_grid_too_small_for_its_convolutions_is_refused():
    with pytest.raises(UsageError, match="too small"):
        jax.eval_shape(GridTorso(3, channels=(4, 4, 4)).init, KEY, jnp.zeros((1, 5, 5, 1), int))


def test_dense_weights_are_orthogonal_with_gain_root_two_and_biases_zero():
    params = jax.jit(auto(Array((9,), "float32")).init)(KEY, jnp.zeros((1, 9)))["params"]
    kernel = params["MLP_0"]["Dense_0"]["kernel"]
    small = kernel if kernel.shape[0] <= kernel.shape[1] else kernel.T
    np.testing.assert_allclose(small @ small.T, 2 * np.eye(len(small)), atol=1e-4)
    np.testing.assert_array_equal(params["MLP_0"]["Dense_0"]["bias"], 0)


@pytest.mark.parametrize(
    ("spec", "kind", "part"),
    [
        (Array((17,), "float32"), "auto", Vector),
        (Array((), "int32", 0, 3), "auto", OneHot),
        (Array((3,), "bool"), "auto", OneHot),
        (Array((20,), "int32", 0, 40), "auto", GridTorso),
        (Array((7, 7, 3), "uint8", 0, 10), "auto", GridTorso),
        (Array((7, 7, 3), "uint8", 0, 10), "mlp", GridTorso),
        (Array((21, 79), "int16", 0, 5976), "auto", GridTorso),
        (Array((27,), "int32"), "auto", Vector),
        (Array((2,), "int32", 0, 1_000_000), "auto", Vector),
        (Array((84, 84, 4), "uint8", 0, 255), "auto", ImageTorso),
        (Array((56, 56, 3), "float32"), "auto", ImageTorso),
        (Array((40, 40, 3), "uint8", 0, 255), "mlp", Vector),
        (Array((10, 10, 4), "float32"), "auto", Vector),
        (Array((2, 2), "int32", 0, 3), "auto", GridTorso),
    ],
)
def test_auto_reads_each_leaf_by_its_kind(spec, kind, part):
    torso = auto(spec, kind=kind, hidden=(8,))
    assert isinstance(torso.parts["obs"], part)
    params = jax.eval_shape(torso.init, KEY, _draw(spec, (2,)))
    out = jax.eval_shape(torso.apply, params, _draw(spec, (3, 2)))
    assert out.shape == (3, 2, 8)
    assert out.dtype == jnp.float32


def test_large_grids_stay_small():
    glyphs = Array((21, 79), "int16", 0, 5976)
    params = jax.eval_shape(auto(glyphs).init, KEY, _draw(glyphs, (1,)))
    assert sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(params)) < 2_000_000


def test_numbers_are_scaled_by_their_bounds_or_by_symlog():
    scaled = Vector(0, 200).apply({}, jnp.array([[0, 100, 200]]))
    np.testing.assert_allclose(scaled, [[-1, 0, 1]])
    np.testing.assert_allclose(Vector().apply({}, jnp.array([[-9, 0, 9]])), [[-np.log(10), 0, np.log(10)]], rtol=1e-6)
    np.testing.assert_allclose(Vector(0, 5).apply({}, jnp.array([[2.5]])), [[2.5]])


def test_images_are_divided_by_255():
    image = _draw(Array((36, 36, 3), "uint8", 0, 255), (2,))
    params, apply = _params(ImageTorso(), image), jax.jit(ImageTorso().apply)
    features = apply(params, image)
    assert features.shape == (2, 64)
    assert features.any()
    np.testing.assert_allclose(features, apply(params, image.astype(jnp.float32) / 255), rtol=1e-4, atol=1e-4)


def test_every_part_of_a_nested_observation_reaches_the_features_unless_ignored():
    spec = {"inner": (Array((3,), "float32"), MINIGRID["direction"]), **MINIGRID}
    torso = auto(spec, ignore=("mission",))
    assert isinstance(torso, Torso)
    assert set(torso.parts) == {"image", "direction", "inner.0", "inner.1"}
    obs = jax.tree.map(lambda leaf: _draw(leaf, (4,)), spec)
    params, apply = _params(torso, obs), jax.jit(torso.apply)
    features = apply(params, obs)

    def moved(**changes):
        return bool(jnp.abs(apply(params, obs | changes) - features).max() > 1e-6)

    assert moved(image=10 - obs["image"])
    assert moved(direction=3 - obs["direction"])
    assert moved(inner=(obs["inner"][0] + 1, obs["inner"][1]))
    assert moved(inner=(obs["inner"][0], 3 - obs["inner"][1]))
    assert not moved(mission=40 - obs["mission"])


def test_auto_refuses_with_one_sentence():
    with pytest.raises(UsageError, match="did you mean cnn"):
        auto(MINIGRID, kind="cn")
    with pytest.raises(UsageError, match="did you mean mission"):
        auto(MINIGRID, ignore=("misson",))
    with pytest.raises(UsageError, match="nothing is left"):
        auto(MINIGRID, ignore=tuple(MINIGRID))
    with pytest.raises(UsageError, match="axes"):
        auto(Array((2, 2, 2, 2), "float32"))
    with pytest.raises(UsageError, match="did you mean tanh"):
        auto(MINIGRID, activation="tan")
    with pytest.raises(UsageError, match="grid or an image"):
        auto(Array((3,), "float32"), kind="cnn")


def test_torso_encoder_keeps_the_contract():
    encoder = TorsoEncoder(auto(MINIGRID, hidden=(16,)))
    obs, first = jax.tree.map(lambda leaf: _draw(leaf, (4,)), MINIGRID), jnp.zeros(4, bool)
    assert encoder.begin(4) == ()
    features, carry = jax.eval_shape(
        lambda *inputs: encoder.init_with_output(KEY, *inputs, train=True)[0], obs, encoder.begin(4), first
    )
    assert features.shape == (4, 16)
    assert carry == ()
