"""What to do in Farama's MiniGrid so that everything happens: chance, situations set up by hand, and whole solutions.

All three start from levels that Farama made. Chance also starts from states far from any level: things scattered over
the rooms, doors in other states, the agent somewhere else with something in its hands, its time almost over.
"""

import pickle
from collections import deque
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import numpy as np
from minigrid.core.world_object import Ball, Box, Door, Floor, Goal, Key, Lava, Wall
from minigrid_parity import Act, Tally
from minigrid_player import BALL, COLOURS, DOOR, KEY, KINDS, Player, beside

from envs.minigrid.cells import WALL_KIND
from envs.minigrid.farama import create
from envs.minigrid.tasks import Task
from envs.minigrid.world import DONE, DROP, LEFT, PICKUP, RIGHT, TOGGLE

UNIFORM = np.full(7, 1 / 7)
BUSY = np.array([0.13, 0.13, 0.36, 0.12, 0.08, 0.16, 0.02])  # more that changes something, less that ends GoTo tasks
EPISODE = 100  # steps of chance at most: what happens later in an episode happens in a scattered one too
TAIL = 25  # steps of a solution that are repeated near the time limit
TRIES = 40  # levels in a row of which one must be solved in time: some ObstructedMazes of version 0 have no solution

Script = tuple[str, Any, Act]  # its name, an environment to start from, and what to do in it


def levels_of(task: Task, seed: int, n: int) -> list[bytes]:
    """Environments at the levels of `n` seeds in a row; `pickle.loads` copies one faster than Farama draws it."""
    env, levels = create(task), []
    for number in range(n):
        env.reset(seed=seed + number)
        levels.append(pickle.dumps(env))
    return levels


def taken(actions: Any) -> Act:
    """Just these actions."""
    left = iter(actions)
    return lambda obs: next(left, None)


# --- chance -------------------------------------------------------------------------------------------------------


def play_by_chance(task: Task, levels: list[bytes], seed: int, steps: int) -> Tally:
    """Episodes of random actions: every other one uniform, every other pair from a scattered state."""
    tally, rng = Tally(), np.random.default_rng(seed)
    for episode in count():
        if tally.steps >= steps:
            return tally
        level = rng.integers(len(levels))
        env = pickle.loads(levels[level])
        if episode % 4 >= 2:
            scatter(env, task, rng)
        actions = rng.choice(7, EPISODE, p=UNIFORM if episode % 2 else BUSY)
        tally.add(env, task, f"chance {episode} in level {seed + level}", taken(actions))


def scatter(env: Any, task: Task, rng: np.random.Generator) -> None:
    """Any state that Farama's grid can be in, with the level's walls and its task."""
    inside = interior(env, task)
    for at in inside:
        thing = env.grid.get(*at)
        if thing is not None and thing.type == "door" and rng.random() < 0.3:
            thing.is_open, thing.is_locked = ((True, False), (False, False), (False, True))[rng.integers(3)]
        if thing is None and at != tuple(env.agent_pos) and rng.random() < 0.15:
            env.grid.set(*at, not_the_target(env, task, anything(rng)))
    stands = [at for at in inside if (thing := env.grid.get(*at)) is None or thing.can_overlap()]
    env.agent_pos, env.agent_dir = stands[rng.integers(len(stands))], int(rng.integers(4))
    if rng.random() < 0.3:
        env.carrying = not_the_target(env, task, something_to_carry(rng))
    near_the_end = rng.random() < 0.5
    env.step_count = int(max(0, env.max_steps - rng.integers(1, 40)) if near_the_end else rng.integers(env.max_steps))


def anything(rng: np.random.Generator) -> Any:
    colour = list(COLOURS)[rng.integers(6)]
    if rng.random() < 0.5:
        return something_to_carry(rng)
    doors = (Door(colour, is_open=True), Door(colour), Door(colour, is_locked=True))
    return (*doors, Floor(colour), Goal(), Lava(), Wall(colour))[rng.integers(7)]


def something_to_carry(rng: np.random.Generator) -> Any:
    colour, other = (list(COLOURS)[number] for number in rng.integers(6, size=2))
    contents = (None, Key(other), Ball(other), Box(other), Goal())[rng.integers(5)]
    return (Key(colour), Ball(colour), Box(colour, contents))[rng.integers(3)]


def not_the_target(env: Any, task: Task, thing: Any) -> Any:
    """Nothing in place of what the task could take for its own object or door: levels hold those once."""
    if task.rule == "pick" and any(
        part is not None and (part.type, part.color) == (env.obj.type, env.obj.color)
        for part in (thing, thing.contains)
    ):
        return None
    return None if task.rule == "two_doors" and thing.type == "door" else thing


def interior(env: Any, task: Task) -> list[tuple[int, int]]:
    """The cells of the agent's room and of those behind its doors, without the border of the grid."""
    # GoToDoor's doors lead out of the world, where Farama's steps fail.
    shut = ("wall", "door") if task.rule == "go_to" else ("wall",)
    start = tuple(int(value) for value in env.agent_pos)
    found, queue = {start}, deque([start])
    while queue:
        for x, y in beside(queue.popleft()):
            if (x, y) in found or not (0 < x < env.width - 1 and 0 < y < env.height - 1):
                continue
            if (thing := env.grid.get(x, y)) is None or thing.type not in shut:
                found.add((x, y))
                queue.append((x, y))
    return sorted(found)


# --- situations ---------------------------------------------------------------------------------------------------


def situations(env: Any) -> list[tuple[Any, Any, str, int]]:
    """What is in front of the agent, what it carries, what it does, and how many steps it has left (0 for enough)."""
    a, b = [colour for colour in COLOURS if colour not in ("red", "blue") and colour not in env.mission.split()][:2]
    return [
        (Door(a, is_locked=True), None, "tf", 0),
        (Door(a, is_locked=True), Key(b), "t", 0),
        (Door(a, is_locked=True), Ball(a), "t", 0),
        (Door(a, is_locked=True), Box(a, Key(a)), "t", 0),
        (Door(a, is_locked=True), Key(a), "tttffllf", 0),
        (Door(a), None, "fttt", 0),
        (Door(a), Key(a), "tdf", 0),
        (Door(a, is_open=True), None, "tt", 0),
        (Door(a, is_open=True), Key(b), "fdrrp", 0),
        (Key(a), None, "pdpld", 0),
        (Key(a), Ball(b), "pd", 0),
        (Ball(a), Box(b), "p", 0),
        (Box(a), Key(b), "pt", 0),
        (Box(a, Key(b)), None, "tpd", 0),
        (Box(a, Key(b)), None, "pdtp", 0),
        (Box(a, Ball(b)), None, "tf", 0),
        (Box(a, Box(b)), None, "ttf", 0),
        (Box(a), None, "ftf", 0),
        (None, Box(a, Key(b)), "dtp", 0),
        (None, Key(a), "d", 0),
        (Wall(b), Key(a), "d", 0),
        (Wall(), None, "fpt", 0),
        (Floor(a), Key(b), "dff", 0),
        (Goal(), Key(a), "d", 0),
        (Lava(), Ball(a), "d", 0),
        (Goal(), None, "ptf", 0),
        (Lava(), None, "pf", 0),
        (Goal(), None, "f", 1),
        (Goal(), None, "lrf", 3),
        (Goal(), None, "lrf", 2),
        (Lava(), None, "f", 1),
        (None, None, "l", 1),
        (Key(a), None, "p", 1),
    ]


def set_up(env: Any, task: Task, situation: tuple[Any, Any, str, int], rng: np.random.Generator) -> Script:
    """The situation at a random place of the level."""
    front, env.carrying, letters, left = situation
    inside = interior(env, task)
    room = [at for at in inside if env.grid.get(*at) is None]

    def poses(fronts: list[tuple[int, int]]) -> list[tuple[tuple[int, int], int]]:
        return [(at, heading) for at in room for heading in range(4) if beside(at)[heading] in fronts]

    # KeyCorridorS3R1 has rooms of one cell: something has to give way there.
    places = poses(room) or poses(inside)
    env.agent_pos, env.agent_dir = places[rng.integers(len(places))]
    env.grid.set(*beside(env.agent_pos)[env.agent_dir], front)
    env.step_count = env.max_steps - left if left else int(rng.integers(env.max_steps - len(letters)))
    return letters, env, taken(["lrfpdt".index(letter) for letter in letters])


# --- solutions ----------------------------------------------------------------------------------------------------


class Informed(Player):
    """The player with the whole map; with `stages` it goes through these instead of what it would do itself."""

    def __init__(self, env: Any, *stages: Callable[["Informed"], list[int]]):
        super().__init__(env.mission.replace(",", ""))
        self.heading, (left, top) = env.agent_dir, env.agent_pos
        for x, y in np.ndindex(env.width, env.height):
            thing = env.grid.get(x, y)
            self.known[x - left, y - top] = (1, 0, 0) if thing is None else thing.encode()
        self.stages = iter(stages) if stages else None

    def think(self) -> list[int]:
        if self.stages is None:
            return super().think()
        return next((plan for stage in self.stages if (plan := stage(self))), [])

    def to(self, kind: int, colour: int | None, *then: int, other_than: bool = False) -> list[int]:
        """To the nearest thing of this kind and colour, or of another."""
        things = self.find(kind, colour)
        if other_than:
            things = set().union(*map(self.find, KINDS.values())) - things - self.find(DOOR)
        return self.facing(self.region(), things, *then)


def acting(player: Player) -> Act:
    return lambda obs: player.act(obs["image"], obs["direction"])


def endings(task: Task, level: bytes) -> Iterator[Script]:
    """Ways in which this rule ends an episode, beside its solution."""

    def staged(name: str, *stages: Callable[[Informed], list[int]]) -> Script:
        env = pickle.loads(level)
        return name, env, acting(Informed(env, *stages))

    env = pickle.loads(level)
    if task.rule == "fetch":
        what = KINDS[env.targetType], COLOURS[env.targetColor]
        yield staged("another object", lambda player: player.to(*what, PICKUP, other_than=True))
    if task.rule == "put_near":
        what = KINDS[env.move_type], COLOURS[env.moveColor]
        yield staged("another object", lambda player: player.to(*what, PICKUP, other_than=True))
        yield staged("put back", lambda player: player.to(*what, PICKUP, DROP))
        yield staged(
            "put nowhere", lambda player: player.to(*what, PICKUP), lambda player: player.to(WALL_KIND, None, DROP)
        )
    if task.rule == "go_to":
        x, y = (int(there - here) for there, here in zip(env.target_pos, env.agent_pos, strict=True))
        yield staged("done at once", lambda player: [DONE])
        yield staged("toggle at once", lambda player: [TOGGLE])
        yield staged("toggle", lambda player: player.facing(player.region(), {(x, y)}, TOGGLE))
        yield staged("turned away", lambda player: player.facing(player.region(), {(x, y)}, LEFT, DONE))
    if task.rule == "two_doors":
        red, blue = COLOURS["red"], COLOURS["blue"]
        yield staged("blue at once", lambda player: player.to(DOOR, blue, TOGGLE))
        shut = lambda player: player.to(DOOR, red, TOGGLE, TOGGLE)  # noqa: E731
        yield staged("red shut again", shut, lambda player: player.to(DOOR, blue, TOGGLE))
        env.red_door.is_open = env.blue_door.is_open = True
        x, y = next(at for at in np.ndindex(env.width, env.height) if env.grid.get(*at) is env.blue_door)
        env.agent_pos, env.agent_dir = (x - 1, y), 0
        yield "blue shut, red open", env, taken([TOGGLE])
    if task.rule == "pick":
        at = next(at for at in np.ndindex(env.width, env.height) if env.grid.get(*at) is env.obj)
        env.grid.set(*at, None)
        env.carrying = env.obj
        yield "the object in its hands", env, taken([LEFT, PICKUP])
    if task.rule == "memory":
        player, middle = Informed(env), env.height // 2
        shown = (1 - env.agent_pos[0], middle - 1 - env.agent_pos[1])
        player.known[shown] = (KEY + BALL - player.known[shown][0], *player.known[shown][1:])
        plan, again = player.think(), pickle.loads(level)
        yield "the other end", env, taken(plan)
        again.grid.set(*again.failure_pos, Goal())
        yield "a goal at the other end", again, taken(plan)


def solved(task: Task, seed: int, tally: Tally) -> tuple[bytes, list[int]]:
    """The first level from this seed on that the player solves in time, and the solution."""
    env = create(task)
    for number in range(seed, seed + TRIES):
        env.reset(seed=number)
        level, before = pickle.dumps(env), len(tally.segments)
        events = tally.add(env, task, f"solution of level {number}", acting(Informed(env)))
        if any(event.startswith("won") for event in events):
            tally.events.update({f"solution: {event}" for event in events})
            return level, [action for segment in tally.segments[before:] for action in segment.actions]
    raise AssertionError(f"{task.id}: no level from {seed} to {seed + TRIES - 1} was solved in time.")


def detour(task: Task, actions: list[int], rng: np.random.Generator) -> list[int]:
    """The same with turns that undo themselves and idle steps, and what is picked up put back and taken again."""
    ways = [[], [], [LEFT, RIGHT], [RIGHT, LEFT], [LEFT] * 4]
    if task.rule != "go_to":
        ways.append([DONE])
    longer = []
    for action in actions:
        longer += [*ways[rng.integers(len(ways))], action]
        if action in (PICKUP, DROP) and task.rule not in ("put_near", "fetch"):
            longer += [PICKUP + DROP - action, action]
    return longer


def play_scripts(task: Task, seed: int, steps: int) -> Tally:
    """Solutions, also with their end at and after the time limit; other endings; situations. At least once each."""
    tally, rng = Tally(), np.random.default_rng(seed)
    while tally.steps < steps:
        first = seed + 100 * tally.episodes
        level, actions = solved(task, first, tally)
        tally.add(pickle.loads(level), task, f"detours from {first} on", taken(detour(task, actions, rng)))
        env = pickle.loads(level)
        for action in actions[:-TAIL]:
            env.step(action)
        rest, near = actions[-TAIL:], pickle.dumps(env)
        for late in (0, 1) if len(rest) > 1 else (0,):
            env = pickle.loads(near)
            env.step_count = env.max_steps - len(rest) + late
            tally.add(env, task, f"solution from {first} on, {late} steps late", taken(rest))
        for name, env, act in endings(task, level):
            tally.add(env, task, f"{name} from {first} on", act)
        for number in range(len(situations(env))):
            env = pickle.loads(level)
            name, env, act = set_up(env, task, situations(env)[number], rng)
            tally.add(env, task, f"{name} from {first} on", act)
    return tally
