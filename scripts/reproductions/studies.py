"""Experiments that are no runs of agents: done once, kept as JSON with what they ran on, and drawn.

OUT/NAME.json    what came of a study
"""

import json
import time
from pathlib import Path
from typing import Any

from scripts.benchmarks.benchmark import ROOT
from scripts.reproductions.plan import Study


def found(out: Path, name: str) -> dict[str, Any] | None:
    """What came of a study, None before it was run."""
    path = out / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def finish(out: Path, name: str, study: Study) -> dict[str, Any]:
    """Runs a study, unless that was done, and keeps what came of it."""
    from agents.training.provenance import commit, hardware, write_json

    kept = found(out, name)
    if kept is not None:
        return kept
    began = time.monotonic()
    about = {"doc": study.doc, "seeds": study.seeds, **study.run(study.seeds)}
    about |= {"seconds": time.monotonic() - began, "commit": commit(ROOT), "hardware": hardware()}
    write_json(out / f"{name}.json", about)
    return about


def draw(out: Path, studies: dict[str, Study]) -> list[Path]:
    """The pictures of the studies that were run."""
    kept = {name: found(out, name) for name in studies}
    return [
        study.draw(about, out / f"{name}.png")
        for name, study in studies.items()
        if study.draw and (about := kept[name]) is not None
    ]
