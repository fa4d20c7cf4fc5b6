"""What came of a reproduction: scores with intervals over seeds, whether the claims held, and the pictures."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from agents.commands.figure import Curve, Spot, curves, spread
from agents.training.learner import WINDOW
from scripts.benchmarks.benchmark import ROOT
from scripts.reproductions import coverage, studies
from scripts.reproductions.plan import Claim, Plan, Table, Trial
from scripts.reproductions.runs import SOLVED, Seed, learning
from scripts.reproductions.scores import EPISODES, MEASURES
from scripts.reproductions.status import Job, Seen, told

FILE = "RESULT.json"
PUBLIC = ROOT / "docs" / "results"
ACTIONS = {False: "actions drawn from the policy", True: "the policy's best actions"}
INTERVAL = "95%, bootstrap over seeds and their episodes, 2000 resamples; of a single seed's success Wilson's"
_Y_LABELS = {
    "success": f"success rate, latest {WINDOW} episodes",
    "episode_return": f"return, mean of up to {WINDOW} latest episodes",
    "eval/return_mean": "return in unseen tasks, last episode of a trial",
    "eval/probe": "share of the tasks' variance read off beliefs",
}
HELD, FAILED, OPEN = "held", "not reproduced", "not run yet"


def judged(claim: Claim, table: Table, seen: dict[str, list[Seed]]) -> dict[str, Any]:
    """Whether a claim held: the lower end of one interval above the upper ends of the others, and at least `least`.

    Where means are compared it is the mean that must not be below theirs. While a seed of any of them is missing
    nothing is said.
    """
    labels = (claim.of, *claim.over)
    missing = [label for label in labels if not all(seed.score for seed in seen[label])]
    found = {label: told(table, seen[label]).get(claim.measure) for label in labels}
    verdict: dict[str, Any] = {"claim": claim.text, "measure": claim.measure, "of": claim.of, "over": list(claim.over)}
    verdict |= {"least": claim.least, "compares": "means" if claim.means else "intervals"}
    verdict |= {"missing": missing, "intervals": {}, "means": {}}
    if missing or None in found.values():
        return verdict | {"verdict": OPEN}
    intervals = {label: value["interval"] for label, value in found.items() if value}
    means = {label: value["mean"] for label, value in found.items() if value}
    low = means[claim.of] if claim.means else intervals[claim.of][0]
    if claim.means:
        above = all(low >= means[label] for label in claim.over)
    else:
        above = all(low > intervals[label][1] for label in claim.over)
    enough = claim.least is None or low >= claim.least
    held = HELD if above and enough else FAILED
    return verdict | {"intervals": intervals, "means": means, "verdict": held}


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
        "measure": f"{EPISODES} seeded episodes per seed, {ACTIONS[job.plan.greedy]}, last checkpoint",
        "measures": MEASURES,
        "interval": INTERVAL,
        "solved": f"first step at which the latest episodes of training succeeded {SOLVED:.0%} of the time",
        "coverage": {"levels": coverage.LEVELS, "episodes on each": coverage.EPISODES},
        "commit": distinct([score["commit"] for score in scores]),
        "hardware": distinct([score["hardware"] for score in scores]),
        "packages": distinct([score["packages"] for score in scores]),
        "tables": {
            key: _table(table, seen[key]) for key, table in job.plan.tables.items() if begun(job.plan, key, seen)
        },
        "studies": {name: about for name in job.plan.studies if (about := studies.found(job.out, name))},
    }


def begun(plan: Plan, name: str, seen: Seen) -> bool:
    """Whether a table has a finished run of its own, or all of its runs: a few of another table's make none."""
    runs = [(plan.home(trial)[:2], seed) for trial in plan.tables[name].trials for seed in seen[name][trial.label]]
    return any(seed.score and home == ("", name) for home, seed in runs) or all(seed.score for _, seed in runs)


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
            **told(table, seen[trial.label]),
            "changed": trial.options,
            "options": last["options"] if last else None,
        }
    about = {"doc": table.doc, "measure": table.measure}
    about |= {"constraint": table.constraint._asdict()} if table.constraint else {}
    return {**about, "claims": [judged(claim, table, seen) for claim in table.claims], "trials": trials}


def distinct(values: list[Any]) -> Any:
    """The values without their repetitions; if all are equal, that one alone."""
    found = [value for at, value in enumerate(values) if value not in values[:at]]
    return found[0] if len(found) == 1 else found


def draw(plan: Plan, seen: Seen, out: Path) -> list[Path]:
    """For each table that has begun a picture of each task while learning, and where steps have a cost one of both."""
    pictures = []
    for name, table in plan.tables.items():
        if not begun(plan, name, seen):
            continue
        tasks = list(dict.fromkeys(trial.task for trial in table.trials))
        for task in tasks:
            trials = [trial for trial in table.trials if trial.task == task]
            short = f"_{task.removeprefix('MiniGrid-')}" if len(tasks) > 1 else ""
            for number, metric in enumerate(table.curves or (curve_of(table),)):
                groups = learned(trials, metric, seen[name])
                if not groups:
                    continue
                picture = curves(
                    groups,
                    out / f"{name}{short}{'_' + metric.rpartition('/')[2] if number else ''}.png",
                    x_label="environment steps",
                    y_label=_Y_LABELS[metric],
                    title=f"{task} while learning",
                    smooth=3,
                )
                pictures.append(picture)
        if table.constraint:
            pictures += balance(name, table, seen[name], out)
    return pictures


def balance(name: str, table: Table, seen: dict[str, list[Seed]], out: Path) -> list[Path]:
    """Return against cost, with what is allowed; nothing before the first run has ended."""
    assert table.constraint is not None
    found = {trial.label: told(table, seen[trial.label]) for trial in table.trials}
    spots = {
        label: Spot(
            *(
                axis
                for measure in ("cost", "return_mean")
                for axis in (each[measure]["mean"], each[measure]["interval"])
            )
        )
        for label, each in found.items()
        if "cost" in each
    }
    if not spots:
        return []
    drawn = spread(
        spots,
        out / f"{name}_balance.png",
        x_label="mean cost of an episode's steps",
        y_label="mean return",
        title=f"{table.trials[0].task}: return against violation",
        limit=table.constraint.beta,
        limit_label="allowed",
    )
    return [drawn]


def learned(trials: list[Trial], metric: str, seen: dict[str, list[Seed]]) -> dict[str, list[Curve]]:
    """A metric of the finished seeds of each trial while they learned."""
    groups = {}
    for trial in trials:
        rows = [learning(seed.folder, metric) for seed in seen[trial.label] if seed.score]
        found = [[(row["step"], row[metric]) for row in each] for each in rows if each]
        if found:
            groups[trial.label] = [Curve(*np.asarray(points, float).T) for points in found]
    return groups


def curve_of(table: Table) -> str:
    """The metric of training that the table's pictures show."""
    return "success" if table.measure in ("success", *coverage.MEASURES) else "episode_return"


def publish(result: dict[str, Any], out: Path, where: Path = PUBLIC) -> list[Path]:
    """Copies a result and its pictures, which are in `out`, to the project's results."""
    names = {FILE: f"{result['name']}.json"} | {name: f"{result['name']}_{name}" for name in result["pictures"]}
    where.mkdir(parents=True, exist_ok=True)
    return [Path(shutil.copyfile(out / name, where / public)) for name, public in names.items()]
