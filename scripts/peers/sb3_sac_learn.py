"""Stable-Baselines3 SAC trained on a MuJoCo task: `sb3_sac_learn.py TASK STEPS SEED EPISODES` prints its score as JSON.

Default hyper-parameters, and 10,000 steps before learning, as RL Baselines3 Zoo has it for these tasks. The score is
that of the policy's best actions.
"""

import json
import sys
from importlib.metadata import version

from stable_baselines3 import SAC
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor

WARM_UP = 10_000
PACKAGES = ("stable_baselines3", "torch", "gymnasium", "mujoco", "numpy")


def main(task: str, steps: int, seed: int, episodes: int) -> dict:
    """Trains, and plays `episodes` episodes."""
    import gymnasium

    model = SAC("MlpPolicy", task, seed=seed, device="cpu", learning_starts=WARM_UP)
    model.learn(steps)
    env: Monitor = Monitor(gymnasium.make(task))
    env.reset(seed=seed + 1000)
    returns, lengths = evaluate_policy(model, env, episodes, deterministic=True, return_episode_rewards=True)
    options = {"learning_starts": WARM_UP}
    packages = {name: version(name) for name in PACKAGES}
    return {"returns": returns, "lengths": lengths, "options": options, "packages": packages}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], *map(int, sys.argv[2:5]))))
