"""Acting, the same in both loops: wrap what the environment said, decide, wrap the decision."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from agents.agent import Agent, Rollout, State
from envs.contract import EnvSpec, PyTree, TimeStep
from envs.wrappers import Chain, WrapperState


class Acting(NamedTuple):
    """Where a batch of environments stands: what they said last, and what was decided on it but not yet done.

    Attributes:
      wrapper: the wrappers' state.
      timestep: the latest TimeStep as the agent sees it.
      before: the agent's memory before it decided on `timestep`.
      carry: its memory after that.
      action: what it decided.
      sent: what the environment will be given.
      extras: what `act` returned beside the action.
    """

    wrapper: WrapperState
    timestep: TimeStep
    before: PyTree
    carry: PyTree
    action: PyTree
    sent: PyTree
    extras: dict[str, Any]


def begin(agent: Agent, wrapper: Chain, spec: EnvSpec, state: State, key: jax.Array, raw: TimeStep) -> Acting:
    """The first decision, on the TimeStep that the environments' reset gave. `spec` is the environment's own."""
    n = raw.last.shape[0]
    return decide(agent, wrapper, False, key, state, agent.begin(state, n), wrapper.init(spec, n), raw)


def decide(
    agent: Agent,
    wrapper: Chain,
    evaluate: bool,
    key: jax.Array,
    state: State,
    carry: PyTree,
    wrapped: WrapperState,
    raw: TimeStep,
) -> Acting:
    """Takes one TimeStep through the wrappers to the agent, and its action back through them."""
    act_key, wrap_key = jax.random.split(key)
    wrapped, timestep = wrapper.timestep(wrapped, settled(jnp, raw), evaluate)
    action, after, extras = agent.act(act_key, state, carry, timestep, evaluate)
    wrapped, sent = wrapper.action(wrap_key, wrapped, action)
    return Acting(wrapped, timestep, carry, after, action, sent, extras)


def settled(xp: Any, raw: TimeStep) -> TimeStep:
    """What the environments said, without rewards and extras that are not finite; the extra `diverged` says where.

    `xp` is `numpy` or `jax.numpy`, whichever the arrays are of.
    """
    if "diverged" in raw.extras:
        return raw
    diverged = ~xp.isfinite(raw.reward)

    def clean(leaf: Any) -> Any:
        # Only what diverged: an extra may have its reasons to be infinite.
        broken = diverged.reshape(diverged.shape + (1,) * (leaf.ndim - diverged.ndim))
        return xp.where(broken & ~xp.isfinite(leaf), 0, leaf).astype(leaf.dtype)

    extras = {name: jax.tree.map(clean, leaf) for name, leaf in raw.extras.items()}
    return raw._replace(reward=xp.where(diverged, xp.float32(0), raw.reward), extras={**extras, "diverged": diverged})


def stayed(xp: Any, before: PyTree, timestep: TimeStep) -> TimeStep:
    """The TimeStep with the observation `before` as the successor of a step that diverged.

    It then says that nothing happened, and that the episode was cut off there: what is learned from it is neutral.
    """
    diverged = timestep.extras["diverged"]

    def pick(old: Any, new: Any) -> Any:
        return xp.where(diverged.reshape(diverged.shape + (1,) * (new.ndim - diverged.ndim)), old, new)

    return timestep._replace(next_obs=jax.tree.map(pick, before, timestep.next_obs))


def lend(agent: Agent, state: State) -> State:
    """A copy of what acting reads, so that an update may reuse the original's memory while environments still run."""
    variables = {name: leaf for name, leaf in state.variables.items() if name != "learning"}
    return jax.tree.map(jnp.copy, state._replace(opt=(), variables=variables))


def unroll(start: Acting, actions: list, extras: list, timestep: TimeStep) -> Rollout:
    """The steps taken since `start` as one `Rollout`, on the host; `timestep` is joined already, `[T, B, ...]`."""
    stack = lambda *leaves: np.stack(leaves)  # noqa: E731
    return Rollout(
        carry=start.before,
        start=start.timestep,
        action=jax.tree.map(stack, *actions),
        extras=jax.tree.map(stack, *extras),
        timestep=timestep,
    )
