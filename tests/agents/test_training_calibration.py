"""Calibration: closed forms of a linear-Gaussian system, models too sure and too unsure, and where episodes end."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from agents.auxiliary.world_model import Believed, Predicted, WorldModel
from agents.training.calibration import QUANTILES, SHARES, Trail, Windows, follow, judge, levels, windows
from envs.errors import UsageError

DECAY, NOISE, REWARD_NOISE, HORIZON, PLACES, DRAWS = 0.9, 0.3, 0.5, 6, 1500, 60


def linear(noise=1.0, believes=True):
    """A model of `s' = 0.9 s + a + noise`, `r = s + noise`, with its deviations times `noise`."""

    def predict(key, state, obs, action):
        obs_key, reward_key = jax.random.split(key)
        after = DECAY * obs + action + state * noise * NOISE * jax.random.normal(obs_key, obs.shape)
        reward = obs[:, 0] + state * noise * REWARD_NOISE * jax.random.normal(reward_key, obs.shape[:1])
        return Predicted(after, reward, jnp.zeros(len(obs)))

    def believe(state, obs, action):
        spread = jnp.full(obs.shape, state * noise * NOISE)
        return Believed(DECAY * obs + action, spread, obs[:, 0], jnp.full(len(obs), state * noise * REWARD_NOISE))

    return WorldModel(lambda key: jnp.ones(()), None, predict, believe if believes else None)


def walk(time=HORIZON, places=PLACES, size=2, seed=0):
    """A trail of the linear system, without ends."""
    random = np.random.default_rng(seed)
    now, rows = random.normal(size=(places, size)), []
    for _ in range(time):
        action = random.uniform(-1, 1, (places, size))
        after = DECAY * now + action + NOISE * random.normal(size=now.shape)
        reward = now[:, 0] + REWARD_NOISE * random.normal(size=places)
        rows.append((now, action, np.concatenate([reward[:, None], after], 1)))
        now = after
    columns = [np.stack(column).astype(np.float32) for column in zip(*rows, strict=True)]
    return Trail(*columns, np.zeros((time, places), bool), np.ones((time, places), bool))


def starts(trail):
    """All places at time 0, so that every state is followed to the end."""
    return Windows(trail.obs[0], trail.action, trail.outcome, trail.counted)


def judged(model, seen, scale=None):
    followed = jax.jit(partial(follow, model, DRAWS))(jax.random.key(1), model.init(jax.random.key(0)), seen)
    return judge(jax.device_get(followed), seen, np.ones(seen.outcome.shape[-1]) if scale is None else scale)


def deviations():
    """What the system's noise alone makes of reward and state after each number of steps, `[H, 2]`."""
    state = NOISE * np.sqrt(np.cumsum(DECAY ** (2 * np.arange(HORIZON))))
    before = np.concatenate([[0.0], state[:-1]])
    return np.stack([np.sqrt(before**2 + REWARD_NOISE**2), state], 1)


@pytest.fixture(scope="module")
def exact():
    return judged(linear(), starts(walk()))


def test_of_a_model_that_is_right_spread_and_error_are_those_of_the_noise(exact):
    expected = deviations()[:, [0, 1, 1]]
    np.testing.assert_allclose(exact.spread, expected, rtol=0.02)
    np.testing.assert_allclose(exact.error, expected, rtol=0.08)
    np.testing.assert_array_equal(exact.states, [PLACES] * HORIZON)


def test_of_a_model_that_is_right_each_interval_holds_its_share(exact):
    for share, covered in zip(SHARES, exact.covered, strict=True):
        np.testing.assert_allclose(covered, share, atol=4 * np.sqrt(share * (1 - share) / PLACES))
        np.testing.assert_allclose(covered.mean(), share, atol=0.012)


@pytest.mark.parametrize("believes", [True, False])
def test_of_a_model_that_is_right_as_many_real_values_lie_below_each_quantile(believes):
    found = judged(linear(believes=believes), starts(walk()))
    np.testing.assert_allclose(found.reliability, np.tile(QUANTILES[:, None], 3), atol=0.05)


def held(noise, share):
    """What share of real values the middle of the draws holds where their deviation is `noise` times the real one.

    Of `K` draws as many are below a real value `z` as a binomial says, and an even number in [0, 1] is added.
    """
    z = stats.norm.ppf((np.arange(2000) + 0.5) / 2000)[:, None]
    below = stats.binom.pmf(np.arange(DRAWS + 1), DRAWS, stats.norm.cdf(z / noise)).mean(0)
    edges = (0.5 + np.array([-share, share]) / 2) * (DRAWS + 1)
    low, high = np.clip(edges[:, None] - np.arange(DRAWS + 1), 0, 1)
    return (below * (high - low)).sum()


@pytest.mark.parametrize(("noise", "quarter"), [(0.5, 0.368), (2.0, 0.0887)])
def test_half_the_noise_is_overconfident_and_twice_the_noise_underconfident(noise, quarter):
    """Below the predicted quartile lie `P(z < -0.674 noise)` of the real values."""
    found = judged(linear(noise), starts(walk()))
    np.testing.assert_allclose(found.spread, noise * deviations()[:, [0, 1, 1]], rtol=0.02)
    np.testing.assert_allclose(found.error, deviations()[:, [0, 1, 1]], rtol=0.08)
    for share, covered in zip(SHARES, found.covered, strict=True):
        assert (covered < share - 0.1).all() if noise < 1 else (covered > share + 0.03).all()
        np.testing.assert_allclose(covered.mean(), held(noise, share), atol=0.012)
    np.testing.assert_allclose(found.reliability[5].mean(), quarter, atol=0.02)


def test_spread_and_error_are_in_units_of_the_data_and_what_never_varies_is_left_out(exact):
    found = judged(linear(), starts(walk()), scale=np.array([2.0, 0.5, 0.0]))
    np.testing.assert_allclose(found.spread[:, 0], exact.spread[:, 0] / 2, rtol=1e-6)
    np.testing.assert_allclose(found.error[:, 1], exact.error[:, 1] * 2, rtol=1e-6)
    for part in (found.spread, found.error, *found.covered, found.reliability):
        assert np.isnan(part[:, 2]).all()
        assert np.isfinite(part[:, :2]).all()


def test_the_model_goes_on_from_what_it_predicted_itself():
    """With an offset at each step its error grows as the offsets' sum, which a model set right each step would not."""
    offset = linear()._replace(believe=None)
    plain = offset.predict
    biased = offset._replace(
        predict=lambda key, state, obs, action: plain(key, state, obs, action)._replace(
            next_obs=plain(key, state, obs, action).next_obs + 1.0
        )
    )
    found = judged(biased, starts(walk()))
    sums = np.cumsum(DECAY ** np.arange(HORIZON))
    np.testing.assert_allclose(found.error[:, 1], np.sqrt(sums**2 + deviations()[:, 1] ** 2), rtol=0.03)


@pytest.mark.parametrize("draws", [2, 7])
def test_levels_are_even_however_few_the_draws(draws):
    random = np.random.default_rng(0)
    drawn, real = random.normal(size=(20000, draws, 1)), random.normal(size=(20000, 1))
    found = np.sort(np.asarray(levels(jax.random.key(0), jnp.asarray(drawn), jnp.asarray(real)))[:, 0])
    assert np.abs(found - np.linspace(0, 1, len(found))).max() < 0.015  # Kolmogorov and Smirnov's 0.0115 at 1%
    same = np.asarray(levels(jax.random.key(0), jnp.zeros((2000, draws, 1)), jnp.zeros((2000, 1))))
    np.testing.assert_allclose([same.mean(), same.std()], [0.5, 12**-0.5], atol=0.02)


# ------------------------------------------------------------------------------------------------------------- WINDOWS


def trail(lasts, counted=None):
    """A trail whose numbers say time and place: `100 place + time`."""
    lasts = np.asarray(lasts, bool)
    time, places = lasts.shape
    stamp = (100 * np.arange(places) + np.arange(time)[:, None]).astype(np.float32)[..., None]
    counted = np.ones_like(lasts) if counted is None else np.asarray(counted, bool)
    return Trail(stamp, stamp + 0.25, np.concatenate([stamp, stamp + 0.5], -1), lasts, counted)


def test_windows_follow_one_place_and_stop_with_the_episode():
    seen = windows(trail([[0, 0], [0, 1], [0, 0], [0, 0], [1, 0]]), horizon=3, states=100, seed=0)
    assert len(seen.obs) == 10
    for index, start in enumerate(seen.obs[:, 0]):
        time, place = int(start) % 100, int(start) // 100
        end = 5 if place == 0 or time > 1 else 2  # the step that ends an episode is still compared
        length = min(3, end - time)
        np.testing.assert_array_equal(seen.valid[:, index], np.arange(3) < length)
        np.testing.assert_array_equal(seen.action[:length, index, 0], start + np.arange(length) + 0.25)
        np.testing.assert_array_equal(seen.outcome[:length, index, 0], start + np.arange(length))


def test_steps_that_do_not_count_are_neither_begun_at_nor_compared():
    seen = windows(trail([[0], [0], [0], [1]], counted=[[1], [1], [0], [0]]), horizon=2, states=9, seed=0)
    np.testing.assert_array_equal(seen.obs[:, 0], [0, 1])
    np.testing.assert_array_equal(seen.valid, [[True, True], [True, False]])


def test_states_are_drawn_by_the_seed_without_repetition():
    long = trail(np.zeros((50, 2)))
    one, again, other = (windows(long, 2, 30, seed) for seed in (0, 0, 1))
    assert len(np.unique(one.obs)) == 30
    np.testing.assert_array_equal(one.obs, again.obs)
    assert not np.array_equal(one.obs, other.obs)


def test_what_follows_an_end_changes_nothing():
    whole = walk(time=8, places=300)
    lasts = whole.last.copy()
    lasts[3] = True
    other = whole.outcome.copy()
    other[4:] = 1e6
    counted = whole.counted & (np.arange(8) < 4)[:, None]
    seen = windows(whole._replace(last=lasts, outcome=other, counted=counted), horizon=4, states=1000, seed=0)
    found = judged(linear(), seen)
    np.testing.assert_array_equal(found.states[-1], (seen.valid[3]).sum())
    np.testing.assert_allclose(found.error, deviations()[:4, [0, 1, 1]], rtol=0.15)


def test_a_horizon_beyond_every_episode_is_one_sentence():
    with pytest.raises(UsageError, match="horizon of 4 is too long: of 4 states none is followed by more than 2 steps"):
        windows(trail([[0], [1], [0], [1]]), horizon=4, states=9, seed=0)
