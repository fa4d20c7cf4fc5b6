"""MiniGrid compiled together with the agent: the world, the task's rule and a bank of levels as one `Env`."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.batch import select
from envs.contract import Env, EnvSpec, PyTree, TimeStep
from envs.minigrid import render, rules, supply, view, with_grid, world
from envs.minigrid.levels import Level
from envs.minigrid.tasks import Task
from envs.minigrid.world import State

# Fresh episodes are written so many rows at a time, a share of the batch: few enough for a step in which a handful of
# episodes ends, enough for one in which all do.
ROWS_SHARE = 32


class Parts(NamedTuple):
    """What one task's functions share.

    Attributes:
      task: the row of the table.
      limit: its time limit in steps.
      full_grid: whether observations hold the whole grid too.
      payment: float32 `[limit + 1]`, what a success pays at each step: `1 - 0.9 t / limit` in float64, rounded once.
    """

    task: Task
    limit: int
    full_grid: bool
    payment: np.ndarray


def make(
    task: Task,
    spec: EnvSpec,
    *,
    levels: str = "",
    count: int = 0,
    level_seed: int = 0,
    banks: str = "",
    levels_hash: str = "",
    full_grid: bool = False,
) -> Env:
    """The task on the device, with the levels that the options name; see `envs.minigrid.make`.

    `evaluation` of the result has the levels kept for evaluation, and `options` name the levels there are, their hash
    among them.

    Raises:
      UsageError: where there are no such levels.
    """
    found = supply.find(task, levels, count, level_seed, banks, levels_hash)
    spec = with_grid(spec, task) if full_grid else spec
    limit = spec.max_steps
    made = environment(task, spec, found.train, limit, full_grid)
    options = {**found.options, "full_grid": full_grid, "max_steps": limit}
    return made._replace(options=options, evaluation=environment(task, spec, found.evaluation, limit, full_grid))


def environment(task: Task, spec: EnvSpec, levels: Level, limit: int, full_grid: bool = False) -> Env:
    """The task as an `Env` whose episodes begin with levels drawn uniformly from `levels` (a leading axis of levels).

    `limit` is the time limit in steps; with `full_grid` observations hold `grid` uint8 `[width, height, 3]` too.
    """
    payment = (1 - 0.9 * (np.arange(limit + 1) / limit)).astype(np.float32)
    parts = Parts(task, limit, full_grid, payment)

    def reset(key: jax.Array, level: Level) -> tuple[State, TimeStep]:
        state = world.start(level, task.size[0])
        obs, extras = observe(parts, state), twice(describe(task, state))
        no = jnp.zeros((), bool)
        return state, TimeStep(obs, jnp.float32(0), jnp.float32(1), no, obs, {**extras, "success": no})

    def step(key: jax.Array, state: State, action: jax.Array) -> tuple[State, TimeStep]:
        return advance(parts, state, action)

    def refill(key: jax.Array, states: State, timestep: TimeStep, levels: Level) -> tuple[State, TimeStep]:
        return begin_anew(parts, key, states, timestep, levels)

    return Env(
        spec=spec,
        reset=reset,
        step=step,
        refill=refill,
        draw=draw,
        picture=partial(picture, task),
        data=jax.tree.map(jnp.asarray, levels),
    )


def draw(key: jax.Array, levels: Level) -> Level:
    """One level, each as likely as any other."""
    at = jax.random.randint(key, (), 0, levels.position.shape[0])
    return jax.tree.map(lambda leaf: leaf[at], levels)


def advance(parts: Parts, state: State, action: jax.Array) -> tuple[State, TimeStep]:
    """One step of one environment."""
    task = parts.task
    assert task.rule is not None
    action = rules.rewritten(task.rule, action)
    after, outcome = world.step(state, action, task.size[0])
    rewarded, terminated = rules.RULES[task.rule](state, action, after, outcome, task.size[0])
    reward = jnp.where(rewarded, jnp.asarray(parts.payment)[jnp.minimum(after.steps, parts.limit)], 0.0)
    obs, extras = observe(parts, after), twice(describe(task, after))
    timestep = TimeStep(
        obs=obs,
        reward=reward,
        discount=1.0 - terminated.astype(jnp.float32),
        last=terminated | (after.steps >= parts.limit),
        next_obs=obs,
        extras={**extras, "success": terminated & (reward > 0)},
    )
    return after, timestep


def observe(parts: Parts, state: State) -> dict[str, jax.Array]:
    """The observation of one state."""
    task = parts.task
    seen = view.look(state.cells, state.position, state.direction, state.carrying, task.size, task.see_through)
    obs = {
        "image": view.image(seen),
        "direction": state.direction,
        "mission": state.mission.astype(jnp.int32),
    }
    return {**obs, "grid": world.full_grid(state, task.size)} if parts.full_grid else obs


def describe(task: Task, state: State) -> dict[str, jax.Array]:
    """The extras that belong to a state, without those of the successor."""
    width = task.size[0]
    place = jnp.stack([state.position % width, state.position // width])
    return {"grid_key": world.grid_key(state), "position": place}


def twice(extras: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Extras of a state as both its own and the successor's, which they are unless an episode ended."""
    return {**extras, **{f"next_{name}": value for name, value in extras.items()}}


def begin_anew(
    parts: Parts, key: jax.Array, states: State, timestep: TimeStep, levels: Level
) -> tuple[State, TimeStep]:
    """Fresh episodes where `timestep.last` `[B]`, by a gather from the levels; the rest stays as it is."""
    n, width = timestep.last.shape[0], parts.task.size[0]
    at = jax.random.randint(key, (n,), 0, levels.position.shape[0])

    def begun(rows: jax.Array) -> PyTree:
        states = jax.vmap(lambda level: world.start(level, width))(jax.tree.map(lambda leaf: leaf[at[rows]], levels))
        obs, described = jax.vmap(lambda state: (observe(parts, state), describe(parts.task, state)))(states)
        return states, obs, described

    described = {name: timestep.extras[name] for name in ("grid_key", "position")}
    now = (states, timestep.obs, described)
    ways = {"cpu": partial(write_few, begun), "default": partial(write_all, begun)}
    states, obs, described = jax.lax.platform_dependent(timestep.last, now, **ways)
    return states, timestep._replace(obs=obs, extras={**timestep.extras, **described})


def write_all(begun: Callable[[jax.Array], PyTree], ended: jax.Array, now: PyTree) -> PyTree:
    """`now` with `begun(rows)` where `ended`: makes all rows and takes those it needs, for want of a cheap branch."""
    return select(ended, begun(jnp.arange(ended.shape[0])), now)


def write_few(begun: Callable[[jax.Array], PyTree], ended: jax.Array, now: PyTree) -> PyTree:
    """`now` with `begun(rows)` where `ended`: writes some rows at a time, in place.

    Episodes seldom end together, and whole grids are not to be copied for a few.
    """
    n = ended.shape[0]
    share = min(n, max(8, n // ROWS_SHARE))
    # The places of those that ended, in order; `n`, where nothing is written, after the last.
    places = jnp.nonzero(ended, size=n, fill_value=n)[0].astype(jnp.int32)
    places = jnp.concatenate([places, jnp.full(share, n, jnp.int32)])
    count = ended.sum(dtype=jnp.int32)

    def write(carry: tuple[jax.Array, PyTree]) -> tuple[jax.Array, PyTree]:
        done, now = carry
        rows = jax.lax.dynamic_slice(places, (done,), (share,))
        new = begun(jnp.minimum(rows, n - 1))
        return done + share, jax.tree.map(lambda old, leaf: old.at[rows].set(leaf, mode="drop"), now, new)

    return jax.lax.while_loop(lambda carry: carry[0] < count, write, (jnp.int32(0), now))[1]


def picture(task: Task, state: State) -> np.ndarray:
    """A picture of one state, uint8 `[32 height, 32 width, 3]`, with the cells that the agent sees lit."""
    (width, height), cells = task.size, np.asarray(state.cells)
    position, direction = int(state.position), int(state.direction)
    seen = render.seen_cells(cells, width, height, position, direction, task.see_through)
    return render.picture(cells, width, height, position, direction, seen)
