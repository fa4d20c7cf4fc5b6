"""The swing-up with physics that change from episode to episode: what is drawn, MuJoCo as oracle, what stays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.control import swingup
from envs.control.cart_pole import CART, HALF, POLE, Physics
from envs.control.episode import State
from envs.errors import UsageError

ID = "CartPoleSwingup-v0"
RANGES = {"pole_length": (0.5, 1.5), "pole_mass": (0.05, 0.4), "cart_mass": (0.8, 2.0)}
MJCF = """
<mujoco><option timestep="0.01" integrator="RK4" gravity="0 0 -9.81"><flag contact="disable"/></option>
<worldbody><body><joint name="slider" type="slide" axis="1 0 0"/>
<inertial pos="0 0 0" mass="{cart}" diaginertia="1 1 1"/>
<body><joint name="hinge" type="hinge" axis="0 1 0"/>
<inertial pos="0 0 {half}" mass="{pole}" diaginertia="{inertia} {inertia} 1e-5"/></body>
</body></worldbody><actuator><motor joint="slider" gear="10"/></actuator></mujoco>
"""


def bodies(env, n, steps=0):
    """The states `[steps + 1, n]` of a batch, an action of 0.5 at every step."""
    batch = envs.batch(env, n)

    @jax.jit
    def run(key):
        states, _ = batch.reset(key)
        step = lambda states, key: (batch.step(key, states, jnp.full((n, 1), 0.5))[0], states)  # noqa: E731
        return jax.lax.scan(step, states, jax.random.split(key, steps + 1))[1]

    return jax.device_get(run(jax.random.key(0)).body)


@pytest.mark.parametrize("name", RANGES)
def test_each_is_drawn_evenly_for_every_episode_and_the_others_stay(name):
    (drawn,) = bodies(envs.make(ID, **{name: RANGES[name]}), 2000)
    place = {"pole_length": 4, "pole_mass": 5, "cart_mass": 6}[name]
    low, high = np.array(RANGES[name]) / (2 if name == "pole_length" else 1)
    values = drawn[:, place]
    assert values.min() >= np.float32(low)
    assert values.max() <= np.float32(high)
    np.testing.assert_allclose(np.histogram(values, 4, (low, high))[0] / 2000, 0.25, atol=0.04)
    others = [i for i in (4, 5, 6) if i != place]
    np.testing.assert_array_equal(
        drawn[:, others], np.tile(np.float32([HALF, POLE, CART])[np.array(others) - 4], (2000, 1))
    )
    np.testing.assert_allclose(drawn[:, :4].std(axis=0), 0.01, rtol=0.1)  # the start is as ever


def test_what_is_drawn_stays_for_an_episode_and_changes_with_the_next():
    drawn = bodies(envs.make(ID, max_steps=3, **RANGES), 2, steps=8)[:, :, 4:]
    for begin in (0, 3, 6):
        np.testing.assert_array_equal(drawn[begin : begin + 3], np.tile(drawn[begin], (3, 1, 1)))
    assert (drawn[3] != drawn[0]).all()
    assert (drawn[6] != drawn[3]).all()
    assert (drawn[0, 0] != drawn[0, 1]).all()


def test_steps_as_mujoco_does_with_the_drawn_physics():
    mujoco = pytest.importorskip("mujoco")
    env = envs.make(ID, **RANGES)
    rng = np.random.default_rng(0)
    n = 30
    moving = (rng.uniform(-1, 1, (n, 4)) * [1.5, 3, np.pi, 10]).astype(np.float32)
    controls = rng.uniform(-1, 1, (n, 1)).astype(np.float32)
    body = np.concatenate([moving, bodies(env, n)[0, :, 4:]], axis=1)
    step = jax.jit(jax.vmap(env.step, in_axes=(None, 0, 0)))
    after, _ = step(jax.random.key(0), State(body, jnp.zeros(n, jnp.int32)), controls)
    np.testing.assert_array_equal(after.body[:, 4:], body[:, 4:])
    for i in range(n):
        half, pole, cart = map(float, body[i, 4:])
        xml = MJCF.format(half=half, pole=pole, cart=cart, inertia=pole * half**2 / 3)
        model = mujoco.MjModel.from_xml_string(xml)
        data = mujoco.MjData(model)
        data.qpos, data.qvel, data.ctrl = moving[i, [0, 2]], moving[i, [1, 3]], controls[i]
        mujoco.mj_step(model, data)
        expected = np.array([data.qpos[0], data.qvel[0], data.qpos[1], data.qvel[1]])
        expected[2] = (expected[2] + np.pi) % (2 * np.pi) - np.pi
        np.testing.assert_allclose(after.body[i, :4], expected, atol=2e-4)


def test_the_rails_ends_hand_the_carts_speed_to_a_pole_of_any_length():
    body, physics = np.float32([1.79, 2.0, 0.3, 0.5]), Physics(half=0.3, pole=0.2)

    def momentum(body):  # of the pole about the hinge's place, in kg m^2/s
        return physics.pole * (4 / 3 * physics.half**2 * body[3] + physics.half * body[1] * np.cos(body[2]))

    after = swingup.move(jnp.asarray(body), 0.0, physics)
    assert after[1] == 0
    assert momentum(after) == pytest.approx(momentum(body), abs=0.003)


def test_standard_physics_given_as_ranges_step_as_ever():
    standard = {"pole_length": (1.0, 1.0), "pole_mass": (0.1, 0.1), "cart_mass": "1,1"}
    task = jnp.array([0.1, 0.2, 2.5, 1.0])
    plain, ranged = envs.make(ID), envs.make(ID, **standard)
    assert ranged.spec == plain.spec
    states = [env.reset(jax.random.key(0), task)[0] for env in (plain, ranged)]
    assert [state.body.shape for state in states] == [(4,), (7,)]
    for _ in range(20):
        (states[0], one), (states[1], other) = (
            jax.jit(env.step)(jax.random.key(0), state, jnp.array([0.7]))
            for env, state in zip((plain, ranged), states, strict=True)
        )
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), one, other)


def test_without_ranges_it_is_what_it_was():
    """A start and ten steps as they were before physics could change."""
    env = envs.make(ID)
    state, _ = env.reset(jax.random.key(0), ())
    for _ in range(10):
        state, t = jax.jit(env.step)(jax.random.key(0), state, jnp.array([0.7]))
    np.testing.assert_allclose(t.obs, [0.05238204, -0.99892044, -0.04645335, 0.7022071, 1.0032953], atol=1e-5)
    assert state.body.shape == (4,)


def test_a_short_pole_swings_faster_and_pictures_show_it():
    short, long = (envs.make(ID, pole_length=(length, length)) for length in (0.5, 1.5))
    hanging = jnp.array([0.0, 0.0, jnp.pi - 0.3, 0.0])
    found = []
    for env in (short, long):
        state, _ = env.reset(jax.random.key(0), hanging)
        _, t = jax.lax.scan(lambda s, _, env=env: env.step(jax.random.key(0), s, jnp.zeros(1)), state, None, length=99)
        found.append(((t.obs[1:, 2] > 0) != (t.obs[:-1, 2] > 0)).sum())
    assert found[0] > found[1] >= 1
    frames = [env.picture(jax.device_get(env.reset(jax.random.key(0), hanging)[0])) for env in (short, long)]
    red = [(frame == envs.control.drawing.RED).all(-1).sum() for frame in frames]
    assert 1.5 < red[1] / red[0] < 3.5


@pytest.mark.parametrize("name", RANGES)
def test_ranges_are_checked(name):
    for value in ((0.0, 1.0), (2.0, 1.0), (1.0, float("inf")), (float("nan"), 1.0), (1.0,), 1.0, "1", "1,x", True):
        with pytest.raises(UsageError, match=f"{ID}: {name} must be two finite positive numbers, the lower first"):
            envs.make(ID, **{name: value})
    with pytest.raises(UsageError, match=f"no option '{name}s': did you mean {name}"):
        envs.make(ID, **{f"{name}s": (1.0, 2.0)})
