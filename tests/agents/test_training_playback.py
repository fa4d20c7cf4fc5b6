"""Playback of NetHack: an episode in the terminal, and a film that does not grow without bound."""

import io
import re

import numpy as np
import pytest

import agents
import envs
from agents.training import playback, saved
from envs import terminal
from envs.errors import UsageError

STEPS = 6


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    pytest.importorskip("nle")
    env = envs.make("NetHackScore-v0", processes=False, max_steps=STEPS)
    agent = agents.make("impala", env.spec, unroll=4, channels=(), embed=2, hidden=(4,))
    out = tmp_path_factory.mktemp("playback") / "run"
    return agents.train(agent, env, out=str(out), steps=32, envs=2, quiet=True, tensorboard=False)


def test_training_reports_the_games_scores(run):
    (result,) = run.results
    assert result["final"]["depth"] == result["final"]["max_depth"] == 1
    assert 1 <= result["final"]["turns"] <= STEPS + 1
    assert result["final"]["score"] >= 0


def test_an_episode_in_the_terminal(run):
    stream = io.StringIO()
    found = playback.watch_run(run, seed=3, delay=0.0, stream=stream)
    assert found["episodes"] == 1
    assert found["env"] == "NetHackScore-v0"
    assert found["depth"] == found["max_depth"] == 1
    assert found["turns"] >= 1
    screens = stream.getvalue().split(terminal.HOME)[1:]
    assert len(screens) == STEPS
    for screen in screens:
        text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen)
        assert "Dlvl:1" in text
        assert "@" in text
    assert stream.getvalue().endswith("\x1b[?25h")
    assert found == playback.watch_run(run, seed=3, delay=0.0, stream=io.StringIO())


def test_a_film_of_the_terminal_ends_where_it_is_full(run, tmp_path):
    import imageio.v3 as imageio

    opened, path = saved.open_run(run), tmp_path / "play.gif"
    playback.record(opened, path, seed=3, greedy=True, most=STEPS - 2)
    frames = imageio.imread(path, index=None)
    assert frames.shape[1:] == (24 * 16, 80 * 8, 3)
    # Equal pictures in a row are one that is shown longer.
    shown = sum(imageio.immeta(path, index=index)["duration"] for index in range(len(frames)))
    assert shown == pytest.approx((STEPS - 2) * 1000 / 12, abs=10 * STEPS)
    engine = opened.env.open(3, 1, render=True)
    engine.reset()
    (first,) = engine.render()
    engine.close()
    assert np.abs(frames[0].astype(int) - first).max() <= 24  # but for the film's own few colours


def test_only_a_terminal_is_watched(run, monkeypatch):
    opened = saved.open_run(run)
    open_env = opened.env.open
    silent = opened.env._replace(open=lambda **how: open_env(**how)._replace(text=None))
    monkeypatch.setattr(saved, "open_run", lambda *_: opened._replace(env=silent))
    with pytest.raises(UsageError, match="NetHackScore-v0 has no terminal to watch: --video FILE films it"):
        playback.watch_run(run, stream=io.StringIO())
