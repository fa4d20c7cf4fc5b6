"""`collect`: five datasets out of one training, each what its name says, resumed, and every mistake in one sentence."""

import json
import shutil

import jax.numpy as jnp
import numpy as np
import pytest

import agents
import envs
from agents.agent import State
from agents.commands import main
from agents.training import checkpoints, collect, metrics, playing
from agents.training.learner import Learner
from envs.errors import UsageError
from replay import dataset

CHAIN = (
    *("collect", "--env", "Chain-v0", "--agent", "dqn", "--steps", "3200", "--size", "1000", "--eval-every", "320"),
    *("--envs", "8", "--unroll", "4", "--learning-rate", "3e-3", "--warmup", "256", "--batch", "32", "--hidden", "16"),
    *("--target-every", "50", "--discount", "0.9", "--uniform.capacity", "4096", "--eval-episodes", "8", "--quiet"),
)


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """The folder of all five datasets of the chain."""
    patch = pytest.MonkeyPatch()
    patch.setenv("AUXIN_CACHE", str(tmp_path_factory.mktemp("cache")))
    folder = tmp_path_factory.mktemp("data") / "chain"
    assert main([*CHAIN, "--out", str(folder)]) == 0
    yield folder
    patch.undo()


def kinds(out):
    return {kind: dataset.load(out / kind) for kind in collect.KINDS}


def follows(data) -> None:
    """Asserts that within each stream every step begins where the one before ended, or anew, and that it opens one."""
    start = 0
    for length in data.facts["streams"]:
        rows = slice(start, start + length - 1)
        here, there = data.next_obs[rows], data.obs[start + 1 : start + length]
        going = ~data.last[rows]
        np.testing.assert_array_equal(here[going], there[going])
        start += length
    assert start == len(data.last)


def mean(data) -> float:
    return dataset.statistics(data)["return_mean"]


# ------------------------------------------------------------------------------------------------------- THE KINDS


def test_each_dataset_is_what_its_name_says(out):
    found = kinds(out)
    spec = envs.make("Chain-v0").spec
    for kind, data in found.items():
        dataset.check(data, spec)
        follows(data)
        assert (data.facts["kind"], data.facts["env"], data.facts["backend"]) == (kind, "Chain-v0", "device")
        assert data.facts["provenance"]["packages"]["jax"]
        assert set(data.extras) == set(spec.extras)
    assert mean(found["random"]) < mean(found["medium"]) <= mean(found["expert"])
    assert abs(found["random"].action.mean() - 0.5) < 0.05
    for kind in ("random", "medium", "expert"):
        assert len(found[kind].last) == 1000
    joined = dataset.concatenate([found["medium"], found["expert"]])
    assert dataset.digest(found["medium-expert"]) == dataset.digest(joined)
    assert [part["kind"] for part in found["medium-expert"].facts["parts"]] == ["medium", "expert"]


def test_medium_is_the_first_evaluation_of_the_experts_run_that_comes_so_far(out):
    found = kinds(out)
    rows = [row for row in metrics.read(out / "runs" / "expert") if "eval/return_mean" in row]
    scores = {row["step"]: row["eval/return_mean"] for row in rows}
    random, final = mean(found["random"]), rows[-1]["eval/return_mean"]
    far = {step for step, score in scores.items() if score >= random + (final - random) / 3}
    assert found["medium"].facts["step"] == min(far) < 3200
    assert found["medium"].facts["evaluated"] == scores[min(far)]
    assert found["expert"].facts["step"] == 3200
    assert found["expert"].facts["options"]["target_every"] == 50


def test_medium_replay_holds_every_step_up_to_there(out):
    data = dataset.load(out / "medium-replay")
    assert len(data.last) == data.facts["step"] == dataset.load(out / "medium").facts["step"]
    assert data.facts["streams"] == [data.facts["step"] // 8] * 8
    # Before learning began actions were even, and then epsilon fell: a policy's own actions are there too.
    assert dataset.statistics(data)["episodes"] > 8


def test_the_chance_in_a_policy_is_kept_unless_greedy_is_asked_for(out):
    env = envs.make("Chain-v0")
    folder = out / "runs" / "expert"
    saved = agents.training.saved.open_run(folder, "last")
    play = playing.Play(env, 400, 3, "expert", quiet=True)
    greedy = playing.by_policy(play, saved.agent, saved.state, greedy=True)
    drawn = playing.by_policy(play, saved.agent, saved.state, greedy=False)
    assert mean(greedy) == 1.0
    assert (greedy.action == 1).all()
    assert 0 < (drawn.action == 0).mean() < 0.1  # epsilon is 0.05 in the end, and half of that goes right


@pytest.mark.parametrize(("name", "capacity"), [("Chain-v0", 100), ("CartPole-v1", 100)])
def test_a_buffer_that_forgot_gives_whole_streams(name, capacity, tmp_path):
    """A ring that ran over, of a size that is no multiple of the environments, on either loop."""
    env = envs.make(name)
    agent = agents.make("dqn", env.spec, envs=3, unroll=8, batch=8, hidden=(4,), **{"uniform.capacity": capacity})
    agents.train(agent, env, out=tmp_path, steps=360, seed=5, quiet=True, tensorboard=False)
    data = playing.buffered(agent, env, checkpoints.latest(tmp_path / "checkpoints"), 5)
    data = data._replace(facts={**data.facts, "env": name})
    dataset.check(data, env.spec)
    follows(data)
    assert len(data.facts["streams"]) <= 3
    assert 0 < len(data.last) <= 99
    # Every stream opens an episode: the chain begins at its left end, the pole near the middle.
    starts = np.cumsum([0, *data.facts["streams"][:-1]])
    if name == "Chain-v0":
        assert (data.obs[starts].argmax(-1) == 0).all()
    else:
        assert (np.abs(data.obs[starts]) <= 0.05).all()


# --------------------------------------------------------------------------------------------------- THE COMMAND


def test_what_is_there_is_not_made_again_and_what_is_missing_is_the_same_again(command, out):
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.npz")}
    said = command(*CHAIN, "--out", out, "--json")
    assert said.code == 0
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.npz")} == before
    result = said.result
    assert list(result["datasets"]) == list(collect.KINDS)
    shutil.rmtree(out / "medium")
    again = command(*CHAIN, "--out", out, "--json", "--kinds", "medium").result
    assert list(again["datasets"]) == ["random", "medium"]
    assert again["datasets"]["medium"] == result["datasets"]["medium"]
    for kind, data in result["datasets"].items():
        assert data["digest"] == dataset.digest(dataset.load(out / kind))


def test_what_people_read(command, out):
    said = command(*CHAIN, "--out", out)
    for word in ("dqn on Chain-v0", "medium-replay", "1,000", "episodes", "deviation", str(out)):
        assert word in said.out


def test_an_agent_learns_from_what_was_made(command, out, tmp_path):
    words = ("train", "dqn", "--env", "Chain-v0", "--data", out / "medium-expert", "--steps", 600, "--batch", 32)
    rest = ("--learning-rate", "3e-3", "--discount", "0.9", "--target-every", 50, "--hidden", 16, "--eval-every", 300)
    said = command(*words, *rest, "--eval-episodes", 8, "--out", tmp_path / "run", "--json")
    assert said.code == 0
    assert said.result["updates"] == 600
    assert said.result["best_evaluation"] == 1.0
    assert "600/600 updates" in said.err


def test_a_collection_that_was_stopped_goes_on(command, tmp_path, monkeypatch):
    words = ("collect", "--env", "PointMass-v0", "--kinds", "random", "--size", 120, "--out", tmp_path / "data")

    def stop(play):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(collect, "evenly", stop)
        said = command(*words)
    assert said == (130, "", f"auxin: stopped; the same command goes on in {tmp_path / 'data'}.\n")
    assert command(*words, "--json").result["datasets"]["random"]["transitions"] == 120
    assert json.loads((tmp_path / "data" / "collect.json").read_text())["size"] == 120


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "collect needs an environment: --env ID"),
        (("--env", "Chain-v0", "--kinds", "random+exprt"), "no kind of dataset 'exprt': did you mean expert"),
        (("--env", "Chain-v0", "--agent", "dqm"), "there is no agent 'dqm': did you mean dqn"),
        (("--env", "Chain-v0"), "sac acts in a bounded box"),
        (("--env", "Chain-v0", "--agent", "dqn", "--n-step", "3"), "medium-replay is what a buffer of single steps"),
        (("--env", "Chain-v0", "--agent", "ppo"), "medium-replay is what a buffer of single steps"),
        (("--env", "Chain-v0", "--share", "1"), "share must be between 0 and 1, not 1.0"),
        (("--env", "Chain-v0", "--size", "0"), "size must be above 0"),
        (("--env", "Chain-v0", "--agent", "dqn", "--hiden", "4"), "has no option --hiden: did you mean --hidden"),
        (("--env", "Chain-v0", "--agent", "dqn", "--env.lenght", "4"), "did you mean length"),
    ],
)
def test_mistakes_are_one_sentence(command, tmp_path, words, sentence):
    assert sentence in command("collect", *words, "--out", tmp_path / "data").sentence
    assert not (tmp_path / "data").exists()


def test_another_collection_does_not_go_into_the_same_folder(command, out):
    said = command(*CHAIN, "--out", out, "--size", 2000)
    assert "holds datasets made with another size: take another --out." in said.sentence


@pytest.mark.parametrize(
    ("scores", "returned", "sentence"),
    [((0.3,), 0.4, "returned 0.3 in the end and random actions 0.4: raise --steps"), ((1.0,), np.nan, "raise --size")],
)
def test_a_training_without_a_middle_is_one_sentence(monkeypatch, tmp_path, scores, returned, sentence):
    config = collect.CollectConfig(env="Chain-v0", agent="dqn", kinds="medium", size=40, out=str(tmp_path), quiet=True)
    monkeypatch.setattr(collect, "_trained", lambda job, name: tmp_path / "checkpoints" / "last")
    monkeypatch.setattr(collect, "_evaluations", lambda folder: list(scores))
    monkeypatch.setattr(dataset, "statistics", lambda data: {"return_mean": returned})
    with pytest.raises(UsageError, match=sentence):
        collect.collect(config, {}, {})


def test_medium_is_looked_for_at_a_share_of_the_way_from_random_to_final(monkeypatch, tmp_path):
    asked = []

    def trained(job, name, **options):
        asked.append((name, options))
        if name == "medium":
            raise UsageError("far enough")
        return tmp_path / "checkpoints" / "last"

    config = collect.CollectConfig(
        env="Chain-v0", agent="dqn", kinds="medium", size=40, share=0.25, out=str(tmp_path), quiet=True
    )
    monkeypatch.setattr(collect, "_trained", trained)
    monkeypatch.setattr(collect, "_evaluations", lambda folder: [5.0, 1.0])
    monkeypatch.setattr(dataset, "statistics", lambda data: {"return_mean": -3.0})
    with pytest.raises(UsageError, match="far enough"):
        collect.collect(config, {}, {})
    assert asked == [("expert", {}), ("medium", {"stop_at": -2.0})]


def test_a_policy_that_has_not_learned_is_no_medium_one(monkeypatch, tmp_path):
    state = State((), {}, (), {}, {}, None, jnp.zeros((), jnp.int32))
    untrained = checkpoints.save(tmp_path, 1, {"learner": Learner(state, (), (), (), jnp.zeros(()))}, {})
    config = collect.CollectConfig(env="Chain-v0", agent="dqn", kinds="medium", size=40, out=str(tmp_path), quiet=True)
    monkeypatch.setattr(collect, "_trained", lambda job, name, **options: untrained)
    monkeypatch.setattr(collect, "_evaluations", lambda folder: [1.0])
    monkeypatch.setattr(dataset, "statistics", lambda data: {"return_mean": 0.5})
    with pytest.raises(UsageError, match="came 33% of the way from random"):
        collect.collect(config, {}, {})
