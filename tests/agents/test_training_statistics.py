import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from agents.training.statistics import interval, iqm, linear_probe, summary
from envs.errors import UsageError


def test_iqm_by_hand():
    assert iqm([0, 1, 2, 3, 4, 5, 6, 100]) == pytest.approx((2 + 3 + 4 + 5) / 4)
    assert iqm([[100, 1], [2, 0]]) == pytest.approx(1.5)
    assert iqm([1.0, 2.0, 6.0]) == pytest.approx(3.0)  # fewer than four: nothing is cut
    np.testing.assert_allclose(iqm([[0, 1, 2, 9], [4, 4, 6, 0]], axis=-1), [1.5, 4.0])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40))
def test_iqm_is_the_mean_of_the_middle_half(scores):
    cut = len(scores) // 4
    middle = sorted(scores)[cut : len(scores) - cut]
    assert iqm(scores) == pytest.approx(sum(middle) / len(middle), abs=1e-6)


def exact_means(table):
    """The mean of every possible resample of `table`, all equally likely: first runs, then episodes of each."""
    runs, episodes = table.shape
    draws = list(itertools.product(range(episodes), repeat=episodes))
    means = []
    for chosen in itertools.product(range(runs), repeat=runs):
        for picked in itertools.product(draws, repeat=runs):
            means.append(np.mean([table[run, list(pick)] for run, pick in zip(chosen, picked, strict=True)]))
    return np.array(means)


@pytest.mark.parametrize("table", [[[1.0], [2.0], [4.0]], [[0.0, 1.0, 4.0]], [[0.0, 1.0], [5.0, 7.0]]])
@pytest.mark.parametrize("confidence", [0.5, 0.8])
def test_interval_is_the_quantile_of_all_resamples(table, confidence):
    exact = exact_means(np.array(table))
    low, high = interval(table, np.mean, confidence=confidence, samples=20_000)
    # The sampled quantile lies between the exact ones a little to either side.
    for found, level in ((low, (1 - confidence) / 2), (high, (1 + confidence) / 2)):
        around = np.quantile(exact, [level - 0.02, level + 0.02], method="nearest")
        assert around[0] - 1e-9 <= found <= around[1] + 1e-9


def test_runs_alone_are_a_column_and_chunks_change_nothing(monkeypatch):
    scores = np.random.default_rng(0).normal(size=12)
    assert interval(scores) == interval(scores[:, None])
    whole = interval(scores, samples=500)
    monkeypatch.setattr("agents.training.statistics._CHUNK", 12 * 100_000)
    assert interval(scores, samples=500) == whole
    assert interval(scores, samples=500, seed=1) != whole


def test_equal_scores_have_no_width():
    assert summary(np.full((3, 5), 0.25)) == {"iqm": 0.25, "low": 0.25, "high": 0.25, "mean": 0.25, "n": 15}


def test_summary_agrees_with_its_parts():
    scores = np.random.default_rng(3).exponential(size=(4, 25))
    found = summary(scores, confidence=0.9, samples=300, seed=5)
    low, high = interval(scores, iqm, 0.9, 300, 5)
    assert found == {"iqm": iqm(scores), "low": low, "high": high, "mean": scores.mean(), "n": 100}
    assert low < found["iqm"] < high


def coverage(draw, truth, statistic, trials=300):
    """How many of `trials` 90% intervals hold the truth."""
    random = np.random.default_rng(0)
    inside = 0
    for trial in range(trials):
        low, high = interval(draw(random), statistic, confidence=0.9, samples=400, seed=trial)
        inside += low <= truth <= high
    return inside / trials


def test_intervals_cover_the_truth_over_runs():
    # The IQM of an exponential: the mean of what lies between its quartiles.
    truth = stats.expon.expect(lb=stats.expon.ppf(0.25), ub=stats.expon.ppf(0.75), conditional=True)
    assert coverage(lambda random: random.exponential(size=40), truth, iqm) == pytest.approx(0.9, abs=0.05)


def test_intervals_cover_the_truth_over_runs_and_episodes():
    # Runs that differ among themselves: resampling episodes alone would cover less than half of the time.
    def draw(random):
        return random.normal(size=(20, 1)) + random.normal(size=(20, 15))

    assert coverage(draw, 0.0, np.mean) == pytest.approx(0.9, abs=0.05)


@pytest.mark.parametrize("scores", [[], [[]], [1.0, float("nan")], [1.0, float("inf")], 3.0])
def test_scores_that_mean_nothing_are_refused(scores):
    with pytest.raises(UsageError, match="cores must be"):
        interval(scores)


def test_confidence_out_of_range_is_refused():
    with pytest.raises(UsageError, match=r"between 0 and 1, not 95"):
        interval([1.0, 2.0], confidence=95)


def test_a_probe_reads_what_is_there_and_nothing_else():
    random = np.random.default_rng(0)
    tasks = random.normal(size=(40, 2))
    beliefs = np.concatenate([tasks @ random.normal(size=(2, 3)), random.normal(size=(40, 2))], 1)
    assert linear_probe(beliefs, tasks).mean() > 0.95
    assert linear_probe(random.normal(size=(40, 5)), tasks).mean() < 0.1
    half = linear_probe(np.concatenate([tasks[:, :1], random.normal(size=(40, 1))], 1), tasks).mean()
    assert half == pytest.approx(0.5, abs=0.15)


def test_a_probe_leaves_each_task_out_of_its_own_fit():
    random = np.random.default_rng(1)
    beliefs, tasks = random.normal(size=(12, 3)), random.normal(size=(12, 1))
    x = (beliefs - beliefs.mean(0)) / beliefs.std(0)
    x = np.concatenate([np.ones((12, 1)), x], 1)
    for one in range(12):
        others = np.arange(12) != one
        a, b = x[others], tasks[others]
        weights = np.linalg.solve(a.T @ a + np.diag([1e-9, 1, 1, 1]), a.T @ b)
        error = (tasks[one] - x[one] @ weights).item()
        found = linear_probe(beliefs, tasks)[one]
        assert found == pytest.approx(1 - error**2 / tasks.var(), rel=1e-6)
