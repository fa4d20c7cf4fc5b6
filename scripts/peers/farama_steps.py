"""Farama's MiniGrid alone: `farama_steps.py TASK SECONDS` prints steps per second of one environment on one core."""

import sys
import time

import gymnasium
import minigrid  # noqa: F401 - registers the tasks
import numpy as np

BATCH = 256  # steps between two looks at the clock


def main(task: str, seconds: float) -> float:
    """Steps per second with random actions, resets included."""
    env = gymnasium.make(task)
    env.reset(seed=0)
    actions = np.random.default_rng(0).integers(env.action_space.n, size=BATCH)  # type: ignore[attr-defined]
    steps, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        for action in actions:
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()
        steps += BATCH
    return steps / (time.perf_counter() - began)


if __name__ == "__main__":
    print(main(sys.argv[1], float(sys.argv[2])))
