"""NetHack's torso: the crop against a loop, the numbers by hand, what reaches the features, and how it is chosen."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import agents
from agents.auxiliary.encoders import nethack as door
from agents.auxiliary.rewards import rnd
from agents.networks import TorsoEncoder, auto, nethack
from envs.contract import Array, Discrete, EnvSpec
from envs.errors import UsageError

GLYPHS = 5976
SPEC = {
    "glyphs": Array((21, 79), "int16", 0, GLYPHS),
    "chars": Array((21, 79), "uint8", 0, 255),
    "colors": Array((21, 79), "uint8", 0, 15),
    "blstats": Array((27,), "int32"),
    "message": Array((256,), "uint8", 0, 255),
}
CARRIED = {"inv_glyphs": Array((55,), "int16", 0, GLYPHS), "inv_letters": Array((55,), "uint8", 0, 255)}
SMALL = {"embed": 4, "channels": (4, 8), "width": 8, "hidden": (16,)}
ENV = EnvSpec("NetHackLike-v0", "1", SPEC, Discrete(3), max_steps=10)


def draw(leading: tuple[int, ...] = (4,), spec=SPEC) -> dict:
    random = np.random.default_rng(0)
    obs = {
        name: random.integers(0, int(leaf.high or 90) + 1, leading + leaf.shape).astype(leaf.dtype)
        for name, leaf in spec.items()
    }
    obs["blstats"][..., 0] = random.integers(0, 79, leading)
    obs["blstats"][..., 1] = random.integers(0, 21, leading)
    return obs


def made(torso, obs) -> dict:
    """Small random parameters: orthogonal ones take long to compile."""
    random, shapes = np.random.default_rng(0), jax.eval_shape(torso.init, jax.random.key(0), obs)
    return jax.tree.map(lambda leaf: jnp.asarray(random.normal(0, 0.3, leaf.shape), leaf.dtype), shapes)


def test_the_crop_is_what_lies_around_the_hero():
    obs, side, far = draw((6,)), 9, 4
    places = [(0, 0), (78, 20), (0, 20), (78, 0), (40, 10), (3, 18)]
    obs["blstats"][:, :2] = places
    found = nethack.surroundings(jnp.asarray(obs["glyphs"]), jnp.asarray(obs["blstats"]), side, GLYPHS)
    for glyphs, (x, y), crop in zip(obs["glyphs"], places, np.asarray(found), strict=True):
        for r, c in np.ndindex(side, side):
            row, column = y + r - far, x + c - far
            on_the_map = 0 <= row < 21 and 0 <= column < 79
            assert crop[r, c] == (glyphs[row, column] if on_the_map else GLYPHS)


def test_numbers_by_hand():
    stats = np.zeros((2, 27), np.int32)
    stats[0, [nethack.X, nethack.Y, nethack.HEALTH, nethack.HEALTH_MAX]] = 79, 7, 6, 12
    stats[0, [nethack.HUNGER, nethack.CONDITION]] = 3, 0b1000000000101
    stats[1, 13] = 10_000  # gold
    found = np.asarray(jax.jit(nethack.numbers)(stats))
    assert found.shape == (2, 47)
    np.testing.assert_allclose(found[0, :2], [1, 7 / 21])
    # Without x, y and the condition, health is the ninth of the rest and gold the twelfth.
    np.testing.assert_allclose(found[0, [10, 11]], np.log1p([6, 12]) / 4, rtol=1e-6)
    np.testing.assert_allclose(found[1, 13], np.log1p(10_000) / 4, rtol=1e-6)
    assert found[0, 26] == 0.5
    assert found[0, 27:34].tolist() == [0, 0, 0, 1, 0, 0, 0]
    assert found[0, 34:].tolist() == [1, 0, 1, *[0] * 9, 1]
    assert np.abs(found[1, 26:]).sum() == 1  # not hungry in the least; no health is no division by zero


def test_places_are_those_of_the_engine():
    engine = pytest.importorskip("nle.nethack")
    mine = (nethack.X, nethack.Y, nethack.HEALTH, nethack.HEALTH_MAX, nethack.HUNGER, nethack.CONDITION)
    names = ("X", "Y", "HP", "HPMAX", "HUNGER", "CONDITION")
    assert mine == tuple(getattr(engine, f"NLE_BL_{name}") for name in names)
    assert nethack.STATS == engine.NLE_BLSTATS_SIZE
    assert nethack.STONE == engine.GLYPH_CMAP_OFF


def test_what_has_not_been_seen_is_zeros():
    table = jnp.ones((GLYPHS + 1, 3))
    found = np.asarray(nethack.lookup(table, jnp.asarray([[0, nethack.STONE], [GLYPHS, 5]])))
    np.testing.assert_array_equal(found[..., 0], [[1, 0], [1, 1]])


def test_every_part_reaches_the_features_unless_ignored():
    spec, obs = SPEC | CARRIED, draw(spec=SPEC | CARRIED)
    obs["blstats"][:, :2] = 20, 10
    elsewhere = {name: leaf.copy() for name, leaf in obs.items()}
    elsewhere["glyphs"][:, 2, 60] = 17  # far from the hero
    near = {name: leaf.copy() for name, leaf in obs.items()}
    near["glyphs"][:, 10, 21] = 17
    changes = {
        "map": elsewhere["glyphs"],
        "crop": near["glyphs"],
        "blstats": obs["blstats"] + (np.arange(27) == 13),
        "message": 255 - obs["message"],
        "inv_glyphs": (obs["inv_glyphs"] + 9) % GLYPHS,
        "chars": 255 - obs["chars"],
    }

    def reached(**options) -> set[str]:
        torso = nethack.torso(spec, **{**SMALL, "activation": "tanh", **options})
        params = made(torso, obs)
        apply = jax.jit(torso.apply)
        before = apply(params, obs)
        assert before.shape == (4, 16)
        field = {"map": "glyphs", "crop": "glyphs"}
        found = {name: apply(params, obs | {field.get(name, name): new}) for name, new in changes.items()}
        return {name for name, after in found.items() if np.abs(after - before).max() > 1e-6}

    assert reached() == {"map", "crop", "blstats", "message", "inv_glyphs"}
    assert reached(channels=()) == {"crop", "blstats", "message", "inv_glyphs"}
    assert reached(ignore=("blstats", "message"), letters=7) == {"map", "crop", "inv_glyphs"}
    assert reached(ignore=("glyphs", "inv_glyphs")) == {"blstats", "message"}


def test_the_place_is_known_where_the_numbers_are_ignored():
    torso = nethack.torso(SPEC, **{**SMALL, "channels": ()}, ignore=("blstats", "message"))
    obs = draw()
    params, moved = made(torso, obs), dict(obs, blstats=obs["blstats"].copy())
    moved["blstats"][:, 0] = (moved["blstats"][:, 0] + 30) % 79
    apply = jax.jit(torso.apply)
    assert np.abs(apply(params, moved) - apply(params, obs)).max() > 1e-3
    poorer = dict(obs, blstats=np.where(np.arange(27) < 2, obs["blstats"], 0))
    np.testing.assert_array_equal(apply(params, poorer), apply(params, obs))


def test_words_are_read_wherever_they_stand_and_things_in_any_order():
    spec = SPEC | CARRIED
    torso = nethack.torso(spec, **SMALL, ignore=("glyphs", "blstats"))
    obs = draw(spec=spec)
    words = np.frombuffer(b"You hear water.", np.uint8)
    obs["message"][:] = 0
    obs["message"][:, 5:20] = words
    params, apply = made(torso, obs), jax.jit(torso.apply)
    before = apply(params, obs)
    later = np.zeros_like(obs["message"])
    later[:, 40:55] = words
    np.testing.assert_allclose(apply(params, obs | {"message": later}), before, atol=1e-5)
    turned = obs["inv_glyphs"][:, ::-1]
    np.testing.assert_allclose(apply(params, obs | {"inv_glyphs": turned}), before, atol=1e-5)
    other = later.copy()
    other[:, 40:55] = words[::-1]
    assert np.abs(apply(params, obs | {"message": other}) - before).max() > 1e-4


def test_any_leading_axes():
    torso, obs = nethack.torso(SPEC, **SMALL), draw((3, 2))
    params, apply = made(torso, obs), jax.jit(torso.apply)
    whole = apply(params, obs)
    assert whole.shape == (3, 2, 16)
    assert whole.dtype == jnp.float32
    flat = {name: leaf.reshape(6, *leaf.shape[2:]) for name, leaf in obs.items()}
    np.testing.assert_allclose(apply(params, flat), whole.reshape(6, 16), rtol=1e-4, atol=1e-4)


def test_it_is_chosen_for_the_game_and_for_nothing_else():
    torso = auto(SPEC, hidden=(8,), embed=3, channels=(4, 4, 4, 4, 4), activation="elu", ignore=("message",))
    assert isinstance(torso, nethack.NetHackTorso)
    assert (torso.hidden, torso.embed, torso.activation, torso.ignore) == ((8,), 3, "elu", ("message",))
    assert torso.channels == (4, 4, 4)  # as many as the map has room for
    assert isinstance(auto(SPEC | CARRIED), nethack.NetHackTorso)
    more = {"last_action": Array((), "int32", 0, 3)}
    stacked = SPEC | {"glyphs": Array((21, 79, 4), "int16", 0, GLYPHS)}
    for obs, kind in ((SPEC, "mlp"), (SPEC | more, "auto"), (stacked, "auto"), ({"glyphs": SPEC["glyphs"]}, "auto")):
        assert not isinstance(auto(obs, kind=kind), nethack.NetHackTorso)


def test_agents_take_it_by_name_with_its_sizes():
    agent = agents.make("ppo", ENV, encoder="nethack", core="lstm", **{"nethack.crop": 5, "nethack.hidden": (8,)})
    assert agent.config["nethack.crop"] == 5
    assert agent.config["nethack.letters"] == door.Config().letters
    encoder = door.make(ENV, hidden=(8,), channels=())
    assert isinstance(encoder, TorsoEncoder)
    features, carry = jax.eval_shape(
        lambda obs: encoder.init_with_output(jax.random.key(0), obs, (), jnp.zeros(4, bool), train=True)[0], draw()
    )
    assert (features.shape, carry) == ((4, 8), ())


@pytest.mark.parametrize("task", ["Score", "StaircasePet", "Oracle", "Gold"])
def test_the_fast_presets_read_the_game(task):
    key = Array((2,), "uint32")
    spec = dataclasses.replace(ENV, id=f"NetHack{task}-v0", extras={"grid_key": key, "next_grid_key": key})
    plain = agents.make("ppo", spec, preset="fast").config
    curious = agents.make("bebold", spec, preset="fast").config
    assert plain["encoder"] == curious["encoder"] == "nethack"
    assert plain["reward_scale"] == curious["reward_scale"]
    # What a task pays in a step at most is worth some units of value, and a step's bonus far less.
    assert 1 <= plain["reward_clip"] * plain["reward_scale"] <= 5
    assert 10 * curious["bebold.coef"] * curious["reward_scale"] <= 0.1
    assert "blstats" in curious["bebold.ignore"]


def test_novelty_of_the_map_is_of_size_one_and_blind_to_what_is_ignored():
    config = rnd.Config(hidden=(16,), out=8, ignore=("blstats", "message"))
    nets = rnd.networks(config, ENV)
    assert isinstance(nets.encoder, nethack.NetHackTorso)
    obs = draw()
    params, apply = jax.jit(nets.encoder.init)(jax.random.key(0), obs), jax.jit(nets.encoder.apply)
    features = np.asarray(apply(params, obs))
    assert 0.1 < features.std() < 10
    assert np.abs(features[0] - features[1]).max() > 0.1
    later = obs | {"blstats": obs["blstats"] + (np.arange(27) == 20), "message": 255 - obs["message"]}
    np.testing.assert_array_equal(apply(params, later), features)


def test_mistakes_are_one_sentence():
    with pytest.raises(UsageError, match="must be odd, not 8"):
        nethack.torso(SPEC, crop=8)
    with pytest.raises(UsageError, match="no room for 4 convolutions"):
        nethack.torso(SPEC, channels=(4, 4, 4, 4))
    with pytest.raises(UsageError, match="embed must be above 0"):
        auto(SPEC, embed=0)
    with pytest.raises(UsageError, match="did you mean message"):
        nethack.torso(SPEC, ignore=("mesage",))
    with pytest.raises(UsageError, match="reads NetHack's glyphs"):
        nethack.torso({"image": Array((7, 7, 3), "uint8", 0, 10)})
    with pytest.raises(UsageError, match="One-hots of 'glyphs' would be 9,915,843 numbers"):
        auto(SPEC, kind="mlp", embed=0)
    nothing = nethack.torso(SPEC, channels=(), crop=0, ignore=("blstats", "message"))
    with pytest.raises(UsageError, match="nothing is left"):
        jax.eval_shape(nothing.init, jax.random.key(0), draw())
    with pytest.raises(UsageError, match="letters must be at least 0"):
        door.make(ENV, letters=-1)
