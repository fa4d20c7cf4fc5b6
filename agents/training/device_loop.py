"""The device loop: environments, acting, auxiliaries and updates in one jitted call, many seeds by `vmap`.

One call makes any number of updates with one compiled program. Several devices share the environments.
"""

from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

import envs
from agents.agent import Agent, State
from agents.training import actor, devices, learner, mapped
from agents.training.actor import Acting
from agents.training.loop import Loop, Report
from envs.contract import Env, PyTree
from envs.errors import UsageError
from envs.wrappers import Chain


class DeviceLoop(Loop):
    """One agent on a batch of device environments, for several seeds at once.

    Args:
      agent: the agent, its buffer (if any) on the device.
      env: the environment; its `data` goes to the device once and is an argument of every call.
      wrapper: the wrappers around it.
      n: environments of each seed.
      seeds: the seeds.
      mesh: the devices that share the environments, from `devices.mesh`; None runs on one.
      together: whether seeds run side by side by `vmap` or take turns. None has them take turns on a CPU, whose cores
        one seed fills: products of many small matrices at once are slower there than one after the other.
    """

    def __init__(
        self,
        agent: Agent,
        env: Env,
        wrapper: Chain,
        *,
        n: int,
        seeds: tuple[int, ...],
        mesh: Mesh | None = None,
        together: bool | None = None,
    ):
        if learner.on_host(agent.feed):
            raise UsageError(
                f"{env.spec.id} runs on the device, and this replay buffer on the host: take --replay uniform, or an "
                "environment on the host (--backend host)."
            )
        self.spec = wrapper.spec(env.spec)
        self.seeds = seeds
        self.steps_per_update = n * agent.feed.length
        self.updates = 0
        self._seeds, self._mesh = np.asarray(seeds, np.uint32), mesh
        # One after the other: orthogonal initial weights of many seeds at once would be one batch of QR decompositions,
        # which XLA hands out on the CPU from threads of the same pool that is to work on it. Where there are as many
        # such batches as cores, each waits for the others for ever.
        start = _in_turn(_start(agent, env, wrapper, n))
        together = jax.default_backend() != "cpu" if together is None else together
        advance = _advance(_update(agent, env, wrapper, n), len(seeds), together)
        if mesh is None:
            self._layout: PyTree = None
            self._data = jax.tree.map(jnp.asarray, env.data)
            self._start, self._advance = jax.jit(start), jax.jit(advance, donate_argnums=0)
            return
        whole = devices.everywhere(mesh)
        self._data = jax.device_put(env.data, whole)
        twice = _in_turn(_start(agent, env, wrapper, 2 * n))
        shapes = (jax.eval_shape(begin, self._seeds, None, self._data) for begin in (start, twice))
        self._layout = devices.shardings(mesh, *shapes)
        self._start = jax.jit(start, out_shardings=self._layout)
        self._advance = jax.jit(
            advance,
            in_shardings=(self._layout, *[whole] * 4),
            out_shardings=(self._layout, whole, None),
            donate_argnums=0,
        )

    def start(self, params: PyTree | None = None) -> None:
        """Begins fresh runs, with `params` instead of fresh ones if given."""
        self._keep(self._start(self._seeds, params, self._data))
        self.updates = 0

    def advance(self, *, count: int = 1, total: int = 0, allow: Sequence[int] | None = None) -> Report:
        """Up to `count` updates of every seed in one call."""
        limits = np.full(len(self.seeds), np.iinfo(np.int32).max) if allow is None else np.asarray(allow)
        plan = np.asarray([count, total], np.int32)
        with devices.among(self._mesh):
            tree, told, rollout = self._advance(self._tree, self._data, plan[0], plan[1], limits.astype(np.int32))
        self._keep(tree)
        done, skipped, metrics = jax.device_get(told)
        self.updates += int(done)
        each = [{name: value[index] for name, value in metrics.items()} for index in range(len(self.seeds))]
        return Report(each, {}, rollout, skipped.tolist())

    def tree(self, index: int = 0) -> PyTree:
        """Everything that the future of one seed depends on."""
        return jax.tree.map(lambda leaf: leaf[index], self._tree)

    def template(self) -> PyTree:
        """The shapes of `tree`."""
        return jax.tree.map(_without_axis, jax.eval_shape(self._start, self._seeds, None, self._data))

    def restore(self, trees: list[PyTree]) -> None:
        """Takes the runs up where their trees left them, on as many devices as there are now."""
        tree = jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *trees)
        self._keep(tree if self._layout is None else jax.device_put(tree, self._layout))
        self.updates = int(self._tree["updates"][0])

    def adopt(self, state: State, index: int = 0) -> None:
        """Goes on with another state of the agent of one seed."""
        moved = self._tree["learner"]
        several = jax.tree.map(lambda all, one: all.at[index].set(one), moved.state, state)
        self._keep({**self._tree, "learner": moved._replace(state=several)})

    def wrapper_state(self, index: int = 0) -> PyTree:
        """The wrappers' state of one seed."""
        return jax.tree.map(lambda leaf: leaf[index], self._tree["acting"].wrapper)

    def close(self) -> None:
        """Nothing to let go of."""

    def _keep(self, tree: PyTree) -> None:
        self._tree, self.learner = tree, tree["learner"]


# ------------------------------------------------------------------------------------------------------- ONE SEED


def _start(agent: Agent, env: Env, wrapper: Chain, n: int) -> Callable[..., PyTree]:
    """`(seed, params, data) -> tree`: the state of one seed before its first update."""
    batch, spec = envs.batch(env, n), wrapper.spec(env.spec)

    def start(seed, params, data):
        # The order of keys does not matter, but every use has a key of its own.
        init_key, act_key, env_key, learn_key = jax.random.split(jax.random.key(seed), 4)
        states, raw = batch.reset(jax.random.fold_in(env_key, 0), data)
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

    return start


def _update(agent: Agent, env: Env, wrapper: Chain, n: int) -> Callable[..., tuple[PyTree, PyTree, PyTree]]:
    """`(tree, data, total) -> (tree, metrics, rollout)`: one unroll of one seed, and what is learned from it."""
    batch, spec, length = envs.batch(env, n), wrapper.spec(env.spec), agent.feed.length

    def update(tree, data, total):
        act_key, env_key, learn_key = tree["keys"]
        state = tree["learner"].state

        def step(carry, number):
            now, states = carry
            states, raw = batch.step(jax.random.fold_in(env_key, number), states, now.sent, data)
            key = jax.random.fold_in(act_key, number)
            after = actor.decide(agent, wrapper, False, key, state, now.carry, now.wrapper, raw)
            after = after._replace(timestep=actor.stayed(jnp, now.timestep.obs, after.timestep))
            return (after, states), (now.action, now.extras, after.timestep)

        numbers = 1 + tree["updates"] * length + jnp.arange(length)
        begun: Acting = tree["acting"]
        (acting, states), taken = jax.lax.scan(step, (begun, tree["envs"]), numbers)
        rollout = actor.Rollout(begun.before, begun.timestep, *taken)
        key = jax.random.fold_in(learn_key, tree["updates"])
        progress = jnp.minimum(1.0, tree["updates"].astype(jnp.float32) / jnp.maximum(total, 1)) * (total > 0)
        moved, metrics = learner.learn(agent, spec, key, tree["learner"], rollout, progress)
        after = {
            "learner": moved,
            "acting": acting,
            "envs": states,
            "keys": tree["keys"],
            "updates": tree["updates"] + 1,
        }
        return after, metrics, rollout

    return update


# --------------------------------------------------------------------------------------- MANY SEEDS, MANY UPDATES


def _advance(update: Callable, k: int, together: bool) -> Callable:
    """`(tree, data, count, total, allow) -> (tree, (done, skipped, metrics), rollout)`: up to `count` updates.

    Everything but `data`, `count`, `total` and `done` has a leading axis of `k` seeds. Side by side all seeds end with
    the update in which one has skipped more updates that were not finite than its `allow`; in turns that one and those
    behind it do, and `done` is the fewest. So `rollout`, always that of a seed's last update, is then the one at fault.
    """
    if k > 1 and together:
        return _several(jax.vmap(update, in_axes=(0, None, None), axis_name=mapped.AXIS), k)
    return _turns(_several(_alone(update), 1), k) if k > 1 else _several(_alone(update), 1)


def _alone(update: Callable) -> Callable:
    """The update of the only seed of its first argument, not by `vmap`, which takes both sides of every `cond`."""

    def alone(first, *others):
        found = update(jax.tree.map(lambda leaf: leaf[0], first), *others)
        return jax.tree.map(lambda leaf: leaf[None], found)

    return alone


def _turns(several: Callable, k: int) -> Callable:
    """All updates of one seed after all of the other's: its tree, with its buffer, is taken out and put back once."""

    def advance(tree, data, count, total, allow):
        def turn(index, carry):
            tree, (done, skipped, metrics), rollout = carry
            mine = jax.tree.map(partial(jax.lax.dynamic_slice_in_dim, start_index=index, slice_size=1), tree)
            limit = jax.lax.dynamic_slice_in_dim(allow, index, 1)
            mine, (done, *told), last = several(mine, data, jnp.minimum(count, done), total, limit)

            def put(all, one):
                return jax.lax.dynamic_update_slice_in_dim(all, one, index, 0)

            whole, found = (tree, (skipped, metrics), rollout), (mine, tuple(told), last)
            tree, (skipped, metrics), rollout = jax.tree.map(put, whole, found)
            return tree, (done, skipped, metrics), rollout

        mine = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((1, *leaf.shape[1:]), leaf.dtype), tree)
        _, (_, *told), last = jax.eval_shape(several, mine, data, count, total, allow[:1])
        blank = jax.tree.map(lambda leaf: jnp.zeros((k, *leaf.shape[1:]), leaf.dtype), (told, last))
        return jax.lax.fori_loop(0, k, turn, (tree, (count, *blank[0]), blank[1]))

    return advance


def _in_turn(function: Callable) -> Callable:
    """The function for one seed of its first argument after the other."""
    return lambda first, *others: jax.lax.map(lambda one: function(one, *others), first)


def _several(update: Callable, k: int) -> Callable:
    """What `_advance` returns, of an update of all `k` seeds at once."""
    update = jax.jit(update)  # traced once for its shapes and its use

    def advance(tree, data, count, total, allow):
        def going(carry):
            done, skipped, *_ = carry
            return (done < count) & (skipped <= allow).all()

        def one(carry):
            done, skipped, tree, _, _ = carry
            tree, metrics, rollout = update(tree, data, total)
            return done + 1, skipped + (metrics.get("nonfinite", 0) > 0), tree, metrics, rollout

        _, *blank = jax.tree.map(
            lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(update, tree, data, total)
        )
        begun = (jnp.zeros((), jnp.int32), jnp.zeros(k, jnp.int32), tree, *blank)
        done, skipped, tree, metrics, rollout = jax.lax.while_loop(going, one, begun)
        return tree, (done, skipped, metrics), rollout

    return advance


def _without_axis(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype)
