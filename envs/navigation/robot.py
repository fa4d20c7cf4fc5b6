"""A disc with two driven wheels and range sensors, after the mapless navigation tasks of Marchesini et al., 2021."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from envs.contract import Array, Box, Discrete, Env, EnvSpec, PyTree, TimeStep
from envs.control.episode import wrapped
from envs.errors import UsageError
from envs.navigation import geometry, scenes
from envs.navigation.picture import picture
from envs.navigation.scenes import DIAGONAL, SIDE, State, Task

VERSION = "navigation 1"
RADIUS = 0.1  # m
SPEED, TURN, DT = 0.5, 2.5, 0.2  # m/s, rad/s, s
NEAR = 0.2  # m
OBSTACLES = 8
TURNS = ("right 3", "right 2", "right 1", "straight", "left 1", "left 2", "left 3")


def make(
    id: str,
    max_steps: int = 0,
    obstacles: int | None = None,
    beams: int = 15,
    reach: float = 1.0,
    noise: float = 0.0,
    maze: bool = False,
    fixed: bool = False,
    progress: float = 1.0,
    bonus: float = 1.0,
    penalty: float = 1.0,
) -> Env:
    """A robot of 0.1 m radius in a square arena with sides of 4 m that looks for a goal without a map.

    It drives like a unicycle, exactly along an arc in each step of 0.2 s: `x' = x + v dt sinc(w dt / 2)
    cos(h + w dt / 2)`, `y'` with the sine, `h' = h + w dt`. `Navigation-v0` always drives at 0.5 m/s and chooses one of
    7 turns, `w = 2.5 (a - 3) / 3` rad/s: 0 is strong right, 3 straight, 6 strong left. `NavigationContinuous-v0` has
    two numbers, clipped to -1..1: `w = 2.5 a[0]` rad/s and `v = 0.5 (1 + a[1]) / 2` m/s, so that it can stop.

    The observation `[beams + 2]` is, for each beam from left to right over the half circle in front, the distance from
    the robot's centre to the next wall or obstacle over `reach`, in 0..1 (1 where nothing is within reach); the
    distance to the goal over the arena's diagonal, at most 1; and the goal's bearing over pi in -1..1, positive where
    it is to the left.

    The reward is `progress * (d - d')`, `d` the distance to the goal in m before and after the step, and `bonus` more
    where `d' <= 0.2` m, `penalty` less where the disc touches an obstacle or a wall after the step. Both terminate; a
    touch at the goal is a crash. 500 steps. Extras: `success`, `crash`, and `cost`, 1 where it crashes, else 0.

    Each episode draws obstacles, discs and boxes, the start with its heading, and the goal. It is guaranteed that a way
    leads from start to goal on which the robot's centre is nowhere nearer than 0.2 m, the radius of its strongest turn,
    to anything; that start and goal are 0.45 m from everything; and that they are 0.5 m apart.

    In the maze the only obstacle is a cup of walls, open towards the start: the straight way to the goal pays well and
    ends in it, and the ways around it pay little at first. They are 0.75 m wide, start and goal 0.4 m from everything.

    A task is a `scenes.Task`: pose, goal and obstacles, which `scenes.task` makes and `scenes.showing` makes from an
    observation. `scenes.state` makes a state.

    Args:
      id: which of both.
      max_steps: the time limit in steps, 0 for 500.
      obstacles: how many, 0 to 14; 8 if None, and none beside its walls in the maze.
      beams: how many, 2 to 1000.
      reach: of the beams, in m.
      noise: standard deviation of each beam's error, in m, drawn anew at each step; distance and bearing have none.
      maze: drive in the maze.
      fixed: start and goal are always the same, at opposite corners or at the maze's ends, and so is the heading,
        which is towards the goal; obstacles are drawn all the same.
      progress: reward for each m nearer to the goal.
      bonus: reward for the goal.
      penalty: for a crash.

    Raises:
      UsageError: where a value is out of range, or the maze is asked for obstacles.
    """
    if maze and obstacles:
        raise UsageError(f"{id}: the maze has no obstacles beside its walls, but obstacles is {obstacles}.")
    count = OBSTACLES if obstacles is None else obstacles
    for name, number, low, high in (("obstacles", count, 0, scenes.MOST), ("beams", beams, 2, 1000)):
        if isinstance(number, bool) or not isinstance(number, int) or not low <= number <= high:
            raise UsageError(f"{id}: {name} must be an integer from {low} to {high}, but is {number!r}.")
    numbers = {"reach": reach, "noise": noise, "progress": progress, "bonus": bonus, "penalty": penalty}
    for name, value in numbers.items():
        if not 0 <= value < math.inf or (name == "reach" and value == 0):
            least = "above 0" if name == "reach" else "of at least 0"
            raise UsageError(f"{id}: {name} must be a finite number {least}, but is {value}.")
    limit, directions = max_steps or 500, scenes.bearings(beams).astype(np.float32)
    steps = id == "Navigation-v0"

    @jax.jit
    def measured(state: State) -> jax.Array:
        x, y, heading = state.pose
        return geometry.ranges(jnp.stack([x, y]), heading + directions, state.obstacles, SIDE / 2, reach)

    def see(key: jax.Array, state: State) -> jax.Array:
        found = measured(state)
        if noise:
            found = jnp.clip(found + noise * jax.random.normal(key, found.shape), 0.0, reach)
        way = state.goal - state.pose[:2]
        bearing = wrapped(jnp.arctan2(way[1], way[0]) - state.pose[2])
        goal = jnp.stack([jnp.linalg.norm(way) / DIAGONAL, bearing / math.pi])
        return jnp.concatenate([found / reach, jnp.clip(goal, -1.0, 1.0)])

    def reset(key: jax.Array, task: PyTree) -> tuple[State, TimeStep]:
        key_scene, key_noise = jax.random.split(key)
        if not task:
            task = scenes.maze(key_scene, fixed) if maze else scenes.drawn(key_scene, count, fixed)
        state = State(task.pose, task.goal, task.obstacles, jnp.int32(0))
        no, seen = jnp.bool_(False), see(key_noise, state)
        return state, TimeStep(seen, jnp.float32(0), jnp.float32(1), no, seen, _extras(no, no))

    def step(key: jax.Array, state: State, action: jax.Array) -> tuple[State, TimeStep]:
        if steps:
            turn, speed = TURN * (action.astype(jnp.float32) - 3) / 3, jnp.float32(SPEED)
        else:
            turn, speed = jnp.clip(action, -1.0, 1.0) * jnp.array([TURN, SPEED / 2]) + jnp.array([0.0, SPEED / 2])
        before = jnp.linalg.norm(state.goal - state.pose[:2])
        state = state._replace(pose=driven(state.pose, turn, speed), time=state.time + 1)
        after = jnp.linalg.norm(state.goal - state.pose[:2])
        crash = geometry.room(state.pose[:2], state.obstacles, SIDE / 2) <= RADIUS
        success = (after <= NEAR) & ~crash
        seen, over = see(key, state), crash | success
        return state, TimeStep(
            obs=seen,
            reward=progress * (before - after) + bonus * success - penalty * crash,
            discount=1.0 - over.astype(jnp.float32),
            last=over | (state.time >= limit),
            next_obs=seen,
            extras=_extras(success, crash),
        )

    def refill(key: jax.Array, states: State, timestep: TimeStep, data: PyTree) -> tuple[State, TimeStep]:
        # Drawing a scene costs several steps, and few episodes end at once: a few rows at a time, until all are done.
        n = len(timestep.last)
        rows, few = jnp.flatnonzero(timestep.last, size=n, fill_value=n), -(-n // 16)
        rows = jnp.pad(rows, (0, few), constant_values=n)
        begin = jax.vmap(lambda row: reset(jax.random.fold_in(key, row), ()))

        def some(carry: tuple[jax.Array, State, jax.Array]) -> tuple[jax.Array, State, jax.Array]:
            done, states, obs = carry
            chosen = jax.lax.dynamic_slice(rows, (done,), (few,))
            fresh, opening = begin(chosen)
            put = lambda old, new: old.at[chosen].set(new, mode="drop")  # noqa: E731
            return done + few, jax.tree.map(put, states, fresh), put(obs, opening.obs)

        start = (jnp.int32(0), states, timestep.obs)
        _, states, obs = jax.lax.while_loop(lambda carry: carry[0] < timestep.last.sum(), some, start)
        return states, timestep._replace(obs=obs)

    walls = len(scenes.MAZE) if maze else count
    spec = EnvSpec(
        id=id,
        version=VERSION,
        obs=Array((beams + 2,), "float32", -1.0, 1.0),
        action=Discrete(7, TURNS) if steps else Box((-1.0, -1.0), (1.0, 1.0)),
        extras={
            "success": Array((), "bool"),
            "crash": Array((), "bool"),
            "cost": Array((), "float32", 0.0, 1.0),
        },
        max_steps=limit,
        tasks=Task(Array((3,), "float32"), Array((2,), "float32"), Array((walls, 6), "float32")),
        scores=("crash",),
    )
    return Env(
        spec, reset, step, picture=lambda state: picture(state, np.asarray(measured(state)), reach, RADIUS, NEAR)
    )


def driven(pose: jax.Array, turn: jax.Array, speed: jax.Array) -> jax.Array:
    """The pose `[3]` after one step at a turn in rad/s and a speed in m/s; see `make`."""
    half = turn * DT / 2
    chord = speed * DT * jnp.sinc(half / math.pi)
    middle = pose[2] + half
    return jnp.stack(
        [pose[0] + chord * jnp.cos(middle), pose[1] + chord * jnp.sin(middle), wrapped(pose[2] + 2 * half)]
    )


def _extras(success: jax.Array, crash: jax.Array) -> dict[str, jax.Array]:
    return {"success": success, "crash": crash, "cost": crash.astype(jnp.float32)}
