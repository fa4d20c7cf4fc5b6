"""AGAC (Flet-Berliac et al., 2021): an adversary that imitates the actor drives it on, with and without reward."""

from typing import Any

from scripts.reproductions import bebold
from scripts.reproductions.bebold import AGENTS, CORRIDOR, FREE, FRUGAL, LONGER, ROOMS, chosen, task_id
from scripts.reproductions.plan import Claim, Plan, Table, on

AGAC: dict[str, Any] = AGENTS["agac"]
BASELINES = ("rnd", "count", "none")


def small() -> Plan:
    """The claims on tasks where the agents part within one to three million steps."""
    agac = {**AGAC, **FRUGAL}
    ablated: dict[str, dict[str, Any]] = {
        "agac": agac,
        "no-adversary": {**agac, "options": {"agac_c": 0.0}},
        "no-count": {**agac, "options": {"bonus": ""}},
        "no-kl-target": {**agac, "options": {"value_target_kl": False}},
    }
    tables = {
        "first": Table(
            "KeyCorridorS3R3, a key to be found behind doors and one reward at the very end",
            on(CORRIDOR, 1_000_000, chosen(("agac", *BASELINES), **FRUGAL)),
            (
                Claim("AGAC solves it", "agac", least=0.8),
                Claim("AGAC succeeds more often than RND, counts and no bonus", "agac", BASELINES),
            ),
        ),
        "rooms": Table(
            "MultiRoom-N10-S6, a chain of ten rooms with the goal in the last",
            on(ROOMS["N10-S6"], 3_000_000, chosen(("agac", *BASELINES))),
            (Claim("AGAC succeeds more often than RND, counts and no bonus", "agac", BASELINES),),
        ),
        "ablations": Table(
            "KeyCorridorS4R3, AGAC without one of its parts",
            on(LONGER, 2_000_000, ablated),
            (
                Claim("AGAC needs its adversary", "agac", ("no-adversary",)),
                Claim("AGAC needs its count", "agac", ("no-count",)),
                Claim("AGAC needs the shift of the critic's target", "agac", ("no-kl-target",)),
            ),
        ),
        "coverage": Table(
            "MultiRoom-N10-S6 with the reward switched off: how far each agent goes by itself",
            on(ROOMS["N10-S6"], 1_000_000, chosen(("agac", *BASELINES), **FREE)),
            (
                Claim("AGAC reaches more rooms than RND, counts and no bonus", "agac", BASELINES, measure="rooms"),
                Claim("AGAC's visits are spread more evenly than theirs", "agac", BASELINES, measure="entropy"),
            ),
            coverage=True,
        ),
    }
    return Plan("the paper's claims in small, on two cores", tables, lenders={"bebold": bebold.small()})


# Of the card's tasks those that are registered: KeyCorridorS8R3 is the authors' own.
FULL = {
    "MultiRoom-N10-S6": 20_000_000,
    "MultiRoom-N10-S10": 40_000_000,
    "MultiRoom-N12-S10": 40_000_000,
    "KeyCorridorS3R3": 40_000_000,
    "KeyCorridorS4R3": 80_000_000,
    "KeyCorridorS5R3": 120_000_000,
    "ObstructedMaze-2Dlhb": 120_000_000,
}


def full() -> Plan:
    """The paper's tasks with the authors' settings, one table each.

    2048 steps an update are 16 environments' 128, as in the authors' second code, not one environment's: a device
    steps many at the price of one.
    """
    shape: dict[str, Any] = {"envs": 16, "unroll": 128}
    settings: dict[str, Any] = {"preset": "paper", "wrap": "frame_stack", "wrap_options": {"frame_stack.k": 4}}
    agents: dict[str, dict[str, Any]] = {
        "agac": {"agent": "agac", **settings, "options": shape},
        "count": {"agent": "agac", **settings, "options": {**shape, "agac_c": 0.0}},
        "none": {"agent": "agac", **settings, "options": {**shape, "agac_c": 0.0, "bonus": ""}},
    }
    tables = {
        name: Table(
            f"{name}, {steps // 1_000_000} million steps",
            on(task_id(name), steps, agents),
            (
                Claim(f"AGAC solves {name}", "agac", least=0.8),
                Claim(f"AGAC succeeds more often than without its adversary in {name}", "agac", ("count", "none")),
            ),
        )
        for name, steps in FULL.items()
    }
    return Plan("the paper's tasks with the authors' settings, which want a GPU", tables)


BUDGETS = {"small": small, "full": full}
