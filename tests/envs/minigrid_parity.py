"""Farama's MiniGrid against the device's, step by step: record what Farama does, replay it, compare everything.

An episode is recorded in segments of up to `LENGTH` steps, each from the state that Farama stands at, and the segments
of a task are replayed in batches of `BATCH`: one compiled program whatever the episodes are like.
"""

from collections import Counter
from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.minigrid import device, world
from envs.minigrid.convert import cell_of, cells_of, state_of
from envs.minigrid.levels import Level
from envs.minigrid.mission import tokens
from envs.minigrid.tasks import Task
from envs.minigrid.world import DROP, FORWARD, PICKUP, TOGGLE

LENGTH, BATCH = 64, 64
# Grids that share one compiled program are filled up to so many cells; a payment for every step of any episode.
ROOMS, PAYMENTS = (128, 400, 625), 4000
KINDS_THAT_CAN_BE_CARRIED = ("key", "ball", "box")
NAMES = ("left", "right", "forward", "pickup", "drop", "toggle", "done")

Act = Callable[[dict[str, Any]], int | None]  # from Farama's observation to an action, or None to stop


class Segment(NamedTuple):
    """Some steps of one episode.

    Attributes:
      origin: which episode, for people.
      first: number of its first step within the recording.
      start: the device's state that equals Farama's before the first step.
      actions: the actions taken.
      steps: per step, what Farama shows afterwards by name.
    """

    origin: str
    first: int
    start: Any
    actions: list[int]
    steps: list[dict[str, Any]]


# --- Farama -------------------------------------------------------------------------------------------------------


class Watch:
    """The whole grid of a Farama environment, kept up by looking at what may have changed: objects and doors.

    `check` encodes it afresh. Doing so at every step would take longer than the steps.
    """

    def __init__(self, env: Any):
        self.env, self.cells, self.grid = env, cells_of(env.grid), env.grid.encode()
        self.things = list(env.grid.grid)
        self.doors = {at for at, thing in enumerate(self.things) if thing is not None and thing.type == "door"}

    def look(self) -> None:
        things = self.env.grid.grid
        changed = set(self.doors)
        if things != self.things:
            changed |= {at for at, thing in enumerate(things) if thing is not self.things[at]}
            self.things = list(things)
        for at in changed:
            thing = things[at]
            cell = cell_of(thing)
            if cell != self.cells[at]:
                self.cells = self.cells.copy()
                self.cells[at] = cell
                self.grid[at % self.env.width, at // self.env.width] = (1, 0, 0) if thing is None else thing.encode()

    def full(self) -> np.ndarray:
        """The grid with the agent in it, as `FullyObsWrapper` shows it."""
        grid = self.grid.copy()
        grid[tuple(self.env.agent_pos)] = (10, 0, self.env.agent_dir)
        return grid

    def check(self) -> None:
        np.testing.assert_array_equal(self.cells, cells_of(self.env.grid))
        np.testing.assert_array_equal(self.grid, self.env.grid.encode())


def record(env: Any, task: Any, origin: str, act: Act) -> tuple[list[Segment], list[str]]:
    """Steps `env` from where it stands until the episode ends or `act(obs)` is None: the segments and all events."""
    watch, obs, segments, events, over = Watch(env), env.gen_obs(), [], [], False
    while not over and (action := act(obs)) is not None:
        if not segments or len(segments[-1].actions) == LENGTH:
            segments.append(Segment(origin, len(segments) * LENGTH, state_of(env, task), [], []))
        front, carried = env.grid.get(*env.front_pos), env.carrying
        state = None if front is None else front.encode()[2]
        obs, reward, terminated, truncated, _ = env.step(action)
        over = terminated or truncated
        watch.look()
        segments[-1].actions.append(int(action))
        segments[-1].steps.append(
            {
                "image": obs["image"],
                "direction": np.int32(obs["direction"]),
                "mission": tokens(obs["mission"]),
                "reward": np.float32(reward),
                "discount": np.float32(not terminated),
                "last": over,
                "success": terminated and reward > 0,
                "grid": watch.full(),
                "cells": watch.cells,
                "position": np.int32(env.agent_pos[1] * env.width + env.agent_pos[0]),
                "carrying": np.uint16(0 if env.carrying is None else cell_of(env.carrying)),
                "steps": np.int32(env.step_count),
            }
        )
        events += happened(env, task, action, front, state, carried)
        events += ended(env, action, front, reward, terminated, truncated)
    watch.check()
    return segments, events


class Tally:
    """Segments recorded so far, how many steps they have, and how often each event happened."""

    def __init__(self) -> None:
        self.segments: list[Segment] = []
        self.events: Counter[str] = Counter()
        self.steps = self.episodes = 0

    def add(self, env: Any, task: Task, origin: str, act: Act) -> list[str]:
        segments, events = record(env, task, origin, act)
        self.segments += segments
        self.events.update(events)
        self.steps += sum(len(segment.actions) for segment in segments)
        self.episodes += 1
        return events


def happened(env: Any, task: Any, action: int, front: Any, state: int | None, carried: Any) -> list[str]:
    """What the action did to the thing in front of the agent, and what it did not."""
    if task.rule == "memory" and action == PICKUP:
        action = TOGGLE
    kind = None if front is None else front.type
    if action == FORWARD and front is not None and not front.can_overlap():
        return ["bumped"]
    if action == PICKUP and kind in KINDS_THAT_CAN_BE_CARRIED:
        if env.carrying is not front:
            return ["full hands"]
        return ["picked up", "picked up what holds a thing"] if front.contains else ["picked up"]
    if action == DROP and carried is not None:
        return ["nowhere to drop"] if env.carrying else ["dropped"]
    if action == TOGGLE and kind == "box":
        return [f"box with {front.contains.type}" if front.contains else "box with nothing"]
    if action == TOGGLE and kind == "door":
        if state == 2 and not front.is_open:
            return ["locked, no key" if carried is None or carried.type != "key" else "locked, wrong key"]
        return ["unlocked" if state == 2 else "opened" if front.is_open else "closed"]
    return []


def ended(env: Any, action: int, front: Any, reward: float, terminated: bool, truncated: bool) -> list[str]:
    """How the step ended the episode, if it did."""
    if not terminated:
        return ["ran out of time"] if truncated else []
    if action == FORWARD and front is not None and front.type == "lava":
        return ["lava"]
    events = [f"{'won' if reward > 0 else 'lost'} by {NAMES[action]}"]
    return [*events, "won at the last step"] if truncated and reward > 0 else events


# --- the device -----------------------------------------------------------------------------------------------------


def compare(task: Task, segments: list[Segment], shared: bool) -> None:
    """Replays the segments on the device; raises AssertionError with the first difference.

    The program is the task's `Env`, compiled as it is in use. If `shared`, it is one for many tasks that takes what
    differs between them as arguments: compiling takes longer than comparing a few steps.
    """
    cells = task.size[0] * task.size[1]
    room = min(room for room in ROOMS if room >= cells) if shared else cells
    for batch in (segments[at : at + BATCH] for at in range(0, len(segments), BATCH)):
        rows = batch + batch[:1] * (BATCH - len(batch))
        start = jax.tree.map(lambda *leaves: np.stack(leaves), *[segment.start for segment in rows])
        padded = start._replace(cells=np.pad(start.cells, ((0, 0), (0, room - cells))))
        actions = np.array([filled(segment.actions) for segment in rows], np.int32)
        if shared:
            payment = np.zeros(PAYMENTS, np.float32)
            payment[: task.max_steps + 1] = 1 - 0.9 * (np.arange(task.max_steps + 1) / task.max_steps)
            program = shared_program(str(task.rule), task.see_through)
            states, timesteps = program(padded, actions, payment, task.max_steps, task.size)
        else:
            states, timesteps = own_program(task)(padded, actions)
        states = states._replace(cells=states.cells[..., :cells])
        seen = {
            name: np.array([filled([step[name] for step in segment.steps]) for segment in rows])
            for name in batch[0].steps[0]
        }
        expected, grid = derived(task.size)(start, seen, states)
        mine = {
            **timesteps.next_obs,
            **{name: getattr(timesteps, name) for name in ("reward", "discount", "last")},
            **{"success": timesteps.extras["success"], "grid": timesteps.next_obs.get("grid", grid)},
            **{f"state.{name}": leaf for name, leaf in states._asdict().items()},
        }
        farama = {**seen, **{f"state.{name}": leaf for name, leaf in expected._asdict().items()}}
        for name, theirs in mine.items():
            check_equal(f"{task.id}: {name}", batch, np.asarray(farama[name]), np.asarray(theirs))


def filled(values: list[Any]) -> list[Any]:
    """As many as a segment may have."""
    return values + values[-1:] * (LENGTH - len(values))


def check_equal(what: str, batch: list[Segment], farama: np.ndarray, mine: np.ndarray) -> None:
    """Raises AssertionError at the first step of the first segment in which they differ."""
    assert farama.shape == mine.shape, (what, farama.shape, mine.shape)
    for row, segment in enumerate(batch):
        n = len(segment.actions)
        if np.array_equal(farama[row, :n], mine[row, :n]):
            continue
        step = next(t for t in range(n) if not np.array_equal(farama[row, t], mine[row, t]))
        where = np.argwhere(np.atleast_1d(farama[row, step] != mine[row, step]))[0]
        values = (np.atleast_1d(side[row, step])[tuple(where)] for side in (farama, mine))
        raise AssertionError(
            f"{what}{where.tolist()} is {next(values)} in Farama's and {next(values)} on the device, after step "
            f"{segment.first + step} ({NAMES[segment.actions[step]]}) of {segment.origin}"
        )


def unrolled(step: Any, states: Any, actions: jax.Array) -> Any:
    """States and time steps after each of the actions `[B, T]`."""

    def body(states: Any, action: jax.Array) -> Any:
        states, timestep = jax.vmap(step)(states, action)
        return states, (states, timestep)

    _, after = jax.lax.scan(body, states, actions.T)
    return jax.tree.map(lambda leaf: leaf.swapaxes(0, 1), after)


@cache
def shared_program(rule: str, see_through: bool) -> Any:
    def run(states: Any, actions: jax.Array, payment: jax.Array, limit: Any, size: Any) -> Any:
        task = Task("", 0, "", rule=rule, see_through=see_through, size=size)
        parts = device.Parts(task, limit, False, payment)  # type: ignore[arg-type]
        return unrolled(partial(device.advance, parts), states, actions)

    return jax.jit(run)


@cache
def own_program(task: Task) -> Any:
    nothing: Any = ()
    env = device.environment(task, nothing, nothing, task.max_steps, full_grid=True)
    return jax.jit(partial(unrolled, lambda state, action: env.step(None, state, action)))


@cache
def derived(size: tuple[int, int]) -> Any:
    """The device's states from scratch of what Farama shows, and the device's whole grids of its own states."""

    def run(start: Any, seen: dict[str, jax.Array], states: Any) -> Any:
        def expected(start: Any, seen: dict[str, jax.Array]) -> Any:
            mission = seen["mission"].astype(jnp.uint8)
            level = Level(seen["cells"], seen["position"], seen["direction"], mission, start.target)
            return world.start(level, size[0])._replace(carrying=seen["carrying"], steps=seen["steps"])

        each = jax.vmap(jax.vmap(expected, in_axes=(None, 0)))
        return each(start, seen), jax.vmap(jax.vmap(lambda state: world.full_grid(state, size)))(states)

    return jax.jit(run)
