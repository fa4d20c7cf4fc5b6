"""`plot` and its figure: reading runs, naming lines, and a picture that is really drawn."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.commands.figure import Curve, Spot, apart, band, curves, smoothed, spread
from agents.commands.plot import _spot, labels
from envs.errors import UsageError


def write_run(folder, returns, first=0):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    rows = [
        {"step": 100 * (first + i), "update": i, "episode_return": y, "clock": {"seconds": i / 2}}
        for i, y in enumerate(returns)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_a_figure_of_runs_with_and_without_seeds(command, tmp_path):
    import imageio.v3 as imageio

    write_run(tmp_path / "ppo", ["nan", 0.0, 0.1])
    for seed in range(2):
        write_run(tmp_path / "bebold" / f"seed-{seed}", [0.0, 0.5, 0.9 + 0.1 * seed])
    out = tmp_path / "deep" / "figure.png"
    said = command("plot", tmp_path / "ppo", "--out", out, tmp_path / "bebold", "--json")
    assert said.result == {
        "figure": str(out),
        "metric": "episode_return",
        "x": "step",
        "runs": [{"run": "ppo", "seeds": 1, "last": [0.1]}, {"run": "bebold", "seeds": 2, "last": [0.9, 1.0]}],
    }
    picture = imageio.imread(out)[..., :3]
    for colour in ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)):  # the first two of the palette
        assert (np.abs(picture.astype(int) - colour).sum(-1) < 12).sum() > 200


def test_seconds_come_from_the_clock(command, tmp_path):
    run = write_run(tmp_path / "ppo", [0.0, 0.1])
    said = command("plot", run, "--x", "seconds", "--out", tmp_path / "f.svg", "--json")
    assert said.result["x"] == "clock/seconds"
    assert (tmp_path / "f.svg").read_text().startswith("<?xml")


def test_mistakes_are_one_sentence(command, tmp_path):
    run = write_run(tmp_path / "ppo", [0.0, 0.1])
    assert command("plot").sentence.startswith("plot needs the folders of one or more runs")
    assert "no metric 'episode_retrn': did you mean episode_return" in (
        command("plot", run, "--metric", "episode_retrn").sentence
    )
    assert "name it .png, .pdf or .svg" in command("plot", run, "--out", tmp_path / "f.doc").sentence
    assert "cannot be written" in command("plot", run, "--out", run / "config.json" / "f.png").sentence
    assert "smooth must be above 0, not 0." in command("plot", run, "--smooth", "0").sentence
    empty = write_run(tmp_path / "empty", [])
    assert "empty has no episode_return over step." in command("plot", run, empty).sentence


def test_labels_tell_folders_apart():
    found = labels(["/r/a/ppo", "/r/b/ppo", "/r/rnd", "/r/rnd/", "/r/rnd/seed-1"])
    assert list(found) == ["a/ppo", "b/ppo", "rnd", "rnd/seed-1"]


def test_seeds_are_averaged_where_all_are_known():
    a = Curve(np.array([0.0, 2.0, 4.0]), np.array([0.0, 2.0, 4.0]))
    b = Curve(np.array([1.0, 3.0]), np.array([3.0, 5.0]))
    found = band([a, b], "x")
    np.testing.assert_allclose(found.x, [1, 2, 3])
    np.testing.assert_allclose(found.mean, [2, 3, 4])
    np.testing.assert_allclose(found.low, [1, 2, 3])
    np.testing.assert_allclose(found.high, [3, 4, 5])
    with pytest.raises(UsageError, match="no stretch in common"):
        band([a, Curve(np.array([5.0]), np.array([1.0]))], "x")


def test_smoothing_keeps_straight_lines_and_has_no_lag():
    x = np.arange(9.0)
    np.testing.assert_allclose(smoothed(Curve(x, 2 * x + 1), 5).y, 2 * x + 1)
    spike = np.zeros(9)
    spike[4] = 1.0
    np.testing.assert_allclose(smoothed(Curve(x, spike), 3).y, [0, 0, 0, 1 / 3, 1 / 3, 1 / 3, 0, 0, 0])
    np.testing.assert_allclose(smoothed(Curve(x, spike), 1).y, spike)


@settings(deadline=None)  # the first example imports SciPy
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_labels_keep_their_order_and_distance(heights):
    places = apart(heights, 0.05, 0.0, 1.0)
    order = np.argsort(heights, kind="stable")
    assert (np.diff(places[order]) >= 0.05 - 1e-9).all()
    assert places.min() >= -1e-9
    assert places.max() <= 1 + 1e-9


def test_labels_that_have_room_stay():
    np.testing.assert_allclose(apart([0.9, 0.1, 0.5], 0.05, 0.0, 1.0), [0.9, 0.1, 0.5])
    np.testing.assert_allclose(apart([0.5, 0.5], 0.1, 0.0, 1.0), [0.45, 0.55])


def test_more_groups_than_colours(tmp_path):
    line = Curve(np.array([0.0, 1.0]), np.array([0.0, 1.0]))
    groups = {f"run {i}": [line] for i in range(9)}
    assert curves(groups, tmp_path / "many.png", x_label="x", y_label="y", title="many").stat().st_size > 0


def test_one_metric_against_another_is_a_spot_for_each_run(command, tmp_path):
    for name, cost in (("d4pg", 0.4), ("meta_l", 0.2)):
        for seed in range(2):
            run = write_run(tmp_path / name / f"seed-{seed}", [0.0, 10.0 + seed])
            rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
            rows = [row | {"cost": cost, "threshold": 0.1} for row in rows]
            (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "balance.svg"
    said = command("plot", tmp_path / "d4pg", tmp_path / "meta_l", "--against", "cost", "--out", out, "--json")
    assert said.result["x"] == "cost"
    assert [run["last"] for run in said.result["runs"]] == [[10.0, 11.0], [10.0, 11.0]]
    assert "allowed" in out.read_text()  # all have one threshold
    spot = _spot([[{"step": 1, "cost": 0.1, "r": 5.0}], [{"step": 1, "cost": 0.3, "r": 9.0}]], "cost", "r", "x")
    assert spot == Spot(0.2, (0.1, 0.3), 7.0, (5.0, 9.0))


def test_spots_have_their_names_in_order_and_crosses(tmp_path):
    import imageio.v3 as imageio

    spots = {"low": Spot(0.1, (0.0, 0.2), 1.0, (0.5, 1.5)), "high": Spot(0.3, (0.3, 0.3), 2.0, (2.0, 2.0))}
    path = spread(spots, tmp_path / "s.png", x_label="cost", y_label="return", title="both", limit=0.15)
    picture = imageio.imread(path)[..., :3].astype(int)
    for colour in ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)):
        assert (np.abs(picture - colour).sum(-1) < 12).sum() > 50
    with pytest.raises(UsageError, match=r"name it \.png"):
        spread(spots, tmp_path / "s.doc", x_label="", y_label="", title="")
