"""A whole run: opens what is named, drives the loops, and leaves a folder that says everything about itself.

    runs/NAME/config.json       agent, environment and options, resolved
    runs/NAME/metrics.jsonl     one line per interval
    runs/NAME/tensorboard/      the same as event files
    runs/NAME/checkpoints/      the last few, and the best
    runs/NAME/result.json       what came of it

Several seeds have a folder each, `runs/NAME/seed-0` and so on.
"""

import dataclasses
import os
from pathlib import Path
from typing import Any, NamedTuple

import agents
import envs
from agents.agent import Agent
from agents.config import build
from agents.training import devices, offline_loop, saved
from agents.training.config import TrainConfig
from agents.training.device_loop import DeviceLoop
from agents.training.driver import Driver, Interrupt
from agents.training.evaluation import Evaluator
from agents.training.host_loop import HostLoop
from agents.training.lock import alone
from agents.training.offline_loop import OfflineLoop
from agents.training.provenance import write_json
from agents.training.setup import prepare
from envs import wrappers
from envs.contract import Env, HostMaker
from envs.errors import UsageError
from envs.wrappers import Chain
from replay import dataset
from replay.dataset import Dataset


class Run(NamedTuple):
    """A run that was made: its folder, the folders of its seeds, and what came of each."""

    folder: Path
    seeds: tuple[Path, ...]
    results: tuple[dict[str, Any], ...]

    def __fspath__(self) -> str:
        return str(self.folder)


def train(agent: Agent, env: HostMaker | Env, *, wrap_options: dict[str, Any] | None = None, **options: Any) -> Run:
    """Trains an agent in an environment: `agents.train(agent, env, steps=2_000_000, seeds=4, out="runs/rooms")`.

    Args:
      agent: from `agents.make`.
      env: from `envs.make`.
      wrap_options: options of the wrappers that `wrap` names, such as `{"frame_stack.k": 4}`.
      **options: the fields of `TrainConfig`.

    Raises:
      UsageError: for an unknown or impossible option, or a folder that already holds another run.
      KeyboardInterrupt: after Ctrl-C, once everything is saved.
    """
    # Paths and runs may be given where the command line has text.
    paths = [name for name in ("out", "init_from", "data") if name in options]
    folders: dict[str, Any] = {name: os.fspath(options[name]) for name in paths}
    config = build(TrainConfig, {"env": env.spec.id, **options, **folders})
    prepare(config)
    return start(agent, env, wrap_options or {}, config)


def train_command(
    agent: str,
    options: dict[str, Any],
    train: TrainConfig,
    env_options: dict[str, Any],
    wrap_options: dict[str, Any],
) -> dict[str, Any]:
    """`auxin train`: builds agent and environment by name, trains, and returns the result as plain JSON."""
    prepare(train)
    env = envs.make(train.env, backend=train.backend or None, **_resumed(agent, train, env_options))
    spec = wrappers.parse(train.wrap, **wrap_options).spec(env.spec)
    made = agents.make(agent, spec, **options)
    if train.envs and made.config.get("envs", train.envs) != train.envs:  # its buffer must know how many there are
        made = agents.make(agent, spec, **{**options, "envs": train.envs})
    run = start(made, env, wrap_options, train)
    return run.results[0] if len(run.results) == 1 else {"runs": list(run.results), "out": str(run.folder)}


def _resumed(agent: str, train: TrainConfig, given: dict[str, Any]) -> dict[str, Any]:
    """The environment's options: a run that goes on has those it had (the number of levels, say) under those given."""
    out = Path(train.out or f"runs/{agent}-{train.env}")
    begun = [folder for folder in (out, out / f"seed-{train.seed}") if (folder / saved.CONFIG).exists()]
    if not train.resume or not begun:
        return given
    notes = saved.read_config(begun[0])
    same = notes["env"] == train.env and train.backend in (None, "", notes["backend"])
    had = dict(notes["env_options"]) if same else {}
    if given:
        had.pop("levels_hash", None)  # it names what the other options named together
    return {**had, **given}


def start(agent: Agent, env: HostMaker | Env, wrap_options: dict[str, Any], config: TrainConfig) -> Run:
    """Runs every seed: one after the other on the host and from a dataset, side by side on the device."""
    wrapper = wrappers.parse(config.wrap, **wrap_options)
    out = Path(config.out or f"runs/{agent.name}-{env.spec.id}")
    seeds = tuple(config.seed + index for index in range(config.seeds))
    folders = tuple(out / f"seed-{seed}" if config.seeds > 1 else out for seed in seeds)
    n = config.envs or agent.config.get("envs", 64)
    if config.devices > 1 and not isinstance(env, Env):
        raise UsageError(f"{env.spec.id} runs on the host, where one device learns: take --devices 1.")
    data = _dataset(agent, env, wrapper, config)
    digest = "" if data is None else dataset.digest(data)
    mesh = devices.mesh(config.devices, n) if isinstance(env, Env) and data is None else None
    for folder in folders:
        _claim(folder, agent, env, wrap_options, config, digest)
    evaluator = Evaluator(agent, env, wrapper, episodes=config.eval_episodes, greedy=not config.eval_sample)
    together = isinstance(env, Env) and data is None
    groups = [(seeds, folders)] if together else [((s,), (f,)) for s, f in zip(seeds, folders, strict=True)]
    results: list[dict[str, Any]] = []
    interrupt = Interrupt()
    with interrupt, alone(folders):
        for group, places in groups:
            if data is not None:
                loop: Any = OfflineLoop(agent, env.spec, wrapper, data, seed=group[0])
            elif isinstance(env, Env):
                loop = DeviceLoop(agent, env, wrapper, n=n, seeds=group, mesh=mesh)
            else:
                loop = HostLoop(agent, env, wrapper, n=n, seed=group[0])
            try:
                driver = Driver(loop, agent, env, evaluator, config, places, n, interrupt)
                results.extend(driver.run())
            finally:
                loop.close()
            if interrupt.asked:
                break
    if interrupt.asked:
        raise KeyboardInterrupt(f"stopped; everything is saved: the same command with --resume goes on in {out}")
    return Run(out, folders, tuple(results))


def _dataset(agent: Agent, env: HostMaker | Env, wrapper: Chain, config: TrainConfig) -> Dataset | None:
    """The dataset that the run learns from, if it is an offline one, found to be fit for it."""
    if not config.data:
        return None
    if config.devices > 1:
        raise UsageError("an offline run learns on one device: take --devices 1.")
    if agent.evolution:
        raise UsageError(f"{agent.name} plays episodes to choose by, and an offline run plays none: leave --data out.")
    if config.stop_at is not None and not config.eval_every:
        raise UsageError("an offline run plays episodes in evaluation alone: give --eval-every beside --stop-at.")
    data = dataset.read(config.data)
    offline_loop.require(agent, env.spec, wrapper, data)
    return data


def _claim(
    folder: Path, agent: Agent, env: HostMaker | Env, wrap_options: dict[str, Any], config: TrainConfig, digest: str
) -> None:
    """Makes the folder this run's own, or makes sure that it is; `digest` is its dataset's."""
    mine: dict[str, Any] = {
        "agent": agent.name,
        "options": agent.config,
        "env": env.spec.id,
        "env_version": env.spec.version,
        "backend": env.backend if isinstance(env, HostMaker) else "device",
        "env_options": env.options or {},
        "wrap": config.wrap,
        "wrap_options": wrap_options,
        "data": digest,
        "train": dataclasses.asdict(config),
    }
    if not (folder / saved.CONFIG).exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / saved.CONFIG, mine)
        return
    if not config.resume:
        raise UsageError(f"{folder} already holds a run: give --resume to go on with it, or another --out.")
    theirs = saved.read_config(folder)
    for name in ("agent", "options", "env", "env_options", "backend", "wrap", "wrap_options"):
        if _plain(theirs[name]) != _plain(mine[name]):
            raise UsageError(f"{folder} was begun with another {name}: {_difference(theirs[name], mine[name])}.")
    if theirs.get("data", "") != digest:
        had, has = (
            f"a dataset of checksum {each[:12]}" if each else "no dataset" for each in (theirs.get("data"), digest)
        )
        raise UsageError(f"{folder} was begun with {had}, and cannot go on with {has}.")
    for name in ("envs", "seed", "seeds", "eval_every", "eval_episodes", "eval_sample", "log_every"):
        if theirs["train"][name] != mine["train"][name]:
            was, now = theirs["train"][name], mine["train"][name]
            raise UsageError(f"{folder} was begun with {name} {was}, and cannot go on with {now}.")
    write_json(folder / saved.CONFIG, mine)


def _plain(value: Any) -> Any:
    """What JSON makes of a value: tuples become lists."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, tuple | list) else value


def _difference(theirs: Any, mine: Any) -> str:
    if isinstance(theirs, dict) and isinstance(mine, dict):
        for name in sorted(theirs.keys() | mine.keys()):
            if _plain(theirs.get(name)) != _plain(mine.get(name)):
                return f"{name} was {theirs.get(name)} and is {mine.get(name)}"
    return f"it was {theirs} and is {mine}"
