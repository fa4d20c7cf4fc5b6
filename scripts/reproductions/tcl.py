"""TCL (Wang et al., 2021) and PEARL (Rakelly et al., 2019): what two windows of a trajectory share tells the task.

Agents learn on tasks of a family and are judged on others, by the last of five episodes in each. The small budget has
small networks, a point robot and a cheetah that must find its speed; the full one the papers' sizes and steps.
"""

from typing import Any

from scripts.reproductions.plan import Claim, Plan, Table, Trial

FAMILIES = (
    *("HalfCheetahDir-v5", "HalfCheetahVel-v5", "AntFwdBack-v5", "AntGoal-v5"),
    *("HumanoidDir-v5", "Walker2dParams-v5"),
)


def table(doc: str, task: str, steps: int, every: int, **common: Any) -> Table:
    """PEARL and TCL on one family."""
    common |= {"task": task, "steps": steps, "evaluate_every": every}
    return compared(doc, Trial("pearl", "pearl", **common), Trial("tcl", "tcl", **common))


def recurrent(doc: str, task: str, steps: int, every: int, **common: Any) -> Table:
    """RL2 without the contrastive loss and with it."""
    common |= {"task": task, "steps": steps, "evaluate_every": every}
    return compared(doc, Trial("rl2", "rl2", **common), Trial("rl2-tcl", "rl2", options={"auxiliary": "tcl"}, **common))


def compared(doc: str, plain: Trial, contrastive: Trial) -> Table:
    """An agent without the contrastive loss, and the same with it."""
    of, over = contrastive.label, (plain.label,)
    claims = (
        Claim(f"{of} returns more than {plain.label} after adapting", of, over, measure="return_mean"),
        Claim("and over the whole of learning", of, over, measure="learned"),
        Claim("Its beliefs tell tasks apart earlier", of, over, measure="probed"),
    )
    curves = ("eval/return_mean", "eval/probe")
    return Table(doc, (plain, contrastive), claims, measure="return_mean", curves=curves)


def small() -> Plan:
    """A point robot and a cheetah with small networks."""
    point: dict[str, Any] = {"env_options": {"test_tasks": 30}}
    tables = {
        "point": table("a point robot that looks for a goal in a square", "PointRobot-v0", 96_000, 8000, **point),
        "recurrent": recurrent("the same robot with a memory", "PointRobot-v0", 2_000_000, 100_000, **point),
        "cheetah": table("a cheetah that must find its speed", "HalfCheetahVel-v5", 160_000, 16_000, backend="host"),
    }
    return Plan("two families with small networks, on two cores", tables, seeds=5, greedy=True)


def full() -> Plan:
    """The papers' six families and Meta-World's ML1 with their sizes."""
    common: dict[str, Any] = {"backend": "host", "preset": "paper"}
    tables = {
        task.removesuffix("-v5").lower(): table(f"{task} at the published sizes", task, 2_000_000, 50_000, **common)
        for task in FAMILIES
    }
    # 750 steps under the prior and 750 after it, in episodes of 200: four and four.
    given = {"task_set": "ML1", "max_steps": 200, "trial": 8}
    for task in ("reach", "push"):
        tables[f"ml1-{task}"] = table(
            f"ML1 {task}", f"MetaWorld-{task}-v3", 2_600_000, 100_000, env_options=given, **common
        )
    return Plan("the papers' families and ML1, which want a GPU", tables, greedy=True)


BUDGETS = {"small": small, "full": full}
