"""`map RUN [RUN ...]`: where policies go on one level and what their bonus pays there, and the rooms they reach."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from agents.commands.figure import Curve, curves
from agents.commands.output import emit, number, table
from agents.commands.parser import Parser, configured
from agents.commands.plot import labels
from agents.config import require
from envs.errors import UsageError

if TYPE_CHECKING:
    from agents.training.exploration import Explorer, Walks
    from agents.training.saved import Saved

_DOC = """Draws where the policies of MiniGrid runs on the device go, checkpoint by checkpoint, what their bonus pays
there, and how many rooms they reach on the levels kept for evaluation."""
_EPILOG = """A run keeps its last 2 checkpoints unless told otherwise, too few to follow it: train with --keep 25, and
with --checkpoint-every STEPS for more than the twenty that a run saves by itself."""


@dataclass(frozen=True)
class Config:
    """Options of a map."""

    level: int = 0
    """The level to draw, by its number among those kept for evaluation."""
    episodes: int = 64
    """Episodes at each checkpoint, on that level and once more on levels drawn from all kept for evaluation."""
    columns: int = 5
    """Checkpoints to draw, close together in the beginning, where most happens."""
    seed: int = 1000
    """Seed of the episodes."""
    out: str = "map.png"
    """The picture with the maps, .png, .pdf or .svg."""
    rooms: str = "rooms.png"
    """The picture with the rooms reached."""

    def __post_init__(self):
        require(self.level >= 0, "level", self.level, "at least 0")
        require(self.episodes > 0, "episodes", self.episodes, "above 0")
        require(self.columns > 0, "columns", self.columns, "above 0")
        require(0 <= self.seed < 2**31, "seed", self.seed, f"between 0 and {2**31 - 1}")


class Explored(NamedTuple):
    """A run's checkpoints: steps and episodes of its first seed on the level, and every seed's curve of rooms."""

    steps: list[int]
    walks: list["Walks"]
    rooms: list[Curve]


def run(argv: Sequence[str]) -> None:
    """Parses, plays, draws and says what was seen."""
    parser = Parser("map", "RUN [RUN ...] [options]", _DOC, _EPILOG)
    parser.add("map", Config)
    found = parser.parse(argv, words="the folders of one or more runs, such as runs/rooms")
    config = configured(Config, found)

    from agents.commands.figure import check_name
    from agents.training.exploration import Explorer, open_beside
    from agents.training.saved import seed_folders

    if check_name(config.out) == check_name(config.rooms):  # known now, not once everything has been played
        raise UsageError(f"the maps and the rooms cannot both be drawn into {config.out}: name two files.")
    opened: dict[str, tuple[list[Path], Saved]] = {}
    for label, folder in labels(found["words"]).items():
        seeds = seed_folders(folder)
        opened[label] = seeds, open_beside(seeds[0], next(iter(opened.values()))[1] if opened else None)
    groups = {}
    for label, (seeds, saved) in opened.items():
        explorer = Explorer(saved, config.episodes)
        explorer.check(config.level)
        groups[label] = explore(label, seeds, saved, explorer, config)
    path = draw(groups, explorer, saved.env.spec.id, config)
    curve = curves(
        {label: run.rooms for label, run in groups.items()},
        config.rooms,
        x_label="environment steps",
        y_label="share of the rooms reached in an episode",
        title=f"Rooms reached, {saved.env.spec.id}",
    )
    runs = [summary(label, run, explorer.size[0]) for label, run in groups.items()]
    if found["json"]:
        facts = {"env": saved.env.spec.id, "level": config.level, "episodes": config.episodes, "runs": runs}
        emit({"map": str(path), "rooms": str(curve), **facts})
    else:
        _show(runs, config)
        print(f"the maps are in {path}, the rooms reached in {curve}")


def explore(label: str, seeds: Sequence[Path], saved: "Saved", explorer: "Explorer", config: Config) -> Explored:
    """Plays the episodes of every checkpoint of every seed."""
    from agents.training.exploration import checkpoints_of, rooms_reached
    from agents.training.saved import read

    steps: list[int] = []
    walks: list[Walks] = []
    rooms = []
    for seed in seeds:
        points = []
        for path in checkpoints_of(seed):
            point = read(path, saved.agent, saved.env, saved.wrapper)
            if seed == seeds[0]:
                steps.append(point.step)
                walks.append(explorer(point.state, point.wrapper_state, config.seed, config.level))
            reached, total = rooms_reached(explorer(point.state, point.wrapper_state, config.seed), explorer.size[0])
            points.append((point.step, float((reached / total).mean())))
        if not points:
            raise UsageError(f"{seed} holds no sound checkpoint yet.")
        print(f"{label}: {seed.name}, {len(points)} checkpoints played", file=sys.stderr)
        rooms.append(Curve(*np.asarray(points).T))
    return Explored(steps, walks, rooms)


def chosen(count: int, columns: int) -> list[int]:
    """Which of `count` checkpoints to draw: the first, the last, and others between at growing distances."""
    if count <= columns:
        return list(range(count))
    return sorted({round(each) - 1 for each in np.geomspace(1, count, columns)}) if columns > 1 else [count - 1]


# --------------------------------------------------------------------------------------------------------------- DRAW


def draw(groups: dict[str, Explored], explorer: "Explorer", task: str, config: Config) -> Path:
    """The maps of all runs: a row of visits for each, and one of the bonus where it has one."""
    from agents.commands.heatmap import Ground, Row, maps
    from agents.training.exploration import reachable

    level = explorer.level(config.level)
    width = explorer.size[0]
    ground = Ground(level, width, reachable(level.cells, int(level.position), width))
    picked = {label: chosen(len(run.steps), config.columns) for label, run in groups.items()}
    most = max(visited(groups[label].walks[i]).max() for label, at in picked.items() for i in at)
    rows = []
    for label, at in picked.items():
        walks = [groups[label].walks[index] for index in at]
        titles = [f"{_short(groups[label].steps[index])} steps" for index in at]
        rows.append(
            Row(
                name=f"{label}\nvisits",
                label="steps per episode\n(log scale)",
                maps=[_coloured(visited(each), each) for each in walks],
                titles=titles,
                captions=[_visits_caption(each, width) for each in walks],
                colours="viridis_r",
                limits=(1 / config.episodes, most),
                log=True,
            )
        )
        if walks[0].paid is not None:
            paid = [bonus(each) for each in walks]
            rows.append(
                Row(
                    name=f"{label}\nbonus",
                    label="mean bonus of a step\nthat ends in the cell",
                    maps=[_coloured(values, each) for values, each in zip(paid, walks, strict=True)],
                    titles=titles,
                    captions=[f"{each.paid.sum(1).mean():.2g} in an episode" for each in walks],
                    colours="magma_r",
                    limits=(min(0.0, *(values.min() for values in paid)), max(values.max() for values in paid) or 1.0),
                )
            )
    caption = (
        f"{task}, evaluation level {config.level}\n{config.episodes} episodes with each checkpoint, "
        "actions drawn from the policy as in training"
    )
    return maps(rows, ground, config.out, title="Where the agent goes, and what it is paid for", caption=caption)


def visited(walks: "Walks") -> np.ndarray:
    """Steps that ended in each cell, a mean over episodes: `[height * width]`."""
    return walks.visits.mean(0)


def bonus(walks: "Walks") -> np.ndarray:
    """The mean bonus of the steps into each cell `[height * width]`, 0 where there were none."""
    return np.asarray(walks.paid).sum(0) / np.maximum(walks.visits.sum(0), 1)


def _coloured(values: np.ndarray, walks: "Walks") -> np.ndarray:
    return np.where(walks.visits.sum(0) > 0, values, np.nan)


def _visits_caption(walks: "Walks", width: int) -> str:
    from agents.training.exploration import rooms_reached

    reached, total = rooms_reached(walks, width)
    return f"{reached.mean():.1f} of {total[0]} rooms, success {walks.success.mean():.0%}"


def _short(step: int) -> str:
    """A number of steps in three figures: 98k, 1.01M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if step >= size:
            return f"{step / size:.3g}{letter}"
    return str(step)


# ---------------------------------------------------------------------------------------------------------------- SAY


def summary(label: str, run: Explored, width: int) -> dict[str, Any]:
    """The numbers behind the pictures of one run."""
    from agents.training.exploration import entropy, rooms_reached

    checkpoints = []
    for step, walks in zip(run.steps, run.walks, strict=True):
        reached, total = rooms_reached(walks, width)
        numbers: dict[str, Any] = {
            "step": step,
            "entropy": entropy(walks.visits.sum(0)),
            "cells": int((walks.visits.sum(0) > 0).sum()),
            "rooms": float(reached.mean()),
            "rooms_total": int(total[0]),
            "success": float(walks.success.mean()),
        }
        if walks.paid is not None:
            numbers["bonus"] = float(walks.paid.sum(1).mean())
        checkpoints.append(numbers)
    rooms = [{"steps": curve.x.astype(int).tolist(), "share": curve.y.tolist()} for curve in run.rooms]
    return {"run": label, "seeds": len(run.rooms), "checkpoints": checkpoints, "rooms": rooms}


def _show(runs: Sequence[dict[str, Any]], config: Config) -> None:
    for run in runs:
        rows = [
            [
                f"{each['step']:,}",
                f"{each['rooms']:.1f} of {each['rooms_total']}",
                str(each["cells"]),
                f"{each['entropy']:.2f}",
                f"{each['success']:.0%}",
                number(each["bonus"]) if "bonus" in each else "",
            ]
            for each in run["checkpoints"]
        ]
        title = f"{run['run']}, level {config.level}, {config.episodes} episodes at each checkpoint of its first seed"
        table(title, ["step", "rooms", "cells", "entropy of visits (nats)", "success", "bonus of an episode"], rows)
