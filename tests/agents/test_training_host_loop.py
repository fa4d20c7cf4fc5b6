"""The host loop by itself: what it keeps where. That it learns and resumes is told with the other loops."""

import jax
import numpy as np
from training_runs import same_bits

import agents
import envs
from agents.training.host_loop import HostLoop
from envs.wrappers import Wrapper, chain, parse


def test_what_no_wrapper_changes_stays_on_the_host_and_changes_no_bit():
    maker = envs.make("Counting-v0")
    agent = agents.make("ppo", maker.spec, encoder="mlp", hidden=(8,), unroll=8, epochs=1, minibatches=1)
    trees = []
    for wrapper in (parse(""), chain(Wrapper("one that changes nothing"))):
        loop = HostLoop(agent, maker, wrapper, n=3, seed=0)
        try:
            loop.start()
            trees.append(loop.tree())
        finally:
            loop.close()
    unwrapped, wrapped = trees
    for part in ("learner", "pending", "engine"):
        same_bits(unwrapped[part], wrapped[part])
    same_bits(unwrapped["acting"].timestep, wrapped["acting"].timestep)
    assert all(type(leaf) is np.ndarray for leaf in jax.tree.leaves(unwrapped["acting"].timestep))
