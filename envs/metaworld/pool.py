"""Meta-World in EnvPool: every episode has a goal of its own, shown in the observation."""

import inspect
from dataclasses import replace
from typing import Any

import numpy as np

from envs.contract import Array, EnvSpec, HostEnv, HostMaker, TimeStep
from envs.errors import UsageError
from envs.metaworld import EXTRA, make


def pooled(name: str, spec: EnvSpec, limit: int, options: dict[str, Any], given: dict[str, Any]) -> HostMaker:
    """The environment `name`; raises UsageError where one of the host's own options was `given` another value."""
    defaults = inspect.signature(make).parameters
    for option, value in given.items():
        if value != defaults[option].default:
            raise UsageError(f"{spec.id} has the option {option} only with backend host: EnvPool fixes it.")
    # EnvPool says of a state whether it is a success; ours tells it of the step that led there.
    flag = Array((), "bool")
    engine_id = "".join(part.capitalize() for part in name.split("-"))
    shown = replace(spec, id=f"MetaWorld/{engine_id}-v3", extras={"success": flag, "next_success": flag})

    def of_step(timestep: TimeStep) -> TimeStep:
        return timestep._replace(extras={"success": timestep.extras["next_success"]})

    def open(seed: int, n: int, render: bool = False) -> HostEnv:
        from envs.envpool import Reading, open_pool

        if render:
            raise UsageError(f"EnvPool cannot draw {spec.id}: render it with backend host.")
        reading = Reading(
            keys=("obs", "success"),
            start=lambda record: {"succeeded": np.zeros(len(record["obs"]), bool)},
            advance=lambda memory, record, actions, next_record: {
                "succeeded": memory["succeeded"] | (next_record["success"] > 0)
            },
            read=lambda record, memory: (record["obs"].astype("float32"), {"success": memory["succeeded"]}),
            reward=lambda reward, elapsed: reward,
            outcome=lambda reward, terminated: {},
        )
        engine = {"partially_observable": False}
        repeat = options["repeat"]
        env = open_pool(shown, seed, n, reading, extra=EXTRA, limit=limit, repeat=repeat, engine=engine)
        return env._replace(
            spec=spec,
            reset=lambda: of_step(env.reset()),
            step=lambda actions: of_step(env.step(actions)),
            restore=lambda arrays: of_step(env.restore(arrays)),
        )

    return HostMaker(spec, "envpool", options, open)
