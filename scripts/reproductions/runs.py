"""The runs of a reproduction on disk: what is done, what is left, and one seed taken to its end and scored once.

OUT/TABLE/LABEL/seed-K/              a run's ordinary folder
OUT/TABLE/LABEL/seed-K/score.json    what its last checkpoint scored; with it the seed is finished
"""

import functools
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from envs.errors import UsageError
from scripts.benchmarks.benchmark import ROOT
from scripts.reproductions import peers, scores
from scripts.reproductions.plan import Plan, Trial, resolved
from scripts.reproductions.scores import EPISODES, Asked

SCORE = "score.json"
SOLVED = 0.8  # the success rate while learning whose first step is kept


class Seed(NamedTuple):
    """One run: where it is, how far it got, and its score once it is finished."""

    folder: Path
    number: int
    step: int
    score: dict[str, Any] | None


def look(plan: Plan, out: Path, trial: Trial, seeds: int) -> list[Seed]:
    """Where each seed of a trial stands; `out` is the folder of the plan, beside those of the plans that lend it runs.

    Raises:
      UsageError: where a score belongs to another trial than the plan's.
    """
    home = plan.home(trial)
    # NAME-BUDGET, and -SHARE where it is a part: a lender's folder differs in the name alone.
    folder = out.with_name(f"{home.paper}-{out.name.partition('-')[2]}") if home.paper else out
    return [_look(folder / home.table / home.label / f"seed-{number}", number, trial) for number in range(seeds)]


def _look(folder: Path, number: int, trial: Trial) -> Seed:
    from agents.training.provenance import plain

    if not (folder / SCORE).exists():
        return Seed(folder, number, _reached(folder), None)
    score = json.loads((folder / SCORE).read_text(encoding="utf-8"))
    mine, scored = plain(trial._asdict()), {**plain(trial._field_defaults), **score["trial"]}
    for name, value in mine.items():
        if name != "label" and scored[name] != value:
            raise UsageError(
                f"{folder} was scored with {name} {scored[name]}, and the plan has {value}: "
                "remove the folder, or take another --out."
            )
    return Seed(folder, number, score["steps"], score)


def _reached(folder: Path) -> int:
    """The step from which a run would go on."""
    from agents.training import checkpoints

    newest = checkpoints.latest(folder / "checkpoints", warn=lambda _: None) if folder.exists() else None
    return checkpoints.read_meta(newest)["step"] if newest else 0


def finish(seed: Seed, trial: Trial, asked: Asked, quiet: bool) -> dict[str, Any]:
    """Trains a seed to its end, from its last checkpoint if there is one, scores it, and writes the score.

    Raises:
      UsageError: where something of the trial is not there, or the folder holds another run.
      KeyboardInterrupt: after Ctrl-C; the run is saved.
    """
    from agents.training.provenance import plain, write_json

    began = time.monotonic()
    found = _peer(seed, trial) if trial.peer else _own(seed, trial, asked, quiet)
    rate = {"steps": found["steps"] - seed.step, "seconds": time.monotonic() - began}
    score = {"trial": plain(trial._asdict()), "seed": seed.number, **found, "rate": rate}
    write_json(seed.folder / SCORE, score)
    return score


def _own(seed: Seed, trial: Trial, asked: Asked, quiet: bool) -> dict[str, Any]:
    """What one of our agents scores once it is trained."""
    import agents
    from agents.training import checkpoints, saved
    from envs import wrappers

    env = environment(trial.task, trial.backend, json.dumps(trial.env_options))
    wrapper = wrappers.parse(trial.wrap, **trial.wrap_options)
    agent = agents.make(trial.agent, wrapper.spec(env.spec), **resolved(trial))
    run = agents.train(
        agent,
        env,
        steps=trial.steps,
        seed=seed.number,
        wrap=trial.wrap,
        wrap_options=trial.wrap_options,
        out=seed.folder,
        preset=trial.preset,
        data=str(ROOT / trial.data) if trial.data else "",
        resume=True,
        eval_every=trial.evaluate_every,
        eval_episodes=EPISODES,
        quiet=quiet,
        tensorboard=False,
    )
    (result,) = run.results
    path = checkpoints.latest(seed.folder / "checkpoints")
    assert path is not None  # a run that ended has saved
    return {
        "steps": result["steps"],
        **scores.of(saved.read(path, agent, env, wrapper), asked),
        "steps_to_solved": steps_to_solved(seed.folder),
        "while_learning": while_learning(seed.folder),
        "options": result["options"],
        "commit": result["provenance"]["commit"],
        "packages": result["provenance"]["packages"],
        "hardware": result["provenance"]["hardware"],
    }


def _peer(seed: Seed, trial: Trial) -> dict[str, Any]:
    """What another library's agent scores once it is trained, which begins anew after a stop."""
    from agents.training.provenance import commit, hardware

    found = peers.train(trial.peer, trial.task, trial.steps, seed.number, EPISODES)
    seed.folder.mkdir(parents=True, exist_ok=True)
    about = {"commit": commit(ROOT), "hardware": hardware()}
    return {"steps": trial.steps, "success": None, "steps_to_solved": None, **found, **about}


@functools.lru_cache(maxsize=2)  # the trials of a table share the levels that were drawn for its task
def environment(task: str, backend: str, options: str) -> Any:
    """The environment of a trial; its options as JSON."""
    import envs

    return envs.make(task, backend=backend or None, **json.loads(options))


def steps_to_solved(folder: Path) -> int | None:
    """The first step at which training's latest episodes succeeded as often as `SOLVED`; None if they never did."""
    return next((int(row["step"]) for row in learning(folder) if row["success"] >= SOLVED), None)


def while_learning(folder: Path) -> dict[str, float]:
    """The mean over a run's evaluations of their mean return and, where they have one, of their probe.

    `trained` is the mean return of the latest episodes of training at its end, of all if they were few.
    """
    names = {"return_mean": "eval/return_mean", "probe": "eval/probe"}
    found = {name: [row[metric] for row in learning(folder, metric)] for name, metric in names.items()}
    found["trained"] = [row["episode_return"] for row in learning(folder, "episode_return")[-1:]]
    return {name: float(np.mean(values)) for name, values in found.items() if values}


def learning(folder: Path, metric: str = "success") -> list[dict[str, Any]]:
    """The lines of a run's metrics with a metric, and none of a peer's run.

    Averages over training's latest episodes are left out before their window is full; evaluations are whole.
    """
    from agents.training.learner import WINDOW
    from agents.training.metrics import FILE, read

    # The first episodes to end are the short ones, which are those that succeed. Where all are of one length, as in
    # control, the first are as good as the last.
    rows = read(folder) if (folder / FILE).exists() else []
    least = WINDOW if metric == "success" else 1
    whole = metric.startswith("eval/")
    return [row for row in rows if metric in row and (whole or row.get("episodes", 0) >= least)]
