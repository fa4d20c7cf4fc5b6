"""The contract of an auxiliary model: one NamedTuple of optional hooks that run inside an agent's jitted update.

A hook left `None` costs nothing. The hooks, in the order in which they run: `init`, `memory` and `observe` (at every
environment step), `reparam` (before every forward), `step` (once per update, before the agent's loss), `loss` (inside
the agent's gradient), `after` (after the optimiser). `pipeline.py` composes several auxiliaries into one.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import optax

# What an auxiliary may ask for in `needs`; `taps:NAME` asks the encoder to sow features under that name. `needs.py`
# says how each is checked.
NEEDS = {
    "unroll": "an agent that learns from unrolls",
    "sequences": "an agent that learns from consecutive steps",
    "replay": "an agent that learns from a replay buffer",
    "grid_key": "an environment that gives a hash of the full state (`grid_key`)",
    "mission": "an environment with a mission text",
    "success": "an environment that reports success",
    "discrete": "an environment with discrete actions",
    "teacher": "an agent that lends a policy to learn from",
    "per_example": "an agent that lends gradients of single records",
    "evaluate": "an agent that lends an evaluation",
    "windows": "an agent that lends windows of trajectories",
    "tasks": "an environment that is a family of tasks",
}


class Auxiliary(NamedTuple):
    """An auxiliary model as pure functions over a state of its own.

    Attributes:
      name: its name in the registry, also the prefix of its metrics.
      door: where it enters; set from the folder it lives in.
      needs: names from `NEEDS`, checked before anything compiles.
      init: `(key, host) -> state`; own params, own optimiser state, statistics.
      memory: `(host) -> memory` of ONE environment, zeroed where an episode begins; None where there is none.
      observe: `(state, memory, timestep) -> (memory, extras)` for ONE environment. Called with the first observation
        of every episode (`obs == next_obs`, reward 0) and then with every step; the extras of steps reach `step` as
        `batch.extras` under their own names, `[T, B, ...]`.
      restarts: for memories so large that zeroing them would cost more than the step. `observe` then begins the next
        episode by itself: where `timestep.last` its extras are still those of the step, but the memory it returns has
        forgotten the episode and seen `timestep.obs`, which opens the next one. Large arrays are written in place
        (`.at[]`, out of range where nothing is to be written); a choice between two would copy them.
      reparam: `(state, params) -> params`: before every forward, acting included.
      step: `(key, state, batch, host) -> (state, output, metrics)`: trains what is its own. `output` is a bonus
        `[T, B]` at the `intrinsic reward` door, a relabelled batch at the `replay` door, anything else elsewhere.
      loss: `(params, key, state, batch, host) -> (scalar, metrics)`, `params = (agent's, own)`, differentiated
        together. `own` is `state.params`, moved by `optimizer` into `state.opt`; `()` where the state has no `params`.
      after: `(key, state, agent_state, host) -> (state, agent_state)`, every `every` updates.
      coef: weight of its bonus or loss when several are summed; also the knob `NAME.coef`.
      replaces: the name of the agent's loss term (such as `"value"`) that `loss` takes the place of.
      every: how often `after` runs, in updates.
      optimizer: moves the own parameters that `loss` differentiates.
    """

    name: str
    needs: tuple[str, ...] = ()
    init: Callable[..., Any] | None = None
    memory: Callable[..., Any] | None = None
    observe: Callable[..., tuple[Any, dict[str, Any]]] | None = None
    restarts: bool = False
    reparam: Callable[..., Any] | None = None
    step: Callable[..., tuple[Any, Any, dict[str, Any]]] | None = None
    loss: Callable[..., tuple[Any, dict[str, Any]]] | None = None
    after: Callable[..., tuple[Any, Any]] | None = None
    coef: float = 1.0
    replaces: str | None = None
    every: int = 1
    optimizer: optax.GradientTransformation | None = None
    door: str = "auxiliary loss"
