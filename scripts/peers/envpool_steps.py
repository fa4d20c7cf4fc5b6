"""EnvPool alone: `envpool_steps.py TASK SECONDS` prints steps per second with random actions.

The best of several numbers of environments counts.
"""

import os
import sys
import time

import envpool
import numpy as np

SIZES = (64, 128, 512)
BATCH = 64  # steps between two looks at the clock


def main(task: str, seconds: float) -> float:
    """The best rate over the numbers of environments, each measured for an equal share of the time."""
    return max(rate(task, n, seconds / len(SIZES)) for n in SIZES)


def rate(task: str, n: int, seconds: float) -> float:
    """Steps per second of `n` environments on as many threads as there are cores."""
    threads = len(os.sched_getaffinity(0))
    pool = envpool.make(task, env_type="gymnasium", num_envs=n, num_threads=threads, seed=0)
    pool.reset()
    actions = np.random.default_rng(0).integers(pool.action_space.n, size=(BATCH, n), dtype=np.int32)
    steps, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        for row in actions:
            pool.step(row)
        steps += actions.size
    return steps / (time.perf_counter() - began)


if __name__ == "__main__":
    print(main(sys.argv[1], float(sys.argv[2])))
