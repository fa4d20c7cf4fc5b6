"""Distributions against distrax, golden numbers, and the edges: masks, bounds, extreme parameters."""

from functools import partial

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.networks import Categorical, MultiCategorical, Normal, SquashedNormal, for_action
from envs.contract import Box, Discrete, MultiDiscrete
from envs.errors import UsageError

KEY = jax.random.key(0)
LOW, HIGH = (-2.0, 0.0, 1.0), (2.0, 1.0, 5.0)


def _random(seed: int, *shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@partial(jax.jit, static_argnums=1)
def _draws(dist, n: int) -> jax.Array:
    return jax.vmap(dist.sample)(jax.random.split(KEY, n))


def _squashed_oracle(mean: jax.Array, log_std: jax.Array) -> distrax.Distribution:
    low, high = jnp.asarray(LOW), jnp.asarray(HIGH)
    squash = distrax.Chain([distrax.ScalarAffine((low + high) / 2, (high - low) / 2), distrax.Tanh()])
    return distrax.Transformed(distrax.MultivariateNormalDiag(mean, jnp.exp(log_std)), distrax.Block(squash, 1))


@jax.jit
def _numbers(dist, other, action) -> dict[str, jax.Array]:
    return {"log_prob": dist.log_prob(action), "entropy": dist.entropy(), "kl": dist.kl(other), "mode": dist.mode()}


def _same(mine: dict[str, jax.Array], theirs: dict[str, jax.Array], tolerance: float = 1e-4) -> None:
    for name, expected in theirs.items():
        np.testing.assert_allclose(mine[name], expected, rtol=tolerance, atol=tolerance, err_msg=name)


@jax.jit
def _categorical_oracle(logits: jax.Array, others: jax.Array, action: jax.Array) -> dict[str, jax.Array]:
    oracle, other = distrax.Categorical(logits), distrax.Categorical(others)
    return {
        "log_prob": oracle.log_prob(action),
        "entropy": oracle.entropy(),
        "kl": oracle.kl_divergence(other),
        "mode": oracle.mode(),
    }


def test_categorical_agrees_with_distrax():
    mine, theirs = Categorical(_random(1, 4, 5)), Categorical(_random(2, 4, 5))
    action = mine.sample(KEY)
    assert action.dtype == jnp.int32
    _same(_numbers(mine, theirs, action), _categorical_oracle(mine.logits, theirs.logits, action))


def test_categorical_golden_numbers():
    dist = Categorical(jnp.log(jnp.array([0.5, 0.25, 0.25])))
    np.testing.assert_allclose(dist.entropy(), 1.5 * np.log(2), rtol=1e-6)
    np.testing.assert_allclose(dist.log_prob(jnp.array(1)), np.log(0.25), rtol=1e-6)
    np.testing.assert_allclose(dist.kl(Categorical(jnp.zeros(3))), np.log(3) - 1.5 * np.log(2), rtol=1e-5)


def test_categorical_samples_with_its_probabilities():
    dist = Categorical(jnp.log(jnp.array([0.6, 0.3, 0.1])))
    draws = _draws(dist, 20_000)
    np.testing.assert_allclose(np.bincount(draws, minlength=3) / 20_000, [0.6, 0.3, 0.1], atol=0.015)


def test_masked_choices_are_never_taken_and_leave_everything_finite():
    mask = jnp.array([0.0, -jnp.inf, 0.0, -jnp.inf])

    def loss(logits: jax.Array) -> jax.Array:
        dist, other = Categorical(logits + mask), Categorical(2 * logits + mask)
        return dist.entropy() + dist.kl(other) + dist.log_prob(jnp.array(2))

    logits = jnp.array([1.0, 5.0, -1.0, 3.0])
    value, gradient = jax.jit(jax.value_and_grad(loss))(logits)
    allowed = Categorical(logits[::2])
    expected = allowed.entropy() + allowed.kl(Categorical(2 * logits[::2])) + allowed.log_prob(jnp.array(1))
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[1::2], 0)
    masked = Categorical(logits + mask)
    assert masked.log_prob(jnp.array(1)) == -jnp.inf
    assert set(np.asarray(_draws(masked, 500))) == {0, 2}
    assert masked.mode() == 0


def test_multicategorical_is_the_product_of_its_parts():
    n, bounds = (2, 4, 2), [(0, 2), (2, 6), (6, 8)]
    mine, theirs = MultiCategorical(_random(1, 6, 8), n), MultiCategorical(_random(2, 6, 8), n)
    draws = _draws(mine, 300)
    assert draws.dtype == jnp.int32
    np.testing.assert_array_equal(draws.max((0, 1)) + 1, n)
    action = draws[0]
    parts = [
        _categorical_oracle(mine.logits[:, a:b], theirs.logits[:, a:b], action[:, i]) for i, (a, b) in enumerate(bounds)
    ]
    expected = {name: np.sum([part[name] for part in parts], 0) for name in ("log_prob", "entropy", "kl")}
    _same(_numbers(mine, theirs, action), expected | {"mode": np.stack([part["mode"] for part in parts], -1)})


def test_normal_agrees_with_distrax():
    mine, theirs = Normal(_random(1, 4, 3), _random(2, 4, 3)), Normal(_random(3, 4, 3), _random(4, 4, 3))

    @jax.jit
    def oracle(action: jax.Array) -> dict[str, jax.Array]:
        oracle = distrax.MultivariateNormalDiag(mine.mean, jnp.exp(mine.log_std))
        other = distrax.MultivariateNormalDiag(theirs.mean, jnp.exp(theirs.log_std))
        kl = oracle.kl_divergence(other)
        return {"log_prob": oracle.log_prob(action), "entropy": oracle.entropy(), "kl": kl, "mode": oracle.mean()}

    draws = _draws(mine, 20_000)
    np.testing.assert_allclose(draws.std(0), jnp.exp(mine.log_std), rtol=0.05)
    _same(_numbers(mine, theirs, draws[0]), oracle(draws[0]))


def test_normal_golden_numbers():
    dist = Normal(jnp.array([1.0]), jnp.array([np.log(2.0)]))
    np.testing.assert_allclose(dist.log_prob(jnp.array([3.0])), -0.5 - np.log(2) - 0.5 * np.log(2 * np.pi), rtol=1e-6)
    np.testing.assert_allclose(dist.kl(Normal(jnp.zeros(1), jnp.zeros(1))), 0.5 * (4 + 1 - 1) - np.log(2), rtol=1e-6)


def test_squashed_normal_agrees_with_distrax():
    mine = SquashedNormal(_random(1, 8, 3), 0.5 * _random(2, 8, 3), LOW, HIGH)
    theirs = SquashedNormal(_random(3, 8, 3), 0.5 * _random(4, 8, 3), LOW, HIGH)

    @jax.jit
    def oracle(action: jax.Array) -> dict[str, jax.Array]:
        oracle, other = _squashed_oracle(mine.mean, mine.log_std), _squashed_oracle(theirs.mean, theirs.log_std)
        return {"log_prob": oracle.log_prob(action), "kl": oracle.kl_divergence(other)}

    action, log_prob = jax.jit(lambda d: d.sample_and_log_prob(KEY))(mine)
    numbers = _numbers(mine, theirs, action)
    _same(numbers, oracle(action), 1e-3)
    np.testing.assert_allclose(log_prob, numbers["log_prob"], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(jax.jit(lambda d: d.sample(KEY))(mine), action, atol=1e-6)
    assert ((numbers["mode"] > np.asarray(LOW)) & (numbers["mode"] < np.asarray(HIGH))).all()


def test_squashed_normal_has_total_probability_one():
    dist = SquashedNormal(jnp.array([0.3]), jnp.array([-0.2]), (-2.0,), (3.0,))
    grid = np.linspace(-2, 3, 20_001, dtype=np.float32)[:, None]
    density = np.exp(jax.jit(dist.log_prob)(grid))
    np.testing.assert_allclose(np.trapezoid(density, grid[:, 0]), 1.0, atol=1e-3)


def test_squashed_entropy_is_the_mean_of_minus_log_prob():
    @jax.jit
    def both(log_std: jax.Array) -> tuple[jax.Array, jax.Array]:
        dist = SquashedNormal(jnp.array([0.0, 1.0, -3.0]), jnp.full(3, log_std), LOW, HIGH)
        _, log_prob = jax.vmap(dist.sample_and_log_prob)(jax.random.split(KEY, 50_000))
        return dist.entropy(), -log_prob.mean()

    for log_std, tolerance in ((-3.0, 0.02), (0.0, 0.03), (1.5, 0.1)):
        entropy, drawn = both(jnp.float32(log_std))
        np.testing.assert_allclose(entropy, drawn, atol=tolerance)


def test_squashed_entropy_has_an_optimum_in_the_spread():
    def entropy(log_std: float) -> jax.Array:
        return SquashedNormal(jnp.zeros(1), jnp.full(1, log_std), (-1.0,), (1.0,)).entropy()

    slope = jax.jit(jax.grad(entropy))
    assert slope(-1.0) > 0 > slope(1.0)


def test_squashed_log_prob_and_its_gradients_are_finite_at_the_bounds():
    def loss(mean: jax.Array, log_std: jax.Array, action: jax.Array) -> jax.Array:
        return SquashedNormal(mean, log_std, LOW, HIGH).log_prob(action)

    slopes = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2)))
    for action in (jnp.asarray(LOW), jnp.asarray(HIGH), jnp.asarray(HIGH) + 1):
        value, gradients = slopes(jnp.zeros(3), jnp.zeros(3), action)
        assert np.isfinite(value)
        assert all(np.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize(
    ("action", "squash"),
    [(Discrete(4), False), (MultiDiscrete((2, 2)), False), (Box((-1.0,) * 2, (1.0,) * 2), True)],
)
def test_gradients_are_finite_at_extreme_parameters(action: object, squash: bool):
    def loss(parameters: jax.Array) -> jax.Array:
        count, head = for_action(action, squash=squash)
        dist, other = head(parameters[:count]), head(jnp.zeros(count))
        return dist.log_prob(jax.lax.stop_gradient(dist.mode())) + dist.entropy() + other.kl(dist)

    # The last two numbers are log standard deviations of the box.
    extremes = jnp.array([[50.0, -50.0, -5.0, 1.0], [-1e4, 1e4, -1.0, 5.0], [0.0, 1e-20, -20.0, 20.0]])
    assert np.isfinite(jax.jit(jax.vmap(jax.grad(loss)))(extremes)).all()


def test_gradients_flow_through_reparametrised_samples():
    def action(mean: jax.Array) -> jax.Array:
        return Normal(mean, jnp.zeros(2)).sample(KEY).sum()

    np.testing.assert_allclose(jax.grad(action)(jnp.ones(2)), jnp.ones(2))


@pytest.mark.parametrize(
    ("action", "squash", "count", "kind"),
    [
        (Discrete(7), False, 7, Categorical),
        (MultiDiscrete((2, 3)), False, 5, MultiCategorical),
        (Box((-1.0, 0.0), (1.0, 1.0)), False, 4, Normal),
        (Box((-1.0, 0.0), (1.0, 1.0)), True, 4, SquashedNormal),
    ],
)
def test_for_action_gives_float32_heads_that_pass_through_jit_vmap_and_scan(action, squash, count, kind):
    found, head = for_action(action, squash=squash)
    assert found == count
    dist = head(_random(5, 6, 2, count).astype(jnp.bfloat16))
    assert isinstance(dist, kind)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(dist))

    @jax.jit
    def ways(dist):
        sample = dist.sample(KEY)
        whole = dist.log_prob(sample), dist.entropy(), dist.kl(dist)
        mapped = jax.vmap(lambda d, a: d.log_prob(a))(dist, sample)
        scanned = jax.lax.scan(lambda carry, at: (carry, at[0].log_prob(at[1])), (), (dist, sample))[1]
        one = jax.tree.map(lambda leaf: leaf[3], dist).log_prob(sample[3])
        return whole, mapped, scanned, one

    (log_prob, entropy, kl), mapped, scanned, one = ways(dist)
    assert log_prob.shape == entropy.shape == (6, 2)
    np.testing.assert_allclose(kl, np.zeros((6, 2)), atol=1e-6)
    np.testing.assert_allclose(mapped, log_prob, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(scanned, log_prob, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(one, log_prob[3], rtol=1e-4, atol=1e-4)


def test_for_action_refuses_what_it_cannot_squash():
    with pytest.raises(UsageError, match="finite bounds"):
        for_action(Discrete(3), squash=True)
    with pytest.raises(UsageError, match="finite bounds"):
        for_action(Box((-np.inf,), (np.inf,)), squash=True)
    with pytest.raises(UsageError, match="str"):
        for_action("left")
    with pytest.raises(UsageError, match="one box"):
        SquashedNormal(jnp.zeros(1), jnp.zeros(1), (0.0,), (1.0,)).kl(
            SquashedNormal(jnp.zeros(1), jnp.zeros(1), (0.0,), (2.0,))
        )
