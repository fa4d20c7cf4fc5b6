"""How a run ends, begins, evaluates and refuses: the driver, through `agents.train`."""

import json
import os
import platform

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training_runs import ROOT, checkpoints, leaves, metrics, same_bits, same_run

import agents
import envs
from agents.training import checkpoints as files
from agents.training import driver
from agents.training.device_loop import DeviceLoop
from agents.training.learner import WINDOW
from agents.training.provenance import commit
from envs.errors import UsageError
from replay import sizes

STOP = 1e-9  # hours: the run stops after its next update
UPDATE = 4 * 8  # environment steps: four environments, unrolls of eight


def chain(**options):
    env = envs.make("Chain-v0")
    return agents.make("impala", env.spec, **{"hidden": (16,), "unroll": 8, "learning_rate": 1e-2, **options}), env


def train(out, agent=None, updates=4, **options):
    made, env = chain()
    return agents.train(
        agent or made,
        env,
        **{"out": str(out), "envs": 4, "steps": updates * UPDATE, "quiet": True, "tensorboard": False, **options},
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Three seeds' worth of everything that a run can leave, evaluated at every second update."""
    return train(
        tmp_path_factory.mktemp("driver") / "run",
        updates=6,
        seeds=2,
        seed=3,
        log_every=1,
        eval_every=2 * UPDATE,
        eval_episodes=4,
        keep=2,
        checkpoint_every=UPDATE,
    )


# ------------------------------------------------------------------------------------------------ WHAT A RUN LEAVES


def test_a_result_says_where_it_comes_from(trained):
    for seed, folder in zip((3, 4), trained.seeds, strict=True):
        result = json.loads((folder / "result.json").read_text())
        assert (result["agent"], result["env"], result["seed"]) == ("impala", "Chain-v0", seed)
        assert (result["steps"], result["updates"], result["stopped"]) == (6 * UPDATE, 6, "steps")
        assert result["options"]["unroll"] == 8
        assert result["options"]["hidden"] == [16]
        assert result["final"]["episodes"] == metrics(folder)[-2]["episodes"]
        origin = result["provenance"]
        assert origin["seed"] == seed
        assert origin["env"] == {"id": "Chain-v0", "version": "toys 1"}
        assert origin["packages"]["jax"] == jax.__version__
        assert origin["python"] == platform.python_version()
        assert origin["commit"] == commit(ROOT)
        assert origin["hardware"]["cores"] == len(os.sched_getaffinity(0))


def test_the_last_checkpoints_and_the_best_are_kept(trained):
    for folder in trained.seeds:
        assert [path.name for path in checkpoints(folder)] == [
            f"checkpoint-{update * UPDATE:012d}.safetensors" for update in (5, 6)
        ]
        scores = {row["update"]: row["eval/return_mean"] for row in metrics(folder) if "eval/return_mean" in row}
        assert list(scores) == [2, 4, 6]
        meta = files.read_meta(files.best(folder / "checkpoints"))
        assert meta["best"] == max(scores.values())
        assert meta["step"] == UPDATE * next(update for update, score in scores.items() if score == meta["best"])
        assert json.loads((folder / "result.json").read_text())["best_evaluation"] == meta["best"]


def test_evaluations_change_nothing_in_the_run(trained, tmp_path):
    plain = train(tmp_path / "plain", updates=6, seeds=2, seed=3, log_every=1)
    for one, other in zip(trained.seeds, plain.seeds, strict=True):
        assert [row for row in metrics(one) if "eval/return_mean" not in row] == metrics(other)
        same_bits(leaves(checkpoints(one)[-1]), leaves(checkpoints(other)[-1]))


# ------------------------------------------------------------------------------------------------- WAYS TO END


def test_a_run_stops_at_a_return_in_training(tmp_path):
    agent, _ = chain(learning_rate=1e-2, unroll=16)
    (result,) = train(tmp_path / "run", agent, updates=10_000, envs=16, stop_at=0.9).results
    assert result["stopped"] == "return"
    assert result["updates"] < 1000
    assert result["final"]["episode_return"] >= 0.9
    assert result["final"]["episodes"] >= WINDOW
    assert files.read_meta(checkpoints(tmp_path / "run")[-1])["step"] == result["steps"]


def test_a_run_stops_at_a_return_in_evaluation(tmp_path):
    options = {"eval_every": 4 * UPDATE, "eval_episodes": 2, "log_every": 1000}
    (result,) = train(tmp_path / "run", updates=10_000, stop_at=1.0, **options).results
    assert result["stopped"] == "return"
    assert result["updates"] % 4 == 0
    scores = [row["eval/return_mean"] for row in metrics(tmp_path / "run") if "eval/return_mean" in row]
    assert scores[-1] == 1.0
    assert all(score < 1.0 for score in scores[:-1])


def test_a_run_stops_after_its_hours(tmp_path):
    (result,) = train(tmp_path / "run", updates=1_000_000, hours=2 / 3600).results
    assert result["stopped"] == "hours"
    assert 2 < result["seconds"] < 60
    assert 0 < result["updates"] < 1_000_000
    assert files.read_meta(checkpoints(tmp_path / "run")[-1])["step"] == result["steps"]


# ------------------------------------------------------------------------------------------------- WAYS TO BEGIN


@pytest.mark.parametrize("env", ["Chain-v0", "CartPole-v1"])
def test_a_run_begins_with_the_parameters_of_another(env, tmp_path):
    env = envs.make(env)
    options = {"envs": 4, "quiet": True, "tensorboard": False}
    agent = agents.make("impala", env.spec, hidden=(16,), unroll=8)
    agents.train(agent, env, out=str(tmp_path / "first"), steps=3 * UPDATE, **options)
    # Steps of a size that float32 does not see leave what the run began with.
    still = agents.make("impala", env.spec, hidden=(16,), unroll=8, learning_rate=1e-30)
    again = {"steps": UPDATE, "seed": 9, **options}
    agents.train(still, env, out=str(tmp_path / "second"), init_from=str(tmp_path / "first"), **again)
    agents.train(still, env, out=str(tmp_path / "fresh"), **again)

    def params(folder):
        (*_, last) = checkpoints(tmp_path / folder)
        return {name: leaf for name, leaf in leaves(last).items() if ".params" in name}

    same_bits(params("first"), params("second"))
    assert any(np.any(params("fresh")[name] != leaf) for name, leaf in params("first").items())


def test_there_must_be_something_to_begin_from(tmp_path, trained):
    with pytest.raises(UsageError, match="holds no run"):
        train(tmp_path / "run", init_from=str(tmp_path / "nothing"))
    wide, _ = chain(hidden=(8,))
    with pytest.raises(UsageError, match="another configuration"):
        train(tmp_path / "wide", wide, init_from=str(trained.folder))


def test_a_folder_that_holds_a_run_is_not_overwritten(trained):
    before = {path: path.read_bytes() for path in trained.folder.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match=r"already holds a run: give --resume .* or another --out"):
        train(trained.folder, updates=6, seeds=2, seed=3)
    assert {path: path.read_bytes() for path in trained.folder.rglob("*") if path.is_file()} == before


RESUME = {"updates": 6, "seeds": 2, "seed": 3, "log_every": 1, "eval_every": 2 * UPDATE, "eval_episodes": 4}


@pytest.mark.parametrize(
    ("agent", "options", "named"),
    [
        ({"entropy_cost": 0.5}, {}, "entropy_cost was 0.01 and is 0.5"),
        ({"hidden": (8,)}, {}, "hidden was"),
        ({}, {"envs": 8}, "envs 4, and cannot go on with 8"),
        ({}, {"eval_every": 0}, "eval_every"),
        ({}, {"wrap": "scale_reward"}, "another wrap"),
    ],
)
def test_a_run_is_not_resumed_with_other_options(trained, agent, options, named):
    with pytest.raises(UsageError, match=named) as refused:
        train(trained.folder, chain(**agent)[0], resume=True, **{**RESUME, **options})
    assert str(refused.value).count(".") >= 1
    assert "\n" not in str(refused.value)


def test_a_run_is_not_resumed_in_another_environment(trained):
    env = envs.make("Bandit-v0")
    agent = agents.make("impala", env.spec, hidden=(16,), unroll=8, learning_rate=1e-2)
    with pytest.raises(UsageError, match="another env: it was Chain-v0 and is Bandit-v0"):
        agents.train(agent, env, out=str(trained.folder), seeds=2, seed=3, resume=True)


# ------------------------------------------------------------------------------------------------- NOT FINITE


def broken(*updates, env=None):
    """An agent whose reward is not a number in these updates, counted from 0."""
    agent = chain()[0] if env is None else agents.make("impala", env.spec, hidden=(16,), unroll=8)

    def update(key, state, rollout):
        bad = jnp.isin(state.knobs["progress"], jnp.array([update / 4 for update in updates], jnp.float32))
        reward = jnp.where(bad, jnp.nan, rollout.timestep.reward)
        return agent.update(key, state, rollout._replace(timestep=rollout.timestep._replace(reward=reward)))

    return agent._replace(update=update)


def test_a_run_that_is_not_finite_stops_with_the_leaf_and_the_batch(tmp_path):
    env = envs.make("CartPole-v1")
    agent = broken(2, env=env)
    with pytest.raises(UsageError, match=r"^the gradient of \S*\['policy'\]\S* is not finite at step 96; the") as stop:
        agents.train(agent, env, out=str(tmp_path / "run"), envs=4, steps=4 * UPDATE, quiet=True)
    assert "--skip-nonfinite" in str(stop.value)
    (path,) = (tmp_path / "run" / "nonfinite").glob("*.safetensors")
    assert str(path) in str(stop.value)
    kept = leaves(path)
    assert kept["['batch'].timestep.reward"].shape == (8, 4)
    assert kept["['batch'].start.obs"].shape == (4, 4)
    params = [leaf for name, leaf in kept.items() if ".params" in name]
    assert params
    assert all(np.isfinite(leaf).all() for leaf in params)
    assert not (tmp_path / "run" / "result.json").exists()


def test_the_device_loop_names_the_leaf_too(tmp_path):
    with pytest.raises(UsageError, match=r"the gradient of .* is not finite at step 64"):
        train(tmp_path / "run", broken(1))
    (path,) = (tmp_path / "run" / "nonfinite").glob("*.safetensors")
    assert leaves(path)["['batch'].timestep.reward"].shape == (8, 4)


def test_updates_that_are_not_finite_can_be_left_out(tmp_path):
    (result,) = train(tmp_path / "run", broken(1, 2), skip_nonfinite=2, log_every=1).results
    assert result["skipped_nonfinite"] == 2
    assert (result["stopped"], result["updates"]) == ("steps", 4)
    rows = metrics(tmp_path / "run")
    assert [row["nonfinite"] for row in rows] == [0, 1, 1, 0]
    assert rows[1]["loss"] == "nan"
    assert np.isfinite(rows[3]["loss"])
    kept = leaves(checkpoints(tmp_path / "run")[-1])
    assert all(np.isfinite(leaf).all() for name, leaf in kept.items() if ".params" in name or ".opt" in name)


def test_what_was_left_out_still_counts_after_a_resume(tmp_path):
    (first,) = train(tmp_path / "run", broken(0, 2), skip_nonfinite=1, hours=STOP).results
    assert (first["skipped_nonfinite"], first["updates"]) == (1, 1)
    (second,) = train(tmp_path / "run", broken(0, 2), skip_nonfinite=1, hours=STOP, resume=True).results
    assert (second["skipped_nonfinite"], second["updates"]) == (1, 2)
    with pytest.raises(UsageError, match="not finite at step 96"):
        train(tmp_path / "run", broken(0, 2), skip_nonfinite=1, resume=True)
    (last,) = train(tmp_path / "run", broken(0, 2), skip_nonfinite=2, resume=True).results
    assert (last["skipped_nonfinite"], last["updates"]) == (2, 4)


def test_how_far_one_call_goes_changes_nothing(tmp_path, monkeypatch):
    """Lines count every update that was not finite, wherever calls and stops cut the interval."""
    calls = []
    advance = DeviceLoop.advance
    monkeypatch.setattr(DeviceLoop, "advance", lambda loop, **how: calls.append(how["count"]) or advance(loop, **how))
    options = {"updates": 8, "skip_nonfinite": 2, "log_every": 4, "checkpoint_every": 100 * UPDATE}
    for name, longest, counts in (("far", 1e9, [1, 3, 4]), ("near", 0.0, [1] * 8)):
        monkeypatch.setattr(driver, "LONGEST", longest)
        train(tmp_path / name, broken(1, 2), **options)  # of eight updates these are 2 and 4
        assert calls == counts
        calls.clear()
    for _ in range(3):
        train(tmp_path / "parts", broken(1, 2), hours=STOP, resume=True, **options)
    monkeypatch.setattr(driver, "LONGEST", 1e9)
    train(tmp_path / "parts", broken(1, 2), resume=True, **options)
    assert calls == [1, 1, 1, 1, 4]
    assert [(row["update"], row["nonfinite"]) for row in metrics(tmp_path / "far")] == [(4, 1), (8, 1)]
    for name in ("near", "parts"):
        same_run(tmp_path / "far", tmp_path / name)


# -------------------------------------------------------------------------------------------- WHAT IS SAID IN TIME

REPLAY = {"hidden": (8,), "critic_hidden": (8,), "envs": 4, "warmup": 32, "unroll": 8, "batch": 8}


def replayed(out, **options):
    env = envs.make("PointMass-v0")
    agent = agents.make("d4pg", env.spec, **{**REPLAY, "uniform.capacity": 1000, **options})
    return agents.train(agent, env, envs=4, steps=6 * UPDATE, out=str(out), tensorboard=False, log_every=1)


def test_a_buffer_without_room_is_refused_before_it_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(sizes, "room", lambda host=False, total=False: 10**9 if total else 1000)
    with pytest.raises(UsageError, match=r"the replay buffer takes \d+ kB of memory, of which are free only 1 kB"):
        replayed(tmp_path / "run")
    assert not (tmp_path / "run/metrics.jsonl").exists()


def test_returns_beyond_the_atoms_are_told_once(tmp_path, capsys):
    replayed(tmp_path / "wide")
    said = capsys.readouterr().err
    assert "of it replay" in said
    assert "lie beyond v_min and v_max" not in said
    replayed(tmp_path / "narrow", v_min=-1e-6, v_max=1e-6)
    assert capsys.readouterr().err.count("lie beyond v_min and v_max: give them a wider range (at_ends is") == 1
