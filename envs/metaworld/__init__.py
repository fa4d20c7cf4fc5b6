"""Meta-World version 3 (Yu et al., 2019; McLean et al., 2025): one robot arm, fifty environments, and sets of tasks.

Every environment has goals (where objects and targets are), drawn once from `task_seed` as the package `metaworld`
draws them. `MetaWorld-reach-v3` and its like are one environment: as MT1 every episode plays one of fifty goals, which
is shown; as ML1 the goal has to be found out. `MetaWorld-ML10-v3` and `MetaWorld-ML45-v3` have ten and forty-five
environments to train in, and five others for tests, each with fifty goals that have to be found out.

The backend `"host"` is the package `metaworld`. `"envpool"` is EnvPool, much faster: every episode of an environment
has a goal of its own, which is shown, and the reward is the one that EnvPool has.

An episode is a success where any of its steps was one by the engine's own rule, as in the package's evaluation, which
ends episodes there. Ours go on, so the extra `success` stays True from that step to the end of the episode.
"""

from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from envs.contract import Array, Box, EnvSpec, HostEnv, HostMaker
from envs.errors import UsageError, missing_extra, nearest
from envs.families.trials import Deck, check, spec_of
from envs.registry import Listing, limits

SUITE = "metaworld"
EXTRA = "metaworld"

TASKS = (
    *("assembly", "basketball", "bin-picking", "box-close", "button-press-topdown", "button-press-topdown-wall"),
    *("button-press", "button-press-wall", "coffee-button", "coffee-pull", "coffee-push", "dial-turn", "disassemble"),
    *("door-close", "door-lock", "door-open", "door-unlock", "hand-insert", "drawer-close", "drawer-open"),
    *("faucet-open", "faucet-close", "hammer", "handle-press-side", "handle-press", "handle-pull-side", "handle-pull"),
    *("lever-pull", "pick-place-wall", "pick-out-of-hole", "pick-place", "plate-slide", "plate-slide-side"),
    *("plate-slide-back", "plate-slide-back-side", "peg-insert-side", "peg-unplug-side", "soccer", "stick-push"),
    *("stick-pull", "push", "push-wall", "push-back", "reach", "reach-wall", "shelf-place", "sweep-into", "sweep"),
    *("window-open", "window-close"),
)
SPREADS = {"ML10": {"train": 10, "test": 5}, "ML45": {"train": 45, "test": 5}}
BACKENDS = ("host", "envpool")
TASK_SETS = ("MT1", "ML1")
REWARDS = ("v1", "v2")
GOALS = 50
GOAL_SIZE = 6
LIMIT = 500
TRIAL = 10


def ids() -> dict[str, Listing]:
    """One id per environment, and one for each set of several."""
    listed: dict[str, tuple[tuple[str, ...], str]] = {
        task: (BACKENDS, f"A robot arm: {task.replace('-', ' ')}; continuous, dense reward.") for task in TASKS
    }
    for name, count in SPREADS.items():
        doc = f"Meta-learning: a robot arm in {count['train']} environments, {count['test']} others for tests."
        listed[name] = (("host",), doc)
    return {
        (id := f"MetaWorld-{name}-v3"): Listing(id, SUITE, backends, doc) for name, (backends, doc) in listed.items()
    }


def make(
    id: str,
    backend: str = "host",
    *,
    max_steps: int = 0,
    repeat: int = 1,
    processes: bool = True,
    task_set: str = "",
    split: str = "train",
    trial: int = TRIAL,
    reward_function_version: str = "v2",
    task_seed: int = 0,
) -> HostMaker:
    """An environment or a set of environments of Meta-World.

    Observations: float32 `[39]`: hand, gripper, objects, the same of the step before, and the goal, which is zeros
    where it has to be found out. Extras: `success`, whether the episode has succeeded so far. On the host also
    `task_id`, the task in which the step was taken: of the fifty goals of MT1, or of the tasks of a family.

    ML1, ML10 and ML45 are families, with the extras of `envs/families/trials.py` and `evaluation` on the tasks of the
    split `"test"`. With `E` environments, task `i` is goal `i // E` of environment `i % E` in the benchmark's order, so
    that neighbouring places of an evaluation play different environments. The extra `task`, float32, is what the
    engine drew for the goal, `[6]` with zeros behind it where it draws three numbers; in ML10 and ML45 the
    environment's place in `TASKS` stands before it, `[7]`.

    Args:
      id: one of `ids()`.
      backend: `"host"` or `"envpool"`; the options from `processes` on are the host's alone.
      max_steps: time limit in agent steps; 0 is the engine's 500 engine steps, which is also the longest there is.
      repeat: action repeat.
      processes: step in spawned processes.
      task_set: of one environment `"MT1"`, the default, or `"ML1"`; ML10 and ML45 are task sets themselves.
      split: `"train"`, or `"test"` for the tasks kept apart; not in MT1.
      trial: episodes in a row with one task; not in MT1.
      reward_function_version: `"v2"`, or the older `"v1"`.
      task_seed: draws the goals of the set.

    Raises:
      UsageError: the engine is not installed, an option's value is unknown, MT1 is given an option of families, or
        EnvPool does not have the option.
    """
    name = id.removeprefix("MetaWorld-").removesuffix("-v3")
    sets = (name,) if name in SPREADS else TASK_SETS
    given: dict[str, Any] = {"task_set": task_set, "split": split, "trial": trial, "processes": processes}
    given |= {"reward_function_version": reward_function_version, "task_seed": task_seed}
    task_set = task_set or sets[0]
    for option, value, choices in (
        ("task_set", task_set, sets),
        ("reward_function_version", reward_function_version, REWARDS),
    ):
        if value not in choices:
            raise UsageError(f"{option} cannot be {value!r}: {nearest(value, choices)}")
    check(id, split, trial, GOALS, GOALS, task_seed)
    package = "metaworld" if backend == "host" else "envpool"
    try:
        engine = f"{package} {version(package)}"
    except PackageNotFoundError as error:
        raise missing_extra(EXTRA, package) from error
    limit, steps = limits(LIMIT, max_steps, repeat)
    if limit > LIMIT:
        raise UsageError(f"{id} cannot run for {limit} engine steps: Meta-World ends every episode after {LIMIT}.")
    spec = EnvSpec(
        id,
        engine,
        obs=Array((39,), "float32"),
        action=Box((-1.0,) * 4, (1.0,) * 4),
        extras={"success": Array((), "bool")},
        max_steps=steps,
    )
    timing = {"max_steps": max_steps, "repeat": repeat}
    if backend == "envpool":
        from envs.metaworld.pool import pooled

        return pooled(name, spec, limit, timing, given)
    options = timing | given | {"task_set": task_set}
    if task_set != "MT1":
        return family(name, spec, limit, options)
    if (split, trial) != ("train", TRIAL):
        raise UsageError(f"{id} has the options split and trial only with task_set ML1: MT1 shows its goals.")
    del options["split"], options["trial"]
    spec = replace(spec, extras={**spec.extras, "task_id": Array((), "int32", 0, GOALS - 1)})
    return maker(name, spec, limit, options, None)


def family(name: str, spec: EnvSpec, limit: int, options: dict[str, Any]) -> HostMaker:
    """One split of the tasks of ML1, ML10 or ML45, with the other as `evaluation` where this one is for training."""
    training = options["split"] == "train"
    count = GOALS * SPREADS[name][options["split"]] if name in SPREADS else GOALS
    # The goals are drawn when the first engine is opened: here their number is enough.
    blank = np.zeros((count, GOAL_SIZE + (name in SPREADS)), np.float32)
    deck = Deck(blank, options["trial"], shuffled=training)
    made = maker(name, spec_of(spec, deck), limit, options, deck)
    test = family(name, spec, limit, options | {"split": "test"}) if training else None
    return made._replace(evaluation=test)


def maker(name: str, spec: EnvSpec, limit: int, options: dict[str, Any], deck: Deck | None) -> HostMaker:
    """The tasks on the host, dealt from `deck`, or in MT1 chosen by the seeds of the episodes."""

    def open(seed: int, n: int, render: bool = False) -> HostEnv:
        from envs.metaworld.arms import Arms, drawn, parameters
        from envs.vector import open_vector

        tasks = drawn(name, options["task_set"], options["task_seed"])[options.get("split", "train")]
        dealt = deck and deck._replace(table=parameters(tasks, with_environment=name in SPREADS), seed=seed, n=n)
        thunk = Arms(tasks, dealt, options["reward_function_version"], render)
        chosen = {key: options[key] for key in ("processes", "repeat")}
        return open_vector(spec, thunk, seed, n, limit=limit, render=render, **chosen)

    return HostMaker(spec, "host", options, open)
