"""Genetic soft updates: operators by hand, what moves and what must not, and any agent on either loop."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training_runs import checkpoints, metrics, same_bits, same_run

import agents
import envs
from agents import genetic_soft_updates
from agents.auxiliary.search import genetic
from agents.auxiliary.search.genetic import Mutation
from agents.training.population import Population
from envs.errors import UsageError
from envs.wrappers import parse

CART = envs.make("CartPole-v1", backend="device", max_steps=40)
PUSH = envs.make("PointMass-v0", max_steps=20)
KEY = jax.random.key(0)
TREE = {"a": jnp.ones((50, 40)), "b": jnp.full((3000,), 2.0)}
OWN = {
    "ppo": (CART, {"ppo.hidden": (8,), "ppo.unroll": 8, "ppo.envs": 4, "ppo.minibatches": 2}),
    "dqn": (CART, {"dqn.hidden": (8,), "dqn.warmup": 16, "dqn.batch": 8, "uniform.capacity": 200}),
    "td3": (PUSH, {"td3.hidden": (8,), "td3.warmup": 16, "td3.batch": 8, "uniform.capacity": 200}),
    "sac": (PUSH, {"sac.hidden": (8,), "sac.warmup": 16, "sac.batch": 8, "uniform.capacity": 200}),
    "d4pg": (PUSH, {"d4pg.hidden": (8,), "d4pg.critic_hidden": (8,), "d4pg.batch": 8, "uniform.capacity": 200}),
}


def make(name, **options):
    env, own = OWN[name]
    small = {"agent": name, "every": 2, "population": 3, "episodes": 2}
    return env, agents.make("genetic_soft_updates", env.spec, **{**small, **own, **options})


def gap(one, other) -> float:
    return float(jnp.sqrt(sum(jnp.sum((a - b) ** 2) for a, b in zip(*map(jax.tree.leaves, (one, other)), strict=True))))


# ------------------------------------------------------------------------------------------------------ OPERATORS


def test_so_many_weights_are_mutated_so_far():
    child = genetic.mutate(KEY, TREE, Mutation(0.25, 0.2))
    change = np.concatenate([np.ravel(a - b) for a, b in zip(*map(jax.tree.leaves, (child, TREE)), strict=True)])
    count = (change != 0).sum()
    assert abs(count - 0.25 * change.size) < 3 * np.sqrt(0.25 * 0.75 * change.size)
    np.testing.assert_allclose(change[change != 0].std(), 0.2, rtol=0.05)
    relative = genetic.mutate(KEY, TREE, Mutation(1.0, 0.1, relative=True))
    np.testing.assert_allclose(np.std(relative["a"] - 1), 0.1, rtol=0.1)
    np.testing.assert_allclose(np.std(relative["b"] - 2), 0.2, rtol=0.1)


def test_nothing_moves_without_a_better_copy_or_without_a_mutation():
    population = genetic.children(KEY, TREE, Mutation(), 3)
    for fitness in ([1.0, 0.5, 1.0, np.nan], [1.0, -1.0, 0.0, 1.0]):
        move = genetic.soft_update(population, jnp.asarray(fitness), 0.5)
        same_bits(move.params, TREE)
        assert not move.improved
        assert move.distance == 0
    still = genetic.children(KEY, TREE, Mutation(sigma=0.0), 3)
    same_bits(genetic.soft_update(still, jnp.arange(4.0), 1.0).params, TREE)


@pytest.mark.parametrize("tau", [0.0, 0.05, 0.5, 1.0])
def test_the_parent_moves_so_far_towards_its_best_child(tau):
    population = genetic.children(KEY, TREE, Mutation(), 3)
    move = genetic.soft_update(population, jnp.asarray([0.0, 1.0, 3.0, 2.0]), tau)
    best = jax.tree.map(lambda leaf: leaf[2], population)
    assert move.best == 2
    np.testing.assert_allclose(gap(move.params, TREE), tau * gap(best, TREE), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(gap(move.params, best), (1 - tau) * gap(best, TREE), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(move.distance, gap(move.params, TREE), rtol=1e-4)


def test_a_gain_that_is_too_small_is_none():
    population = genetic.children(KEY, TREE, Mutation(), 1)
    assert genetic.soft_update(population, jnp.asarray([1.0, 1.4]), 0.5, min_gain=0.3).improved
    assert not genetic.soft_update(population, jnp.asarray([1.0, 1.4]), 0.5, min_gain=0.5).improved


def test_tournaments_are_won_by_the_fitter():
    fitness = jnp.arange(10.0)
    winners = np.asarray(genetic.tournament(KEY, fitness, 4000, 3))
    # The mean of the best of three of 0 to 9, drawn with replacement.
    expected = sum(i * (((i + 1) / 10) ** 3 - (i / 10) ** 3) for i in range(10))
    np.testing.assert_allclose(winners.mean(), expected, atol=0.15)


def test_a_crossed_child_has_every_weight_of_a_parent():
    other = jax.tree.map(lambda leaf: -leaf, TREE)
    child = genetic.crossover(KEY, TREE, other)
    for mixed, one in zip(jax.tree.leaves(child), jax.tree.leaves(TREE), strict=True):
        np.testing.assert_array_equal(np.abs(mixed), one)
        assert 0.4 < (np.asarray(mixed) > 0).mean() < 0.6


def test_elites_live_on():
    population = genetic.children(KEY, TREE, Mutation(), 5)
    after = genetic.generation(KEY, population, jnp.asarray([0.0, 5.0, 1.0, np.nan, 4.0, 2.0]), Mutation(), 2)
    for place, parent in enumerate((1, 4)):
        same_bits(
            *(jax.tree.map(lambda leaf, at=at: leaf[at], tree) for tree, at in ((after, place), (population, parent)))
        )
    assert jax.tree.leaves(after)[0].shape == jax.tree.leaves(population)[0].shape


# --------------------------------------------------------------------------------------------------------- AGENTS


@pytest.mark.parametrize("name", OWN)
def test_only_what_acts_evolves(name):
    env, agent = make(name)
    state = agent.init(KEY, env.spec)
    population = agent.evolution.ask(KEY, state)
    same_bits(jax.tree.map(lambda leaf: leaf[0], population), state.params)
    changed = {
        part: gap(jax.tree.map(lambda leaf: leaf[1], population[part]), state.params[part]) > 0 for part in population
    }
    judges = {part for part in changed if part in ("critic", "temperature") or part.startswith("value")}
    assert {part for part, moved in changed.items() if not moved} == judges
    moved, found = agent.evolution.tell(KEY, state, population, jnp.asarray([0.0, 2.0, 1.0, np.nan]))
    assert found["improved"] == 1
    assert found["best"] == 2
    for part in judges:
        same_bits(moved.params[part], state.params[part])
    same_bits(moved.opt, state.opt)


@pytest.mark.parametrize("name", OWN)
def test_any_agent_evolves_on_the_device(name, tmp_path):
    env, agent = make(name)
    run = agents.train(agent, env, steps=64, envs=agent.config["envs"], out=tmp_path, quiet=True, tensorboard=False)
    rows = [row for row in metrics(run.folder) if "evolution/fitness" in row]
    assert len(rows) >= 1
    assert all(row["evolution/best"] >= row["evolution/fitness"] for row in rows)
    assert all(row["evolution/steps"] > 0 for row in rows)


def test_sets_of_parameters_play_the_same_episodes_on_either_side():
    env, agent = make("ppo")
    state = agent.init(KEY, env.spec)
    same = jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), state.params)
    chain = parse("")
    returns, steps = Population(agent, env, chain, 4)(state, same, chain.init(env.spec, 1), 7)
    assert returns.shape == (3, 4)
    assert (returns == returns[0]).all()
    assert steps == returns.sum()  # a reward of 1 for each step
    host = envs.make("CartPole-v1", backend="host", max_steps=40)
    returns, steps = Population(agent, host, chain, 4)(state, same, chain.init(host.spec, 1), 7)
    assert (returns == returns[0]).all()
    assert steps == returns.sum()
    assert len(set(returns[0])) > 1


def test_an_agent_whose_copies_are_never_better_learns_as_it_does_without(tmp_path):
    env, agent = make("ppo", sigma=0.0)
    plain = agents.make("ppo", env.spec, hidden=(8,), unroll=8, envs=4, minibatches=2)
    common = {"steps": 256, "quiet": True, "tensorboard": False}
    one = agents.train(agent, env, out=tmp_path / "evolved", **common)
    other = agents.train(plain, env, out=tmp_path / "plain", **common)
    ours = [row for row in metrics(one.folder) if "loss" in row]
    assert ours == [row for row in metrics(other.folder) if "loss" in row]


@pytest.mark.parametrize("backend", ["device", "host"])
def test_a_run_that_was_stopped_goes_on_bit_for_bit(backend, tmp_path):
    env = envs.make("CartPole-v1", backend=backend, max_steps=40)
    _, agent = make("ppo", every=3)
    common = {"quiet": True, "tensorboard": False, "checkpoint_every": 32, "seed": 3}
    whole = agents.train(agent, env, steps=320, out=tmp_path / "whole", **common)
    agents.train(agent, env, steps=320, out=tmp_path / "cut", hours=1e-9, **common)
    cut = agents.train(agent, env, steps=320, out=tmp_path / "cut", resume=True, **common)
    same_run(whole.folder, cut.folder)
    assert checkpoints(whole.folder)[-1].name == checkpoints(cut.folder)[-1].name


@pytest.mark.parametrize(("name", "kind"), [("sac", "erl"), ("ppo", "ga"), ("td3", "ga")])
def test_populations_last_and_their_champion_acts(name, kind):
    env, agent = make(name, evolution=kind)
    state = agent.init(KEY, env.spec)
    params = agent.evolution.ask(KEY, state)
    fitness = jnp.asarray([0.0, 1.0, 3.0, 2.0])
    moved, _ = agent.evolution.tell(KEY, state, params, fitness)
    champion = jax.tree.map(lambda leaf: leaf[2], params)
    same_bits(moved.acting, champion)
    following = agent.evolution.ask(KEY, moved)
    own = genetic_soft_updates.split(champion).policy
    kept = genetic_soft_updates.split(jax.tree.map(lambda leaf: leaf[1], following)).policy
    same_bits(kept, own)  # the fittest comes first
    assert (gap(moved.params, state.params) > 0) == (kind == "ga")


def test_a_population_of_a_plain_genetic_algorithm_improves():
    """Maximising minus the squared distance to a point: forty generations leave a twentieth of it."""
    goal = {"w": jnp.linspace(-1, 1, 8)}
    population = genetic.children(KEY, {"w": jnp.zeros(8)}, Mutation(0.5, 0.2), 19)
    score = jax.vmap(lambda one: -jnp.sum(jnp.square(one["w"] - goal["w"])))

    def step(population, key):
        return genetic.generation(key, population, score(population), Mutation(0.5, 0.2), 2), score(population).max()

    _, best = jax.lax.scan(step, population, jax.random.split(KEY, 60))
    assert (np.diff(best) >= 0).all()
    assert best[-1] > 0.1 * best[0]


def test_a_blend_that_is_worse_is_taken_back(tmp_path):
    env, agent = make("ppo", check_blend=True, tau=1.0)
    run = agents.train(agent, env, steps=512, out=tmp_path, quiet=True, tensorboard=False)
    rows = [row for row in metrics(run.folder) if "evolution/kept" in row]
    assert rows
    assert all(row["evolution/kept"] == 1 for row in rows)  # a replacement plays what the copy played


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"tau": 1.5}, "tau must be between 0 and 1, not 1.5."),
        ({"population": 0}, "population must be above 0, not 0."),
        ({"elites": 3}, "elites must be at least 0 and below population, not 3."),
        ({"agent": "genetic_soft_updates"}, "agent must be another one than genetic_soft_updates"),
        ({"agent": "pppo"}, "there is no agent 'pppo': did you mean ppo"),
        ({"evolution": "erl"}, "erl acts with the champion of a population, and ppo learns from its own steps alone."),
        ({"ppo.unrol": 3}, "there is no option 'unrol'"),
    ],
)
def test_mistakes_are_one_sentence(options, sentence):
    with pytest.raises(UsageError) as error:
        make("ppo", **options)
    assert sentence in str(error.value)


def test_episodes_without_an_end_are_refused():
    env, agent = make("ppo")
    endless = env._replace(spec=replace(env.spec, max_steps=0))
    with pytest.raises(UsageError, match="sets no limit: give it max_steps"):
        Population(agent, endless, parse(""), 2)
