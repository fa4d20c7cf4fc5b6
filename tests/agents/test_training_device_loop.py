"""The device loop: any number of updates in one call of one program, exact about what was not finite and where."""

import re
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training_runs import device_loop, host_loop, nothing_compiles, same_bits

import agents
import envs
from agents.training.config import TrainConfig
from agents.training.device_loop import DeviceLoop
from agents.training.evaluation import Evaluator
from agents.training.setup import prepare
from envs.wrappers import parse

CHAIN = envs.make("Chain-v0")
TOTAL = 7


@pytest.fixture(scope="module", autouse=True)
def _cache(compilation_cache):
    prepare(TrainConfig())


def agent(*broken):
    """Impala whose reward is not a number in these updates, counted from 0; it reports its progress."""
    made = agents.make("impala", CHAIN.spec, hidden=(8,), unroll=4)

    def update(key, state, rollout):
        bad = jnp.isin(state.updates, jnp.array(broken, jnp.int32))
        reward = jnp.where(bad, jnp.nan, rollout.timestep.reward)
        state, metrics = made.update(key, state, rollout._replace(timestep=rollout.timestep._replace(reward=reward)))
        return state, {**metrics, "progress": state.knobs["progress"]}

    return made._replace(update=update)


@pytest.fixture(scope="module", params=[(0,), (3, 4)], ids=["one seed", "two seeds"])
def loops(request):
    """Two loops alike, of an agent that breaks in its updates 2 and 4."""
    return [device_loop(agent(2, 4), CHAIN, n=4, seeds=request.param) for _ in range(2)]


def test_one_call_of_many_updates_is_many_calls_of_one(loops):
    many, single = loops
    for loop in loops:
        loop.start()
    singles = [single.advance(total=TOTAL) for _ in range(6)]
    reports = [many.advance(count=1, total=TOTAL)]
    with nothing_compiles():
        reports += [many.advance(count=count, total=TOTAL) for count in (2, 3)]
    assert many.updates == single.updates == 6
    for index in range(len(many.seeds)):
        same_bits(many.tree(index), single.tree(index))
        assert [report.skipped[index] for report in reports] == [0, 1, 1]
    for report, update in zip(reports, (0, 2, 5), strict=True):
        same_bits(report.metrics, singles[update].metrics)
        same_bits(report.batch, singles[update].batch)
        assert all(values["progress"] == np.float32(update / TOTAL) for values in report.metrics)


def test_a_call_ends_with_the_update_that_is_one_too_many(loops):
    loop, single = loops
    for each in loops:
        each.start()
    singles = [single.advance(total=TOTAL) for _ in range(5)]
    seeds = len(loop.seeds)
    report = loop.advance(count=20, total=TOTAL, allow=[1] * seeds)
    assert loop.updates == 5
    assert report.skipped == [2] * seeds
    assert all(values["nonfinite"] == 1 for values in report.metrics)
    same_bits(report.batch, singles[4].batch)
    for index in range(seeds):
        same_bits(loop.tree(index), single.tree(index))


def test_the_host_loop_counts_the_same():
    loop = host_loop(agent(2, 4), CHAIN, n=4)
    loop.start()
    report = loop.advance(count=4, total=TOTAL)
    assert (loop.updates, report.skipped) == (4, [1])
    assert report.metrics[0]["progress"] == np.float32(3 / TOTAL)
    report = loop.advance(count=9, total=TOTAL, allow=[0])
    assert (loop.updates, report.skipped) == (5, [1])
    loop.close()


def test_the_state_is_given_away_and_its_memory_used(loops):
    loop = loops[0]
    loop.start()
    before = jax.tree.leaves(loop._tree)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # JAX warns of donated buffers that it cannot use
        loop.advance(count=2)
    assert all(leaf.is_deleted() for leaf in before)


@pytest.mark.parametrize(
    ("seeds", "together", "branches"), [((0,), True, True), ((0, 1), False, True), ((0, 1), True, False)]
)
def test_seeds_keep_their_branches_but_side_by_side(seeds, together, branches):
    """Under `vmap` a branch becomes a selection of what both sides computed."""
    made = agent()

    def update(key, state, rollout):
        learn = lambda state: made.update(key, state, rollout)[0].params  # noqa: E731
        params = jax.lax.cond(rollout.timestep.last.any(), learn, lambda state: state.params, state)
        return state._replace(params=params), {}

    loop = device_loop(made._replace(update=update), CHAIN, n=4, seeds=seeds, together=together)
    program = jax.make_jaxpr(loop._advance)(
        jax.eval_shape(loop._start, loop._seeds, None, ()), (), 1, 1, np.zeros(len(seeds), np.int32)
    )
    assert ("cond[" in str(program)) == branches


def test_seeds_that_take_turns_are_each_alone():
    loops = {seeds: device_loop(agent(), CHAIN, n=4, seeds=seeds, together=False) for seeds in ((3, 4), (3,), (4,))}
    for loop in loops.values():
        loop.start()
        loop.advance(count=3, total=TOTAL)
    same_bits(loops[3, 4].tree(0), loops[3,].tree())
    same_bits(loops[3, 4].tree(1), loops[4,].tree())


def test_seeds_side_by_side_are_each_alone_but_for_rounding():
    turns, both = (device_loop(agent(), CHAIN, n=4, seeds=(3, 4), together=together) for together in (False, True))
    for loop in (turns, both):
        loop.start()
        loop.advance(count=3, total=TOTAL)
    params = [loop.learner.state.params for loop in (turns, both)]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), *params)


def test_initial_weights_of_many_seeds_are_no_batch():
    """XLA's CPU waits for ever on batches of QR decompositions, as many at a time as there are cores."""
    loop = device_loop(agents.make("ppo", CHAIN.spec, bonus="rnd", hidden=(8,)), CHAIN, n=4, seeds=(0, 1, 2))
    program = loop._start.lower(loop._seeds, None, ()).as_text()
    shapes = re.findall(r"custom_call @lapack_sgeqrf_ffi\(.*?: \(tensor<([\dx]+)xf32>\)", program)
    assert shapes
    assert all(shape.count("x") == 1 for shape in shapes)


def banked(lengths):
    """Episodes of the lengths in a bank of a megabyte."""
    bank = np.resize(np.array([[length, 0] for length in lengths], np.int32), (1 << 17, 2))
    counting = envs.make("Counting-device-v0")
    return counting._replace(data=bank, draw=lambda key, data: data[jax.random.randint(key, (), 0, len(data))])


def test_data_is_an_argument_of_the_program():
    env = banked([2, 4])
    made = agents.make("impala", env.spec, hidden=(8,), unroll=16)
    loop = DeviceLoop(made, env, parse(""), n=4, seeds=(0,))
    loop.start()
    (values,) = loop.advance(count=2).metrics
    assert 2 <= values["episode_length"] <= 4
    shapes = jax.eval_shape(loop._start, loop._seeds, None, env.data)
    lowered = loop._advance.lower(shapes, env.data, np.int32(1), np.int32(1), np.zeros(1, np.int32))
    assert len(lowered.as_text()) < env.data.nbytes


def test_evaluation_plays_on_the_levels_kept_apart():
    env = banked([2])._replace(evaluation=banked([5]))
    made = agents.make("impala", env.spec, hidden=(8,), unroll=4)
    loop = DeviceLoop(made, env, parse(""), n=4, seeds=(0,))
    loop.start()
    state = jax.tree.map(lambda leaf: leaf[0], loop.learner.state)
    for played, length in ((env, 5), (env._replace(evaluation=None), 2)):
        scores = Evaluator(made, played, parse(""), episodes=3)(state, loop.wrapper_state(), 0)
        np.testing.assert_array_equal(scores.lengths, length)
