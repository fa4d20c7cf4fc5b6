"""The runs of a reproduction on disk: what is done, what is left, and one seed taken to its end and scored once.

OUT/TABLE/LABEL/seed-K/              a run's ordinary folder
OUT/TABLE/LABEL/seed-K/score.json    what its last checkpoint scored; with it the seed is finished
"""

import functools
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from envs.errors import UsageError
from scripts.reproductions.plan import Plan, Trial, resolved

if TYPE_CHECKING:
    from agents.training.saved import Saved

SCORE = "score.json"
EPISODES = 100  # of a score
SEED = 1000  # of a score's episodes, the same for every run
SOLVED = 0.8  # the success rate while learning whose first step is kept


class Seed(NamedTuple):
    """One run: where it is, how far it got, and its score once it is finished."""

    folder: Path
    number: int
    step: int
    score: dict[str, Any] | None


def look(plan: Plan, out: Path, trial: Trial, seeds: int) -> list[Seed]:
    """Where each seed of a trial stands.

    Raises:
      UsageError: where a score belongs to another trial than the plan's.
    """
    return [_look(out / plan.home(trial) / trial.label / f"seed-{number}", number, trial) for number in range(seeds)]


def _look(folder: Path, number: int, trial: Trial) -> Seed:
    from agents.training.provenance import plain

    if not (folder / SCORE).exists():
        return Seed(folder, number, _reached(folder), None)
    score = json.loads((folder / SCORE).read_text(encoding="utf-8"))
    mine = plain(trial._asdict())
    for name, value in mine.items():
        if score["trial"].get(name) != value:
            raise UsageError(
                f"{folder} was scored with {name} {score['trial'].get(name)}, and the plan has {value}: "
                "remove the folder, or take another --out."
            )
    return Seed(folder, number, score["steps"], score)


def _reached(folder: Path) -> int:
    """The step from which a run would go on."""
    from agents.training import checkpoints

    newest = checkpoints.latest(folder / "checkpoints", warn=lambda _: None) if folder.exists() else None
    return checkpoints.read_meta(newest)["step"] if newest else 0


def finish(seed: Seed, trial: Trial, covers: bool, quiet: bool) -> dict[str, Any]:
    """Trains a seed to its end, from its last checkpoint if there is one, scores it, and writes the score.

    Raises:
      UsageError: where something of the trial is not there, or the folder holds another run.
      KeyboardInterrupt: after Ctrl-C; the run is saved.
    """
    import agents
    from agents.training import checkpoints, saved
    from agents.training.provenance import plain, write_json
    from envs import wrappers

    began = time.monotonic()
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
        resume=True,
        quiet=quiet,
        tensorboard=False,
    )
    (result,) = run.results
    path = checkpoints.latest(seed.folder / "checkpoints")
    assert path is not None  # a run that ended has saved
    score = {
        "trial": plain(trial._asdict()),
        "seed": seed.number,
        "steps": result["steps"],
        **scores(saved.read(path, agent, env, wrapper), covers),
        "steps_to_solved": steps_to_solved(seed.folder),
        "rate": {"steps": result["steps"] - seed.step, "seconds": time.monotonic() - began},
        "options": result["options"],
        "commit": result["provenance"]["commit"],
        "packages": result["provenance"]["packages"],
        "hardware": result["provenance"]["hardware"],
    }
    write_json(seed.folder / SCORE, score)
    return score


@functools.lru_cache(maxsize=2)  # the trials of a table share the levels that were drawn for its task
def environment(task: str, backend: str, options: str) -> Any:
    """The environment of a trial; its options as JSON."""
    import envs

    return envs.make(task, backend=backend or None, **json.loads(options))


def scores(saved: "Saved", covers: bool) -> dict[str, Any]:
    """What a saved run scores: of every episode its return, length and success, and its coverage if that is asked."""
    from agents.training.evaluation import Evaluator

    evaluator = Evaluator(saved.agent, saved.env, saved.wrapper, episodes=EPISODES, greedy=False)
    found = evaluator(saved.state, saved.wrapper_state, SEED)
    score = {
        "returns": found.returns.tolist(),
        "lengths": found.lengths.tolist(),
        "success": None if found.success is None else found.success.astype(int).tolist(),
    }
    if covers:
        from scripts.reproductions.coverage import measure

        score["coverage"] = measure(saved, SEED)
    return score


def steps_to_solved(folder: Path) -> int | None:
    """The first step at which training's latest episodes succeeded as often as `SOLVED`; None if they never did."""
    return next((int(row["step"]) for row in learning(folder) if row["success"] >= SOLVED), None)


def learning(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics whose success rate is that of a full window of episodes."""
    from agents.training.learner import WINDOW
    from agents.training.metrics import read

    # The first episodes to end are the short ones, which are those that succeed.
    return [row for row in read(folder) if row.get("episodes", 0) >= WINDOW and "success" in row]
