"""Live progress of a long run on stderr: a bar on a terminal, one line per interval elsewhere.

train  1.2M/2.0M steps  60%  13.4k/s  ETA 1m00s  return 0.83  success 0.91  612 MB
"""

import math
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, TextIO

import psutil  # type: ignore[import-untyped]

_WINDOW = 30.0  # seconds over which the rate is taken
_REDRAW = 0.25  # seconds between two drawings of the bar


class Progress:
    """Shows how far a run is, how fast, how long it still takes, and the values it is given.

    Args:
      total: steps at which the run ends.
      label: what is going on, in a word.
      interval: seconds between two lines where `stream` is not a terminal.
      stream: where to write, stderr unless given; stdout belongs to results.
      quiet: show nothing at all.
      clock: gives the time in seconds.
      unit: what is counted.
    """

    def __init__(
        self,
        total: int,
        label: str,
        interval: float = 10.0,
        stream: TextIO | None = None,
        quiet: bool = False,
        clock: Callable[[], float] = time.monotonic,
        unit: str = "steps",
    ):
        self._total, self._label, self._clock, self._unit = total, label, clock, unit
        self._stream = stream if stream is not None else sys.stderr
        self._quiet = quiet
        self._process = psutil.Process()
        self._times: deque[tuple[float, int]] = deque()
        self._bar = None if quiet or not self._stream.isatty() else _Bar(self._stream, total)
        self._wait = _REDRAW if self._bar else interval
        self._due = clock() + self._wait
        self._pending: tuple[int, Mapping[str, Any]] | None = None

    def update(self, step: int, values: Mapping[str, Any]) -> None:
        """Tells that `step` steps are done, and what to show beside them; NaN (no episode ended yet) is left out."""
        if self._quiet:
            return
        now = self._clock()
        self._times.append((now, step))
        while len(self._times) > 2 and self._times[0][0] < now - _WINDOW:
            self._times.popleft()
        self._pending = (step, values)
        if now >= self._due:
            self._show()

    def close(self) -> None:
        """Shows the last update if it has not been shown, and leaves the terminal as it was."""
        if self._pending:
            self._show()
        if self._bar:
            self._bar.close()
            self._bar = None

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _show(self) -> None:
        assert self._pending is not None
        step, values = self._pending
        text = self._text(step, values)
        if self._bar:
            self._bar.draw(self._label, step, text)
        else:
            print(f"{self._label}  {text}", file=self._stream, flush=True)
        self._pending = None
        self._due = self._clock() + self._wait

    def _text(self, step: int, values: Mapping[str, Any]) -> str:
        share = step / self._total if self._total else 1.0
        parts = [f"{count(step)}/{count(self._total)} {self._unit}", f"{share:.0%}"]
        rate = self._rate()
        if rate > 0:
            parts += [f"{count(rate)}/s", f"ETA {duration(max(self._total - step, 0) / rate)}"]
        numbers = {name: float(value) for name, value in values.items()}
        parts += [f"{name} {number:.3g}" for name, number in numbers.items() if not math.isnan(number)]
        return "  ".join([*parts, size(self._process.memory_info().rss)])

    def _rate(self) -> float:
        """Steps per second over the window; 0 until two updates are known."""
        (began, first), (now, last) = self._times[0], self._times[-1]
        return (last - first) / (now - began) if now > began else 0.0


class _Bar:
    """A bar of rich, redrawn only when it is told to: a thread of its own would compete with the run."""

    def __init__(self, stream: TextIO, total: int):
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as RichProgress
        from rich.table import Column

        self._progress = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=12),
            # On a narrow terminal the text goes on in a second line rather than being cut.
            TextColumn("{task.fields[text]}", markup=False, table_column=Column(ratio=1)),
            console=Console(file=stream),
            auto_refresh=False,
            expand=True,
            redirect_stdout=False,
        )
        self._task = self._progress.add_task("", total=total, text="")
        self._progress.start()

    def draw(self, label: str, step: int, text: str) -> None:
        self._progress.update(self._task, completed=step, description=label, text=text)
        self._progress.refresh()

    def close(self) -> None:
        self._progress.stop()


def count(number: float) -> str:
    """A count in at most four figures: `950`, `13.4k`, `1.2M`, `2.0G`."""
    for limit, unit in ((1e3, ""), (1e6, "k"), (1e9, "M")):
        # What would round up to 1000.0 of a unit is 1.0 of the next.
        if number < limit * 0.99995:
            return f"{number:.0f}" if not unit else f"{number / limit * 1e3:.1f}{unit}"
    return f"{number / 1e9:.1f}G"


def duration(seconds: float) -> str:
    """A time span in its two largest units: `45s`, `2m10s`, `3h05m`, `2d04h`."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days}d{hour:02}h"
    if hours:
        return f"{hours}h{minute:02}m"
    return f"{minutes}m{second:02}s" if minutes else f"{second}s"


def size(number: float) -> str:
    """Bytes in megabytes or gigabytes (powers of ten): `612 MB`, `1.3 GB`."""
    return f"{number / 1e6:.0f} MB" if number < 999.5e6 else f"{number / 1e9:.1f} GB"
