"""EnvPool alone: `envpool_steps.py TASK SECONDS` prints steps per second of 128 environments and random actions."""

import os
import sys
import time

import envpool
import numpy as np

ENVS = 128
BATCH = 64  # steps between two looks at the clock


def main(task: str, seconds: float) -> float:
    """Steps per second on as many threads as there are cores."""
    threads = len(os.sched_getaffinity(0))
    pool = envpool.make(task, env_type="gymnasium", num_envs=ENVS, num_threads=threads, seed=0)
    pool.reset()
    actions = np.random.default_rng(0).integers(pool.action_space.n, size=(BATCH, ENVS), dtype=np.int32)
    steps, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        for row in actions:
            pool.step(row)
        steps += actions.size
    return steps / (time.perf_counter() - began)


if __name__ == "__main__":
    print(main(sys.argv[1], float(sys.argv[2])))
