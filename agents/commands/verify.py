"""`verify RUN --property FILE`: on what share of a box of observations a run's policy decides what is forbidden."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from agents.auxiliary.verification.options import Options
from agents.commands.figure import check_name, panel, save
from agents.commands.output import emit, number, table
from agents.commands.parser import Parser, configured
from agents.config import require
from envs.errors import UsageError

_DOC = """Proves on what share of a box of observations the greedy policy of a run takes a forbidden decision, and on
what share none. A file of properties is JSON such as

  {"name": "falling right", "sentence": "With the pole leaning and moving right, do not push left.",
   "inputs": {"0-1": [-0.5, 0.5], "2": [0.05, 0.2], "3": [0.5, 2.0]}, "forbidden": [0]}

or a list of them; where actions are numbers, "forbidden": [{"action": 0, "above": 0.5}]. Give --property more than
once, or join names by commas."""
_COLOURS = ("#009E73", "#D55E00", "#D9D9D9")  # safe, violated, unknown
_MAP_BOXES = 20_000


@dataclass(frozen=True)
class Config:
    """Options beside those of the verification itself."""

    steps: int = 1000
    """Steps to play in each of eight environments, to see what the policy does where it goes; 0 plays none."""
    near: float = 0.05
    """How far outside a property's box an input may be for a state visited there to count."""
    seed: int = 1000
    """Seed of the environments."""
    checkpoint: Literal["best", "last"] = "best"
    """Which state of the run: the best evaluated one (the last where none was), or the last."""
    map: tuple[int, ...] = ()
    """Two inputs, such as 15,16: draw what was decided in their plane, the others as in the counter-example."""
    out: str = ""
    """The report; verification.json in the run's folder if empty."""
    picture: str = ""
    """The map, .png, .pdf or .svg; verification.png in the run's folder if empty."""

    def __post_init__(self):
        require(self.steps >= 0, "steps", self.steps, "at least 0")
        require(self.near >= 0, "near", self.near, "at least 0")
        require(0 <= self.seed < 2**31, "seed", self.seed, f"between 0 and {2**31 - 1}")
        good = len(self.map) in (0, 2) and len(set(self.map)) == len(self.map) and all(i >= 0 for i in self.map)
        require(good, "map", ",".join(map(str, self.map)), "two inputs, such as 0,1")


def run(argv: Sequence[str]) -> None:
    """Parses, verifies, plays, writes the report and says what was found."""
    parser = Parser("verify", "RUN --property FILE [options]", _DOC)
    parser.add("verification", Options)
    parser.add("run", Config)
    found = parser.parse(_joined(argv), words="the folder of a run, such as runs/robot", most=1)
    options, config, (folder,) = configured(Options, found), configured(Config, found), found["words"]

    from agents import registry
    from agents.training.config import TrainConfig
    from agents.training.provenance import provenance, write_json
    from agents.training.setup import prepare
    from agents.training.verification import verify_run

    prepare(TrainConfig())
    picture = check_name(config.picture or Path(folder) / "verification.png") if config.map else None
    how: dict[str, Any] = {name: getattr(config, name) for name in ("checkpoint", "seed", "steps", "near")}
    saved, subject, properties, report = verify_run(folder, **how, **asdict(options))
    facts = {"agent": saved.agent.name, "env": saved.env.spec.id, "step": saved.step, "checkpoint": str(saved.path)}
    out = Path(config.out or Path(folder) / "verification.json")
    result = {"run": folder, **facts, "options": {**asdict(options), **how}, "properties": report}
    try:
        write_json(out, {**result, "provenance": provenance(config.seed, saved.env.spec)})
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror}.") from error
    if picture:
        member = registry.load("verification", "intervals")
        _map(picture, config.map, member, subject, properties, report, options)
        result["picture"] = str(picture)
    if found["json"]:
        emit({**result, "report": str(out)})
        return
    _show(f"{saved.agent.name} on {saved.env.spec.id}, step {saved.step:,}", report)
    print(f"the report is {out}" + (f", the map {picture}" if picture else ""))


def _joined(argv: Sequence[str]) -> list[str]:
    """The words with every `--property` in one."""
    rest: list[str] = []
    files: list[str] = []
    words = iter(argv)
    for word in words:
        if word == "--property":
            files.append(next(words, ""))
        elif word.startswith("--property="):
            files.append(word.partition("=")[2])
        else:
            rest.append(word)
    return [*rest, *([f"--property={','.join(files)}"] if files else [])]


def _show(title: str, report: dict[str, Any]) -> None:
    rows = [
        [name, *(_percent(found[share]) for share in ("violated", "safe", "unknown")), _verdict(found)]
        for name, found in report.items()
    ]
    table(title, ["property", "violated", "safe", "unknown", "verdict"], rows)
    for name, found in report.items():
        print(f"{name}: {found['sentence']}")
        example, seen = found["counter_example"], found.get("visited")
        if example:
            print(f"  it chooses {_numbers(example['action'])} at {_numbers(example['obs'])}")
        if not seen:
            continue
        if seen["within"]:
            print(f"  played: forbidden in {seen['forbidden']} of {seen['within']} visited states of the box")
        else:
            away = f"the nearest is {seen['distance']:.3g} off"
            print(f"  played: none of {seen['states']} visited states is in the box, {away}")
        if seen["first"]:
            first = seen["first"]
            print(f"  first in environment {first['env']}, episode {first['episode']}, step {first['step']}")


def _verdict(found: dict[str, Any]) -> str:
    if not found["formal"]:
        return f"{found['verdict']} by samples, which under-estimate"
    return {"violated": "violated", "safe": "safe, proved", "unknown": "not decided"}[found["verdict"]]


def _percent(share: float) -> str:
    """A share that is neither nothing nor all never looks like it."""
    return (
        f"{share:.2%}" if share in (0.0, 1.0) or 1e-4 <= share <= 1 - 1e-4 else ("<0.01%" if share < 0.5 else ">99.99%")
    )


def _numbers(values: Any) -> str:
    return f"({', '.join(number(each) for each in values)})" if isinstance(values, list) else number(values)


# --------------------------------------------------------------------------------------------------------------- DRAW


def _map(
    out: Path,
    plane: tuple[int, ...],
    member: Any,
    subject: Any,
    properties: Sequence[Any],
    report: dict[str, Any],
    options: Any,
) -> None:
    """Draws what was decided in the plane of two inputs, a panel for each property that leaves both open.

    Raises:
      UsageError: where no property does, or there are no such inputs.
    """
    from matplotlib.collections import PolyCollection
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    count = len(properties[0].low)
    if max(plane) >= count:
        raise UsageError(f"map names input {max(plane)}, and there are 0 to {count - 1}.")
    drawn = [each for each in properties if all(each.low[i] < each.high[i] for i in plane)]
    if not drawn:
        raise UsageError(f"every property fixes input {plane[0]} or {plane[1]}: map two inputs that one leaves open.")
    _, network = member.policy_of(subject)
    figure = Figure(figsize=(max(6.4, 4.2 * len(drawn)), 4.2), dpi=150, layout="constrained")
    for axes, each in zip(figure.subplots(1, len(drawn), squeeze=False)[0], drawn, strict=True):
        example = report[each.name]["counter_example"]
        at = np.asarray(example["obs"] if example else (each.low + each.high) / 2, np.float32)
        low, high = at.copy(), at.copy()
        low[list(plane)], high[list(plane)] = each.low[list(plane)], each.high[list(plane)]
        cut = each._replace(low=low, high=high)
        found = member.verify(network, cut, replace(options, boxes=min(options.boxes, _MAP_BOXES)), keep=True)
        (left, bottom), (right, top) = (found.boxes[:, end][:, list(plane)].T for end in (0, 1))
        corners = np.stack([[left, bottom], [right, bottom], [right, top], [left, top]]).transpose(2, 0, 1)
        colours = [_COLOURS[status] for status in found.status]
        axes.add_collection(PolyCollection(list(corners), facecolors=colours, edgecolors="white", linewidths=0.15))
        axes.set_xlim(low[plane[0]], high[plane[0]])
        axes.set_ylim(low[plane[1]], high[plane[1]])
        axes.set_xlabel(f"input {plane[0]}")
        axes.set_ylabel(f"input {plane[1]}")
        panel(axes, each.name, "others as in the counter-example" if example else "others at their middle")
        axes.grid(False)
    names = ("allowed everywhere", "forbidden everywhere", "not decided")
    patches = [Patch(color=colour, label=name) for name, colour in zip(names, _COLOURS, strict=True)]
    figure.legend(handles=patches, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    save(figure, out)
