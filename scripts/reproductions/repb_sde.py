"""RepB-SDE (Lee et al., 2021): a model that is balanced for the policy it is used for, and doubted, learns offline.

The small budget has a pendulum with datasets of the project's own, and off-policy evaluation; the full one makes its
datasets on Hopper and HalfCheetah. `collect` makes them first.
"""

from typing import Any

from scripts.reproductions import off_policy_evaluation
from scripts.reproductions.plan import Claim, Plan, Study, Table, Trial

KINDS = ("random", "medium", "medium-replay", "medium-expert")
COLLECT = {
    "Pendulum-v1": "python scripts/collect.py --env Pendulum-v1 --backend device --agent sac --steps 6000 --size 4000 "
    "--warmup 500 --learning-rate 1e-3 --eval-every 400 --uniform.capacity 6000 --out data/pendulum",
    "Hopper-v5": "python scripts/collect.py --env Hopper-v5 --agent sac --steps 1e6 --size 1e6 --out data/hopper",
    "HalfCheetah-v5": "python scripts/collect.py --env HalfCheetah-v5 --agent sac --steps 1e6 --size 1e6 "
    "--out data/halfcheetah",
}
# What a rollout and its networks cost must fit the task: 4,000 transitions of three numbers.
SMALL: dict[str, Any] = {
    "hidden": (64, 64),
    "uniform.capacity": 10_000,
}
SMALL_MODEL: dict[str, Any] = {**SMALL, "rollouts": 2000, "rollout_every": 500, "epoch": 500}


def table(task: str, kind: str, steps: int, backend: str, plain: dict[str, Any], modelled: dict[str, Any]) -> Table:
    """One dataset: balanced, unbalanced, MOPO, and SAC as it is."""
    folder = f"data/{task.partition('-')[0].lower()}/{kind}"
    common: dict[str, Any] = {"task": task, "steps": steps, "backend": backend, "preset": "", "data": folder}
    common["made_by"] = COLLECT[task]
    layers = {"hidden": (64, 64, 64, 64)} if modelled is SMALL_MODEL else {}

    def of(model: str, **own: Any) -> dict[str, Any]:
        return {**modelled, **{f"{model}.{name}": value for name, value in {**layers, **own}.items()}}

    trials = (
        Trial("repb_sde", "repb_sde", options=of("repb_sde"), **common),
        Trial("unbalanced", "repb_sde", options=of("repb_sde", alpha=0.0), **common),
        Trial("mopo", "mopo", options=of("ensemble"), **common),
        Trial("sac", "sac", options=plain, **common),
    )
    judged: dict[str, Any] = {"measure": "return_mean"}
    claims = (
        Claim("Balancing returns more than none", "repb_sde", ("unbalanced",), **judged),
        Claim("RepB-SDE returns more than MOPO", "repb_sde", ("mopo",), **judged),
        Claim("and more than SAC as it is", "repb_sde", ("sac",), **judged),
    )
    return Table(f"{task}, {kind} data, {steps:,} updates", trials, claims, measure="return_mean")


def small() -> Plan:
    """A pendulum, and what a policy is worth by another one's data."""
    tables = {kind: table("Pendulum-v1", kind, 5000, "device", SMALL, SMALL_MODEL) for kind in KINDS}
    doc = "what a policy would return, estimated in models that are balanced for it by different weights"
    studies = {"evaluation": Study(doc, off_policy_evaluation.run, 10)}
    return Plan("a pendulum from datasets of 4,000 transitions", tables, seeds=5, greedy=True, studies=studies)


def full() -> Plan:
    """The paper's scale, on datasets made here."""
    plain = {"uniform.capacity": 2_000_000}
    tables = {
        f"{task.partition('-')[0].lower()}-{kind}": table(task, kind, 1_500_000, "host", plain, plain)
        for task in ("Hopper-v5", "HalfCheetah-v5")
        for kind in KINDS
    }
    return Plan("Hopper and HalfCheetah from a million transitions, which wants a GPU", tables, greedy=True)


BUDGETS = {"small": small, "full": full}
