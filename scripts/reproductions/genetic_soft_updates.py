"""Genetic soft updates (Marchesini et al., 2021): evolution beside learning helps, and never harms much.

The agent with and without its evolution, a population whose champion acts, and a plain genetic algorithm. Steps are
those of training; what copies play beside it is in the metrics as `evolution/steps`.
"""

from typing import Any

from scripts.reproductions.plan import Claim, Plan, Table, Trial

DQN: dict[str, Any] = {
    "hidden": (64, 64),
    "envs": 8,
    "unroll": 4,
    "ratio": 0.25,
    "warmup": 1000,
    "learning_rate": 1e-3,
    "uniform.capacity": 50_000,
}
PPO: dict[str, Any] = {"hidden": (64, 64), "activation": "tanh", "separate": True, "envs": 16, "unroll": 64}


def table(doc: str, agent: str, task: str, steps: int, options: dict[str, Any], every: int, **common: Any) -> Table:
    """One agent on one task; evolution every so many rounds of its loop."""
    common |= {"task": task, "steps": steps, "preset": ""}
    own = {f"{agent}.{name}" if "." not in name else name: value for name, value in options.items()}
    own |= {"agent": agent, "every": every}
    trials = [
        Trial(agent, agent, options=options, **common),
        Trial("soft", "genetic_soft_updates", options=own, **common),
        Trial("relative", "genetic_soft_updates", options={**own, "relative": True}, **common),
        Trial("ga", "genetic_soft_updates", options={**own, "evolution": "ga"}, **common),
    ]
    if agent == "dqn":
        trials.append(Trial("erl", "genetic_soft_updates", options={**own, "evolution": "erl"}, **common))
    others = tuple(trial.label for trial in trials[3:])
    judged: dict[str, Any] = {"measure": "return_mean"}
    claims = (
        Claim("Genetic soft updates return more than the agent alone", "soft", (agent,), **judged),
        Claim("and more than populations", "soft", others, **judged),
        Claim("They do no worse on average than the agent alone", "soft", (agent,), means=True, **judged),
    )
    return Table(doc, tuple(trials), claims, measure="return_mean")


def small() -> Plan:
    """A cart-pole and a robot among obstacles."""
    pole = "a cart that balances a pole"
    tables = {
        "dqn": table(f"{pole}, DQN", "dqn", "CartPole-v1", 60_000, DQN, 100),
        "ppo": table(f"{pole}, PPO", "ppo", "CartPole-v1", 200_000, PPO, 20),
        "navigation": table("a robot among obstacles", "ppo", "Navigation-v0", 1_000_000, PPO, 50),
    }
    return Plan("a cart-pole and a robot among obstacles, small networks", tables, seeds=5, greedy=True)


def full() -> Plan:
    """MuJoCo's bodies."""
    options: dict[str, Any] = {"hidden": (64, 64), "activation": "tanh", "separate": True, "envs": 8, "unroll": 256}
    options |= {"epochs": 10, "minibatches": 32, "entropy_cost": 0.0}
    tables = {
        task.partition("-")[0].lower(): table(task, "ppo", task, 1_000_000, options, 50, backend="host")
        for task in ("Hopper-v5", "Walker2d-v5", "HalfCheetah-v5", "Swimmer-v5")
    }
    return Plan("MuJoCo's bodies, a million steps each", tables, greedy=True)


BUDGETS = {"small": small, "full": full}
