"""What came of a reproduction: scores with intervals over seeds, whether the claims held, and the pictures."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from agents.commands.figure import Curve, curves
from scripts.benchmarks.benchmark import ROOT
from scripts.reproductions import coverage
from scripts.reproductions.plan import Claim, Plan, Table, Trial
from scripts.reproductions.runs import EPISODES, SOLVED, Seed, learning
from scripts.reproductions.status import Job, Seen

FILE = "RESULT.json"
PUBLIC = ROOT / "docs" / "results"
MEASURE = f"{EPISODES} seeded episodes per seed, actions drawn from the policy, last checkpoint"
INTERVAL = "95%, bootstrap over seeds and their episodes, 2000 resamples; of a single seed's success Wilson's"
HELD, FAILED, OPEN = "held", "not reproduced", "not run yet"


def summary(seeds: list[Seed]) -> dict[str, Any]:
    """The means of a trial's finished seeds, each with its interval `[low, high]`; empty before the first."""
    from agents.training.statistics import interval, wilson

    done = [seed.score for seed in seeds if seed.score]
    if not done:
        return {}
    columns = {"success": [score["success"] for score in done], "return_mean": [score["returns"] for score in done]}
    # A trial that another table shares may have more measures than this one asks for, or its first seeds fewer.
    for name in coverage.MEASURES:
        columns[name] = [score.get("coverage", {}).get(name) for score in done]
    found: dict[str, Any] = {}
    for name, values in columns.items():
        if None in values:
            continue
        table = np.asarray(values, float)
        alone = name == "success" and len(table) == 1
        bounds = wilson(int(table.sum()), table.size) if alone else interval(table, np.mean)
        found[name] = {"mean": float(table.mean()), "interval": list(bounds), "per_seed": table.mean(1).tolist()}
    found["length"] = float(np.mean([score["lengths"] for score in done]))
    found["steps_to_solved"] = [score["steps_to_solved"] for score in done]
    return found


def judged(claim: Claim, seen: dict[str, list[Seed]]) -> dict[str, Any]:
    """Whether a claim held: the lower end of one interval above the upper ends of the others, and above `least`.

    While a seed of any of them is missing nothing is said.
    """
    labels = (claim.of, *claim.over)
    missing = [label for label in labels if not all(seed.score for seed in seen[label])]
    found = {label: summary(seen[label]).get(claim.measure) for label in labels}
    verdict: dict[str, Any] = {"claim": claim.text, "measure": claim.measure, "of": claim.of, "over": list(claim.over)}
    verdict |= {"least": claim.least, "missing": missing, "intervals": {}}
    if missing or None in found.values():
        return verdict | {"verdict": OPEN}
    intervals = {label: value["interval"] for label, value in found.items() if value}
    low, _ = intervals[claim.of]
    above = all(low > intervals[label][1] for label in claim.over)
    enough = claim.least is None or low >= claim.least
    return verdict | {"intervals": intervals, "verdict": HELD if above and enough else FAILED}


def collect(job: Job, seen: Seen) -> dict[str, Any]:
    """All that was run so far, as plain JSON; tables without a finished run are left out."""
    # A run that two tables share counts once.
    runs = {seed.folder: seed.score for trials in seen.values() for each in trials.values() for seed in each}
    scores = [score for score in runs.values() if score]
    share = "" if job.share == 1 else f" --share {job.share:g}"
    return {
        # A part of the budget is another result, in a file of its own.
        "name": f"{job.name}_{job.budget}" + ("" if job.share == 1 else f"_{job.share:g}"),
        "doc": job.plan.doc,
        "command": f"python scripts/reproduce.py {job.name} --budget {job.budget}{share}",
        "share": job.share,
        "seeds": sorted({score["seed"] for score in scores}),
        "steps": sum(score["steps"] for score in scores),
        "measure": MEASURE,
        "interval": INTERVAL,
        "solved": f"first step at which the latest episodes of training succeeded {SOLVED:.0%} of the time",
        "coverage": {**coverage.MEASURES, "levels": coverage.LEVELS, "episodes on each": coverage.EPISODES},
        "commit": distinct([score["commit"] for score in scores]),
        "hardware": distinct([score["hardware"] for score in scores]),
        "packages": distinct([score["packages"] for score in scores]),
        "tables": {
            key: _table(table, seen[key]) for key, table in job.plan.tables.items() if begun(job.plan, key, seen)
        },
    }


def begun(plan: Plan, name: str, seen: Seen) -> bool:
    """Whether a table has a finished run of its own, or all of its runs: a few of another table's make none."""
    runs = [(plan.home(trial), seed) for trial in plan.tables[name].trials for seed in seen[name][trial.label]]
    return any(seed.score and home == name for home, seed in runs) or all(seed.score for _, seed in runs)


def _table(table: Table, seen: dict[str, list[Seed]]) -> dict[str, Any]:
    trials = {}
    for trial in table.trials:
        done = [seed for seed in seen[trial.label] if seed.score]
        about = {name: value for name, value in trial._asdict().items() if name not in ("label", "options", "steps")}
        last = done[-1].score if done else None
        trials[trial.label] = {
            **about,
            "seeds": [seed.number for seed in done],
            "steps": last["steps"] if last else trial.steps,
            **summary(seen[trial.label]),
            "changed": trial.options,
            "options": last["options"] if last else None,
        }
    return {"doc": table.doc, "claims": [judged(claim, seen) for claim in table.claims], "trials": trials}


def distinct(values: list[Any]) -> Any:
    """The values without their repetitions; if all are equal, that one alone."""
    found = [value for at, value in enumerate(values) if value not in values[:at]]
    return found[0] if len(found) == 1 else found


def draw(plan: Plan, seen: Seen, out: Path) -> list[Path]:
    """A picture for each task of each table that has begun: success while learning."""
    from agents.training.learner import WINDOW

    pictures = []
    for name, table in plan.tables.items():
        if not begun(plan, name, seen):
            continue
        tasks = list(dict.fromkeys(trial.task for trial in table.trials))
        for task in tasks:
            groups = learned([trial for trial in table.trials if trial.task == task], seen[name])
            if not groups:
                continue
            short = f"_{task.removeprefix('MiniGrid-')}" if len(tasks) > 1 else ""
            picture = curves(
                groups,
                out / f"{name}{short}.png",
                x_label="environment steps",
                y_label=f"success rate, latest {WINDOW} episodes",
                title=f"{task} while learning",
                smooth=3,
            )
            pictures.append(picture)
    return pictures


def learned(trials: list[Trial], seen: dict[str, list[Seed]]) -> dict[str, list[Curve]]:
    """The success rate of the finished seeds of each trial while they learned."""
    groups = {}
    for trial in trials:
        rows = [learning(seed.folder) for seed in seen[trial.label] if seed.score]
        found = [[(row["step"], row["success"]) for row in each] for each in rows if each]
        if found:
            groups[trial.label] = [Curve(*np.asarray(points, float).T) for points in found]
    return groups


def publish(result: dict[str, Any], out: Path, where: Path = PUBLIC) -> list[Path]:
    """Copies a result and its pictures, which are in `out`, to the project's results."""
    names = {FILE: f"{result['name']}.json"} | {name: f"{result['name']}_{name}" for name in result["pictures"]}
    where.mkdir(parents=True, exist_ok=True)
    return [Path(shutil.copyfile(out / name, where / public)) for name, public in names.items()]
