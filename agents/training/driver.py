"""Drives a loop through a run: progress, metrics, evaluations, checkpoints, and every way a run can end."""

import dataclasses
import math
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from agents.agent import Agent, State
from agents.training import checkpoints, evaluation, gradient, learner, saved
from agents.training.config import TrainConfig
from agents.training.device_loop import DeviceLoop
from agents.training.evaluation import Evaluator
from agents.training.learner import WINDOW
from agents.training.loop import Loop, Report
from agents.training.metrics import Metrics, read
from agents.training.population import Population
from agents.training.progress import Progress
from agents.training.provenance import provenance, write_json
from envs.contract import Env, HostMaker, PyTree
from envs.errors import UsageError
from replay import sizes


class Interrupt:
    """Ctrl-C asks the run to stop at its next safe point; pressed twice it stops at once."""

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> Self:
        # Python delivers signals to the main thread alone; elsewhere Ctrl-C is not ours to take.
        self._main = threading.current_thread() is threading.main_thread()
        if self._main:
            self._before = signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._main:
            signal.signal(signal.SIGINT, self._before)

    def _ask(self, number: int, frame: Any) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        print("stopping after this update; Ctrl-C again stops at once", file=sys.stderr)


class Driver:
    """One loop, one or several seeds, from the first step or a checkpoint to the end."""

    def __init__(
        self,
        loop: Loop,
        agent: Agent,
        env: HostMaker | Env,
        evaluator: Evaluator,
        config: TrainConfig,
        folders: tuple[Path, ...],
        n: int,
        interrupt: Interrupt,
    ):
        self._loop, self._agent, self._env, self._evaluator = loop, agent, env, evaluator
        self._config, self._folders, self._n, self._interrupt = config, folders, n, interrupt
        self._updates = max(1, math.ceil(config.steps / loop.steps_per_update))
        self._log_every = config.log_every or max(1, self._updates // 200)
        every = config.checkpoint_every or config.steps / 20
        self._checkpoint_every = max(1, round(every / loop.steps_per_update))
        self._eval_every = max(1, round(config.eval_every / loop.steps_per_update)) if config.eval_every else 0
        self._notes: list[dict[str, Any]] = [dict(_NOTES) for _ in folders]
        self._began = time.monotonic()
        self._warned: set[str] = set()
        self._evolves = agent.evolution
        if agent.evolution:
            self._population = Population(agent, env, evaluator.wrapper, agent.evolution.episodes)
            self._ask, self._tell = jax.jit(agent.evolution.ask), jax.jit(agent.evolution.tell)
        self._reach = 1  # updates of the next call; the first one compiles

    def run(self) -> list[dict[str, Any]]:
        """Runs to the end and returns the result of every seed."""
        loop, config = self._loop, self._config
        template = loop.template()
        self._bytes = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in _arrays(template))
        seeds = ", ".join(map(str, loop.seeds))
        settings = f"{config.matmul_precision} precision{', deterministic' if config.deterministic else ''}"
        buffer = sizes.size_of(template["learner"].buffer)
        kept = f"{sizes.words(self._bytes)} of state each" + (f", {sizes.words(buffer)} of it replay" if buffer else "")
        self._say(f"{self._agent.name} on {loop.spec.id}, seed {seeds}: {kept}, {settings}")
        if buffer:
            sizes.require_room(buffer * len(loop.seeds), host=learner.on_host(self._agent.feed))
        resumed = config.resume and self._resume(template)
        started = time.monotonic()
        if not resumed:
            loop.start(self._initial_params(template))
        metrics = [
            Metrics(
                folder,
                notes["metrics"],
                tensorboard=config.tensorboard,
                wandb=config.wandb or None,
                config=self._agent.config,
            )
            for folder, notes in zip(self._folders, self._notes, strict=True)
        ]
        progress = Progress(config.steps, "train", quiet=config.quiet, unit="updates" if config.data else "steps")
        stopped, latest = "steps", [_last_row(folder) for folder in self._folders]
        try:
            while loop.updates < self._updates:
                report = self._advance()
                latest = report.metrics
                self._check_finite(report)
                step = loop.updates * loop.steps_per_update
                self._tell_discarded(latest, step)
                if self._evolves and loop.updates % self._evolves.every == 0:
                    self._evolve(metrics, step)
                if line := loop.updates % self._log_every == 0 or loop.updates == self._updates:
                    clock = {"seconds": time.monotonic() - started, **report.clock}
                    latest = [self._line(index, values) for index, values in enumerate(latest)]
                    self._warn(latest)
                    for writer, values in zip(metrics, latest, strict=True):
                        writer.write(step, loop.updates, values, clock)
                progress.update(step, _shown(latest[0]))
                scores = self._evaluate(metrics, step) if self._eval_due() else None
                stopped = self._reason_to_stop(latest if line else None, scores) or stopped
                if stopped != "steps" or loop.updates == self._updates or loop.updates % self._checkpoint_every == 0:
                    self._save(metrics, step)
                if stopped != "steps":
                    break
        finally:
            progress.close()
            for writer in metrics:
                writer.close()
        return self._results(stopped, latest)

    def _say(self, text: str) -> None:
        if not self._config.quiet:
            print(text, file=sys.stderr)

    def _advance(self) -> Report:
        """Goes on to the next line, evaluation, checkpoint or end, or as far as one call may take."""
        done, began = self._loop.updates, time.monotonic()
        every = [every for every in (self._log_every, self._eval_every, self._checkpoint_every) if every]
        every += [self._evolves.every] if self._evolves else []
        count = min(self._updates - done, self._reach, *(each - done % each for each in every))
        allow = [max(0, self._config.skip_nonfinite - notes["skipped"]) for notes in self._notes]
        report = self._loop.advance(count=count, total=self._updates, allow=allow)
        self._reach = max(1, int(count * LONGEST / (time.monotonic() - began)))
        return report

    # ------------------------------------------------------------------------------------ beginning and resuming

    def _initial_params(self, template: PyTree) -> PyTree | None:
        """The parameters of another run, if asked."""
        if not self._config.init_from:
            return None
        folder = saved.seed_folders(self._config.init_from)[0] / "checkpoints"
        path = checkpoints.best(folder) or checkpoints.latest(folder)
        if path is None:
            raise UsageError(f"{self._config.init_from} holds no sound checkpoint to begin from.")
        return checkpoints.load_part(path, "['learner'].state.params", template["learner"].state.params)

    @property
    def _stacked(self) -> bool:
        """Whether the loop's seeds run together, each a row of what it holds."""
        return isinstance(self._loop, DeviceLoop)

    def _resume(self, template: PyTree) -> bool:
        """Goes on from the newest state that all seeds have; False where there is none yet."""
        newest = [checkpoints.latest(folder / "checkpoints", warn=self._say) for folder in self._folders]
        if None in newest:
            return False
        name = min(path.name for path in newest if path)
        loaded = [checkpoints.load(folder / "checkpoints" / name, template) for folder in self._folders]
        for _, meta in loaded:
            saved.check_levels(meta, self._env, self._folders[0])
        self._notes = [{name: meta.get(name, value) for name, value in _NOTES.items()} for _, meta in loaded]
        self._loop.restore([tree for tree, _ in loaded])
        self._say(f"going on from step {self._loop.updates * self._loop.steps_per_update:,}")
        return True

    def _save(self, metrics: list[Metrics], step: int) -> None:
        for index, (folder, writer) in enumerate(zip(self._folders, metrics, strict=True)):
            self._notes[index]["metrics"] = writer.position()
            checkpoints.save(folder / "checkpoints", step, self._loop.tree(index), self._meta(index), self._config.keep)

    def _meta(self, index: int) -> dict[str, Any]:
        step = self._loop.updates * self._loop.steps_per_update
        facts = {"step": step, "n": self._n, "seed": self._loop.seeds[index]}
        return {**self._notes[index], **facts, "levels_hash": saved.levels_hash(self._env)}

    # --------------------------------------------------------------------------------------------------- watching

    def _check_finite(self, report: Report) -> None:
        """Stops, with the batch saved, once more steps were not finite than the run may skip."""
        for index, (values, skipped) in enumerate(zip(report.metrics, report.skipped, strict=True)):
            self._notes[index]["skipped"] += skipped
            if not skipped or self._notes[index]["skipped"] <= self._config.skip_nonfinite:
                continue
            state = self._loop.tree(index)["learner"].state
            own = {name: getattr(part, "params", ()) for name, part in state.auxiliaries.items()}
            leaf = int(values["nonfinite_leaf"])
            where = f"the gradient of {gradient.leaf_paths(state.params, own)[leaf]}" if leaf >= 0 else "the loss"
            folder = self._folders[index] / "nonfinite"
            step = self._loop.updates * self._loop.steps_per_update
            batch = jax.tree.map(lambda leaf, at=index: leaf[at], report.batch) if self._stacked else report.batch
            path = checkpoints.save(folder, step, {"state": state, "batch": batch}, self._meta(index))
            raise UsageError(
                f"{where} is not finite at step {step:,}; the batch is in {path}, and --skip-nonfinite N goes on."
            )

    def _tell_discarded(self, metrics: list[dict[str, Any]], step: int) -> None:
        """Says so where a simulation diverged."""
        for index, values in enumerate(metrics):
            new = int(values.get("discarded", 0)) - self._notes[index]["discarded"]
            self._notes[index]["discarded"] += new
            if new:
                seed = f"seed {self._loop.seeds[index]}: " if len(metrics) > 1 else ""
                episodes = "1 episode" if new == 1 else f"{new} episodes"
                self._say(f"{seed}{episodes} discarded by step {step:,}: the simulation gave numbers not finite")

    def _warn(self, metrics: list[dict[str, Any]]) -> None:
        """Says once what a metric gives away that a run should not go on with unnoticed."""
        for name, (most, sentence) in _ALARMS.items():
            worst = max((float(values.get(name, 0.0)) for values in metrics), default=0.0)
            if worst > most and name not in self._warned:
                self._warned.add(name)
                self._say(f"{sentence} ({name} is {worst:.2f})")

    def _line(self, index: int, values: dict[str, Any]) -> dict[str, Any]:
        """The metrics of the last update, but all updates since the last line that were not finite."""
        notes = self._notes[index]
        missed, notes["logged"] = notes["skipped"] - notes["logged"], notes["skipped"]
        return {**values, "nonfinite": missed} if missed else values

    def _eval_due(self) -> bool:
        return bool(self._eval_every) and self._loop.updates % self._eval_every == 0

    def _evaluate(self, metrics: list[Metrics], step: int) -> list[float]:
        """Evaluates every seed, keeps the best, and returns the mean returns."""
        found = []
        for index, writer in enumerate(metrics):
            state = self._state(index)
            seed = EVALUATION_SEED + self._loop.seeds[index]
            scores = self._evaluator(state, self._loop.wrapper_state(index), seed)
            mean = float(scores.returns.mean())
            values = {f"eval/{name}": value for name, value in evaluation.report([scores]).items()}
            writer.write(step, self._loop.updates, values)
            found.append(mean)
            best = self._notes[index]["best"]
            if best is None or mean > best:
                self._notes[index]["best"] = mean
                folder = self._folders[index] / "checkpoints"
                checkpoints.save_best(folder, self._loop.tree(index), self._meta(index))
        return found

    def _evolve(self, metrics: list[Metrics], step: int) -> None:
        """Plays episodes with copies of every seed's agent, and goes on with what the agent makes of their returns."""
        assert self._evolves is not None
        for index, writer in enumerate(metrics):
            began = time.monotonic()
            state = self._state(index)
            number = np.random.SeedSequence((self._loop.seeds[index], self._loop.updates)).generate_state(1)[0] >> 1
            ask_key, tell_key = jax.random.split(jax.random.key(number))
            params = self._ask(ask_key, state)
            trained = self._loop.wrapper_state(index)
            returns, taken = self._population(state, params, trained, int(number))
            moved, found = self._tell(tell_key, state, params, returns.mean(1))
            if self._evolves.check and bool(found["improved"]):
                blend = jax.tree.map(lambda leaf: leaf[None], moved.params)
                again, more = self._population(state, blend, trained, int(number))
                taken, kept = taken + more, again.mean() >= returns[0].mean()
                moved, found["kept"] = (moved if kept else state), jnp.float32(kept)
            self._loop.adopt(moved, index)
            values = {f"evolution/{name}": np.asarray(value) for name, value in found.items()}
            clock = {"evolution_seconds": time.monotonic() - began}
            writer.write(step, self._loop.updates, {**values, "evolution/steps": taken}, clock)

    def _state(self, index: int) -> State:
        """The state of one seed's agent."""
        state = self._loop.learner.state
        return jax.tree.map(lambda leaf: leaf[index], state) if self._stacked else state

    def _reason_to_stop(self, line: list[dict[str, Any]] | None, scores: list[float] | None) -> str | None:
        config = self._config
        if self._interrupt.asked:
            return "interrupt"
        if config.hours and time.monotonic() - self._began > config.hours * 3600:
            return "hours"
        if config.stop_at is not None:
            if self._eval_every:
                reached = scores is not None and min(scores) >= config.stop_at
            else:
                # Only at a line, so that how far a call went changes nothing.
                reached = line is not None and all(
                    v["episodes"] >= WINDOW and v["episode_return"] >= config.stop_at for v in line
                )
            if reached:
                return "return"
        return None

    # ----------------------------------------------------------------------------------------------------- ending

    def _results(self, stopped: str, latest: list[dict[str, Any]]) -> list[dict[str, Any]]:
        steps = self._loop.updates * self._loop.steps_per_update
        results = []
        for index, folder in enumerate(self._folders):
            result = {
                "run": str(folder),
                "agent": self._agent.name,
                "env": self._loop.spec.id,
                "seed": self._loop.seeds[index],
                "steps": steps,
                "updates": self._loop.updates,
                "stopped": stopped,
                "seconds": time.monotonic() - self._began,
                "skipped_nonfinite": self._notes[index]["skipped"],
                "best_evaluation": self._notes[index]["best"],
                "final": {name: float(value) for name, value in latest[index].items()},
                "options": self._agent.config,
                "train": dataclasses.asdict(self._config),
                "state_bytes": self._bytes,
                "provenance": provenance(self._loop.seeds[index], self._env.spec),
            }
            write_json(folder / "result.json", result)
            results.append(result)
        return results


LONGEST = 2.0  # seconds of one call: between calls Ctrl-C and the hours are looked at, and progress is shown
EVALUATION_SEED = 1_000_003  # added to a run's own, so that evaluation levels are never training levels


# Of each seed: the length of its metrics' file, its best evaluation, and updates that were not finite, in all and up to
# the last line of metrics.
# Metrics that tell of a setting that does not fit: the most that is well, and what more of it means.
_ALARMS = {"at_ends": (0.5, "most of the returns that are learned lie beyond v_min and v_max: give them a wider range")}
_NOTES = {"metrics": 0, "best": None, "skipped": 0, "logged": 0, "discarded": 0}


def _last_row(folder: Path) -> dict[str, Any]:
    """The last line of a run's metrics, for a run that is already done."""
    rows = [row for row in read(folder) if "loss" in row]
    return {name: value for name, value in rows[-1].items() if name not in ("step", "update", "clock")} if rows else {}


def _arrays(tree: PyTree) -> list[Any]:
    return [leaf for leaf in jax.tree.leaves(tree) if hasattr(leaf, "shape") and hasattr(leaf.dtype, "itemsize")]


def _shown(values: dict[str, Any]) -> dict[str, Any]:
    """The few metrics that fit beside a progress bar."""
    bonus = [name for name in values if name.endswith("/bonus")]
    names = {"episode_return": "return", "success": "success", **{name: "bonus" for name in bonus[:1]}}
    return {short: float(values[name]) for name, short in names.items() if name in values}
