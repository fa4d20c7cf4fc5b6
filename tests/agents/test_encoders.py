"""The encoder's contract, by a fake of a few lines that remembers and sows: found by name, in both loops."""

import types
from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import agents
import envs
from agents import registry
from agents.training.device_loop import DeviceLoop
from agents.training.evaluation import host_view
from agents.training.host_loop import HostLoop
from envs.errors import UsageError
from envs.wrappers import parse


class Summing(nn.Module):
    """Adds up what it has seen in an episode, and asks for small weights through a sown loss."""

    width: int

    def begin(self, n):
        return jnp.zeros((n, self.width))

    @nn.compact
    def __call__(self, obs, carry, first, *, train):
        carry = jnp.where(first[:, None], 0.0, carry) + nn.Dense(self.width)(obs)
        self.sow("losses", "small", 0.01 * (carry**2).mean())
        self.sow("metrics", "largest", jnp.abs(carry).max())
        self.sow("taps", "sum", carry)
        return jnp.tanh(carry), carry


@dataclass(frozen=True)
class Config:
    """Options of the fake."""

    width: int = 4
    """Units."""


@pytest.fixture(autouse=True)
def door(monkeypatch):
    real = registry.load
    fake = types.SimpleNamespace(Config=Config, make=lambda spec, width: Summing(width))
    member = registry.Member("summing", "encoder", "", "", "", "ready")
    known = registry.members
    monkeypatch.setattr(registry, "members", lambda name: {"summing": member} if name == "encoder" else known(name))
    monkeypatch.setattr(registry, "load", lambda door, name: fake if door == "encoder" else real(door, name))


CHAIN = envs.make("Chain-v0", length=4)
OPTIONS = {"encoder": "summing", "summing.width": 6, "unroll": 8}


@pytest.mark.parametrize(("name", "more"), [("ppo", {"minibatches": 2}), ("impala", {})])
@pytest.mark.parametrize("loop", ["device", "host"])
def test_an_encoder_is_found_by_name_remembers_and_its_sown_loss_is_trained(loop, name, more):
    agent = agents.make(name, CHAIN.spec, **OPTIONS, **more)
    assert agent.config["summing.width"] == 6
    if loop == "device":
        made = DeviceLoop(agent, CHAIN, parse(""), n=4, seeds=(0,))
    else:
        made = HostLoop(agent, host_view(CHAIN), parse(""), n=4, seed=0)
    made.start()
    before = jax.tree.leaves(made.learner.state.params)[0].copy()
    metrics = [made.advance().metrics[0] for _ in range(2)][-1]
    made.close()
    assert metrics["small_loss"] > 0
    assert metrics["largest"] > 0
    assert np.isfinite(metrics["loss"])
    assert not np.array_equal(before, jax.tree.leaves(made.learner.state.params)[0])
    memory = [leaf for leaf in jax.tree.leaves(agent.begin(made.learner.state, 3)) if leaf.shape == (3, 6)]
    assert len(memory) == 1


def test_an_unknown_encoder_and_a_foreign_option_are_one_sentence():
    with pytest.raises(UsageError, match="summing"):
        agents.make("ppo", CHAIN.spec, encoder="sumning")
    with pytest.raises(UsageError, match="no option"):
        agents.make("ppo", CHAIN.spec, encoder="summing", **{"summing.height": 3})
    with pytest.raises(UsageError, match="belongs to no part"):
        agents.make("ppo", CHAIN.spec, **{"rnd.coef": 0.1})
