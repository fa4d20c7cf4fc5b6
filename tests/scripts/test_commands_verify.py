"""`verify`: table, report and map of small runs, what they do where they go, and mistakes in one sentence."""

import json
from typing import NamedTuple

import jax
import numpy as np
import pytest

import agents
import envs
from agents.agent import Rollout
from agents.auxiliary.verification.properties import Property
from agents.training import checkpoints, learner
from agents.training.saved import load, open_run
from agents.training.verification import subject, visited
from envs.contract import TimeStep
from envs.wrappers import parse

ENV = envs.make("CartPole-v1", backend="device")
RULE = {
    "name": "falling right",
    "sentence": "Do not push left.",
    "inputs": {"0-1": [-0.5, 0.5], "2": [0.0, 0.1], "3": 0.0},
    "forbidden": [0],
}


class Kept(NamedTuple):
    """The part of a run's tree that acting reads."""

    state: object = ()
    wrapper: object = ()


def write_run(folder, name, options, wrap=""):
    """A folder as an untrained run on CartPole would have left it."""
    folder.mkdir()
    agent = agents.make(name, ENV.spec, **options)
    notes = {"agent": name, "options": agent.config, "env": ENV.spec.id, "backend": "device", "env_options": {}}
    (folder / "config.json").write_text(json.dumps({**notes, "wrap": wrap, "wrap_options": {}, "train": {}}))
    chain = parse(wrap)
    state = jax.jit(lambda key: learner.begin(agent, key, chain.spec(ENV.spec)))(jax.random.key(0))
    tree = {"learner": Kept(state=state), "acting": Kept(wrapper=chain.init(ENV.spec, 2))}
    checkpoints.save(folder / "checkpoints", 128, tree, {"n": 2, "seed": 0, "step": 128})
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("AUXIN_CACHE", str(tmp_path_factory.mktemp("cache")))
    folder = tmp_path_factory.mktemp("runs")
    write_run(folder / "dqn", "dqn", {"hidden": (8, 8)}, wrap="normalize_obs")
    write_run(folder / "gru", "ppo", {"hidden": (8,), "core": "gru"})
    write_run(folder / "apart", "ppo", {"hidden": (8,), "separate": True})
    (folder / "rule.json").write_text(json.dumps(RULE))
    yield folder
    patch.undo()


def test_numbers_report_and_map(command, runs):
    import imageio.v3 as imageio

    words = ("verify", runs / "dqn", "--property", runs / "rule.json", "--property", "cartpole", "--steps", "40")
    # Two rules of one name in two files.
    assert "two properties are called 'falling right'" in command(*words).sentence
    rule = runs / "other.json"
    rule.write_text(json.dumps({**RULE, "name": "ours"}))
    said = command("verify", runs / "dqn", f"--property={rule}", "--property", "cartpole", "--steps", "40",
                   "--boxes", "3000", "--map", "0,2", "--json")  # fmt: skip
    assert said.code == 0, said.err
    found = said.result
    assert list(found["properties"]) == ["ours", "falling right", "falling left"]
    for each in found["properties"].values():
        assert each["violated"] + each["safe"] + each["unknown"] == 1
        assert each["visited"]["states"] == 320
    report = json.loads((runs / "dqn" / "verification.json").read_text())
    assert report["properties"] == found["properties"]
    assert report["provenance"]["env"]["id"] == "CartPole-v1"
    picture = imageio.imread(found["picture"])[..., :3].astype(int)
    assert sum((np.abs(picture - colour).sum(-1) < 6).sum() for colour in ((0, 158, 115), (213, 94, 0))) > 5000


def test_the_proof_is_of_the_policy_that_acts(command, runs):
    """Shares against the run's own policy on an even grid, its wrapper's clipped statistics included."""
    said = command("verify", runs / "dqn", "--property", runs / "rule.json", "--steps", "0", "--json")
    found = said.result["properties"]["falling right"]
    policy = load(runs / "dqn")
    rng = np.random.default_rng(0)
    low, high = np.float32([-0.5, -0.5, 0, 0]), np.float32([0.5, 0.5, 0.1, 0])
    obs = rng.uniform(low, high, (4000, 4)).astype(np.float32)
    wrong = (np.asarray(policy(obs, policy.begin(4000))[0]) == 0).mean()
    assert found["violated"] - 0.03 <= wrong <= found["violated"] + found["unknown"] + 0.03
    assert found["unknown"] < 0.2
    example = found["counter_example"]
    if example:
        point = np.float32([example["obs"]])
        assert int(policy(point, policy.begin(1))[0][0]) == example["action"] == 0
    assert (wrong > 0.05) == bool(example)


def test_a_value_network_apart_does_not_disturb(command, runs, tmp_path):
    words = ("--property", runs / "rule.json", "--steps", "5", "--out", tmp_path / "r.json", "--json")
    found = command("verify", runs / "apart", *words).result["properties"]["falling right"]
    assert found["violated"] + found["safe"] + found["unknown"] == 1


def test_what_people_read(command, runs, tmp_path):
    words = ("--property", runs / "rule.json", "--steps", "20", "--near", "1", "--out", tmp_path / "deep" / "r.json")
    said = command("verify", runs / "dqn", *words, "--method", "sample", "--boxes", "200")
    assert said.code == 0, said.err
    assert "dqn on CartPole-v1, step 128" in said.out
    assert "by samples, which under-estimate" in said.out
    assert "falling right: Do not push left." in said.out
    assert "visited states of the box" in said.out
    assert (tmp_path / "deep" / "r.json").exists()


def test_recorded_steps_are_those_of_the_environment_and_the_policy(runs):
    saved = open_run(runs / "dqn")
    found = subject(saved, seed=5, steps=30, envs=2)
    policy = load(runs / "dqn")
    obs, action = np.asarray(found.data.obs), found.data.action
    assert obs.shape == (30, 2, 4)
    again, _ = policy(obs.reshape(-1, 4), policy.begin(60))
    np.testing.assert_array_equal(np.asarray(again).reshape(30, 2), action)
    returns = found.evaluate(found.params, [1, 2])
    assert returns.shape == (2,)
    assert (returns >= 1).all()


def test_what_was_done_in_a_box():
    """Two environments; the second's first episode ends after its second step."""
    obs = np.array([[[0.0], [0.5]], [[0.3], [0.9]], [[0.0], [0.6]], [[0.0], [0.62]]], np.float32)
    later = np.concatenate([obs[1:], obs[-1:]])
    last = np.array([[0, 0], [0, 1], [0, 0], [0, 0]], bool)
    step = lambda obs, last: TimeStep(obs, (), (), last, obs, {})  # noqa: E731
    action = np.array([[0, 1], [0, 0], [1, 1], [1, 0]])
    data = Rollout((), step(obs[0], last[0] & False), action, {}, step(later, last))
    rule = Property("a", "", np.float32([0.58]), np.float32([0.7]), (0,))
    found = visited(rule, data, 0.0)
    assert (found["states"], found["within"], found["forbidden"], found["distance"]) == (8, 2, 1, 0.0)
    assert found["first"] == {"env": 1, "episode": 1, "step": 1, "obs": [np.float32(0.62)], "action": 0}
    assert visited(rule, data, 0.1)["within"] == 3
    assert visited(rule._replace(high=np.float32([5]), low=np.float32([4])), data, 0.1)["first"] is None


def test_mistakes_are_one_sentence(command, runs, tmp_path):
    rule = ("--property", runs / "rule.json")
    assert command("verify").sentence.startswith("verify needs the folder of a run")
    assert "needs a property" in command("verify", runs / "dqn").sentence
    assert "did you mean cartpole" in command("verify", runs / "dqn", "--property", "cartpol").sentence
    assert "remembers past steps" in command("verify", runs / "gru", *rule).sentence
    assert "holds no run" in command("verify", tmp_path / "nothing", *rule).sentence
    assert "map must be two inputs" in command("verify", runs / "dqn", *rule, "--map", "1").sentence
    few = ("--steps", "0", "--boxes", "10")
    assert "fixes input 0 or 3" in command("verify", runs / "dqn", *rule, *few, "--map", "0,3").sentence
    assert "there are 0 to 3" in command("verify", runs / "dqn", *rule, *few, "--map", "0,4").sentence
    said = command("verify", runs / "dqn", *rule, "--map", "0,1", "--picture", tmp_path / "c.doc")
    assert "name it .png, .pdf or .svg" in said.sentence
