"""Families of MuJoCo tasks that differ in the physics of their body: Walker2d and Hopper of PEARL's MuJoCo tasks.

Every number of `body_mass`, `body_inertia` and `geom_friction` is multiplied by `1.5^u` and of `dof_damping` by
`1.3^u`, each with its own `u` uniform from -3 to 3 (Rakelly et al., 2019). All else is Gymnasium's version 5, which
steps in worker processes or in this one: observations, reward `v_x + 1 - 1e-3 sum a^2`, without the 1 in the step that
falls, and ends. The task `[k]` is the logarithms of all multipliers in that order, arrays by rows: 65 for Walker2d and
41 for Hopper. Those of the world's body, of joints without damping, and of torsional
and rolling friction change nothing.
"""

from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from envs import mujoco
from envs.contract import HostEnv, HostMaker
from envs.families.trials import Deck, assigned, spec_of

PHYSICS = ("body_mass", "body_inertia", "geom_friction", "dof_damping")
VIEW = mujoco.View(("x_velocity",))


class Family(NamedTuple):
    """One family.

    Attributes:
      engine: Gymnasium's task.
      sizes: how many numbers each of `PHYSICS` has.
      doc: one line for `list`.
      tasks: how many there are to learn from.
      test_tasks: how many are kept apart.
    """

    engine: str
    sizes: tuple[int, ...]
    doc: str
    tasks: int = 40
    test_tasks: int = 10

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Logarithms of multipliers, float32 `[count, k]`."""
        reach = 3.0 * np.log(np.repeat((1.5, 1.5, 1.5, 1.3), self.sizes))
        return (reach * rng.uniform(-1.0, 1.0, (count, len(reach)))).astype(np.float32)


FAMILIES = {
    "Walker2dParams-v5": Family("Walker2d-v5", (8, 24, 24, 9), "Walker2d with hidden masses, frictions and dampings."),
    "HopperParams-v5": Family("Hopper-v5", (5, 15, 15, 6), "Hopper with hidden masses, frictions and dampings."),
}


def make(id: str, family: Family, deck: Deck, limit: int, processes: bool) -> HostMaker:
    """The family with the tasks of `deck`, dealt in the order of the seed with which environments are opened.

    Args:
      id: its name.
      family: its body.
      deck: its tasks.
      limit: steps of an episode.
      processes: step in spawned processes.
    """
    spec = spec_of(replace(mujoco.spec_of(family.engine, "reference", VIEW, limit), id=id), deck)

    def open(seed: int, n: int, render: bool = False) -> HostEnv:
        from envs.vector import open_vector

        thunk = partial(create, family, deck._replace(seed=seed, n=n), "rgb_array" if render else None)
        return open_vector(spec, thunk, seed, n, processes=processes, limit=limit, render=render)

    return HostMaker(spec, "host", {}, open)


def create(family: Family, deck: Deck, render_mode: str | None = None) -> Any:
    """Gymnasium's environment, whose physics are those of the task at every reset."""
    import mujoco as engine  # type: ignore[import-untyped]

    env = mujoco.reference(family.engine, VIEW, render_mode)
    model, data = env.unwrapped.model, env.unwrapped.data
    plain = {name: getattr(model, name).copy() for name in PHYSICS}

    def set_task(task_id: int) -> None:
        logs = np.split(deck.table[task_id].astype(np.float64), np.cumsum(family.sizes)[:-1])
        for (name, own), part in zip(plain.items(), logs, strict=True):
            getattr(model, name)[:] = own * np.exp(part).reshape(own.shape)
        engine.mj_setConst(model, data)  # what MuJoCo derives from masses and inertias

    return assigned(env, deck, set_task)
