"""`calibration RUN`: whether a run's world model knows its errors, step by step into the future."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from agents.commands.figure import COLOURS, apart, check_name, panel, save
from agents.commands.output import emit, number, table
from agents.commands.parser import Parser, configured
from agents.config import require

if TYPE_CHECKING:
    from agents.training.calibration import Calibration

_DOC = """Follows a run's world model along episodes of its policy in the real environment, under the actions really
taken, and compares how far its predictions spread with how far they are off."""
_GREY = "#666666"


@dataclass(frozen=True)
class Config:
    """Options of a calibration."""

    horizon: int = 10
    """Steps to follow the model."""
    episodes: int = 16
    """Episodes to play in the real environment."""
    states: int = 1000
    """States of these episodes to follow the model from, at most."""
    draws: int = 100
    """Draws of the model's future from each state."""
    greedy: bool = False
    """Take the likeliest actions rather than draw them as in training."""
    seed: int = 1000
    """Seed of the episodes and the draws."""
    checkpoint: Literal["best", "last"] = "best"
    """Which state of the run: the best evaluated one (the last where none was), or the last."""
    out: str = ""
    """The picture, .png, .pdf or .svg; calibration.png in the run's folder if empty."""

    def __post_init__(self):
        for name in ("horizon", "episodes", "states"):
            require(getattr(self, name) > 0, name, getattr(self, name), "above 0")
        require(self.draws > 1, "draws", self.draws, "above 1")
        require(0 <= self.seed < 2**31, "seed", self.seed, f"between 0 and {2**31 - 1}")


def run(argv: Sequence[str]) -> None:
    """Parses, plays, follows the model, draws and says what was found."""
    parser = Parser("calibration", "RUN [options]", _DOC)
    parser.add("calibration", Config)
    found = parser.parse(argv, words="the folder of a run, such as runs/hopper", most=1)
    config, (folder,) = configured(Config, found), found["words"]

    from agents.training.calibration import calibrate
    from agents.training.config import TrainConfig
    from agents.training.setup import prepare

    prepare(TrainConfig())
    out = check_name(config.out or Path(folder) / "calibration.png")  # known now, not once all has been played
    options = asdict(config)
    del options["out"]
    saved, result = calibrate(folder, **options)
    title = f"{saved.agent.name} on {saved.env.spec.id}, step {saved.step:,}"
    asked = f"{config.states} states" if config.states <= result.states[0] else f"{result.states[0]} states"
    asked += f" of {config.episodes} episodes, {config.draws} draws from each"
    draw(result, out, title=f"What the model knows of its errors, {title}", caption=asked)
    if found["json"]:
        facts = {"agent": saved.agent.name, "env": saved.env.spec.id, "step": saved.step}
        emit({"run": folder, "picture": str(out), **facts, **options, **numbers(result)})
    else:
        _show(result, f"{title}: {asked}")
        print(f"the curves are in {out}")


def groups(result: "Calibration") -> dict[str, dict[str, np.ndarray]]:
    """By horizon, of the observation as a whole and of the reward: spread, error, and the shares covered.

    Of the observation's numbers spread and error are averaged as squares. What never varies has no part in it.
    """
    found = {}
    for name, part in {"observation": slice(1, None), "reward": slice(0, 1)}.items():
        if np.isnan(result.error[0, part]).all():
            continue
        found[name] = {
            "spread": np.sqrt(np.nanmean(np.square(result.spread[:, part]), axis=1)),
            "error": np.sqrt(np.nanmean(np.square(result.error[:, part]), axis=1)),
            "covered_50": np.nanmean(result.covered[0][:, part], axis=1),
            "covered_95": np.nanmean(result.covered[1][:, part], axis=1),
            "reliability": np.nanmean(result.reliability[:, part], axis=1),
        }
    return found


def numbers(result: "Calibration") -> dict[str, Any]:
    """The numbers behind the picture as plain JSON; `each` has them by horizon and number, the reward first."""
    from agents.training.calibration import QUANTILES

    whole = {name: {key: line.tolist() for key, line in lines.items()} for name, lines in groups(result).items()}
    each = {
        "spread": result.spread.tolist(),
        "error": result.error.tolist(),
        "covered_50": result.covered[0].tolist(),
        "covered_95": result.covered[1].tolist(),
        "reliability": result.reliability.T.tolist(),
    }
    return {"compared": result.states.tolist(), "quantiles": QUANTILES.tolist(), **whole, "each": each}


def _show(result: "Calibration", title: str) -> None:
    found = groups(result)
    columns = ["step", "states"]
    for name in found:
        columns += [f"{name}: spread", "error", "in 50%", "in 95%"]
    rows = []
    for index, states in enumerate(result.states):
        row = [str(index + 1), str(states)]
        for lines in found.values():
            row += [number(float(lines[key][index])) for key in ("spread", "error")]
            row += [f"{lines[key][index]:.0%}" for key in ("covered_50", "covered_95")]
        rows.append(row)
    table(title, columns, rows)
    print("spread and error are in standard deviations of the data; a calibrated model's are equal.")


# --------------------------------------------------------------------------------------------------------------- DRAW


def draw(result: "Calibration", out: Path, *, title: str, caption: str) -> None:
    """Draws spread and error by horizon on the left, and the reliability of the first step on the right.

    Raises:
      UsageError: where the picture cannot be written.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    found = groups(result)
    layout = ConstrainedLayoutEngine(rect=(0, 0, 1, 0.87))  # the rest is for text
    figure = Figure(figsize=(11, 5.2), dpi=150, layout=layout)
    figure.text(0.01, 0.98, title, fontsize=12, fontweight="bold", va="top")
    caption += "; thin lines on the right: single numbers of the observation"
    figure.text(0.01, 0.935, caption, fontsize=9, color=_GREY, va="top")
    left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": (1.15, 1)})
    _by_horizon(left, found)
    _reliability(right, found, result)
    save(figure, out)


def _by_horizon(axes: Any, found: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    panel(axes, "Error (solid) and predicted spread (dashed)", "an error above its spread: the model is overconfident")
    axes.set_xlabel("steps that the model is followed")
    axes.set_ylabel("standard deviations of the data")
    ends = []
    for (name, lines), colour in zip(found.items(), COLOURS, strict=False):
        for key, dash in (("error", "-"), ("spread", (0, (4, 2)))):
            steps = np.arange(1, len(lines[key]) + 1)
            axes.plot(steps, lines[key], color=colour, linestyle=dash, marker="o", markersize=3.5, linewidth=1.8)
            ends.append((f"{name}, {key}", lines[key][-1], colour))
    axes.set_xticks(steps[:: -(-len(steps) // 10)])
    axes.set_ylim(bottom=0)
    top = axes.get_ylim()[1]
    ends = [end for end in ends if np.isfinite(end[1])]
    for (label, y, colour), place in zip(ends, apart([y / top for _, y, _ in ends], 0.055, 0.0, 1.0), strict=True):
        axes.annotate(
            label,
            xy=(steps[-1], y),
            xytext=(1.04, place),
            textcoords="axes fraction",
            color=colour,
            fontsize=9.5,
            va="center",
            arrowprops={"arrowstyle": "-", "color": colour, "alpha": 0.5, "linewidth": 0.8, "relpos": (0, 0.5)},
            annotation_clip=False,
        )


def _reliability(axes: Any, found: Mapping[str, Mapping[str, np.ndarray]], result: "Calibration") -> None:
    from agents.training.calibration import QUANTILES

    panel(axes, "Reliability after one step", "flatter than the dashed line: overconfident; steeper: underconfident")
    axes.set_xlabel("predicted quantile")
    axes.set_ylabel("share of real values below it")
    axes.plot((0, 1), (0, 1), color=_GREY, linestyle=(0, (4, 3)), linewidth=1.0)
    if "observation" in found:
        axes.plot(QUANTILES, result.reliability[:, 1:], color=COLOURS[0], linewidth=0.8, alpha=0.3)
    for index, (name, lines) in enumerate(found.items()):
        axes.plot(QUANTILES, lines["reliability"], color=COLOURS[index], linewidth=2.0)
        axes.text(0.03, 0.97 - 0.07 * index, name, color=COLOURS[index], fontsize=9.5, va="top")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
