"""MuJoCo on the device: MJX against Gymnasium and the C engine, one step at a time, and the rules of a batch."""

import functools
import types

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.envs.mujoco import mujoco_rendering
from scipy.stats import ks_2samp
from timestep_rules import check_first, check_timestep, random_actions

import agents
import envs
from agents.training.device_loop import DeviceLoop
from envs.errors import UsageError
from envs.mujoco import TASKS
from envs.wrappers import parse

physics = pytest.importorskip("mujoco")
pytest.importorskip("mujoco.mjx")

from envs.mjx import State, fluid  # noqa: E402
from envs.mjx import physics as mjx  # noqa: E402

N = 200
slow = pytest.mark.slow
# InvertedPendulum compiles in seconds; it stands for the others where they would only take longer.
each = pytest.mark.parametrize(
    "id", [id if id == "InvertedPendulum-v5" else pytest.param(id, marks=slow) for id in TASKS]
)

# The largest error of velocities, in m/s and rad/s, after one agent step from the same state; positions are ten times
# as exact. Without contacts float32 is all that differs. A rounding error may decide whether a foot touches, or a joint
# is at its limit, within a substep, and the stiff forces there make it grow. The humanoids' own solver, Gauss-Seidel,
# stops after 50 iterations.
VELOCITY = {
    "Ant-v5": 1e-3,
    "HalfCheetah-v5": 3e-3,
    "Hopper-v5": 2e-4,
    "Humanoid-v5": 2e-3,
    "HumanoidStandup-v5": 5e-3,
    "InvertedDoublePendulum-v5": 1e-5,
    "InvertedPendulum-v5": 1e-5,
    "Pusher-v5": 1e-3,
    "Reacher-v5": 1e-3,
    "Swimmer-v5": 5e-5,
    "Walker2d-v5": 1e-3,
}
FORCES = {"Ant-v5": 84, "Humanoid-v5": 95, "HumanoidStandup-v5": 95}  # so many last places show forces
END = {"Ant-v5", "Hopper-v5", "Humanoid-v5", "InvertedDoublePendulum-v5", "InvertedPendulum-v5", "Walker2d-v5"}


def theirs(id):
    env = gymnasium.make(id, disable_env_checker=True).unwrapped
    env.reset(seed=0)
    return env


@functools.cache
def stepped(id):
    """`(states, actions) -> (states, TimeStep)`, compiled once for `N` of them, which take turns: none waits."""
    env = envs.make(id, backend="device")
    step = jax.jit(lambda key, *rows: jax.lax.map(lambda row: env.step(key, *row), rows))
    return env.spec, lambda states, actions: step(jax.random.key(0), states, actions)


def place_of(id, env):
    """Where Gymnasium takes the body to be along x before a step."""
    if id == "Ant-v5":
        return env.data.body(1).xpos[0]
    if id == "Humanoid-v5":
        return env.model.body_mass @ env.data.xipos[:, 0] / env.model.body_mass.sum()
    return env.data.qpos[0] if TASKS[id].moves else 0.0


def episodes(id, n):
    """`n` steps of random actions by Gymnasium: the states before them, and what it made of them."""
    env, rng = theirs(id), np.random.default_rng(1)
    before, after = [], []
    for _ in range(n):
        data = env.data
        here = State(data.qpos.copy(), data.qvel.copy(), np.zeros(env.model.nv), place_of(id, env), 0)
        # Some actions are beyond their bounds, where they cost more and do no more.
        action = 1.2 * rng.uniform(env.action_space.low, env.action_space.high)
        obs, reward, terminated, _, info = env.step(action)
        before.append((here, action))
        after.append((data.qpos.copy(), data.qvel.copy(), obs, reward, terminated, info.get("x_velocity", 0.0)))
        if terminated:
            env.reset()
    single = lambda *rows: jnp.asarray(np.stack(rows), jnp.float32)  # noqa: E731
    return jax.tree.map(single, *before), [np.stack(column) for column in zip(*after, strict=True)]


@each
def test_a_step_is_gymnasiums_from_the_same_state(id):
    spec, step = stepped(id)
    (states, actions), (qpos, qvel, obs, reward, terminated, x_velocity) = episodes(id, N)
    found, t = step(states._replace(time=jnp.zeros(N, jnp.int32)), actions)
    atol, forces = VELOCITY[id], FORCES.get(id, 0)
    np.testing.assert_allclose(found.qpos, qpos, atol=max(atol / 10, 5e-6))
    np.testing.assert_allclose(found.qvel, qvel, atol=atol)
    shown = obs.shape[1] - forces
    np.testing.assert_allclose(t.obs[:, :shown], obs[:, :shown], atol=atol, rtol=1e-5)
    # Of hundreds of newtons; the scale is that of the largest force in the same state.
    scale = 1.0 + np.abs(obs[:, shown:]).max(axis=1, keepdims=True, initial=0.0)
    np.testing.assert_allclose(t.obs[:, shown:] / scale, obs[:, shown:] / scale, atol=1e-2)
    np.testing.assert_allclose(t.reward, reward, atol=max(atol / 3, 1e-5), rtol=1e-5)
    np.testing.assert_array_equal(t.discount, 1.0 - terminated)
    np.testing.assert_array_equal(t.last, terminated)
    for name in spec.extras:
        np.testing.assert_allclose(t.extras[name], x_velocity, atol=max(atol / 3, 1e-5))
    np.testing.assert_array_equal(t.obs, t.next_obs)
    assert (id in END) == terminated.any()


@each
def test_starts_are_distributed_as_gymnasiums(id):
    env, oracle, n = envs.make(id, backend="device"), theirs(id), 400
    keys = jax.random.split(jax.random.key(0), 2000)
    states, start = jax.jit(jax.vmap(env.reset, in_axes=(0, None)))(keys, ())
    rows = []
    for _ in range(n):
        obs, _ = oracle.reset()
        rows.append((oracle.data.qpos.copy(), oracle.data.qvel.copy(), obs))
    for found, expected in zip(
        (states.qpos, states.qvel, start.obs), map(np.stack, zip(*rows, strict=True)), strict=True
    ):
        assert found.shape[1:] == expected.shape[1:]
        for ours, other in zip(np.asarray(found).T, expected.T, strict=True):
            if np.ptp(other) < 1e-5:  # as good as constant, and what is left is rounding
                np.testing.assert_allclose(ours, np.mean(other), atol=1e-5)
            else:
                assert ks_2samp(ours, other).pvalue > 1e-5
                np.testing.assert_allclose(ours.std(), other.std(), rtol=0.2)
                # Uniform noise reaches 1.7 deviations, normal noise far more; ours are more draws.
                np.testing.assert_allclose(np.ptp(ours) / ours.std(), np.ptp(other) / other.std(), rtol=0.4)
    check_first(env.spec, jax.device_get(start))
    assert not any(extra.any() for extra in start.extras.values())


@pytest.mark.parametrize(
    "id", ["InvertedPendulum-v5", *(pytest.param(id, marks=slow) for id in ("Ant-v5", "Reacher-v5"))]
)
def test_a_batch_keeps_the_rules(id):
    """Truncation and termination, new episodes, one seed one result, and actions repeated where time allows."""
    n, limit, repeat = 3, 7, 1 if id == "InvertedPendulum-v5" else 2
    env = envs.make(id, backend="device", max_steps=limit, repeat=repeat)
    batch, actions = envs.batch(env, n), jnp.asarray(random_actions(env.spec.action, 24, n, 0))

    @jax.jit
    def run(key):
        key_reset, key_steps = jax.random.split(key)
        states, start = batch.reset(key_reset)
        body = lambda states, x: batch.step(x[0], states, x[1])  # noqa: E731
        return start, jax.lax.scan(body, states, (jax.random.split(key_steps, 24), actions))[1]

    start, t = jax.device_get(run(jax.random.key(0)))
    history = [start, *(jax.tree.map(lambda x, i=i: x[i].copy(), t) for i in range(24))]
    for timestep in history:
        check_timestep(env.spec, timestep, n)
    assert env.spec.max_steps == limit
    for i in range(n):
        ends = np.flatnonzero([False, *t.last[:, i]])
        lengths = np.diff([0, *ends])
        assert (lengths <= limit).all()
        assert (t.discount[ends - 1, i] == 1)[lengths < limit].sum() == 0
        assert (lengths == limit).any() or id in END
    opened = np.abs(t.obs - t.next_obs).reshape(24, n, -1).max(-1) > 0
    np.testing.assert_array_equal(opened, t.last)
    again = jax.device_get(run(jax.random.key(0)))[1]
    np.testing.assert_array_equal(again.next_obs, t.next_obs)


def test_the_time_limit_is_gymnasiums_and_termination_wins():
    spec, step = stepped("InvertedPendulum-v5")
    assert spec.max_steps == 1000
    angles, times = (jnp.resize(jnp.array(column), N) for column in ([0.0, 0.0, 0.5], [998, 999, 999]))
    at_rest = jnp.zeros((N, 2))
    states = State(jnp.stack([jnp.zeros(N), angles], axis=1), at_rest, at_rest, jnp.zeros(N), times)
    _, t = step(states, jnp.zeros((N, 1)))
    assert t.last[:3].tolist() == [False, True, True]
    assert t.discount[:3].tolist() == [1, 1, 0]
    assert t.reward[:3].tolist() == [1, 1, 0]


@pytest.mark.parametrize("id", ["HalfCheetah-v5", "InvertedPendulum-v5"])
def test_the_backends_have_one_spec(id):
    for options in ({}, {"max_steps": 9}, {"repeat": 3}, {"max_steps": 9, "repeat": 3}):
        device, host = envs.make(id, backend="device", **options).spec, envs.make(id, **options).spec
        for name in ("id", "obs", "action", "extras", "max_steps"):
            assert getattr(device, name) == getattr(host, name)
    assert "mujoco-mjx" in device.version


def test_the_listing_names_the_device_last():
    assert {id: listing.backends[-1] for id, listing in envs.mujoco.ids().items()} == dict.fromkeys(TASKS, "device")


def test_options_are_recorded_and_reach_the_solver():
    env = envs.make("InvertedPendulum-v5", backend="device", iterations=3, ls_iterations=5)
    assert env.options == {"max_steps": 0, "repeat": 1, "iterations": 3, "ls_iterations": 5}
    few, own = mjx.load("Pusher-v5", 3, 5), mjx.load("Pusher-v5")
    assert (int(few.model.opt.iterations), int(few.model.opt.ls_iterations)) == (3, 5)
    assert (int(own.model.opt.iterations), int(own.model.opt.ls_iterations)) == (20, 50)


@pytest.mark.parametrize(
    ("backend", "options", "sentence"),
    [
        ("device", {"threads": 2}, "threads is no option of the backend device: choose from iterations, ls_iterations"),
        ("host", {"iterations": 2}, "iterations is no option of the backend host: choose from processes, threads"),
        ("device", {"iterations": -1}, "iterations must be an integer of at least 0, not -1"),
        ("device", {"ls_iterations": 2.5}, "ls_iterations must be an integer of at least 0"),
        ("device", {"iteration": 2}, "no option 'iteration': did you mean iterations"),
        ("devise", {}, "no backend 'devise': did you mean device"),
    ],
)
def test_mistakes_are_told_in_a_sentence(backend, options, sentence):
    with pytest.raises(UsageError, match=sentence):
        envs.make("InvertedPendulum-v5", backend=backend, **options)


def test_forces_of_the_fluid_are_the_engines():
    env, rng = theirs("Swimmer-v5"), np.random.default_rng(0)
    model, data = env.model, env.data
    edges = fluid.boxes(model)
    for _ in range(5):
        env.set_state(rng.uniform(-1, 1, model.nq), rng.uniform(-5, 5, model.nv))
        seen = types.SimpleNamespace(
            xipos=data.xipos, ximat=data.ximat.reshape(-1, 3, 3), subtree_com=data.subtree_com, cvel=data.cvel
        )
        drag = fluid.forces(edges, model.opt.density, model.opt.viscosity, model.body_rootid, seen)
        total = np.zeros(model.nv)
        for body, force in enumerate(np.asarray(drag, np.float64)):
            physics.mj_applyFT(model, data, force[:3], force[3:], data.xipos[body], body, total)
        np.testing.assert_allclose(total, data.qfrc_fluid, rtol=1e-4, atol=1e-3)


def test_a_free_body_turns_as_the_engine_turns_it():
    model, rng = theirs("Ant-v5").model, np.random.default_rng(0)
    qpos, qvel = rng.normal(size=model.nq), rng.normal(size=model.nv)
    qpos[3:7] /= np.linalg.norm(qpos[3:7])
    expected = qpos.copy()
    physics.mj_integratePos(model, expected, qvel, 0.5)
    moved = mjx._moved(model, jnp.float32(qpos), jnp.float32(qvel), 0.5)
    np.testing.assert_allclose(moved, expected, atol=1e-6)


def test_a_picture_is_gymnasiums_of_the_state(monkeypatch):
    monkeypatch.setattr(mujoco_rendering.MujocoRenderer, "render", lambda self, mode: (mode, self.data.qpos.copy()))
    env = envs.make("InvertedPendulum-v5", backend="device", repeat=2)
    for angle in (0.1, 0.2):
        state = State(np.float32([0.3, angle]), np.zeros(2), np.zeros(2), 0.0, 0)
        mode, qpos = env.picture(state)
        assert mode == "rgb_array"
        np.testing.assert_allclose(qpos, [0.3, angle], atol=1e-6)


@slow
def test_an_agent_learns_to_balance_on_the_device_loop():
    env = envs.make("InvertedPendulum-v5", backend="device")
    agent = agents.make("ppo", env.spec, hidden=(32,), unroll=32, learning_rate=3e-3)
    loop = DeviceLoop(agent, env, parse(""), n=16, seeds=(0, 1), together=True)
    loop.start()
    lengths = []
    for _ in range(80):
        metrics = loop.advance(total=80).metrics
        lengths.append([float(values["episode_length"]) for values in metrics])
    loop.close()
    assert np.all(np.array(lengths[0]) < 20)  # random pushes fell the pole at once
    assert np.nanmin(lengths[-10:], axis=0).min() > 100
