"""Whole runs of one agent on one task as the trials of a search, made again and again without compiling anew.

In an environment on the device all runs of a stage are the seeds of one loop; on the host they follow one another, or
share the processes of Ray, here or on other machines.
"""

import importlib
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import agents
import envs
from agents.agent import State
from agents.auxiliary.tool import Outcome
from agents.training.config import TrainConfig
from agents.training.device_loop import DeviceLoop
from agents.training.host_loop import HostLoop
from agents.training.learner import Episodes
from agents.training.progress import Progress
from agents.training.search import Job, Trials
from agents.training.setup import prepare
from envs import wrappers
from envs.contract import Env, HostMaker, PyTree
from envs.errors import UsageError, missing_extra


class Task(NamedTuple):
    """What every run of a search has in common; plain values, for other processes make their own of it.

    Attributes:
      agent: the agent's name.
      options: its options.
      env: the environment's id.
      backend: what runs it; None takes the first that it has.
      env_options: the environment's options.
      steps: environment steps of a run.
      epoch: environment steps of an epoch, counted from where learning begins.
    """

    agent: str
    options: dict[str, Any]
    env: str
    backend: str | None
    env_options: dict[str, Any]
    steps: int
    epoch: int


class Played(NamedTuple):
    """What a run leaves: mean returns of the episodes that ended in each epoch `[E]`, and what is kept of its end."""

    returns: np.ndarray
    kept: PyTree


class Manner(NamedTuple):
    """How proposals become runs and runs outcomes: functions of a module, for other processes import them.

    Attributes:
      lend: `(state, proposal) -> state`, an agent's first state under a proposal.
      keep: `(state) -> tree`, what is kept of its last one; of several runs at once every leaf has a leading axis.
      read: `(played) -> outcome`.
    """

    lend: Callable[[State, dict[str, Any]], State]
    keep: Callable[[State], PyTree]
    read: Callable[[Played], Outcome]


Told = Callable[[int, float], None]  # steps done of all runs together, and the mean return of the latest epoch


class Runs:
    """Runs of a task, compiled once.

    Raises:
      UsageError: for a task that cannot be, or a run without a whole epoch.
    """

    def __init__(self, task: Task, manner: Manner):
        self.task, self.manner = task, manner
        self.env = envs.make(task.env, backend=task.backend, **task.env_options)
        self.agent = agents.make(task.agent, self.env.spec, **task.options)
        self.warmup = self.agent.config.get("warmup", 0)
        self.epochs = (task.steps - self.warmup) // task.epoch
        if self.epochs < 1:
            raise UsageError(
                f"a run of {task.steps:,} steps has no whole epoch of {task.epoch:,} after its first {self.warmup:,}: "
                "give it more steps."
            )
        self._n = self.agent.config.get("envs", 1)
        self._loop: _Seeds | None = None

    def play(
        self, proposals: list[dict[str, Any]], seeds: list[int], told: Told = lambda *_: None
    ) -> Iterator[Outcome]:
        """One run for each proposal, with a seed below 2^31 each, in their order; `told` hears how far they are."""
        if isinstance(self.env, Env):
            yield from map(self.manner.read, self._side_by_side(self.env, proposals, seeds, told))
            return
        for index, (proposal, seed) in enumerate(zip(proposals, seeds, strict=True)):
            yield self.manner.read(
                self._alone(self.env, proposal, seed, partial(_later, told, index * self.task.steps))
            )

    def _side_by_side(self, env: Env, proposals: list[Any], seeds: list[int], told: Told) -> list[Played]:
        if self._loop is None or len(self._loop.seeds) != len(seeds):
            self._loop = _Seeds(self.agent, env, wrappers.parse(""), n=self._n, seeds=tuple(seeds))
        loop = self._loop
        loop.begin(tuple(seeds), self.manner.lend, proposals)
        marks = self._marks(loop.steps_per_update)
        means: list[np.ndarray] = []
        before = np.zeros(len(seeds), int)
        for mark in marks:
            loop.advance(count=mark - loop.updates, total=marks[-1])
            episodes = jax.device_get(loop.learner.episodes)
            each = [jax.tree.map(lambda leaf, i=i: leaf[i], episodes) for i in range(len(seeds))]
            means.append(np.asarray([_mean_return(one, start) for one, start in zip(each, before, strict=True)]))
            before = episodes.ended
            told(loop.updates * loop.steps_per_update * len(seeds), _mean(means[-1]))
        kept = jax.device_get(self.manner.keep(loop.learner.state))
        returns = _whole(np.stack(means[1:], 1))
        return [Played(returns[i], jax.tree.map(lambda leaf, i=i: leaf[i], kept)) for i in range(len(seeds))]

    def _alone(self, env: HostMaker, proposal: dict[str, Any], seed: int, told: Told) -> Played:
        loop = HostLoop(self.agent, env, wrappers.parse(""), n=self._n, seed=seed)
        try:
            loop.start()
            lent = self.manner.lend(loop.learner.state, proposal)
            loop.learner = loop.learner._replace(state=jax.tree.map(_own, lent))
            marks, means, before = self._marks(loop.steps_per_update), [], 0
            for mark in marks:
                while loop.updates < mark:
                    loop.advance(count=1, total=marks[-1])
                episodes = jax.device_get(loop.learner.episodes)
                means.append(_mean_return(episodes, before))
                before = int(episodes.ended)
                told(loop.updates * loop.steps_per_update, means[-1])
            kept = jax.device_get(self.manner.keep(loop.learner.state))
            return Played(_whole(np.asarray([means[1:]]))[0], kept)
        finally:
            loop.close()

    def _marks(self, each: int) -> list[int]:
        """The updates at which the warm-up, every epoch, and the run are over; an update takes in `each` steps."""
        ends = [self.warmup + epoch * self.task.epoch for epoch in range(self.epochs + 1)]
        return [max(1, math.ceil(end / each)) for end in (*ends[:-1], self.task.steps)]


class _Seeds(DeviceLoop):
    """A device loop that begins again with other seeds."""

    def begin(self, seeds: tuple[int, ...], lend: Callable, proposals: list[dict[str, Any]]) -> None:
        self.seeds, self._seeds = seeds, np.asarray(seeds, np.uint32)
        self.start()
        trees = [self.tree(index) for index in range(len(seeds))]
        for tree, proposal in zip(trees, proposals, strict=True):
            lent = lend(tree["learner"].state, proposal)
            tree["learner"] = tree["learner"]._replace(state=jax.tree.map(_own, lent))
        self.restore(trees)


def _own(leaf: jax.Array) -> jax.Array:
    """A copy that a loop may overwrite, not weakly typed as `jnp.full(n, 0.5)` is.

    What an update returns is never weakly typed, and the second call would compile anew.
    """
    return jnp.copy(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.extended) else jnp.array(leaf, leaf.dtype)


def _later(told: Told, before: int, step: int, mean: float) -> None:
    """Tells of a run that began after `before` steps of others."""
    told(before + step, mean)


def _mean_return(episodes: Episodes, before: int) -> float:
    """The mean return of the episodes that ended after the first `before`, NaN where none did."""
    ended, ring = int(episodes.ended), len(episodes.returns)
    places = np.arange(max(int(before), ended - ring), ended) % ring
    return _mean(np.asarray(episodes.returns)[places])


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else math.nan


def _whole(returns: np.ndarray) -> np.ndarray:
    """Returns `[R, E]` with that of the epoch before where no episode ended, and of the one after at the beginning."""
    filled = np.array(returns, np.float32)
    for row in filled:
        known = np.flatnonzero(np.isfinite(row))
        if known.size:
            at = np.arange(len(row))
            row[:] = row[known[np.maximum(np.searchsorted(known, at, side="right") - 1, 0)]]
    return filled


# ----------------------------------------------------------------------------------------------------------- TRIALS


def trials(task: Task, manner: Manner, *, workers: int, stages: int, quiet: bool) -> Trials:
    """Trials that are runs of a task.

    Args:
      task: what is run.
      manner: how a proposal becomes a run, and a run an outcome.
      workers: processes of Ray that share the runs; 1 makes them all in this one.
      stages: how many stages there are, for the display; 0 where it is not about stages.
      quiet: show no progress.

    Raises:
      UsageError: where several workers are asked for without Ray.
    """
    if workers > 1:
        require_ray()
    runs: list[Runs] = []  # made when they are first needed, for there may be nothing left to do

    def here(jobs: list[Job], progress: Progress) -> Iterator[tuple[Job, Outcome]]:
        if not runs:
            runs.append(Runs(task, manner))
        seeds = [seed_of(job.key) for job in jobs]
        outcomes = runs[0].play(
            [job.proposal for job in jobs], seeds, lambda step, mean: progress.update(step, {"return": mean})
        )
        yield from zip(jobs, outcomes, strict=True)

    def elsewhere(jobs: list[Job], progress: Progress) -> Iterator[tuple[Job, Outcome]]:
        calls = [(jax.tree.map(np.asarray, job.proposal), seed_of(job.key)) for job in jobs]
        for done, (index, outcome) in enumerate(by_ray(partial(_one, task, manner), workers, calls)):
            progress.update((done + 1) * task.steps, {"score": outcome.score})
            yield jobs[index], outcome

    def made(jobs: list[Job]) -> Iterator[tuple[Job, Outcome]]:
        label = f"stage {jobs[0].stage + 1} of {stages}" if stages else task.agent
        with Progress(len(jobs) * task.steps, label, quiet=quiet) as progress:
            yield from (elsewhere if workers > 1 else here)(jobs, progress)

    return made


def _one(task: Task, manner: Manner) -> Callable[[dict[str, Any], int], Outcome]:
    """A function that makes one run, in the process in which it was made."""
    prepare(TrainConfig())
    runs = Runs(task, manner)
    return lambda proposal, seed: next(runs.play([proposal], [seed]))


def seed_of(key: jax.Array) -> int:
    """A seed for environments out of a key."""
    return int(jax.random.randint(key, (), 0, 2_000_000_000))


def by_ray(made: Callable[[], Any], workers: int, calls: list[tuple[Any, ...]]) -> Iterator[tuple[int, Any]]:
    """`(index, made()(*call))` of each call once it is done, in `workers` processes of Ray that keep what they made.

    Where a cluster is known (`RAY_ADDRESS`) its machines share the work.

    Raises:
      UsageError: where Ray is not installed.
    """
    ray = require_ray()
    if not ray.is_initialized():
        ray.init(log_to_driver=False, include_dashboard=False)

    class Worker:
        def __init__(self) -> None:
            self._call = made()

        def call(self, index: int, call: tuple[Any, ...]) -> tuple[int, Any]:
            return index, self._call(*call)

    # A core each: one more than there are would wait for its core, and its runs with it, for ever.
    count = min(workers, len(calls), max(1, int(ray.cluster_resources().get("CPU", 1))))
    actors = [ray.remote(Worker).options(num_cpus=1).remote() for _ in range(count)]
    pool = importlib.import_module("ray.util").ActorPool(actors)
    try:
        yield from pool.map_unordered(lambda actor, item: actor.call.remote(*item), list(enumerate(calls)))
    finally:
        for actor in actors:
            ray.kill(actor)


def require_ray() -> Any:
    """The package Ray.

    Raises:
      UsageError: where it is not installed.
    """
    try:
        return importlib.import_module("ray")
    except ImportError:
        raise missing_extra("ray", "Ray") from None
