"""What can be done with a run that is there: load its policy, export it, evaluate and film it."""

import dataclasses
import itertools
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export as stablehlo
from training_runs import checkpoints

import agents
import envs
from agents.training import saved
from agents.training.export import export_run
from envs.errors import UsageError
from envs.wrappers import parse


def train(out, name, env_name, wrap="", steps=6 * 32, env_options=None, **options):
    env = envs.make(env_name, **(env_options or {}))
    agent = agents.make(name, parse(wrap).spec(env.spec), **{"hidden": (16,), "unroll": 8, **options})
    run = {"envs": 4, "quiet": True, "tensorboard": False}
    return agents.train(agent, env, out=str(out), wrap=wrap, steps=steps, **run)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("saved")


@pytest.fixture(scope="module")
def pendulum(runs):
    """Statistics of the observation, continuous actions."""
    return train(runs / "pendulum", "impala", "Pendulum-v1", wrap="normalize_obs")


@pytest.fixture(scope="module")
def memory(runs):
    """A recurrent policy that was trained on the device until it knows what to do."""
    options = {"core": "gru", "core_width": 16, "learning_rate": 1e-2, "unroll": 15}
    return train(runs / "memory", "impala", "Memory-v0", steps=200 * 15 * 4, **options)


@pytest.fixture(scope="module")
def grid(runs):
    """MiniGrid through EnvPool."""
    pytest.importorskip("envpool")
    pytest.importorskip("minigrid")
    return train(runs / "grid", "impala", "MiniGrid-Empty-5x5-v0", channels=(8,))


def pendulum_obs(n, seed=0):
    return np.random.default_rng(seed).normal(size=(n, 3)).astype(np.float32)


# ------------------------------------------------------------------------------------------------------------- LOAD


def test_a_policy_acts_in_three_lines(pendulum):
    policy = agents.load(str(pendulum.folder))
    carry = policy.begin(5)
    action, carry = policy(pendulum_obs(5), carry)
    assert action.shape == (5, 1)
    assert action.dtype == np.float32
    assert np.all(np.abs(action) <= 2.0)


def test_a_policy_sees_what_the_agent_saw(pendulum):
    """Normalised by the statistics of training, which acting leaves alone."""
    opened = saved.open_run(pendulum)
    policy, obs = agents.load(pendulum), pendulum_obs(4) * 3.0
    (stats,) = opened.wrapper_state.shared[0]
    assert stats.seen == 4 * (1 + 8 * 6 + 8)  # the reset, six unrolls, and the one that is under way
    normal = np.clip((obs - stats.mean) / np.sqrt(stats.var + 1e-8), -10, 10)
    bare = saved.Saved(*opened)._replace(wrapper=parse(""), wrapper_state=parse("").init(opened.env.spec, 4))
    expected, _ = saved.policy(bare)(normal.astype(np.float32), policy.begin(4) | {"wrapper": ()})
    carry = policy.begin(4)
    for _ in range(3):  # again and again, the same
        action, carry = policy(obs, carry)
        np.testing.assert_allclose(action, expected, rtol=1e-4, atol=1e-5)


def recalled(act, begin, cues, length=5):
    """Plays Memory-v0 by hand; which cues the last action names."""
    carry = begin(len(cues))
    for step in range(length):
        obs = np.zeros((len(cues), 3), np.float32)
        obs[np.arange(len(cues)), cues] = step == 0
        obs[:, 2] = step == length - 1
        action, carry = act(obs, carry)
    return np.asarray(action), carry


def test_a_policy_carries_its_memory_and_begins_anew(memory):
    policy, cues = agents.load(memory), np.array([0, 1, 1, 0])
    action, carry = recalled(policy, policy.begin, cues)
    assert action.tolist() == cues.tolist()
    # What a new episode begins with must not depend on the one before.
    stale = carry | {"fresh": jnp.ones(4, bool)}
    obs = np.eye(3, dtype=np.float32)[[1, 1, 0, 0]]
    one, two = policy(obs, stale), policy(obs, policy.begin(4))
    jax.tree.map(np.testing.assert_array_equal, one[1]["agent"], two[1]["agent"])
    _, kept = policy(obs, carry)
    assert any(np.any(a != b) for a, b in zip(*map(jax.tree.leaves, (kept["agent"], two[1]["agent"])), strict=True))


# ----------------------------------------------------------------------------------------------------------- EXPORT


def exported(run, out):
    """The file's function, how its memory begins, and the report."""
    report = export_run(run, out)
    assert out.stat().st_size == report["bytes"]
    file = stablehlo.deserialize(bytearray(out.read_bytes()))
    (_, carry), _ = jax.tree.unflatten(file.in_tree, file.in_avals)

    def begin(n):
        """As its documentation says: zeros, with `fresh` set."""
        zeros = {name: np.zeros((n, *leaf.shape[1:]), leaf.dtype) for name, leaf in carry.items()}
        return zeros | {"fresh": np.ones(n, bool)}

    return file.call, begin, report


@pytest.mark.parametrize("n", [1, 7])
def test_the_exported_file_acts_like_the_policy(pendulum, tmp_path, n):
    call, begin, report = exported(pendulum, tmp_path / "policy.stablehlo")
    assert report["obs"] == {"": "float32 (n, 3)"}
    assert {"cpu", "cuda"} <= set(report["platforms"])
    policy = agents.load(pendulum)
    carry, theirs = policy.begin(n), begin(n)
    for seed in range(3):
        obs = pendulum_obs(n, seed) * 3.0
        action, carry = policy(obs, carry)
        other, theirs = call(obs, theirs)
        np.testing.assert_allclose(action, other, rtol=1e-5, atol=1e-6)


def test_the_exported_file_keeps_the_memory(memory, tmp_path):
    call, begin, _ = exported(memory, tmp_path / "policy.stablehlo")
    for cues in (np.array([1]), np.array([0, 1, 1, 0, 0])):
        action, _ = recalled(call, begin, cues)
        assert action.tolist() == cues.tolist()


def test_wrappers_that_remember_are_exported_too(runs, tmp_path):
    run = train(runs / "stacked", "impala", "Pendulum-v1", wrap="normalize_obs+frame_stack", steps=64)
    call, begin, _ = exported(run, tmp_path / "policy.stablehlo")
    policy = agents.load(run)
    carry, theirs = policy.begin(3), begin(3)
    for seed in range(5):
        obs = pendulum_obs(3, seed)
        action, carry = policy(obs, carry)
        other, theirs = call(obs, theirs)
        np.testing.assert_allclose(action, other, rtol=1e-5, atol=1e-6)
    once, _ = policy(pendulum_obs(3, 4), policy.begin(3))
    assert np.any(np.abs(once - action) > 1e-6)  # the same observation, seen without those before


# ------------------------------------------------------------------------------------------------- WHAT IS REFUSED


def test_a_cut_checkpoint_falls_back_to_the_one_before(pendulum, tmp_path, caplog):
    run = tmp_path / "run"
    shutil.copytree(pendulum.folder, run)
    before, newest = checkpoints(run)
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    caplog.clear()
    assert saved.open_run(run).path == before
    assert "is damaged" in caplog.text
    assert "passed over" in caplog.text
    before.write_bytes(b"not a checkpoint")
    with pytest.raises(UsageError, match="holds no sound checkpoint"):
        saved.open_run(run)


def test_folders_without_a_run_are_refused(pendulum, tmp_path):
    with pytest.raises(UsageError, match="holds no run"):
        agents.load(tmp_path / "nothing")
    with pytest.raises(UsageError, match="pendulum"):  # the nearest that is there
        agents.load(pendulum.folder.parent / "pendulun")
    with pytest.raises(UsageError, match="best"):
        agents.load(pendulum, checkpoint="bast")
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text("{")
    with pytest.raises(UsageError, match="cannot be read as a run's configuration"):
        agents.load(broken)
    (broken / "config.json").write_text('{"name": "another program"}')
    with pytest.raises(UsageError, match="not the configuration of a run"):
        agents.load(broken)


def test_a_checkpoint_of_another_run_is_refused(pendulum, memory, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(pendulum.folder, run)
    for path in checkpoints(run):
        path.unlink()
    shutil.copy(checkpoints(memory.folder)[-1], run / "checkpoints")
    with pytest.raises(UsageError, match="saved with another configuration"):
        agents.load(run)


# --------------------------------------------------------------------------------------------------------- EVALUATE


def test_an_evaluation_repeats_for_a_seed(memory):
    one, two = (agents.evaluate(memory, episodes=40, seed=7) for _ in range(2))
    assert one["returns"] == two["returns"]
    assert {**one, "provenance": 0} == {**two, "provenance": 0}
    assert one["episodes"] == len(one["returns"][0]) == 40
    assert one["success"] == np.mean(np.array(one["returns"]) > 0)
    assert 0 <= one["success_low"] < one["success"] <= one["success_high"] <= 1
    assert one["success"] > 0.8
    assert one["return_low"] <= one["return_iqm"] <= one["return_high"]
    assert one["length"] == 5
    assert json.dumps(one)


def test_sampled_actions_and_other_seeds_give_other_episodes(pendulum):
    options = {"episodes": 3}
    (greedy,), (other,) = (agents.evaluate(pendulum, seed=seed, **options)["returns"] for seed in (1, 2))
    (sampled,) = agents.evaluate(pendulum, seed=1, greedy=False, **options)["returns"]
    assert len({*greedy, *other, *sampled}) == 9
    assert all(score < 0 for score in greedy)


def test_an_environments_options_come_with_the_run(runs):
    run = train(runs / "long", "impala", "Chain-v0", steps=64, env_options={"length": 5, "max_steps": 9})
    found = agents.evaluate(run, episodes=4)
    assert found["length"] <= 9
    opened = saved.open_run(run)
    assert dataclasses.asdict(opened.env.spec)["obs"]["shape"] == (5,)


def test_a_film_is_a_real_animation(grid, tmp_path):
    import imageio.v3 as imageio

    path = tmp_path / "films" / "grid.gif"
    report = agents.evaluate(grid, episodes=2, seed=5, video=str(path), greedy=False)
    assert report["video"] == str(path)
    assert path.read_bytes()[:6] in (b"GIF87a", b"GIF89a")
    frames = imageio.imread(path, index=None)
    assert frames.ndim == 4
    assert len(frames) > 5
    assert min(frames.shape[1:3]) >= 100
    moved = [np.any(one != two) for one, two in itertools.pairwise(frames)]
    assert sum(moved) >= 3


def test_what_cannot_be_drawn_is_refused(memory, tmp_path):
    with pytest.raises(UsageError, match="cannot draw itself"):
        agents.evaluate(memory, episodes=2, video=str(tmp_path / "film.gif"))
