"""TCL (Wang et al., 2021) and PEARL (Rakelly et al., 2019): what two windows of a trajectory share tells the task.

Agents learn on tasks of a family and are judged on others, by the last of five episodes in each. The small budget has
small networks, a point robot and a cheetah that must find its speed; the full one the papers' sizes and steps.
"""

from typing import Any

from scripts.reproductions.plan import Claim, Plan, Table, Trial

# Rewards of 0 to -1 a step: with PEARL's own scale its divergence would outweigh what the critics say of the task.
POINT: dict[str, Any] = {
    "hidden": (64, 64),
    "encoder_hidden": (64, 64),
    "batch": 64,
    "context": 40,
    "recent": 40,
    "meta_batch": 8,
    "learning_rate": 1e-3,
    "tau": 0.01,
    "discount": 0.9,
    "reward_scale": 50.0,
    "per_task.capacity": 4000,
}
POINT_RL2: dict[str, Any] = {"discount": 0.97, "learning_rate": 1e-3, "hidden": (64,), "core_width": 64, "trials": 2}
CHEETAH: dict[str, Any] = {
    "hidden": (128, 128),
    "encoder_hidden": (128, 128),
    "batch": 128,
    "meta_batch": 8,
    "ratio": 0.1,
    "learning_rate": 1e-3,
    "per_task.capacity": 5000,
}


def table(
    doc: str,
    task: str,
    steps: int,
    every: int,
    options: dict[str, Any],
    window: int,
    rl2: dict[str, Any] | None = None,
    **common: Any,
) -> Table:
    """PEARL and TCL on one family, and where options for it are given RL2, with the contrastive loss and without."""
    common |= {"task": task, "steps": steps, "preset": "", "evaluate_every": every}
    trials = [
        Trial("pearl", "pearl", options=options, **common),
        Trial("tcl", "tcl", options={**options, "tcl.window": window}, **common),
    ]
    if rl2 is not None:
        contrast = {"auxiliary": "tcl", "tcl.window": window, "tcl.coef": 0.1}
        trials += [
            Trial("rl2", "rl2", options=rl2, **common),
            Trial("rl2-tcl", "rl2", options={**rl2, **contrast}, **common),
        ]
    claims = [
        Claim("TCL returns more than PEARL after adapting", "tcl", ("pearl",), measure="return_mean"),
        Claim("and over the whole of learning", "tcl", ("pearl",), measure="learned"),
        Claim("Its beliefs tell tasks apart earlier", "tcl", ("pearl",), measure="probed"),
    ]
    if rl2 is not None:
        claims.append(Claim("The same loss helps a recurrent agent", "rl2-tcl", ("rl2",), measure="return_mean"))
    curves = ("eval/return_mean", "eval/probe")
    return Table(doc, tuple(trials), tuple(claims), measure="return_mean", curves=curves)


def small() -> Plan:
    """A point robot and a cheetah with small networks."""
    tables = {
        "point": table(
            "a point robot that looks for a goal in a square",
            "PointRobot-v0",
            96_000,
            8000,
            POINT,
            15,
            POINT_RL2,
            env_options={"test_tasks": 30},
        ),
        "cheetah": table(
            "a cheetah that must find its speed", "HalfCheetahVel-v5", 160_000, 16_000, CHEETAH, 100, backend="host"
        ),
    }
    return Plan("two families with small networks, on two cores", tables, seeds=5, greedy=True)


# Five tasks to a round of 2,000 updates in PEARL are 0.4 of an update for each step; contexts as in its configurations.
FAMILIES: dict[str, dict[str, Any]] = {
    "HalfCheetahDir-v5": {"meta_batch": 4, "context": 256},
    "HalfCheetahVel-v5": {"context": 100},
    "AntFwdBack-v5": {"meta_batch": 4, "context": 256},
    "AntGoal-v5": {"meta_batch": 10, "context": 256, "kl_cost": 1.0},
    "HumanoidDir-v5": {"context": 256},
    "Walker2dParams-v5": {"meta_batch": 10, "context": 100, "context_next_obs": True},
}
ML1: dict[str, Any] = {
    "latent": 7,
    "encoder_hidden": (400,) * 6,
    "hidden": (400, 400, 400),
    "context": 128,
    "reward_scale": 10.0,
    "ratio": 4000 / (15 * 1500),
}


def full() -> Plan:
    """The papers' six families and Meta-World's ML1 with their sizes."""
    tables = {
        task.removesuffix("-v5").lower(): table(task, task, 2_000_000, 50_000, own, 128, backend="host")
        for task, own in FAMILIES.items()
    }
    for task in ("reach", "push"):
        id = f"MetaWorld-{task}-v3"
        # 750 steps under the prior and 750 after it, in episodes of 200: four and four.
        given = {"task_set": "ML1", "max_steps": 200, "trial": 8}
        options = {**ML1, "prior_episodes": 4, "recent": 800}
        tables[f"ml1-{task}"] = table(
            f"ML1 {task}", id, 2_600_000, 100_000, options, 128, env_options=given, backend="host"
        )
    return Plan("the papers' families and ML1, which want a GPU", tables, greedy=True)


BUDGETS = {"small": small, "full": full}
