"""MBPO (Janner et al., 2019) and AutoMBPO (Lai et al., 2021): a model saves steps, and real data count for more later.

The theory is checked where everything can be computed: in random MDPs. The pendulum has small networks and minutes;
Hopper has the published ones. A controller is trained by `search.py autombpo` before it can be judged here.
"""

from typing import Any

from scripts.reproductions import real_share
from scripts.reproductions.plan import Claim, Plan, Study, Table, Trial

PENDULUM = "Pendulum-v1"
# 1,000 steps at random and 2,000 of learning, with five updates for each.
STEPS = 3000
SMALL: dict[str, Any] = {"task": PENDULUM, "steps": STEPS, "preset": "fast"}
CONTROLLER = "runs/search/pendulum/controller"  # from the project's root
# What trains it: epochs of an eighth of the learning, and plain MBPO's own number of updates at first.
SEARCH = (
    "python scripts/search.py autombpo --preset fast --env Pendulum-v1 --backend device --steps 3000 --epoch 250 "
    "--updates 5 --model-scale 1 --out runs/search/pendulum"
)


def pendulum() -> Table:
    """Constants, manual schedules, SAC, and a controller if one was trained."""
    sac: dict[str, Any] = {"hidden": (64, 64), "warmup": 1000, "unroll": 5, "uniform.capacity": 20_000}
    plain: dict[str, Any] = {"task": PENDULUM, "steps": STEPS, "preset": ""}
    trials = [
        Trial("mbpo", "mbpo", **SMALL),
        Trial("linear", "mbpo", options={"schedule": "linear"}, **SMALL),
        Trial("exponential", "mbpo", options={"schedule": "exponential", "growth": 3.0}, **SMALL),
        Trial("half", "mbpo", options={"real_ratio": 0.5}, **SMALL),
        Trial("real", "mbpo", options={"real_ratio": 1.0}, **SMALL),
        Trial("autombpo", "autombpo", options={"controller": CONTROLLER}, made_by=SEARCH, **SMALL),
        Trial("sac", "sac", options=sac, **plain),
        Trial("sac-5", "sac", options={**sac, "ratio": 5.0}, **plain),
    ]
    claims = [
        Claim("MBPO returns more than SAC after as many steps", "mbpo", ("sac",), measure="return_mean"),
        Claim("and more than SAC with as many updates", "mbpo", ("sac-5",), measure="return_mean"),
        Claim(
            "A share of real data that grows is better than a constant one", "linear", ("mbpo",), measure="return_mean"
        ),
        Claim("A learned schedule is better than constant MBPO", "autombpo", ("mbpo",), measure="return_mean"),
        Claim("and over the whole of learning", "autombpo", ("mbpo",), measure="trained"),
    ]
    return Table("a pendulum swung up within 3,000 steps", tuple(trials), tuple(claims), measure="return_mean")


def hopper(steps_of_sac: int = 100_000, steps: int = 25_000) -> Table:
    """MBPO after a quarter of SAC's steps, at the published settings."""
    common: dict[str, Any] = {"task": "Hopper-v5", "backend": "host"}
    sac: dict[str, Any] = {"unroll": 50, "warmup": 5000}
    trials = (
        Trial("mbpo", "mbpo", steps=steps, preset="paper", options={"uniform.capacity": 125_000}, **common),
        Trial("sac", "sac", steps=steps_of_sac, preset="", options=sac, **common),
        Trial("sac-early", "sac", steps=steps, preset="", options=sac, **common),
    )
    claims = (
        Claim(
            f"MBPO returns on average at {steps:,} steps what SAC does at {steps_of_sac:,}",
            "mbpo",
            ("sac",),
            measure="return_mean",
            means=True,
        ),
    )
    return Table(f"Hopper, {steps:,} steps of MBPO", trials, claims, measure="return_mean")


STUDIES = {
    "theory": Study(
        "the share of real data that fitted value iteration does best with", real_share.run, 20, real_share.draw
    )
}


def small() -> Plan:
    """The theory, and a pendulum."""
    tables = {"pendulum": pendulum(), "hopper": hopper()}
    return Plan(
        "random MDPs, a pendulum, and Hopper's first 25,000 steps", tables, seeds=5, greedy=True, studies=STUDIES
    )


def full() -> Plan:
    """Hopper to the end of the published curve."""
    return Plan("Hopper to its published end, which wants a GPU", {"hopper": hopper(1_000_000, 125_000)}, greedy=True)


BUDGETS = {"small": small, "full": full}
