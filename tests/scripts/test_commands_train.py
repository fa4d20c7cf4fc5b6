"""`train`: what reaches the run of what was typed, presets below options, and a sentence for every mistake."""

import math

import pytest

from agents import presets, registry
from agents.config import fields
from agents.training.config import TrainConfig

RESULT = {
    "run": "runs/x",
    "seed": 0,
    "steps": 4096,
    "stopped": "steps",
    "final": {"episode_return": 0.5, "loss": math.nan},
}


@pytest.fixture
def runs(monkeypatch):
    """What the run was asked for, instead of a run."""
    asked = []

    def train_command(agent, options, train, env_options, wrap_options):
        asked.append((agent, options, train, env_options))
        return RESULT

    monkeypatch.setattr("agents.training.run.train_command", train_command)
    return asked


def test_defaults_are_left_to_the_configs(command, runs):
    said = command("train", "ppo", "--env", "CartPole-v1")
    assert said.code == 0
    assert runs == [("ppo", {}, TrainConfig(env="CartPole-v1"), {})]
    assert "0.5" in said.out


def test_options_reach_agent_parts_run_and_environment(command, runs):
    command(
        *("train", "ppo", "--env", "CartPole-v1", "--steps", "2e6", "--backend=host", "--resume", "--no-tensorboard"),
        *("--entropy_cost", "5e-4", "--hidden", "32,16", "--bonus", "rnd+count", "--rnd.coef", "0.2"),
        *("--env.max_steps", "1e2", "--env.easy", "--env.name=some-where", "--stop-at", "-1e3", "--envs", "8"),
    )
    agent, options, train, env_options = runs[0]
    assert agent == "ppo"
    assert options == {"entropy_cost": 5e-4, "hidden": (32, 16), "bonus": "rnd+count", "rnd.coef": 0.2}
    assert train == TrainConfig(
        env="CartPole-v1", steps=2_000_000, backend="host", resume=True, tensorboard=False, stop_at=-1000.0, envs=8
    )
    assert env_options == {"max_steps": 100, "easy": True, "name": "some-where"}


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (["--anneal"], True),
        (["--no-anneal"], False),
        (["--anneal", "false"], False),
        (["--anneal=true"], True),
        (["--no-anneal", "--anneal"], True),
    ],
)
def test_booleans(command, runs, words, value):
    command("train", "ppo", "--env", "CartPole-v1", *words)
    assert runs[0][1] == {"anneal": value}


def test_explicit_options_win_over_the_preset(command, runs, monkeypatch):
    preset = presets.Preset("for a test", {"*": {"entropy_cost": 0.3, "unroll": 7, "envs": 3, "bebold.coef": 0.7}})
    monkeypatch.setitem(presets.PRESETS, "bebold", {"tiny": preset})
    command("train", "bebold", "--env", "MiniGrid-Empty-5x5-v0", "--preset", "tiny", "--entropy-cost", "0.1")
    _, options, train, _ = runs[0]
    assert options == {"entropy_cost": 0.1, "unroll": 7, "envs": 3, "bebold.coef": 0.7}
    assert (train.preset, train.envs) == ("tiny", 0)


def test_a_presets_options_go_with_the_part_that_was_exchanged(command, runs, monkeypatch):
    preset = presets.Preset("for a test", {"*": {"unroll": 7, "bebold.coef": 0.7}})
    monkeypatch.setitem(presets.PRESETS, "bebold", {"tiny": preset})
    command("train", "bebold", "--env", "MiniGrid-Empty-5x5-v0", "--preset", "tiny", "--bonus", "rnd")
    assert runs[0][1] == {"unroll": 7, "bonus": "rnd"}


def test_json_is_the_last_line(command, runs):
    said = command("train", "ppo", "--env", "CartPole-v1", "--json")
    assert said.out.count("\n") == 1
    assert said.result == {**RESULT, "final": {"episode_return": 0.5, "loss": "nan"}}


def test_seeds_are_a_table(command, monkeypatch):
    results = [{**RESULT, "run": f"runs/x/seed-{seed}", "seed": seed} for seed in (3, 4)]
    monkeypatch.setattr("agents.training.run.train_command", lambda *_: {"runs": results, "out": "runs/x"})
    out = command("train", "ppo", "--env", "CartPole-v1", "--seeds", "2", "--seed", "3").out
    assert "runs/x/seed-3" in out
    assert "runs/x/seed-4" in out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "train needs an agent as its first word: choose from"),
        (["--env", "CartPole-v1"], "train needs an agent as its first word"),
        (["bebld", "--env", "x"], "there is no agent 'bebld': did you mean bebold"),
        (["ppo"], "train needs an environment: --env ID"),
        (["ppo", "--env"], "--env needs a value."),
        (
            ["ppo", "--env", "x", "--entropy-cots", "1"],
            "ppo has no option --entropy-cots: did you mean --entropy-cost",
        ),
        (["ppo", "--env", "x", "--rnd.coef", "1"], "train ppo has no option --rnd.coef"),
        (["ppo", "--env", "x", "--learning-rate", "-1"], "learning_rate must be above 0, not -1.0."),
        (["ppo", "--env", "x", "--steps", "many"], "steps must be a whole number, not 'many'."),
        (["ppo", "--env", "x", "--steps", "0"], "steps must be above 0, not 0."),
        (["ppo", "--env", "x", "--core", "gur"], "core must be none, gru or lstm, not 'gur'."),
        (["ppo", "--env", "x", "--anneal=maybe"], "--anneal"),
        (["ppo", "--env", "x", "--bonus", "rdn"], "there is no intrinsic reward 'rdn': did you mean rnd"),
        (["ppo", "--env", "x", "--bonus", "rnd", "--rnd.coef", "-1"], "rnd: coef must be at least 0, not -1.0."),
        (["ppo", "--env", "x", "--preset", "pepar"], "ppo has no preset 'pepar': did you mean paper"),
        (["ppo", "--env", "x", "fast"], "train ppo cannot use the word 'fast'"),
    ],
)
def test_mistakes_are_one_sentence(command, runs, words, sentence):
    assert sentence in command("train", *words).sentence
    assert runs == []


def test_an_unknown_environment_is_one_sentence(command):
    assert "did you mean MiniGrid-KeyCorridorS3R3-v0" in command("train", "ppo", "--env", "KeyCorridorS3R3-v0").sentence


def test_help_without_an_agent_lists_the_agents(command):
    out = command("train", "--help").out
    assert all(member.doc in out for member in registry.members("agent").values())


@pytest.mark.parametrize("agent", registry.members("agent"))
def test_help_of_an_agent_has_every_field_default_and_preset(command, agent):
    said = command("train", agent, "--help")
    text = " ".join(said.out.split())
    config = registry.load("agent", agent).Config
    for field in [*fields(TrainConfig), *fields(config)]:
        name = field.name.replace("_", "-")
        assert f"--{name} " in text or f"--no-{name} " in text, field
        assert field.doc, field
    assert all(name in text and doc in text for name, doc in presets.names(agent).items())


def test_help_shows_the_options_of_the_parts_that_are_named(command):
    assert "--rnd.coef" in command("train", "ppo", "--bonus", "rnd", "--help").out
    assert "--rnd.coef" not in command("train", "ppo", "--help").out


@pytest.mark.parametrize("door", [door for door in registry.DOORS if door != "env"])
def test_every_member_has_help_for_every_field(door):
    for name in registry.members(door):
        assert all(field.doc for field in fields(registry.load(door, name).Config)), name
