"""MBPO's wall clock on Hopper at the published settings, in seconds per 1,000 environment steps.

The host loop runs as in a training: rounds of one step and its updates, one of them with a rollout of the model and one
with a fit and a rollout, whose times are told apart. They come sooner than published, so that a short run has one of
each, and are weighted as published. A fit takes a fixed number of epochs on a fixed number of records on both sides,
for early stopping would make the two do different work. The peer's file has the same numbers.
"""

import time
from typing import Any

from scripts.benchmarks.benchmark import Benchmark, Measured, Peer

TASK = "Hopper-v5"
RATIO, EVERY, STARTS = 20, 250, 100_000  # updates for each step; steps between rollouts (and fits), and their starts
ROWS, FIT_EPOCHS = 10_240, 20  # of the fit that is timed
SIZES: dict[str, Any] = {}  # options beside the published ones


def measure(updates: int) -> Measured:
    """Times at least so many updates, one fit and one rollout."""
    import agents
    import envs
    from agents.networks.actor_critic import count
    from agents.training.config import TrainConfig
    from agents.training.host_loop import HostLoop
    from agents.training.setup import prepare
    from envs import wrappers
    from envs.contract import HostMaker

    prepare(TrainConfig())
    maker = envs.make(TASK, backend="host")
    assert isinstance(maker, HostMaker)
    rounds = -(-updates // RATIO)
    soon = rounds + 1
    options = {
        "ratio": RATIO,
        "rollouts": STARTS,
        "warmup": ROWS,
        "rollout_every": soon,
        "fit_every": 2 * soon,
        "epoch": soon * 1_000 // EVERY,  # as many rollouts are kept as published
        "ensemble.most_epochs": FIT_EPOCHS,
        "ensemble.patience": FIT_EPOCHS,
    }
    loop = HostLoop(agents.make("mbpo", maker.spec, **options | SIZES), maker, wrappers.parse(""), n=1, seed=0)

    def seconds(count: int = 1) -> float:
        began = time.perf_counter()
        loop.advance(count=count)
        return time.perf_counter() - began

    try:
        loop.start()
        loop.advance()  # compiles
        waiting = seconds(ROWS - 2) / (ROWS - 2)
        both = seconds()
        step = seconds(rounds) / rounds
        rolled = seconds()
        state = loop.learner.state
    finally:
        loop.close()
    learning = state.variables["learning"]
    assert int(state.updates) == RATIO * (rounds + 2)
    assert float(learning.model_loss) > 0  # it was fitted
    fit, rollout = both - rolled, rolled - step
    config = {
        "env": TASK,
        "parameters": count(state.params),
        "records and epochs of a fit": f"{ROWS}, {FIT_EPOCHS}",
        "a fit (s)": fit,
        "a rollout (s)": rollout,
        "an update, the environment's step in it (ms)": 1e3 * step / RATIO,
        "a step of the environment before learning (ms)": 1e3 * waiting,
    }
    return Measured(1_000 * step + 1_000 / EVERY * (fit + rollout), config)


BENCHMARK = Benchmark(
    doc=f"MBPO on Hopper: {RATIO} updates for each step, a fit and {STARTS:,} imagined steps every {EVERY}",
    unit="s per 1,000 environment steps",
    amounts=(500, 5_000),
    amount="updates, one fit and one rollout on each side",
    measure=measure,
    peers={"torch_mbpo": Peer("MBPO in PyTorch, the same sizes, two threads", "torch", "torch_mbpo.py", (TASK,))},
    less=True,
)
