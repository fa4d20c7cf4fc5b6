"""The constrained domains: costs recomputed from the raw engine, limits, repeats, resume, and what is refused."""

import itertools
import math
from importlib.metadata import PackageNotFoundError

import numpy as np
import pytest
from timestep_rules import assert_equal, check_rules, play, random_actions

import envs
from envs.constrained import TASKS, THRESHOLDS
from envs.errors import UsageError

envpool = pytest.importorskip("envpool")

CART, WALKER, QUADRUPED, HUMANOID = TASKS
STEPS = 60


def raw(id, seed, n):
    """The engine of `make(id).open(seed, n)` without our adapter."""
    seeds = [int(np.random.SeedSequence((seed, i)).generate_state(1)[0] >> 1) for i in range(n)]
    return envpool.make(TASKS[id].engine, env_type="gymnasium", num_envs=n, seed=seeds, max_episode_steps=1001)


def scripted(id, steps, n):
    """Rests, slow waves and jerks that grow: quiet and violent stretches in one run. The cart swings its pole up."""
    if id == CART:
        return np.tile(np.float32(0.6 * np.sign(np.sin(np.arange(steps) / 20)))[:, None, None], (1, n, 1))
    size = len(TASKS[id].low)
    rng = np.random.default_rng(0)
    waves = np.sin(np.arange(steps)[:, None, None] / 5 + rng.uniform(0, 6, (n, size))) * rng.uniform(0, 1, (n, 1))
    jerks = rng.uniform(-1, 1, (steps, n, size)) * np.linspace(0, 1, steps)[:, None, None]
    quiet = (np.arange(steps) // 10 % 3 == 0)[:, None, None]
    return np.where(quiet, 0.0, waves + jerks).clip(-1, 1).astype(np.float32)


def brute(id, before, after, control_before, control, k):
    """The constraints of one environment in plain Python, from its own arrays."""
    rates = {CART: 1.5, WALKER: 1.55, QUADRUPED: 1.4, HUMANOID: 1.85}
    broken = {"action_rate": any(abs(a - b) >= rates[id] * k for a, b in zip(control, control_before, strict=True))}
    if id == CART:
        (x, cos, _), (v, w) = after["position"], after["velocity"]
        broken["balance_velocity"] = cos > math.cos((1 - k) / 0.5 + 0.15) and abs(w) > 0.5 * k
        broken["slider_pos"] = not -2 * k < x < 2 * k
        broken["slider_accel"] = abs(v - before["velocity"][0]) >= 1.3 * k
    elif id == WALKER:
        broken["joint_velocity"] = any(abs(w) >= 65 * k for w in after["velocity"][3:9])
        broken["torso_upright"] = not after["orientations"][0] > 1 - k
        broken["dangerous_fall"] = not after["orientations"][1] > -0.5 * k
    elif id == QUADRUPED:
        state, sensed = after["egocentric_state"], after["force_torque"]
        toes = [math.sqrt(sum(math.sinh(f) ** 2 for f in sensed[3 * i : 3 * i + 3])) for i in range(4)]
        broken["joint_angle"] = any(abs(math.degrees(q)) >= 60 * k for q in state[:16])
        broken["joint_velocity"] = any(abs(w) >= 20 * k for w in state[16:32])
        broken["upright"] = not after["torso_upright"] > 1 - 0.7 * k
        broken["foot_force"] = max(toes) >= 20_000 * k
    else:
        broken["joint_angle"] = any(abs(q) >= math.pi * k for q in after["joint_angles"])
        broken["joint_velocity"] = any(abs(w) >= 90 * k for w in after["velocity"][7:])
        broken["upright"] = not after["torso_vertical"][2] > 1 - k
    return broken


@pytest.mark.parametrize("id", TASKS)
def test_costs_are_those_of_the_raw_engine(id):
    n, size = 3, len(TASKS[id].low)
    actions = scripted(id, 200 if id == CART else STEPS, n)
    low, high = np.array(TASKS[id].low), np.array(TASKS[id].high)
    seen = {name: set() for name in TASKS[id].constraints}
    for k in (0.01, 0.2, 0.6):
        env, engine = envs.make(id, safety_coeff=k, threads=2).open(5, n), raw(id, 5, n)
        first, (before, _) = env.reset(), engine.reset()
        np.testing.assert_array_equal(first.obs, flat(id, before))
        assert all((cost == 0).all() for cost in first.extras.values())
        control = np.zeros((n, size))
        for action in actions:
            command = (low + high) / 2 + (high - low) / 2 * action
            now = env.step(action)
            after, reward, _, _, _ = engine.step(command.astype(np.float32))
            np.testing.assert_allclose(now.next_obs, flat(id, after), rtol=1e-4, atol=1e-4)
            np.testing.assert_allclose(now.reward, reward, rtol=1e-4, atol=1e-6)
            for i in range(n):
                rows = ({name: part[i] for name, part in arrays.items()} for arrays in (before, after))
                for name, broken in brute(id, *rows, control[i], command[i], k).items():
                    assert now.extras[name][i] == broken, (name, k)
                    seen[name].add(bool(broken))
            before, control = after, command
    assert all(values == {True, False} for name, values in seen.items() if name != "foot_force"), seen


def flat(id, arrays):
    parts = [arrays[name].reshape(-1, size) for name, size in TASKS[id].shown.items()]
    return np.concatenate(parts, axis=1).astype(np.float32)


@pytest.mark.parametrize(
    ("id", "constraint", "array", "counted"),
    [
        (CART, "slider_pos", "position", range(1)),
        (WALKER, "joint_velocity", "velocity", range(3, 9)),
        (QUADRUPED, "joint_angle", "egocentric_state", range(16)),
        (QUADRUPED, "joint_velocity", "egocentric_state", range(16, 32)),
        (QUADRUPED, "foot_force", "force_torque", range(12)),
        (HUMANOID, "joint_angle", "joint_angles", range(21)),
        (HUMANOID, "joint_velocity", "velocity", range(7, 27)),
    ],
)
def test_each_joint_counts_and_nothing_else(id, constraint, array, counted):
    places = TASKS[id].shown[array]
    for sign in (1, -1):
        spikes = {array: 100.0 * sign * np.eye(places)}
        violated = TASKS[id].constraints[constraint](spikes, spikes, 0.9)
        assert np.flatnonzero(violated).tolist() == list(counted)


def test_forces_of_the_toes_are_measured_as_vectors():
    """No short run lands hard enough; these arrays would."""
    violates = TASKS[QUADRUPED].constraints["foot_force"]
    force = np.zeros((2, 24))
    force[0, 3:6] = np.arcsinh([3000.0, 0.0, -4000.0])  # 5000 N on the second toe
    force[1, 12:] = np.arcsinh(9e9)  # torques do not count
    for k, expected in ((0.24, [True, False]), (0.26, [False, False])):
        assert violates({}, {"force_torque": force}, k).tolist() == expected


@pytest.mark.parametrize("id", TASKS)
def test_the_engine_is_the_table(id):
    config = envpool.make_spec(TASKS[id].engine).config
    engine = raw(id, 0, 1)
    assert config.max_episode_steps == 1000
    np.testing.assert_allclose(engine.action_space.low, TASKS[id].low)
    np.testing.assert_allclose(engine.action_space.high, TASKS[id].high)
    spec = envs.make(id).spec
    assert spec.max_steps == 1000
    assert set(spec.extras) == {*TASKS[id].constraints, "cost"}
    assert len(THRESHOLDS[id]) == 3
    assert set(THRESHOLDS) == set(TASKS)
    shown = engine.reset()[0]
    assert {name: shown[name][0].size for name in TASKS[id].shown} == TASKS[id].shown
    hidden = shown.keys() - TASKS[id].shown.keys()  # EnvPool names what dm_control's walk does not show
    assert all((shown[name] == 0).all() for name in hidden - {"origin"})


def test_the_joints_are_those_of_the_models():
    """A step of MuJoCo from the state that the engine shows gives the hinges that it shows next, where none touches."""
    mujoco = pytest.importorskip("mujoco")
    from envpool_assets import __path__ as assets

    n = 12
    for id, file, substeps, count in ((QUADRUPED, "quadruped", 4, 16), (HUMANOID, "humanoid", 5, 21)):
        model = mujoco.MjModel.from_xml_path(f"{assets[0]}/mujoco/assets_dmc/{file}.xml")
        hinges = np.flatnonzero(model.jnt_type == mujoco.mjtJoint.mjJNT_HINGE)[:count]
        positions, speeds = model.jnt_qposadr[hinges], model.jnt_dofadr[hinges]
        engine, action = raw(id, 1, n), np.linspace(-0.5, 0.5, len(TASKS[id].low))
        engine.reset()
        now, after = (engine.step(np.tile(action, (n, 1)))[0] for _ in range(2))
        same = 0
        for i in range(n):
            data = mujoco.MjData(model)
            data.qpos[2] = 50.0  # High above the floor, where no joint feels which way is up.
            data.ctrl[:] = action
            if id == HUMANOID:
                data.qpos[positions], data.qvel[:] = now["joint_angles"][i], now["velocity"][i]
                expected = np.concatenate([after["joint_angles"][i], after["velocity"][i, 6:]])
            else:
                data.qpos[positions], data.qvel[speeds], data.act[:] = np.split(now["egocentric_state"][i], (16, 32))
                data.qvel[3:6] = now["imu"][i, 3:]
                expected = after["egocentric_state"][i, :32]
            mujoco.mj_step(model, data, substeps)
            reached = np.concatenate([data.qpos[positions], data.qvel[speeds]])
            same += np.allclose(reached, expected, rtol=0, atol=1e-9)
        assert same >= n // 3, (id, same)


@pytest.mark.parametrize("id", TASKS)
def test_rules_resume_and_rewards(id):
    history = check_rules(envs.make(id, max_steps=13, threads=2), n=3, steps=30)
    assert all((step.discount == 1).all() for step in history), "nothing here terminates"
    assert [t for t, step in enumerate(history) if step.last.all()] == [13, 26]
    reward = np.array([step.reward for step in history])
    assert reward.min() >= 0
    assert reward[1:].max() > 0
    assert reward.max() <= 1


def test_the_whole_episode_is_a_thousand_steps():
    history = play(envs.make(CART).open(0, 2), 1001)
    assert [t for t, step in enumerate(history) if step.last.any()] == [1000]
    assert history[1000].last.all()


def test_the_first_action_of_an_episode_is_compared_with_rest():
    env = envs.make(WALKER, constraint="action_rate", safety_coeff=0.5, max_steps=3).open(0, 2)
    env.reset()
    strong = np.full((2, 6), 0.9, np.float32)  # above 1.55 / 2 from rest, and no change at all after that
    assert [float(env.step(strong).extras["cost"][0]) for _ in range(7)] == [1, 0, 0, 1, 0, 0, 1]


@pytest.mark.parametrize("id", TASKS)
def test_looser_limits_are_violated_by_no_more_steps(id):
    costs = []
    for k in (0.0, 0.05, 0.2, 0.5, 1.0):
        history = play(envs.make(id, safety_coeff=k).open(3, 2), STEPS)
        costs.append({name: np.array([step.extras[name] for step in history]) for name in history[0].extras})
    for strict, loose in itertools.pairwise(costs):
        assert all((strict[name] >= loose[name]).all() for name in strict)
    assert id == CART or costs[0]["cost"].sum() > costs[-1]["cost"].sum()  # its pole is never near upright here


@pytest.mark.parametrize("constraint", ["slider_pos", "slider_accel"])
def test_the_cost_is_the_chosen_constraint(constraint):
    history = play(envs.make(CART, constraint=constraint, safety_coeff=0.05).open(0, 3), STEPS)
    cost = np.array([step.extras["cost"] for step in history])
    np.testing.assert_array_equal(cost, [step.extras[constraint] for step in history])
    assert set(np.unique(cost)) == {0.0, 1.0}


def test_a_repeated_action_violates_what_any_repeat_violates():
    options = {"safety_coeff": 0.3, "max_steps": 10}
    repeated = envs.make(WALKER, repeat=4, **options).open(2, 3)
    single = envs.make(WALKER, **{**options, "max_steps": 40}).open(2, 3)
    repeated.reset(), single.reset()
    mixed = 0
    for action in random_actions(repeated.spec.action, 25, 3, seed=1):
        step, parts = repeated.step(action), [single.step(action) for _ in range(4)]
        np.testing.assert_array_equal(step.obs, parts[-1].obs)
        np.testing.assert_allclose(step.reward, sum(part.reward for part in parts), rtol=1e-6)
        for name, cost in step.extras.items():
            each = np.array([part.extras[name] for part in parts])
            np.testing.assert_array_equal(cost, each.max(axis=0))
            mixed += int((each.max(axis=0) > each[-1]).sum())
    assert mixed > 10, "the last repeat told it all, so this shows nothing"


def test_a_repeated_action_resumes_within_an_episode():
    maker = envs.make(QUADRUPED, repeat=2, max_steps=9)
    env = maker.open(0, 2)
    env.reset()
    actions = random_actions(maker.spec.action, 24, 2, seed=0)
    for action in actions[:14]:
        last = env.step(action)
    again = maker.open(0, 2)
    assert_equal(again.restore(env.save()), last)
    for action in actions[14:]:
        assert_equal(again.step(action), env.step(action))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"constraint": "joint_angel"}, "has no constraint 'joint_angel': did you mean joint_angle"),
        ({"constraint": "slider_pos"}, "has no constraint 'slider_pos'"),
        ({"safety_coeff": 1.1}, r"safety_coeff must lie in 0..1, but is 1\.1"),
        ({"safety_coeff": -0.1}, "safety_coeff must lie"),
        ({"safety_coeff": float("nan")}, "safety_coeff must lie"),
        ({"safety_coeff": "loose"}, "safety_coeff must lie"),
        ({"coefficient": 1}, "has no option 'coefficient'"),
        ({"backend": "device"}, "has no backend 'device'"),
    ],
)
def test_what_cannot_be_is_one_sentence(options, sentence):
    with pytest.raises(UsageError, match=sentence):
        envs.make(QUADRUPED, **options)


def test_nothing_draws():
    with pytest.raises(UsageError, match="does not draw"):
        envs.make(CART).open(0, 1, render=True)


def test_without_the_engine_the_extra_is_named(monkeypatch):
    def missing(package):
        raise PackageNotFoundError(package)

    monkeypatch.setattr("envs.constrained.version", missing)
    with pytest.raises(UsageError, match=r"envpool is not installed: pip install 'auxin\[mujoco\]'"):
        envs.make(HUMANOID)
