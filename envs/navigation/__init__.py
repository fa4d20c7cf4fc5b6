"""Mapless navigation in JAX, compiled together with the agent: a robot with range sensors looks for a goal among walls.

This file lists and makes the tasks; `robot.py` is the robot and its pay, `scenes.py` where it drives, `geometry.py`
what its sensors and its bumper feel, `picture.py` what people see. Listing needs no JAX.
"""

import inspect
from typing import TYPE_CHECKING, Any

from envs.contract import Env

if TYPE_CHECKING:
    from envs.registry import Listing

SUITE = "navigation"
EXTRA = ""

DOCS = {
    "Navigation-v0": "A robot with 15 range beams finds a goal among obstacles; 7 turns, always driving.",
    "NavigationContinuous-v0": "The same robot, with its turn and its speed as two numbers.",
}


def ids() -> "dict[str, Listing]":
    """Both tasks."""
    from envs.registry import Listing

    return {id: Listing(id, SUITE, ("device",), doc) for id, doc in DOCS.items()}


def make(id: str, backend: str = "device", **options: Any) -> Env:
    """One task; `options` are the keyword arguments of `envs.navigation.robot.make`.

    Raises:
      UsageError: at an unknown option, or a value out of range.
    """
    from envs.navigation import robot
    from envs.registry import check_options

    check_options(id, options, [name for name in inspect.signature(robot.make).parameters if name != "id"])
    return robot.make(id, **options)
