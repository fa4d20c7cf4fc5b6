"""Evaluation: seeded episodes on environments of their own, statistics frozen, and what they scored."""

import functools
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import envs
from agents.agent import Agent, State
from agents.training.statistics import interval, linear_probe, summary, wilson
from envs.contract import Env, HostEnv, HostMaker, TimeStep
from envs.errors import UsageError
from envs.wrappers import Chain, WrapperState

FEWEST_PROBED = 8  # tasks that a probe of beliefs is fitted to
MOST_DISCARDED = 10  # episodes whose simulation diverged for each that is asked for


class Scores(NamedTuple):
    """What `N` episodes scored, each `[N]`, in a fixed order; `success` is None where the environment reports none.

    `scores` are those that the spec names, as they were at the end of each episode, and where steps have a `cost` its
    mean over each episode. In a family of tasks `beliefs` `[N, D]` is what the agent believed of each task at the end
    of its trial, if it has beliefs, and `tasks` `[N, k]` their parameters.
    """

    returns: np.ndarray
    lengths: np.ndarray
    success: np.ndarray | None
    scores: dict[str, np.ndarray] = {}  # noqa: RUF012
    beliefs: np.ndarray | None = None
    tasks: np.ndarray | None = None


def report(scores: list[Scores]) -> dict[str, Any]:
    """What one or several seeds scored: interquartile mean of the returns, mean length, success rate, mean `scores`.

    The 95% intervals are bootstrapped over seeds and their episodes; a single seed's success rate has Wilson's.
    """
    returns = np.stack([each.returns for each in scores])
    found = {f"return_{name}": value for name, value in summary(returns).items() if name != "n"}
    found |= {"episodes": returns.size, "length": float(np.mean([each.lengths for each in scores]))}
    successes = [each.success for each in scores if each.success is not None]
    if successes:
        table = np.stack(successes)
        low, high = interval(table, np.mean) if len(table) > 1 else wilson(int(table.sum()), table.size)
        found |= {"success": float(table.mean()), "success_low": low, "success_high": high}
    for name in scores[0].scores:
        table = np.stack([each.scores[name] for each in scores])
        low, high = interval(table, np.mean)
        found |= {name: float(table.mean()), f"{name}_low": low, f"{name}_high": high}
    return found


class Evaluator:
    """Evaluates states of one agent in one environment; compiles once, opens a fresh engine for every evaluation.

    An environment with levels or tasks kept apart for evaluation is evaluated on these. In a family of tasks `episodes`
    of them are played, for a trial each. Its last episode is what is reported, beside it every one's return and success
    (`return_1`, `success_1` and so on), and where the agent has beliefs how well they tell the task (`probe`).
    """

    def __init__(self, agent: Agent, env: HostMaker | Env, wrapper: Chain, *, episodes: int, greedy: bool = True):
        kept = env.evaluation or env
        self._maker = kept if isinstance(kept, HostMaker) else host_view(kept)
        self._agent, self.wrapper = agent, wrapper
        self._episodes, self._n, self._trial = episodes, min(episodes, 64), self._maker.spec.trial
        if self._trial:
            self._n = min(episodes, int(self._maker.spec.extras["task_id"].high or 0) + 1)

        def decide(key, step, state, carry, wrapped, raw):
            key = jax.random.fold_in(key, step)
            act_key, wrap_key = jax.random.split(key)
            wrapped, timestep = wrapper.timestep(wrapped, raw, True)
            action, carry, _ = agent.act(act_key, state, carry, timestep, greedy)
            wrapped, sent = wrapper.action(wrap_key, wrapped, action)
            return sent, carry, wrapped

        self._decide = jax.jit(decide)

    def __call__(self, state: State, trained: WrapperState, seed: int, watch=None) -> Scores:
        """Plays the episodes; `watch(env)` is called before every step (to draw it, say).

        Every one of the `n` places plays the same number of episodes, so that short ones are not over-counted.
        """
        n = self._n
        rounds = self._trial or -(-self._episodes // n)
        env = self._maker.open(seed=seed, n=n, **({"render": True} if watch else {}))
        try:
            return self._play(env, state, trained, jax.random.key(seed), rounds, watch)
        finally:
            env.close()

    def _play(self, env: HostEnv, state: State, trained: WrapperState, key, rounds: int, watch) -> Scores:
        n = env.n
        wrapped = self.wrapper.init(self._maker.spec, n)._replace(shared=trained.shared)
        carry = self._agent.begin(state, n)
        raw = env.reset()
        current, cost, steps = np.zeros(n), np.zeros(n), np.zeros(n, int)
        found: list[list[tuple[Any, ...]]] = [[] for _ in range(n)]
        spec = self._maker.spec
        reports_success, costs = "success" in spec.extras, "cost" in spec.extras
        beliefs: list[Any] = [None] * n
        tasks: list[Any] = [None] * n
        step = discarded = 0
        while any(len(episodes) < rounds for episodes in found):
            if watch:
                watch(env, step)
            sent, carry, wrapped = self._decide(key, np.uint32(step), state, carry, wrapped, raw)
            raw = env.step(np.asarray(sent))
            current += raw.reward
            cost += raw.extras["cost"] if costs else 0.0
            steps += 1
            if self._trial and self._agent.belief and raw.extras["trial_last"].any():
                believed = np.asarray(self._agent.belief(carry))
                for index in np.flatnonzero(raw.extras["trial_last"]):
                    if beliefs[index] is None:
                        beliefs[index], tasks[index] = believed[index], raw.extras["task"][index]
            for index in np.flatnonzero(raw.last):
                if not np.isfinite(current[index]):
                    discarded += 1
                    current[index], cost[index], steps[index] = 0.0, 0.0, 0
                    continue
                success = bool(raw.extras["success"][index]) if reports_success else False
                scores = [float(raw.extras[name][index]) for name in spec.scores]
                scores += [float(cost[index] / steps[index])] if costs else []
                found[index].append((float(current[index]), int(steps[index]), success, *scores))
                current[index], cost[index], steps[index] = 0.0, 0.0, 0
            if discarded > MOST_DISCARDED * self._episodes:
                raise UsageError(f"{spec.id} was simulated to numbers that are not finite {discarded} times.")
            step += 1
        # Round by round, so that the first `episodes` are spread over all places.
        flat = [episodes[turn] for turn in range(rounds) for episodes in found]
        flat = flat[-n:] if self._trial else flat[: self._episodes]
        returns, lengths, successes, *scored = (np.asarray(column) for column in zip(*flat, strict=True))
        by_name = dict(zip((*spec.scores, *["cost"] * costs), scored, strict=True))
        for turn in range(self._trial):
            by_name[f"return_{turn + 1}"] = np.asarray([episodes[turn][0] for episodes in found])
            if reports_success:
                by_name[f"success_{turn + 1}"] = np.asarray([float(episodes[turn][2]) for episodes in found])
        result = Scores(returns, lengths, successes if reports_success else None, by_name)
        if any(belief is None for belief in beliefs):
            return result
        believed, played = np.stack(beliefs), np.stack(tasks)
        if n >= FEWEST_PROBED:
            by_name["probe"] = linear_probe(believed, played)
        return result._replace(beliefs=believed, tasks=played)


def host_view(env: Env) -> HostMaker:
    """A device environment behind the host's interface, for evaluation; it is not saved or restored."""

    @functools.cache
    def compiled(n: int):
        batch = envs.batch(env, n)
        return jax.jit(batch.reset), jax.jit(batch.step), jax.tree.map(jnp.asarray, env.data)

    def open_env(seed: int, n: int, render: bool = False) -> HostEnv:
        if render and env.picture is None:
            raise UsageError(f"{env.spec.id} cannot draw itself.")
        reset, step, data = compiled(n)
        key = jax.random.key(seed)
        at: dict[str, Any] = {"count": 0}

        def first() -> TimeStep:
            at["states"], timestep = reset(jax.random.fold_in(key, 0), data)
            return jax.device_get(timestep)

        def advance(actions: np.ndarray) -> TimeStep:
            at["count"] += 1
            number = jax.random.fold_in(key, at["count"])
            at["states"], timestep = step(number, at["states"], jnp.asarray(actions), data)
            return jax.device_get(timestep)

        def refuse(*_: Any) -> Any:
            raise UsageError("a device environment behind the host's interface is not saved; use the device loop.")

        def draw() -> list[np.ndarray]:
            states = jax.device_get(at["states"])
            return [env.picture(jax.tree.map(lambda leaf, i=i: leaf[i], states)) for i in range(n)]  # type: ignore[misc]

        return HostEnv(env.spec, n, first, advance, refuse, refuse, lambda: None, draw if render else None)

    return HostMaker(env.spec, "device", {}, open_env)


def evaluate_run(
    run: str | Path,
    episodes: int = 100,
    seed: int = 1000,
    greedy: bool = True,
    checkpoint: str = "best",
    video: str | None = None,
) -> dict[str, Any]:
    """Evaluates every seed of a finished or stopped run and returns what they scored, with the run's provenance.

    Raises:
      UsageError: if the folder holds no run, or `video` is asked of an environment that cannot draw itself.
    """
    from agents.training import playback
    from agents.training.provenance import provenance
    from agents.training.saved import open_run, seed_folders

    opened, scores = [], []
    for folder in seed_folders(run):
        saved = open_run(folder, checkpoint)
        evaluator = Evaluator(saved.agent, saved.env, saved.wrapper, episodes=episodes, greedy=greedy)
        opened.append(saved)
        scores.append(evaluator(saved.state, saved.wrapper_state, seed))
    first = opened[0]
    found = {
        "run": str(run),
        "agent": first.agent.name,
        "env": first.env.spec.id,
        "checkpoints": [str(saved.path) for saved in opened],
        "step": max(saved.step for saved in opened),
        "greedy": greedy,
        **report(scores),
        "returns": [each.returns.tolist() for each in scores],
        "options": first.agent.config,
        "provenance": provenance(seed, first.env.spec),
    }
    if len(scores) > 1:
        found["seeds"] = [report([each]) for each in scores]
    if video:
        found["video"] = playback.record(first, Path(video), seed=seed, greedy=greedy)
    return found
