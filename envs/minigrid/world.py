"""MiniGrid's world as pure functions of one environment: its state, and what each of the seven actions does.

The rules are those of Farama's `minigrid` 3.2 (Chevalier-Boisvert et al., 2023). A step writes one cell; the rest of
the grid stays where it is.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from envs.minigrid.cells import (
    BALL,
    BOX,
    DOOR,
    DRAWN,
    EMPTY,
    FLOOR,
    GOAL,
    KEY,
    LAVA,
    LOCKED,
    NAMED,
    NOTHING,
    OPEN,
    pack,
)
from envs.minigrid.cells import colour as colour_of
from envs.minigrid.cells import inside as inside_of
from envs.minigrid.cells import kind as kind_of
from envs.minigrid.cells import state as state_of
from envs.minigrid.levels import Level
from envs.minigrid.view import DX, DY

LEFT, RIGHT, FORWARD, PICKUP, DROP, TOGGLE, DONE = range(7)


class State(NamedTuple):
    """Where one episode stands.

    Attributes:
      cells: uint16 `[height * width]`, packed (`cells.py`), without the agent.
      position: int32 `[]`, index of the agent's cell.
      direction: int32 `[]`.
      carrying: uint16 `[]`, the packed cell that the agent carries, 0 for nothing.
      steps: int32 `[]`, steps since the start.
      mission: uint8 `[20]`, token ids.
      target: uint16 `[2]`, what the task's rule looks at.
      hash: uint32 `[2]`, of all cells as they are drawn.
      front: uint16 `[]`, the packed cell before the agent. A step that had to read the grid before it writes its one
        cell would make XLA copy the grid.
    """

    cells: jax.Array
    position: jax.Array
    direction: jax.Array
    carrying: jax.Array
    steps: jax.Array
    mission: jax.Array
    target: jax.Array
    hash: jax.Array
    front: jax.Array


class Outcome(NamedTuple):
    """What a step earned, bool `[]` each: whether it pays the reward of a success, and whether it ends the episode."""

    rewarded: jax.Array
    terminated: jax.Array


def start(level: Level, width: int) -> State:
    """The state before the first step of a level."""
    cells = jnp.asarray(level.cells, jnp.uint16)
    position, direction = jnp.asarray(level.position, jnp.int32), jnp.asarray(level.direction, jnp.int32)
    return State(
        cells=cells,
        position=position,
        direction=direction,
        carrying=jnp.zeros((), jnp.uint16),
        steps=jnp.zeros((), jnp.int32),
        mission=jnp.asarray(level.mission, jnp.uint8),
        target=jnp.asarray(level.target, jnp.uint16),
        hash=jax.lax.reduce_xor(hash_of(jnp.arange(cells.shape[0]), cells & DRAWN), (0,)),
        front=cells[ahead(position, direction, width)],
    )


def step(state: State, action: jax.Array, width: int) -> tuple[State, Outcome]:
    """One step of the world; what the task adds to it is in `rules.py`."""
    place, front = ahead(state.position, state.direction, width), state.front
    kind, colour = kind_of(front), colour_of(front)
    is_door, is_open = kind == DOOR, state_of(front) == OPEN

    enter = (kind == NOTHING) | (kind == FLOOR) | (kind == GOAL) | (kind == LAVA) | (is_door & is_open)
    forward = (action == FORWARD) & enter
    pick = (action == PICKUP) & ((kind == KEY) | (kind == BALL) | (kind == BOX)) & (state.carrying == 0)
    drop = (action == DROP) & (kind == NOTHING) & (state.carrying > 0)
    toggle = action == TOGGLE

    fits = (state.carrying & NAMED) == pack(KEY, colour)
    turned = jnp.where(state_of(front) == LOCKED, jnp.where(fits, OPEN, LOCKED), 1 - state_of(front))
    contents = jnp.where(inside_of(front) > 0, inside_of(front), EMPTY)
    new = jnp.select(
        [pick, drop, toggle & is_door, toggle & (kind == BOX)],
        [jnp.uint16(EMPTY), state.carrying, pack(DOOR, colour, turned.astype(jnp.uint16)), contents.astype(jnp.uint16)],
        front,
    )
    cells = state.cells.at[place].set(new)
    position = jnp.where(forward, place, state.position)
    direction = (state.direction + jnp.where(action == LEFT, 3, 0) + jnp.where(action == RIGHT, 1, 0)) % 4
    after = state._replace(
        cells=cells,
        position=position,
        direction=direction,
        carrying=jnp.select([pick, drop], [front, jnp.uint16(0)], state.carrying),
        steps=state.steps + 1,
        hash=state.hash ^ hash_of(place, front & DRAWN) ^ hash_of(place, new & DRAWN),
        front=cells[ahead(position, direction, width)],
    )
    reached = forward & (kind == GOAL)
    return after, Outcome(reached, reached | (forward & (kind == LAVA)))


def ahead(position: jax.Array, direction: jax.Array, width: int) -> jax.Array:
    """Index of the cell before the agent."""
    return position + (jnp.asarray(DX) + width * jnp.asarray(DY))[direction]


# ----------------------------------------------------------------------------------------------------------- KEYS

_POSE = 1 << 14  # tells the agent's direction from a cell's contents


def grid_key(state: State) -> jax.Array:
    """Key of the whole grid with the agent in it, uint32 `[2]`: what is counted as one state.

    The hashes of all cells and of the agent's place and direction, joined by exclusive or (Zobrist, 1970); what the
    agent carries and what boxes hold is not part of it.
    """
    return state.hash ^ hash_of(state.position, state.direction | _POSE)


def hash_of(place: jax.Array, content: jax.Array) -> jax.Array:
    """Hash of one thing at one place, uint32 `[..., 2]`: two finalisers of MurmurHash3 (Appleby, 2008)."""
    word = jnp.asarray(place, jnp.uint32) | jnp.asarray(content, jnp.uint32) << 16

    def mix(x: jax.Array) -> jax.Array:
        x = (x ^ x >> 16) * jnp.uint32(0x85EBCA6B)
        x = (x ^ x >> 13) * jnp.uint32(0xC2B2AE35)
        return x ^ x >> 16

    return jnp.stack([mix(word + jnp.uint32(0x9E3779B9)), mix(word ^ jnp.uint32(0x5BD1E995))], -1)


def full_grid(state: State, size: tuple[int, int]) -> jax.Array:
    """MiniGrid's encoding of the whole grid with the agent in it, uint8 `[width, height, 3]`."""
    width, height = size
    agent = jnp.arange(width * height) == state.position
    cells = state.cells
    parts = [
        jnp.where(agent, own, part)
        for own, part in ((10, kind_of(cells)), (0, colour_of(cells)), (state.direction, state_of(cells)))
    ]
    return jnp.stack(parts, -1).astype(jnp.uint8).reshape(height, width, 3).swapaxes(0, 1)
