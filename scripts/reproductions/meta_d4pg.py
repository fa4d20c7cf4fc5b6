"""MetaL and MeSh (Calian et al., 2021): a penalty that grows only as fast as the critic can follow loses less reward.

The paper's agents over thresholds that can be met and that cannot. `PointMass-v0` has a wind that no policy keeps out:
its mean cost is at least `exp(-(0.5 / 0.3)^2 / 2) = 0.25`, so 0.1 is out of reach. The cart-pole is the paper's,
written in JAX; the full budget has all four of its domains. Scores are the paper's `R_penalized` with `kappa` the
largest return that is possible.
"""

from typing import Any

from envs.constrained import THRESHOLDS
from scripts.reproductions.plan import Claim, Constraint, Plan, Table, Trial

# Small networks and one update for every fourth step: some 10,000 updates, minutes on two cores.
SMALL: dict[str, Any] = {
    "hidden": (64, 64),
    "critic_hidden": (64, 64),
    "envs": 8,
    "unroll": 4,
    "ratio": 0.25,
    "warmup": 1000,
    "batch": 128,
    "learning_rate": 1e-3,
    "target_every": 50,
    "uniform.capacity": 100_000,
}
POINT: dict[str, Any] = {**SMALL, "v_min": -60.0, "v_max": 60.0}
SWINGUP: dict[str, Any] = {**SMALL, "critic_hidden": (128, 128), "v_min": -50.0, "v_max": 100.0, "warmup": 2000}
PENALTIES = (0.1, 1.0, 10.0, 100.0)
RATES = (0.01, 0.1)


def table(name: str, beta: float, kappa: float, options: dict[str, Any], **common: Any) -> Table:
    """The paper's agents on one task with one threshold; those that know no threshold are the same runs in all."""

    def trial(label: str, agent: str, **own: Any) -> Trial:
        return Trial(label, agent, options={**options, **own}, **common)

    fixed = [trial(f"rs-{x:g}", "rc_d4pg", multiplier=x, multiplier_rate=0.0) for x in PENALTIES]
    learned = [trial(f"rc-{rate:g}", "rc_d4pg", beta=beta, multiplier_rate=rate) for rate in RATES]
    trials = (
        trial("d4pg", "d4pg"),
        *fixed,
        *learned,
        trial("meta_l", "meta_l", beta=beta),
        trial("mesh", "mesh"),
    )
    others = tuple(each.label for each in (trials[0], *fixed, *learned))
    lagrangian = tuple(each.label for each in learned)
    judged: dict[str, Any] = {"measure": "penalised"}
    claims = (
        Claim(
            "MetaL is at least as good as the best of D4PG, RC-D4PG and fixed penalties",
            "meta_l",
            others,
            means=True,
            **judged,
        ),
        Claim("MetaL is better than RC-D4PG", "meta_l", lagrangian, **judged),
        Claim("MetaL violates less than D4PG", "d4pg", ("meta_l",), measure="cost"),
        Claim("MeSh is better than RC-D4PG", "mesh", lagrangian, **judged),
    )
    return Table(
        f"{name}, mean cost of at most {beta:g}",
        trials,
        claims,
        measure="penalised",
        constraint=Constraint(beta, kappa),
    )


def point(beta: float, steps: int) -> Table:
    """The point mass in the wind."""
    task = {"task": "PointMass-v0", "env_options": {"speed_limit": 0.5, "wind": 0.3}, "steps": steps, "preset": ""}
    return table("a point pushed through wind under a speed limit", beta, 50.0, POINT, **task)


def swingup(beta: float, steps: int) -> Table:
    """The cart-pole, whose pole must not be fast where it is upright."""
    task = {"task": "CartPoleSwingup-v0", "env_options": {"safety_coeff": 0.2}, "steps": steps, "preset": ""}
    return table("a pole swung up that must be slow near the top", beta, 1000.0, SWINGUP, **task)


def small() -> Plan:
    """Two domains, three thresholds each."""
    tables = {f"point-{beta:g}": point(beta, 50_000) for beta in (0.1, 0.3, 0.4)}
    tables |= {f"swingup-{beta:g}": swingup(beta, 200_000) for beta in (0.07, 0.09, 0.115)}
    return Plan("two domains with small networks, on two cores", tables, seeds=5, greedy=True)


# The paper's domains and the constraint that it is taken to have put on each.
FULL = {
    "cartpole": ("ConstrainedCartPole-v0", "balance_velocity"),
    "walker": ("ConstrainedWalker-v0", "joint_velocity"),
    "quadruped": ("ConstrainedQuadruped-v0", "joint_angle"),
    "humanoid": ("ConstrainedHumanoid-v0", "joint_angle"),
}
COEFFICIENTS = (0.05, 0.1, 0.2, 0.3)
STEPS = 10_000_000


def full() -> Plan:
    """The paper's four domains with its networks, over safety coefficients and thresholds."""
    options: dict[str, Any] = {"envs": 16, "unroll": 16, "ratio": 1 / 16}
    tables = {
        f"{domain}-{k:g}-{beta:g}": table(
            f"{task} with safety coefficient {k:g}",
            beta,
            1000.0,
            options,
            task=task,
            env_options={"constraint": constraint, "safety_coeff": k},
            backend="host",
            steps=STEPS,
            preset="",
        )
        for domain, (task, constraint) in FULL.items()
        for k in COEFFICIENTS
        for beta in THRESHOLDS[task]
    }
    return Plan("the paper's four domains with its networks, which want a GPU", tables, greedy=True)


BUDGETS = {"small": small, "full": full}
