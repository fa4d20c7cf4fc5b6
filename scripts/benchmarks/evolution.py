"""What genetic soft updates cost: time of an evaluation of ten copies beside that of the learning between two of them.

An evaluation comes after every hundred episodes of training, as its authors are taken to have it. SAC and TD3 learn on
HalfCheetah with one update for each step, PPO on the cart-pole that is compiled with it.
"""

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from scripts.benchmarks.benchmark import Benchmark, Measured

EPISODES = 100  # of training between two evaluations


class Case(NamedTuple):
    """One agent on one task: steps of an episode, steps of a loop's update, and updates between evaluations here."""

    agent: str
    task: str
    backend: str
    length: int
    steps: int
    every: int
    options: dict[str, Any]


OFF_POLICY: dict[str, Any] = {"unroll": 50, "warmup": 1000}
CASES = {
    "sac": Case("sac", "HalfCheetah-v5", "host", 1000, 50, 30, OFF_POLICY),
    "td3": Case("td3", "HalfCheetah-v5", "host", 1000, 50, 30, OFF_POLICY),
    "ppo": Case("ppo", "CartPole-v1", "device", 500, 2048, 10, {"envs": 16, "unroll": 128, "hidden": (64, 64)}),
}


def measure(rounds: int) -> Measured:
    """The share of the wall clock that evaluations take, in percent; the value is that of SAC."""
    found: dict[str, float] = {}
    config: dict[str, Any] = {}
    for name, case in CASES.items():
        evaluation, update = seconds(case, rounds)
        learning = update * EPISODES * case.length / case.steps
        found[name] = 100 * evaluation / (evaluation + learning)
        config |= {f"seconds of an evaluation, {name}": evaluation, f"seconds of learning before it, {name}": learning}
    return Measured(found["sac"], config, {name: share for name, share in found.items() if name != "sac"})


def seconds(case: Case, rounds: int) -> tuple[float, float]:
    """Seconds of an evaluation and of an update, compilation left out."""
    import agents
    import envs
    from agents.training.metrics import read

    env = envs.make(case.task, backend=case.backend)
    options = {f"{case.agent}.{name}": value for name, value in case.options.items()}
    agent = agents.make("genetic_soft_updates", env.spec, agent=case.agent, every=case.every, **options)
    with tempfile.TemporaryDirectory() as folder:
        steps = (1 + rounds) * case.every * case.steps
        agents.train(agent, env, steps=steps, out=folder, log_every=case.every, quiet=True, tensorboard=False)
        rows = read(Path(folder))
    spent = [row["clock"]["evolution_seconds"] for row in rows if "evolution/fitness" in row]
    # The line of metrics of a round comes after its evaluation.
    at = [row["clock"]["seconds"] for row in rows if "loss" in row]
    whole = (at[-1] - at[0]) / rounds
    evaluation = sum(spent[1:]) / rounds
    return evaluation, (whole - evaluation) / case.every


BENCHMARK = Benchmark(
    doc="the share of the wall clock that ten copies' evaluation takes, after every hundred episodes of learning",
    unit="% of wall clock",
    amounts=(2, 6),
    amount="evaluations of each agent",
    measure=measure,
    peers={},
    less=True,
)
