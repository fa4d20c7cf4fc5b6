"""Eight devices compute what one computes, to the order of sums: in a process that sees eight, forced on the host."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec
from training_runs import ROOT

import agents
import envs
from agents.training import checkpoints, devices
from agents.training.config import TrainConfig
from agents.training.device_loop import DeviceLoop
from agents.training.setup import prepare
from envs.errors import UsageError
from envs.wrappers import parse

CHAIN = envs.make("Chain-v0")
N, TOTAL = 16, 8


OPTIONS = {"ppo": {"epochs": 2}, "impala": {}, "agac": {"epochs": 2, "episodic_count.key": "full_grid"}}


def make(name):
    return agents.make(name, CHAIN.spec, hidden=(16,), unroll=4, **OPTIONS[name])


def build(name, count, seeds):
    loop = DeviceLoop(make(name), CHAIN, parse(""), n=N, seeds=seeds, mesh=devices.mesh(count, N))
    loop.start()
    return loop


def worst(one, other) -> float:
    """The largest difference between any two numbers of two states; keys and counters included."""

    def numbers(leaf):
        key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(leaf) if key else leaf, np.float64)

    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return max(float(np.abs(numbers(a) - numbers(b)).max(initial=0.0)) for a, b in pairs)


def refusal(**options) -> str:
    with pytest.raises(UsageError) as refused:
        agents.train(make("ppo"), CHAIN, steps=N * 4, quiet=True, tensorboard=False, **options)
    return str(refused.value)


def products(loop) -> list[int]:
    """Of the matrix products in the compiled program, the rows of each on one device."""
    with devices.among(loop._mesh):
        arguments = (loop._tree, loop._data, np.int32(1), np.int32(TOTAL), np.zeros(len(loop.seeds), np.int32))
        text = loop._advance.lower(*arguments).compile().as_text()
    return [int(rows) for rows in re.findall(r"= f32\[(\d+),16\]\S* dot\(", text)]


def compare(name, seeds, folder) -> dict:
    """Runs one and eight devices side by side and hands the state of each over to the other."""
    one, eight = build(name, 1, seeds), build(name, 8, seeds)
    moved = build(name, 1, seeds).tree()["learner"].state.params
    for loop in (one, eight):
        loop.advance(count=1, total=TOTAL)
        report = loop.advance(count=3, total=TOTAL)
    found = {"apart": worst(one._tree, eight._tree), "moved": worst(moved, one.tree()["learner"].state.params)}
    state, params = eight._tree["envs"], eight.learner.state.params
    found["envs"] = [str(leaf.sharding.spec) for leaf in jax.tree.leaves(state)]
    found["held"] = [shard.data.shape[1] for shard in jax.tree.leaves(state)[0].addressable_shards]
    found["params"] = [leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(params)]
    found["products"] = products(eight)
    found["rollout"] = str(report.batch.timestep.reward.sharding.spec)
    trees = {}
    for label, loop in (("one", one), ("eight", eight)):
        paths = [checkpoints.save(folder / f"{label}-{at}", 4, loop.tree(at), {}) for at in range(len(seeds))]
        trees[label] = [checkpoints.load(path, loop.template())[0] for path in paths]
    one.restore(trees["eight"])
    eight.restore(trees["one"])
    for loop in (one, eight):
        loop.advance(count=2, total=TOTAL)
    found["handed over"] = worst(one._tree, eight._tree)
    found["updates"] = [one.updates, eight.updates]
    found["programs"] = [one._advance._cache_size(), eight._advance._cache_size()]
    return found


def child(folder: Path) -> dict:
    """All that needs eight devices; its results are plain, so that they fit through a pipe."""
    prepare(TrainConfig())
    seeds = {"ppo": (0,), "impala": (0, 1), "agac": (0,)}
    found = {name: compare(name, seeds[name], folder / name) for name in OPTIONS}
    out = folder / "run"
    found["uneven"] = refusal(devices=0, envs=12, out=str(out))
    found["too many"] = refusal(devices=9, envs=N, out=str(out))
    found["left"] = out.exists()
    options = {"envs": N, "out": str(out), "eval_every": N * 8, "eval_episodes": 2, "quiet": True, "tensorboard": False}
    agents.train(make("ppo"), CHAIN, steps=N * 4 * 4, devices=8, **options)
    run = agents.train(make("ppo"), CHAIN, steps=N * 4 * 6, devices=1, resume=True, **options)
    found["run"] = {name: run.results[0][name] for name in ("updates", "stopped")}
    return found


@pytest.fixture(scope="module")
def found(tmp_path_factory, compilation_cache):
    folder = tmp_path_factory.mktemp("devices")
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
    done = subprocess.run(
        [sys.executable, __file__, str(folder)],
        cwd=ROOT,
        env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_every_device_learns_from_its_share_of_a_minibatch(found):
    share = N * 4 // 4 // 8  # environments, steps, minibatches, devices
    assert found["ppo"]["products"].count(share) >= 4


@pytest.mark.parametrize("name", OPTIONS)
def test_eight_devices_are_one_device(found, name):
    assert found[name]["moved"] > 1e-3
    assert found[name]["apart"] < 1e-5


@pytest.mark.parametrize("name", OPTIONS)
def test_the_environments_are_divided_and_the_parameters_are_not(found, name):
    assert set(found[name]["envs"]) == {str(PartitionSpec(None, "envs"))}
    assert found[name]["held"] == [N // 8] * 8
    assert all(found[name]["params"])
    assert "envs" in found[name]["rollout"]


@pytest.mark.parametrize("name", OPTIONS)
def test_a_state_goes_on_with_another_number_of_devices(found, name):
    assert found[name]["updates"] == [6, 6]
    assert found[name]["handed over"] < 1e-5
    assert found[name]["programs"] == [1, 1]


def test_a_run_goes_on_with_another_number_of_devices(found):
    assert found["run"] == {"updates": 6, "stopped": "steps"}


def test_impossible_divisions_are_refused_before_anything_is_made(found):
    assert found["uneven"] == "12 environments do not divide evenly among 8 devices: take --envs 8."
    assert found["too many"] == "devices is 9, but JAX sees 8: take --devices 8."
    assert not found["left"]


def test_more_devices_than_there_are_are_refused():
    assert "devices is 99, but JAX sees" in refusal(devices=99)


def test_devices_are_for_environments_that_run_on_them(tmp_path):
    env = envs.make("CartPole-v1")
    with pytest.raises(UsageError, match="CartPole-v1 runs on the host"):
        agents.train(agents.make("ppo", env.spec), env, devices=2, out=str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


if __name__ == "__main__":
    print(json.dumps(child(Path(sys.argv[1]))))
