"""A cell of the grid as one uint16: what lies there, its colour and state, and what a box holds.

    bits 0-3 kind, 4-6 colour, 7-8 state (0 open, 1 closed, 2 locked), 9-12 kind inside a box, 13-15 its colour

The numbers of kinds and colours are those of MiniGrid's encoding. All functions take NumPy or JAX arrays of any shape,
and Python integers.
"""

from typing import Any

import numpy as np

UNSEEN, NOTHING, WALL_KIND, FLOOR, DOOR, KEY, BALL, BOX, GOAL, LAVA, AGENT = range(11)
RED, GREEN, BLUE, PURPLE, YELLOW, GREY = range(6)
OPEN, CLOSED, LOCKED = range(3)
KINDS = ("unseen", "empty", "wall", "floor", "door", "key", "ball", "box", "goal", "lava", "agent")
COLOURS = ("red", "green", "blue", "purple", "yellow", "grey")

DRAWN = 0x1FF  # the bits of a cell that its drawing shows: all but what a box holds
NAMED = 0x7F  # the bits that a mission names: kind and colour


def pack(kind: Any, colour: Any = 0, state: Any = 0, inside: Any = 0) -> Any:
    """The cell with these parts; `inside` is the packed cell that a box holds, 0 for none."""
    return kind | colour << 4 | state << 7 | (inside & NAMED) << 9


EMPTY = pack(NOTHING)
WALL = pack(WALL_KIND, GREY)


def kind(cell: Any) -> Any:
    """What lies there."""
    return cell & 15


def colour(cell: Any) -> Any:
    """Its colour."""
    return cell >> 4 & 7


def state(cell: Any) -> Any:
    """The state of a door, 0 for all else."""
    return cell >> 7 & 3


def inside(cell: Any) -> Any:
    """What a box holds, as a packed cell; 0 for nothing."""
    return cell >> 9


def encode(cell: np.ndarray) -> np.ndarray:
    """MiniGrid's three numbers of each cell: `[...]` to uint8 `[..., 3]`."""
    return np.stack([kind(cell), colour(cell), state(cell)], -1).astype(np.uint8)
