"""A run's folder has one owner: others are refused, and may have it once the owner is gone."""

import subprocess
import sys

import pytest

import agents
import envs
from agents.training.lock import alone
from envs.errors import UsageError

HOLDER = """
import sys
from pathlib import Path
from agents.training.lock import alone

with alone([Path(sys.argv[1])]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_folder_that_another_process_holds_is_refused_until_that_is_killed(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match="is being trained by another process"), alone([tmp_path]):
            raise AssertionError("two processes hold one folder")
    finally:
        holder.kill()
        holder.wait()
    with alone([tmp_path]):
        pass


def test_two_folders_are_held_together_and_let_go(tmp_path):
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
    for _ in range(2):
        with alone(folders), pytest.raises(UsageError, match="b is being trained"), alone(folders[1:]):
            raise AssertionError("one folder is held twice")


def test_training_goes_on_in_a_folder_of_its_own_alone(tmp_path):
    env = envs.make("Chain-v0")
    agent = agents.make("ppo", env.spec, hidden=(4,), unroll=4, minibatches=1)
    options = {"steps": 64, "envs": 4, "out": tmp_path / "run", "quiet": True, "tensorboard": False}
    agents.train(agent, env, **options)
    with alone([tmp_path / "run"]), pytest.raises(UsageError, match="is being trained"):
        agents.train(agent, env, **{**options, "steps": 128}, resume=True)
    agents.train(agent, env, **{**options, "steps": 128}, resume=True)
