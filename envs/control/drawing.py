"""Simple pictures in NumPy: bars and discs on white, in the task's own units."""

from typing import NamedTuple

import numpy as np

BLACK, GREY, RED, BLUE, GREEN = (30, 30, 30), (170, 170, 170), (200, 70, 60), (60, 100, 190), (70, 160, 90)
Point = tuple[float, float]
Colour = tuple[int, int, int]


class Canvas(NamedTuple):
    """A frame, uint8 `[H, W, 3]`, and where each pixel's centre lies, float `[H, W, 2]` (x to the right, y upwards)."""

    frame: np.ndarray
    places: np.ndarray

    def bar(self, start: Point, end: Point, radius: float, colour: Colour) -> None:
        """Everything within `radius` of the line from `start` to `end`; a disc where they are one."""
        origin, way = np.asarray(start, float), np.subtract(end, start, dtype=float)
        along = (self.places - origin) @ way / max(float(way @ way), 1e-12)
        nearest = origin + np.clip(along, 0, 1)[..., None] * way
        self.frame[np.linalg.norm(self.places - nearest, axis=-1) <= radius] = colour

    def disc(self, at: Point, radius: float, colour: Colour) -> None:
        """A disc around `at`."""
        self.bar(at, at, radius, colour)


def canvas(width: float, height: float, centre: Point = (0.0, 0.0), pixels: int = 240) -> Canvas:
    """A white canvas around `centre`, so wide and high in the task's units, its longer side of `pixels`."""
    scale = pixels / max(width, height)
    columns, rows = 2 * round(width * scale / 2), 2 * round(height * scale / 2)  # films want even sides
    x = centre[0] + (np.arange(columns) + 0.5) / scale - width / 2
    y = centre[1] - (np.arange(rows) + 0.5) / scale + height / 2
    return Canvas(np.full((rows, columns, 3), 255, np.uint8), np.stack(np.meshgrid(x, y), axis=-1))
