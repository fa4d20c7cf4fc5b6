"""BeBold (Zhang et al., 2020): it alone solves what pays only at the very end, and both of its rules are needed."""

from typing import Any

from scripts.reproductions.plan import Claim, Plan, Table, Trial, on

CORRIDOR, LONGER = "MiniGrid-KeyCorridorS3R3-v0", "MiniGrid-KeyCorridorS4R3-v0"
DOOR = "MiniGrid-DoorKey-8x8-v0"
ROOMS = {"N7-S4": "MiniGrid-MultiRoom-N7-S4-v0", "N10-S6": "MiniGrid-MultiRoom-N10-S6-v0"}

# The predictor that BeBold's preset has, so that baselines differ in what is paid for and in nothing else.
RND: dict[str, Any] = {
    "bonus": "rnd",
    "rnd.coef": 0.001,
    "rnd.predictor": (128, 128),
    "rnd.squared": True,
    "rnd.minibatches": 4,
    "rnd.learning_rate": 1e-3,
    "rnd.terminal": "mask",
}
BEBOLD: dict[str, Any] = {"agent": "bebold"}
AGENTS: dict[str, dict[str, Any]] = {
    "bebold": BEBOLD,
    "agac": {"agent": "agac"},
    "rnd": {"agent": "ppo", "options": RND},
    "count": {"agent": "ppo", "options": {"bonus": "count"}},
    "none": {"agent": "ppo"},
}
FIRST = ("bebold", "agac", "rnd", "none")
# Fewer steps on fewer environments: the same agents, preset `frugal`.
FRUGAL = {"preset": "frugal"}
FREE: dict[str, Any] = {"wrap": "multiply_reward", "wrap_options": {"multiply_reward.factor": 0.0}}


def chosen(names: tuple[str, ...], **more: Any) -> dict[str, dict[str, Any]]:
    """Some of the agents, with further fields of their trials."""
    return {name: {**AGENTS[name], **more} for name in names}


def newer(*names: str) -> dict[str, dict[str, Any]]:
    """PPO with other bonuses."""
    return {name: {"agent": "ppo", "options": {"bonus": name}, **FRUGAL} for name in names}


def frames() -> dict[str, dict[str, Any]]:
    """Agents and bonuses whose first frames are compared, and two of them on the PPO of DEIR's authors."""
    return {
        **chosen(tuple(AGENTS), **FRUGAL),
        **newer("deir", "e3b", "ngu", "ride", "icm"),
        "deir-ppo": {"agent": "ppo", "preset": "deir"},
        "noveld-ppo": {"agent": "ppo", "preset": "noveld"},
    }


def ahead() -> tuple[Claim, ...]:
    """That BeBold and AGAC solve the task, and the others do so less often."""
    return tuple(
        claim
        for name, label in (("BeBold", "bebold"), ("AGAC", "agac"))
        for claim in (
            Claim(f"{name} solves it", label, least=0.8),
            Claim(f"{name} succeeds more often than RND and than no bonus", label, ("rnd", "none")),
            Claim(f"{name} succeeds more often than counts", label, ("count",)),
        )
    )


def rooms(steps: int, names: tuple[str, ...]) -> tuple[Trial, ...]:
    """Some of the agents in both chains of rooms."""
    found = [on(ROOMS[key], steps, chosen(names), f"-{key}") for key in ROOMS]
    return tuple(trial for trials in found for trial in trials)


def small() -> Plan:
    """The claims on tasks where the agents part within one to three million steps."""
    bebold, agac = {**BEBOLD, **FRUGAL}, {**AGENTS["agac"], **FRUGAL}
    ablated: dict[str, dict[str, Any]] = {
        "bebold": bebold,
        "no-clipping": {**bebold, "options": {"bebold.clip_negative": False}},
        "no-first-visit": {**bebold, "options": {"bebold.first_visit": False}},
        "agac": agac,
        "agac-no-adversary": {**agac, "options": {"agac_c": 0.0}},
        "agac-no-count": {**agac, "options": {"bonus": ""}},
    }
    tables = {
        "first": Table(
            "KeyCorridorS3R3, a key to be found behind doors and one reward at the very end",
            on(CORRIDOR, 1_000_000, chosen(tuple(AGENTS), **FRUGAL)),
            ahead(),
        ),
        "longer": Table(
            "KeyCorridorS4R3, the same in larger rooms",
            on(LONGER, 2_000_000, chosen(tuple(AGENTS), **FRUGAL)),
            ahead(),
        ),
        "frames": Table(
            "DoorKey-8x8 after the 122,880 frames at which DEIR's released log has a mean return of 0.91",
            on(DOOR, 122_880, frames()),
            tuple(
                Claim(f"{name} has a mean return of 0.9", label, least=0.9, measure="return_mean")
                for name, label in (
                    ("BeBold", "bebold"),
                    ("AGAC", "agac"),
                    ("DEIR's bonus", "deir"),
                    ("DEIR on its authors' PPO", "deir-ppo"),
                )
            ),
        ),
        "rooms": Table(
            "MultiRoom-N7-S4 and -N10-S6, chains of rooms with the goal in the last",
            rooms(3_000_000, tuple(AGENTS)),
            tuple(
                Claim(
                    f"{name} succeeds more often than RND, counts and no bonus in {key}",
                    f"{label}-{key}",
                    (f"rnd-{key}", f"count-{key}", f"none-{key}"),
                )
                for key in ROOMS
                for name, label in (("BeBold", "bebold"), ("AGAC", "agac"))
            ),
        ),
        "corridor": Table(
            "KeyCorridorS3R3, BeBold beside newer bonuses at equal frames",
            on(CORRIDOR, 1_000_000, {"bebold": bebold, **newer("deir", "e3b", "ngu")}),
            tuple(
                Claim(f"BeBold succeeds more often than {name}", "bebold", (name,)) for name in ("deir", "e3b", "ngu")
            ),
        ),
        "ablations": Table(
            "KeyCorridorS4R3, each agent without one of its parts",
            on(LONGER, 2_000_000, ablated),
            (
                Claim("BeBold needs the clip at zero", "bebold", ("no-clipping",)),
                Claim("BeBold needs the rule of the first visit", "bebold", ("no-first-visit",)),
                Claim("AGAC needs its adversary", "agac", ("agac-no-adversary",)),
                Claim("AGAC needs its count", "agac", ("agac-no-count",)),
            ),
        ),
        "coverage": Table(
            "MultiRoom-N7-S4 with the reward switched off: how far each agent goes for its bonus alone",
            on(ROOMS["N7-S4"], 1_000_000, chosen(FIRST, **FREE)),
            tuple(
                Claim(text, "bebold", ("rnd", "none"), measure=measure)
                for text, measure in (
                    ("BeBold's visits are spread more evenly than those of RND and of no bonus", "entropy"),
                    ("BeBold reaches more rooms than RND and than no bonus", "rooms"),
                )
            ),
            coverage=True,
        ),
    }
    return Plan("the paper's claims in small, on two cores", tables)


# The twelve tasks and the frames within which the paper's curves solve them.
FULL = {
    "MultiRoom-N6": 30_000_000,
    "MultiRoom-N7-S8": 30_000_000,
    "MultiRoom-N12-S10": 30_000_000,
    "KeyCorridorS3R3": 40_000_000,
    "KeyCorridorS4R3": 60_000_000,
    "KeyCorridorS5R3": 80_000_000,
    "KeyCorridorS6R3": 120_000_000,
    "ObstructedMaze-2Dlh": 120_000_000,
    "ObstructedMaze-2Dlhb": 120_000_000,
    "ObstructedMaze-1Q": 120_000_000,
    "ObstructedMaze-2Q": 120_000_000,
    "ObstructedMaze-Full": 120_000_000,
}
PAPER_RND: dict[str, Any] = {
    "bonus": "rnd",
    "rnd.coef": 0.1,
    "rnd.hidden": (1024, 1024),
    "rnd.predictor": (1024, 1024, 128, 128, 128),
    "rnd.target": (128, 128, 128),
}
REPAIRED = ("ObstructedMaze-2Dlhb", "ObstructedMaze-1Q", "ObstructedMaze-2Q", "ObstructedMaze-Full")


def task_id(name: str) -> str:
    """A task's id; of mazes that have a version 1, that one, for not every level of version 0 can be solved."""
    return f"MiniGrid-{name}-v{int(name in REPAIRED)}"


def full() -> Plan:
    """The paper's twelve tasks, one table each: the authors' settings, and the small network that two cores can run."""
    agents: dict[str, dict[str, Any]] = {
        "bebold": {"agent": "bebold", "preset": "paper"},
        "rnd": {"agent": "bebold", "preset": "paper", "options": PAPER_RND},
        "none": {"agent": "bebold", "preset": "paper", "options": {"bonus": ""}},
        "bebold-fast": BEBOLD,
        "bebold-frugal": {**BEBOLD, **FRUGAL},
    }
    tables = {
        name: Table(
            f"{name}, {steps // 1_000_000} million steps",
            on(task_id(name), steps, agents),
            (
                Claim(f"BeBold solves {name}", "bebold", least=0.8),
                Claim(f"BeBold succeeds more often than RND and than no bonus in {name}", "bebold", ("rnd", "none")),
                *(
                    Claim(f"BeBold with PPO and a small network, preset {preset}, solves {name}", label, least=0.8)
                    for preset, label in (("fast", "bebold-fast"), ("frugal", "bebold-frugal"))
                ),
            ),
        )
        for name, steps in FULL.items()
    }
    return Plan("the paper's twelve tasks, with the authors' network, which wants a GPU, and with a small one", tables)


BUDGETS = {"small": small, "full": full}
