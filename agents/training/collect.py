"""Datasets made by the project's own agents, in the kinds of D4RL (Fu et al., 2020): one training, several datasets.

    OUT/random/          actions drawn evenly
    OUT/medium/          the policy at a share of the way from the random return to the expert's
    OUT/medium-replay/   what the training had in its replay buffer up to there
    OUT/expert/          the policy at the end of the training
    OUT/medium-expert/   medium and expert together, twice as many
    OUT/runs/            the trainings: the expert's, and the same once more up to the medium policy
    OUT/collect.json     what was asked for

What is finished is not made again, so a command that was stopped goes on where it was.
"""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import agents
import envs
from agents.agent import Agent, Unroll
from agents.training import checkpoints, metrics, saved
from agents.training.config import TrainConfig
from agents.training.kinds import KINDS, CollectConfig, chosen
from agents.training.playing import Play, buffered, by_policy, evenly
from agents.training.provenance import plain, provenance, write_json
from agents.training.run import train
from agents.training.setup import prepare
from envs import wrappers
from envs.contract import Env, HostMaker
from envs.errors import UsageError
from replay import dataset
from replay.dataset import Dataset

REQUEST = "collect.json"
_SEED = 3_000_017  # between the seeds of two kinds, so that no two play the same episodes


class Job(NamedTuple):
    """A collection under way: what was asked for, with whom, and where it goes."""

    config: CollectConfig
    agent: Agent
    env: HostMaker | Env
    out: Path


def collect(config: CollectConfig, options: dict[str, Any], env_options: dict[str, Any]) -> dict[str, Any]:
    """Makes the datasets that are missing, and returns what there is as plain JSON.

    Args:
      config: what to make.
      options: the agent's, and those of its parts.
      env_options: the environment's.

    Raises:
      UsageError: for an unknown kind or option, a folder that was begun with others, an agent that has no buffer of
        single records where `medium-replay` is asked for, and one that did not get better than random.
      KeyboardInterrupt: after Ctrl-C, once everything is saved.
    """
    kinds = chosen(config.kinds)
    prepare(TrainConfig())
    env = envs.make(config.env, backend=config.backend or None, **env_options)
    agent = agents.make(config.agent, env.spec, **options)
    if "medium-replay" in kinds:
        _require_records(agent)
    job = Job(config, agent, env, Path(config.out or f"data/{env.spec.id}"))
    _claim(job)
    try:
        made = {kind: _made(job, kind) for kind in kinds}
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"stopped; the same command goes on in {job.out}.") from None
    each = {
        kind: {"folder": str(job.out / kind), "digest": dataset.digest(made[kind]), **dataset.statistics(made[kind])}
        for kind in KINDS
        if kind in made
    }
    return {"out": str(job.out), "env": env.spec.id, "agent": agent.name, "datasets": each}


def _require_records(agent: Agent) -> None:
    kept = agent.config.get("replay")
    if isinstance(agent.feed, Unroll) or kept not in ("uniform", "prioritised") or agent.config.get("n_step", 1) > 1:
        raise UsageError(
            f"medium-replay is what a buffer of single steps holds, and this {agent.name} has none: take an off-policy "
            "agent with replay=uniform and n_step=1, or leave that kind out of --kinds."
        )


def _claim(job: Job) -> None:
    """Makes the folder this collection's own, or makes sure that it is."""
    asked = dataclasses.asdict(job.config)
    mine = {name: value for name, value in asked.items() if name not in ("kinds", "out", "quiet", "preset", "backend")}
    mine |= {"backend": _backend(job.env), "env_options": job.env.options or {}, "options": job.agent.config}
    path, mine = job.out / REQUEST, plain(mine)
    if not path.exists():
        write_json(path, mine)
        return
    theirs = json.loads(path.read_text(encoding="utf-8"))
    for name in mine:
        if theirs.get(name) != mine[name]:
            raise UsageError(f"{job.out} holds datasets made with another {name}: take another --out.")


def _backend(env: HostMaker | Env) -> str:
    return env.backend if isinstance(env, HostMaker) else "device"


# ------------------------------------------------------------------------------------------------------- THE KINDS


def _made(job: Job, kind: str) -> Dataset:
    """The dataset of a kind, read if it is there and else made and saved."""
    folder = job.out / kind
    if (folder / dataset.NOTES).exists():
        return dataset.load(folder)
    makers = {"random": _random, "medium": _medium, "medium-replay": _medium_replay, "expert": _expert}
    data = makers[kind](job) if kind in makers else _joined(job)
    facts = {
        "env": job.env.spec.id,
        "env_version": job.env.spec.version,
        "backend": _backend(job.env),
        "env_options": job.env.options or {},
        "kind": kind,
        "seed": job.config.seed,
        "provenance": provenance(job.config.seed, job.env.spec),
    }
    data = data._replace(facts=plain({**facts, **data.facts, "kind": kind}))
    dataset.save(data, folder)
    return data


def _random(job: Job) -> Dataset:
    return evenly(_play(job, "random"))


def _expert(job: Job) -> Dataset:
    return _played(job, "expert", _trained(job, "expert"))


def _medium(job: Job) -> Dataset:
    return _played(job, "medium", _half_trained(job))


def _medium_replay(job: Job) -> Dataset:
    path = _half_trained(job)
    return _told(job, path, buffered(job.agent, job.env, path, job.config.seed))


def _joined(job: Job) -> Dataset:
    return dataset.concatenate([_made(job, "medium"), _made(job, "expert")])


def _played(job: Job, kind: str, path: Path) -> Dataset:
    opened = saved.read(path, job.agent, job.env, wrappers.parse(""))
    return _told(job, path, by_policy(_play(job, kind), job.agent, opened.state, job.config.greedy))


def _told(job: Job, path: Path, data: Dataset) -> Dataset:
    """The dataset with what made it among its facts."""
    made = {"agent": job.agent.name, "options": job.agent.config, "greedy": job.config.greedy}
    evaluated = _evaluations(path.parent.parent)[-1]
    return data._replace(
        facts={**data.facts, **made, "step": checkpoints.read_meta(path)["step"], "evaluated": evaluated}
    )


def _play(job: Job, kind: str) -> Play:
    seed = job.config.seed + _SEED * (1 + KINDS.index(kind))
    return Play(job.env, job.config.size, seed, kind, job.config.quiet)


# ---------------------------------------------------------------------------------------------------- THE TRAININGS


def _half_trained(job: Job) -> Path:
    """The checkpoint of the first evaluation that comes as far as `share` from the random return to the final one.

    A run repeats bit for bit, so the same training once more, stopped there, is the expert's own past; the runs need
    not keep a checkpoint, with its buffer, of every evaluation.
    """
    final = _evaluations(_trained(job, "expert").parent.parent)[-1]
    random = dataset.statistics(_made(job, "random"))["return_mean"]
    if math.isnan(random):
        raise UsageError(f"no episode of {job.env.spec.id} ends within {job.config.size} random steps: raise --size.")
    if final <= random:
        raise UsageError(
            f"{job.agent.name} returned {final:.4g} in the end and random actions {random:.4g}: raise --steps."
        )
    path = _trained(job, "medium", stop_at=random + job.config.share * (final - random))
    updates = jax.ShapeDtypeStruct((), jnp.int32)
    if not checkpoints.load_part(path, "['learner'].state.updates", updates):
        raise UsageError(
            f"{job.agent.name} came {job.config.share:.0%} of the way from random, {random:.4g}, to its final return, "
            f"{final:.4g}, before it had learned: raise --steps or --share, in another --out."
        )
    return path


def _trained(job: Job, name: str, **options: Any) -> Path:
    """The last checkpoint of a training, which goes on where it was, unless it is done."""
    config, folder = job.config, job.out / "runs" / name
    result = folder / "result.json"
    if not result.exists() or json.loads(result.read_text())["stopped"] not in ("steps", "return"):
        train(
            job.agent,
            job.env,
            out=folder,
            steps=config.steps,
            seed=config.seed,
            eval_every=config.eval_every or max(1, config.steps // 50),
            eval_episodes=config.eval_episodes,
            keep=1,
            resume=True,
            quiet=config.quiet,
            tensorboard=False,
            **options,
        )
    path = checkpoints.latest(folder / "checkpoints")
    if path is None:
        raise UsageError(f"{folder} holds no sound checkpoint: remove that folder to train once more.")
    return path


def _evaluations(folder: Path) -> list[float]:
    """The mean returns of a run's evaluations."""
    return [row["eval/return_mean"] for row in metrics.read(folder) if "eval/return_mean" in row]
