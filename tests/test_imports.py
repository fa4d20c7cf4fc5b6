"""`import agents, envs, losses, replay` with the small core alone, as on a machine that has nothing else."""

import subprocess
import sys

import pytest

from agents import registry

SUITES = (
    "envpool",
    "minigrid",
    "mujoco",
    "nle",
    "metaworld",
    "pygame",
    "torch",
    "wandb",
    "tensorflow",
    "rlax",
    "distrax",
)

BLOCK = """
import importlib.metadata
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

def version(name, real=importlib.metadata.version):
    if name in BLOCKED:
        raise importlib.metadata.PackageNotFoundError(name)
    return real(name)

BLOCKED = {blocked!r}
importlib.metadata.version = version
sys.meta_path.insert(0, Absent())
"""


def alone(code: str, blocked: tuple[str, ...] = SUITES) -> subprocess.CompletedProcess:
    script = BLOCK.replace("{blocked!r}", repr(blocked)) + code
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=registry.ROOT, check=False
    )


def test_the_packages_import_and_train_without_any_suite(tmp_path):
    code = f"""
import agents, envs, losses, replay
env = envs.make("Chain-v0", length=3)
agent = agents.make("ppo", env.spec, envs=4, unroll=8, hidden=(8,), minibatches=2)
run = agents.train(agent, env, steps=64, out={str(tmp_path / "run")!r}, tensorboard=False, quiet=True)
print(run.results[0]["steps"])
"""
    done = alone(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "64"


def test_importing_the_packages_imports_nothing_heavy():
    done = alone("import agents, envs, sys; print([name for name in ('jax', 'gymnasium') if name in sys.modules])")
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


@pytest.mark.parametrize(
    ("id", "extra"),
    [
        ("MiniGrid-Empty-5x5-v0", "minigrid"),
        ("HalfCheetah-v5", "mujoco"),
        ("NetHackScore-v0", "nethack"),
        ("MetaWorld-reach-v3", "metaworld"),
    ],
)
def test_a_missing_suite_is_one_sentence_that_names_its_extra(id, extra):
    code = f"""
import envs
try:
    env = envs.make({id!r})
    env.open(seed=0, n=1)
except envs.UsageError as error:
    print(error)
"""
    done = alone(code)
    assert f"auxin[{extra}]" in done.stdout, done.stdout + done.stderr
    assert len(done.stdout.strip().splitlines()) == 1
