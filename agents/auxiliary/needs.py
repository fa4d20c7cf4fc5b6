"""Checks, before anything compiles, that agent and environment can give what the auxiliaries ask for."""

from collections.abc import Callable

from agents.agent import Feed, Replay, Unroll
from agents.auxiliary.auxiliary import NEEDS
from agents.auxiliary.pipeline import Pipeline
from envs.contract import Discrete, EnvSpec
from envs.errors import UsageError, nearest

# What an environment must be like; each takes its spec.
_ENVIRONMENT: dict[str, Callable[[EnvSpec], bool]] = {
    "grid_key": lambda spec: "next_grid_key" in spec.extras,
    "mission": lambda spec: isinstance(spec.obs, dict) and "mission" in spec.obs,
    "success": lambda spec: "success" in spec.extras,
    "tasks": lambda spec: spec.trial > 0,
    "discrete": lambda spec: isinstance(spec.action, Discrete),
}
# What the agent must be fed with; each takes its feed.
_FEED: dict[str, Callable[[Feed], bool]] = {
    "unroll": lambda feed: isinstance(feed, Unroll),
    "sequences": lambda feed: isinstance(feed, Unroll),
    "replay": lambda feed: isinstance(feed, Replay),
}


def check(pipeline: Pipeline, agent: str, feed: Feed, lends: tuple[str, ...] = ()) -> None:
    """Raises a sentence for the first need that is not met.

    Args:
      pipeline: the auxiliaries, and the spec of their environment.
      agent: the agent's name, for the sentence.
      feed: what the agent is fed with.
      lends: what the agent lends beside that: `per_example`, `taps:NAME`, `teacher`, `evaluate`.

    Raises:
      UsageError: for a need that environment or agent does not meet, or that is no need at all.
    """
    for member in pipeline.members:
        for need in member.needs:
            if need in _ENVIRONMENT:
                met, who = _ENVIRONMENT[need](pipeline.spec), pipeline.spec.id
            elif need in _FEED:
                met, who = _FEED[need](feed), agent
            elif need in NEEDS or need.startswith("taps:"):
                met, who = need in lends, agent
            else:
                raise UsageError(f"{member.name} asks for {need!r}, which is no known need: {nearest(need, NEEDS)}")
            if not met:
                wanted = NEEDS.get(need, f"an agent that shows its {need.removeprefix('taps:')}")
                raise UsageError(f"{member.name} needs {wanted}, and {who} is not one.")
