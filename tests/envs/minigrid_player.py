"""A player that solves MiniGrid levels from the agent's own view alone, by drawing a map and planning on it.

A level that it solves is solvable, whatever engine made it: nothing but the engine's reward counts as solved. It moves
on cells it knows to be free, looks at every unknown cell beside them, opens doors, fetches keys for locked ones, and
moves what lies in the way to where it cuts nothing off.
"""

from collections import deque

import numpy as np

LEFT, RIGHT, FORWARD, PICKUP, DROP, TOGGLE, DONE = range(7)
EMPTY, FLOOR, DOOR, KEY, BALL, BOX, GOAL, LAVA = 1, 3, 4, 5, 6, 7, 8, 9
KINDS = {"door": DOOR, "key": KEY, "ball": BALL, "box": BOX}
COLOURS = {"red": 0, "green": 1, "blue": 2, "purple": 3, "yellow": 4, "grey": 5}
STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))

Cell = tuple[int, int]


def beside(cell: Cell) -> list[Cell]:
    return [(cell[0] + dx, cell[1] + dy) for dx, dy in STEPS]


class Player:
    """Plays one episode: `act(image, direction)` at every step; `known` is its map, in coordinates of the start."""

    def __init__(self, mission: str, moving: bool = False, thorough: bool = False):
        self.words = mission.split()
        self.moving = moving  # other things move: plan anew at every step
        self.thorough = thorough  # look from everywhere before finishing
        self.known: dict[Cell, tuple[int, int, int]] = {}
        self.first: dict[Cell, tuple[int, int, int]] = {}  # what every cell held when first seen
        self.at: Cell = (0, 0)
        self.heading = 0
        self.carrying: tuple[int, int, int] | None = None
        self.plan: list[int] = []
        self.moved: set[Cell] = set()
        self.poses: set[tuple[Cell, int]] = set()

    def act(self, image: np.ndarray, direction: int) -> int | None:
        """The next action, or None where nothing is left to try."""
        self.heading = int(direction)
        self.poses.add((self.at, self.heading))
        self.look(image)
        if not self.plan or self.moving:
            self.plan = self.think()
        if not self.plan:
            return None
        action = self.plan.pop(0)
        if action == FORWARD and self.free(self.front()):
            self.at = self.front()
        return action

    def front(self) -> Cell:
        return beside(self.at)[self.heading]

    def look(self, image: np.ndarray) -> None:
        if self.moving:
            self.known = {cell: (EMPTY, 0, 0) if what[0] == BALL else what for cell, what in self.known.items()}
        (fx, fy), (rx, ry) = STEPS[self.heading], STEPS[(self.heading + 1) % 4]
        for x in range(7):
            for y in range(7):
                if image[x, y, 0] and (x, y) != (3, 6):
                    ahead, aside = 6 - y, x - 3
                    cell = (self.at[0] + fx * ahead + rx * aside, self.at[1] + fy * ahead + ry * aside)
                    self.known[cell] = tuple(map(int, image[x, y]))  # type: ignore[assignment]
                    self.first.setdefault(cell, self.known[cell])
        self.known.setdefault(self.at, (EMPTY, 0, 0))
        held = tuple(map(int, image[3, 6]))
        self.carrying = held if held[0] in (KEY, BALL, BOX) else None  # type: ignore[assignment]

    def free(self, cell: Cell) -> bool:
        kind, _, state = self.known.get(cell, (0, 0, 0))
        return kind in (EMPTY, FLOOR, GOAL) or (kind == DOOR and state == 0)

    def region(self, without: Cell | None = None, start: Cell | None = None) -> dict[Cell, Cell]:
        """Cells that can be walked to, nearest first, each with the one before it."""
        start = start or self.at
        found, queue = {start: start}, deque([start])
        while queue:
            cell = queue.popleft()
            for other in beside(cell):
                if other not in found and other != without and self.free(other) and self.allowed(other):
                    found[other] = cell
                    queue.append(other)
        return found

    def allowed(self, cell: Cell) -> bool:
        if self.known[cell][0] == GOAL:
            return False  # going there is decided on purpose
        if "matching" in self.words:  # standing beside an object is how Memory ends
            return all(self.known.get(other, (0,))[0] not in (KEY, BALL) for other in beside(cell))
        return True

    def walk(self, region: dict[Cell, Cell], cell: Cell, face: Cell | None = None) -> list[int]:
        """Actions to `cell`, then turning to the cell `face` beside it."""
        path = [face] if face else []
        while cell != self.at:
            path.append(cell)
            cell = region[cell]
        heading, actions = self.heading, []
        for target in reversed(path):
            wanted = beside(cell).index(target)
            turns = (wanted - heading) % 4
            actions += [LEFT] if turns == 3 else [RIGHT] * turns
            heading = wanted
            if target is not face:
                actions.append(FORWARD)
                cell = target
        return actions

    def facing(self, region: dict[Cell, Cell], targets: set[Cell], *then: int) -> list[int]:
        """Walk to the nearest place beside one of `targets`, face it, do `then`."""
        for cell in region:
            for other in beside(cell):
                if other in targets:
                    return self.walk(region, cell, other) + list(then)
        return []

    def find(self, kind: int, colour: int | None = None, state: int | None = None) -> set[Cell]:
        return {
            cell
            for cell, what in self.known.items()
            if what[0] == kind and colour in (None, what[1]) and state in (None, what[2])
        }

    def put_down(self, region: dict[Cell, Cell], keep: Cell | None = None) -> list[int]:
        """Drop what is carried where it cuts off no cell, or at least not `keep`, and blocks no shut door."""
        shut = self.find(DOOR) - self.find(DOOR, state=0)
        for cell in region:
            for spot in beside(cell):
                if self.known.get(spot, (0,))[0] != EMPTY or spot == keep or shut & set(beside(spot)):
                    continue
                needed = {keep} if keep else region.keys() - {spot}
                if needed <= self.region(without=spot, start=cell).keys():
                    self.moved.add(spot)
                    return [*self.walk(region, cell, spot), DROP]
        return []

    def think(self) -> list[int]:
        region = self.region()
        unknown = {other for cell in region for other in beside(cell) if other not in self.known}
        look = self.facing(region, unknown)
        if self.thorough:
            look = look or self.open_doors(region) or self.look_everywhere(region)
            return look or self.finish(region) or self.progress(region)
        return self.finish(region) or look or self.progress(region)

    def look_everywhere(self, region: dict[Cell, Cell]) -> list[int]:
        """To the nearest place, and the direction, from which it has not looked yet."""
        for cell in region:
            for heading, other in enumerate(beside(cell)):
                if (cell, heading) not in self.poses:
                    return self.walk(region, cell, other)
        return []

    def open_doors(self, region: dict[Cell, Cell]) -> list[int]:
        doors = self.find(DOOR, state=1)
        if "then" in self.words and (red := self.find(DOOR, COLOURS["red"], 1)):
            doors = red
        return self.facing(region, doors, TOGGLE)

    def progress(self, region: dict[Cell, Cell]) -> list[int]:
        """Opens, fetches or moves something."""
        if (self.words[:2] == ["go", "to"] and "door" in self.words) or self.moving:
            return [LEFT]  # opening a door would end GoToDoor; a moving obstacle may give way
        if plan := self.open_doors(region):
            return plan
        locked = self.find(DOOR, state=2)
        if self.carrying:
            fitting = {cell for cell in locked if self.carrying[:2] == (KEY, self.known[cell][1])}
            return self.facing(region, fitting, TOGGLE) or self.put_down(region)
        for cell in locked:
            keys = self.find(KEY, self.known[cell][1]) if region.keys() & set(beside(cell)) else set()
            if plan := self.facing(region, keys, PICKUP):
                return plan
        in_the_way = (self.find(BALL) | self.find(KEY)) - self.moved
        if plan := self.facing(region, in_the_way, PICKUP):
            return plan
        return self.facing(region, self.find(BOX), TOGGLE) if "box" not in self.words else []

    def finish(self, region: dict[Cell, Cell]) -> list[int]:
        """A plan that ends the episode well, where one is known."""
        words = self.words
        if "matching" in words:
            return self.remember(region)
        if goal := self.find(GOAL):
            return self.facing(region, goal, FORWARD)
        if words[:1] == ["put"]:
            return self.put_near(region)
        if len(words) < 2 or words[-1] not in KINDS or words[-2] not in COLOURS or "then" in words:
            return []
        targets = self.find(KINDS[words[-1]], COLOURS[words[-2]])
        if words[:2] == ["go", "to"]:
            return self.facing(region, targets, DONE)
        plan = self.facing(region, targets, PICKUP)
        if plan and self.carrying:
            stands = {cell for target in targets for cell in beside(target) if cell in region}
            return next((drop for cell in stands if (drop := self.put_down(region, cell))), [])
        return plan

    def remember(self, region: dict[Cell, Cell]) -> list[int]:
        things = [(cell, what[0]) for cell, what in self.known.items() if what[0] in (KEY, BALL)]
        ends = [
            (cell, kind)
            for cell, kind in things
            if any(other[0] == cell[0] and abs(other[1] - cell[1]) == 4 for other, _ in things)
        ]
        if len(things) < 3 or len(ends) != 2:
            return []
        shown = next(kind for cell, kind in things if (cell, kind) not in ends)
        (x, y), _ = next(end for end in ends if end[1] == shown)
        # The hallway ends in the middle between the two objects; the place to stand is one cell before the right one.
        middle = sum(cell[1] for cell, _ in ends) // 2
        junction, stand = (x, middle), (x, y + (1 if middle > y else -1))
        return self.walk(region | {stand: junction}, stand) if junction in region else []

    def put_near(self, region: dict[Cell, Cell]) -> list[int]:
        (colour, kind), (to_colour, to_kind) = (self.words[2:4], self.words[-2:])
        if not self.carrying:
            return self.facing(region, self.find(KINDS[kind], COLOURS[colour]), PICKUP)
        near = {
            (x + dx, y + dy)
            for x, y in self.find(KINDS[to_kind], COLOURS[to_colour])
            for dx in (-1, 0, 1)
            for dy in (-1, 0, 1)
        }
        return self.facing(region, {cell for cell in near if self.known.get(cell, (0,))[0] == EMPTY}, DROP)
