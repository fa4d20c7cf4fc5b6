"""Batched programs must end on a machine with few cores."""

import subprocess
import sys

from agents import registry


def test_seeds_side_by_side_with_a_predictor_do_not_wait_for_ever(tmp_path):
    # On two cores this very run stood still for ever while initial weights of all seeds were made at once.
    words = ["ppo", "--env", "Chain-v0", "--seeds", "2", "--bonus", "rnd", "--steps", "8192", "--quiet"]
    command = [sys.executable, "scripts/train.py", *words, "--no-tensorboard", "--out", str(tmp_path / "run")]
    done = subprocess.run(command, cwd=registry.ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "seed-1" / "result.json").exists()
