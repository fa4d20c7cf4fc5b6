"""Every hook of an auxiliary, exercised by a small fake in both loops, under `vmap` over seeds, and through resume."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import envs
from agents import impala, onpolicy, ppo
from agents.agent import Unroll
from agents.auxiliary import pipeline as hooks
from agents.auxiliary.auxiliary import Auxiliary
from agents.auxiliary.needs import check
from agents.auxiliary.pipeline import Pipeline
from agents.training import checkpoints
from agents.training.device_loop import DeviceLoop
from agents.training.host_loop import HostLoop
from envs.contract import HostMaker
from envs.errors import UsageError
from envs.wrappers import parse

LENGTH, LIMIT = 8, 5


class Own(NamedTuple):
    params: Any
    opt: Any
    calls: Any


def everything() -> Auxiliary:
    """One auxiliary with every hook, whose effects can all be told from outside."""
    optimizer = optax.sgd(0.5)

    def init(key, host):
        own = jnp.zeros(2)
        return Own(own, optimizer.init(own), {"step": jnp.zeros(()), "after": jnp.zeros(())})

    def memory(host):
        return jnp.zeros((), jnp.int32)

    def observe(state, memory, timestep):
        # The first observation of an episode makes it 1, so a step's age is how many states its episode has shown.
        return memory + 1, {"age": memory + 1}

    def step(key, state, batch, host):
        calls = {**state.calls, "step": state.calls["step"] + 1}
        age = batch.extras["age"].astype(jnp.float32)
        return state._replace(calls=calls), age, {"age": age.mean(), "oldest": age.max()}

    def loss(params, key, state, batch, host):
        return ((params[1] - 3.0) ** 2).sum(), {}

    def reparam(state, params):
        # Acting is bent towards action 1, so that what was done tells whether the hook ran.
        bias = params["policy"]["bias"].at[1].add(20.0)
        return {**params, "policy": {**params["policy"], "bias": bias}}

    def after(key, state, agent_state, host):
        calls = {**state.calls, "after": state.calls["after"] + 1}
        average = jax.tree.map(lambda p: p * 1.0, agent_state.params)
        return state._replace(calls=calls), agent_state._replace(acting=average)

    return Auxiliary(
        "everything",
        needs=("unroll", "discrete", "per_example", "taps:features"),
        init=init,
        memory=memory,
        observe=observe,
        step=step,
        loss=loss,
        reparam=reparam,
        after=after,
        coef=1.0,
        every=2,
        optimizer=optimizer,
        door="intrinsic reward",
    )


def agent(module, spec, **options):
    config = module.Config(unroll=LENGTH, hidden=(8,), **options)
    base = onpolicy.base(config, spec, {})
    base = base._replace(pipeline=Pipeline((everything(),), spec))
    made = module.assemble(module.__name__.split(".")[-1], base)

    # `after` sets `acting`, whose place in the tree must be there from the start.
    def init(key, spec):
        state = made.init(key, spec)
        return state._replace(acting=state.params)

    return made._replace(init=init)


CHAIN = envs.make("Chain-v0", length=4, max_steps=LIMIT)
COUNTING = partial(envs.make, "Counting-v0")


def device(module=ppo, seeds=(0,)):
    return DeviceLoop(agent(module, CHAIN.spec), CHAIN, parse(""), n=3, seeds=seeds)


def host(module=ppo):
    maker = envs.make("FrozenLake-v1", max_steps=LIMIT)
    assert isinstance(maker, HostMaker)
    return HostLoop(agent(module, maker.spec), maker, parse(""), n=3, seed=0)


@pytest.mark.parametrize("module", [ppo, impala])
@pytest.mark.parametrize("loop", [device, host])
def test_every_hook_runs_in_every_loop(loop, module):
    made = loop(module)
    made.start()
    reports = [made.advance().metrics[0] for _ in range(4)]
    made.close()
    state = made.learner.state if loop is host else jax.tree.map(lambda leaf: leaf[0], made.learner.state)
    own = state.auxiliaries["everything"]
    assert own.calls["step"] == 4
    assert own.calls["after"] == 2  # every second update
    # SGD on (own - 3)^2 with step 0.5 lands on 3 at once and stays.
    np.testing.assert_allclose(own.params, 3.0)
    assert reports[-1]["everything/loss"] == 0
    # An episode of at most LIMIT steps shows at most LIMIT + 1 states, and memory starts anew at each.
    assert reports[-1]["everything/oldest"] <= LIMIT + 1
    assert reports[-1]["everything/age"] > 1
    # `reparam` bends every action to 1.
    assert state.acting is not None
    assert reports[-1]["entropy"] < 1e-3


def test_observe_sees_every_episode_from_its_first_state():
    made = host()
    made.start()
    rollout = made._pending
    made.advance()
    made.close()
    memory, expected = np.ones(3, int), []
    for last in np.asarray(rollout.timestep.last):
        memory = memory + 1
        expected.append(memory.copy())
        memory[last] = 1  # the reset's state is the first of the next episode
    seen = made.learner.memory["everything"]
    np.testing.assert_array_equal(seen, memory)
    assert np.max(expected) <= LIMIT + 1


def test_an_auxiliary_that_restarts_by_itself_remembers_what_others_do():
    plain = everything()

    def observe(state, memory, timestep):
        # The observation that opens the next episode is the first that the new memory has seen. Calls stay.
        age, calls = memory
        return (jnp.where(timestep.last, 1, age + 1), calls + 1), {"age": age + 1}

    def age_and_calls(host):
        return jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32)

    own = plain._replace(name="own", memory=age_and_calls, observe=observe, restarts=True)
    pipeline = Pipeline((plain, own), CHAIN.spec)
    batch = envs.batch(CHAIN, 3)
    states, first = batch.reset(jax.random.key(0))
    nothing = {"everything": (), "own": ()}
    memory, _ = hooks.observe(pipeline, nothing, hooks.remember(pipeline, 3), first)
    ended = 0
    for turn in range(2 * LIMIT + 1):
        states, timestep = batch.step(jax.random.key(turn), states, jnp.asarray([0, 1, turn % 2]))
        memory, extras = hooks.observe(pipeline, nothing, memory, timestep)
        np.testing.assert_array_equal(extras["own/age"], extras["everything/age"])
        np.testing.assert_array_equal(memory["own"][0], memory["everything"])
        np.testing.assert_array_equal(memory["own"][1], turn + 2)
        ended += int(timestep.last.sum())
    assert ended >= 3


def test_seeds_side_by_side_are_the_seeds_alone():
    together = device(seeds=(3, 4))
    together.start()
    for _ in range(3):
        together.advance(total=8)
    for index, seed in enumerate((3, 4)):
        alone = device(seeds=(seed,))
        alone.start()
        for _ in range(3):
            alone.advance(total=8)
        for a, b in zip(jax.tree.leaves(together.tree(index)), jax.tree.leaves(alone.tree()), strict=True):
            if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
                a, b = jax.random.key_data(a), jax.random.key_data(b)
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("loop", [device, host])
def test_every_hooks_state_survives_a_resume_bit_for_bit(loop, tmp_path):
    straight = loop()
    straight.start()
    for _ in range(2):
        straight.advance(total=8)
    path = checkpoints.save(tmp_path, 2, straight.tree(), {})
    expected = [straight.advance(total=8).metrics[0] for _ in range(2)]
    straight.close()

    resumed = loop()
    tree, _ = checkpoints.load(path, resumed.template())
    resumed.restore([tree])
    found = [resumed.advance(total=8).metrics[0] for _ in range(2)]
    resumed.close()
    for a, b in zip(expected, found, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)
    for a, b in zip(jax.tree.leaves(straight.learner.state), jax.tree.leaves(resumed.learner.state), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("need", "sentence"),
    [
        ("grid_key", "hash of the full state"),
        ("mission", "mission text"),
        ("replay", "replay buffer"),
        ("teacher", "policy to learn from"),
        ("taps:attention", "shows its attention"),
        ("grid_kye", "grid_key"),
    ],
)
def test_a_need_that_is_not_met_is_one_sentence(need, sentence):
    spec = envs.make("CartPole-v1").spec
    with pytest.raises(UsageError, match=sentence):
        check(Pipeline((Auxiliary("fake", needs=(need,)),), spec), "ppo", Unroll(4), lends=("taps:features",))
