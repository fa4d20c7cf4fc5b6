"""A wrapper that changes what the environment pays, and learns nothing: `multiply_reward`."""

import dataclasses
import math

import jax.numpy as jnp

from envs.contract import Array, EnvSpec, TimeStep
from envs.errors import UsageError
from envs.wrappers.wrapper import Wrapper, WrapperState


def multiply_reward(factor: float = 0.0) -> Wrapper:
    """Multiplies rewards by a constant: with 0 an agent is left with its bonuses alone.

    The environment's own reward stays in the extra `raw_reward`.

    Args:
      factor: what rewards are multiplied by, any finite number.
    """
    if not math.isfinite(factor):
        raise UsageError(f"multiply_reward.factor must be finite, but is {factor}.")

    def spec(spec: EnvSpec) -> EnvSpec:
        return dataclasses.replace(spec, extras={"raw_reward": Array((), "float32")} | spec.extras)

    def timestep(state: WrapperState, timestep: TimeStep, evaluate: bool) -> tuple[WrapperState, TimeStep]:
        reward = jnp.asarray(timestep.reward, jnp.float32)
        # A wrapper nearer to the environment has already kept its own.
        extras = {"raw_reward": reward} | timestep.extras
        return state, timestep._replace(reward=factor * reward, extras=extras)

    return Wrapper("multiply_reward", spec, None, None, timestep)
