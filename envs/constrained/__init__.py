"""Four domains of dm_control (Tassa et al., 2018) under the constraints of the Real-World RL suite.

The tasks of Calian et al., "Balancing Constraints and Rewards with Meta-Gradient D4PG", 2021, on EnvPool: rewards in 0
to 1, no termination, 1000 steps. The action is a box of -1 to 1, stretched to the ranges of the actuators; beyond it
they are at their ends. The observation is all that dm_control's task shows, float32, one array after the other:

- `ConstrainedCartPole-v0` `[5]`: position 3 (place, cosine and sine of the angle), velocity 2;
- `ConstrainedWalker-v0` `[24]`: orientations 14, height 1, velocity 9;
- `ConstrainedQuadruped-v0` `[78]`: egocentric state 44, torso velocity 3, torso upright 1, imu 6, force and torque 24;
- `ConstrainedHumanoid-v0` `[67]`: joint angles 21, head height 1, extremities 12, torso vertical 3, velocity of the
  centre of mass 3, velocity 27.

Extras, float32 `[]`, 1 where the step violates a constraint, else 0, and 0 at a reset: each of the domain's by name,
and `cost`, the chosen one. They are those of the Real-World RL suite (Dulac-Arnold et al., 2020), of the state after
the step. With the safety coefficient `k`, small for strict, a step violates (the default first):

| domain | constraint | where |
|---|---|---|
| cart-pole | `balance_velocity` | `cos(angle) > cos(2 (1 - k) + 0.15)` and angular speed `> 0.5 k` rad/s |
| | `slider_pos` | `abs(place) >= 2 k` m |
| | `slider_accel` | `abs(acceleration) >= 130 k` m/s^2, the mean over the step |
| | `action_rate` | a command changes by `>= 1.5 k` from the step before, or from 0 at first |
| walker | `joint_velocity` | a joint turns at `>= 65 k` rad/s |
| | `torso_upright` | cosine of the torso's tilt `<= 1 - k` |
| | `dangerous_fall` | the torso leans back by a sine of `>= 0.5 k` |
| | `action_rate` | `>= 1.55 k` |
| quadruped | `joint_angle` | a hinge stands at `>= 60 k` degrees, either way |
| | `joint_velocity` | a hinge turns at `>= 20 k` rad/s |
| | `upright` | cosine of the torso's tilt `<= 1 - 0.7 k` |
| | `foot_force` | a toe feels `>= 20000 k` N |
| | `action_rate` | `>= 1.4 k`, in units of the actuators, whose ranges are 1.6 to 2.1 wide |
| humanoid | `joint_angle` | a hinge stands at `>= pi k` rad, either way |
| | `joint_velocity` | a hinge but the first (the suite leaves it out) turns at `>= 90 k` rad/s |
| | `upright` | cosine of the torso's tilt `<= 1 - k` |
| | `action_rate` | `>= 1.85 k` |

What differs from that suite: its `slider_accel` is the acceleration at the end of the step, which EnvPool does not show
(they are far apart only where the cart hits an end of its rail); its quadruped starts on its feet, dm_control's any way
up; the humanoid's `foot_force` and `dangerous_fall` need touch sensors that EnvPool does not show, and are left out; so
is the walker's `joint_angle`, which there a single joint within its range satisfies.

`THRESHOLDS` has the mean costs per step that the paper is taken to have allowed, with the default constraint: 0.07,
0.09 and 0.115 for the cart-pole, 0.057, 0.077 and 0.097 for the walker, 0.545, 0.645 and 0.745 for the quadruped, and
0.278, 0.378 and 0.478 for the humanoid.
"""

from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

import numpy as np

from envs.constrained.constraints import CARTPOLE, HUMANOID, QUADRUPED, WALKER, Arrays, Constraint
from envs.contract import Array, Box, EnvSpec, HostEnv, HostMaker, TimeStep
from envs.errors import UsageError, missing_extra, nearest
from envs.registry import Listing, limits

SUITE = "constrained"
EXTRA = "mujoco"
LIMIT = 1000


class Task(NamedTuple):
    """One domain.

    Attributes:
      engine: EnvPool's id.
      shown: sizes of the arrays of the observation by name, in their order.
      low, high: the actuators' ranges, one each.
      constraints: by name, the default first.
      doc: one line for `list`.
    """

    engine: str
    shown: dict[str, int]
    low: tuple[float, ...]
    high: tuple[float, ...]
    constraints: dict[str, Constraint]
    doc: str


TASKS = {
    "ConstrainedCartPole-v0": Task(
        "CartpoleSwingup-v1",
        {"position": 3, "velocity": 2},
        (-1.0,),
        (1.0,),
        CARTPOLE,
        "A cart swings up a pole and holds it; safety constraints as costs.",
    ),
    "ConstrainedWalker-v0": Task(
        "WalkerWalk-v1",
        {"orientations": 14, "height": 1, "velocity": 9},
        (-1.0,) * 6,
        (1.0,) * 6,
        WALKER,
        "A flat two-legged body walks; safety constraints as costs.",
    ),
    "ConstrainedQuadruped-v0": Task(
        "QuadrupedWalk-v1",
        {"egocentric_state": 44, "torso_velocity": 3, "torso_upright": 1, "imu": 6, "force_torque": 24},
        (-1.0, -1.0, -0.8) * 4,
        (1.0, 1.1, 0.8) * 4,
        QUADRUPED,
        "A four-legged body gets up and walks; safety constraints as costs.",
    ),
    "ConstrainedHumanoid-v0": Task(
        "HumanoidWalk-v1",
        {
            **{"joint_angles": 21, "head_height": 1, "extremities": 12},
            **{"torso_vertical": 3, "com_velocity": 3, "velocity": 27},
        },
        (-1.0,) * 21,
        (1.0,) * 21,
        HUMANOID,
        "A humanoid gets up and walks; safety constraints as costs.",
    ),
}
THRESHOLDS = {
    "ConstrainedCartPole-v0": (0.07, 0.09, 0.115),
    "ConstrainedWalker-v0": (0.057, 0.077, 0.097),
    "ConstrainedQuadruped-v0": (0.545, 0.645, 0.745),
    "ConstrainedHumanoid-v0": (0.278, 0.378, 0.478),
}


def ids() -> dict[str, Listing]:
    """The four domains."""
    return {id: Listing(id, SUITE, ("host",), task.doc) for id, task in TASKS.items()}


def make(
    id: str,
    backend: str = "host",
    *,
    constraint: str = "",
    safety_coeff: float = 0.2,
    max_steps: int = 0,
    repeat: int = 1,
    threads: int = 0,
) -> HostMaker:
    """A domain with its costs; the file's docstring has observations, extras and constraints.

    Args:
      id: one of `ids()`.
      backend: `"host"`.
      constraint: the one behind `cost`, `""` for the domain's default.
      safety_coeff: `k`, 0 to 1, by which every limit is scaled; the paper is taken to have swept 0.05 to 0.3.
      max_steps: a time limit in agent steps in place of 1000 engine steps, 0 to keep those.
      repeat: how often each action is repeated as one agent step, which violates what any of its repeats violates.
      threads: EnvPool's threads, 0 for one per core.

    Raises:
      UsageError: an unknown constraint, a coefficient out of 0 to 1, or the engine is not installed.
    """
    task = TASKS[id]
    constraint = constraint or next(iter(task.constraints))
    if constraint not in task.constraints:
        raise UsageError(f"{id} has no constraint {constraint!r}: {nearest(constraint, task.constraints)}")
    if not isinstance(safety_coeff, (int, float)) or not 0 <= safety_coeff <= 1:
        raise UsageError(f"{id}: safety_coeff must lie in 0..1, but is {safety_coeff}.")
    try:
        engine = f"envpool {version('envpool')}"
    except PackageNotFoundError as error:
        raise missing_extra(EXTRA, "envpool") from error
    limit, steps = limits(LIMIT, max_steps, repeat)
    size = len(task.low)
    spec = EnvSpec(
        id,
        engine,
        obs=Array((sum(task.shown.values()),), "float32"),
        action=Box((-1.0,) * size, (1.0,) * size),
        extras={name: Array((), "float32", 0.0, 1.0) for name in (*task.constraints, "cost")},
        max_steps=steps,
    )

    def open(seed: int, n: int, render: bool = False) -> HostEnv:
        if render:
            raise UsageError(f"the host backend does not draw {id}, and there is no other.")
        return _open_pool(task, spec, constraint, safety_coeff, seed, n, limit, repeat, threads)

    options = {"constraint": constraint, "safety_coeff": safety_coeff}
    return HostMaker(spec, backend, {**options, "max_steps": max_steps, "repeat": repeat, "threads": threads}, open)


def _open_pool(
    task: Task, spec: EnvSpec, constraint: str, k: float, seed: int, n: int, limit: int, repeat: int, threads: int
) -> HostEnv:
    from envs.envpool import Reading, open_pool

    def start(record: Arrays) -> Arrays:
        m = len(next(iter(record.values())))
        control, nothing = np.zeros((m, len(task.low)), np.float32), np.zeros(m, np.float32)
        return {"control": control, "elapsed": np.zeros(m, np.int64), **dict.fromkeys(task.constraints, nothing)}

    def advance(memory: Arrays, record: Arrays, actions: np.ndarray, next_record: Arrays) -> Arrays:
        before, after = {**record, "control": memory["control"]}, {**next_record, "control": actions}
        repeated = memory["elapsed"] % repeat > 0  # All agent steps but an episode's last have `repeat` engine steps.
        violated = {
            name: (violates(before, after, k) | (repeated & (memory[name] > 0))).astype(np.float32)
            for name, violates in task.constraints.items()
        }
        return {"control": actions, "elapsed": memory["elapsed"] + 1, **violated}

    def read(record: Arrays, memory: Arrays) -> tuple[np.ndarray, Arrays]:
        parts = [record[name].reshape(-1, size) for name, size in task.shown.items()]
        costs = {name: memory[name] for name in task.constraints}
        return np.concatenate(parts, axis=1).astype(np.float32), {**costs, "cost": memory[constraint]}

    reading = Reading(
        keys=tuple(task.shown),
        start=start,
        advance=advance,
        read=read,
        reward=lambda reward, elapsed: reward,
        outcome=lambda reward, terminated: {},
    )
    # The adapter knows costs of a state, 0 at its episode's start; those of the state after a step are the step's own.
    pairs = {name: array for own, array in spec.extras.items() for name in (own, f"next_{own}")}
    pooled = replace(spec, id=task.engine, extras=pairs)
    env = open_pool(pooled, seed, n, reading, extra=EXTRA, limit=limit, repeat=repeat, threads=threads)
    low, high = np.array(task.low, np.float32), np.array(task.high, np.float32)
    middle, reach = (high + low) / 2, (high - low) / 2

    def of_step(timestep: TimeStep) -> TimeStep:
        return timestep._replace(extras={name: timestep.extras[f"next_{name}"] for name in spec.extras})

    return env._replace(
        spec=spec,
        reset=lambda: of_step(env.reset()),
        step=lambda actions: of_step(env.step(middle + reach * np.asarray(actions, np.float32))),
        restore=lambda arrays: of_step(env.restore(arrays)),
    )
