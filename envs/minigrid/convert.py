"""From Farama's Python objects to packed cells, levels and targets. Needs no import of `minigrid` itself."""

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from envs.errors import UsageError
from envs.minigrid.cells import BOX, COLOURS, EMPTY, KINDS, pack
from envs.minigrid.levels import Level
from envs.minigrid.mission import tokens
from envs.minigrid.tasks import Task

if TYPE_CHECKING:
    from envs.minigrid.world import State


def cell_of(thing: Any) -> int:
    """The packed cell of a Farama object, or of None.

    Raises:
      UsageError: for a box in a box, or a door in one, which a packed cell has no room for.
    """
    if thing is None:
        return EMPTY
    kind, colour, state = thing.encode()
    held = getattr(thing, "contains", None)
    if held is None:
        return int(pack(kind, colour, state))
    inner = cell_of(held)
    if kind != BOX or inner >> 7:
        raise UsageError(f"A {KINDS[kind]} that holds a {held.type} with contents or a state has no packed cell.")
    return int(pack(kind, colour, state, inner))


def cells_of(grid: Any) -> np.ndarray:
    """The packed cells of a Farama grid, uint16 `[height * width]` row by row."""
    return np.array([cell_of(thing) for thing in grid.grid], np.uint16)


def level_of(env: Any, task: Task) -> Level:
    """What a Farama environment of this task stands at, but for what it carries and its steps: see `state_of`."""
    x, y = (int(value) for value in env.agent_pos)
    return Level(
        cells=cells_of(env.grid),
        position=np.uint16(y * env.width + x),
        direction=np.uint8(env.agent_dir),
        mission=tokens(env.mission).astype(np.uint8),
        target=np.array(target_of(env, task), np.uint16),
    )


def state_of(env: Any, task: Task) -> "State":
    """The device's `State` of a Farama environment of this task, at any step of any episode; NumPy leaves."""
    import jax

    carrying = np.uint16(0 if env.carrying is None else cell_of(env.carrying))
    state = _continued(task.size[0])(level_of(env, task), carrying, np.int32(env.step_count))
    return jax.tree.map(np.asarray, state)


@cache
def _continued(width: int) -> Callable[..., "State"]:
    import jax

    from envs.minigrid.world import start

    return jax.jit(lambda level, carrying, steps: start(level, width)._replace(carrying=carrying, steps=steps))


def target_of(env: Any, task: Task) -> tuple[int, int]:
    """What the task's rule looks at, see `rules.py`."""

    def place(position: Any) -> int:
        return int(position[1]) * int(env.width) + int(position[0])

    def named(kind: str, colour: str) -> int:
        return int(pack(KINDS.index(kind), COLOURS.index(colour)))

    if task.rule == "pick":
        return cell_of(env.obj), 0
    if task.rule == "unlock":
        return place(env.door.cur_pos), 0
    if task.rule == "memory":
        return place(env.success_pos), place(env.failure_pos)
    if task.rule == "fetch":
        return named(env.targetType, env.targetColor), 0
    if task.rule == "go_to":
        return place(env.target_pos), 0
    if task.rule == "put_near":
        return named(env.move_type, env.moveColor), place(env.target_pos)
    if task.rule == "two_doors":
        doors = {int(thing.encode()[1]): at for at, thing in enumerate(env.grid.grid) if thing and thing.type == "door"}
        return doors[COLOURS.index("red")], doors[COLOURS.index("blue")]
    return 0, 0
