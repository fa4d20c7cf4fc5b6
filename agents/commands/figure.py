"""Curves and spots that read without a legend: each carries its name on the right, in its own colour."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from envs.errors import UsageError

# Okabe and Ito's palette, distinct to colour-blind eyes, without its yellow, which is too pale for a line on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)))  # told apart by dashes where colours repeat
_MARKERS = ("o", "s", "^")
_GREY = "#666666"
_LINE = 0.052  # height of a label, as a share of the axes


class Curve(NamedTuple):
    """One quantity over one axis: `x` `[N]` increasing and `y` `[N]`."""

    x: np.ndarray
    y: np.ndarray


class Band(NamedTuple):
    """Several curves as one: their mean and their lowest and highest values, all `[N]`."""

    x: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


class Spot(NamedTuple):
    """One thing in the plane: two numbers, each with its interval `(low, high)`."""

    x: float
    x_interval: Sequence[float]
    y: float
    y_interval: Sequence[float]


def curves(
    groups: Mapping[str, Sequence[Curve]],
    out: str | Path,
    *,
    x_label: str,
    y_label: str,
    title: str,
    smooth: int = 1,
    log_x: bool = False,
) -> Path:
    """Draws one line for each group, the mean of its curves, within a band from their lowest to their highest.

    Args:
      groups: label to the curves of its seeds.
      out: the picture's file; its ending says which kind (png, pdf, svg).
      x_label: name of the horizontal axis, with its unit.
      y_label: name of the vertical axis, with its unit.
      title: a line above.
      smooth: points averaged around each point.
      log_x: whether equal ways on the horizontal axis are equal factors.

    Raises:
      UsageError: for an ending or a place that cannot be written, or curves of one group that do not overlap.
    """
    from matplotlib.ticker import EngFormatter

    figure, axes = _frame(out, title, _caption(groups), x_label, y_label)
    bands = [(label, band([smoothed(curve, smooth) for curve in group], label)) for label, group in groups.items()]
    for index, (_, drawn) in enumerate(bands):
        colour, dash = _style(index)
        axes.fill_between(drawn.x, drawn.low, drawn.high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(drawn.x, drawn.mean, color=colour, linestyle=dash, linewidth=1.8)
        axes.plot(drawn.x[-1:], drawn.mean[-1:], color=colour, marker="o", markersize=4, clip_on=False, zorder=3)
    if log_x:
        axes.set_xscale("log")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.margins(x=0)
    left = min(drawn.x[0] for _, drawn in bands)
    axes.set_xlim(left=left if log_x else min(0, left))
    _label(axes, [(label, drawn.x[-1], drawn.mean[-1]) for label, drawn in bands])
    return save(figure, out)


def spread(
    spots: Mapping[str, Spot],
    out: str | Path,
    *,
    x_label: str,
    y_label: str,
    title: str,
    limit: float | None = None,
    limit_label: str = "",
    caption: str = "means with their 95% intervals over seeds",
) -> Path:
    """Draws each spot with its intervals as a cross; `limit` is a line at that `x`, with its name.

    Args:
      spots: label to spot.
      out: the picture's file; its ending says which kind (png, pdf, svg).
      x_label: name of the horizontal axis, with its unit.
      y_label: name of the vertical axis, with its unit.
      title: a line above.
      limit: where the line is drawn, if anywhere.
      limit_label: what is written at it.
      caption: a line below the title.

    Raises:
      UsageError: for an ending or a place that cannot be written.
    """
    figure, axes = _frame(out, title, caption, x_label, y_label)
    if limit is not None:
        axes.axvline(limit, color=_GREY, linewidth=1.0, linestyle=(0, (4, 3)))
        axes.annotate(
            limit_label,
            (limit, 0.02),
            xycoords=("data", "axes fraction"),
            color=_GREY,
            fontsize=9,
            xytext=(4, 0),
            textcoords="offset points",
        )
    for index, spot in enumerate(spots.values()):
        colour, _ = _style(index)
        axes.plot(spot.x_interval, (spot.y, spot.y), color=colour, linewidth=1.2, alpha=0.6)
        axes.plot((spot.x, spot.x), spot.y_interval, color=colour, linewidth=1.2, alpha=0.6)
        axes.plot(spot.x, spot.y, color=colour, marker=_MARKERS[index // len(COLOURS) % len(_MARKERS)], markersize=6)
    _label(axes, [(label, spot.x, spot.y) for label, spot in spots.items()])
    return save(figure, out)


def _frame(out: str | Path, title: str, caption: str, x_label: str, y_label: str):
    """An empty figure and its axes, with a title, a caption, names of the axes and a grid.

    Raises:
      UsageError: for an ending that is no picture's.
    """
    from matplotlib.figure import Figure

    check_name(out)
    figure = Figure(figsize=(8, 4.5), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontsize=12, fontweight="bold", pad=20)
    axes.text(0, 1.02, caption, transform=axes.transAxes, fontsize=9, color=_GREY, va="bottom")
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(color="#E6E6E6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def check_name(out: str | Path) -> Path:
    """The file of a picture; raises UsageError where its ending is that of no picture."""
    from matplotlib.backend_bases import FigureCanvasBase

    path = Path(out)
    if path.suffix.removeprefix(".") not in FigureCanvasBase.get_supported_filetypes():
        raise UsageError(f"a picture cannot be written to {out}: name it .png, .pdf or .svg.")
    return path


def save(figure: Any, out: str | Path) -> Path:
    """Writes a picture, its folder too if that is missing; raises UsageError where it cannot be written."""
    path = Path(out)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}.") from error
    return path


def smoothed(curve: Curve, points: int) -> Curve:
    """The mean of up to `points` points around each point; fewer at the two ends, so that nothing is shifted."""
    reach = min(points, len(curve.y)) // 2
    total = np.concatenate([[0.0], np.cumsum(curve.y)])
    at = np.arange(len(curve.y))
    # A window as wide to the left as to the right has no lag.
    reach_at = np.minimum(reach, np.minimum(at, at[::-1]))
    return Curve(curve.x, (total[at + reach_at + 1] - total[at - reach_at]) / (2 * reach_at + 1))


def band(group: Sequence[Curve], label: str) -> Band:
    """Mean, lowest and highest of several curves, where all of them are known; between points they are straight.

    Raises:
      UsageError: if there is no such place.
    """
    first, last = max(curve.x[0] for curve in group), min(curve.x[-1] for curve in group)
    if first > last:
        raise UsageError(f"the seeds of {label} have no stretch in common: plot their folders one by one.")
    x = np.unique(np.concatenate([curve.x for curve in group]))
    x = x[(x >= first) & (x <= last)]
    y = np.stack([np.interp(x, curve.x, curve.y) for curve in group])
    return Band(x, y.mean(0), y.min(0), y.max(0))


def panel(axes: Any, title: str, caption: str) -> None:
    """Titles axes that stand beside others, with a line below the title."""
    axes.set_title(title, loc="left", fontsize=10.5, fontweight="bold", pad=18)
    axes.annotate(caption, (0, 1), (0, 4), "axes fraction", "offset points", fontsize=8.5, color=_GREY, va="bottom")
    axes.grid(color="#E6E6E6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def apart(heights: Sequence[float], gap: float, low: float, high: float) -> np.ndarray:
    """The places closest to `heights` (least squares) that are `gap` apart and within `[low, high]` if that has room.

    With the heights in order, `z_i = y_i - i gap` must not decrease: isotonic regression.
    """
    from scipy.optimize import isotonic_regression  # type: ignore[import-untyped]

    order = np.argsort(heights, kind="stable")
    steps = gap * np.arange(len(heights))
    z = isotonic_regression(np.asarray(heights, float)[order] - steps).x
    places = np.empty(len(heights))
    places[order] = np.clip(z, low, max(low, high - steps[-1])) + steps
    return places


def _label(axes, ends: Sequence[tuple[str, float, float]]) -> None:
    """Writes the names in a column right of the axes, each tied to its `(x, y)`."""
    bottom, top = axes.get_ylim()
    left, right = axes.get_xlim()
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)
    heights = [(y - bottom) / (top - bottom) for _, _, y in ends]
    for index, ((label, x, _), height, place) in enumerate(
        zip(ends, heights, apart(heights, _LINE, 0.0, 1.0), strict=True)
    ):
        colour, _ = _style(index)
        axes.annotate(
            label,
            xy=((x - left) / (right - left), height),
            xytext=(1.03, place),
            xycoords="axes fraction",
            textcoords="axes fraction",
            color=colour,
            fontsize=10,
            va="center",
            arrowprops={"arrowstyle": "-", "color": colour, "alpha": 0.5, "linewidth": 0.8, "relpos": (0, 0.5)},
            annotation_clip=False,
        )


def _style(index: int):
    return COLOURS[index % len(COLOURS)], _DASHES[index // len(COLOURS) % len(_DASHES)]


def _caption(groups: Mapping[str, Sequence[Curve]]) -> str:
    counts = sorted({len(group) for group in groups.values()})
    if counts == [1]:
        return "one seed each" if len(groups) > 1 else "one seed"
    seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"mean of {seeds} seeds; the band spans the lowest to the highest"
