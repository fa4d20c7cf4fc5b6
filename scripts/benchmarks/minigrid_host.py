"""Environment steps per second of BeBold, everything counted: acting, environments, bonus and learning."""

import time

from scripts.benchmarks.benchmark import TASK, Benchmark, Measured, Peer

WARM_UP = 3  # updates before the clock starts: the first ones compile and fill caches


def measure(seconds: int) -> Measured:
    """Runs the host loop for so many seconds after its warm-up."""
    from agents.networks.actor_critic import count
    from scripts.benchmarks import fast_bebold

    loop = fast_bebold.loop()
    try:
        loop.start()
        for _ in range(WARM_UP):
            loop.advance()
        waited = {"actor_waited": 0.0, "learner_waited": 0.0}
        began = at = time.perf_counter()
        updates = 0
        while at - began < seconds:
            before = at
            report = loop.advance()
            at = time.perf_counter()
            updates += 1
            waited = {name: total + report.clock[name] * (at - before) for name, total in waited.items()}
        length = at - began
        config = {
            "agent": "bebold, preset fast",
            "env": TASK,
            "parameters": count(loop.learner.state.params),
            "steps": updates * loop.steps_per_update,
            **{f"{name} (share of the time)": total / length for name, total in waited.items()},
        }
        return Measured(updates * loop.steps_per_update / length, config)
    finally:
        loop.close()


BENCHMARK = Benchmark(
    doc="BeBold end to end (act, step, bonus, learn) on KeyCorridorS3R3 through EnvPool",
    unit="env steps/s",
    amounts=(6, 60),
    amount="seconds on each side",
    measure=measure,
    peers={
        "sb3": Peer("Stable-Baselines3 PPO, MlpPolicy, 8 envs, no bonus", "stable_baselines3", "sb3_ppo.py", (TASK,)),
        "envpool": Peer("EnvPool stepping alone, random actions", "envpool", "envpool_steps.py", (TASK,)),
        "farama": Peer("Farama's environment alone, one core, random actions", "minigrid", "farama_steps.py", (TASK,)),
    },
)
