"""Balancing: numbers by hand, all pairs by NumPy, and the stationary distribution of a small MDP, where it is 0."""

import jax
import jax.numpy as jnp
import numpy as np

import losses

GAMMA = 0.9
RNG = np.random.default_rng(0)
PHI, NEXT, FIRST = RNG.normal(size=(3, 6, 4)).astype(np.float32)
CONTINUES = np.float32([1, 0, 1, 1, 0, 1])


def by_pairs(kernel, phi, after, first, continues, gamma=GAMMA):
    """The six expectations of the closed form, term by term."""

    def expected(x, y, wx=None, wy=None):
        wx, wy = (np.ones(len(rows)) if w is None else w for rows, w in ((x, wx), (y, wy)))
        return (
            sum(p * q * kernel(a, b) for p, a in zip(wx, x, strict=True) for q, b in zip(wy, y, strict=True))
            / len(x)
            / len(y)
        )

    m = continues
    return (
        expected(phi, phi)
        + (1 - gamma) ** 2 * expected(first, first)
        + gamma**2 * expected(after, after, m, m)
        - 2 * (1 - gamma) * expected(first, phi)
        - 2 * gamma * expected(after, phi, m)
        + 2 * gamma * (1 - gamma) * expected(after, first, m)
    )


def test_dot_by_hand(run):
    phi, after, first = np.float32([[1, 0], [3, 2]]), np.float32([[4, 4], [2, 0]]), np.float32([[1, 1], [1, 3]])
    # (2, 1) - 0.5 (1, 2) - 0.5 (1, 0), for the first row ended
    found = run(losses.dot_balance, phi, after, first, np.float32([0, 1]), 0.5)
    np.testing.assert_allclose(found, 1.0**2 + 0.0**2, rtol=1e-6)


def test_gaussian_by_hand(run):
    phi, after, first = np.float32([[0.0]]), np.float32([[2.0]]), np.float32([[4.0]])
    found = run(losses.gaussian_balance, phi, after, first, np.float32([1]), 0.5, 2.0)
    near, far = np.exp(-4 / 8), np.exp(-16 / 8)
    np.testing.assert_allclose(found, 1 + 0.25 + 0.25 - far - near + 0.5 * near, rtol=1e-6)


def test_dot_is_the_closed_form_over_all_pairs(run):
    found = run(losses.dot_balance, PHI, NEXT, FIRST, CONTINUES, GAMMA)
    np.testing.assert_allclose(found, by_pairs(np.dot, PHI, NEXT, FIRST, CONTINUES), rtol=1e-5)


def test_gaussian_is_the_closed_form_over_all_pairs(run):
    found = run(losses.gaussian_balance, PHI, NEXT, FIRST, CONTINUES, GAMMA, 1.5)

    def kernel(x, y):
        return np.exp(-np.square(x - y).sum() / (2 * 1.5**2))

    np.testing.assert_allclose(found, by_pairs(kernel, PHI, NEXT, FIRST, CONTINUES), rtol=1e-5)


def test_where_an_episode_ended_nothing_comes_of_what_follows():
    other = np.where(CONTINUES[:, None] == 0, 7.0, NEXT).astype(np.float32)
    for loss, rest in ((losses.dot_balance, (GAMMA,)), (losses.gaussian_balance, (GAMMA, 1.5))):
        assert loss(PHI, NEXT, FIRST, CONTINUES, *rest) == loss(PHI, other, FIRST, CONTINUES, *rest)
        slope = jax.grad(loss, argnums=1)(PHI, NEXT, FIRST, CONTINUES, *rest)
        np.testing.assert_array_equal(np.any(slope != 0, axis=1), CONTINUES == 1)


def visits(chances, policy, first, gamma):
    """The discounted distribution of state and action `[S * A]`, and the step from pair to pair `[S * A, S * A]`."""
    step = np.einsum("ijk,kl->ijkl", chances, policy).reshape(policy.size, policy.size)
    begin = (first[:, None] * policy).reshape(-1)
    return (1 - gamma) * begin @ np.linalg.inv(np.eye(policy.size) - gamma * step), step, begin


def test_it_is_0_on_a_policys_own_visits_and_above_on_those_of_another():
    gamma, (states, actions) = 0.8, (4, 2)
    rng = np.random.default_rng(1)
    chances, first = rng.dirichlet(np.ones(states), (states, actions)), rng.dirichlet(np.ones(states))
    policy, other = rng.dirichlet(np.ones(actions), (2, states))
    own, step, begin = visits(chances, policy, first, gamma)
    theirs, _, _ = visits(chances, other, first, gamma)

    def measured(seen):
        # Expectations in one-hot features are the distributions themselves, one row apiece.
        with jax.enable_x64(True):
            rows = [jnp.asarray(row[None]) for row in (seen, seen @ step, begin)]
            return float(losses.dot_balance(*rows, jnp.ones(1, jnp.float64), gamma))

    assert np.sqrt(measured(own)) < 1e-10
    gap = np.linalg.norm(theirs - (1 - gamma) * begin - gamma * step.T @ theirs)
    assert gap > 0.01
    np.testing.assert_allclose(np.sqrt(measured(theirs)), gap, rtol=1e-10)
