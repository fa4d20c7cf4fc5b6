"""AGAC's two terms by hand, against scipy, and by the policy that they make the best."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import rel_entr, softmax

import losses
from agents.networks.distributions import Categorical

RNG = np.random.default_rng(0)
ACTOR, ADVERSARY = RNG.normal(size=(2, 6, 4)).astype(np.float32)


def test_the_advantage_pays_for_what_the_adversary_did_not_expect(run):
    # 1 + 2 (-1 - -3), 1 + 2 (-3 - -1), 0 + 2 (-1 - -1).
    args = np.array([1, 1, 0], np.float32), np.array([-1, -3, -1], np.float32), np.array([-3, -1, -1], np.float32)
    np.testing.assert_allclose(run(losses.agac_advantage, *args, 2.0), [5, -3, 0])
    np.testing.assert_array_equal(run(losses.agac_advantage, *args, 0.0), args[0])


def test_the_target_is_shifted_by_the_divergence(run):
    target = run(losses.agac_value_target, np.array([1, -1], np.float32), np.array([0.5, 0], np.float32), 2.0)
    np.testing.assert_allclose(target, [2, -1])


def test_the_target_holds_the_average_of_what_the_advantage_adds():
    actor, adversary = softmax(ACTOR, -1), softmax(ADVERSARY, -1)
    added = losses.agac_advantage(np.zeros(24, np.float32), np.log(actor).ravel(), np.log(adversary).ravel(), 0.7)
    average = (actor * added.reshape(6, 4)).sum(-1)
    for kl in (Categorical(ACTOR).kl(Categorical(ADVERSARY)), losses.categorical_kl(ACTOR, ADVERSARY)):
        np.testing.assert_allclose(losses.agac_value_target(np.zeros(6, np.float32), kl, 0.7), average, atol=1e-6)
        np.testing.assert_allclose(kl, rel_entr(actor, adversary).sum(-1), atol=1e-6)


def test_the_adversary_moves_towards_the_actor():
    slope = jax.grad(lambda logits: Categorical(ACTOR).kl(Categorical(logits)).mean())(ADVERSARY)
    np.testing.assert_allclose(slope, (softmax(ADVERSARY, -1) - softmax(ACTOR, -1)) / len(ACTOR), atol=1e-6)


@pytest.mark.parametrize(("c", "alpha"), [(0.3, 0.1), (2.0, 0.5)])
def test_the_policy_in_closed_form_beats_a_thousand_others(c, alpha):
    # max_pi E_pi[Q + c (log pi_k - log adv)] + alpha H(pi) has pi ~ (pi_k / adv)^(c / alpha) exp(Q / alpha).
    q = RNG.normal(size=4).astype(np.float32)
    before, adversary = jax.nn.log_softmax(ACTOR[0]), jax.nn.log_softmax(ADVERSARY[0])
    worth = np.asarray(losses.agac_advantage(q, before, adversary, c))
    best = softmax(c / alpha * (before - adversary) + q / alpha)

    def objective(policy):
        return policy @ worth - alpha * np.sum(policy * np.log(policy), -1)

    others = np.concatenate(
        [RNG.dirichlet(np.ones(4), 500), softmax(np.log(best) + 0.1 * RNG.normal(size=(500, 4)), -1)]
    )
    assert objective(best) >= objective(np.clip(others, 1e-30, None)).max() - 1e-6
    np.testing.assert_allclose(objective(best), alpha * jax.nn.logsumexp(worth / alpha), rtol=1e-5)
    assert jnp.argmax(worth) == np.argmax(best)
