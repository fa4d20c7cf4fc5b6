"""AGAC: PPO without its terms, the oracles of each step, what acting keeps, and toys in both loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training_runs import column, device_loop, drive, host_loop

import agents
import envs
from agents import agac, onpolicy, ppo
from agents.networks.distributions import Categorical, Normal
from agents.training import learner
from envs.errors import UsageError

CHAIN, POINT, B = envs.make("Chain-v0"), envs.make("PointMass-v0"), 8
SMALL = {"hidden": (16,), "unroll": 8, "minibatches": 2}


def base(env=CHAIN, module=agac, **options) -> onpolicy.Base:
    """The parts of a small agent without a bonus, unless one is named."""
    named = {**SMALL, "bonus": "", **({"adv_hidden": (16,)} if module is agac else {}), **options}
    config, rest = agac.parts.split(module.Config, named)
    found = onpolicy.base(config, env.spec, rest)
    return agac.with_adversary(found) if module is agac else found


def begin(parts, progress: float = 0.0, seed: int = 0):
    made = agac.init if isinstance(parts.network, agac.Networks) else onpolicy.init
    return learner.with_progress(made(parts, jax.random.key(seed), parts.spec), jnp.float32(progress))


def roll(parts, state, env=CHAIN, length: int = 8):
    """One unroll of `B` environments, from their reset."""
    batch = envs.batch(env, B)
    states, first = batch.reset(jax.random.key(1))
    before = onpolicy.begin(parts, state, B)

    def step(carry, key):
        states, carry, timestep = carry
        action, carry, extras = agac.act(parts, key, state, carry, timestep, False)
        states, timestep = batch.step(key, states, action)
        return (states, carry, timestep), (action, extras, timestep)

    _, taken = jax.lax.scan(step, (states, before, first), jax.random.split(jax.random.key(2), length))
    return agac.Rollout(before, first, *taken)


@pytest.fixture(scope="module")
def acted():
    """An agent with a weighty adversary of its own opinion, its state, and an unroll that it acted."""
    parts = base(agac_c=0.5)
    state = opinionated(begin(parts))
    return parts, state, jax.jit(lambda state: roll(parts, state))(state)


def prepared(parts, state, rollout, bonus=None):
    """What the passes learn from, and the metrics."""

    @jax.jit
    def found(state, rollout, bonus):
        evaluation = onpolicy.evaluate(parts, state.params, state.variables, rollout)
        return agac.guided(parts, state, rollout, evaluation, bonus)

    return found(state, rollout, bonus)


def opinionated(state):
    """A fresh adversary agrees with a fresh actor: this one would rather take the first action."""
    adversary = state.params["adversary"]
    policy = adversary["policy"] | {"bias": jnp.asarray([1.0, -1.0])}
    return state._replace(params=state.params | {"adversary": adversary | {"policy": policy}})


def paid(rollout):
    """The same steps with random rewards: a corridor pays too seldom."""
    reward = jax.random.normal(jax.random.key(3), rollout.timestep.reward.shape)
    return rollout._replace(timestep=rollout.timestep._replace(reward=reward))


def spread(tree, other) -> float:
    """The largest difference of any two numbers."""
    return max(float(jnp.abs(a - b).max()) for a, b in zip(*map(jax.tree.leaves, (tree, other)), strict=True))


# ------------------------------------------------------------------------------------------------------- THE ORACLES


@pytest.mark.parametrize(("core", "c"), [("none", 0.0), ("gru", 0.0), ("none", 0.5)])
def test_without_its_terms_an_update_is_ppos(core, c):
    shared = {"core": core, "core_width": 8, "learning_rate": 1e-2}
    mine = base(**shared, agac_c=c)
    theirs = base(module=ppo, **shared, value_clip=0.2, activation="elu", separate=True)
    state, other = opinionated(begin(mine)), begin(theirs)
    assert spread(state.params["actor_critic"], other.params) == 0  # the same key gives the same weights
    rollout = paid(jax.jit(lambda state: roll(mine, state))(state))
    key = jax.random.key(3)
    after, metrics = jax.jit(lambda state: agac.update(mine, key, state, rollout))(state)
    expected, theirs_too = jax.jit(
        lambda state: ppo.update(theirs, key, state, rollout._replace(carry=rollout.carry[0]))
    )(other)
    assert spread(expected.params, other.params) > 1e-2
    assert spread(after.params["adversary"], state.params["adversary"]) > 1e-4
    apart = spread(after.params["actor_critic"], expected.params)
    assert apart < 1e-6 if c == 0 else apart > 1e-4
    assert set(theirs_too) <= set(metrics)


@pytest.mark.parametrize("term", ["policy", "value", "entropy", "adversary"])
def test_actor_and_critic_and_adversary_learn_apart(acted, term):
    parts, state, rollout = acted
    batch = ppo.flatten(prepared(parts, state, paid(rollout))[0])
    loss = lambda params: agac.loss(parts, state, params, jax.random.key(0), batch)[0][term]  # noqa: E731
    slope = jax.jit(jax.grad(loss))(state.params)
    for name, tree in slope.items():
        moves = any(bool((leaf != 0).any()) for leaf in jax.tree.leaves(tree))
        assert moves == ((name == "adversary") == (term == "adversary"))


def test_the_distributions_of_acting_time_are_the_ones_that_count(acted):
    parts, state, rollout = acted
    batch, _ = prepared(parts, state, rollout)
    # Another adversary now changes nothing; another one then changes advantage and target.
    later = state._replace(params=state.params | {"adversary": begin(parts, seed=7).params["adversary"]})
    again, _ = prepared(parts, later, rollout)
    np.testing.assert_array_equal(again.advantage, batch.advantage)
    np.testing.assert_array_equal(again.target, batch.target)
    then = Categorical(rollout.extras["adversary"].logits + jnp.asarray([0.0, 1.5]))
    other, _ = prepared(parts, state, rollout._replace(extras=rollout.extras | {"adversary": then}))
    actor, before = rollout.extras["actor"], rollout.extras["adversary"]
    np.testing.assert_allclose(
        other.advantage - batch.advantage,
        0.5 * (before.log_prob(rollout.action) - then.log_prob(rollout.action)),
        atol=1e-5,
    )
    np.testing.assert_allclose(other.target - batch.target, 0.5 * (actor.kl(then) - actor.kl(before)), atol=1e-5)
    plain, _ = prepared(base(agac_c=0.5, value_target_kl=False), state, rollout)
    np.testing.assert_allclose(batch.target - plain.target, 0.5 * actor.kl(before), atol=1e-5)


def test_the_host_loop_learns_from_what_acted_one_update_before():
    parts = base(learning_rate=0.1)
    loop = host_loop(agac.assemble("agac", parts), CHAIN, n=B)
    loop.start()
    loop.advance(total=8)
    acted = loop.learner.state  # acts from the next unroll on; the pending one was acted before it
    pending = jax.tree.map(jnp.asarray, loop._pending)
    kept = pending.extras["adversary"]
    for params, same in ((loop._agent.init(loop._init_key, CHAIN.spec).params, True), (acted.params, False)):
        found, _, _ = parts.network.imitate({"params": params}, pending.obs, pending.carry, pending.first, train=False)
        assert (float(jnp.abs(found.logits - kept.logits).max()) < 1e-5) == same
    loop.close()


def test_bonuses_enter_the_advantage_and_not_the_target(acted):
    parts, state, rollout = acted
    bonus = jax.random.uniform(jax.random.key(4), rollout.timestep.reward.shape)
    without, with_it = (prepared(parts, state, rollout, given)[0] for given in (None, bonus))
    np.testing.assert_array_equal(without.target, with_it.target)
    # The estimate is linear in the rewards: what is added is that of the bonus alone.
    added = np.zeros((9, B))
    for t in reversed(range(8)):
        goes_on = np.asarray(0.99 * 0.95 * rollout.timestep.discount * (1.0 - rollout.timestep.last))[t]
        added[t] = bonus[t] + goes_on * added[t + 1]
    np.testing.assert_allclose(with_it.advantage - without.advantage, added[:8], atol=1e-5)
    learned, _ = prepared(base(agac_c=0.5, bonus_in_target=True), state, rollout, bonus)
    np.testing.assert_allclose(learned.target - without.target, added[:8], atol=1e-5)


@pytest.mark.parametrize(("progress", "share"), [(0.0, 1.0), (0.5, 0.5), (1.0, 0.0)])
def test_the_adversarys_weight_falls_to_nothing(progress, share):
    for options, expected in (({}, 4e-4 * share), ({"reward_scale": 20.0}, 8e-3 * share), ({"anneal_c": False}, 4e-4)):
        parts = base(**options)
        assert agac.coefficient(parts, begin(parts, progress)) == pytest.approx(expected, abs=1e-9)
    knob = begin(parts)
    knob = knob._replace(knobs=knob.knobs | {"agac_c": jnp.float32(0.1)})
    assert agac.coefficient(parts, knob) == pytest.approx(0.1)


def test_the_adversary_takes_smaller_steps(acted):
    # Adam's first step is the learning rate times the sign of the gradient, where this is far above epsilon.
    parts = base(learning_rate=1e-2, beta_adv=1e3, agac_c=0.5, epochs=1, minibatches=1)
    state, rollout = opinionated(begin(parts)), paid(acted[2])
    after, _ = jax.jit(lambda state: agac.update(parts, jax.random.key(0), state, rollout))(state)
    moved = {name: spread(after.params[name], state.params[name]) for name in state.params}
    assert moved == pytest.approx({"actor_critic": 1e-2, "adversary": 3e-3}, rel=1e-2)


def test_metrics_tell_what_the_adversary_does(acted):
    parts, state, rollout = acted
    batch, metrics = prepared(parts, state, rollout)
    actor, adversary = rollout.extras["actor"], rollout.extras["adversary"]
    term = 0.5 * (actor.log_prob(rollout.action) - adversary.log_prob(rollout.action))
    np.testing.assert_allclose(metrics["c_term"], term.mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["adversary_kl"], actor.kl(adversary).mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["adversary_accuracy"], (rollout.action == 0).mean())
    # The shares of the term and of the estimate add up to 1.
    both = np.cov(np.stack([term.ravel(), batch.advantage.ravel()]), bias=True)
    np.testing.assert_allclose(metrics["c_share"], both[0, 1] / both[1, 1], rtol=1e-4)
    assert 0 < metrics["c_share"] < 1.1


# --------------------------------------------------------------------------------------------------------- BAD INPUT


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"adversary": None}, "distributions of acting time, and the unroll has no 'adversary'"),
        ({"actor": None}, "the unroll has no 'actor'"),
        ({"adversary": Categorical(jnp.zeros((8, B, 3)))}, "one size: the actor's is 2, the adversary's 3"),
        (
            {"actor": Normal(jnp.zeros((8, B, 2)), jnp.zeros((8, B, 2)))},
            "actor's is Normal, the adversary's Categorical",
        ),
    ],
)
def test_an_unroll_that_cannot_be_learned_from_is_one_sentence(acted, changes, sentence):
    parts, state, rollout = acted
    extras = {name: value for name, value in (rollout.extras | changes).items() if value is not None}
    with pytest.raises(UsageError, match=sentence):
        agac.update(parts, jax.random.key(0), state, rollout._replace(extras=extras))


@pytest.mark.parametrize("option", ["agac_c", "beta_adv", "adv_lr_scale", "value_clip"])
def test_values_out_of_range_are_one_sentence(option):
    with pytest.raises(UsageError, match=f"{option} must be at least 0, not -1"):
        agents.make("agac", CHAIN.spec, **{option: -1.0})


def test_positions_that_an_environment_does_not_tell_are_one_sentence():
    with pytest.raises(UsageError, match="counts positions, and Chain-v0 tells none"):
        agents.make("agac", CHAIN.spec)


# -------------------------------------------------------------------------------------------------------- BOTH LOOPS


def test_seeds_side_by_side_are_the_seeds_alone():
    agent = agac.assemble("agac", base(bonus="episodic_count", **{"episodic_count.key": "obs"}))
    rows = [drive(device_loop(agent, CHAIN, n=B, seeds=(3, 4), together=both), 3) for both in (True, False)]
    for one, other in zip(*rows, strict=True):
        for name in one[0]:
            np.testing.assert_allclose(column(one, name), column(other, name), rtol=1e-3, atol=1e-5, err_msg=name)


def test_other_bonuses_and_optimisers_take_part():
    small = {"rnd.hidden": (8,), "rnd.predictor": (8,), "episodic_count.key": "obs", "optimizer": "rmsprop"}
    rows = drive(device_loop(agac.assemble("agac", base(bonus="episodic_count+rnd", **small)), CHAIN, n=B), 3)
    assert np.all(column(rows[-1], "rnd/bonus") > 0)
    assert np.all(column(rows[-1], "episodic_count/bonus") > 0)
    assert np.all(column(rows[-1], "nonfinite") == 0)


def test_with_a_memory_each_of_both_has_its_own_and_the_cue_is_recalled():
    env = envs.make("Memory-v0")
    options = {"core": "gru", "core_width": 16, "unroll": 15, "learning_rate": 5e-3, "anneal": True, "minibatches": 4}
    parts = base(env, **options)
    mine, theirs = onpolicy.begin(parts, begin(parts), 3)
    assert [leaf.shape for leaf in jax.tree.leaves((mine, theirs))] == [(3, 16)] * 3  # actor, critic, adversary
    rows = drive(device_loop(agac.assemble("agac", parts), env), 60)
    assert np.all(column(rows[-1], "episode_return") > 0.8)
    assert np.all(column(rows[-1], "adversary_kl") > 0)


def test_continuous_actions_reach_the_goal():
    options = {"unroll": 25, "learning_rate": 3e-3, "entropy_cost": 0.0, "discount": 0.9, "value_clip": 0.0}
    parts = base(POINT, **options, minibatches=4)
    rows = drive(host_loop(agac.assemble("agac", parts), POINT), 40)
    first = next(row[0]["episode_return"] for row in rows if row[0]["episodes"] > 0)
    assert first < 20
    assert rows[-1][0]["episode_return"] > 36
    assert 0 < rows[-1][0]["adversary_kl"] < 100
    assert "adversary_accuracy" not in rows[-1][0]
