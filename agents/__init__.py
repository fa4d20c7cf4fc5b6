"""Agents: `make` one by name, `train` it, `evaluate` what came of it, `load` its policy.

    env = envs.make("MiniGrid-KeyCorridorS3R3-v0")
    agent = agents.make("bebold", env.spec, entropy_cost=5e-4)
    run = agents.train(agent, env, steps=2_000_000, out="runs/corridor")
    print(agents.evaluate(run, episodes=200))

Nothing is imported before it is used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agents.agent import Agent
    from agents.training.run import Run
    from agents.training.saved import Policy
    from envs.contract import Env, EnvSpec, HostMaker

__all__ = ["evaluate", "load", "make", "train"]


def make(name: str, spec: "EnvSpec", *, preset: str | None = None, **options: Any) -> "Agent":
    """The agent called `name` for an environment.

    Args:
      name: `ppo`, `impala`, `bebold`, or another member of the agent door.
      spec: the environment's spec.
      preset: a named set of options for this agent and environment; `options` override it.
      **options: fields of the agent's `Config`; options of its parts as `**{"rnd.coef": 0.1}`.

    Raises:
      UsageError: for an unknown name or option, a value out of range, or an environment that cannot give what the
        agent needs.
    """
    import agents.presets as presets
    import agents.registry as registry

    if preset:
        options = presets.resolve(name, preset, spec.id, options)
    return registry.load("agent", name).make(spec, **options)


def train(agent: "Agent", env: "HostMaker | Env", **options: Any) -> "Run":
    """Trains `agent` in `env` and leaves a folder that says everything; see `agents.training.run.train`."""
    from agents.training import run

    return run.train(agent, env, **options)


def evaluate(run: Any, **options: Any) -> dict[str, Any]:
    """Evaluates a run by its folder; see `agents.training.evaluation.evaluate_run`."""
    from agents.training import evaluation

    return evaluation.evaluate_run(run, **options)


def load(run: Any, checkpoint: str = "best") -> "Policy":
    """The trained policy of a run; see `agents.training.saved.load`."""
    from agents.training import saved

    return saved.load(run, checkpoint)
