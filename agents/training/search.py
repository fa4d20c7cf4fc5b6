"""A search stage by stage: asks for proposals, has them tried, keeps every trial on disk, and tells what came of them.

    OUT/search.json                   what is searched for and how, so that only the same search goes on
    OUT/trials/STAGE-RUN/trial.json   the score of a trial
    OUT/trials/STAGE-RUN/log.npz      its log
    OUT/stages/                       the search's state after the latest stages

A search that was killed goes on in the stage where it was, with those of its trials that are on disk.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from agents.auxiliary.tool import Outcome, Search
from agents.training import checkpoints
from agents.training.lock import alone
from agents.training.provenance import plain, write_json
from envs.contract import PyTree
from envs.errors import UsageError

NOTES = "search.json"


class Job(NamedTuple):
    """A trial to make.

    Attributes:
      stage: its stage.
      run: its place in the stage.
      proposal: what to try.
      budget: how long, in environment steps.
      key: its key.
    """

    stage: int
    run: int
    proposal: dict[str, Any]
    budget: int
    key: jax.Array


Trials = Callable[[list[Job]], Iterable[tuple[Job, Outcome]]]


def one_by_one(trial: Callable[[dict[str, Any], int, jax.Array], Outcome]) -> Trials:
    """Trials made one after the other by `trial(proposal, budget, key)`."""
    return lambda jobs: ((job, trial(job.proposal, job.budget, job.key)) for job in jobs)


def claim(out: str | os.PathLike[str], notes: Mapping[str, Any], free: Sequence[str] = ()) -> Path:
    """Makes a folder this search's own, or makes sure that it is; the notes named in `free` may differ.

    Raises:
      UsageError: where the folder holds another search.
    """
    folder, mine = Path(out), plain(notes)
    file = folder / NOTES
    if file.exists():
        theirs = json.loads(file.read_text(encoding="utf-8"))
        for name in sorted((theirs.keys() | mine.keys()) - set(free)):
            if theirs.get(name) != mine.get(name):
                was, now = _apart(theirs.get(name), mine.get(name))
                raise UsageError(f"{folder} holds a search with {name} {was}, not {now}: take another --out.")
    write_json(file, mine)
    return folder


def search(
    method: Search,
    trials: Trials,
    folder: Path,
    *,
    stages: int,
    runs: int,
    budget: int,
    seed: int,
    watch: Callable[[int, list[Outcome]], None] = lambda stage, outcomes: None,
) -> PyTree:
    """Runs a search to its end, from where its folder says that it was, and returns its state.

    Args:
      method: a member of the door `search`.
      trials: makes trials and gives each as soon as it is done, in any order.
      folder: from `claim`.
      stages: how many in all.
      runs: trials of each stage.
      budget: what each trial may take, in environment steps.
      seed: seed of everything random.
      watch: told `(stage, outcomes)` after every stage, those that were made before included.

    Raises:
      UsageError: where another process holds the folder, or the trials of a stage leave nothing to learn from.
      KeyboardInterrupt: after Ctrl-C, with a sentence on how to go on.
    """
    init_key, ask_key, trial_key, tell_key = jax.random.split(jax.random.key(seed), 4)
    state, done = method.init(init_key), 0
    with alone([folder]):
        if newest := checkpoints.latest(folder / "stages"):
            state, notes = checkpoints.load(newest, state)
            done = notes["stages"]
        for stage, outcomes in enumerate(history(folder)[:done]):
            watch(stage, outcomes)
        for stage in range(done, stages):
            state, proposals = method.ask(jax.random.fold_in(ask_key, stage), state, runs)
            keys = [jax.random.fold_in(trial_key, stage * runs + run) for run in range(runs)]
            jobs = [Job(stage, run, proposals[run], budget, keys[run]) for run in range(runs)]
            try:
                outcomes = _tried(trials, jobs, folder)
            except KeyboardInterrupt:
                raise KeyboardInterrupt(
                    f"stopped in stage {stage + 1} of {stages}; the same command goes on in {folder}."
                ) from None
            state = method.tell(jax.random.fold_in(tell_key, stage), state, proposals, outcomes)
            checkpoints.save(folder / "stages", stage + 1, state, {"stages": stage + 1}, keep=2)
            watch(stage, outcomes)
    return state


def history(folder: Path) -> list[list[Outcome]]:
    """The trials on disk, by stage and run; a stage may be the last and not whole."""
    found: dict[int, list[Outcome]] = {}
    for path in sorted((folder / "trials").glob("*-*[0-9]")):
        found.setdefault(int(path.name.partition("-")[0]), []).append(_read(path))
    return [found[stage] for stage in sorted(found)]


def _tried(trials: Trials, jobs: list[Job], folder: Path) -> list[Outcome]:
    """The outcomes of a stage, those read that are on disk, and the others made and written."""
    places = {job.run: folder / "trials" / f"{job.stage:03d}-{job.run:03d}" for job in jobs}
    found = {run: _read(path) for run, path in places.items() if path.exists()}
    if missing := [job for job in jobs if job.run not in found]:
        for job, outcome in trials(missing):
            _write(places[job.run], job, outcome)
            found[job.run] = outcome
    return [found[job.run] for job in jobs]


def _write(path: Path, job: Job, outcome: Outcome) -> None:
    """A trial's folder, moved into place once it is whole."""
    temporary = path.with_name(f"{path.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    key = jax.random.key_data(job.key)
    notes = {"stage": job.stage, "run": job.run, "budget": job.budget, "key": key, "score": float(outcome.score)}
    # What is a number or a short row of them is read by people too.
    notes |= {name: value for name, value in outcome.log.items() if np.ndim(value) == 0 or name == "returns"}
    write_json(temporary / "trial.json", notes)
    np.savez(temporary / "log.npz", **{name: np.asarray(value) for name, value in outcome.log.items()})  # type: ignore[arg-type]
    os.replace(temporary, path)


def _read(path: Path) -> Outcome:
    try:
        notes = json.loads((path / "trial.json").read_text(encoding="utf-8"))
        with np.load(path / "log.npz", allow_pickle=False) as stored:
            return Outcome(float(notes["score"]), {name: stored[name] for name in stored.files})
    except Exception as error:  # JSON and zip files fail in many ways
        raise UsageError(
            f"the trial in {path} cannot be read ({error}): remove its folder to have it made anew."
        ) from error


def _apart(theirs: Any, mine: Any) -> tuple[Any, Any]:
    """Two values that differ, down to the first entry in which they do."""
    if isinstance(theirs, dict) and isinstance(mine, dict):
        for name in sorted(theirs.keys() | mine.keys()):
            if theirs.get(name) != mine.get(name):
                was, now = _apart(theirs.get(name), mine.get(name))
                return f"{name} {was}", f"{name} {now}"
    return theirs, mine
