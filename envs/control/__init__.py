"""Small control tasks in JAX, compiled together with the agent: Gymnasium's classics, a cart-pole to swing up, a point.

This file lists and makes them; every other file is one task. Listing needs no JAX. Gymnasium's tasks have its backend
`"host"` too, the default; on `"device"` they step as Gymnasium does, in float32.
"""

import importlib
import inspect
from collections.abc import Callable
from typing import NamedTuple

from envs.contract import Env, HostMaker
from envs.registry import Listing, check_options

SUITE = "control"
EXTRA = ""


class Task(NamedTuple):
    """Its file, whether Gymnasium has it too, and one line for `list`."""

    file: str
    on_host: bool
    doc: str


TASKS = {
    "Acrobot-v1": Task("acrobot", True, "Two links swing their tip above a line."),
    "CartPole-v1": Task("cart_pole", True, "A cart balances a pole; a reward of 1 per step, up to 500."),
    "CartPoleSwingup-v0": Task("swingup", False, "A cart swings up a pole and holds it; safety constraints as costs."),
    "MountainCarContinuous-v0": Task("mountain_car", True, "A weak car leaves a valley by a continuous push."),
    "Pendulum-v1": Task("pendulum", True, "A torque swings a pendulum up and holds it; continuous, dense cost."),
    "PointMass-v0": Task(
        "point_mass", False, "Push a point to a goal in the plane; dense reward, speed limit as cost."
    ),
}


def ids() -> dict[str, Listing]:
    """Every task by id."""
    return {
        id: Listing(id, SUITE, ("host", "device") if task.on_host else ("device",), task.doc)
        for id, task in TASKS.items()
    }


def make(id: str, backend: str = "device", *, max_steps: int = 0, **options: object) -> HostMaker | Env:
    """A control task.

    Args:
      id: one of `ids()`.
      backend: `"device"`, or `"host"` for Gymnasium's own, which takes the options of `envs.gymnasium.make`.
      max_steps: a time limit in agent steps in place of the task's own, 0 to keep that.
      **options: on the device, the keyword arguments of `make` in the task's file.

    Raises:
      UsageError: at an unknown option, or a value out of range.
    """
    if backend == "host":
        from envs import gymnasium

        return gymnasium.make(id, backend, max_steps=max_steps, **options)  # type: ignore[arg-type]
    factory: Callable[..., Env] = importlib.import_module(f"envs.control.{TASKS[id].file}").make
    check_options(id, options, inspect.signature(factory).parameters)
    return factory(**options, max_steps=max_steps)
