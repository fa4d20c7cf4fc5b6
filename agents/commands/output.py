"""What commands print on stdout: a table for people, or one line of JSON for programs."""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any


def emit(result: Mapping[str, Any]) -> None:
    """Prints a result as one line of JSON; what JSON lacks becomes `"nan"`, `"inf"` and `"-inf"`."""
    print(json.dumps(_finite(result), allow_nan=False), flush=True)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table; names in the first column are never cut."""
    from rich.console import Console
    from rich.table import Table

    drawn = Table(
        title=title, title_justify="left", box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0)
    )
    for index, column in enumerate(columns):
        drawn.add_column(column, no_wrap=index == 0, overflow="fold")
    for row in rows:
        drawn.add_row(*row)
    # What is read by another program has no width of its own.
    Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else 160).print(drawn)


def number(value: Any) -> str:
    """A number in four figures, thousands separated."""
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
