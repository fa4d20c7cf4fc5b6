"""DEIR against brute force over episodes with an end in them, and the queue against a NumPy twin."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training_runs import column, device_loop, drive, host_loop

import agents
import envs
from agents.agent import Host, Rollout
from agents.auxiliary import pipeline as hooks
from agents.auxiliary.pipeline import Pipeline
from agents.auxiliary.rewards import deir
from envs.contract import Array, Discrete, EnvSpec, TimeStep
from envs.errors import UsageError

T, B, D, PLACES = 8, 2, 4, 8
END = (4, 1)  # the step and the environment whose episode ends
SPEC = EnvSpec("Fake-v0", "0", {"place": Array((), "int32", 0, PLACES - 1)}, Discrete(2), {}, max_steps=T)
OPTIONS = {"embedding": D, "hidden": 16, "queue": 20, "epochs": 2, "minibatch_size": 8, "learning_rate": 3e-3}
CONFIG = deir.Config(**OPTIONS)
MODEL = deir.network(CONFIG, SPEC)
HOST = Host(None, None, None, None, SPEC, {"deir.coef": np.ones((), np.float32)})


def rollout(seed=0) -> Rollout:
    """Walks around a ring of places: the action says whether the next is one back or one on."""
    rng = np.random.default_rng(seed)
    action = rng.integers(0, 2, (T, B))
    last = np.zeros((T, B), bool)
    last[END] = True
    place = np.zeros((T + 1, B), np.int32)
    place[0] = rng.integers(0, PLACES, B)
    after = np.zeros((T, B), np.int32)
    for t in range(T):
        after[t] = (place[t] + 2 * action[t] - 1) % PLACES
        place[t + 1] = np.where(last[t], rng.integers(0, PLACES, B), after[t])
    return steps(place, after, action, last)


def steps(place, after, action, last) -> Rollout:
    zeros, ones = np.zeros((T + 1, B), np.float32), np.ones((T + 1, B), np.float32)
    start = TimeStep({"place": place[0]}, zeros[0], ones[0], np.zeros(B, bool), {"place": place[0]}, {})
    later = TimeStep({"place": place[1:]}, zeros[1:], ones[1:], last, {"place": after}, {})
    return Rollout((), start, action, {}, later)


def bonus(**options) -> Pipeline:
    return Pipeline((deir.make(SPEC, **{**OPTIONS, **options})._replace(door="intrinsic reward"),), SPEC)


def watch(pipeline, states, batch):
    """What the steps of an unroll are paid, which begins where its episodes do: extras `[T, B, ...]`."""
    join = lambda first, later: jnp.concatenate([first[None], later])  # noqa: E731
    timesteps = jax.tree.map(join, hooks.restart(batch.start), batch.timestep)
    memory = hooks.remember(pipeline, B)
    _, extras = jax.lax.scan(lambda m, t: hooks.observe(pipeline, states, m, t), memory, timesteps)
    return jax.tree.map(lambda leaf: leaf[1:], extras)


def learn(pipeline, states, batch, key):
    """The same, then one step: extras, states, bonus, metrics."""
    extras = watch(pipeline, states, batch)
    states, output, metrics = hooks.step(pipeline, key, states, batch._replace(extras=extras), HOST)
    return extras, states, output.bonus, metrics


PIPELINE = bonus()
update = jax.jit(partial(learn, PIPELINE))


@pytest.fixture(scope="module")
def fresh():
    return jax.jit(lambda key: hooks.init(PIPELINE, key, HOST))(jax.random.key(1))


def brute_force(params, batch, history=T):
    """Bonuses `[T, B]` and `tau_{t-1}` `[T, B, D]`, one episode after the other."""
    embed = jax.jit(lambda place: MODEL.apply(params, {"place": place}, method="embed"))
    table = np.asarray(embed(np.arange(PLACES)))
    advance = jax.jit(lambda tau, e: MODEL.apply(params, tau, e, method="advance"))
    paid, before = np.zeros((T, B)), np.zeros((T, B, D))
    for b in range(B):
        embeddings, trajectories = [table[batch.start.obs["place"][b]]], [np.zeros(D)]
        for t in range(T):
            before[t, b] = trajectories[-1]
            tau = np.asarray(advance(trajectories[-1][None], embeddings[-1][None]))[0]
            e = table[batch.timestep.next_obs["place"][t, b]]
            pairs = list(zip(embeddings, trajectories, strict=True))[-history:]
            paid[t, b] = min(np.sum((old - e) ** 2) / (np.linalg.norm(past - tau) + 1e-6) for old, past in pairs)
            embeddings.append(e)
            trajectories.append(tau)
            if batch.timestep.last[t, b]:
                embeddings, trajectories = [table[batch.timestep.obs["place"][t, b]]], [np.zeros(D)]
    return paid, before


def test_bonuses_are_those_of_brute_force_and_a_new_episode_begins_anew(fresh):
    batch = rollout()
    extras, _, _, _ = update(fresh, batch, jax.random.key(0))
    paid, before = brute_force(fresh["deir"].params, batch)
    np.testing.assert_allclose(extras["deir/bonus"], paid, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(extras["deir/trajectory"], before, rtol=1e-5, atol=1e-6)
    assert (paid[0] > 0).all()  # the observation that opens an episode is one to compare with


def test_a_shorter_history_forgets_the_oldest(fresh):
    batch = rollout(1)
    pipeline = bonus(history=2)
    extras = jax.jit(partial(watch, pipeline))(fresh, batch)
    short, _ = brute_force(fresh["deir"].params, batch, history=2)
    np.testing.assert_allclose(extras["deir/bonus"], short, rtol=1e-5, atol=1e-5)
    assert not np.allclose(short, brute_force(fresh["deir"].params, batch)[0])
    assert hooks.remember(pipeline, B)["deir"].embeddings.shape == (B, 2, D)


def test_an_observation_seen_before_in_the_episode_pays_nothing(fresh):
    place = np.array([0, 1, 2, 1, 0, 3, 2, 3, 0], np.int32)[:, None].repeat(B, 1)
    last = np.zeros((T, B), bool)
    last[END] = True
    batch = steps(place, place[1:], np.zeros((T, B), int), last)
    raw = np.asarray(update(fresh, batch, jax.random.key(0))[0]["deir/bonus"])
    np.testing.assert_array_equal(raw[:, 0] > 0, [1, 1, 0, 0, 1, 0, 0, 0])
    # The end comes with the 3, which then opens the next episode: it and all before it are forgotten.
    np.testing.assert_array_equal(raw[:, 1] > 0, [1, 1, 0, 0, 1, 1, 0, 1])


def test_the_bonus_is_standardised_by_moving_moments(fresh):
    states, mean, variance = fresh, 0.0, 1.0
    for turn in range(3):
        extras, states, paid, _ = update(states, rollout(turn), jax.random.key(turn))
        raw = np.asarray(extras["deir/bonus"], np.float64)
        mean = 0.9 * mean + 0.1 * raw.mean()
        variance = 0.9 * variance + 0.1 * ((raw - mean) ** 2).mean()
        np.testing.assert_allclose(paid, (raw - mean) / (np.sqrt(variance) + 1e-5), rtol=1e-4, atol=1e-5)


def test_the_first_unroll_fills_the_queue_and_later_ones_add_what_pays(fresh):
    first, second = rollout(0), rollout(1)
    _, states, _, metrics = update(fresh, first, jax.random.key(0))
    assert metrics["deir/added"] == (B + T * B) / (T * B)
    extras, states, _, metrics = update(states, second, jax.random.key(1))
    raw = np.asarray(extras["deir/bonus"]).reshape(-1)
    keep = raw >= raw.mean()
    assert 0 < keep.sum() < T * B
    np.testing.assert_allclose(metrics["deir/added"], keep.mean(), rtol=1e-6)
    rows = [first.start.obs["place"], first.timestep.next_obs["place"].reshape(-1)]
    rows = np.concatenate([*rows, second.timestep.next_obs["place"].reshape(-1)[keep]])
    ring = np.zeros(20, np.int32)
    for number, place in enumerate(rows):
        ring[number % 20] = place
    queue = states["deir"].queue
    np.testing.assert_array_equal(queue.obs["place"], ring)
    assert (queue.place, queue.filled) == (len(rows) % 20, 20)


def test_of_more_than_the_queue_holds_the_latest_stay():
    queue = deir.Queue(jnp.zeros(5, jnp.int32), jnp.int32(3), jnp.int32(3))
    keep = np.arange(20) % 2 == 1
    queue, added = jax.jit(deir.enqueue)(queue, jnp.arange(20), keep)
    assert (added, queue.filled, queue.place) == (10, 5, 3)
    np.testing.assert_array_equal(queue.obs, [15, 17, 19, 11, 13])


def test_false_successors_differ_from_the_truth_or_do_not_count():
    draw = jax.jit(deir.false_successors)
    truth = {"place": jnp.full(500, 3)}
    queue = deir.Queue({"place": jnp.array([3, 5, 3, 9])}, jnp.int32(3), jnp.int32(3))
    false, counts = draw(queue, jax.random.key(0), truth)
    np.testing.assert_array_equal(counts, false["place"] == 5)
    # One of two draws out of three is a 5 unless both are 3: 1 - 4/9. The fourth place is not in use.
    assert abs(float(counts.mean()) - 5 / 9) < 0.07
    assert set(np.unique(false["place"])) == {3, 5}


def test_rows_whose_episode_ended_leave_the_gradient_as_it_is(fresh):
    queue = deir.Queue({"place": jnp.arange(20) % PLACES}, jnp.int32(0), jnp.int32(20))
    batch = rollout()
    flat = jax.tree.map(lambda leaf: jnp.asarray(leaf).reshape(-1), (batch.obs, batch.action, batch.timestep.next_obs))
    records = deir.Records(jnp.ones((T * B, D)), *flat, ~jnp.asarray(batch.timestep.last).reshape(-1))
    slope = jax.jit(jax.grad(lambda params, rows: deir.discriminate(MODEL, params, queue, jax.random.key(0), rows)[0]))
    (row,) = np.flatnonzero(~np.asarray(records.counts))
    before = slope(fresh["deir"].params, records)
    ended = records._replace(next_obs={"place": records.next_obs["place"].at[row].add(3) % PLACES})
    other = records._replace(next_obs={"place": records.next_obs["place"].at[row - 1].add(3) % PLACES})
    equal = jax.tree.map(np.array_equal, before, slope(fresh["deir"].params, ended))
    assert all(jax.tree.leaves(equal))
    assert not all(jax.tree.leaves(jax.tree.map(np.array_equal, before, slope(fresh["deir"].params, other))))


def test_rows_that_draw_no_false_successor_count_as_true_ones_alone(fresh):
    place = jnp.full(6, 3)
    queue = deir.Queue({"place": place}, jnp.int32(0), jnp.int32(6))
    records = deir.Records(jnp.ones((6, D)), {"place": place - 1}, jnp.zeros(6, int), {"place": place}, place > 0)
    found = jax.jit(partial(deir.discriminate, MODEL))(fresh["deir"].params, queue, jax.random.key(0), records)
    logit = MODEL.apply(fresh["deir"].params, *records[:4])[0][0]
    np.testing.assert_allclose(found[0], np.log1p(np.exp(-logit)) / 2, rtol=1e-5)
    assert found[1]["accuracy"] == (logit > 0)


def test_the_discriminator_learns_what_follows(fresh):
    states, found = fresh, []
    for turn in range(300):
        _, states, _, metrics = update(states, rollout(turn), jax.random.key(turn))
        found.append((float(metrics["deir/loss"]), float(metrics["deir/accuracy"])))
    (loss, accuracy), late = found[0], np.mean(found[-10:], 0)
    assert late[0] < 0.6 * loss
    assert late[1] > max(0.8, accuracy)


def test_no_gradient_flows_through_the_bonus(fresh):
    step = jax.tree.map(lambda leaf: leaf[0], rollout().timestep)
    memory = jax.tree.map(jnp.ones_like, hooks.remember(PIPELINE, B))

    def paid(params):
        states = {"deir": fresh["deir"]._replace(params=params)}
        return hooks.observe(PIPELINE, states, memory, step)[1]["deir/bonus"].sum()

    slope = jax.jit(jax.grad(paid))(fresh["deir"].params)
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(slope))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"queue": 0}, "queue must be above 0, not 0."),
        ({"momentum": 1.0}, "momentum must be at least 0 and below 1, not 1.0."),
        ({"epochs": 0}, "epochs must be above 0, not 0."),
        ({"history": 0}, "history must be above 0, not 0."),
    ],
)
def test_bad_options_are_one_sentence(options, sentence):
    with pytest.raises(UsageError, match=sentence):
        deir.make(SPEC, **options)


def test_a_queue_smaller_than_the_environments_is_one_sentence(fresh):
    pipeline = bonus(queue=1)
    with pytest.raises(UsageError, match="queue must be at least 1 for each of the 2 environments, not 1"):
        jax.eval_shape(partial(learn, pipeline), fresh, rollout(), jax.random.key(0))


def test_numbers_that_are_no_integers_need_a_word_on_how_to_keep_them():
    spec = dataclasses.replace(SPEC, obs=Array((3,), "float32"))
    with pytest.raises(UsageError, match="queue_dtype must be float16 or float32"):
        deir.make(spec)
    member = deir.make(spec, queue_dtype="float16", queue=10)
    state = jax.eval_shape(lambda key: member.init(key, HOST._replace(spec=spec)), jax.random.key(0))
    assert (state.queue.obs.shape, state.queue.obs.dtype) == ((10, 3), jnp.float16)


@pytest.mark.slow
@pytest.mark.parametrize("loop", [device_loop, host_loop])
def test_an_agent_trains_with_it_in_both_loops(loop):
    env = envs.make("Chain-v0")
    options = {f"deir.{name}": OPTIONS[name] for name in ("embedding", "hidden", "queue", "epochs", "minibatch_size")}
    options["deir.queue_dtype"] = "float32"
    agent = agents.make("ppo", env.spec, bonus="deir", hidden=(8,), unroll=16, **options)
    rows = drive(loop(agent, env, n=4), 4)
    assert all(np.isfinite(column(row, "deir/loss")).all() for row in rows)
    assert all((column(row, "deir/bonus") > 0).all() for row in rows)
