"""PEARL, TCL and RL2: what is inferred from a trial and when it is forgotten, who teaches the encoder, both loops."""

from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training_runs import column, device_loop, drive, host_loop, same_bits

import agents
import envs
import losses
from agents import pearl, rl2
from agents.agent import Rollout
from agents.training.evaluation import Evaluator
from envs.contract import TimeStep
from envs.errors import UsageError
from envs.wrappers import parse

ENV = envs.make("PointRobot-v0", tasks=6, test_tasks=9, trial=3, max_steps=5)
SMALL = {
    "hidden": (16,),
    "encoder_hidden": (16,),
    "envs": 4,
    "batch": 8,
    "context": 6,
    "recent": 20,
    "meta_batch": 3,
    "latent": 2,
    "ratio": 0.1,
    "per_task.capacity": 60,
}
OWN = {"tcl": {"tcl.window": 3}, "rl2": {}, "pearl": {}}


def make(name="pearl", env=ENV, **options):
    small = {"hidden": (16,), "core_width": 8, "minibatches": 2} if name == "rl2" else SMALL
    return agents.make(name, env.spec, **{**small, **OWN[name], **options})


def built(agent):
    """What the agent's update is made of."""
    assert isinstance(agent.update, partial)
    return agent.update.args[0]


def step(obs, reward, last=False, over=False, next_obs=None):
    """The TimeStep of two environments that do the same."""
    two = lambda x, dtype: jnp.asarray([x, x], dtype)  # noqa: E731
    obs = two(obs, jnp.float32)
    extras = {"trial_last": two(over, bool), "task_id": two(0, jnp.int32), "task": jnp.zeros((2, 2))}
    after = obs if next_obs is None else two(next_obs, jnp.float32)
    return TimeStep(obs, two(reward, jnp.float32), jnp.ones(2), two(last, bool), after, extras)


@pytest.fixture(scope="module")
def played():
    """PEARL over a trial of three episodes of three steps, and what it then remembered before each of its acts."""
    agent = make()
    state = agent.init(jax.random.key(0), ENV.spec)
    rng = np.random.default_rng(0)
    memory, seen, timestep = agent.begin(state, 2), [], step([0.0, 0.0], 0.0)
    act = jax.jit(agent.act, static_argnums=4)
    for number in range(10):
        action, memory, extras = act(jax.random.key(number), state, memory, timestep, False)
        seen.append((timestep, action, memory, extras))
        place, reward = rng.normal(size=2), float(rng.normal())
        last = number % 3 == 2
        timestep = step([0.0, 0.0] if last else place, reward, last, number == 8, place)
    return agent, state, seen


def test_a_belief_is_the_product_of_what_every_step_of_the_trial_says(played):
    agent, state, seen = played
    parts = built(agent)
    rows = []
    for (before, action, _, _), (after, _, memory, _) in pairwise(seen[:-1]):
        rows.append(pearl.transition(parts, before.obs, action, after.reward, after.next_obs)[0])
        mean, variance = pearl.encode(parts, state.params["context"], jnp.stack(rows))
        found, spread = losses.gaussian_product(mean, variance)
        np.testing.assert_allclose(agent.belief(memory)[0], found, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(1 / memory.precision[0], spread, rtol=1e-4)


def test_a_latent_lasts_an_episode_and_a_trial_is_forgotten(played):
    _, _, seen = played
    latents = np.stack([memory.latent for _, _, memory, _ in seen])
    for episode in range(3):
        assert (latents[3 * episode : 3 * episode + 3] == latents[3 * episode]).all()
    assert len({latent.tobytes() for latent in latents[::3]}) == 4
    assert [bool(extras["prior"][0]) for *_, extras in seen] == [True] * 6 + [False] * 3 + [True]
    after = seen[9][2]  # the next trial has begun
    assert not np.any(after.precision)
    assert not np.any(after.episode)
    assert not np.any(pearl.belief(after))


def test_what_a_diverged_simulation_showed_is_not_believed(played):
    agent, state, seen = played
    _, _, memory, _ = seen[1]
    broken = step([0.0, 0.0], np.nan, True, False, [np.inf, 0.0])
    _, after, _ = agent.act(jax.random.key(0), state, memory, broken, False)
    np.testing.assert_array_equal(after.precision, memory.precision)
    assert np.isfinite(after.latent).all()
    cleared = step([0.0, 0.0], 0.0, True, False, [1.0, 0.0])  # as the loops hand it on
    cleared = cleared._replace(extras={**cleared.extras, "diverged": jnp.asarray([True, False])})
    _, after, _ = agent.act(jax.random.key(0), state, memory, cleared, False)
    np.testing.assert_array_equal(after.precision[0], memory.precision[0])
    assert (after.precision[1] > memory.precision[1]).all()


def filled(agent, rounds=4, seed=0):
    """A state, and a buffer with that many trials of each environment."""
    loop = device_loop(agent, ENV, n=4, seeds=(seed,))
    loop.start()
    for _ in range(rounds):
        loop.advance()
    return jax.tree.map(lambda leaf: leaf[0], loop.learner)


def test_only_the_critics_and_the_divergence_teach_the_encoder():
    agent = make()
    found = filled(agent)
    parts, state, stored = built(agent), found.state, found.buffer
    tasks = pearl.chosen(parts, jax.random.key(0), stored)
    context = jax.random.normal(jax.random.key(1), (3, 6, 5))
    records = pearl.per_task.draw(jax.random.key(2), stored.all, tasks, 8)
    batch = pearl.Batch(tasks, records, context, stored.recent)

    def slope(term):
        return jax.grad(lambda params: pearl.loss(parts, state, params, jax.random.key(3), batch)[0][term])(
            state.params
        )

    reached = {
        term: {name: any(np.any(leaf) for leaf in jax.tree.leaves(part)) for name, part in slope(term).items()}
        for term in ("critic", "actor", "divergence", "temperature")
    }
    nothing = dict.fromkeys(("actor", "critic", "context", "temperature"), False)
    assert reached == {
        "critic": {**nothing, "critic": True, "context": True},
        "actor": {**nothing, "actor": True},
        "divergence": {**nothing, "context": True},
        "temperature": {**nothing, "temperature": True},
    }
    moved = np.flatnonzero(slope("temperature")["temperature"])
    assert sorted(moved) == sorted(np.asarray(tasks))


def test_a_context_s_order_says_nothing():
    agent = make()
    parts, state = built(agent), agent.init(jax.random.key(0), ENV.spec)
    context = jax.random.normal(jax.random.key(1), (2, 6, 5))
    one, other = (pearl.posterior(parts, state.params["context"], rows) for rows in (context, context[:, ::-1]))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_tasks_are_drawn_once_and_only_with_records():
    agent = make()
    stored = filled(agent, rounds=1).buffer
    have = np.flatnonzero(stored.recent.size)
    assert len(have) == 4  # as many as environments
    for number in range(20):
        tasks = np.asarray(pearl.chosen(built(agent), jax.random.key(number), stored))
        assert len(set(tasks)) == 3
        assert set(tasks) <= set(have)


def test_only_episodes_under_the_prior_make_contexts():
    stored = filled(make(), rounds=1).buffer
    sizes = np.asarray(stored.all.size)
    assert sorted(sizes) == [0, 0, 15, 15, 15, 15]
    np.testing.assert_array_equal(stored.recent.size, sizes * 10 // 15)


def test_nothing_is_learned_before_a_meta_batch_of_tasks_has_records():
    agent = make(envs=2, meta_batch=5)
    loop = device_loop(agent, ENV, n=2, seeds=(0,))
    loop.start()
    counts = []
    for _ in range(5):
        loop.advance()
        counts.append((int((loop.learner.buffer.recent.size > 0).sum()), int(loop.learner.state.updates[0])))
    assert all((updates > 0) == (tasks >= 5) for tasks, updates in counts)
    assert counts[0][1] == 0
    assert counts[-1][1] > 0


@pytest.mark.parametrize("name", OWN)
def test_both_loops_run_it_and_a_restored_one_goes_on(name):
    agent = make(name)
    rows = drive(device_loop(agent, ENV, n=4, seeds=(0, 1)), 4)
    assert np.isfinite(column(rows[-1], "loss")).all()
    if name == "tcl":
        assert (column(rows[-1], "tcl/known") == 1).all()
        assert (column(rows[-1], "tcl/loss") <= np.log(3) + 0.5).all()
    host = drive(host_loop(agent, ENV, n=4), 4)
    assert np.isfinite(host[-1][0]["loss"])
    one, other = (device_loop(agent, ENV, n=4, seeds=(3,)) for _ in range(2))
    one.start()
    one.advance(count=2)
    other.restore([one.tree()])
    for loop in (one, other):
        loop.advance(count=2)
    same_bits(one.tree(), other.tree())


@pytest.mark.parametrize("name", OWN)
def test_evaluation_plays_a_trial_of_every_task_kept_apart(name):
    agent = make(name)
    chain = parse("")
    evaluator = Evaluator(agent, ENV, chain, episodes=100)
    state = agent.init(jax.random.key(0), ENV.spec)
    scores = evaluator(state, chain.init(ENV.spec, 1), seed=0)
    assert scores.returns.shape == (9,)
    np.testing.assert_array_equal(scores.scores["return_3"], scores.returns)
    assert set(scores.scores) == {*(f"{kind}_{turn}" for kind in ("return", "success") for turn in (1, 2, 3)), "probe"}
    assert len(np.unique(scores.tasks, axis=0)) == 9
    assert scores.beliefs.shape[0] == 9
    assert len(Evaluator(agent, ENV, chain, episodes=4)(state, chain.init(ENV.spec, 1), seed=0).returns) == 4


@pytest.mark.parametrize("name", OWN)
def test_no_policy_of_observations_alone_is_handed_out(name, tmp_path):
    agents.train(make(name), ENV, steps=60, envs=4, out=tmp_path, quiet=True, tensorboard=False)
    with pytest.raises(UsageError, match=rf"{name} finds out its task from what actions were paid"):
        agents.load(tmp_path)


def test_rl2_sees_a_trial_as_one_episode():
    action = jnp.asarray([[0.5, -0.5], [0.5, -0.5]])
    inner = rl2.told(step([1.0, 2.0], 3.0, last=True), action)
    assert not inner.last.any()
    assert (inner.discount == 1).all()
    np.testing.assert_array_equal(inner.obs["action"], action)
    np.testing.assert_array_equal(inner.obs["reward"], [3.0, 3.0])
    np.testing.assert_array_equal(inner.obs["last"], [1.0, 1.0])
    outer = rl2.told(step([1.0, 2.0], 3.0, last=True, over=True), action)
    assert outer.last.all()
    assert (outer.discount == 0).all()
    assert not np.any(outer.obs["action"])
    assert not np.any(outer.obs["reward"])
    np.testing.assert_array_equal(outer.next_obs["reward"], [3.0, 3.0])
    broken = rl2.told(step([1.0, 2.0], np.nan, last=True), action)
    np.testing.assert_array_equal(broken.obs["reward"], [0.0, 0.0])


def test_rl2_learns_from_what_it_acted_on():
    """The log-probabilities of the first epoch's first minibatch are those of acting: nothing is clipped yet."""
    agent = make("rl2", epochs=1, minibatches=1)
    rows = drive(device_loop(agent, ENV, n=4, seeds=(0,)), 3)
    np.testing.assert_allclose(column(rows[-1], "kl"), 0, atol=1e-5)
    assert column(rows[-1], "clipped") == 0


def test_contrastive_learning_goes_with_a_recurrent_agent_by_name():
    agent = make("rl2", auxiliary="tcl", **{"tcl.window": 6})
    rows = drive(device_loop(agent, ENV, n=4, seeds=(0,)), 3)
    assert np.isfinite(column(rows[-1], "tcl/loss"))
    assert column(rows[-1], "tcl/known") == 1
    plain = agents.make("ppo", ENV.spec, hidden=(16,), core="gru", core_width=8, auxiliary="tcl", **{"tcl.window": 3})
    rows = drive(device_loop(plain, ENV, n=8, seeds=(0,)), 3)
    assert np.isfinite(column(rows[-1], "tcl/loss"))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda: make(prior_episodes=3), "one must be left to act on what was inferred"),
        (lambda: make(unroll=7), "pearl acts for whole trials, which are 15 steps here: set trials, not unroll."),
        (lambda: make(replay="uniform"), "replay must be per_task, which keeps tasks apart, not uniform."),
        (lambda: make(n_step=3), "n_step must be 1, for contexts are made of single steps, not 3."),
        (lambda: make(bonus="rnd"), "have nothing for a bonus"),
        (lambda: make(**{"per_task.tasks": 3}), "per_task.tasks is 3, but there are 6 tasks: leave it out."),
        (lambda: agents.make("pearl", envs.make("PointMass-v0").spec), "PointMass-v0 is a single one"),
        (lambda: agents.make("sac", ENV.spec, replay="per_task"), "per_task keeps none: uniform does."),
        (lambda: make("tcl", **{"tcl.window": 6}), "tcl.window is 6, and no episode of PointRobot-v0 has more than 5"),
        (lambda: make("tcl", auxiliary="tlc"), "auxiliary must be tcl, perhaps with others by +, not 'tlc'."),
        (lambda: make("rl2", core="none"), "core must be gru or lstm"),
        (lambda: make("rl2", bonus="rnd"), "rl2 learns from trials, and an intrinsic reward knows episodes"),
        (
            lambda: make("tcl", env=envs.make("PointRobot-v0", tasks=1, max_steps=5)),
            "tcl tells tasks apart, and PointRobot-v0 has only one.",
        ),
        (
            lambda: agents.make("ppo", ENV.spec, auxiliary="tcl", **{"tcl.window": 3}),
            "tcl needs an agent that lends windows of trajectories, and ppo is not one.",
        ),
    ],
)
def test_mistakes_are_one_sentence(change, sentence):
    with pytest.raises(UsageError) as error:
        change()
    assert sentence in str(error.value)


def test_windows_of_unrolls_cross_no_end():
    from agents.windows import of_unrolls

    last = np.zeros((8, 2), bool)
    last[3, 0] = True
    obs = jnp.arange(8.0)[:, None].repeat(2, 1)
    blank = TimeStep(obs, obs, obs, jnp.asarray(last), obs, {"task_id": jnp.zeros((8, 2), jnp.int32)})
    start = TimeStep(obs[0] - 1, obs[0], obs[0], jnp.zeros(2, bool), obs[0], {})
    lent = of_unrolls(lambda *_: None, lambda n: (), 1)
    rollout = Rollout((), start, obs, {}, blank)
    found = set()
    for number in range(60):
        windows, known = lent.draw(jax.random.key(number), rollout, 4)
        assert known.all()
        found.add(tuple(np.asarray(windows)[0].tolist()))
        assert (np.diff(windows, axis=1) == 1).all()
    assert found == {(-1.0, 0.0, 1.0, 2.0), (3.0, 4.0, 5.0, 6.0)}  # step 3 ended an episode: its own is 0 to 3
    _, known = lent.draw(jax.random.key(0), rollout, 5)
    assert np.asarray(known).tolist() == [False, True]
    assert lent.same(rollout).all()
