"""Beams and touches against a march in small steps, what a drawn scene guarantees, scenes by hand, and the picture."""

import math
from functools import lru_cache
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.errors import UsageError
from envs.navigation import geometry, picture, scenes
from envs.navigation.geometry import box, disc

HALF = scenes.SIDE / 2
MARCH = 1e-3  # m
SCENES = 200


room_of = jax.jit(jax.vmap(lambda point, rows: geometry.room(point, rows, HALF)))


@lru_cache
def drawn(obstacles, fixed=False):
    keys = jax.random.split(jax.random.key(3), SCENES)
    return jax.device_get(jax.jit(jax.vmap(lambda key: scenes.drawn(key, obstacles, fixed)))(keys))


def inside(points, obstacles):
    """Whether points `[..., 2]` lie in an obstacle or outside of the arena, by corners and cross products."""
    hit = (np.abs(points) >= HALF).any(-1)
    for x, y, length, width, angle, round_ in np.asarray(obstacles, np.float64):
        if round_:
            hit |= np.hypot(points[..., 0] - x, points[..., 1] - y) <= length
            continue
        along, aside = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
        signs = [(1, 1), (-1, 1), (-1, -1), (1, -1)]  # against the clock
        corners = [np.array([x, y]) + p * length * along + q * width * aside for p, q in signs]
        within = np.ones(points.shape[:-1], bool)
        for a, b in zip(corners, corners[1:] + corners[:1], strict=True):
            side, away = b - a, points - a
            within &= side[0] * away[..., 1] - side[1] * away[..., 0] >= 0
        hit |= within
    return hit


@pytest.fixture(scope="module")
def cluttered():
    """Scenes with obstacles anywhere, one upon the other, and a point in each."""
    rng = np.random.default_rng(0)
    rows = np.empty((30, 9, 6), np.float32)
    rows[..., :2] = rng.uniform(-2, 2, (30, 9, 2))
    rows[..., 2:4] = rng.uniform(0.05, 0.5, (30, 9, 2))
    rows[..., 4] = rng.uniform(-4, 4, (30, 9))
    rows[..., 5] = rng.random((30, 9)) < 0.4
    return rows, rng.uniform(-1.9, 1.9, (30, 2)), rng.uniform(-4, 4, 30)


def test_beams_end_where_a_march_along_them_ends(cluttered):
    rows, origins, headings = cluttered
    reach, angles = 3.0, headings[:, None] + scenes.bearings(15)
    measure = jax.jit(jax.vmap(lambda o, a, r: geometry.ranges(o, a, r, HALF, reach)))
    found = np.asarray(measure(origins.astype(np.float32), angles.astype(np.float32), rows))
    far = np.arange(0, reach, MARCH)
    for i in range(len(rows)):
        ways = np.stack([np.cos(angles[i]), np.sin(angles[i])], -1)
        hit = inside(origins[i] + far[:, None, None] * ways, rows[i])
        met = np.where(hit.any(0), far[hit.argmax(0)], reach)
        # A march may step over a corner, and then finds more: such a beam is within 3 mm of the scene all the same.
        for beam in np.flatnonzero(np.abs(found[i] - met) > 2 * MARCH):
            assert found[i, beam] < met[beam]
            end = origins[i] + found[i, beam] * ways[beam]
            ring = end + 3 * MARCH * np.stack([np.cos(far * 7), np.sin(far * 7)], -1)
            assert inside(ring, rows[i]).any()
            assert not inside(ring, rows[i]).all()
    assert 0.05 < (found == 0).mean() < 0.6  # some begin in an obstacle
    assert (found == reach).any()


def test_room_is_the_distance_to_the_nearest_point_of_the_scene(cluttered):
    rows, origins, _ = cluttered
    room = np.asarray(room_of(origins.astype(np.float32), rows))
    turn = np.linspace(0, 2 * np.pi, 2000)[:, None]
    ring = np.concatenate([np.cos(turn), np.sin(turn)], -1)
    checked = 0
    for point, obstacles, distance in zip(origins, rows, room, strict=True):
        assert inside(point[None], obstacles)[0] == (distance < 0)
        if distance > 0.01:
            assert not inside(point + (distance - 2e-3) * ring, obstacles).any()
            assert inside(point + (distance + 2e-3) * ring, obstacles).any()
            checked += 1
    assert checked > 5


def test_an_empty_arena_has_its_walls_alone():
    nothing = jnp.zeros((0, 6))
    angles = jnp.array([0.0, jnp.pi / 4, jnp.pi / 2, jnp.pi])
    found = geometry.ranges(jnp.array([1.0, 0.0]), angles, nothing, HALF, 5.0)
    np.testing.assert_allclose(found, [1, math.sqrt(2), 2, 3], rtol=1e-5)
    assert geometry.room(jnp.array([1.0, 0.5]), nothing, HALF) == pytest.approx(1)


@pytest.mark.parametrize("obstacles", [0, 8, scenes.MOST])
def test_start_and_goal_are_free_and_apart(obstacles):
    found = drawn(obstacles)
    assert room_of(found.pose[:, :2], found.obstacles).min() > 0.45 - 1e-5
    assert room_of(found.goal, found.obstacles).min() > 0.45 - 1e-5
    apart = np.linalg.norm(found.pose[:, :2] - found.goal, axis=-1)
    assert apart.min() > 0.5 - 1e-5
    assert apart.max() > 3
    assert found.obstacles.shape == (SCENES, obstacles, 6)
    assert np.ptp(found.pose[:, 2]) > 6


@pytest.mark.parametrize("obstacles", [8, scenes.MOST])
def test_a_wide_way_leads_from_every_start_to_its_goal(obstacles):
    """A flood over a lattice of points that are 0.2 m from everything, less what the lattice itself may lose."""
    found, spacing = drawn(obstacles), 0.04
    line = np.arange(-1.8, 1.8 + 1e-6, spacing)
    lattice = np.stack(np.meshgrid(line, line, indexing="ij"), -1)
    flat = jnp.asarray(lattice.reshape(-1, 2), jnp.float32)
    room = jax.jit(lambda r: jax.vmap(lambda p: geometry.room(p, r, HALF))(flat))
    for i in range(25):
        free = np.asarray(room(found.obstacles[i])).reshape(lattice.shape[:2]) >= scenes.CLEARANCE - spacing / 2
        reached = np.zeros_like(free)
        start, goal = (tuple(np.round((p + 1.8) / spacing).astype(int)) for p in (found.pose[i, :2], found.goal[i]))
        reached[start] = True
        while True:
            grown = reached.copy()
            grown[1:] |= reached[:-1]
            grown[:-1] |= reached[1:]
            grown[:, 1:] |= reached[:, :-1]
            grown[:, :-1] |= reached[:, 1:]
            grown &= free
            if (grown == reached).all():
                break
            reached = grown
        assert reached[goal]


def test_scenes_have_discs_and_turned_boxes_that_differ():
    rows = drawn(8).obstacles
    assert 0.4 < rows[..., 5].mean() < 0.6
    assert len(np.unique(rows[:, 0, :2], axis=0)) == SCENES
    assert rows[..., 2:4].min() > 0.03
    assert rows[..., 2].max() > 0.3
    assert np.ptp(rows[..., 4]) > 3


def test_fixed_ends_stay_where_they_are_among_obstacles_that_change():
    found = drawn(8, fixed=True)
    np.testing.assert_allclose(found.pose, np.tile([-1.35, -1.35, math.pi / 4], (SCENES, 1)), rtol=1e-6)
    np.testing.assert_allclose(found.goal, np.full((SCENES, 2), 1.35), rtol=1e-6)
    assert len(np.unique(found.obstacles[:, 0, 0])) == SCENES
    ends = found.pose[:, :2], found.goal
    assert min(room_of(end, found.obstacles).min() for end in ends) > 0.4


def test_every_straight_way_through_the_maze_ends_in_it():
    found = jax.device_get(
        jax.jit(jax.vmap(lambda key: scenes.maze(key, False)))(jax.random.split(jax.random.key(0), SCENES))
    )
    share = np.linspace(0, 1, 500)[:, None, None]
    ways = found.pose[:, :2] + share * (found.goal - found.pose[:, :2])
    hit = inside(ways, scenes.MAZE)
    assert hit.any(0).all()
    first = ways[hit.argmax(0), np.arange(SCENES)]
    assert (np.abs(first[:, 0] - 0.4) < 0.02).all()  # deep in the cup, at its back
    room = jax.jit(jax.vmap(lambda p: geometry.room(p, jnp.asarray(scenes.MAZE), HALF)))
    assert min(room(found.pose[:, :2]).min(), room(found.goal).min()) > 0.4 - 1e-5
    around = np.array([[-1.3, 0.0], [-1.3, 1.625], [1.2, 1.625], [1.2, 0.0]])
    points = np.concatenate([np.linspace(a, b, 50) for a, b in pairwise(around)]).astype(np.float32)
    assert room(points).min() > 0.37


def test_a_scene_shows_what_it_was_made_to_show():
    rng = np.random.default_rng(0)
    for beams, reach in ((15, 1.0), (2, 2.0), (31, 0.5)):
        env = envs.make("Navigation-v0", beams=beams, reach=reach)
        reset = jax.jit(env.reset)
        for _ in range(5):
            ranges = rng.permutation(np.r_[np.ones(beams // 3), rng.uniform(0.1, 1, beams - beams // 3)])
            obs = np.r_[ranges, rng.uniform(0, 1), rng.uniform(-0.99, 0.99)].astype(np.float32)
            _, start = reset(jax.random.key(0), scenes.showing(obs, reach))
            np.testing.assert_allclose(start.obs, obs, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: scenes.task((0, 0), (1, 1)), r"a scene's pose must be finite numbers of shape \(3,\)"),
        (lambda: scenes.task((0, 0, 0), (1, math.nan)), "a scene's goal must be finite"),
        (lambda: scenes.task((0, 0, 0), (1, 1), [(1, 2, 3)]), r"a scene's obstacles must .* of shape \(1, 6\)"),
        (lambda: scenes.task((0, 0, 0), (1, 1), [disc(0, 0, 1), (1, 2)]), "a scene's obstacles must"),
        (lambda: scenes.showing([0.5, 0.5, 0.5]), "two beams or more"),
        (lambda: scenes.showing([0.5, 0.5, -0.5, 0.5]), "two beams or more"),
        (lambda: scenes.showing(np.full(17, 0.5), 3.0), r"up to 2\.0 m, not 3\.0"),
    ],
)
def test_scenes_that_cannot_be_are_told_in_a_sentence(make, sentence):
    with pytest.raises(UsageError, match=sentence):
        make()


def test_the_picture_shows_every_thing_at_its_place():
    env = envs.make("Navigation-v0")
    state = scenes.state((0.0, 0.0, math.pi / 2), (1.0, 1.0), [disc(-1.0, 1.0, 0.3), box(0.0, 0.6, 0.4, 0.1, 0.0)])
    frame = env.picture(jax.device_get(state))

    def at(x, y):
        scale = frame.shape[0] / (scenes.SIDE + 2 * picture.FRAME)
        column, row = int((x + HALF + picture.FRAME) * scale), int((HALF + picture.FRAME - y) * scale)
        return tuple(frame[row, column].tolist())

    assert (frame.shape, frame.dtype) == ((300, 300, 3), np.uint8)
    assert at(1.0, 1.0) == picture.GOAL
    assert at(1.15, 1.0) == picture.RING
    assert at(-1.0, 1.0) == at(-1.0, 1.2) == at(0.3, 0.6) == picture.BLOCK
    assert at(0.0, 0.75) == at(-1.0, 1.4) == at(1.9, -1.9) == picture.FLOOR
    assert at(2.05, 0.0) == at(0.0, -2.05) == picture.WALL
    assert at(0.0, 0.04) == picture.NOSE
    assert at(0.05, -0.05) == picture.BODY  # the nose points upwards
    assert at(0.0, 0.5) == picture.HIT  # the beam ahead ends at the box
    beams = (frame == picture.BEAM).all(-1)
    rows, _ = np.nonzero(beams)
    assert beams.sum() > 100
    assert rows.max() <= 151  # none behind the robot
    moved = env.picture(jax.device_get(state._replace(pose=jnp.array([0.5, -1.0, 0.0]))))
    assert (moved != frame).any()
