import contextlib
import dataclasses
import io
import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.training import metrics, provenance
from agents.training.metrics import Metrics
from agents.training.progress import Progress, count, duration, size
from envs.contract import Array, Discrete, EnvSpec
from envs.errors import UsageError

# METRICS


def test_lines_are_exact_and_clocks_stand_apart(tmp_path):
    tenth = np.float32(0.1)
    values = {
        "loss": jnp.asarray(0.1, jnp.float32),
        "half": jnp.asarray(0.1, jnp.bfloat16),
        "return": np.float64(0.1),
        "episodes": np.int64(3),
        "solved": jnp.asarray(True),
        "gap": float("nan"),
        "top": np.float32("inf"),
        "bottom": -float("inf"),
    }
    with Metrics(tmp_path, tensorboard=False) as writer:
        writer.write(8, 1, values, {"steps_per_second": 12.5})
        writer.write(16, 2, {})
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert lines[0] == (
        '{"step": 8, "update": 1, "loss": 0.10000000149011612, "half": 0.10009765625, "return": 0.1, "episodes": 3, '
        '"solved": true, "gap": "nan", "top": "inf", "bottom": "-inf", "clock": {"steps_per_second": 12.5}}'
    )
    assert lines[1] == '{"step": 16, "update": 2, "clock": {}}'
    first = metrics.read(tmp_path)[0]
    assert np.float32(first["loss"]) == tenth
    assert np.isnan(first["gap"])
    assert (first["top"], first["bottom"], first["solved"]) == (np.inf, -np.inf, True)
    assert metrics.read(tmp_path / "metrics.jsonl") == metrics.read(tmp_path) or np.isnan(first["gap"])


@pytest.mark.parametrize("values", [{"step": 1}, {"clock": 1.0}, {"x": np.ones(2)}, {"x": "text"}, {"x": None}])
def test_what_is_no_metric_is_refused_and_writes_nothing(tmp_path, values):
    with Metrics(tmp_path, tensorboard=False) as writer:
        with pytest.raises(ValueError, match="metric"):
            writer.write(1, 1, values)
        assert writer.position() == 0


def run_metrics(folder, updates, **options):
    """Writes `updates` (a range) and returns the positions after each."""
    with Metrics(folder, **options) as writer:
        positions = []
        for update in updates:
            writer.write(update * 10, update, {"loss": 1 / (update + 1)}, {})
            positions.append(writer.position())
    return positions


def test_a_resumed_file_equals_the_uninterrupted_one(tmp_path):
    run_metrics(tmp_path / "whole", range(6), tensorboard=False)
    positions = run_metrics(tmp_path / "cut", range(4), tensorboard=False)
    with (tmp_path / "cut" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 40, "upd')  # killed in the middle of a line
    assert len(metrics.read(tmp_path / "cut")) == 4
    assert positions[-1] < (tmp_path / "cut" / "metrics.jsonl").stat().st_size
    run_metrics(tmp_path / "cut", range(2, 6), resume_at=positions[1], tensorboard=False)
    assert (tmp_path / "cut" / "metrics.jsonl").read_bytes() == (tmp_path / "whole" / "metrics.jsonl").read_bytes()


def test_a_file_that_is_not_the_checkpoints_is_refused_untouched(tmp_path):
    end = run_metrics(tmp_path, range(3), tensorboard=False)[-1]
    before = (tmp_path / "metrics.jsonl").read_bytes()
    with pytest.raises(UsageError, match=f"is {end} bytes long, but the checkpoint was written when it had {end + 1}"):
        Metrics(tmp_path, resume_at=end + 1, tensorboard=False)
    with pytest.raises(UsageError, match=f"no line ends at byte {end - 3}"):
        Metrics(tmp_path, resume_at=end - 3, tensorboard=False)
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


def test_unreadable_metrics_are_refused(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        metrics.read(tmp_path)
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\nnonsense\n')
    with pytest.raises(UsageError, match="Line 2"):
        metrics.read(tmp_path)


def test_tensorboard_shows_each_step_once_after_a_resume(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    positions = run_metrics(tmp_path, range(4))
    run_metrics(tmp_path, range(2, 5), resume_at=positions[1])
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [
        (update * 10, np.float32(1 / (update + 1))) for update in range(5)
    ]


def test_wandb_gets_the_numbers_and_one_id_for_all_starts(tmp_path, monkeypatch):
    calls = []
    tracker = SimpleNamespace(log=lambda values, step: calls.append((step, values)), finish=lambda: calls.append("end"))

    def init(**options):
        calls.append(options)
        return tracker

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    for _ in range(2):
        with Metrics(tmp_path, tensorboard=False, wandb="rooms", config={"lr": np.float32(0.5)}) as writer:
            writer.write(5, 1, {"loss": 0.5}, {"seconds": 2})
    first, second = calls[0], calls[3]
    assert first == second
    assert (first["project"], first["config"], first["resume"]) == ("rooms", {"lr": 0.5}, "allow")
    assert "mode" not in first  # so that WANDB_MODE decides
    assert calls[1:3] == [(5, {"loss": 0.5, "clock/seconds": 2.0}), "end"]


@pytest.mark.parametrize(
    ("package", "options", "sentence"),
    [("wandb", {"wandb": "rooms"}, r"auxin\[wandb\]"), ("tensorboardX", {}, "tensorboardX is not installed")],
)
def test_a_missing_package_is_named_before_anything_is_cut(tmp_path, monkeypatch, package, options, sentence):
    run_metrics(tmp_path, range(2), tensorboard=False)
    before = (tmp_path / "metrics.jsonl").read_bytes()
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=sentence):
        Metrics(tmp_path, **options)
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


# PROGRESS


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_one_line_per_interval_when_not_a_terminal():
    clock, stream = Clock(), io.StringIO()
    with Progress(100_000, "train", interval=10, stream=stream, clock=clock) as progress:
        for step in range(0, 25_000, 1000):  # one update a second
            progress.update(step, {"return": 0.83333, "success": float("nan")})
            clock.now += 1
    lines = stream.getvalue().splitlines()
    assert [line.split("  ")[1] for line in lines] == [f"{k}/100.0k steps" for k in ("10.0k", "20.0k", "24.0k")]
    assert lines[1].startswith("train  20.0k/100.0k steps  20%  1.0k/s  ETA 1m20s  return 0.833  ")
    assert lines[1].endswith("B")
    assert "success" not in stream.getvalue()


def test_the_rate_is_that_of_the_last_half_minute_and_of_this_start():
    clock, stream = Clock(), io.StringIO()
    with Progress(2_000_000, "train", interval=1, stream=stream, clock=clock) as progress:
        progress.update(1_000_000, {})  # a resumed run has not done these itself
        for step in range(1_001_000, 1_150_000, 1000):
            clock.now += 1 if step < 1_050_000 else 0.5
            progress.update(step, {})
    lines = stream.getvalue().splitlines()
    assert "1.0k/s" in lines[1]
    assert "2.0k/s" in lines[-1]


def test_quiet_says_nothing(capsys):
    with Progress(10, "train", interval=0, quiet=True) as progress:
        progress.update(5, {"return": 1.0})
    with Progress(10, "train") as progress:  # closed before any update
        pass
    assert capsys.readouterr() == ("", "")


def test_stdout_belongs_to_results(capsys):
    with Progress(10, "train", interval=0) as progress:
        progress.update(5, {})
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("train  5/10 steps  50%")


def test_a_bar_on_a_terminal():
    main, side = pty.openpty()
    clock = Clock()
    with os.fdopen(side, "w") as stream:
        with Progress(200, "train", stream=stream, clock=clock) as progress:
            for step in range(0, 101, 10):
                progress.update(step, {"return": 0.5})
                clock.now += 1
            stdout = sys.stdout
        assert stdout is sys.stdout
    shown = ""
    with contextlib.suppress(OSError):  # a terminal gives what it has bit by bit, and an error once all is read
        while part := os.read(main, 1 << 16):
            shown += part.decode(errors="ignore")
    os.close(main)
    assert "train" in shown
    assert "100/200 steps" in shown
    assert "━" in shown or "-" in shown


def test_numbers_for_people():
    assert [count(n) for n in (0, 950, 999.4, 1000, 13_400, 999_960, 1_200_000, 2e9)] == [
        *("0", "950", "999", "1.0k", "13.4k", "1.0M", "1.2M", "2.0G")
    ]
    assert [duration(s) for s in (0.2, 45, 59.6, 130, 11_100, 187_200)] == [
        "0s",
        "45s",
        "1m00s",
        "2m10s",
        "3h05m",
        "2d04h",
    ]
    assert [size(n) for n in (612e6, 1.34e9, 999.9e6)] == ["612 MB", "1.3 GB", "1.0 GB"]


# PROVENANCE

SPEC = EnvSpec("Chain-v0", "auxin 0.1.0", Array((2,), "float32"), Discrete(2))


def test_provenance_is_plain_and_complete(tmp_path):
    record = provenance.provenance(7, SPEC)
    provenance.write_json(tmp_path / "result.json", record)
    assert json.loads((tmp_path / "result.json").read_text()) == record
    assert record["seed"] == 7
    assert record["env"] == {"id": "Chain-v0", "version": "auxin 0.1.0"}
    assert record["packages"]["jax"] == jax.__version__
    assert record["packages"]["numpy"] == np.__version__
    assert record["packages"]["auxin"] == "0.1.0"
    assert record["hardware"]["cores"] == len(os.sched_getaffinity(0))
    assert len(record["hardware"]["devices"]) == jax.device_count()


def git(folder, *arguments):
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_commit_of_a_source_tree(tmp_path):
    assert provenance.commit(tmp_path) is None
    git(tmp_path, "init")
    assert provenance.commit(tmp_path) is None
    (tmp_path / "a.py").write_text("a = 1\n")
    git(tmp_path, "add", "a.py")
    git(tmp_path, "commit", "-m", "first")
    head = provenance.commit(tmp_path)
    assert len(head) == 40
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "metrics.jsonl").write_text("")  # what a run leaves there changes no source
    assert provenance.commit(tmp_path) == head
    (tmp_path / "a.py").write_text("a = 2\n")
    assert provenance.commit(tmp_path) == head + "+dirty"
    assert provenance.commit(tmp_path / "runs") is None  # inside a tree, but not the tree


def test_json_is_written_whole_or_not_at_all(tmp_path):
    @dataclasses.dataclass
    class Config:
        rate: float
        sizes: tuple[int, ...]

    path = tmp_path / "deep" / "result.json"
    provenance.write_json(path, {"config": Config(float("nan"), (1, 2)), "curve": jnp.ones(2), "at": Path("x")})
    assert json.loads(path.read_text()) == {"config": {"rate": "nan", "sizes": [1, 2]}, "curve": [1.0, 1.0], "at": "x"}
    with pytest.raises(TypeError, match="object has no place in JSON"):
        provenance.write_json(path, {"x": object()})
    assert json.loads(path.read_text())["at"] == "x"
    assert list(path.parent.iterdir()) == [path]
