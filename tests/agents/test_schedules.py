"""Schedules: constants and rules by hand, and logs that are played again."""

import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import schedules
from agents.schedules import Facts
from envs.errors import UsageError

CONFIG = {
    "schedule": "constant",
    "real_ratio": 0.05,
    "last_real_ratio": 0.5,
    "growth": 1.2,
    "ratio": 20.0,
    "horizon": (1, 15, 20, 150),
    "epoch": 1000,
    "fit_every": 250,
}


def facts(step, before=None, progress=0.0):
    zero = jnp.zeros(())
    before = step - 1 if before is None else before
    return Facts(jnp.int32(step), jnp.int32(before), jnp.float32(progress), zero, zero, zero, zero)


def settings(schedule, at):
    """What a schedule decides, inside `jit` as agents ask it."""
    decide = jax.jit(lambda at: schedule.decide(jax.random.key(0), schedule.init(jax.random.key(0)), at)[1])
    return decide(at)


def manual(**changes):
    return schedules.of(SimpleNamespace(**{**CONFIG, **changes}))


@pytest.mark.parametrize(("epoch", "steps"), [(0, 1), (20, 1), (85, 8), (150, 15), (300, 15)])
def test_the_horizon_grows_between_two_epochs(epoch, steps):
    assert settings(manual(), facts(1000 * epoch)).horizon == steps


def test_a_constant_horizon_and_one_that_grows_at_once():
    assert settings(manual(horizon=(3, 3, 0, 0)), facts(9999)).horizon == 3
    assert settings(manual(horizon=(1, 4, 0, 0)), facts(1000)).horizon == 4


def test_constants_stay():
    schedule = manual()
    for step in (0, 12_345):
        found = settings(schedule, facts(step, progress=0.7))
        assert (float(found.real_ratio), float(found.updates)) == (pytest.approx(0.05), 20)


def test_the_share_of_real_records_rises_linearly_with_the_run():
    schedule = manual(schedule="linear")
    found = [float(settings(schedule, facts(5, progress=p)).real_ratio) for p in (0, 0.5, 1)]
    np.testing.assert_allclose(found, [0.05, 0.275, 0.5], rtol=1e-6)


def test_or_by_a_factor_each_epoch_up_to_its_last_value():
    schedule = manual(schedule="exponential")
    found = [float(settings(schedule, facts(1000 * epoch + 999)).real_ratio) for epoch in (0, 1, 2, 12, 13)]
    np.testing.assert_allclose(found, [0.05, 0.06, 0.072, 0.05 * 1.2**12, 0.5], rtol=1e-5)


def test_the_model_is_fitted_whenever_so_many_steps_have_passed():
    schedule = manual(fit_every=100)
    due = [step for step in range(0, 401, 7) if settings(schedule, facts(step, step - 7)).fit]
    assert due == [0, 105, 203, 301]  # the first call at or beyond each multiple


def test_or_once_alone():
    schedule = manual(fit_every=0)
    assert [bool(settings(schedule, facts(step, step - 50)).fit) for step in range(0, 300, 50)] == [True] + 5 * [False]


def test_a_log_is_played_again(tmp_path):
    path = tmp_path / "schedule.json"
    knobs = {"real_ratio": [0.1, 0.4], "ratio": [10, 5], "horizon": [2, 3], "fit": [1, 0]}
    path.write_text(json.dumps({"every": 125, "steps": 250, "knobs": knobs}))
    schedule = manual(schedule=str(path))
    assert schedule.most_horizon == 3
    early, late = settings(schedule, facts(124, 120)), settings(schedule, facts(9999, 9990))
    np.testing.assert_allclose([early.real_ratio, early.updates, early.horizon], [0.1, 10, 2])
    np.testing.assert_allclose([late.real_ratio, late.updates, late.horizon], [0.4, 5, 3])
    fits = [bool(settings(schedule, facts(step, step - 25)).fit) for step in range(0, 500, 25)]
    assert fits == [True] + 19 * [False]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("not json", "is no schedule"),
        ('{"every": 5}', "is no schedule"),
        ('{"every": 0, "knobs": {"real_ratio": [1], "ratio": [1], "horizon": [1], "fit": [1]}}', "above 0"),
        ('{"every": 5, "knobs": {"real_ratio": [1, 1], "ratio": [1], "horizon": [1], "fit": [1]}}', "one length"),
        ('{"every": 5, "knobs": {"real_ratio": [], "ratio": [], "horizon": [], "fit": []}}', "one length"),
        ('{"every": 5, "knobs": {"real_ratio": [2], "ratio": [1], "horizon": [1], "fit": [1]}}', "within 0 and 1"),
        ('{"every": 5, "knobs": {"real_ratio": [1], "ratio": [1], "horizon": [0], "fit": [1]}}', "at least 1"),
    ],
)
def test_files_that_are_no_schedule_are_refused(tmp_path, text, sentence):
    path = tmp_path / "schedule.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=sentence):
        schedules.replayed(path)


def test_an_unknown_schedule_names_the_nearest():
    with pytest.raises(UsageError, match="linear"):
        manual(schedule="liner")
