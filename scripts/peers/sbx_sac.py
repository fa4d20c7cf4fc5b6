"""SBX SAC on a MuJoCo task: `sbx_sac.py TASK SECONDS` prints updates per second, simulation counted.

Default hyper-parameters: batches of 256, 256x256, one environment, one update for each step.
"""

import sys
import time

from sbx import SAC

STEPS = 200


def main(task: str, seconds: float) -> float:
    """Updates per second of steps and training together, after the first ones, which compile."""
    model = SAC("MlpPolicy", task, seed=0, learning_starts=STEPS)
    model.learn(2 * STEPS)
    began, before = time.perf_counter(), model.num_timesteps
    while time.perf_counter() - began < seconds:
        model.learn(STEPS, reset_num_timesteps=False)
    return (model.num_timesteps - before) / (time.perf_counter() - began)


if __name__ == "__main__":
    print(main(sys.argv[1], float(sys.argv[2])))
