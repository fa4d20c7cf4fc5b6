"""Families of MuJoCo tasks that differ in what they reward: which way to go, how fast, or to which place.

The tasks of PEARL (Rakelly et al., 2019) on Gymnasium's bodies of version 5. With the action `a [m]` as it was given,
the body's velocity `v` over the step in m/s, Gymnasium's costs of contact and bonus for not having fallen, and a task
`task [k]`, the reward of a step is

- cheetah, direction: `task[0] v_x - 0.05 sum a^2`, `task[0]` 1 or -1;
- cheetah, velocity: `-abs(v_x - task[0]) - 0.05 sum a^2`, `task[0]` uniform from 0 to 3 m/s;
- ant, direction: `v . task - 0.5 sum a^2 + survive - contact`, `task` the cosine and sine of the direction's angle;
- ant, goal: `-sum abs(place - task) - 0.1 sum a^2 - contact`, `task` a goal in a disc of 3 m, uniform over its area;
- humanoid, direction: `1.25 v . task - 0.1 sum a^2 + survive - contact`.

Ends are Gymnasium's: ants whose torso leaves the heights from 0.2 to 1 m, humanoids from 1 to 2 m, cheetahs never. Nor
do ants with a goal, as in PEARL's code: where all rewards are negative, falling would pay.

Observations are Gymnasium's, PEARL's are others: its cheetah also sees its torso's place, its ants see no contact
forces unless there is a goal, and its humanoid shows some more zeros. Only the ant with a goal sees where it is: x and
y stand first. PEARL pays the bonus also in the step that falls; Gymnasium does not.

Extras, float32 `[]`, of the state, 0 at a reset but for places: `x_velocity` of all but the ant with a goal;
`y_velocity`, in m/s, and `reward_survive` of ants and humanoids with a direction; `x_position` and `y_position`, in m,
of the ant with a goal; `reward_contact`, at most 0, of ants and humanoids.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from envs.mujoco import View

Rng = np.random.Generator


class Family(NamedTuple):
    """One family.

    Attributes:
      engine: the task of `envs.mujoco` whose body and ends it has.
      view: what its rewards are made of.
      draw: `(rng, count) -> float32 [count, k]`, the tasks' parameters.
      pays: `(task [..., k], extras, action [..., m]) -> reward [...]`, of NumPy's or JAX's arrays.
      tasks: how many there are to learn from.
      test_tasks: how many are kept apart.
      doc: one line for `list`.
      fixed: whether these are all there are.
    """

    engine: str
    view: View
    draw: Callable[[Rng, int], np.ndarray]
    pays: Callable[[Any, dict[str, Any], Any], Any]
    tasks: int
    test_tasks: int
    doc: str
    fixed: bool = False


def ways(rng: Rng, count: int) -> np.ndarray:
    """Forward and backward along x."""
    return np.array([[1.0], [-1.0]], np.float32)


def opposite(rng: Rng, count: int) -> np.ndarray:
    """Forward and backward in the plane."""
    return np.array([[1.0, 0.0], [-1.0, 0.0]], np.float32)


def velocities(rng: Rng, count: int) -> np.ndarray:
    """From 0 to 3 m/s."""
    return rng.uniform(0.0, 3.0, (count, 1)).astype(np.float32)


def directions(rng: Rng, count: int) -> np.ndarray:
    """All around."""
    angle = rng.uniform(0.0, 2.0 * np.pi, count)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)


def goals(rng: Rng, count: int) -> np.ndarray:
    """In a disc of 3 m."""
    turn, area = rng.uniform(0.0, 1.0, (count, 2)).T  # by task, so that more tasks begin with the same
    angle, radius = 2.0 * np.pi * turn, 3.0 * np.sqrt(area)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).astype(np.float32)


def cheetah_dir(task: Any, extras: dict[str, Any], action: Any) -> Any:
    """Speed the right way."""
    return task[..., 0] * extras["next_x_velocity"] - 0.05 * (action**2).sum(-1)


def cheetah_vel(task: Any, extras: dict[str, Any], action: Any) -> Any:
    """The right speed."""
    return -abs(extras["next_x_velocity"] - task[..., 0]) - 0.05 * (action**2).sum(-1)


def along(task: Any, extras: dict[str, Any]) -> Any:
    """The velocity in the task's direction."""
    return task[..., 0] * extras["next_x_velocity"] + task[..., 1] * extras["next_y_velocity"]


def ant_dir(task: Any, extras: dict[str, Any], action: Any) -> Any:
    """Speed the right way, upright."""
    kept = extras["next_reward_survive"] + extras["next_reward_contact"]
    return along(task, extras) - 0.5 * (action**2).sum(-1) + kept


def ant_goal(task: Any, extras: dict[str, Any], action: Any) -> Any:
    """Near the goal."""
    away = abs(extras["next_x_position"] - task[..., 0]) + abs(extras["next_y_position"] - task[..., 1])
    return -away - 0.1 * (action**2).sum(-1) + extras["next_reward_contact"]


def humanoid_dir(task: Any, extras: dict[str, Any], action: Any) -> Any:
    """Speed the right way, upright."""
    kept = extras["next_reward_survive"] + extras["next_reward_contact"]
    return 1.25 * along(task, extras) - 0.1 * (action**2).sum(-1) + kept


RUN = View(("x_velocity",))
WALK = View(("x_velocity", "y_velocity", "reward_contact", "reward_survive"))
VISIT = View(("x_position", "y_position", "reward_contact"), places=2, ends=False)
FAMILIES = {
    "HalfCheetahDir-v5": Family(
        "HalfCheetah-v5", RUN, ways, cheetah_dir, 2, 2, "HalfCheetah runs forward or backward.", fixed=True
    ),
    "HalfCheetahVel-v5": Family(
        "HalfCheetah-v5", RUN, velocities, cheetah_vel, 100, 30, "HalfCheetah runs at a hidden speed of 0 to 3 m/s."
    ),
    "AntFwdBack-v5": Family("Ant-v5", WALK, opposite, ant_dir, 2, 2, "Ant walks forward or backward.", fixed=True),
    "AntDir-v5": Family("Ant-v5", WALK, directions, ant_dir, 100, 30, "Ant walks in a hidden direction."),
    "AntGoal-v5": Family("Ant-v5", VISIT, goals, ant_goal, 150, 30, "Ant walks to a hidden goal; it never ends."),
    "HumanoidDir-v5": Family(
        "Humanoid-v5", WALK, directions, humanoid_dir, 100, 30, "Humanoid walks in a hidden direction."
    ),
}
