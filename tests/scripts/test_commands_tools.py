"""`evaluate`, `export` and `list`: what they ask for and what they print."""

import pytest

from agents import registry

REPORT = {
    "run": "runs/x",
    "agent": "ppo",
    "env": "CartPole-v1",
    "step": 4096,
    "episodes": 7,
    "return_iqm": 0.912345,
    "return_low": 0.8,
    "return_high": 0.95,
    "return_mean": float("inf"),
    "length": 23.5,
}


@pytest.fixture
def asked(monkeypatch):
    calls = []

    def evaluate_run(run, **options):
        calls.append((run, options))
        return REPORT

    def export_run(*arguments):
        calls.append(arguments)
        return {"file": arguments[1], "bytes": 12}

    monkeypatch.setattr("agents.training.evaluation.evaluate_run", evaluate_run)
    monkeypatch.setattr("agents.training.export.export_run", export_run)
    return calls


def test_evaluate_defaults(command, asked):
    out = command("evaluate", "runs/x").out
    assert asked == [
        ("runs/x", {"episodes": 100, "seed": 1000, "greedy": True, "checkpoint": "best", "video": None}),
    ]
    assert "0.9123" in out
    assert "0.8 to 0.95" in out
    assert "success" not in out


def test_evaluate_options(command, asked, monkeypatch):
    success = {"success": 0.5, "success_low": 0.25, "success_high": 0.75, "video": "x.gif"}
    monkeypatch.setattr(
        "agents.training.evaluation.evaluate_run", lambda run, **o: asked.append((run, o)) or {**REPORT, **success}
    )
    out = command("evaluate", "--episodes", "7", "runs/x", "--sample", "--checkpoint", "last", "--video", "x.gif").out
    assert asked[0] == (
        "runs/x",
        {"episodes": 7, "seed": 1000, "greedy": False, "checkpoint": "last", "video": "x.gif"},
    )
    assert "25.0% to 75.0%" in out
    assert "x.gif" in out


def test_evaluate_shows_the_games_own_scores(command, monkeypatch):
    depth = {"max_depth": 1.25, "max_depth_low": 1.0, "max_depth_high": 1.5}
    monkeypatch.setattr("agents.training.evaluation.evaluate_run", lambda run, **options: {**REPORT, **depth})
    line = next(line for line in command("evaluate", "runs/x").out.splitlines() if "max depth" in line)
    assert "1.25" in line
    assert "1 to 1.5" in line


def test_evaluate_watches_an_episode_instead(command, asked, monkeypatch):
    watched = []
    monkeypatch.setattr(
        "agents.training.playback.watch_run", lambda run, **options: watched.append((run, options)) or REPORT
    )
    assert "0.9123" in command("evaluate", "runs/x", "--watch", "--delay", "0.5", "--seed", "7").out
    assert watched == [("runs/x", {"delay": 0.5, "seed": 7, "greedy": True, "checkpoint": "best"})]
    assert asked == []


def test_evaluate_json(command, asked):
    assert command("evaluate", "runs/x", "--json").result == {**REPORT, "return_mean": "inf"}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["evaluate"], "evaluate needs the folder of a run, such as runs/rooms."),
        (["evaluate", "a", "b"], "evaluate cannot use the word 'b'"),
        (["evaluate", "a", "--episodes", "0"], "episodes must be above 0, not 0."),
        (["evaluate", "a", "--seed", "-1"], "seed must be between 0 and 2147483647, not -1."),
        (["evaluate", "a", "--watch", "--video", "x.gif"], "take one of them"),
        (["evaluate", "a", "--delay", "-1"], "delay must be at least 0, not -1."),
        (["evaluate", "a", "--checkpoint", "bst"], "checkpoint must be best or last, not 'bst'."),
        (["export"], "export needs the folder of a run"),
        (["export", "a", "--out="], "out must be the name of a file, not empty."),
        (["export", "a", "--out"], "--out needs a value."),
        (["list", "agnts"], "there is no list of 'agnts': did you mean agents"),
    ],
)
def test_mistakes_are_one_sentence(command, asked, words, sentence):
    assert sentence in command(*words).sentence
    assert asked == []


@pytest.mark.parametrize("name", ["evaluate", "export", "plot"])
def test_a_folder_that_holds_no_run(command, tmp_path, name):
    assert "holds no run" in command(name, tmp_path / "nothing").sentence


def test_export(command, asked):
    assert command("export", "runs/x", "--out", "p.bin", "--json").result == {"file": "p.bin", "bytes": 12}
    assert "p.bin" in command("export", "runs/x", "--out", "p.bin", "--checkpoint", "last").out
    assert asked == [("runs/x", "p.bin", "best"), ("runs/x", "p.bin", "last")]


def test_list_json(command):
    result = command("list", "--json").result
    assert list(result) == ["agents", "envs", "auxiliaries"]
    assert {"ppo", "impala", "bebold"} <= {agent["name"] for agent in result["agents"]}
    assert all(set(entry) == {"name", "doc"} for entry in result["agents"])
    assert all(set(entry) == {"name", "suite", "backends", "doc"} for entry in result["envs"])
    corridor = next(entry for entry in result["envs"] if entry["name"] == "MiniGrid-KeyCorridorS3R3-v0")
    assert corridor["backends"] == ["host", "reference", "device"]
    assert all(set(entry) == {"name", "door", "doc", "status"} for entry in result["auxiliaries"])
    assert {"name": "rnd", "door": "intrinsic reward", "status": "ready"}.items() <= next(
        entry for entry in result["auxiliaries"] if entry["name"] == "rnd"
    ).items()
    assert {entry["door"] for entry in result["auxiliaries"]} <= set(registry.DOORS) - {"env", "agent"}


def test_list_takes_kinds(command):
    assert list(command("list", "envs", "--json").result) == ["envs"]
    out = command("list", "auxiliaries", "agents").out
    assert "noveld" in out
    assert "CartPole" not in out


def test_a_broken_file_is_said_to_be(command, tmp_path, monkeypatch):
    door = registry.DOORS["intrinsic reward"]
    (tmp_path / door.folder).mkdir(parents=True)
    (tmp_path / door.folder / "oops.py").write_text("def make(:\n")
    monkeypatch.setattr(registry, "ROOT", tmp_path)
    (entry,) = command("list", "auxiliaries", "--json").result["auxiliaries"]
    assert (entry["name"], entry["status"]) == ("oops", "broken")
    assert "broken: " in command("list", "auxiliaries").out
