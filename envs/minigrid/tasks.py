"""The table of MiniGrid tasks: their limits, and which of them EnvPool runs as the same task.

Limits, missions and levels are those of Farama's `minigrid` 3. Left out are BabyAI, whose missions are a language of
their own, and the levels by wave-function collapse, which need further packages. Version 0 of those ObstructedMazes
that have a version 1 has levels that cannot be solved: a ball has replaced the box with the key.
"""

from typing import Any, NamedTuple


class Task(NamedTuple):
    """One task.

    Attributes:
      id: its name.
      max_steps: its time limit; the reward of a success at step t is `1 - 0.9 t / max_steps`.
      doc: one line for `list`.
      pooled: whether EnvPool runs the same task.
      rooms: `(number, largest size)` of a MultiRoom that Farama does not register, else None.
      moving: whether other things move by themselves, so that any cell may change at any step.
      size: width and height of its grid.
      rule: what ends an episode beside goal and lava, a name in `rules.py`; None where it does not run on the device.
      see_through: whether walls and doors hide nothing.
    """

    id: str
    max_steps: int
    doc: str
    pooled: bool = False
    rooms: tuple[int, int] | None = None
    moving: bool = False
    size: tuple[int, int] = (0, 0)
    rule: str | None = None
    see_through: bool = False


def _tasks() -> list[Task]:
    tasks: list[Task] = []

    def add(name: str, size: int | tuple[int, int], max_steps: int, doc: str, version: int = 0, **facts: Any) -> None:
        sides = (size, size) if isinstance(size, int) else size
        tasks.append(Task(f"MiniGrid-{name}-v{version}", max_steps, doc, size=sides, **facts))

    goal: dict[str, Any] = {"rule": "goal", "pooled": True}
    for name, size in (("5x5", 5), ("6x6", 6), ("8x8", 8), ("16x16", 16), ("Random-5x5", 5), ("Random-6x6", 6)):
        doc = "Reach the goal in an empty room."
        add(f"Empty-{name}", size, 4 * size**2, doc, see_through=True, **goal)
    for size in (5, 6, 8, 16):
        add(f"DoorKey-{size}x{size}", size, 10 * size**2, "Fetch a key, open the door, reach the goal.", **goal)
    add("FourRooms", 19, 100, "Reach the goal in one of four rooms.", **goal)
    add("Unlock", (11, 6), 288, "Open a locked door with its key.", pooled=True, rule="unlock")
    pick: dict[str, Any] = {"rule": "pick", "pooled": True}
    add("UnlockPickup", (11, 6), 288, "Unlock a door and pick up the box behind it.", **pick)
    doc = "Clear the ball before the door, unlock it, pick up the box."
    add("BlockedUnlockPickup", (11, 6), 576, doc, **pick)
    add("LockedRoom", 19, 190, "Find the key to the locked room that holds the goal.", **goal)
    for size, rows in ((3, 1), (3, 2), (3, 3), (4, 3), (5, 3), (6, 3)):
        doc = "Find the key along a corridor, pick up the locked-in ball."
        add(f"KeyCorridorS{size}R{rows}", (3 * size - 2, rows * (size - 1) + 1), 30 * size**2, doc, **pick)
    for name, size in (("S7", 7), ("S9", 9), ("S11", 11), ("S13", 13), ("S13Random", 13), ("S17Random", 17)):
        doc = "Remember an object and go to its match."
        add(f"Memory{name}", size, 5 * size**2, doc, pooled=True, rule="memory")
    for name, size in (("S9N1", 9), ("S9N2", 9), ("S9N3", 9), ("S11N5", 11)):
        add(f"LavaCrossing{name}", size, 4 * size**2, "Cross rivers of lava to the goal.", **goal)
        add(f"SimpleCrossing{name}", size, 4 * size**2, "Pass walls through their gaps to the goal.", **goal)
    for size in (5, 6, 7):
        add(f"LavaGapS{size}", size, 4 * size**2, "Pass the gap in a strip of lava.", **goal)

    # From here on levels differ in EnvPool, some of them unsolvable, or have not been compared.
    add("MultiRoom-N2-S4", 25, 40, "Two small rooms in a row, a door between them.", rule="goal")
    add("MultiRoom-N4-S5", 25, 120, "Six rooms in a row, named four by mistake.", rule="goal")
    add("MultiRoom-N4-S5", 25, 80, "Four rooms in a row.", version=1, rule="goal")
    add("MultiRoom-N6", 25, 120, "Six rooms in a row.", rule="goal")
    for number, largest in ((7, 4), (7, 8), (10, 6), (10, 10), (12, 10)):
        doc = f"{number} rooms in a row, none above size {largest}."
        add(f"MultiRoom-N{number}-S{largest}", 25, 20 * number, doc, rooms=(number, largest), rule="goal")
    mazes = {"1Dl": 2, "1Dlh": 2, "1Dlhb": 2, "2Dl": 4, "2Dlh": 4, "2Dlhb": 4, "1Q": 5, "2Q": 11, "Full": 25}
    for name, rooms_visited in mazes.items():
        sides = (11, 6) if name.startswith("1D") else (16, 16)
        doc = "Locked doors, hidden keys and balls in the way of a blue ball."
        for version in (0, 1) if name in ("2Dlhb", "1Q", "2Q", "Full") else (0,):
            add(f"ObstructedMaze-{name}", sides, 144 * rooms_visited, doc, version=version, rule="pick")
    for number in (1, 2):
        doc = "Reach the goal past a strip of lava that moves between the two tasks."
        add(f"DistShift{number}", (9, 7), 252, doc, rule="goal", see_through=True)
    for name, size in (("5x5-N2", 5), ("6x6-N2", 6), ("8x8-N3", 8)):
        doc = "Pick up the object that the mission names."
        add(f"Fetch-{name}", size, 5 * size**2, doc, rule="fetch", see_through=True)
    for size in (5, 6, 8):
        doc = "Stop at the door of the named colour."
        add(f"GoToDoor-{size}x{size}", size, 4 * size**2, doc, rule="go_to", see_through=True)
    for size in (6, 8):
        doc = "Stop at the object that the mission names."
        add(f"GoToObject-{size}x{size}-N2", size, 5 * size**2, doc, rule="go_to", see_through=True)
    for size, objects, limit in ((6, 2, 30), (8, 3, 40)):
        doc = "Put one named object near another."
        add(f"PutNear-{size}x{size}-N{objects}", size, limit, doc, rule="put_near", see_through=True)
    for size in (6, 8):
        doc = "Open the red door, then the blue one."
        add(f"RedBlueDoors-{size}x{size}", (2 * size, size), 20 * size**2, doc, rule="two_doors")
    add("Playground", 19, 100, "Rooms full of objects and no mission; no reward.")
    for name, size in (("5x5", 5), ("Random-5x5", 5), ("6x6", 6), ("Random-6x6", 6), ("8x8", 8), ("16x16", 16)):
        add(f"Dynamic-Obstacles-{name}", size, 4 * size**2, "Reach the goal among balls that wander.", moving=True)
    return tasks


TASKS = {task.id: task for task in _tasks()}
