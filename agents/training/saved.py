"""Opening a run's folder: the agent, its environment and its trained state, as they were when it was saved."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import agents
import envs
from agents.agent import Agent, State
from agents.training import actor, checkpoints, learner
from envs.contract import Env, HostMaker, PyTree, TimeStep
from envs.errors import UsageError, nearest
from envs.wrappers import Chain, WrapperState, parse

CONFIG = "config.json"
_NOTES = {"agent", "options", "env", "backend", "env_options", "wrap", "wrap_options", "train"}


class Saved(NamedTuple):
    """A run as it was saved."""

    path: Path
    step: int
    agent: Agent
    env: HostMaker | Env
    wrapper: Chain
    state: State
    wrapper_state: WrapperState


class Policy(NamedTuple):
    """A trained policy. `policy(obs, carry)` with a batch `[B, ...]` gives `(action, carry)`, greedily.

    Begin with `policy.begin(B)`, and take a fresh one wherever an episode ends.
    """

    call: Callable[[PyTree, PyTree], tuple[PyTree, PyTree]]
    begin: Callable[[int], PyTree]
    spec: Any

    def __call__(self, obs: PyTree, carry: PyTree) -> tuple[PyTree, PyTree]:
        """The action for a batch of observations, and what to remember."""
        return self.call(obs, carry)


def seed_folders(run: str | Path) -> list[Path]:
    """The folders of a run's seeds: the run's own, or its `seed-*` folders in order."""
    run = Path(run)
    if (run / CONFIG).exists():
        return [run]
    found = sorted(run.glob(f"seed-*/{CONFIG}"), key=lambda path: int(path.parent.name.removeprefix("seed-")))
    if not found:
        known = [str(path.parent) for path in run.parent.glob(f"*/{CONFIG}")] if run.parent.is_dir() else []
        raise UsageError(f"{run} holds no run: {nearest(str(run), known)}")
    return [path.parent for path in found]


def open_run(run: str | Path, checkpoint: str = "best") -> Saved:
    """Opens the run in a folder; of several seeds, the first.

    Args:
      run: the folder given to `--out`, or one seed's.
      checkpoint: `"best"` (the last where no evaluation chose one) or `"last"`.

    Raises:
      UsageError: if there is no run, no sound checkpoint, or the run was made by something this version does not know.
    """
    folder = seed_folders(run)[0]
    if checkpoint not in ("best", "last"):
        raise UsageError(f"checkpoint {checkpoint!r} is unknown: {nearest(checkpoint, ['best', 'last'])}")
    notes = read_config(folder)
    env = envs.make(notes["env"], backend=notes["backend"], **notes["env_options"])
    wrapper = parse(notes["wrap"], **notes["wrap_options"])
    agent = agents.make(notes["agent"], wrapper.spec(env.spec), **notes["options"])
    path = (checkpoints.best(folder / "checkpoints") if checkpoint == "best" else None) or checkpoints.latest(
        folder / "checkpoints"
    )
    if path is None:
        raise UsageError(f"{folder} holds no sound checkpoint yet.")
    return read(path, agent, env, wrapper)


def read_config(folder: Path) -> dict[str, Any]:
    """What a run's folder says of itself."""
    try:
        notes = json.loads((folder / CONFIG).read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder / CONFIG} cannot be read as a run's configuration.") from error
    if not isinstance(notes, dict) or not notes.keys() >= _NOTES:
        raise UsageError(f"{folder / CONFIG} is not the configuration of a run of Auxin.")
    return notes


def read(path: Path, agent: Agent, env: HostMaker | Env, wrapper: Chain) -> Saved:
    """Reads what acting needs out of one checkpoint of a run."""
    meta = checkpoints.read_meta(path)
    check_levels(meta, env, path)
    state, wrapped = shapes(agent, env, wrapper, meta["n"])
    return Saved(
        path=path,
        step=meta["step"],
        agent=agent,
        env=env,
        wrapper=wrapper,
        state=checkpoints.load_part(path, "['learner'].state", state),
        wrapper_state=checkpoints.load_part(path, "['acting'].wrapper", wrapped),
    )


def levels_hash(env: HostMaker | Env) -> str:
    """The hash of the levels that an environment's episodes begin with, empty where it has none."""
    return (env.options or {}).get("levels_hash", "")


def check_levels(meta: dict[str, Any], env: HostMaker | Env, path: Path) -> None:
    """Raises UsageError where a checkpoint was trained on other levels than `env` has: it holds their hash alone."""
    trained, here = meta.get("levels_hash", ""), levels_hash(env)
    if trained != here:
        names = [f"levels of hash {hash[:12]}" if hash else "no fixed levels" for hash in (trained, here)]
        raise UsageError(f"{path} was trained on {names[0]}, and the environment has {names[1]}.")


def shapes(agent: Agent, env: HostMaker | Env, wrapper: Chain, n: int) -> tuple[State, WrapperState]:
    """The shapes of an agent's state and of its wrappers' state."""
    spec = wrapper.spec(env.spec)
    state = jax.eval_shape(lambda: learner.begin(agent, jax.random.key(0), spec))
    return state, jax.eval_shape(lambda: wrapper.init(env.spec, n))


def load(run: str | Path, checkpoint: str = "best") -> Policy:
    """The trained policy of a run: `policy = agents.load("runs/rooms")`.

    carry = policy.begin(1)
    action, carry = policy(obs, carry)
    """
    return policy(open_run(run, checkpoint))


def policy(saved: Saved) -> Policy:
    """The policy of an opened run, its wrappers' statistics included.

    A wrapper that stacks frames or repeats actions remembers each environment, so the carry holds its memory too.

    Raises:
      UsageError: for an agent that finds out its task from rewards, which a policy of observations is not told.
    """
    spec = saved.env.spec
    if saved.agent.belief:
        raise UsageError(
            f"{saved.agent.name} finds out its task from what actions were paid, and a policy of observations alone is "
            "not told: evaluate and adapt play its trials."
        )

    def begin(n: int) -> PyTree:
        wrapped = saved.wrapper.init(spec, n)
        return {"agent": saved.agent.begin(saved.state, n), "wrapper": wrapped.each, "fresh": jnp.ones(n, bool)}

    def call(obs: PyTree, carry: PyTree) -> tuple[PyTree, PyTree]:
        n = carry["fresh"].shape[0]
        extras = {name: jnp.zeros((n, *leaf.shape), leaf.dtype) for name, leaf in spec.extras.items()}
        # At the start of an episode wrappers and memory must see what a reset shows them.
        raw = TimeStep(obs, jnp.zeros(n), jnp.ones(n), carry["fresh"], obs, extras)
        wrapped = saved.wrapper_state._replace(each=carry["wrapper"])
        found = actor.decide(
            saved.agent, saved.wrapper, True, jax.random.key(0), saved.state, carry["agent"], wrapped, raw
        )
        return found.sent, {"agent": found.carry, "wrapper": found.wrapper.each, "fresh": jnp.zeros(n, bool)}

    return Policy(jax.jit(call), begin, spec)
