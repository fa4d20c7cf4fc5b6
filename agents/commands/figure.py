"""Curves that read without a legend: every line carries its name at its right end, in its own colour."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from envs.errors import UsageError

# Okabe and Ito's palette, distinct to colour-blind eyes, without its yellow, which is too pale for a line on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)))  # told apart by dashes where colours repeat
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


def curves(
    groups: Mapping[str, Sequence[Curve]],
    out: str | Path,
    *,
    x_label: str,
    y_label: str,
    title: str,
    smooth: int = 1,
) -> Path:
    """Draws one line for each group, the mean of its curves, within a band from their lowest to their highest.

    Args:
      groups: label to the curves of its seeds.
      out: the picture's file; its ending says which kind (png, pdf, svg).
      x_label: name of the horizontal axis, with its unit.
      y_label: name of the vertical axis, with its unit.
      title: a line above.
      smooth: points averaged around each point.

    Raises:
      UsageError: for an ending or a place that cannot be written, or curves of one group that do not overlap.
    """
    from matplotlib.backend_bases import FigureCanvasBase
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    figure = Figure(figsize=(8, 4.5), dpi=150, layout="constrained")
    endings = FigureCanvasBase.get_supported_filetypes()
    path = Path(out)
    if path.suffix.removeprefix(".") not in endings:
        raise UsageError(f"a picture cannot be written to {out}: name it .png, .pdf or .svg.")
    axes = figure.add_subplot()
    bands = [(label, band([smoothed(curve, smooth) for curve in group], label)) for label, group in groups.items()]
    for index, (_, drawn) in enumerate(bands):
        colour, dash = _style(index)
        axes.fill_between(drawn.x, drawn.low, drawn.high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(drawn.x, drawn.mean, color=colour, linestyle=dash, linewidth=1.8)
        axes.plot(drawn.x[-1:], drawn.mean[-1:], color=colour, marker="o", markersize=4, clip_on=False, zorder=3)
    axes.set_title(title, loc="left", fontsize=12, fontweight="bold", pad=20)
    axes.text(0, 1.02, _caption(groups), transform=axes.transAxes, fontsize=9, color=_GREY, va="bottom")
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.margins(x=0)
    axes.set_xlim(left=min(0, *(drawn.x[0] for _, drawn in bands)))
    axes.grid(color="#E6E6E6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    _label(axes, bands)
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


def _label(axes, bands: Sequence[tuple[str, Band]]) -> None:
    """Writes the names in a column right of the axes, each tied to the end of its line."""
    bottom, top = axes.get_ylim()
    left, right = axes.get_xlim()
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)
    ends = [(drawn.mean[-1] - bottom) / (top - bottom) for _, drawn in bands]
    for index, ((label, drawn), place) in enumerate(zip(bands, apart(ends, _LINE, 0.0, 1.0), strict=True)):
        colour, _ = _style(index)
        axes.annotate(
            label,
            xy=((drawn.x[-1] - left) / (right - left), ends[index]),
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
