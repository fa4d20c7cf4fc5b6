"""`multiply_reward`: the factor, what is kept, and that evaluation sees the same."""

import jax.numpy as jnp
import numpy as np
import pytest

from envs.contract import EnvSpec, TimeStep
from envs.errors import UsageError
from envs.wrappers import multiply_reward, parse

STEP = TimeStep(jnp.zeros(3), jnp.array([1.0, -2.0, 0.5]), jnp.ones(3), jnp.zeros(3, bool), jnp.zeros(3), {})


@pytest.mark.parametrize("evaluate", [False, True])
@pytest.mark.parametrize("factor", [0.0, -2.0, 0.5])
def test_rewards_are_multiplied_and_the_environments_own_is_kept(factor, evaluate):
    wrapper = parse("multiply_reward", **{"multiply_reward.factor": factor})
    state = wrapper.init(EnvSpec("X-v0", "1", (), None), 3)
    after, seen = wrapper.timestep(state, STEP, evaluate)
    np.testing.assert_allclose(seen.reward, factor * np.array([1.0, -2.0, 0.5]))
    np.testing.assert_array_equal(seen.extras["raw_reward"], STEP.reward)
    assert after == state


def test_an_inner_wrapper_keeps_the_environments_own():
    wrapper = parse("scale_reward+multiply_reward", **{"multiply_reward.factor": 3.0})
    _, seen = wrapper.timestep(wrapper.init(EnvSpec("X-v0", "1", (), None), 3), STEP, False)
    np.testing.assert_array_equal(seen.extras["raw_reward"], STEP.reward)


@pytest.mark.parametrize("factor", [float("inf"), float("nan")])
def test_the_factor_is_finite(factor):
    with pytest.raises(UsageError, match="must be finite"):
        multiply_reward(factor)
