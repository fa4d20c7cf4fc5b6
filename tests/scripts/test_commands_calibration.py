"""`calibration`: the table, the numbers and the picture of small runs of MBPO, and every mistake in one sentence."""

import json
import shutil
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import agents
import envs
from agents.auxiliary.world_model import Records
from agents.commands import main
from agents.training import checkpoints, learner
from agents.training.calibration import play
from agents.training.config import TrainConfig
from agents.training.saved import open_run
from agents.training.setup import prepare
from envs.wrappers import parse

ENV = envs.make("Pendulum-v1", backend="device")
SMALL = {
    "hidden": (8,),
    "batch": 8,
    "warmup": 64,
    "unroll": 8,
    "envs": 2,
    "rollouts": 8,
    "uniform.capacity": 500,
    "ensemble.hidden": (8,),
    "ensemble.members": 2,
    "ensemble.elites": 2,
    "ensemble.most_epochs": 3,
}
FEW = ("--episodes", "2", "--states", "40", "--draws", "8", "--horizon", "3")


class Kept(NamedTuple):
    """The part of a run's tree that acting reads."""

    state: object = ()
    wrapper: object = ()


def write_run(folder, name, options, state=None):
    """A folder as a run on Pendulum would have left it after 128 steps, untrained unless a state is given."""
    folder.mkdir()
    agent = agents.make(name, ENV.spec, **options)
    notes = {"agent": name, "options": agent.config, "env": ENV.spec.id, "backend": "device", "env_options": {}}
    (folder / "config.json").write_text(json.dumps({**notes, "wrap": "", "wrap_options": {}, "train": {}}))
    state = state or jax.jit(lambda key: learner.begin(agent, key, ENV.spec))(jax.random.key(0))
    tree = {"learner": Kept(state=state), "acting": Kept(wrapper=parse("").init(ENV.spec, 2))}
    checkpoints.save(folder / "checkpoints", 128, tree, {"n": 2, "seed": 0, "step": 128})
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of MBPO that has not fitted its model yet, and one that has, to an episode of its own."""
    patch = pytest.MonkeyPatch()
    patch.setenv("AUXIN_CACHE", str(tmp_path_factory.mktemp("cache")))
    prepare(TrainConfig())
    folder = tmp_path_factory.mktemp("runs")
    saved = open_run(write_run(folder / "early", "mbpo", SMALL))
    seen = jax.tree.map(lambda leaf: jnp.asarray(leaf[:, 0]), play(saved, 1, 7, greedy=False))
    reward, after = seen.outcome[:, 0], seen.outcome[:, 1:]
    records = Records(seen.obs, seen.action, reward, jnp.ones_like(reward), after, jnp.int32(len(reward)))
    model = agents.registry.load("world model", "ensemble").make(
        ENV.spec, hidden=(8,), members=2, elites=2, most_epochs=9
    )

    learning = saved.state.variables["learning"]
    own, metrics = jax.jit(lambda own: model.fit(jax.random.key(0), own, records, None))(learning.model)
    learning = learning._replace(model=own, model_loss=metrics["loss"])
    state = saved.state._replace(variables={**saved.state.variables, "learning": learning})
    write_run(folder / "fitted", "mbpo", SMALL, state)
    yield folder
    patch.undo()


def test_files_and_numbers(command, runs):
    import imageio.v3 as imageio

    said = command("calibration", runs / "fitted", *FEW, "--json")
    assert said.code == 0, said.err
    found = said.result
    assert found["picture"] == str(runs / "fitted" / "calibration.png")
    assert (found["agent"], found["env"], found["step"]) == ("mbpo", "Pendulum-v1", 128)
    assert found["compared"][0] == 40
    for name in ("observation", "reward"):
        for key in ("spread", "error", "covered_50", "covered_95"):
            assert len(found[name][key]) == 3
        assert all(value > 0 for value in found[name]["spread"] + found[name]["error"])
        assert all(0 <= value <= 1 for value in found[name]["covered_50"] + found[name]["covered_95"])
        assert len(found[name]["reliability"]) == len(found["quantiles"])
        assert (found[name]["reliability"][0], found[name]["reliability"][-1]) == (0, 1)
        assert (np.diff(found[name]["reliability"]) >= 0).all()
    each = np.asarray(found["each"]["error"])
    assert each.shape == (3, 4)
    np.testing.assert_allclose(found["reward"]["error"], each[:, 0])
    np.testing.assert_allclose(found["observation"]["error"], np.sqrt(np.square(each[:, 1:]).mean(1)))
    picture = imageio.imread(found["picture"])[..., :3].astype(int)
    for colour in ((0, 114, 178), (213, 94, 0)):
        assert (np.abs(picture - colour).sum(-1) < 6).sum() > 500


def test_what_people_read(command, runs, tmp_path):
    out = tmp_path / "deep" / "c.svg"
    said = command("calibration", runs / "fitted", *FEW, "--out", out)
    assert said.code == 0, said.err
    assert "mbpo on Pendulum-v1, step 128: 40 states of 2 episodes, 8 draws from each" in said.out
    rows = [line.split() for line in said.out.splitlines() if line[:1].isdigit()]
    assert [row[0] for row in rows] == ["1", "2", "3"]
    assert all(len(row) == 10 for row in rows)
    assert f"the curves are in {out}" in said.out
    assert out.read_text().startswith("<?xml")


def test_it_repeats_and_greedy_actions_are_others(command, runs, tmp_path):
    words = ("calibration", runs / "fitted", *FEW, "--json", "--out", tmp_path / "c.svg")
    one, again, greedy = (command(*words, *more).result for more in ((), (), ("--greedy",)))
    assert one == again
    assert greedy["each"]["error"] != one["each"]["error"]


def test_it_plays_whole_episodes_in_the_environment_of_the_run(runs):
    saved = open_run(runs / "fitted")
    trail = play(saved, 2, 0, greedy=True)
    assert trail.last.shape == (200, 2)
    assert trail.counted.all()
    assert trail.last.sum(0).tolist() == [1, 1]
    np.testing.assert_array_equal(trail.outcome[:-1, :, 1:], trail.obs[1:])
    angle = np.arctan2(trail.obs[..., 1], trail.obs[..., 0])
    cost = angle**2 + 0.1 * trail.obs[..., 2] ** 2 + 0.001 * trail.action[..., 0] ** 2
    np.testing.assert_allclose(trail.outcome[..., 0], -cost, atol=1e-4)


def test_outcomes_are_what_the_agent_sees_through_its_wrappers(runs):
    saved = open_run(runs / "fitted")
    chain = parse("scale_reward")  # by 1, as its statistics are new, and held within 10
    plain = play(saved, 2, 0, greedy=True)
    scaled = play(saved._replace(wrapper=chain, wrapper_state=chain.init(ENV.spec, 2)), 2, 0, greedy=True)
    assert plain.outcome.min() < -10
    np.testing.assert_allclose(scaled.outcome[..., 0], np.maximum(plain.outcome[..., 0], -10), atol=1e-5)
    np.testing.assert_array_equal(scaled.outcome[..., 1:], plain.outcome[..., 1:])


def test_a_run_on_the_host_is_judged_too(command, runs, tmp_path):
    """The device run's folder as the host's: the model is the same, and so is the task."""
    host = tmp_path / "host"
    shutil.copytree(runs / "fitted", host)
    notes = json.loads((host / "config.json").read_text())
    (host / "config.json").write_text(json.dumps({**notes, "backend": "host"}))
    saved = open_run(host)
    assert isinstance(saved.env, envs.HostMaker)
    trail = play(saved, 2, 0, greedy=True)
    assert trail.last.shape == (200, 2)
    np.testing.assert_allclose(trail.outcome[:-1, :, 1:], trail.obs[1:], atol=1e-6)
    said = command("calibration", host, *FEW)
    assert said.code == 0, said.err
    assert (host / "calibration.png").exists()


def test_mistakes_are_one_sentence(command, runs, tmp_path):
    fitted = runs / "fitted"
    assert command("calibration").sentence.startswith("calibration needs the folder of a run")
    assert "draws must be above 1, not 1." in command("calibration", fitted, "--draws", "1").sentence
    assert "horizon must be above 0, not 0." in command("calibration", fitted, "--horizon", "0").sentence
    assert "name it .png, .pdf or .svg" in command("calibration", fitted, "--out", tmp_path / "c.doc").sentence
    assert "holds no run" in command("calibration", tmp_path / "nothing").sentence
    assert "was never fitted: train for more than warmup=64 steps." in command("calibration", runs / "early").sentence
    said = command("calibration", fitted, "--episodes", "1", "--horizon", "201")
    assert "of 200 states none is followed by more than 200 steps" in said.sentence


def test_an_agent_without_a_model_is_refused(command, tmp_path):
    said = command("calibration", write_run(tmp_path / "ppo", "ppo", {"hidden": (8,)}))
    assert "ppo has no world model to calibrate: take a run of mbpo or one like it." in said.sentence


@pytest.mark.slow
def test_a_run_as_training_leaves_it(command, tmp_path):
    words = [word for name, value in SMALL.items() for word in (f"--{name}", str(value).strip("(,)"))]
    mbpo = ["train", "mbpo", "--env", "Pendulum-v1", "--backend", "device", "--ratio", "0.1", "--steps", "128"]
    assert main([*mbpo, *words, "--quiet", "--out", str(tmp_path / "run")]) == 0
    said = command("calibration", tmp_path / "run", *FEW, "--json")
    assert said.code == 0, said.err
    assert said.result["step"] == 128
    assert (tmp_path / "run" / "calibration.png").exists()
