"""N-step records beside a loop over the steps of each environment, with every kind of end and across adds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replay_records import Record, Stream, compiled, item, same

from envs.contract import TimeStep
from envs.errors import UsageError
from replay import n_step, ring, uniform


def by_hand(steps: list[Record], env: int, t: int, n: int, g: float) -> dict:
    """The record of step `t` of one environment, step by step."""
    reward = cost = 0.0
    factor = 1.0
    for k in range(n):
        after = steps[t + k].timestep
        reward += factor * after.reward[env]
        cost += factor * after.extras["cost"][env]
        discount = factor * after.discount[env]
        factor = g * discount
        if after.last[env]:
            break
    return {
        "obs": steps[t].start.obs[env],
        "action": steps[t].action[env],
        "log_prob": steps[t].extras["log_prob"][env],
        "reward": reward,
        "cost": cost,
        "discount": discount,
        "next_obs": after.next_obs[env],
        "last": after.last[env],
    }


@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from([(1, 1), (2, 3), (3, 1), (5, 2)]),
    st.lists(st.sampled_from([1, 2, 7]), min_size=1, max_size=7),
    st.integers(0, 1000),
)
def test_every_step_has_the_record_of_a_loop(shape, lengths, seed):
    n, envs = shape
    buffer = buffers[shape]
    stream = Stream(envs, seed)
    first = stream.take(lengths[0])
    state = buffer.add(buffer.init(item(first)), first)
    for length in lengths[1:]:
        state = buffer.add(state, stream.take(length))
    steps = stream.all
    expected = [by_hand(steps, env, t, n, 0.9) for t in range(len(steps) - n + 1) for env in range(envs)]
    assert int(state.inner.size) == len(expected)
    held = ring.records(state.inner, 512)
    for index, want in enumerate(expected):
        got = jax.tree.map(lambda leaf, index=index: leaf[index], held)
        assert (got.start.obs == want["obs"]).all()
        assert got.action == want["action"]
        assert got.extras["log_prob"] == want["log_prob"]
        assert (got.timestep.next_obs == want["next_obs"]).all()
        assert got.timestep.last == want["last"]
        assert got.timestep.reward == pytest.approx(want["reward"], abs=1e-5)
        assert got.timestep.extras["cost"] == pytest.approx(want["cost"], abs=1e-5)
        assert got.timestep.discount == pytest.approx(want["discount"], abs=1e-6)


buffers = {
    (n, envs): compiled(n_step.make(uniform.make(capacity=512), n=n, discount=0.9, envs=envs, summed=("cost",)))
    for n, envs in ((1, 1), (2, 3), (3, 1), (5, 2))
}


def test_truncation_bootstraps_and_termination_does_not():
    ends = {"truncated": (1.0, 0.9**2), "terminated": (0.0, 0.0)}
    for discount, expected in ends.values():
        buffer = n_step.make(uniform.make(capacity=8), n=5, discount=0.9)
        number = np.arange(7, dtype=np.float32)
        last = number == 2
        after = TimeStep(number + 1, number, np.where(last, discount, 1).astype(np.float32), last, number + 10, {})
        steps = Record((), after, number, {}, after)
        state = buffer.add(buffer.init(item(steps)), steps)
        held = ring.records(state.inner, 8).timestep
        assert int(state.inner.size) == 3
        np.testing.assert_allclose(held.reward[:3], [0 + 0.9 * 1 + 0.81 * 2, 1 + 0.9 * 2, 2], rtol=1e-6)
        np.testing.assert_allclose(held.discount[:3], [expected, expected / 0.9, expected / 0.81], rtol=1e-6)
        assert held.next_obs[:3].tolist() == [12, 12, 12]


def test_one_step_changes_nothing_but_the_way():
    plain, folded = uniform.make(capacity=64), n_step.make(uniform.make(capacity=64), n=1, envs=2)
    steps = Stream(2, seed=0).take(9)
    a, b = plain.add(plain.init(item(steps)), steps), folded.add(folded.init(item(steps)), steps)
    same(ring.records(a, 64), ring.records(b.inner, 64))


def test_what_is_not_finite_stays_in_its_episode():
    stream = Stream(1, seed=1, end=0.0)
    steps = stream.take(6)
    steps.timestep.last[2] = True
    steps.timestep.reward[3] = np.nan
    buffer = n_step.make(uniform.make(capacity=8), n=3)
    held = ring.records(buffer.add(buffer.init(item(steps)), steps).inner, 8).timestep
    assert np.isfinite(held.reward[:3]).all()
    assert np.isnan(held.reward[3])


def test_samples_and_priorities_go_through():
    from replay import prioritised

    buffer = n_step.make(prioritised.make(capacity=64, alpha=1.0), n=3, envs=2)
    steps = Stream(2, seed=0).take(9)
    state = buffer.add(buffer.init(item(steps)), steps)
    assert bool(buffer.can_sample(state, 14))
    assert not bool(buffer.can_sample(state, 15))
    state = buffer.update(state, jnp.arange(14), jnp.zeros(14).at[5].set(1e6))
    _, index, _ = buffer.sample(jax.random.key(0), state, 16)
    assert (np.asarray(index) == 5).all()


def test_mistakes_are_one_sentence():
    steps = Stream(2, seed=0).take(3)
    with pytest.raises(UsageError, match="'csot': did you mean cost"):
        n_step.make(uniform.make(), summed=("csot",)).init(item(steps))
    buffer = n_step.make(uniform.make(capacity=8), envs=4)
    with pytest.raises(UsageError, match="6 steps at once, which are not the same number of 4 envs"):
        buffer.add(buffer.init(item(steps)), steps)
    with pytest.raises(UsageError, match="n must be at least 1, not 0"):
        n_step.make(uniform.make(), n=0)
