"""The kinds of datasets that a collection makes, and its options. Imports nothing heavy."""

from dataclasses import dataclass

from agents.config import require
from envs.errors import UsageError, nearest

KINDS = ("random", "medium", "medium-replay", "expert", "medium-expert")
# What a kind is made from, beside itself; the return of `random` is where the share is counted from.
_NEEDS = {"medium": ("random",), "medium-replay": ("random",), "medium-expert": ("random", "medium", "expert")}
_ORDER = ("random", "expert", "medium", "medium-replay", "medium-expert")


@dataclass(frozen=True)
class CollectConfig:
    """Options of a collection of datasets."""

    env: str = ""
    """The environment's id, see `list envs`."""
    backend: str | None = None
    """What runs the environment; none takes the first backend that the environment has."""
    kinds: str = "+".join(KINDS)
    """Datasets to make, joined by +; what one of them is made from is made as well."""
    agent: str = "sac"
    """The agent whose training makes them."""
    preset: str = ""
    """A named set of options for this agent and task; options given beside it win."""
    steps: int = 100_000
    """Environment steps of the training, whose final policy is the expert."""
    size: int = 100_000
    """Transitions of each dataset that a policy plays."""
    share: float = 1 / 3
    """How far from the random return to the final one the first evaluation of the medium policy must come."""
    eval_every: int = 0
    """Environment steps between two evaluations, of which one finds the medium policy; 0 makes fifty in a training."""
    eval_episodes: int = 16
    """Episodes of one evaluation."""
    greedy: bool = False
    """Play each policy's likeliest action; otherwise actions are drawn as in training."""
    seed: int = 0
    """Seed of everything random."""
    out: str = ""
    """The folder of the datasets; data/ENV if empty."""
    quiet: bool = False
    """Show no progress."""

    def __post_init__(self):
        for name in ("steps", "size", "eval_episodes"):
            require(getattr(self, name) > 0, name, getattr(self, name), "above 0")
        require(self.eval_every >= 0, "eval_every", self.eval_every, "at least 0")
        require(0 < self.share < 1, "share", self.share, "between 0 and 1")
        require(0 <= self.seed < 1_000_000_000, "seed", self.seed, "at least 0 and below 1000000000")


def chosen(names: str) -> list[str]:
    """The kinds named in `names`, joined by `+`, and those they are made from, each after what it needs.

    Raises:
      UsageError: for an unknown kind.
    """
    wanted: set[str] = set()
    for name in names.split("+"):
        if name not in KINDS:
            raise UsageError(f"there is no kind of dataset {name!r}: {nearest(name, KINDS)}")
        wanted |= {name, *_NEEDS.get(name, ())}
    return [kind for kind in _ORDER if kind in wanted]
