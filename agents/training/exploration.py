"""Where a policy goes and what its bonus pays there: episodes on MiniGrid levels, counted cell by cell."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage  # type: ignore[import-untyped]

import agents
import envs
from agents import parts
from agents.agent import Agent, Host, Rollout, State
from agents.auxiliary import pipeline as hooks
from agents.auxiliary.pipeline import Pipeline
from agents.training import actor, checkpoints
from agents.training.saved import Saved, open_run, read, read_config
from envs.contract import Env, EnvSpec, HostMaker, PyTree
from envs.errors import UsageError
from envs.minigrid import cells as cell
from envs.minigrid.levels import Level
from envs.minigrid.tasks import TASKS
from envs.wrappers import WrapperState, parse


class Walks(NamedTuple):
    """`n` episodes, cell by cell, the cell `(x, y)` at `y * width + x`.

    Attributes:
      cells: uint16 `[n, height * width]`, the packed cells that each episode began with.
      start: int32 `[n]`, where it began, as an index of them.
      visits: int32 `[n, height * width]`, its steps that ended in each cell, the start counted as one.
      paid: float32 `[n, height * width]`, the weighted bonus of these steps; None without a bonus.
      success: bool `[n]`.
    """

    cells: Any
    start: Any
    visits: Any
    paid: Any
    success: Any


class Explorer:
    """Plays episodes of a run's policies, with actions drawn as in training, on the levels kept for evaluation.

    Compiles once for all checkpoints and seeds of a run. The bonus is the one that training would pay: the auxiliaries'
    `observe` sees every step, and their `step` gets unrolls as long as the agent's, but what it learns is dropped.

    Args:
      saved: the run, opened at any of its checkpoints.
      episodes: how many side by side.

    Attributes:
      levels: the levels, with an axis in front.
      size: width and height of the grid, in cells.

    Raises:
      UsageError: where the environment is no MiniGrid task on the device.
    """

    def __init__(self, saved: Saved, episodes: int):
        env = _mapped(saved.env)
        self.levels: Level = env.data
        self.size = TASKS[env.spec.id].size
        self._count = len(self.levels.position)
        self._play = jax.jit(_episodes(saved, env, episodes, self.size))

    def __call__(self, state: State, trained: WrapperState, seed: int, level: int | None = None) -> Walks:
        """One episode of each environment, all on the evaluation level of this number, or each on one drawn from all.

        Raises:
          UsageError: where there is no such level.
        """
        levels = self.levels
        if level is not None:
            self.check(level)
            # As many copies as there are levels, so that it is the same program.
            levels = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[level], leaf.shape), levels)
        return jax.device_get(self._play(jax.random.key(seed), state, trained.shared, levels))

    def check(self, level: int) -> None:
        """Raises UsageError where there is no evaluation level of this number."""
        if not 0 <= level < self._count:
            raise UsageError(f"there is no evaluation level {level}: take one from 0 to {self._count - 1}.")

    def level(self, number: int) -> Level:
        """One of the levels."""
        self.check(number)
        return jax.device_get(jax.tree.map(lambda leaf: leaf[number], self.levels))


def open_beside(folder: Path, other: Saved | None) -> Saved:
    """Opens a run at its last checkpoint, with the environment of another if it is the same: levels take time to draw.

    Raises:
      UsageError: as `open_run`, and where the two were trained in different environments.
    """
    if other is None:
        return open_run(folder, "last")
    notes, env = read_config(folder), other.env
    if (notes["env"], notes["env_options"]) != (env.spec.id, env.options):
        raise UsageError(f"{folder} was trained in another environment or on other levels: draw it by itself.")
    wrapper = parse(notes["wrap"], **notes["wrap_options"])
    path = checkpoints.latest(folder / "checkpoints")
    if path is None:
        raise UsageError(f"{folder} holds no sound checkpoint yet.")
    return read(path, agents.make(notes["agent"], wrapper.spec(env.spec), **notes["options"]), env, wrapper)


def checkpoints_of(folder: Path) -> list[Path]:
    """The checkpoints that a seed's folder keeps, the oldest first."""
    return sorted((folder / "checkpoints").glob("checkpoint-*.safetensors"))


def reachable(cells: np.ndarray, start: int, width: int) -> np.ndarray:
    """Which cells could be reached from the start `[]` if every door stood open, bool `[height * width]`.

    `cells` is uint16 `[height * width]`, packed.
    """
    regions, _ = ndimage.label(cell.kind(np.asarray(cells)).reshape(-1, width) != cell.WALL_KIND)
    return (regions == regions.reshape(-1)[start]).reshape(-1)


def rooms(cells: np.ndarray, start: int, width: int) -> np.ndarray:
    """The number of the room that each cell belongs to, int `[height * width]`, from 1 on; 0 for what is in none.

    Rooms are the connected parts of what is reachable from the start (`reachable`) without its doors.
    """
    inside = reachable(cells, start, width) & (cell.kind(np.asarray(cells)) != cell.DOOR)
    return ndimage.label(inside.reshape(-1, width))[0].reshape(-1)


def rooms_reached(walks: Walks, width: int) -> tuple[np.ndarray, np.ndarray]:
    """How many rooms each episode was in, and how many its level has: int `[n]` twice."""
    reached, total = [], []
    for cells, start, visits in zip(walks.cells, walks.start, walks.visits, strict=True):
        numbers = rooms(cells, int(start), width)
        reached.append(len(np.setdiff1d(numbers[visits > 0], [0])))
        total.append(numbers.max())
    return np.array(reached), np.array(total)


def entropy(visits: np.ndarray) -> float:
    """How evenly visits are spread, `-sum p log p` in nats with `p = visits / sum visits`; `visits` of any shape."""
    share = visits[visits > 0] / visits.sum()
    return float(-(share * np.log(share)).sum()) + 0.0  # and never -0


# ----------------------------------------------------------------------------------------------------------- EPISODES


def _mapped(env: HostMaker | Env) -> Env:
    """The environment on its evaluation levels, if it has a map."""
    if not isinstance(env, Env):
        raise UsageError(
            f"{env.spec.id} ran on the host: a map is drawn of MiniGrid runs that were trained with --backend device."
        )
    if "position" not in env.spec.extras or not isinstance(env.data, Level):
        raise UsageError(f"{env.spec.id} tells no positions on a grid: a map is drawn of MiniGrid tasks.")
    return env.evaluation or env


def _bonuses(agent: Agent, spec: EnvSpec) -> Pipeline | None:
    """The agent's bonuses made once more out of its options; None without any."""
    names = agent.config.get("bonus", "")
    options = {name: value for name, value in agent.config.items() if "." in name}
    members = tuple(part.made for part in parts.find("intrinsic reward", names, spec, options)) if names else ()
    return Pipeline(members, spec) if members else None


def _episodes(saved: Saved, env: Env, n: int, size: tuple[int, int]):
    """`(key, state, shared, levels) -> Walks`: unrolls of a batch until the first episode of every place has ended."""
    agent, wrapper, length, width = saved.agent, saved.wrapper, saved.agent.feed.length, size[0]
    batch, spec = envs.batch(env, n), wrapper.spec(env.spec)
    pipeline = _bonuses(agent, spec)
    # The wrappers are those of an evaluation, whose statistics stand still, but actions are drawn.
    drawing = agent._replace(act=lambda *given: agent.act(*given[:-1], False))
    rows = jnp.arange(n)

    def place(position: jax.Array) -> jax.Array:
        return position[..., 1] * width + position[..., 0]

    def pay(key: jax.Array, state: State, rollout: Rollout) -> jax.Array:
        if pipeline is None:
            return jnp.zeros_like(rollout.timestep.reward)
        host = Host(None, None, state.params, None, spec, state.knobs)
        _, output, _ = hooks.step(pipeline, key, state.auxiliaries, rollout, host)
        return jnp.asarray(output.bonus)

    def play(key: jax.Array, state: State, shared: PyTree, levels: Level) -> Walks:
        reset_key, act_key, env_key, pay_key = jax.random.split(key, 4)
        states, raw = batch.reset(reset_key, levels)
        wrapped = wrapper.init(env.spec, n)._replace(shared=shared)
        begun = actor.decide(drawing, wrapper, True, act_key, state, agent.begin(state, n), wrapped, raw)
        memory, _ = agent.observe(state, agent.remember(n), begun.timestep)
        start, grids = place(raw.extras["position"]), states.cells
        nothing = jnp.zeros(grids.shape)

        def step(carry, number):
            now, states, memory = carry
            states, raw = batch.step(jax.random.fold_in(env_key, number), states, now.sent, levels)
            key = jax.random.fold_in(act_key, number)
            after = actor.decide(drawing, wrapper, True, key, state, now.carry, now.wrapper, raw)
            memory, seen = agent.observe(state, memory, after.timestep)
            return (after, states, memory), (now.action, {**now.extras, **seen}, after.timestep)

        def unroll(carry):
            done, over, success, going, visits, paid = carry
            now = going[0]
            going, taken = jax.lax.scan(step, going, 1 + done + jnp.arange(length))
            rollout = Rollout(now.before, now.timestep, *taken)
            bonus = pay(jax.random.fold_in(pay_key, done), state, rollout)
            timestep = rollout.timestep
            before = jnp.cumsum(timestep.last, axis=0) - timestep.last  # ends before each step, within the unroll
            counts = ~over & (before == 0)
            at = (rows, place(timestep.extras["next_position"]))
            return (
                done + length,
                over | timestep.last.any(axis=0),
                success | (counts & timestep.extras["success"]).any(axis=0),
                going,
                visits.at[at].add(counts),
                paid.at[at].add(counts * bonus),
            )

        no = jnp.zeros(n, bool)
        visits = nothing.astype(jnp.int32).at[rows, start].add(1)
        first = (jnp.int32(0), no, no, (begun, states, memory), visits, nothing)
        *_, success, _, visits, paid = jax.lax.while_loop(lambda carry: ~carry[1].all(), unroll, first)
        return Walks(grids, start, visits, None if pipeline is None else paid, success)

    return play
