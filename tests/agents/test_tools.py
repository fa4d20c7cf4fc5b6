"""`Tool` and `Search`, by a fake of a few lines each, lent what a script would lend them."""

import jax
import jax.numpy as jnp
import numpy as np

import agents
import envs
from agents.auxiliary.tool import Outcome, Search, Subject, Tool
from agents.training.device_loop import DeviceLoop
from envs.wrappers import parse


def test_a_tool_examines_a_policy_with_what_it_is_lent():
    env = envs.make("Chain-v0", length=4)
    agent = agents.make("ppo", env.spec, hidden=(8,), unroll=4, minibatches=1)
    loop = DeviceLoop(agent, env, parse(""), n=2, seeds=(0,))
    loop.start()
    data = jax.tree.map(lambda leaf: leaf[0], loop.advance().batch)
    state = jax.tree.map(lambda leaf: leaf[0], loop.learner.state)

    def policy(params, obs, carry, first):
        step = data.start._replace(obs=obs, last=first)
        return agent.act(jax.random.key(0), state._replace(params=params), carry, step, True)[0]

    def evaluate(params, seeds):
        return jnp.zeros(len(seeds)) + jnp.abs(params["policy"]["bias"]).sum()

    subject = Subject(policy, state.params, env.spec, data, lambda params, seed, steps: data, evaluate)

    def run(key, seen, subject):
        action = subject.policy(subject.params, subject.data.start.obs, agent.begin(state, 2), subject.data.start.last)
        report = {
            "seen": seen,
            "share_right": (action == 1).mean(),
            "returns": subject.evaluate(subject.params, [0, 1]),
        }
        return report, {"actions": action}

    tool = Tool("fake", (), lambda key, subject: jnp.asarray(subject.data.timestep.last.size), run)
    report, artefacts = jax.jit(lambda key: tool.run(key, tool.init(key, subject), subject))(jax.random.key(0))
    assert report["seen"] == 8
    assert artefacts["actions"].shape == (2,)
    np.testing.assert_allclose(report["returns"], 0.0, atol=0.1)


def test_a_search_asks_and_is_told():
    def ask(key, state, n):
        rates = state["best"] * jnp.exp(0.5 * jax.random.normal(key, (n,)))
        return state, [{"learning_rate": float(rate)} for rate in rates]

    def tell(key, state, proposals, outcomes):
        scores = np.asarray([outcome.score for outcome in outcomes])
        best = int(np.nanargmax(scores))
        return {"best": proposals[best]["learning_rate"]} if scores[best] > state.get("score", -np.inf) else state

    search = Search("fake", lambda key: {"best": 1.0}, ask, tell, lambda state: {"learning_rate": state["best"]})
    state = search.init(jax.random.key(0))
    for turn in range(12):
        key = jax.random.key(turn)
        state, proposals = search.ask(key, state, 8)
        outcomes = [Outcome(-abs(np.log10(p["learning_rate"]) + 2)) for p in proposals]
        outcomes[0] = Outcome(np.nan)  # a trial that failed
        state = search.tell(key, state, proposals, outcomes)
    assert 3e-3 < search.best(state)["learning_rate"] < 3e-2
