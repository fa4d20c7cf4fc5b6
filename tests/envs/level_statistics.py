"""Are two samples of levels from one distribution? A permutation test over many statistics at once.

A statistic turns every level into a row of counts: one 1 for what is one value of a level (the length of its shortest
path), more for what it has several of (doors by colour, cells by place and contents). Columns with fewer than `RARE`
counts in both samples together are joined. For each statistic the column sums `A` and `B` of the two samples are
compared by Pearson's chi-square,

    X = sum_k (A_k - E_k)^2 / E_k,    E_k = (A_k + B_k) n_A / (n_A + n_B)

Levels are independent but the counts within one are not, so X does not follow the chi-square distribution. Instead the
levels are dealt out to the two samples anew, `PERMUTATIONS` times. A gamma distribution with the mean and variance of X
over these deals gives a p-value per statistic. The smallest of them is the test's own statistic, and its rank among the
deals is the test's p-value (Westfall and Young, 1993). That holds for every sample size and for statistics that depend
on each other, and counts all of them as one test: two samples of one distribution are told apart with a probability of
at most `LEVEL` = 0.001.
"""

from typing import NamedTuple

import numpy as np
from scipy import ndimage, stats

from envs.minigrid.cells import BALL, CLOSED, DOOR, GOAL, KEY, KINDS, LOCKED, NOTHING, WALL_KIND
from envs.minigrid.cells import colour as colour_of
from envs.minigrid.cells import kind as kind_of
from envs.minigrid.cells import state as state_of
from envs.minigrid.convert import level_of
from envs.minigrid.levels import Level

LEVEL = 0.001
PERMUTATIONS = 1999
RARE = 10
ALONG = ((0, 1), (1, 0), (0, -1), (-1, 0))  # rows and columns to the next cell right, down, left, up
AROUND = (*ALONG, (1, 1), (1, -1), (-1, -1), (-1, 1))
CONTENTS = ((NOTHING, 0), (WALL_KIND, 0), (DOOR, CLOSED), (DOOR, LOCKED), (KEY, 0), (BALL, 0), (GOAL, 0))


class Comparison(NamedTuple):
    """The test's p-value, whether that rejects, and the p-value of each statistic by itself."""

    p: float
    rejected: bool
    each: dict[str, float]


def farama_levels(task, n, seed):
    """`n` levels of a task from Farama's own generator."""
    from envs.minigrid.farama import create

    env, levels = create(task), []
    env.reset(seed=seed)
    for _ in range(n):
        env.reset()
        levels.append(level_of(env, task))
    return Level(*(np.stack(leaves) for leaves in zip(*levels, strict=True)))


def compare(ours, theirs, size, seed=0):
    """The test on two samples of levels on grids of `size` `(width, height)`."""
    samples = [statistics(levels, size) for levels in (ours, theirs)]
    first, total = len(ours.position), len(ours.position) + len(theirs.position)
    deal = np.zeros((PERMUTATIONS + 1, total), np.float32)
    deal[:, :first] = 1
    deal[1:] = np.random.default_rng(seed).permuted(deal[1:], axis=1)  # the first row is how the samples really are
    each = {}
    for name, counts in samples[0].items():
        counts = joined(np.concatenate([counts, samples[1][name]]))
        expected = counts.sum(0) * (first / total)
        distance = ((deal @ counts - expected) ** 2 / expected).sum(1)
        mean, variance = distance.mean(), distance.var()
        if variance > 1e-9 * mean:  # else every level has the same counts
            each[name] = stats.gamma.sf(distance, mean**2 / variance, scale=variance / mean)
    smallest = np.min(list(each.values()), axis=0)
    p = float(np.mean(smallest <= smallest[0]))
    return Comparison(p, p <= LEVEL, {name: float(values[0]) for name, values in each.items()})


def joined(counts):
    """The columns with at least `RARE` counts, and one of all the others; float32."""
    rare = counts.sum(0) < RARE
    rest = counts[:, rare].sum(1, keepdims=True)
    parts = [counts[:, ~rare], rest] if rest.any() else [counts[:, ~rare]]
    return np.concatenate(parts, 1).astype(np.float32)


# ----------------------------------------------------------------------------------------------------- STATISTICS


def statistics(levels, size):
    """Counts `[n, columns]` of each statistic by name."""
    width, height = size
    cells = levels.cells.reshape(-1, height, width)
    kinds, n = kind_of(cells), len(cells)
    place, direction = levels.position.astype(int), levels.direction.astype(int)
    here = np.zeros(levels.cells.shape, bool)
    here[np.arange(n), place] = True
    here = here.reshape(cells.shape)
    things = {KINDS[what]: kinds == what for what in (DOOR, KEY, BALL, GOAL)} | {"agent": here}

    contents = [(kinds == what) & (state_of(cells) == of) for what, of in CONTENTS]
    known = np.any(contents, axis=0)
    table = {
        "cells": np.stack([*contents, ~known], 1).reshape(n, -1).astype(np.uint8),
        "number of doors": one_hot(things["door"].sum((1, 2)), 64),
        "agent's direction": one_hot(direction, 4),
        "agent's pose": one_hot(4 * place + direction, 4 * width * height),
        "target": one_hot(levels.target[:, 0].astype(int), 256),
        "mission": one_hot(levels.mission.astype(int).sum(1), 1024),
    }
    for number, leg in enumerate(paths(levels, size)):
        table[f"length of path {number}"] = one_hot(leg + 1, width * height + 1)

    # What lies around each thing: walls in its eight neighbours, doors in its four.
    rim = np.pad(kinds, ((0, 0), (1, 1), (1, 1)), constant_values=WALL_KIND)
    near = [rim[:, 1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width] for dy, dx in AROUND]
    walls = sum((cell == WALL_KIND).astype(int) << bit for bit, cell in enumerate(near))
    doors = sum((cell == DOOR).astype(int) << bit for bit, cell in enumerate(near[:4]))
    for name, where in things.items():
        table[f"walls around {name}"] = tally(walls, where)
        table[f"doors around {name}"] = tally(doors, where)
        table[f"colour of {name}"] = tally(colour_of(cells), where)
        table[f"column and row of {name}"] = np.concatenate([where.sum(1), where.sum(2)], 1)
    ahead = place + np.array([1, width, -1, -width])[direction]
    front = np.take_along_axis(levels.cells, ahead[:, None], 1)[:, 0]
    table["before the agent"] = one_hot((kind_of(front) + 16 * state_of(front)).astype(int), 64)
    return table | (rooms(cells, here) if things["goal"].any() else corridor(cells))


def rooms(cells, agent):
    """Statistics of MultiRoom's chain of rooms, walked from the agent's room through one door after another."""
    kinds, hues = kind_of(cells), colour_of(cells)
    free = np.pad((kinds != WALL_KIND) & (kinds != DOOR), ((0, 0), (1, 1), (1, 1)))
    beside = np.zeros((3, 3, 3), int)
    beside[1] = ndimage.generate_binary_structure(2, 1)
    areas, _ = ndimage.label(free, beside)
    spans = [(y, x) for _, y, x in ndimage.find_objects(areas)]  # of the padded grid, without the rooms' walls
    boxes = [(y.start - 2, x.start - 2, y.stop - y.start + 2, x.stop - x.start + 2) for y, x in spans]
    columns = {"rooms": 256, "first room": 256, "last room": 256, "exits": 1024, "entries": 1024, "turns": 16}
    columns |= {"neighbouring colours": 64, "agent in its room": 512, "goal in its room": 512}
    table = {name: np.zeros((len(cells), width), np.uint8) for name, width in columns.items()}
    starts = areas[:, 1:-1, 1:-1][agent]
    for level, area in enumerate(starts):
        unused = [(y, x) for y, x in np.argwhere(kinds[level] == DOOR)]
        chain, last_way, last_hue = [boxes[area - 1]], None, None
        while exit := next((exit for exit in exits(areas[level], unused, area)), None):
            (y, x), way, area = exit
            unused.remove((y, x))
            hue = hues[level, y, x]
            chain.append(boxes[area - 1])
            for name, box in (("exits", chain[-2]), ("entries", chain[-1])):
                offset, length = (y - box[0], box[2]) if way % 2 == 0 else (x - box[1], box[3])
                table[name][level, 256 * way + 16 * (offset % 16) + length % 16] += 1
            if last_way is not None:
                table["turns"][level, 4 * last_way + way] += 1
                table["neighbouring colours"][level, 8 * last_hue + hue] += 1
            last_way, last_hue = way, hue
        sizes = [16 * (box[3] % 16) + box[2] % 16 for box in chain]
        np.add.at(table["rooms"][level], sizes, 1)
        table["first room"][level, sizes[0]] = table["last room"][level, sizes[-1]] = 1
        for name, what, box in (("agent", agent, chain[0]), ("goal", kinds == GOAL, chain[-1])):
            for axis, at in enumerate(np.argwhere(what[level])[0]):
                offset, length = (at - box[axis]) % 16, box[2 + axis] % 16
                table[f"{name} in its room"][level, 256 * axis + 16 * offset + length] = 1
    return table


def exits(areas, doors, area):
    """Ways out of an area through doors that have another area straight behind them: door, direction, that area."""
    for y, x in doors:
        for way, (dy, dx) in enumerate(ALONG):
            before, behind = areas[1 + y - dy, 1 + x - dx], areas[1 + y + dy, 1 + x + dx]
            if before == area and behind not in (0, area):
                yield (y, x), way, behind


def corridor(cells):
    """Statistics of KeyCorridor's three columns of rooms."""
    n, _, width = cells.shape
    pitch = (width - 1) // 3
    rows = (cells.shape[1] - 1) // pitch
    level, y, x = np.nonzero(kind_of(cells) == DOOR)
    column, row = x // pitch, y // pitch
    # Numbers of the walls: those to the left of columns 1 and 2, then those above the rooms of columns 0 and 2.
    wall = np.where(x % pitch == 0, (column - 1) * rows + row, 2 * rows + column // 2 * (rows - 1) + row - 1)
    pattern = np.bincount(level, 1 << wall, n).astype(int)

    def only(where):
        """Row of rooms, column of rooms and colour of the one such cell of each level."""
        at = np.argmax(where.reshape(n, -1), 1)
        return at // width // pitch, at % width // pitch, colour_of(cells.reshape(n, -1)[np.arange(n), at]).astype(int)

    lock_row, _, lock_hue = only(state_of(cells) == LOCKED)
    key_row, key_column, key_hue = only(kind_of(cells) == KEY)
    ball_row, ball_column, ball_hue = only(kind_of(cells) == BALL)
    rooms = np.ravel_multi_index((lock_row, key_row, key_column, ball_row, ball_column), (rows, rows, 3, rows, 3))
    return {
        "rooms of lock, key and ball": one_hot(rooms, 9 * rows**3),
        "colours of lock and key": one_hot(8 * lock_hue + key_hue, 64),
        "colours of lock and ball": one_hot(8 * lock_hue + ball_hue, 64),
        "walls with doors": one_hot(pattern, 1 << (4 * rows - 2)),
    }


def paths(levels, size):
    """Lengths `[n]` of the shortest ways from agent to goal, or from agent to key and on to the ball; -1 for no way."""
    cells = levels.cells.reshape(-1, *size[::-1])
    kinds = kind_of(cells)
    agent = (np.arange(cells[0].size) == levels.position[:, None]).reshape(cells.shape)
    if (kinds == GOAL).any():
        return [distance(kinds != WALL_KIND, agent, kinds == GOAL)]
    unlocked = (kinds != WALL_KIND) & (kinds != BALL) & (state_of(cells) != LOCKED)
    return [
        distance(unlocked, agent, kinds == KEY),
        distance(kinds != WALL_KIND, kinds == KEY, kinds == BALL),
    ]


def distance(free, start, end):
    """Steps `[n]` from `start` to `end` over `free` cells, bool `[n, height, width]` each; -1 where there is no way."""
    reached, steps = start, np.full(len(free), -1)
    for step in range(free[0].size):
        steps[(steps < 0) & (reached & end).any((1, 2))] = step
        wider = reached.copy()
        wider[:, 1:] |= reached[:, :-1]
        wider[:, :-1] |= reached[:, 1:]
        wider[:, :, 1:] |= reached[:, :, :-1]
        wider[:, :, :-1] |= reached[:, :, 1:]
        wider &= free | start
        if (wider == reached).all():
            break
        reached = wider
    return steps


def one_hot(values, columns):
    """One 1 in each row, in the column that the value names."""
    table = np.zeros((len(values), columns), np.uint8)
    table[np.arange(len(values)), values] = 1
    return table


def tally(values, where):
    """How often each value below 256 occurs in each level, among the cells in `where`."""
    level = np.nonzero(where)[0]
    return np.bincount(256 * level + values[where], minlength=256 * len(where)).reshape(-1, 256)
