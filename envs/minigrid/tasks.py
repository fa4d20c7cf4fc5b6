"""The table of MiniGrid tasks: their limits, and which of them EnvPool runs as the same task.

Limits, missions and levels are those of Farama's `minigrid` 3. Left out are BabyAI, whose missions are a language of
their own, the levels by wave-function collapse, which need further packages, and version 0 of those ObstructedMazes
that have a version 1: in some of its levels a ball has replaced the box with the key.
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
    """

    id: str
    max_steps: int
    doc: str
    pooled: bool = False
    rooms: tuple[int, int] | None = None
    moving: bool = False


def _tasks() -> list[Task]:
    tasks: list[Task] = []

    def add(name: str, max_steps: int, doc: str, version: int = 0, **facts: Any) -> None:
        tasks.append(Task(f"MiniGrid-{name}-v{version}", max_steps, doc, **facts))

    for name, size in (("5x5", 5), ("6x6", 6), ("8x8", 8), ("16x16", 16), ("Random-5x5", 5), ("Random-6x6", 6)):
        add(f"Empty-{name}", 4 * size**2, "Reach the goal in an empty room.", pooled=True)
    for size in (5, 6, 8, 16):
        add(f"DoorKey-{size}x{size}", 10 * size**2, "Fetch a key, open the door, reach the goal.", pooled=True)
    add("FourRooms", 100, "Reach the goal in one of four rooms.", pooled=True)
    add("Unlock", 288, "Open a locked door with its key.", pooled=True)
    add("UnlockPickup", 288, "Unlock a door and pick up the box behind it.", pooled=True)
    add("BlockedUnlockPickup", 576, "Clear the ball before the door, unlock it, pick up the box.", pooled=True)
    add("LockedRoom", 190, "Find the key to the locked room that holds the goal.", pooled=True)
    for name, size in (("S3R1", 3), ("S3R2", 3), ("S3R3", 3), ("S4R3", 4), ("S5R3", 5), ("S6R3", 6)):
        add(
            f"KeyCorridor{name}",
            30 * size**2,
            "Find the key along a corridor, pick up the locked-in ball.",
            pooled=True,
        )
    for name, size in (("S7", 7), ("S9", 9), ("S11", 11), ("S13", 13), ("S13Random", 13), ("S17Random", 17)):
        add(f"Memory{name}", 5 * size**2, "Remember an object and go to its match.", pooled=True)
    for name, size in (("S9N1", 9), ("S9N2", 9), ("S9N3", 9), ("S11N5", 11)):
        add(f"LavaCrossing{name}", 4 * size**2, "Cross rivers of lava to the goal.", pooled=True)
        add(f"SimpleCrossing{name}", 4 * size**2, "Pass walls through their gaps to the goal.", pooled=True)
    for size in (5, 6, 7):
        add(f"LavaGapS{size}", 4 * size**2, "Pass the gap in a strip of lava.", pooled=True)

    # From here on levels differ in EnvPool, some of them unsolvable, or have not been compared.
    add("MultiRoom-N2-S4", 40, "Two small rooms in a row, a door between them.")
    add("MultiRoom-N4-S5", 120, "Six rooms in a row, named four by mistake.")
    add("MultiRoom-N4-S5", 80, "Four rooms in a row.", version=1)
    add("MultiRoom-N6", 120, "Six rooms in a row.")
    for number, size in ((7, 4), (7, 8), (10, 6), (10, 10), (12, 10)):
        rooms = (number, size)
        add(
            f"MultiRoom-N{number}-S{size}",
            20 * number,
            f"{number} rooms in a row, none above size {size}.",
            rooms=rooms,
        )
    mazes = {"1Dl": 2, "1Dlh": 2, "1Dlhb": 2, "2Dl": 4, "2Dlh": 4, "2Dlhb": 4, "1Q": 5, "2Q": 11, "Full": 25}
    for name, rooms_visited in mazes.items():
        version = 1 if name in ("2Dlhb", "1Q", "2Q", "Full") else 0
        doc = "Locked doors, hidden keys and balls in the way of a blue ball."
        add(f"ObstructedMaze-{name}", 144 * rooms_visited, doc, version=version)
    for number in (1, 2):
        add(f"DistShift{number}", 252, "Reach the goal past a strip of lava that moves between the two tasks.")
    for name, size in (("5x5-N2", 5), ("6x6-N2", 6), ("8x8-N3", 8)):
        add(f"Fetch-{name}", 5 * size**2, "Pick up the object that the mission names.")
    for size in (5, 6, 8):
        add(f"GoToDoor-{size}x{size}", 4 * size**2, "Stop at the door of the named colour.")
    for size in (6, 8):
        add(f"GoToObject-{size}x{size}-N2", 5 * size**2, "Stop at the object that the mission names.")
    add("PutNear-6x6-N2", 30, "Put one named object near another.")
    add("PutNear-8x8-N3", 40, "Put one named object near another.")
    for size in (6, 8):
        add(f"RedBlueDoors-{size}x{size}", 20 * size**2, "Open the red door, then the blue one.")
    add("Playground", 100, "Rooms full of objects and no mission; no reward.")
    for name, size in (("5x5", 5), ("Random-5x5", 5), ("6x6", 6), ("Random-6x6", 6), ("8x8", 8), ("16x16", 16)):
        add(f"Dynamic-Obstacles-{name}", 4 * size**2, "Reach the goal among balls that wander.", moving=True)
    return tasks


TASKS = {task.id: task for task in _tasks()}
