"""NetHack: what acting and learning take from the environments, beside the same processes stepped at random.

Four parts take turns on one batch of environments, so that whatever else the machine does hits all of them: random
actions and nothing else; the host loop with a learner that takes no time, which leaves what acting costs; the host loop
with a learner that sleeps for as long as an update takes where nothing else runs; and the host loop whole.
"""

import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from scripts.benchmarks.benchmark import Benchmark, Measured

TASK = "NetHackScore-v0"
PRESET = "light"
WARM_UP = 2  # updates before anything is measured: the first ones compile
UPDATES = 3  # measured with nothing else running; the middle one is what the sleeping learner sleeps
ROUNDS = 4  # turns of each part
RANDOM, INSTANT, ASLEEP, WHOLE = "random actions", "learner of no time", "learner asleep", "learner at work"


def measure(seconds: int) -> Measured:
    """Runs each part for so many seconds in all."""
    from agents.networks.actor_critic import count

    loop = paused_loop()
    try:
        loop.start()
        for _ in range(WARM_UP):
            loop.advance()
        update = statistics.median(loop.update_seconds() for _ in range(UPDATES))
        parts = {
            RANDOM: loop.step_randomly,
            INSTANT: lambda: loop.advance_paused(0.0),
            ASLEEP: lambda: loop.advance_paused(update),
            WHOLE: lambda: loop.advance_paused(None),
        }
        spent: dict[str, dict[str, float]] = {name: defaultdict(float) for name in parts}
        for number in range(ROUNDS):
            for name, part in parts.items():
                run(part, spent[name], until=seconds * (number + 1) / ROUNDS)
        rates = {name: loop.steps_per_update * each["updates"] / each["seconds"] for name, each in spent.items()}
        config = {
            "agent": f"bebold, preset {PRESET}",
            "env": TASK,
            "parameters": count(loop.learner.state.params),
            "steps of an update": loop.steps_per_update,
            "an update alone (s)": update,
            "its steps at random (s)": loop.steps_per_update / rates[RANDOM],
        }
    finally:
        loop.close()
    for name in (INSTANT, ASLEEP, WHOLE):
        config[f"{name} / {RANDOM}"] = rates[name] / rates[RANDOM]
    for name in (ASLEEP, WHOLE):
        for side in ("actor_waited", "learner_waited"):
            config[f"{name}: {side} (share of the time)"] = spent[name][side] / spent[name]["seconds"]
    return Measured(rates.pop(ASLEEP), config, rates)


def run(part: Callable[[], dict[str, float]], spent: dict[str, float], until: float) -> None:
    """Adds whole updates of a part to `spent`, until it has taken so many seconds; the waiting is in seconds too."""
    while spent["seconds"] < until:
        began = time.perf_counter()
        shares = part()
        length = time.perf_counter() - began
        spent["updates"] += 1
        spent["seconds"] += length
        for side, share in shares.items():
            spent[side] += share * length


def options() -> dict[str, Any]:
    """The preset's options for the task."""
    from agents import presets

    return presets.find("bebold", PRESET, TASK)


def paused_loop() -> Any:
    """The host loop as `train bebold --preset light` runs it, before its start, with a learner that can be paused."""
    import numpy as np

    import agents
    import envs
    from agents.training.config import TrainConfig
    from agents.training.host_loop import HostLoop
    from agents.training.learner import Learner
    from agents.training.setup import prepare
    from envs import wrappers
    from envs.contract import HostMaker

    class PausedLoop(HostLoop):
        pause: float | None = None
        generator = np.random.default_rng(0)

        def _update(self, update: int, moved: Learner, *rest: Any) -> tuple[Any, ...]:
            """What the learner's thread runs: an update, or a sleep in its place."""
            if self.pause is None:
                return super()._update(update, moved, *rest)
            time.sleep(self.pause)
            return moved, {}, self.pause

        def advance_paused(self, pause: float | None) -> dict[str, float]:
            """One update of the loop, which takes `pause` seconds of sleep, or its work for None."""
            self.pause = pause
            return self.advance().clock

        def update_seconds(self) -> float:
            """Seconds of one update on the unroll that lies ready; no environment steps meanwhile."""
            self.learner, _, seconds = super()._update(self.updates, self.learner, self._pending, np.float32(0))
            return seconds

        def step_randomly(self) -> dict[str, float]:
            """The environment steps of one update with random actions, and nothing else."""
            for _ in range(self._length):
                self._env.step(self.generator.integers(0, self.spec.action.n, self._n))  # type: ignore[union-attr]
            return {}

    prepare(TrainConfig())
    maker = envs.make(TASK, backend="host")
    assert isinstance(maker, HostMaker)
    agent = agents.make("bebold", maker.spec, **options())
    return PausedLoop(agent, maker, wrappers.parse(""), n=agent.config["envs"], seed=0)


BENCHMARK = Benchmark(
    doc="NetHack: BeBold acting with a learner that sleeps its time, beside the same processes stepped at random",
    unit="env steps/s",
    amounts=(6, 60),
    amount="seconds of each part",
    measure=measure,
    peers={},
)
