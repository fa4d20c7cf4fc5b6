"""A run that was stopped, interrupted or killed anywhere and taken up again equals the run left alone, bit for bit."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from training_runs import ROOT, checkpoints, device_loop, host_loop, metrics, same_bits, same_run

import agents
import envs
from agents.training import checkpoints as files
from agents.training.config import TrainConfig
from agents.training.setup import prepare
from envs.wrappers import parse

STOP = 1e-9  # hours: the run stops after its next update
SMALL = {"hidden": (16,), "unroll": 8}


@pytest.fixture(scope="module", autouse=True)
def _cache(compilation_cache):
    prepare(TrainConfig())


# ------------------------------------------------------------------------------------------------------- THE LOOPS

CASES = {
    "MiniGrid through EnvPool": ("MiniGrid-Empty-5x5-v0", "ppo", {"channels": (8,), "core": "gru", "core_width": 8}),
    "MiniGrid with AGAC": ("MiniGrid-Empty-5x5-v0", "agac", {"channels": (8,), "core": "gru", "core_width": 8}),
    "Pendulum through Gymnasium, normalised": ("Pendulum-v1", "impala", {"wrap": "normalize_obs+scale_reward"}),
    "Chain on the device": (
        "Chain-v0",
        "impala",
        {"core": "lstm", "core_width": 8, "bonus": "bebold", "bebold.hidden": (8,), "bebold.predictor": (8,)},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_restored_loop_goes_on_bit_for_bit(case, tmp_path):
    name, agent, options = CASES[case]
    if name.startswith("MiniGrid"):
        pytest.importorskip("envpool")
    env, wrap = envs.make(name), options.get("wrap", "")
    own = {option: value for option, value in options.items() if option != "wrap"}
    made = agents.make(agent, parse(wrap).spec(env.spec), **SMALL, **own)

    def loop():
        if isinstance(env, envs.Env):
            return device_loop(made, env, n=4, seeds=(5, 6), wrap=wrap)
        return host_loop(made, env, n=4, seed=5, wrap=wrap)

    left_alone, again = loop(), loop()
    seeds = range(len(left_alone.seeds))
    left_alone.start()
    for _ in range(3):
        left_alone.advance(total=6)
    saved = [files.save(tmp_path / str(seed), 3, left_alone.tree(seed), {}) for seed in seeds]
    rows = [left_alone.advance(total=6).metrics for update in range(3, 6)]

    template = again.template()
    again.restore([files.load(path, template)[0] for path in saved])
    assert again.updates == 3
    same_bits(rows, [again.advance(total=6).metrics for update in range(3, 6)])
    for seed in seeds:
        same_bits(left_alone.tree(seed), again.tree(seed))
    left_alone.close()
    again.close()


# --------------------------------------------------------------------------------------------------------- THE RUNS


def train(env_name, out, **options):
    env = envs.make(env_name)
    agent = agents.make("impala", env.spec, **SMALL, core="gru", core_width=8, anneal=True)
    return agents.train(agent, env, out=str(out), envs=4, steps=5 * 32, quiet=True, **options)


@pytest.mark.parametrize(("env", "seeds"), [("CartPole-v1", 1), ("Chain-v0", 2)])
def test_a_run_stopped_twice_equals_the_run_left_alone(env, seeds, tmp_path):
    options = {"seeds": seeds, "log_every": 1, "eval_every": 64, "eval_episodes": 2}
    whole = train(env, tmp_path / "whole", **options)
    parts = tmp_path / "parts"
    first = train(env, parts, hours=STOP, **options)
    second = train(env, parts, hours=STOP, resume=True, **options)
    last = train(env, parts, resume=True, **options)
    assert [run.results[0]["updates"] for run in (first, second, last, whole)] == [1, 2, 5, 5]
    assert [run.results[0]["stopped"] for run in (first, second, last, whole)] == ["hours", "hours", "steps", "steps"]
    for one, other in zip(whole.seeds, last.seeds, strict=True):
        assert len(metrics(one)) == 5 + 2
        same_run(one, other)
    for one, other in zip(whole.results, last.results, strict=True):
        assert one["final"] == other["final"]
        assert one["best_evaluation"] == other["best_evaluation"]


def test_a_finished_run_is_resumed_without_a_step(tmp_path):
    first = train("Chain-v0", tmp_path / "run", seeds=2, log_every=1)
    before = [(path, path.read_bytes()) for folder in first.seeds for path in checkpoints(folder)]
    rows = [metrics(folder) for folder in first.seeds]
    again = train("Chain-v0", tmp_path / "run", seeds=2, log_every=1, resume=True)
    assert [result["final"] for result in again.results] == [result["final"] for result in first.results]
    assert [(path, path.read_bytes()) for folder in first.seeds for path in checkpoints(folder)] == before
    assert [metrics(folder) for folder in first.seeds] == rows


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path, capfd):
    whole = train("Chain-v0", tmp_path / "whole", seeds=2, log_every=1, checkpoint_every=32)
    other = train("Chain-v0", tmp_path / "other", seeds=2, log_every=1, checkpoint_every=32)
    newest = checkpoints(other.seeds[0])[-1]  # the other seed's is sound: both must go back together
    newest.write_bytes(newest.read_bytes()[:-100])
    env = envs.make("Chain-v0")
    agent = agents.make("impala", env.spec, **SMALL, core="gru", core_width=8, anneal=True)
    capfd.readouterr()
    again = agents.train(
        agent,
        env,
        out=str(tmp_path / "other"),
        envs=4,
        steps=160,
        seeds=2,
        log_every=1,
        checkpoint_every=32,
        resume=True,
    )
    assert f"{newest} is damaged" in capfd.readouterr().err
    for one, two in zip(whole.seeds, again.seeds, strict=True):
        same_run(one, two)


# ---------------------------------------------------------------------------------------------- INTERRUPTS AND KILLS

COMMAND = ["impala", "--env", "MiniGrid-Empty-5x5-v0", "--envs", "4", "--unroll", "8", "--hidden", "16"]
COMMAND += ["--channels", "8", "--core", "gru", "--core-width", "8", "--log-every", "5", "--checkpoint-every", "96"]
COMMAND += ["--no-tensorboard", "--json"]


class Process:
    """`python scripts/train.py` in a process of its own."""

    def __init__(self, out, updates, *words):
        command = [sys.executable, str(ROOT / "scripts/train.py"), *COMMAND, "--steps", str(updates * 32)]
        environment = os.environ | {"JAX_PLATFORMS": "cpu"}
        self.out = out
        self.process = subprocess.Popen(
            [*command, "--out", str(out), *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
        )

    def until(self, happened):
        """Watches closely for something in the run's folder."""
        deadline = time.monotonic() + 300
        while not happened():
            assert self.process.poll() is None, self.process.communicate()[1].decode()
            assert time.monotonic() < deadline
        return self

    def end(self, number=None) -> int:
        """Sends a signal, if any, and returns the exit code."""
        if number is not None:
            self.process.send_signal(number)
        self.said, self.complained = (text.decode() for text in self.process.communicate(timeout=600))
        return self.process.returncode


def progressed(out):
    """Tells whether the run has saved anything newer than now."""
    before = checkpoints(out)[-1:]
    return lambda: checkpoints(out)[-1:] != before


def writing(out):
    return lambda: (out / "checkpoints" / "writing.tmp").exists()


def kill_in_a_write(out, updates):
    """Kills a resumed run while it writes a checkpoint: the unfinished file that it leaves proves it."""
    for _ in range(10):
        process = Process(out, updates, "--resume").until(progressed(out))
        assert process.until(writing(out)).end(signal.SIGKILL) == -signal.SIGKILL
        if writing(out)():
            return
    raise AssertionError("ten kills, and none of them fell into a write")


def test_interrupted_killed_and_resumed_equals_the_run_left_alone(tmp_path):
    pytest.importorskip("envpool")
    whole, out, updates = tmp_path / "whole", tmp_path / "out", 300
    assert Process(whole, updates).end() == 0
    assert len(metrics(whole)) == updates // 5

    interrupted = Process(out, updates).until(progressed(out))
    assert interrupted.end(signal.SIGINT) == 130
    assert "stopping after this update" in interrupted.complained
    assert "--resume" in interrupted.complained
    assert "Traceback" not in interrupted.complained

    kill_in_a_write(out, updates)
    process = Process(out, updates, "--resume").until(progressed(out))
    time.sleep(np.random.default_rng().uniform(0.0, 0.3))
    assert process.end(signal.SIGKILL) == -signal.SIGKILL
    assert len(metrics(out)) < updates // 5  # there is something left to do

    last = Process(out, updates, "--resume")
    assert last.end() == 0
    assert "going on from step" in last.complained
    same_run(whole, out)
    assert not writing(out)()


@pytest.mark.slow
def test_twenty_kills_leave_no_trace(tmp_path):
    pytest.importorskip("envpool")
    whole, out, updates = tmp_path / "whole", tmp_path / "out", 2500
    assert Process(whole, updates).end() == 0
    draw = np.random.default_rng()
    for kill in range(20):
        if kill % 4 == 3:
            kill_in_a_write(out, updates)
            continue
        process = Process(out, updates, "--resume") if out.exists() else Process(out, updates)
        if kill % 2:  # a moment while it learns; else any moment from its first breath on
            process.until(progressed(out))
        time.sleep(draw.uniform(0.0, 0.4 if kill % 2 else 4.0))
        assert process.end(signal.SIGKILL) == -signal.SIGKILL
    assert len(metrics(out)) < updates // 5
    assert Process(out, updates, "--resume").end() == 0
    same_run(whole, out)


def test_the_second_interrupt_stops_at_once():
    from agents.training.driver import Interrupt

    before = signal.getsignal(signal.SIGINT)
    with Interrupt() as interrupt:
        assert not interrupt.asked
        signal.raise_signal(signal.SIGINT)
        assert interrupt.asked
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
