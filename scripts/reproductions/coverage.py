"""How much of a level a trained policy visits: several episodes on each of some levels kept for evaluation."""

import numpy as np

from agents.training.exploration import Explorer, entropy, rooms_reached
from agents.training.saved import Saved

LEVELS, EPISODES = 32, 16  # the levels, and the episodes on each of them
# Names of scores, and what they are.
MEASURES = {
    "entropy": "entropy of a level's visits over its cells in nats, all its episodes together",
    "cells": "different cells that an episode visits",
    "rooms": "different rooms that an episode visits",
}


def measure(saved: Saved, seed: int) -> dict[str, list[float]]:
    """The `MEASURES` of one run with actions drawn from the policy: a number for each level, its episodes' mean.

    Raises:
      UsageError: where the environment is no MiniGrid task on the device.
    """
    explorer = Explorer(saved, EPISODES)
    count = len(explorer.levels.position)
    found: dict[str, list[float]] = {name: [] for name in MEASURES}
    # The same levels for every run.
    for level in np.random.default_rng(0).permutation(count)[:LEVELS]:
        walks = explorer(saved.state, saved.wrapper_state, seed, int(level))
        found["entropy"].append(entropy(walks.visits.sum(0)))
        found["cells"].append(float((walks.visits > 0).sum(1).mean()))
        found["rooms"].append(float(rooms_reached(walks, explorer.size[0])[0].mean()))
    return found
