"""Composes an agent's auxiliaries into one: runs their hooks in the order named, sums bonuses, prefixes metrics."""

import zlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from agents.agent import Host, Rollout, Sample, State
from agents.auxiliary.auxiliary import Auxiliary
from envs.batch import select
from envs.contract import EnvSpec, PyTree, TimeStep


class Pipeline(NamedTuple):
    """The auxiliaries of one agent, in the order named, and the spec of the environment they see."""

    members: tuple[Auxiliary, ...]
    spec: EnvSpec

    @property
    def needs(self) -> tuple[str, ...]:
        """Everything that some member asks for, without repeats."""
        return tuple(dict.fromkeys(need for member in self.members for need in member.needs))


class Output(NamedTuple):
    """What the `step` hooks gave: the summed bonus `[T, B]` (None without one), the batch, and the rest by name."""

    bonus: jax.Array | None
    batch: Any
    others: dict[str, Any]


def own_key(key: jax.Array, name: str) -> jax.Array:
    """Each auxiliary's own key: `fold_in` of a checksum of its name, so that adding one leaves the others alone."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


def init(pipeline: Pipeline, key: jax.Array, host: Host) -> dict[str, PyTree]:
    """The state of every member by name, `()` for a member without one."""
    return {m.name: m.init(own_key(key, m.name), host) if m.init else () for m in pipeline.members}


def coefficients(pipeline: Pipeline) -> dict[str, float]:
    """The knobs that weigh the members: `NAME.coef`."""
    return {f"{m.name}.coef": m.coef for m in pipeline.members if m.step or m.loss}


def remember(pipeline: Pipeline, n: int) -> dict[str, PyTree]:
    """Zero memory of `n` environments, for every member that keeps one."""
    host = Host(None, None, None, None, pipeline.spec, {})
    one = {m.name: m.memory(host) for m in pipeline.members if m.memory}
    return jax.tree.map(lambda leaf: jnp.zeros((n, *jnp.shape(leaf)), jnp.result_type(leaf)), one)


def restart(timestep: TimeStep) -> TimeStep:
    """The first TimeStep of the episode that begins with `timestep.obs`, as its `observe` hooks must see it."""
    extras = {name: timestep.extras.get(name.removeprefix("next_"), value) for name, value in timestep.extras.items()}
    return TimeStep(
        obs=timestep.obs,
        reward=jnp.zeros_like(timestep.reward),
        discount=jnp.ones_like(timestep.discount),
        last=jnp.zeros_like(timestep.last),
        next_obs=timestep.obs,
        extras=extras,
    )


def observe(
    pipeline: Pipeline, states: dict[str, PyTree], memory: dict[str, PyTree], timestep: TimeStep
) -> tuple[dict[str, PyTree], dict[str, Any]]:
    """Runs the `observe` hooks over a batch of environments; extras come back as `NAME/extra`, `[B, ...]`.

    Where an episode ended the memory is zeroed and the hook is shown the observation that opens the next one, so
    that every hook sees each episode whole and none has to know about resets, but those that restart by themselves.
    """
    memory, extras = dict(memory), {}
    opening = restart(timestep)
    for member in pipeline.members:
        if member.observe is None:
            continue
        hook = jax.vmap(member.observe, in_axes=(None, 0, 0))
        state, old = states[member.name], memory.get(member.name, ())
        after, found = hook(state, old, timestep)
        if not member.restarts:
            fresh, _ = hook(state, jax.tree.map(jnp.zeros_like, old), opening)
            after = select(timestep.last, fresh, after)
        memory[member.name] = after
        extras.update({f"{member.name}/{name}": value for name, value in found.items()})
    return {name: memory[name] for name in memory if jax.tree.leaves(memory[name])}, extras


def reparam(pipeline: Pipeline, states: dict[str, PyTree], params: PyTree) -> PyTree:
    """The parameters that a forward really uses: every `reparam` in turn."""
    for member in pipeline.members:
        if member.reparam:
            params = member.reparam(states[member.name], params)
    return params


def step(
    pipeline: Pipeline, key: jax.Array, states: dict[str, PyTree], batch: Rollout | Sample, host: Host
) -> tuple[dict[str, PyTree], Output, dict[str, jax.Array]]:
    """Runs the `step` hooks once. A member at the `replay` door replaces the batch that later members see."""
    states, metrics, others = dict(states), {}, {}
    bonus = None
    for member in pipeline.members:
        if member.step is None:
            continue
        before = states[member.name]
        after, output, found = member.step(own_key(key, member.name), before, view(member, batch), host)
        states[member.name] = finite_or(after, before)
        metrics.update({f"{member.name}/{name}": value for name, value in found.items()})
        if member.door == "intrinsic reward":
            weighted = host.knobs[f"{member.name}.coef"] * jax.lax.stop_gradient(output)
            bonus = weighted if bonus is None else bonus + weighted
        elif member.door == "replay":
            batch = output
        else:
            others[member.name] = output
    return states, Output(bonus, batch, others), metrics


def finite_or(after: PyTree, before: PyTree) -> PyTree:
    """`after`, or `before` where any number in `after` is not finite: one bad batch must not spoil a state for ever."""
    numbers = [leaf for leaf in jax.tree.leaves(after) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    sound = jnp.stack([jnp.isfinite(leaf).all() for leaf in numbers]).all() if numbers else True
    return jax.tree.map(lambda new, old: jnp.where(sound, new, old), after, before)


def own_params(pipeline: Pipeline, states: dict[str, PyTree]) -> dict[str, PyTree]:
    """The parameters of the members that are trained inside the agent's gradient."""
    return {m.name: getattr(states[m.name], "params", ()) for m in pipeline.members if m.loss}


def loss(
    pipeline: Pipeline, params: tuple[PyTree, dict[str, PyTree]], key: jax.Array, states: dict[str, PyTree], batch, host
) -> tuple[dict[str, jax.Array], frozenset[str], dict[str, jax.Array]]:
    """The weighted `loss` terms by name, the names of the agent's terms that they replace, and metrics."""
    terms, metrics = {}, {}
    agent, own = params
    for member in pipeline.members:
        if member.loss is None:
            continue
        scalar, found = member.loss(
            (agent, own[member.name]), own_key(key, member.name), states[member.name], view(member, batch), host
        )
        terms[member.name] = host.knobs[f"{member.name}.coef"] * scalar
        metrics.update({f"{member.name}/{name}": value for name, value in found.items()})
        metrics[f"{member.name}/loss"] = scalar
    replaced = frozenset(m.replaces for m in pipeline.members if m.loss and m.replaces)
    return terms, replaced, metrics


def move_own(pipeline: Pipeline, states: dict[str, PyTree], gradients: dict[str, PyTree], apply) -> dict[str, PyTree]:
    """Moves each member's own parameters by its own optimiser; `apply(optimizer, grads, opt, params)` does the step."""
    states = dict(states)
    for member in pipeline.members:
        if member.loss and member.optimizer and jax.tree.leaves(gradients[member.name]):
            state = states[member.name]
            params, opt = apply(member.optimizer, gradients[member.name], state.opt, state.params)
            states[member.name] = state._replace(params=params, opt=opt)
    return states


def after(pipeline: Pipeline, key: jax.Array, state: State, host: Host) -> State:
    """Runs the `after` hooks whose turn it is; `state.updates` already counts the update just made."""
    for member in pipeline.members:
        if member.after is None:
            continue

        def due(state, member=member):
            own, moved = member.after(own_key(key, member.name), state.auxiliaries[member.name], state, host)
            return moved._replace(auxiliaries={**moved.auxiliaries, member.name: own})

        state = (
            due(state)
            if member.every == 1
            else jax.lax.cond(state.updates % member.every == 0, due, lambda s: s, state)
        )
    return state


def view(member: Auxiliary, batch):
    """The batch as one member sees it: the extras of its own `observe` under their own names."""
    if not isinstance(batch, Rollout):
        return batch
    prefix = f"{member.name}/"
    own = {name.removeprefix(prefix): value for name, value in batch.extras.items() if name.startswith(prefix)}
    return batch._replace(extras={**batch.extras, **own})
