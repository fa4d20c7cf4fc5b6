"""The key of a full grid state, for counting first visits within an episode.

A state is every cell of the grid as drawn with the agent in it; what the agent carries is not part of it. Two ways to a
64-bit key, given as uint32 `[2]`:

- `full_key` hashes all bytes of the grid (the reference engine shows them).
- `pose_hash ^ cells`, kept up step by step for engines that show only the agent's view. Of all cells an action changes
  at most the one in front of the agent, and the view always shows that cell, so with `h` a mixing function on cells

      cells_t = cells_tm1 ^ h(cell, old) ^ h(cell, new),     cells_0 = 0

  depends on the changed cells alone and returns to its value when they do (Zobrist, 1970). A cell that can be stood
  upon has one such content per episode, so hiding it under the agent confuses no two states.

Both have the same pattern of first visits within an episode. Only `full_key` can be compared between episodes: the
other starts at zero whatever the level.
"""

import hashlib

import numpy as np

FRONT = (3, 5)  # where the view shows the cell before the agent, [x, y]
PICKUP, TOGGLE = 3, 5  # the actions that may change it are pickup, drop and toggle
STEPS = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]])  # x and y of one step right, down, left, up


def full_key(grid: np.ndarray) -> np.ndarray:
    """Key of the bytes of a whole grid, uint8 `[width, height, 3]`, as uint32 `[2]`."""
    return np.frombuffer(hashlib.blake2b(grid.tobytes(), digest_size=8).digest(), "<u4")


def pose_hash(position: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Hash of where agents stand and look: position `[n, 2]`, direction `[n]`, as uint64 `[n]`."""
    x, y = position[:, 0].astype(np.uint64), position[:, 1].astype(np.uint64)
    return _mix(x | y << np.uint64(8) | direction.astype(np.uint64) << np.uint64(16) | np.uint64(1 << 40))


def advance(
    cells: np.ndarray,
    image: np.ndarray,
    position: np.ndarray,
    direction: np.ndarray,
    actions: np.ndarray,
    next_image: np.ndarray,
) -> np.ndarray:
    """The hash of the changed cells after one step.

    Args:
      cells: uint64 `[n]`, 0 at the start of an episode.
      image: uint8 `[n, 7, 7, 3]`, the view before the step.
      position: `[n, 2]`, the agent's cell before the step.
      direction: `[n]`, where it looked before the step.
      actions: `[n]`.
      next_image: uint8 `[n, 7, 7, 3]`, the view after the step.
    """
    front = (position + STEPS[direction]).astype(np.uint64)
    where = front[:, 0] | front[:, 1] << np.uint64(8)
    # Turning and walking change the cell in view, not the grid.
    still = (actions >= PICKUP) & (actions <= TOGGLE)
    change = _mix(where | _content(image)) ^ _mix(where | _content(next_image))
    return cells ^ np.where(still, change, np.uint64(0))


def as_words(key: np.ndarray) -> np.ndarray:
    """uint64 `[n]` as uint32 `[n, 2]`: JAX has no 64-bit integers by default."""
    return key.astype("<u8").view("<u4").reshape(-1, 2)


def _content(image: np.ndarray) -> np.ndarray:
    kind, colour, state = image[:, FRONT[0], FRONT[1], :].astype(np.uint64).T
    return kind << np.uint64(16) | colour << np.uint64(24) | state << np.uint64(32)


def _mix(x: np.ndarray) -> np.ndarray:
    """splitmix64's finaliser (Steele, Lea and Flood, 2014): every input bit flips half of the output bits."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ x >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ x >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return x ^ x >> np.uint64(31)
