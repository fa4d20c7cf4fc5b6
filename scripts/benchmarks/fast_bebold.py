"""The run that the benchmarks measure: BeBold on MiniGrid with the preset `fast`, in either loop."""

from functools import cache
from typing import Any

import jax

import agents
import envs
from agents import onpolicy, parts, presets
from agents.agent import Agent, Rollout
from agents.bebold import Config
from agents.onpolicy import Base
from agents.training.config import TrainConfig
from agents.training.device_loop import DeviceLoop
from agents.training.host_loop import HostLoop
from agents.training.setup import prepare
from envs import wrappers
from envs.contract import Env, EnvSpec, HostMaker
from scripts.benchmarks.benchmark import TASK


def options() -> dict[str, Any]:
    """The preset's options for the task."""
    return presets.resolve("bebold", "fast", TASK, {})


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


@cache
def device_env() -> Env:
    """The task on the device, with levels of its generator."""
    made = envs.make(TASK, backend="device", levels="generated")
    assert isinstance(made, Env)
    return made


def device_loop(seeds: int) -> DeviceLoop:
    """The device loop as `train bebold --preset fast --backend device` runs it, before its start."""
    prepare(TrainConfig())
    made, env = agent(), device_env()
    return DeviceLoop(made, env, wrappers.parse(""), n=made.config["envs"], seeds=tuple(range(seeds)))


def plain_agent() -> Agent:
    """The same actor-critic without a bonus."""
    plain = {name: value for name, value in options().items() if "." not in name and name != "base"}
    return agents.make("ppo", device_env().spec, **plain)


def rollout() -> Rollout:
    """What an untrained agent of the device loop sees in one unroll."""
    made = device_loop(seeds=1)
    made.start()
    return jax.tree.map(lambda leaf: leaf[0], made.advance(count=1).batch)


def base(spec: EnvSpec) -> Base:
    """What that agent is built around."""
    config, rest = parts.split(Config, options())
    return onpolicy.base(config, spec, rest)
