"""The device loop: environments, acting, auxiliaries and update in one jitted function, many seeds by `vmap`."""

import jax
import jax.numpy as jnp
import numpy as np

import envs
from agents.agent import Agent
from agents.training import actor, learner
from agents.training.actor import Acting
from agents.training.loop import Loop, Report
from envs.contract import Env, PyTree
from envs.wrappers import Chain


class DeviceLoop(Loop):
    """One agent on a batch of device environments, for several seeds at once."""

    def __init__(self, agent: Agent, env: Env, wrapper: Chain, *, n: int, seeds: tuple[int, ...]):
        self.spec = spec = wrapper.spec(env.spec)
        self.seeds = seeds
        length = agent.feed.length
        self.steps_per_update = n * length
        self.updates = 0
        batch = envs.batch(env, n)

        def start(seed, params):
            # The order of keys does not matter, but every use has a key of its own.
            init_key, act_key, env_key, learn_key = jax.random.split(jax.random.key(seed), 4)
            states, raw = batch.reset(jax.random.fold_in(env_key, 0))
            _, timestep = wrapper.timestep(wrapper.init(env.spec, n), raw, False)
            moved = learner.given(learner.init(agent, init_key, spec, timestep, n), params)
            acting = actor.begin(agent, wrapper, env.spec, moved.state, jax.random.fold_in(act_key, 0), raw)
            return {
                "learner": moved,
                "acting": acting,
                "envs": states,
                "keys": (act_key, env_key, learn_key),
                "updates": jnp.zeros((), jnp.int32),
            }

        def advance(tree, progress):
            act_key, env_key, learn_key = tree["keys"]
            state = tree["learner"].state

            def step(carry, number):
                now, states = carry
                states, raw = batch.step(jax.random.fold_in(env_key, number), states, now.sent)
                key = jax.random.fold_in(act_key, number)
                after = actor.decide(agent, wrapper, False, key, state, now.carry, now.wrapper, raw)
                return (after, states), (now.action, now.extras, after.timestep)

            numbers = 1 + tree["updates"] * length + jnp.arange(length)
            begun: Acting = tree["acting"]
            (acting, states), taken = jax.lax.scan(step, (begun, tree["envs"]), numbers)
            rollout = actor.Rollout(begun.before, begun.timestep, *taken)
            key = jax.random.fold_in(learn_key, tree["updates"])
            moved, metrics = learner.learn(agent, spec, key, tree["learner"], rollout, progress)
            after = {
                "learner": moved,
                "acting": acting,
                "envs": states,
                "keys": tree["keys"],
                "updates": tree["updates"] + 1,
            }
            return after, metrics, rollout

        self._start = jax.jit(jax.vmap(start, in_axes=(0, None)))
        self._advance = jax.jit(jax.vmap(advance, in_axes=(0, None)), donate_argnums=0)

    def start(self, params: PyTree | None = None) -> None:
        """Begins fresh runs, with `params` instead of fresh ones if given."""
        self._keep(self._start(np.asarray(self.seeds, np.uint32), params))

    def advance(self, progress: float) -> Report:
        """One update of every seed."""
        tree, metrics, rollout = self._advance(self._tree, np.float32(progress))
        self._keep(tree)
        metrics = jax.device_get(metrics)
        self.updates += 1
        each = [{name: value[index] for name, value in metrics.items()} for index in range(len(self.seeds))]
        return Report(each, {}, rollout)

    def tree(self, index: int = 0) -> PyTree:
        """Everything that the future of one seed depends on."""
        return jax.tree.map(lambda leaf: leaf[index], self._tree)

    def template(self) -> PyTree:
        """The shapes of `tree`."""
        return jax.tree.map(_without_axis, jax.eval_shape(self._start, np.asarray(self.seeds, np.uint32), None))

    def restore(self, trees: list[PyTree]) -> None:
        """Takes the runs up where their trees left them."""
        self._keep(jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *trees))
        self.updates = int(self._tree["updates"][0])

    def wrapper_state(self, index: int = 0) -> PyTree:
        """The wrappers' state of one seed."""
        return jax.tree.map(lambda leaf: leaf[index], self._tree["acting"].wrapper)

    def close(self) -> None:
        """Nothing to let go of."""

    def _keep(self, tree: PyTree) -> None:
        self._tree, self.learner = tree, tree["learner"]


def _without_axis(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype)
