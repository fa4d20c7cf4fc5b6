"""Maps of a grid world on white: its walls and doors, and colour in the cells, as small multiples in rows."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from agents.commands.figure import check_name, save
from envs.minigrid import cells as cell
from envs.minigrid import render
from envs.minigrid.levels import Level

_WALL = "#4D4D4D"
_GREY = "#666666"
_LINES = "#DDDDDD"
# White with a dark edge shows on every colour of a scale.
_SIGN: dict[str, Any] = {"color": "white", "markeredgecolor": "black", "markeredgewidth": 0.9, "linestyle": "none"}
_TILE = 32  # pixels of a picture of an object
_INCH = 1.0 / 6  # of a cell
_SMALLEST, _LARGEST = 1.7, 3.4  # inches of a panel's longer side


class Row(NamedTuple):
    """Maps that share one colour scale.

    Attributes:
      name: what stands left of them, such as the run's name.
      label: what the colours are, with their unit.
      maps: one `[height * width]` for each column; NaN leaves a cell white.
      titles: a line above each.
      captions: a line below each.
      colours: the name of a perceptually uniform colour map, light where values are low.
      limits: the lowest and the highest value of the scale.
      log: whether the scale is logarithmic.
    """

    name: str
    label: str
    maps: Sequence[np.ndarray]
    titles: Sequence[str]
    captions: Sequence[str]
    colours: str
    limits: tuple[float, float]
    log: bool = False


class Ground(NamedTuple):
    """What the colours lie on: a level, the width of its grid, and which of its cells (`[height * width]`) matter."""

    level: Level
    width: int
    within: np.ndarray


def maps(rows: Sequence[Row], ground: Ground, out: str | Path, *, title: str, caption: str) -> Path:
    """Draws rows of maps of one level into a file.

    Args:
      rows: what to draw, all with the same number of columns.
      ground: the level below.
      out: the picture's file; its ending says which kind (png, pdf, svg).
      title: a line above.
      caption: a line below that.

    Raises:
      UsageError: for an ending or a place that cannot be written.
    """
    from matplotlib.colors import LogNorm, Normalize
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    path = check_name(out)
    left, top, right, bottom = _window(ground)
    columns = max(len(row.maps) for row in rows)
    scale = np.clip(_INCH * max(right - left, bottom - top), _SMALLEST, _LARGEST) / max(right - left, bottom - top)
    across, down = scale * (right - left), scale * (bottom - top)
    size = (max(7.0, columns * (across + 0.15) + 1.6), len(rows) * (down + 0.62) + 1.4)
    layout = ConstrainedLayoutEngine(rect=(0, 0.3 / size[1], 1, 1 - 1.1 / size[1]))  # the rest is for text
    figure = Figure(figsize=size, dpi=150, layout=layout)
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for row, line in zip(rows, grid, strict=True):
        norm = (LogNorm if row.log else Normalize)(*row.limits, clip=True)
        for index, axes in enumerate(line):
            if index >= len(row.maps):
                axes.set_axis_off()
                continue
            image = _panel(axes, row.maps[index].reshape(-1, ground.width), ground, norm, row.colours)
            axes.set_xlim(left, right)
            axes.set_ylim(bottom, top)
            axes.set_title(row.titles[index], fontsize=10)
            axes.set_xlabel(row.captions[index], fontsize=8.5, color=_GREY)
        line[0].set_ylabel(row.name, fontsize=10, fontweight="bold")
        bar = figure.colorbar(image, ax=list(line), shrink=0.9, aspect=14, pad=0.015)
        bar.set_label(row.label, fontsize=9)
        bar.ax.tick_params(labelsize=8)
        bar.outline.set_visible(False)
    figure.text(0.1 / size[0], 1 - 0.1 / size[1], title, fontsize=12, fontweight="bold", va="top")
    figure.text(0.1 / size[0], 1 - 0.38 / size[1], caption, fontsize=9, color=_GREY, va="top", linespacing=1.4)
    _legend(figure, ground)
    return save(figure, path)


def _window(ground: Ground) -> tuple[float, float, float, float]:
    """The edges (left, top, right, bottom) of the part of the grid that matters and of the walls around it."""
    y, x = np.nonzero(ground.within.reshape(-1, ground.width))
    return x.min() - 1.6, y.min() - 1.6, x.max() + 1.6, y.max() + 1.6


def _panel(axes: Any, values: np.ndarray, ground: Ground, norm: Any, colours: str) -> Any:
    """One map: white floor with lines, colours, walls, then what stands in the cells."""
    from matplotlib.collections import PatchCollection
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Rectangle
    from scipy.ndimage import binary_dilation  # type: ignore[import-untyped]

    kinds = cell.kind(np.asarray(ground.level.cells)).reshape(-1, ground.width)
    within = ground.within.reshape(kinds.shape)
    walls = (kinds == cell.WALL_KIND) & binary_dilation(within, np.ones((3, 3)))
    height, width = kinds.shape
    edges: dict[str, Any] = {"extent": (-0.5, width - 0.5, height - 0.5, -0.5), "interpolation": "nearest"}
    image = axes.imshow(np.ma.masked_invalid(values), cmap=colours, norm=norm, zorder=2, **edges)
    y, x = np.nonzero(within)
    frames = [Rectangle((left - 0.5, top - 0.5), 1, 1) for left, top in zip(x, y, strict=True)]
    axes.add_collection(PatchCollection(frames, facecolor="none", edgecolor=_LINES, linewidth=0.4, zorder=2.5))
    axes.imshow(np.ma.masked_equal(walls, False), cmap=ListedColormap([_WALL]), zorder=3, **edges)
    for place in np.flatnonzero(within).tolist():
        _object(axes, int(ground.level.cells[place]), place % ground.width, place // ground.width)
    start, turn = int(ground.level.position), int(ground.level.direction)
    at = (start % ground.width, start // ground.width)
    # Matplotlib's triangle looks up, and its angles go against the clock.
    axes.plot(*at, marker=(3, 0, -90 - 90 * turn), markersize=7, zorder=5, **_SIGN)
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    return image


def _object(axes: Any, packed: int, x: int, y: int) -> None:
    """Draws what lies in a cell, if anything does, so that the colour below shows."""
    kind = cell.kind(packed)
    if kind == cell.GOAL:
        axes.plot(x, y, marker="*", markersize=11, zorder=5, **_SIGN)
    elif kind not in (cell.NOTHING, cell.FLOOR):
        picture = render.tile(packed, size=_TILE).astype(float)
        bright = picture.max(-1, keepdims=True) / max(picture.max(), 1)
        # What is black or dark in the picture, such as the inside of a locked door, is clear here.
        paint = np.concatenate([picture / np.maximum(255 * bright, 1), 2 * bright - 1], -1)
        axes.imshow(np.clip(paint, 0, 1), extent=(x - 0.5, x + 0.5, y + 0.5, y - 0.5), zorder=4)


def _legend(figure: Any, ground: Ground) -> None:
    """Names the signs of those things that the level has."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    present = np.asarray(ground.level.cells)[ground.within]
    kinds = set(cell.kind(present).tolist())
    locked = (cell.kind(present) == cell.DOOR) & (cell.state(present) == cell.LOCKED)
    signs: list[Any] = [Line2D([], [], marker=(3, 0, -90), markersize=7, label="start", **_SIGN)]
    if cell.GOAL in kinds:
        signs.append(Line2D([], [], marker="*", markersize=11, label="goal", **_SIGN))
    if cell.DOOR in kinds:
        label = "door of any colour, with a bar if locked" if locked.any() else "door of any colour"
        signs.append(Patch(facecolor="none", edgecolor="#7A27C3", linewidth=1.6, label=label))
    signs += [Patch(color=_WALL, label="wall"), Patch(facecolor="white", edgecolor=_GREY, label="never entered")]
    figure.legend(handles=signs, loc="lower left", ncols=len(signs), fontsize=8.5, frameon=False, handlelength=1.3)
