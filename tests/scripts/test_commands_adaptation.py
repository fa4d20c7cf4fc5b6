"""`adapt`: the table, the numbers and the picture of small runs, and every mistake in one sentence."""

import matplotlib.image
import numpy as np
import pytest

import agents
import envs
from agents.training.adaptation import adapt, over_episodes, plane

ENV = envs.make("PointRobot-v0", tasks=4, test_tasks=9, trial=3, max_steps=4)
SMALL = {"hidden": (8,), "encoder_hidden": (8,), "envs": 2, "batch": 4, "context": 4, "meta_batch": 2, "latent": 2}
FEW = ("--repeats", "2")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Three folders: PEARL with two seeds, RL2, and SAC on a single task."""
    folder = tmp_path_factory.mktemp("runs")
    pearl = agents.make("pearl", ENV.spec, ratio=0.05, **SMALL)
    agents.train(pearl, ENV, steps=96, seeds=2, out=folder / "pearl", quiet=True)
    rl2 = agents.make("rl2", ENV.spec, hidden=(8,), core_width=4, envs=4)
    agents.train(rl2, ENV, steps=96, out=folder / "rl2", quiet=True)
    single = envs.make("PointMass-v0")
    sac = agents.make("sac", single.spec, hidden=(8,), **{"uniform.capacity": 300})
    agents.train(sac, single, steps=64, out=folder / "single", quiet=True)
    return folder


def test_a_run_is_played_in_tasks_that_it_never_saw(command, runs, tmp_path):
    out = tmp_path / "adaptation.png"
    said = command("adapt", runs / "pearl", runs / "rl2", *FEW, "--out", out)
    assert said.code == 0
    assert "pearl on PointRobot-v0, step 96, 2 seed(s), 18 trials each" in said.out
    assert "rl2 on PointRobot-v0, step 96, 1 seed(s), 18 trials each" in said.out
    assert "a linear probe reads" in said.out
    picture = matplotlib.image.imread(out)
    assert picture.shape[1] > picture.shape[0] > 400
    assert np.unique(picture[..., :3].reshape(-1, 3), axis=0).shape[0] > 50


def test_numbers_are_those_of_the_trials(command, runs, tmp_path):
    said = command("adapt", runs / "pearl", *FEW, "--tasks", "5", "--out", tmp_path / "a.png", "--json")
    (found,) = said.result["runs"].values()
    again = adapt(runs / "pearl", tasks=5, repeats=2, seed=1000, checkpoint="last")
    assert again.returns.shape == (2, 10, 3)
    np.testing.assert_allclose(found["return"], again.returns.mean((0, 1)), rtol=1e-6)
    assert again.beliefs.shape == (2, 5, 2)
    assert len(found["tasks"]) == 5
    assert found["probe"] == []  # too few tasks to fit it to
    mean, low, high = over_episodes(again.returns)
    assert (low <= mean).all()
    assert (mean <= high).all()


def test_the_plane_has_the_longest_axes():
    random = np.random.default_rng(0)
    points = random.normal(size=(2, 30, 4)) * np.array([5.0, 0.1, 2.0, 0.1])
    shown, share = plane(points)
    assert shown.shape == (2, 30, 2)
    assert share > 0.98
    centred = points.reshape(-1, 4) - points.reshape(-1, 4).mean(0)
    gaps = np.linalg.norm(centred[:, None, [0, 2]] - centred[None, :, [0, 2]], axis=-1)
    flat = shown.reshape(-1, 2)
    np.testing.assert_allclose(np.linalg.norm(flat[:, None] - flat[None], axis=-1), gaps, atol=0.6)
    assert plane(points[..., :1])[0].shape == (2, 30, 2)


def test_mistakes_are_one_sentence(command, runs, tmp_path):
    assert "PointMass-v0 is a single task" in command("adapt", runs / "single").sentence
    assert "tasks must be above 0, not 0." in command("adapt", runs / "pearl", "--tasks", "0").sentence
    assert "no run" in command("adapt", tmp_path / "nothing").sentence
