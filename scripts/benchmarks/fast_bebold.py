"""The run that the benchmarks measure: BeBold on MiniGrid with the preset `fast`."""

from typing import Any

import agents
import envs
from agents import onpolicy, parts, presets
from agents.agent import Agent
from agents.bebold import Config
from agents.onpolicy import Base
from agents.training.config import TrainConfig
from agents.training.host_loop import HostLoop
from agents.training.setup import prepare
from envs import wrappers
from envs.contract import EnvSpec, HostMaker
from scripts.benchmarks.benchmark import TASK


def options() -> dict[str, Any]:
    """The preset's options for the task."""
    return presets.find("bebold", "fast", TASK)


def agent() -> Agent:
    """The agent for the task."""
    return agents.make("bebold", maker().spec, **options())


def maker() -> HostMaker:
    """The task through EnvPool."""
    made = envs.make(TASK, backend="host")
    assert isinstance(made, HostMaker)
    return made


def loop() -> HostLoop:
    """The host loop as `train bebold --preset fast` runs it, before its start."""
    prepare(TrainConfig())
    made = agent()
    return HostLoop(made, maker(), wrappers.parse(""), n=made.config["envs"], seed=0)


def base(spec: EnvSpec) -> Base:
    """What that agent is built around."""
    config, rest = parts.split(Config, options())
    return onpolicy.base(config, spec, rest)
