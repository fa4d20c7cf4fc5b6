"""`demo`: both agents alike but for the bonus, and a whole demo of a few steps, then shown again."""

import json

import pytest

import agents
import envs
from agents.commands.demo import Config, draw, without_bonus
from envs.errors import UsageError


@pytest.mark.parametrize("base", ["ppo", "impala"])
def test_without_bonus_everything_else_is_the_same(base):
    pytest.importorskip("envpool")
    spec = envs.make("MiniGrid-Empty-5x5-v0").spec
    with_bonus = agents.make("bebold", spec, base=base, entropy_cost=0.02, **{"bebold.coef": 0.3, "adam.b1": 0.8})
    plain = without_bonus(with_bonus, spec)
    assert plain.name == base
    assert plain.config["bonus"] == ""
    assert plain.config["adam.b1"] == 0.8
    assert not any(name.startswith("bebold.") for name in plain.config)
    differing = {name for name in plain.config if plain.config[name] != with_bonus.config[name]}
    assert differing == {"bonus"}


def test_a_demo_is_made_once_and_shown_again(command, tmp_path):
    pytest.importorskip("envpool")
    pytest.importorskip("minigrid")
    words = (
        "demo",
        "--task",
        "MiniGrid-Empty-5x5-v0",
        "--backend",
        "host",
        "--steps",
        "16384",
        "--out",
        tmp_path,
        "--json",
    )
    first = command(*words)
    assert first.code == 0
    assert list(first.result["agents"]) == ["BeBold", "no bonus"]
    for found in first.result["agents"].values():
        assert found["step"] == 16384
        assert 0 <= found["success_low"] <= found["success"] <= found["success_high"] <= 1
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "agent.gif").read_bytes().startswith(b"GIF8")
    kept = (tmp_path / "bebold/metrics.jsonl").read_bytes()

    again = command(*words)
    assert again.result["agents"] == first.result["agents"]
    assert (tmp_path / "bebold/metrics.jsonl").read_bytes() == kept
    assert "--fresh begins the demo anew" in command(*words, "--seed", "1").err
    assert json.loads((tmp_path / "bebold/config.json").read_text())["train"]["seed"] == 0


def test_a_demo_too_short_for_an_episode_says_so(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 64, "update": 1, "success": 1.0, "episodes": 3, "clock": {}}\n')
    with pytest.raises(UsageError, match="fewer than 128 episodes ended in 64 steps: give the demo more --steps"):
        draw({"BeBold": tmp_path}, tmp_path / "curve.png", Config(steps=64))
