"""Off-policy evaluation on the pendulum: who made the data, what a claim is judged by, and a run of a moment."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scripts.reproductions import off_policy_evaluation as study


def test_the_data_are_of_worse_policies_the_more_they_are_shifted():
    key = jax.random.key(0)
    bodies = jnp.array([jnp.pi, 1.0]) * jax.random.uniform(key, (16, 2), minval=-1.0, maxval=1.0)
    played = {
        name: study.play(policy, key, bodies) for name, policy in {"target": study.target, **study.SHIFTS}.items()
    }
    up = {name: float((steps.obs[:, 100:, 0] > 0.95).mean()) for name, steps in played.items()}
    assert up["target"] > 0.9
    assert up["strong"] < up["mild"] < 0.5
    assert all(np.abs(steps.action).max() <= 2 for steps in played.values())
    records = study.flat(played["mild"])
    np.testing.assert_array_equal(records.obs[1:200], records.next_obs[:199])


def test_a_claim_is_judged_pair_by_pair():
    luck = np.random.default_rng(0).normal(size=10) * 100  # of the data, the same for every weight
    values = np.stack([luck, luck + 1, luck - 1 - 0.1 * np.arange(10)], 1)
    claim = study._claim("mild", "value", (0.0, 0.1, 1.0), values, 0.975)
    assert claim["verdict"] == "held"
    assert "alpha 0.1: smaller by -1" in claim["grounds"]
    assert "alpha 1: smaller by 1.45" in claim["grounds"]
    assert study._claim("mild", "step", (0.0, 0.1), values[:, :2], 0.95)["verdict"] == "not reproduced"


@pytest.mark.slow
def test_a_run_tells_both_errors_of_every_weight():
    found = study.run(2, alphas=(0.0, 1.0), shifts=("mild",), transitions=400, most_epochs=2)
    assert [(row["data"], row["alpha"]) for row in found["rows"]] == [("mild", 0.0), ("mild", 1.0)]
    assert len(found["claims"]) == 2
    assert np.shape(found["per seed"]["mild"]["value"]) == (2, 2)
    json.dumps(found, allow_nan=False)
