"""SAC (Haarnoja et al., 2018) and D4PG (Barth-Maron et al., 2018) on MuJoCo, beside SAC of Stable-Baselines3.

Every agent has one environment, one update of 256 records for each step, and 10,000 steps before it learns. D4PG's own
five-step returns and atoms are kept; its range of returns is that of the task.
"""

from typing import Any

from scripts.reproductions.plan import Claim, Plan, Table, Trial

TASKS = ("HalfCheetah-v5", "Hopper-v5", "Walker2d-v5")
# What 100 discounted steps of the best policies known pay, and a margin: D4PG's atoms must reach so far.
V_MAX = {"HalfCheetah-v5": 1500.0, "Hopper-v5": 500.0, "Walker2d-v5": 600.0}
SAC: dict[str, Any] = {"unroll": 50}
D4PG: dict[str, Any] = {"unroll": 50, "learning_rate": 3e-4, "target_every": 1, "tau": 0.005, "warmup": 10_000}


def table(task: str, steps: int) -> Table:
    """One task: ours, and Stable-Baselines3's."""
    top = V_MAX[task]
    common: dict[str, Any] = {"task": task, "steps": steps, "preset": "", "backend": "host"}
    trials = (
        Trial("sac", "sac", options=SAC, **common),
        Trial("d4pg", "d4pg", options={**D4PG, "v_min": -0.2 * top, "v_max": top}, **common),
        Trial("sac-sb3", "sac", peer="sb3_sac_learn.py", **common),
    )
    compared: dict[str, Any] = {"measure": "return_mean", "means": True}
    claims = (
        Claim("SAC returns on average at least what Stable-Baselines3's SAC does", "sac", ("sac-sb3",), **compared),
        Claim("D4PG returns on average at least what Stable-Baselines3's SAC does", "d4pg", ("sac-sb3",), **compared),
    )
    return Table(f"{task}, {steps:,} steps", trials, claims, measure="return_mean")


def plan(steps: int, doc: str) -> Plan:
    """All tasks at so many steps, five seeds each."""
    tables = {task.partition("-")[0].lower(): table(task, steps) for task in TASKS}
    return Plan(doc, tables, seeds=5, greedy=True)


BUDGETS = {
    "small": lambda: plan(100_000, "the first 100,000 steps, on two cores"),
    "full": lambda: plan(1_000_000, "the million steps of the literature"),
}
