"""How trained agents adapt to tasks that were kept apart: returns over a trial, and beliefs about the tasks."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from agents.training.evaluation import Evaluator
from agents.training.statistics import interval
from envs.errors import UsageError


class Adaptation(NamedTuple):
    """What the seeds of one run did in `N` tasks, in trials of `E` episodes.

    Attributes:
      agent: its name.
      env: the family's id.
      step: environment steps it was trained for.
      returns: `[seeds, N * repeats, E]`.
      success: the same of successes, 0 or 1, None where the family reports none.
      beliefs: `[repeats, N, D]` of the first seed, None for an agent without.
      tasks: `[N, k]`, the tasks' parameters, None where there are no beliefs.
      probe: how well beliefs tell tasks linearly, of each seed, empty where there are too few tasks.
    """

    agent: str
    env: str
    step: int
    returns: np.ndarray
    success: np.ndarray | None
    beliefs: np.ndarray | None
    tasks: np.ndarray | None
    probe: list[float]


def adapt(run: str | Path, *, tasks: int, repeats: int, seed: int, checkpoint: str, greedy: bool = True) -> Adaptation:
    """Plays trials of every seed of a run in up to `tasks` of its family's tasks for evaluation, `repeats` times.

    Raises:
      UsageError: where the folder holds no run, or one of a single task.
    """
    from agents.training.saved import open_run, seed_folders

    returns, successes, beliefs, probes = [], [], [], []
    first: Any = None
    for folder in seed_folders(run):
        saved = open_run(folder, checkpoint)
        trial = saved.env.spec.trial
        if not trial:
            raise UsageError(f"{saved.env.spec.id} is a single task, and adapting needs a family of them.")
        evaluator = Evaluator(saved.agent, saved.env, saved.wrapper, episodes=tasks, greedy=greedy)
        found = [evaluator(saved.state, saved.wrapper_state, seed + number) for number in range(repeats)]
        returns.append(np.concatenate([_trial(each.scores, "return", trial) for each in found]))
        if found[0].success is not None:
            successes.append(np.concatenate([_trial(each.scores, "success", trial) for each in found]))
        if "probe" in found[0].scores:
            probes.append(float(np.mean([each.scores["probe"].mean() for each in found])))
        if first is None:
            first = saved, found
            beliefs = [each.beliefs for each in found if each.beliefs is not None]
    saved, found = first
    return Adaptation(
        agent=saved.agent.name,
        env=saved.env.spec.id,
        step=saved.step,
        returns=np.stack(returns),
        success=np.stack(successes) if successes else None,
        beliefs=np.stack(beliefs) if beliefs else None,
        tasks=found[0].tasks,
        probe=probes,
    )


def _trial(scores: dict[str, np.ndarray], name: str, trial: int) -> np.ndarray:
    return np.stack([scores[f"{name}_{turn + 1}"] for turn in range(trial)], -1)


def over_episodes(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and 95% interval over seeds and their tasks of each episode: three `[E]` of `[seeds, tasks, E]`."""
    bounds = [interval(values[:, :, turn], np.mean) for turn in range(values.shape[-1])]
    return values.mean((0, 1)), np.array([low for low, _ in bounds]), np.array([high for _, high in bounds])


def plane(beliefs: np.ndarray) -> tuple[np.ndarray, float]:
    """Beliefs `[..., D]` on their two principal axes, `[..., 2]`, and the share of the variance in these."""
    flat = beliefs.reshape(-1, beliefs.shape[-1]).astype(np.float64)
    flat = flat - flat.mean(0)
    _, sizes, axes = np.linalg.svd(flat, full_matrices=False)
    shown = flat @ axes[:2].T
    if shown.shape[1] < 2:
        shown = np.concatenate([shown, np.zeros((len(shown), 1))], 1)
    share = float((sizes[:2] ** 2).sum() / max(float((sizes**2).sum()), 1e-12))
    return shown.reshape(*beliefs.shape[:-1], 2), share
