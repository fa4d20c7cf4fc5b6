"""The verifier: shares of hand-made and random policies, its properties as data, and its tool on an agent."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import agents
import envs
from agents import registry
from agents.agent import acting_params
from agents.auxiliary.tool import Subject
from agents.auxiliary.verification import properties as data
from agents.auxiliary.verification.intervals import SAFE, VIOLATED, Config, forbidden, halves, make, verify
from agents.auxiliary.verification.network import trace
from agents.auxiliary.verification.properties import Limit, Property
from agents.training import learner
from envs.contract import Array, Box, Discrete, EnvSpec, MultiDiscrete, TimeStep
from envs.errors import UsageError

CHOICES = EnvSpec("Any-v0", "1", Array((3,), "float32", -1.0, 1.0), Discrete(3, ("left", "on", "right")))
NUMBERS = replace(CHOICES, action=Box((-1.0, -1.0), (1.0, 1.0)))


def unit(inputs=1, forbidden=(0,)):
    return Property("unit", "", np.zeros(inputs, np.float32), np.ones(inputs, np.float32), forbidden)


@pytest.mark.parametrize("method", ["linear", "interval", "sample"])
@pytest.mark.parametrize("cycles", [4, 8])
def test_a_known_share_within_2_to_the_minus_k(method, cycles):
    """Oracle (e): x against 0.3 on [0, 1]."""
    network = trace(lambda x: jnp.argmax(jnp.stack([x[0], jnp.float32(0.3)])), 1)
    found = verify(network, unit(), Config(method=method, cycles=cycles))
    assert found.violated == pytest.approx(0.7, abs=2.0**-cycles)
    assert found.safe == pytest.approx(0.3, abs=2.0**-cycles)
    assert found.unknown == 2.0**-cycles
    assert found.verdict == "violated"
    assert found.counter_example[0] > 0.3


def test_a_number_beyond_its_limit():
    network = trace(lambda x: jnp.clip(4 * x[:1] - 2, -1, 1), 1)
    for side, at in (("above", 0.5), ("below", -0.5)):
        found = verify(network, unit(forbidden=(Limit(0, side, at),)), Config(cycles=9))
        assert found.violated == pytest.approx(0.375, abs=2.0**-8)
        assert found.safe == pytest.approx(0.625, abs=2.0**-8)
        assert (found.counter_example[0] > 0.5) == (side == "above")
    both = verify(network, unit(forbidden=(Limit(0, "above", 0.5), Limit(0, "below", -0.5))), Config(cycles=9))
    assert both.violated == pytest.approx(0.75, abs=2.0**-7)


@pytest.mark.parametrize("method", ["linear", "interval"])
def test_brute_force_agrees_within_what_is_unknown(method):
    rng = np.random.default_rng(5)
    w, b, v = (rng.normal(size=shape).astype(np.float32) for shape in ((2, 8), (8,), (8, 4)))
    policy = lambda x: jnp.argmax(jax.nn.relu(x @ w + b) @ v)  # noqa: E731
    property = Property("square", "", -np.ones(2, np.float32), np.ones(2, np.float32), (0, 2))
    found = verify(trace(policy, 2), property, Config(method=method, cycles=14), keep=True)
    side = (np.arange(400, dtype=np.float32) + 0.5) / 200 - 1
    grid = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
    acted = np.asarray(jax.jit(jax.vmap(policy))(grid))
    wrong = np.isin(acted, (0, 2))
    assert 0.1 < wrong.mean() < 0.9
    assert found.violated - 2e-3 <= wrong.mean() <= found.violated + found.unknown + 2e-3
    assert found.unknown < 0.05
    assert found.safe + found.violated + found.unknown == 1
    # Every point of a decided box is as the box says, and the boxes fill the square.
    for (low, high), status in zip(found.boxes, found.status, strict=True):
        inside = ((grid >= low) & (grid <= high)).all(1)
        if status in (SAFE, VIOLATED):
            assert (wrong[inside] == (status == VIOLATED)).all()
    areas = (found.boxes[:, 1] - found.boxes[:, 0]).prod(1)
    assert areas.sum() == pytest.approx(4.0)
    assert areas[found.status == VIOLATED].sum() / 4 == pytest.approx(found.violated)
    assert forbidden(property, policy(found.counter_example))


def test_it_ends_at_every_limit_and_shares_still_add_up():
    network = trace(lambda x: jnp.argmax(jnp.stack([x[0] + 0.1 * x[1], x[2] + 0.3])), 3)
    property = unit(3)
    for limit in ({"boxes": 1}, {"boxes": 50}, {"precision": 0.3}, {"unchecked": 0.4}, {"cycles": 3}):
        found = verify(network, property, Config(**limit))
        assert found.safe + found.violated + found.unknown == 1
        assert found.unknown > 0
        assert found.tested <= limit.get("boxes", 50_000)
        assert found.cycles <= limit.get("cycles", 35)
    fine = verify(network, property, Config(unchecked=0.05))
    assert 0 < fine.unknown <= 0.05
    point = property._replace(high=property.low)
    assert verify(network, point)[:3] == (1.0, 0.0, 0.0)  # 0 against 0.3, in one box
    assert verify(network, point).tested == 1


def test_equal_values_are_nobodys():
    """Where two outputs are always equal, argmax takes the first, and bounds cannot tell: nothing is claimed."""
    found = verify(trace(lambda x: jnp.argmax(jnp.stack([x[0], x[0]])), 1), unit(), Config(cycles=3))
    assert (found.safe, found.violated, found.unknown, found.verdict) == (0, 0, 1, "unknown")


def test_halves():
    boxes = np.array([[[0.0, 2.0], [1.0, 6.0]], [[0.0, 0.0], [1.0, 1.0]]])
    found = halves(boxes, np.array([1, 0]))
    np.testing.assert_array_equal(found[[0, 2]], [[[0, 2], [1, 4]], [[0, 4], [1, 6]]])
    np.testing.assert_array_equal(found[[1, 3]], [[[0, 0], [0.5, 1]], [[0.5, 0], [1, 1]]])


def test_samples_do_not_say_that_they_prove():
    report, _ = run_tool(method="sample", samples=4)
    assert not report["rule"]["formal"]


# ---------------------------------------------------------------------------------------------------------- PROPERTIES


def test_a_property_as_data():
    given = {"name": "a", "inputs": {"0": 0.24, "1-2": [-0.5, 1]}, "forbidden": ["right", 0]}
    found = data.of(given, CHOICES)
    np.testing.assert_array_equal(found.low, np.float32([0.24, -0.5, -0.5]))
    np.testing.assert_array_equal(found.high, np.float32([0.24, 1, 1]))
    assert found.forbidden == (0, 2)
    assert data.of({"name": "a", "forbidden": [1]}, CHOICES).low.tolist() == [-1, -1, -1]
    limits = [{"action": 0, "above": 0.5}, {"action": 1, "below": 0}]
    found = data.of({"name": "a", "forbidden": limits}, NUMBERS)
    assert found.forbidden == (Limit(0, "above", 0.5), Limit(1, "below", 0.0))
    assert forbidden(found, [[0.6, 0.1], [0.4, 0.1], [0.4, -0.1]]).tolist() == [True, False, True]
    unbounded = replace(CHOICES, obs=Array((3,), "float32"))
    assert data.of({"name": "a", "default": [-2, 2], "forbidden": [1]}, unbounded).high.tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"inputs": {"0": [1, -1]}}, "bounds '0' from below by 1, which is above -1"),
        ({"inputs": {"0": [0, 3]}}, "goes beyond the observations, -1 to 1, in input 0"),
        ({"inputs": {"3": 0}}, "names inputs '3', and there are 0 to 2"),
        ({"inputs": {"2-1": 0}}, "names inputs '2-1', and there are 0 to 2"),
        ({"inputs": {"beam": 0}}, "give an index, or a range of them such as 0-5"),
        ({"inputs": {"0-1": 0, "1": 0}}, "bounds some inputs of '1' twice"),
        ({"inputs": {"0": "low"}}, "one number or by"),
        ({"inputs": [0]}, "as an object"),
        ({"forbidden": [0, 1, 2]}, "forbids every action: leave one to choose"),
        ({"forbidden": [3]}, "forbids 3: actions are choices here, 0 to 2"),
        ({"forbidden": ["lft"]}, "forbids 'lft', which is no action: did you mean left"),
        ({"forbidden": []}, "must list what is"),
        ({"forbiden": [0]}, "unknown part 'forbiden': did you mean forbidden"),
        ({"name": 3}, "a property is an object with a"),
    ],
)
def test_what_is_no_property_is_said_in_a_sentence(change, sentence):
    with pytest.raises(UsageError, match=sentence):
        data.of({"name": "a", "forbidden": [0], **change}, CHOICES)


@pytest.mark.parametrize(
    ("forbidden", "sentence"),
    [
        ([{"action": 2, "above": 0}], "limits action 2, and there are 0 to 1"),
        ([{"action": 0, "above": 1.0}], "between its bounds, -1 and 1, not by 1.0"),
        ([{"action": 0}], 'or "below"'),
        ([0], 'or "below"'),
    ],
)
def test_what_is_no_limit_is_said_in_a_sentence(forbidden, sentence):
    with pytest.raises(UsageError, match=sentence):
        data.of({"name": "a", "forbidden": forbidden}, NUMBERS)


def test_environments_that_do_not_fit():
    rule = {"name": "a", "forbidden": [0]}
    with pytest.raises(UsageError, match="leaves input 0 unbounded"):
        data.of(rule, replace(CHOICES, obs=Array((3,), "float32")))
    for obs in (Array((3, 3), "float32", 0.0, 1.0), Array((3,), "int32", 0, 1), {"a": Array((3,), "float32")}):
        with pytest.raises(UsageError, match="one vector of numbers"):
            data.of(rule, replace(CHOICES, obs=obs))
    with pytest.raises(UsageError, match="several choices at once"):
        data.of(rule, replace(CHOICES, action=MultiDiscrete((2, 2))))
    policy = trace(lambda x: x[:2], 3)
    with pytest.raises(UsageError, match="the same kind of action"):
        verify(policy, unit(3))
    with pytest.raises(UsageError, match="bounds 2 inputs, not 3"):
        verify(policy, unit(2))


def test_files(tmp_path):
    path = tmp_path / "rules.json"
    path.write_text(json.dumps([{"name": name, "forbidden": [0]} for name in "ab"]))
    assert [each.name for each in data.read(str(path), CHOICES)] == ["a", "b"]
    for text, sentence in (("[", "cannot be read as JSON"), ("[]", "holds no property")):
        path.write_text(text)
        with pytest.raises(UsageError, match=sentence):
            data.read(str(path), CHOICES)
    path.write_text(json.dumps([{"name": "a", "forbidden": [0]}] * 2))
    with pytest.raises(UsageError, match="two properties one name"):
        data.read(str(path), CHOICES)
    with pytest.raises(UsageError, match="did you mean cartpole"):
        data.read("cartpol", CHOICES)


def test_those_that_come_with_it_fit_their_environments():
    navigation = EnvSpec("Navigation-v0", "1", Array((17,), "float32", -1.0, 1.0), Discrete(7))
    first, second, third = data.read("navigation", navigation)
    assert (first.forbidden, second.forbidden, third.forbidden) == ((5, 6), (0, 1), (0, 6))
    np.testing.assert_array_equal(first.low[:15], second.low[:15][::-1])  # mirrored, the heading included
    np.testing.assert_array_equal(first.high[:15], second.high[:15][::-1])
    np.testing.assert_array_equal(third.low[:15], third.low[:15][::-1])
    assert len(data.read("cartpole", envs.make("CartPole-v1", backend="device").spec)) == 2
    hopper = EnvSpec("Hopper-v5", "1", Array((11,), "float32"), Box((-1.0,) * 3, (1.0,) * 3))
    assert data.read("hopper", hopper)[0].forbidden == (
        Limit(2, "above", np.float32(0.9)),
        Limit(2, "below", -np.float32(0.9)),
    )


# ---------------------------------------------------------------------------------------------------------------- TOOL


def run_tool(**options):
    """The tool on an untrained DQN with one rule of ours."""
    spec = replace(CHOICES, action=Discrete(3))
    agent = agents.make("dqn", spec, hidden=(8, 8), duelling=True)
    state = learner.begin(agent, jax.random.key(1), spec)

    def policy(params, obs, carry, first):
        step = TimeStep(obs, jnp.zeros(1), jnp.ones(1), first, obs, {})
        return agent.act(jax.random.key(0), state._replace(params=params), carry, step, True)[0]

    rule = data.of({"name": "rule", "forbidden": [0]}, spec)
    subject = Subject(policy, acting_params(state), spec, None, lambda *_: None, lambda *_: None)
    tool = make(property="cartpole", **options)
    return tool.run(jax.random.key(0), [rule], subject)


def test_the_tool_is_a_member_and_confirms_its_counter_example():
    assert registry.load("verification", "intervals").make is make
    assert set(registry.members("verification")) == {"intervals"}
    report, artefacts = run_tool()
    found = report["rule"]
    assert found["violated"] + found["safe"] + found["unknown"] == 1
    assert found["violated"] > 0
    assert found["unknown"] < 0.05
    assert found["formal"]
    assert found["counter_example"]["confirmed"]
    assert found["counter_example"]["action"] == 0
    assert artefacts["rule"].tolist() == found["counter_example"]["obs"]


def test_options_are_checked():
    with pytest.raises(UsageError, match="needs a property"):
        make()
    with pytest.raises(UsageError, match="cycles must be between 1 and 50, not 51"):
        make(property="cartpole", cycles=51)
    tool = make(property="cartpole,cartpole")
    spec = envs.make("CartPole-v1", backend="device").spec
    with pytest.raises(UsageError, match="two properties are called 'falling right'"):
        tool.init(jax.random.key(0), Subject(None, None, spec, None, None, None))
