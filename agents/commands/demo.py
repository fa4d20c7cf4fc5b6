"""`demo`: BeBold and the same agent without its bonus on one hard task, measured, drawn and filmed.

What is there already is not done again: a demo that was stopped goes on, and a finished one shows its results.
"""

import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.commands.output import emit, number, table
from agents.commands.parser import Parser, configured
from agents.config import fields, require
from envs.errors import UsageError

if TYPE_CHECKING:
    from agents.agent import Agent
    from envs.contract import EnvSpec

TASK = "MiniGrid-KeyCorridorS3R3-v0"
STEPS = 4_000_000
EPISODES = 100  # of each evaluation


@dataclass(frozen=True)
class Config:
    """Options of the demo."""

    task: str = TASK
    """The task that both agents learn."""
    backend: str = "device"
    """What runs the environment."""
    steps: int = STEPS
    """Environment steps of each agent."""
    seed: int = 0
    """Seed of both agents."""
    out: str = "runs/demo"
    """The folder for runs, curve and film."""
    fresh: bool = False
    """Remove the demo that the folder holds, and begin anew."""

    def __post_init__(self):
        require(self.steps > 0, "steps", self.steps, "above 0")
        require(self.seed >= 0, "seed", self.seed, "at least 0")


def run(argv: Sequence[str]) -> None:
    """Parses, trains and evaluates both agents, draws and films, and prints what came of it."""
    parser = Parser("demo", "[options]", "BeBold learns a hard MiniGrid task; the same agent without bonus does not.")
    parser.add("demo", Config)
    found = parser.parse(argv)
    config = configured(Config, found)
    began = time.monotonic()
    report = play(config) | {"seconds": round(time.monotonic() - began, 1)}
    if found["json"]:
        emit(report)
    else:
        _show(report)


def play(config: Config) -> dict[str, Any]:
    """The whole demo; its report as plain JSON."""
    import agents
    import envs

    out = Path(config.out)
    env = envs.make(config.task, backend=config.backend)
    bebold = agents.make("bebold", env.spec, preset="fast")
    lines = {"BeBold": (out / "bebold", bebold), "no bonus": (out / "no-bonus", without_bonus(bebold, env.spec))}
    for folder, _ in lines.values() if config.fresh else ():
        if (folder / "config.json").exists():  # nothing but a run is ever removed
            shutil.rmtree(folder)

    report: dict[str, Any] = {"task": config.task, "seed": config.seed, "agents": {}}
    for label, (folder, agent) in lines.items():
        _say(f"{label}: learns {config.task} for {config.steps:,} steps")
        _train(agent, env, folder, config)
        _say(f"{label}: plays {EPISODES} episodes")
        film = str(out / "agent.gif") if label == "BeBold" else None
        # The likeliest action alone would walk a policy without memory in circles: it plays as it learned, by chance.
        scores = agents.evaluate(folder, episodes=EPISODES, greedy=False, video=film)
        report["agents"][label] = {
            name: scores[name]
            for name in ("run", "step", "episodes", "success", "success_low", "success_high", "return_mean", "length")
        }
    report["curve"] = str(draw({label: folder for label, (folder, _) in lines.items()}, out / "curve.png", config))
    report["film"] = str(out / "agent.gif")
    return report


def without_bonus(agent: "Agent", spec: "EnvSpec") -> "Agent":
    """The actor-critic below an agent's bonus, every other option the same."""
    import agents
    from agents import registry

    base = agent.config["base"]
    known = {field.name for field in fields(registry.load("agent", base).Config)}
    bonuses = agent.config["bonus"].split("+")
    options = {
        name: value
        for name, value in agent.config.items()
        if (name.partition(".")[0] not in bonuses if "." in name else name in known)
    }
    return agents.make(base, spec, **{**options, "bonus": ""})


def _train(agent: "Agent", env: Any, folder: Path, config: Config) -> None:
    import agents

    begun = (folder / "config.json").exists()
    try:
        agents.train(agent, env, steps=config.steps, seed=config.seed, out=str(folder), resume=True)
    except UsageError as error:
        raise UsageError(f"{error} The option --fresh begins the demo anew.") if begun else error from error


def draw(folders: dict[str, Path], path: Path, config: Config) -> Path:
    """One line for each run: how often it succeeded while it learned."""
    import numpy as np

    from agents.commands.figure import Curve, curves
    from agents.training.learner import WINDOW
    from agents.training.metrics import read

    groups = {}
    for label, folder in folders.items():
        # The first episodes to end are the short ones, which are those that succeed.
        points = [(row["step"], row["success"]) for row in read(folder) if row["episodes"] >= WINDOW]
        if not points:
            raise UsageError(
                f"fewer than {WINDOW} episodes ended in {config.steps:,} steps: give the demo more --steps."
            )
        groups[label] = [Curve(*np.asarray(points, float).T)]
    return curves(
        groups,
        path,
        x_label="environment steps",
        y_label=f"success rate, latest {WINDOW} episodes",
        title=f"{config.task} while learning",
        smooth=3,
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _show(report: dict[str, Any]) -> None:
    rows = []
    for label, found in report["agents"].items():
        rate = f"{found['success']:.0%}"
        interval = f"{found['success_low']:.0%} to {found['success_high']:.0%}"
        rows.append([label, f"{found['step']:,}", rate, interval, number(found["return_mean"]), found["run"]])
    table(
        f"{report['task']}, {EPISODES} episodes each",
        ["agent", "steps", "success", "95% interval", "mean return", "run"],
        rows,
    )
    print(f"{report['curve']} shows how they learned, {report['film']} how BeBold plays ({report['seconds']:.0f} s).")
