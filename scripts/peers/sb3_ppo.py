"""Stable-Baselines3 PPO on a MiniGrid task: `sb3_ppo.py TASK SECONDS` prints environment steps per second.

Default hyper-parameters, MlpPolicy on the flattened view (the image alone: the mission would only widen its input),
eight environments in one process. Whole iterations are timed, at least one. Torch computes on one thread: for so small
a network a second one gains nothing, and on a busy machine the two wait for each other most of the time.
"""

import sys
import time

import gymnasium
import minigrid  # noqa: F401 - registers the tasks
import torch
from minigrid.wrappers import ImgObsWrapper
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

ENVS = 8


def main(task: str, seconds: float) -> float:
    """Steps per second of rollouts and training together."""

    def flat(env: gymnasium.Env) -> gymnasium.Env:
        return gymnasium.wrappers.FlattenObservation(ImgObsWrapper(env))

    torch.set_num_threads(1)
    envs = make_vec_env(task, n_envs=ENVS, seed=0, wrapper_class=flat)
    model = PPO("MlpPolicy", envs, seed=0, device="cpu")
    iteration = model.n_steps * ENVS
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        model.learn(iteration, reset_num_timesteps=False)
    return model.num_timesteps / (time.perf_counter() - began)


if __name__ == "__main__":
    print(main(sys.argv[1], float(sys.argv[2])))
