"""What a trained policy scores, and what several seeds of a trial scored together."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from scripts.reproductions import coverage
from scripts.reproductions.plan import Constraint

if TYPE_CHECKING:
    from agents.training.saved import Saved

EPISODES = 100  # of a score
SEED = 1000  # of a score's episodes, the same for every run
MEASURES = {
    "success": "share of the episodes that succeed",
    "return_mean": "mean return",
    "cost": "mean cost of an episode's steps",
    "overshoot": "how far the mean cost is above what is allowed",
    "penalised": "mean return less kappa times the overshoot",
    "learned": "mean return of the evaluations while learning",
    "trained": "mean return of the latest episodes of training, up to 128, at its end",
    "probe": "share of the tasks' variance that a linear probe reads off the agent's beliefs",
    "probed": "the same, mean over the evaluations while learning",
    **coverage.MEASURES,
}


class Asked(NamedTuple):
    """How runs are scored: with the policy's best actions or with actions drawn from it, and whether visits count."""

    greedy: bool = False
    covers: bool = False


def of(saved: "Saved", asked: Asked) -> dict[str, Any]:
    """What a saved run scores: of every episode its return, length, success and cost, and its coverage if asked."""
    from agents.training.evaluation import Evaluator

    evaluator = Evaluator(saved.agent, saved.env, saved.wrapper, episodes=EPISODES, greedy=asked.greedy)
    found = evaluator(saved.state, saved.wrapper_state, SEED)
    score = {
        "returns": found.returns.tolist(),
        "lengths": found.lengths.tolist(),
        "success": None if found.success is None else found.success.astype(int).tolist(),
    }
    if "probe" in found.scores:
        score["probe"] = found.scores["probe"].tolist()
    if "cost" in found.scores:
        score["costs"] = found.scores["cost"].tolist()
    if asked.covers:
        score["coverage"] = coverage.measure(saved, SEED)
    return score


def summary(scored: Sequence[dict[str, Any] | None], constraint: Constraint | None = None) -> dict[str, Any]:
    """The means of a trial's finished seeds, each with its interval `[low, high]`; empty before the first."""
    from agents.training.statistics import interval, wilson

    done = [score for score in scored if score]
    if not done:
        return {}
    found: dict[str, Any] = {}
    for name, values in columns(done, constraint).items():
        if None in values:
            continue
        table = np.asarray(values, float)
        alone = name == "success" and len(table) == 1
        bounds = wilson(int(table.sum()), table.size) if alone else interval(table, np.mean)
        found[name] = {"mean": float(table.mean()), "interval": list(bounds), "per_seed": table.mean(1).tolist()}
    found["length"] = float(np.mean([score["lengths"] for score in done]))
    found["steps_to_solved"] = [score["steps_to_solved"] for score in done]
    return found


def columns(done: Sequence[dict[str, Any]], constraint: Constraint | None) -> dict[str, list[Any]]:
    """Of each measure what every seed scored in its episodes, or once where it is about all of them together."""
    found = {"success": [score["success"] for score in done], "return_mean": [score["returns"] for score in done]}
    # A trial that another table shares may have more measures than this one asks for, or its first seeds fewer.
    for name in coverage.MEASURES:
        found[name] = [score.get("coverage", {}).get(name) for score in done]
    found["probe"] = [score.get("probe") for score in done]
    for name, at in (("learned", "return_mean"), ("trained", "trained"), ("probed", "probe")):
        whole = [score.get("while_learning", {}).get(at) for score in done]
        found[name] = [None if value is None else [value] for value in whole]
    found["cost"] = [score.get("costs") for score in done]
    if constraint and None not in found["cost"]:
        # Of expectations, not of single episodes: one that costs more may be made up for by another.
        over = [[max(0.0, float(np.mean(score["costs"])) - constraint.beta)] for score in done]
        returns = [float(np.mean(score["returns"])) for score in done]
        found["overshoot"] = over
        found["penalised"] = [[r - constraint.kappa * psi] for r, (psi,) in zip(returns, over, strict=True)]
    return found
