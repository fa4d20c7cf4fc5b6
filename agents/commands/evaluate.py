"""`evaluate RUN`: plays seeded episodes with a trained agent and says what they scored."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from agents.commands.output import emit, number, table
from agents.commands.parser import Parser, configured
from agents.config import require
from envs.errors import UsageError


@dataclass(frozen=True)
class Config:
    """Options of an evaluation."""

    episodes: int = 100
    """Episodes to play."""
    seed: int = 1000
    """Seed of the environments, apart from those of training."""
    sample: bool = False
    """Draw actions from the policy rather than take the likeliest."""
    checkpoint: Literal["best", "last"] = "best"
    """Which state of the run: the best evaluated one (the last where none was), or the last."""
    video: str = ""
    """Also film a few episodes, at most 600 steps, into this file, such as play.gif."""
    watch: bool = False
    """Play one episode in this terminal instead, where the environment's world is one, such as NetHack's."""
    delay: float = 0.1
    """Seconds between two pictures in the terminal."""

    def __post_init__(self):
        require(self.episodes > 0, "episodes", self.episodes, "above 0")
        require(self.delay >= 0, "delay", self.delay, "at least 0")
        require(0 <= self.seed < 2**31, "seed", self.seed, f"between 0 and {2**31 - 1}")


def run(argv: Sequence[str]) -> None:
    """Parses, evaluates and prints the scores."""
    parser = Parser("evaluate", "RUN [options]", "Plays seeded episodes with the agent of a run's folder.")
    parser.add("evaluation", Config)
    found = parser.parse(argv, words="the folder of a run, such as runs/rooms", most=1)
    config = configured(Config, found)

    if config.watch and config.video:
        raise UsageError("--watch plays in the terminal and --video films an evaluation: take one of them.")
    how: dict[str, Any] = {"seed": config.seed, "greedy": not config.sample, "checkpoint": config.checkpoint}
    if config.watch:
        from agents.training.playback import watch_run

        report = watch_run(found["words"][0], delay=config.delay, **how)
    else:
        from agents.training.evaluation import evaluate_run

        report = evaluate_run(found["words"][0], episodes=config.episodes, video=config.video or None, **how)
    if found["json"]:
        emit(report)
    else:
        _show(report)


def _show(report: dict[str, Any]) -> None:
    rows = [
        ["return, interquartile mean", number(report["return_iqm"]), _between(report, "return")],
        ["return, mean", number(report["return_mean"]), ""],
        ["episode length", number(report["length"]), ""],
    ]
    if "success" in report:
        rows.insert(0, ["success rate", f"{report['success']:.1%}", _between(report, "success", "{:.1%}")])
    scores = [name.removesuffix("_low") for name in report if name.endswith("_low")]
    rows += [
        [name.replace("_", " "), number(report[name]), _between(report, name)]
        for name in scores
        if name in report and name != "success"
    ]
    title = f"{report['agent']} on {report['env']}, {report['episodes']} episodes, step {report['step']:,}"
    table(title, ["", "value", "95% interval"], rows)
    if "video" in report:
        print(f"filmed into {report['video']}")


def _between(report: dict[str, Any], name: str, form: str = "{:.4g}") -> str:
    return " to ".join(form.format(report[f"{name}_{end}"]) for end in ("low", "high"))
