"""`plot RUN [RUN ...]`: draws a metric of several runs into one figure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agents.commands.figure import Curve, Spot, curves, spread
from agents.commands.output import emit
from agents.commands.parser import Parser, configured
from agents.config import require
from envs.errors import UsageError, nearest

Rows = list[dict[str, float]]

_LABELS = {
    "step": "environment steps",
    "update": "updates",
    "episode_return": "episode return",
    "episode_length": "episode length (steps)",
    "success": "success rate",
    "cost": "mean cost of an episode's steps",
    "entropy": "policy entropy (nats)",
    "eval/success": "success rate in evaluation",
    "eval/return_mean": "mean return in evaluation",
    "eval/return_iqm": "interquartile mean of return in evaluation",
    "clock/seconds": "wall-clock time (s)",
}
_SPREAD = "means at the end of training; the crosses span the lowest to the highest seed"


@dataclass(frozen=True)
class Config:
    """Options of a figure."""

    metric: str = "return"
    """What to draw: return, success, length, loss, or another name out of the runs' metrics."""
    x: str = "step"
    """What to draw it over: step, update or seconds."""
    against: str = ""
    """Draw one spot for each run instead: the last metric against the last of this one, such as cost."""
    out: str = "figure.png"
    """The picture to write, .png, .pdf or .svg."""
    smooth: int = 1
    """Points averaged around each point."""
    title: str = ""
    """The line above; the metric's name if empty."""

    def __post_init__(self):
        require(self.smooth > 0, "smooth", self.smooth, "above 0")


def run(argv: Sequence[str]) -> None:
    """Parses, draws and says where the figure is."""
    parser = Parser("plot", "RUN [RUN ...] [options]", "Draws a metric of several runs into one figure.")
    parser.add("figure", Config)
    found = parser.parse(argv, words="the folders of one or more runs, such as runs/rooms")
    config = configured(Config, found)
    groups = {label: read(folder) for label, folder in labels(found["words"]).items()}
    known = {name for seeds in groups.values() for rows in seeds for row in rows for name in row}
    metric, x = resolve(config.metric, known), resolve(config.against or config.x, known)
    x_label, y_label = (_LABELS.get(name, name.replace("_", " ")) for name in (x, metric))
    names: dict[str, Any] = {
        "x_label": x_label,
        "y_label": y_label,
        "title": config.title or y_label[0].upper() + y_label[1:],
    }
    over = "step" if config.against else x
    drawn = {label: [_curve(rows, over, metric, label) for rows in seeds] for label, seeds in groups.items()}
    if config.against:
        limits = {row["threshold"] for seeds in groups.values() for rows in seeds for row in rows if "threshold" in row}
        spots = {label: _spot(seeds, x, metric, label) for label, seeds in groups.items()}
        # Where all runs were allowed the same, that is drawn too.
        limit = limits.pop() if x == "cost" and len(limits) == 1 else None
        path = spread(spots, config.out, limit=limit, limit_label="allowed", caption=_SPREAD, **names)
    else:
        path = curves(drawn, config.out, smooth=config.smooth, **names)
    if found["json"]:
        emit({"figure": str(path), "metric": metric, "x": x, "runs": [_summary(*item) for item in drawn.items()]})
    else:
        print(f"the figure is in {path}")


def labels(folders: Sequence[str]) -> dict[str, Path]:
    """A label for every folder: its last part, and as many before it as tell it from the others or a seed's run."""
    paths = list(dict.fromkeys(Path(folder).resolve() for folder in folders))
    found = {}
    for path in paths:
        least = 2 if path.name.startswith("seed-") else 1
        tails = ["/".join(path.parts[-n:]) for n in range(least, len(path.parts))]
        others = [str(other) for other in paths if other != path]
        alone = (tail for tail in tails if not any(other.endswith(f"/{tail}") for other in others))
        found[next(alone, str(path))] = path
    return found


def read(folder: Path) -> list[Rows]:
    """The numbers in the metrics of every seed of a run; what stands under `clock` is called `clock/NAME`.

    Raises:
      UsageError: if the folder holds no run.
    """
    from agents.training.metrics import read as read_metrics
    from agents.training.saved import seed_folders

    return [[_flat(row) for row in read_metrics(seed)] for seed in seed_folders(folder)]


def resolve(name: str, known: set[str]) -> str:
    """A metric's full name: `return` is `episode_return`, `seconds` is `clock/seconds`.

    Raises:
      UsageError: if there is no such metric.
    """
    for prefix in ("", "episode_", "clock/", "eval/"):
        if prefix + name in known:
            return prefix + name
    raise UsageError(f"the runs have no metric {name!r}: {nearest(name, known)}")


def _flat(row: Mapping[str, Any]) -> dict[str, float]:
    clock = {f"clock/{name}": value for name, value in row.get("clock", {}).items()}
    flat = {**{name: value for name, value in row.items() if name != "clock"}, **clock}
    return {name: float(value) for name, value in flat.items() if math.isfinite(value)}


def _curve(rows: Rows, x: str, metric: str, label: str) -> Curve:
    points = [(row[x], row[metric]) for row in rows if x in row and metric in row]
    if not points:
        raise UsageError(f"{label} has no {metric} over {x}.")
    return Curve(*np.asarray(points).T)


def _spot(seeds: Sequence[Rows], x: str, metric: str, label: str) -> Spot:
    """The means over the seeds of both metrics at their last lines, from the lowest to the highest."""
    ends = [[_curve(rows, "step", name, label).y[-1] for rows in seeds] for name in (x, metric)]
    (across, width), (up, height) = ((float(np.mean(values)), (min(values), max(values))) for values in ends)
    return Spot(across, width, up, height)


def _summary(label: str, seeds: Sequence[Curve]) -> dict[str, Any]:
    return {"run": label, "seeds": len(seeds), "last": [float(curve.y[-1]) for curve in seeds]}
