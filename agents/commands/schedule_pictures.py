"""The schedules that a search found: as curves, as a file to play again, and beside what they brought."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from agents.commands.figure import Curve, curves, smoothed

if TYPE_CHECKING:
    from agents.auxiliary.search.autombpo import Config
    from agents.auxiliary.tool import Outcome
    from agents.training.trials import Task


_STEPS = "environment steps since learning began"


def knobs(config: "Config", task: "Task", outcomes: list["Outcome"]) -> dict[str, np.ndarray]:
    """What was decided in each run: `real_ratio`, `ratio` (updates for each step), `horizon`, `fit`, all `[runs, D]`.

    Where the controller does not fit the model, `fit` is the agent's own rhythm.
    """
    import jax

    from agents.auxiliary.search.autombpo import Log, acting, replayed

    size = min(int(each.log["size"]) for each in outcomes)
    logs = [Log(*(each.log[name] for name in Log._fields)) for each in outcomes]
    fits, settings = zip(*(jax.device_get(replayed(config, log)) for log in logs), strict=True)
    fit = np.stack(fits)[:, :size]
    if "model" not in acting(config):
        steps = np.arange(size) * config.decide_every
        fit = np.tile(_due(steps, config.decide_every, task.options["fit_every"]), (len(outcomes), 1))
    return {
        "real_ratio": np.stack([each.real_ratio for each in settings])[:, :size],
        "ratio": np.stack([each.updates for each in settings])[:, :size],
        "horizon": np.stack([each.horizon for each in settings])[:, :size],
        "fit": fit.astype(np.float32),
    }


def _due(steps: np.ndarray, each: int, every: int) -> np.ndarray:
    """Whether a multiple of `every` was reached in the `each` steps before; with 0 at the first alone."""
    return steps // every > (steps - each) // every if every else steps == 0


def exported(config: "Config", task: "Task", turned: dict[str, np.ndarray]) -> dict[str, Any]:
    """The mean schedule of the runs, for `mbpo` to play again.

    Whole numbers are rounded, and the model is fitted at the decisions by which the mean number of fits so far has
    reached the next whole one, the first of them right away.
    """
    share = turned["fit"].mean(0)
    # Of shares such as 0.1 ten make a little less or more than 1.
    so_far = np.ceil(np.round(np.cumsum(share), 4))
    mean = {name: values.mean(0) for name, values in turned.items()}
    return {
        "knobs": {
            "real_ratio": mean["real_ratio"].tolist(),
            "ratio": np.maximum(1, np.round(mean["ratio"])).astype(int).tolist(),
            "horizon": np.maximum(1, np.round(mean["horizon"])).astype(int).tolist(),
            "fit": np.diff(so_far, prepend=0).astype(int).tolist(),
        },
        "every": config.decide_every,
        "steps": task.steps,
    }


def draw(
    folder: Path,
    config: "Config",
    task: "Task",
    stages: list[list["Outcome"]],
    best: int,
    base: np.ndarray,
    turned: dict[str, np.ndarray],
) -> list[Path]:
    """Three pictures: hyper-return by stage, returns against plain MBPO's, and the best controller's knobs."""
    from agents.auxiliary.search.autombpo import acting

    place = f"{task.env}, {len(stages)} stages"
    at, count = np.arange(1, len(stages) + 1) * max(map(len, stages)), min(map(len, stages))
    scores = [Curve(at, np.asarray([stage[run].score for stage in stages])) for run in range(count)]
    pictures = [
        curves(
            {"hyper-return": scores},
            folder / "hyper_return.png",
            x_label="runs of MBPO so far",
            y_label="sum of rewards of a run",
            title=f"{place}: what the controller earned",
        )
    ]
    groups = {
        "plain MBPO": base[:, : _returns(stages[best]).shape[1]],
        "first stage": _returns(stages[0]),
        f"best stage, {best + 1}": _returns(stages[best]),
    }
    if best == 0:
        del groups["first stage"]
    pictures.append(
        curves(
            {label: [_by_epoch(row, config.epoch) for row in rows] for label, rows in groups.items()},
            folder / "returns.png",
            x_label=_STEPS,
            y_label="mean return of an epoch's episodes",
            title=f"{place}: the best controller and plain MBPO",
        )
    )
    steps = np.arange(turned["fit"].shape[1]) * config.decide_every
    shown = {
        "model": ("fits, of all decisions", turned["fit"]),
        "ratio": ("share of real data", turned["real_ratio"]),
        "policy": (f"updates, of {config.most_updates}", turned["ratio"] / config.most_updates),
        "rollout": (f"model steps, of {config.most_horizon}", turned["horizon"] / config.most_horizon),
    }
    drawn = {label: [Curve(steps, row) for row in rows] for label, rows in (shown[knob] for knob in acting(config))}
    if "model" in acting(config):  # fit or not is all or nothing, and reads as a share of an epoch's decisions
        label = shown["model"][0]
        drawn[label] = [smoothed(curve, config.epoch // config.decide_every) for curve in drawn[label]]
    pictures.append(
        curves(
            drawn,
            folder / "knobs.png",
            x_label=_STEPS,
            y_label="share of the most there is",
            title=f"{place}: the schedule of the best controller",
        )
    )
    return pictures


def _returns(outcomes: list["Outcome"]) -> np.ndarray:
    """Returns of each epoch, `[runs, E]`."""
    return np.stack([each.log["returns"] for each in outcomes])


def _by_epoch(returns: np.ndarray, epoch: int) -> Curve:
    return Curve((1 + np.arange(len(returns))) * epoch, returns)
