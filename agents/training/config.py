"""The options of a training run that are no agent's: how long, where, what is kept and what is shown."""

from dataclasses import dataclass
from typing import Literal

from agents.config import require


@dataclass(frozen=True)
class TrainConfig:
    """Options of a run. Steps are environment steps: one action of one environment is one step.

    With `data` no environment is stepped, and every step is one update.
    """

    env: str = ""
    """The environment's id, see `list envs`."""
    backend: str | None = None
    """What runs the environment; none takes the first backend that the environment has."""
    steps: int = 1_000_000
    """Environment steps of the whole run, all parallel environments counted; with --data updates."""
    seed: int = 0
    """Seed of everything random; with several seeds the first of them."""
    seeds: int = 1
    """Runs with seeds in a row, each in a folder of its own."""
    envs: int = 0
    """Environments stepped together; 0 takes the agent's own number."""
    devices: int = 1
    """Devices that share the environments of every seed, where these run on the device; 0 takes all there are."""
    wrap: str = ""
    """Environment wrappers by name, joined by +, the first nearest to the environment."""
    preset: str = ""
    """A named set of options for this agent and task; options given beside it win."""
    out: str = ""
    """The run's folder; runs/AGENT-ENV if empty."""
    resume: bool = False
    """Go on with the run in the folder, from its last checkpoint."""
    init_from: str = ""
    """Begin with the parameters of another run's folder."""
    data: str = ""
    """Learn from this dataset, a folder or minari:ID, and step no environment; steps then count updates."""
    eval_every: int = 0
    """Evaluate every so many environment steps; 0 never."""
    eval_episodes: int = 32
    """Episodes of one evaluation."""
    eval_sample: bool = False
    """Draw an evaluation's actions from the policy; the likeliest alone may walk in circles."""
    stop_at: float | None = None
    """End the run once this return is reached, in evaluation where there is one."""
    hours: float = 0.0
    """End the run after this many hours; 0 sets no limit."""
    checkpoint_every: int = 0
    """Save every so many environment steps; 0 saves twenty times in a run."""
    keep: int = 2
    """Last checkpoints to keep, beside the best one."""
    skip_nonfinite: int = 0
    """Leave out up to this many updates whose loss or gradient is not finite, rather than end the run."""
    deterministic: bool = False
    """Ask the accelerator for results that repeat bit for bit, at some speed; the CPU's always do."""
    matmul_precision: Literal["default", "high", "highest"] = "default"
    """Precision of matrix products on accelerators."""
    log_every: int = 0
    """Updates from one line of metrics to the next; 0 writes about 200 lines in a run."""
    quiet: bool = False
    """Show no progress."""
    tensorboard: bool = True
    """Also write TensorBoard event files."""
    wandb: str = ""
    """Also log to this project of Weights & Biases."""

    def __post_init__(self):
        for name in ("steps", "seeds", "eval_episodes", "keep"):
            require(getattr(self, name) > 0, name, getattr(self, name), "above 0")
        for name in (
            "seed",
            "envs",
            "devices",
            "eval_every",
            "hours",
            "checkpoint_every",
            "skip_nonfinite",
            "log_every",
        ):
            require(getattr(self, name) >= 0, name, getattr(self, name), "at least 0")
        # Engines take seeds of 31 bits, and evaluation adds an offset of its own.
        require(self.seed + self.seeds <= 2_000_000_000, "seed", self.seed, "below 2000000000")
