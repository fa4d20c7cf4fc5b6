"""`adapt RUN ...`: how agents adapt to tasks that they never saw, and what they believe of these."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from agents.commands.figure import COLOURS, apart, check_name, panel, save
from agents.commands.output import emit, number, table
from agents.commands.parser import Parser, configured
from agents.config import require

if TYPE_CHECKING:
    from agents.training.adaptation import Adaptation

_DOC = """Plays trials of several episodes in the tasks that a family keeps apart, draws what each episode of a trial
returns, and the beliefs at a trial's end in a plane, coloured by the task's parameters."""
_MOST_COLOURED = 3  # parameters of a task that have a picture of their own


@dataclass(frozen=True)
class Config:
    """Options of an adaptation."""

    tasks: int = 50
    """Tasks to play, at most as many as are kept apart."""
    repeats: int = 3
    """Trials of each task."""
    seed: int = 1000
    """Seed of the environments and of what is drawn."""
    sample: bool = False
    """Draw actions from the policy rather than take the likeliest."""
    checkpoint: Literal["best", "last"] = "last"
    """Which state of the run: the best evaluated one (the last where none was), or the last."""
    out: str = ""
    """The picture, .png, .pdf or .svg; adaptation.png in the first run's folder if empty."""

    def __post_init__(self):
        for name in ("tasks", "repeats"):
            require(getattr(self, name) > 0, name, getattr(self, name), "above 0")
        require(0 <= self.seed < 2**31, "seed", self.seed, f"between 0 and {2**31 - 1}")


def run(argv: Sequence[str]) -> None:
    """Parses, plays, draws and says what was found."""
    parser = Parser("adapt", "RUN [RUN ...] [options]", _DOC)
    parser.add("adaptation", Config)
    found = parser.parse(argv, words="folders of runs, such as runs/robot")
    config, folders = configured(Config, found), found["words"]

    from agents.training.adaptation import adapt
    from agents.training.config import TrainConfig
    from agents.training.setup import prepare

    prepare(TrainConfig())
    out = check_name(config.out or Path(folders[0]) / "adaptation.png")  # known now, not once all has been played
    how: dict[str, Any] = {name: getattr(config, name) for name in ("tasks", "repeats", "seed", "checkpoint")}
    played = [adapt(folder, greedy=not config.sample, **how) for folder in folders]
    results = dict(zip(_labels(folders, [result.agent for result in played]), played, strict=True))
    draw(results, out)
    if found["json"]:
        each = {label: numbers(result) for label, result in results.items()}
        emit({"picture": str(out), **{k: v for k, v in asdict(config).items() if k != "out"}, "runs": each})
    else:
        _show(results)
        print(f"the picture is {out}")


def _labels(folders: Sequence[str], agents: Sequence[str]) -> Sequence[str]:
    """The shortest names that tell the runs apart: their agents', their folders', or the folders as they were given."""
    for names in (agents, [Path(folder).name for folder in folders]):
        if len(set(names)) == len(names):
            return names
    return folders


def numbers(result: "Adaptation") -> dict[str, Any]:
    """The numbers behind the picture as plain JSON."""
    from agents.training.adaptation import over_episodes

    found: dict[str, Any] = {"agent": result.agent, "env": result.env, "step": result.step}
    for name, values in (("return", result.returns), ("success", result.success)):
        if values is not None:
            mean, low, high = over_episodes(values)
            found |= {name: mean.tolist(), f"{name}_low": low.tolist(), f"{name}_high": high.tolist()}
    found["probe"] = result.probe
    if result.beliefs is not None:
        found["tasks"] = np.asarray(result.tasks).tolist()
    return found


def _show(results: dict[str, "Adaptation"]) -> None:
    for label, result in results.items():
        found = numbers(result)
        rows = []
        for turn, mean in enumerate(found["return"]):
            row = [str(turn + 1), number(mean), f"{found['return_low'][turn]:.4g} to {found['return_high'][turn]:.4g}"]
            if "success" in found:
                low, high = found["success_low"][turn], found["success_high"][turn]
                row += [f"{found['success'][turn]:.0%}", f"{low:.0%} to {high:.0%}"]
            rows.append(row)
        columns = ["episode of a trial", "return", "95% interval", *["success", "95% interval"] * ("success" in found)]
        seeds, trials, _ = result.returns.shape
        table(f"{label} on {result.env}, step {result.step:,}, {seeds} seed(s), {trials} trials each", columns, rows)
        if result.probe:
            print(f"a linear probe reads {np.mean(result.probe):.0%} of the tasks' variance off the beliefs.")


# --------------------------------------------------------------------------------------------------------------- DRAW


def draw(results: dict[str, "Adaptation"], out: Path) -> None:
    """Returns over a trial on the left; beside them the beliefs of each run, coloured by every parameter of the tasks.

    Raises:
      UsageError: where the picture cannot be written.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    believing = {label: result for label, result in results.items() if result.beliefs is not None}
    first = next(iter(results.values()))
    coloured = 0 if first.tasks is None else min(first.tasks.shape[1], _MOST_COLOURED)
    rows, columns = max(1, len(believing)), 1 + (coloured if believing else 0)
    layout = ConstrainedLayoutEngine(rect=(0, 0, 1, 1 - 0.6 / (3.6 * rows + 0.6)))  # the rest is for text
    figure = Figure(figsize=(6 + 3.6 * (columns - 1), 3.6 * rows + 0.6), dpi=150, layout=layout)
    figure.text(0.01, 0.99, f"Adapting to unseen tasks of {first.env}", fontsize=12, fontweight="bold", va="top")
    grid = figure.add_gridspec(rows, columns, width_ratios=[1.6, *[1.0] * (columns - 1)])
    _curves(figure.add_subplot(grid[:, 0]), results)
    for row, (label, result) in enumerate(believing.items()):
        for column in range(coloured):
            _beliefs(figure, figure.add_subplot(grid[row, 1 + column]), label, result, column)
    save(figure, out)


def _curves(axes: Any, results: dict[str, "Adaptation"]) -> None:
    from agents.training.adaptation import over_episodes

    panel(axes, "Return of each episode of a trial", "mean and 95% interval over seeds and tasks")
    ends = []
    for (label, result), colour in zip(results.items(), COLOURS * len(results), strict=False):
        mean, low, high = over_episodes(result.returns)
        turns = np.arange(1, len(mean) + 1)
        axes.fill_between(turns, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(turns, mean, color=colour, marker="o", markersize=4, linewidth=1.8)
        ends.append((label, mean[-1], colour))
    axes.set_xticks(turns)
    axes.set_xlabel("episode with one task")
    axes.set_ylabel("return")
    bottom, top = axes.get_ylim()
    heights = [(y - bottom) / (top - bottom) for _, y, _ in ends]
    for (label, _, colour), height, place in zip(ends, heights, apart(heights, 0.06, 0.0, 1.0), strict=True):
        axes.annotate(
            label,
            xy=(1.0, height),
            xytext=(1.03, place),
            xycoords="axes fraction",
            textcoords="axes fraction",
            color=colour,
            fontsize=10,
            va="center",
        )


def _beliefs(figure: Any, axes: Any, label: str, result: "Adaptation", parameter: int) -> None:
    from agents.training.adaptation import plane

    assert result.beliefs is not None
    assert result.tasks is not None
    points, share = plane(result.beliefs)
    colour = np.broadcast_to(result.tasks[:, parameter], points.shape[:-1])
    name = f"{label}, coloured by parameter {parameter + 1}" if result.tasks.shape[1] > 1 else label
    panel(axes, name, f"two principal axes, {share:.0%} of the variance")
    dots = axes.scatter(points[..., 0], points[..., 1], c=colour, cmap="viridis", s=22, linewidths=0)
    figure.colorbar(dots, ax=axes, shrink=0.85, label="task")
