"""The cart-pole to swing up: MuJoCo and conserved quantities as oracles, the rail's ends, reward, constraints."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.control import swingup
from envs.control.cart_pole import CART, HALF, POLE
from envs.control.episode import State

MJCF = f"""
<mujoco><option timestep="0.01" integrator="RK4" gravity="0 0 -9.81"><flag contact="disable"/></option>
<worldbody><body><joint name="slider" type="slide" axis="1 0 0"/>
<inertial pos="0 0 0" mass="{CART}" diaginertia="1 1 1"/>
<body><joint name="hinge" type="hinge" axis="0 1 0"/>
<inertial pos="0 0 {HALF}" mass="{POLE}" diaginertia="{POLE * HALF**2 / 3} {POLE * HALF**2 / 3} 1e-5"/></body>
</body></worldbody><actuator><motor joint="slider" gear="10"/></actuator></mujoco>
"""
move = jax.jit(swingup.move)


def energy(body):
    """Kinetic and potential, in J, of the cart and a uniform rod."""
    _, v, angle, w = np.asarray(body, np.float64).T
    pole = POLE * (v**2 / 2 + HALF * v * w * np.cos(angle) + 2 / 3 * HALF**2 * w**2)
    return CART * v**2 / 2 + pole + POLE * swingup.GRAVITY * HALF * np.cos(angle)


def pole_momentum(body):
    """Of the pole about the hinge's place, in kg m^2/s."""
    _, v, angle, w = np.asarray(body, np.float64)
    return POLE * (4 / 3 * HALF**2 * w + HALF * v * np.cos(angle))


def costs(before, after, k):
    return {name: int(value) for name, value in swingup.violations(jnp.array(before), jnp.array(after), k).items()}


def test_steps_as_mujoco_does():
    mujoco = pytest.importorskip("mujoco")
    model = mujoco.MjModel.from_xml_string(MJCF)
    data = mujoco.MjData(model)
    rng = np.random.default_rng(0)
    bodies = (rng.uniform(-1, 1, (100, 4)) * [1.5, 3, np.pi, 10]).astype(np.float32)
    controls = rng.uniform(-1, 1, 100).astype(np.float32)
    found = jax.vmap(move)(bodies, 10 * controls)
    for body, control, after in zip(bodies, controls, np.asarray(found), strict=True):
        data.qpos, data.qvel, data.ctrl = body[[0, 2]], body[[1, 3]], control
        mujoco.mj_step(model, data)
        expected = np.array([data.qpos[0], data.qvel[0], data.qpos[1], data.qvel[1]])
        expected[2] = (expected[2] + np.pi) % (2 * np.pi) - np.pi
        np.testing.assert_allclose(after, expected, atol=1e-4)


def test_energy_and_momentum_are_kept_where_nothing_pushes():
    start = jnp.array([0.0, 0.0, 2.5, 1.0])
    _, path = jax.lax.scan(lambda body, _: (swingup.move(body, 0.0),) * 2, start, None, length=1000)
    np.testing.assert_allclose(energy(path), energy(start), rtol=1e-3)
    assert np.ptp(path[:, 2]) > 1
    sideways = CART * path[:, 1] + POLE * (path[:, 1] + HALF * path[:, 3] * np.cos(path[:, 2]))
    np.testing.assert_allclose(sideways, sideways[0], atol=1e-3)


@pytest.mark.parametrize("side", [-1, 1])
def test_the_ends_of_the_rail_stop_the_cart_and_hand_its_speed_to_the_pole(side):
    before = np.float32([side * 1.79, side * 2.0, 0.3, 0.5])
    after = np.asarray(move(before, 0.0))
    assert after[:2].tolist() == [np.float32(side * swingup.RAIL), 0]
    assert energy(after) < energy(before)
    # The impulse passes through the hinge; gravity's own share over the step is small.
    assert pole_momentum(after) == pytest.approx(pole_momentum(before), abs=0.003)
    held = np.asarray(move(after, side * 10.0))
    assert held[:2].tolist() == after[:2].tolist()  # pressed on
    assert side * move(after, -side * 10.0)[1] < 0  # and free to leave


def test_reward_by_hand():
    def reward(x, angle, w, control):
        return float(swingup.reward(jnp.array([x, 0.0, angle, w]), jnp.float32(control)))

    assert reward(0, 0, 0, 0) == pytest.approx(1)
    assert reward(0, np.pi, 0, 0) == pytest.approx(0, abs=1e-6)
    assert reward(0, np.pi / 2, 0, 0) == pytest.approx(0.5)
    assert reward(0, 0, 0, 1) == pytest.approx(0.8)
    assert reward(0, 0, 0, 0.5) == pytest.approx(0.95)
    assert reward(2, 0, 0, 0) == pytest.approx(0.55)  # (1 + 0.1) / 2
    assert reward(0, 0, -5, 0) == pytest.approx(0.55)


def test_constraints_by_hand():
    """k = 0.8: the velocity counts within 2 * 0.2 + 0.15 = 0.55 rad, up to 0.4 rad/s; 1.6 m; 104 m/s^2, 1.04 m/s."""
    calm = [0.0, 0.0, 0.0, 0.0]
    assert costs(calm, calm, 0.8) == {"balance_velocity": 0, "slider_pos": 0, "slider_accel": 0}
    for angle, w, violated in ((0.54, 0.41, 1), (-0.54, -0.41, 1), (0.56, 0.41, 0), (0.54, 0.39, 0), (3.1, 9.0, 0)):
        assert costs(calm, [0.0, 0.0, angle, w], 0.8)["balance_velocity"] == violated
    for x, violated in ((1.59, 0), (1.61, 1), (-1.61, 1)):
        assert costs(calm, [x, 0.0, 0.0, 0.0], 0.8)["slider_pos"] == violated
    for v, violated in ((1.03, 0), (1.05, 1), (-1.05, 1)):
        assert costs(calm, [0.0, v, 0.0, 0.0], 0.8)["slider_accel"] == violated
    # Small k is strict: nearly everywhere, nearly any speed.
    assert costs(calm, [0.0, 0.0, 2.0, 0.03], 0.05)["balance_velocity"] == 1


@pytest.mark.parametrize("constraint", swingup.CONSTRAINTS)
def test_cost_is_the_constraint_that_was_named(constraint):
    env = envs.make("CartPoleSwingup-v0", constraint=constraint, safety_coeff=0.3)
    bodies = jnp.array([[1.0, 0.0, 3.0, 0.0], [0.0, 0.0, 0.0, 3.0], [1.795, 2.0, 3.0, 0.0]])
    step = jax.jit(jax.vmap(env.step, in_axes=(None, 0, None)))
    _, t = step(jax.random.key(0), State(bodies, jnp.zeros(3, jnp.int32)), jnp.zeros(1))
    expected = {"slider_pos": [1, 0, 1], "balance_velocity": [0, 1, 0], "slider_accel": [0, 0, 1]}
    for name, values in expected.items():
        np.testing.assert_array_equal(t.extras[name], values)
    np.testing.assert_array_equal(t.extras["cost"], expected[constraint])


def test_it_starts_hanging_and_actions_are_clipped():
    env = envs.make("CartPoleSwingup-v0")
    state, start = env.reset(jax.random.key(0), ())
    np.testing.assert_allclose(start.obs, [0, -1, 0, 0, 0], atol=0.05)
    assert (np.asarray(state.body) != [0, 0, np.pi, 0]).all()
    step = jax.jit(env.step)
    results = [step(jax.random.key(0), state, jnp.array([a]))[1] for a in (1.0, 50.0)]
    np.testing.assert_array_equal(results[0].obs, results[1].obs)
    assert results[0].reward == results[1].reward
    assert results[0].obs[3] == pytest.approx(0.1, abs=0.02)  # 10 N on 1.1 kg for 0.01 s


def test_pumping_energy_swings_it_up():
    """A controller by hand: push along the swing until the energy is that of standing, and brake the cart's drift."""
    env = envs.make("CartPoleSwingup-v0")

    def act(body):
        x, v, angle, w = body
        lack = swingup.GRAVITY * HALF * (1 - jnp.cos(angle)) * POLE - POLE * 2 / 3 * HALF**2 * w**2
        pump = jnp.sign(w * jnp.cos(angle)) * -jnp.clip(8 * lack, -1, 1) - 0.3 * x - 0.1 * v
        hold = 8 * angle + 2 * w + 0.3 * x + 0.6 * v
        return jnp.clip(jnp.where(jnp.abs(angle) < 0.5, hold, pump), -1, 1)[None]

    def step(state, _):
        return env.step(jax.random.key(0), state, act(state.body))

    state, _ = env.reset(jax.random.key(0), ())
    _, t = jax.jit(lambda state: jax.lax.scan(step, state, None, length=1000))(state)
    assert t.reward[-200:].mean() > 0.9
    assert t.last.nonzero()[0].tolist() == [999]
