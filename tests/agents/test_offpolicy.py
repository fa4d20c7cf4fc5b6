"""Off-policy agents: targets, exploration, losses by hand, switches, and toys in both loops."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training_runs import column, device_loop, drive, host_loop

import agents
import envs
from agents import d4pg, ddpg, dqn, offpolicy, parts, sac, td3
from agents.agent import Sample, single_steps, stored
from agents.training import learner
from envs.errors import UsageError

BOX, CHOICE = envs.make("Pendulum-v1", backend="device"), envs.make("CartPole-v1", backend="device")
SMALL = {"hidden": (16,), "batch": 8, "warmup": 16, "uniform.capacity": 64}
MODULES = {"ddpg": ddpg, "td3": td3, "sac": sac, "d4pg": d4pg, "dqn": dqn}
CONTINUOUS = ("ddpg", "td3", "sac", "d4pg")


def env_of(name):
    return CHOICE if name == "dqn" else BOX


def make(name, **options):
    own = {"critic_hidden": ()} if name == "d4pg" else {}
    return agents.make(name, env_of(name).spec, **{**SMALL, **own, **options})


def begun(agent, env, seed=0):
    return learner.with_progress(agent.init(jax.random.key(seed), env.spec), jnp.zeros(()))


def sampled(agent, env, state, n=8, length=3):
    """Records of a few steps of an environment, as a buffer would hand them over."""
    batch = envs.batch(env, n)
    states, first = batch.reset(jax.random.key(1))

    def step(carry, key):
        states, timestep = carry
        action, _, extras = agent.act(key, state, (), timestep, False)
        states, after = batch.step(key, states, action)
        return (states, after), (action, extras, after)

    _, taken = jax.lax.scan(step, (states, first), jax.random.split(jax.random.key(2), length))
    steps = stored(single_steps(learner.Rollout((), first, *taken)))
    return Sample(steps, jnp.arange(n * length), jnp.ones(n * length))


@pytest.fixture(scope="module", params=MODULES)
def one(request):
    """An agent, its environment, its first state, and a sample."""
    name = request.param
    agent, env = make(name), env_of(name)
    state = begun(agent, env)
    return name, agent, env, state, jax.jit(partial(sampled, agent, env))(state)


def test_targets_begin_as_copies_and_follow(one):
    name, _, env, state, sample = one
    named = "q" if name == "dqn" else "critic"
    target = state.variables["target"][named]
    jax.tree.map(np.testing.assert_array_equal, target, state.params[named])
    quick = make(name, tau=0.25, target_every=2)
    update = jax.jit(quick.update)
    first, _ = update(jax.random.key(3), begun(quick, env), sample)
    jax.tree.map(np.testing.assert_array_equal, first.variables["target"][named], target)
    second, _ = update(jax.random.key(4), first, sample)
    expected = jax.tree.map(lambda new, old: 0.25 * new + 0.75 * old, second.params[named], target)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-6), second.variables["target"][named], expected)


def test_every_parameter_moves_and_the_loss_falls(one):
    name, _, env, _, sample = one
    eager = make(name, learning_rate=1e-2, target_every=1000)
    update = jax.jit(eager.update)
    state = now = begun(eager, env)
    seen = []
    for number in range(40):
        now, metrics = update(jax.random.key(number), now, sample)
        # A cross entropy cannot fall below the entropy of its target.
        kind = {"dqn": "value_loss", "d4pg": "divergence"}.get(name, "critic_loss")
        seen.append(float(metrics[kind]))
    assert np.mean(seen[-5:]) < 0.9 * np.mean(seen[:5])
    still = [
        path
        for (path, new), old in zip(
            jax.tree_util.tree_leaves_with_path(now.params), jax.tree.leaves(state.params), strict=True
        )
        if np.array_equal(new, old)
    ]
    assert not still


def test_the_buffer_is_told_a_priority_for_every_record(one):
    _, agent, _, state, sample = one
    _, metrics = jax.jit(agent.update)(jax.random.key(0), state, sample)
    priority = np.asarray(metrics["priority"])
    assert priority.shape == sample.weight.shape
    assert np.all(priority >= -1e-5)
    assert priority.std() > 0


def test_until_the_first_update_actions_are_drawn_evenly(one):
    name, agent, env, state, _ = one
    timestep = jax.tree.map(lambda leaf: jnp.zeros((4000, *leaf.shape[1:]), leaf.dtype), _reset(env))
    act = jax.jit(
        lambda state, evaluate: agent.act(jax.random.key(0), state, (), timestep, evaluate)[0], static_argnums=1
    )
    even = np.asarray(act(state, False), float)
    if name == "dqn":
        assert abs(even.mean() - 0.5) < 0.05
    else:
        low, high = env.spec.action.low[0], env.spec.action.high[0]
        np.testing.assert_allclose(
            np.quantile(even, [0.25, 0.5, 0.75]), np.quantile([low, high], [0.25, 0.5, 0.75]), atol=0.1
        )
    greedy = np.asarray(act(state, True))
    assert np.ptp(greedy) == 0  # the same observation in every row
    late = np.asarray(act(state._replace(updates=jnp.int32(1)), False), float)
    assert not np.array_equal(late, even)


def _reset(env):
    return envs.batch(env, 1).reset(jax.random.key(0))[1]


@pytest.mark.parametrize("evaluate", [True, False])
def test_noise_stays_in_the_box_and_an_evaluation_has_none(evaluate):
    agent = make("ddpg", noise=5.0)
    state = begun(agent, BOX)._replace(updates=jnp.int32(1))
    timestep = jax.tree.map(lambda leaf: jnp.repeat(leaf, 200, 0), _reset(BOX))
    action = np.asarray(agent.act(jax.random.key(0), state, (), timestep, evaluate)[0])
    assert np.all(np.abs(action) <= 2)
    assert (np.ptp(action) == 0) == evaluate


def base_of(name, **options):
    module = MODULES[name]
    config, rest = parts.split(module.Config, {**SMALL, **options})
    if name == "d4pg":
        return d4pg.assemble("d4pg", config, BOX.spec, rest)
    count = 2 if name == "td3" else 1
    networks = ddpg.policy_and_critics(config, BOX.spec, offpolicy.box(BOX.spec.action, name), count)
    return offpolicy.base(config, BOX.spec, rest, networks, ("actor", "critic"))


def test_ddpgs_loss_by_hand():
    agent = make("ddpg", discount=0.9, reward_scale=2.0)
    base, state = base_of("ddpg", discount=0.9, reward_scale=2.0), begun(agent, BOX)
    # A target that is not the network itself, so that the two cannot be taken for each other.
    other = jax.tree.map(lambda leaf: leaf + 0.1, state.variables["target"])
    state = state._replace(variables={"target": other})
    sample = sampled(agent, BOX, state)
    batch = offpolicy.batch_of(base, sample, None)
    terms, _ = ddpg.loss(base, state, state.params, jax.random.key(0), batch)
    actor, critic = base.networks["actor"], base.networks["critic"]
    steps = sample.steps
    action_t = actor.apply({"params": other["actor"]}, steps.timestep.next_obs)
    q_t = critic.apply({"params": other["critic"]}, steps.timestep.next_obs, action_t)[:, 0]
    target = 2.0 * steps.timestep.reward + 0.9 * steps.timestep.discount * q_t
    q = critic.apply({"params": state.params["critic"]}, steps.start.obs, steps.action)[:, 0]
    np.testing.assert_allclose(terms["critic"], ((q - target) ** 2).mean() / 2, rtol=1e-5)

    def climbed(params):
        action = actor.apply({"params": params}, steps.start.obs)
        return -critic.apply({"params": state.params["critic"]}, steps.start.obs, action)[:, 0].mean()

    expected = jax.grad(climbed)(state.params["actor"])
    found = jax.grad(lambda p: ddpg.loss(base, state, p, jax.random.key(0), batch)[0]["actor"])(state.params)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-6), found["actor"], expected)
    assert all(np.all(np.asarray(leaf) == 0) for leaf in jax.tree.leaves(found["critic"]))


def test_the_policy_of_td3_moves_in_every_second_update_alone():
    agent = make("td3")
    update, state = jax.jit(agent.update), begun(agent, BOX)
    sample = sampled(agent, BOX, state)
    for number in range(1, 5):
        after, metrics = update(jax.random.key(number), state, sample)
        same = all(jax.tree.leaves(jax.tree.map(np.array_equal, after.params["actor"], state.params["actor"])))
        assert same == (number % 2 == 1)
        assert not np.array_equal(*(jax.tree.leaves(s.params["critic"])[0] for s in (after, state)))
        assert (float(metrics["actor_loss"]) == 0) == (number % 2 == 1)
        state = after


def test_the_temperature_moves_towards_the_entropy_that_is_aimed_at():
    agent = make("sac", target_entropy=5.0, learning_rate=1e-2)  # more than a box of this width can have
    update, state = jax.jit(agent.update), begun(agent, BOX)
    sample = sampled(agent, BOX, state)
    for number in range(5):
        state, _ = update(jax.random.key(number), state, sample)
    assert float(state.params["temperature"]) > 0
    fixed = make("sac", learn_temperature=False, temperature=0.3)
    after, _ = jax.jit(fixed.update)(jax.random.key(0), begun(fixed, BOX), sample)
    np.testing.assert_allclose(np.exp(after.params["temperature"]), 0.3, rtol=1e-6)


def test_weights_of_records_weigh_the_critics_loss(one):
    name, agent, _, state, sample = one
    update = jax.jit(agent.update)
    loss = "value_loss" if name == "dqn" else "critic_loss"
    halves = [
        float(update(jax.random.key(0), state, sample._replace(weight=2.0 * (jnp.arange(24) % 2 == odd)))[1][loss])
        for odd in (0, 1)
    ]
    whole = float(update(jax.random.key(0), state, sample)[1][loss])
    np.testing.assert_allclose(np.mean(halves), whole, rtol=1e-4)
    assert halves[0] != halves[1]


RAINBOW = {
    "plain": {"double": False, "huber": 0.0},
    "categorical": {"critic": "categorical", "duelling": True, "n_step": 3, "v_min": -1.0, "v_max": 2.0},
    "quantile": {"critic": "quantile", "noisy": True, "replay": "prioritised", "prioritised.capacity": 4096},
}


@pytest.mark.parametrize("case", RAINBOW)
def test_dqn_and_rainbows_parts_solve_the_chain(case):
    env = envs.make("Chain-v0")
    own = {} if "replay" in RAINBOW[case] else {"uniform.capacity": 4096}
    options = {**SMALL, **own, "learning_rate": 3e-3, "warmup": 256, "batch": 32, "target_every": 50, **RAINBOW[case]}
    if "replay" in options:
        options.pop("uniform.capacity")
    agent = agents.make("dqn", env.spec, envs=8, unroll=4, epsilon_share=0.5, **options)
    rows = drive(device_loop(agent, env, n=8, seeds=(0, 1)), 250)
    assert np.all(column(rows[-1], "episode_return") > 0.95)
    assert np.all(column(rows[-1], "episode_length") < 12)


POINT = {"learning_rate": 3e-3, "warmup": 400, "batch": 64, "discount": 0.9, "hidden": (32, 32), "tau": 0.02}


@pytest.mark.parametrize("name", CONTINUOUS)
def test_a_continuous_agent_reaches_the_goal(name):
    own = {"v_min": 0.0, "v_max": 10.0, "critic_hidden": (), "n_step": 3, "target_every": 1} if name == "d4pg" else {}
    env = envs.make("PointMass-v0")
    agent = agents.make(name, env.spec, envs=8, unroll=2, ratio=0.25, **{**POINT, "uniform.capacity": 16384, **own})
    rows = drive(device_loop(agent, env, n=8, seeds=(0,)), 700)
    assert np.nanmin([column(row, "episode_return")[0] for row in rows[:100]]) < 22  # of 50
    assert column(rows[-1], "episode_return")[0] > 30


def test_the_same_agent_learns_under_the_host_loop():
    env = envs.make("Chain-v0")
    agent = agents.make(
        "dqn", env.spec, envs=8, unroll=4, learning_rate=3e-3, warmup=256, hidden=(16,), batch=32, target_every=50
    )
    rows = drive(host_loop(agent, env, n=8), 250)
    assert rows[-1][0]["episode_return"] > 0.9


MISTAKES = {
    "a box for dqn": ("dqn", BOX, {}, "dqn chooses one of several actions"),
    "choices for sac": ("sac", CHOICE, {}, "sac acts in a bounded box"),
    "choices for d4pg": ("d4pg", CHOICE, {}, "d4pg acts in a bounded box"),
    "values upside down": (
        "d4pg",
        BOX,
        {"v_min": 1.0, "v_max": 1.0},
        "v_min must be below v_max, which is 1.0, not 1.0",
    ),
    "a buffer that is not there": ("sac", BOX, {"replay": "uniforn"}, "did you mean uniform"),
    "an option of another": ("sac", BOX, {"prioritised.alpha": 1.0}, "prioritised.alpha belongs to no part"),
    "another number of environments": ("d4pg", BOX, {"envs": 3, "uniform.capacity": 64}, "make it with envs=2"),
    "a buffer of sequences": ("sac", BOX, {"replay": "sequence"}, "off-policy agents draw single records"),
    "more than memory holds": ("sac", BOX, {"uniform.capacity": 10**13}, "memory"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_are_one_sentence(case):
    name, env, options, sentence = MISTAKES[case]

    def begin():
        device_loop(agents.make(name, env.spec, **{"envs": 2, **options}), env, n=2, seeds=(0,)).start()

    with pytest.raises(UsageError, match=sentence) as caught:
        begin()
    assert str(caught.value).count("\n") == 0
