"""What `search autombpo` lends its method and makes of the outcome: runs, a base, a controller, a schedule, pictures.

OUT/base.json               returns of plain MBPO at each epoch
OUT/trials/  OUT/stages/    what the search keeps
OUT/controller/             the controller that was best, for --controller of the agent autombpo
OUT/schedule.json           what it did on average, for --schedule of the agent mbpo
OUT/*.png                   hyper-returns, returns, knobs
OUT/RESULT.json             all in numbers
"""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from agents.commands.output import number, table
from envs.errors import UsageError

if TYPE_CHECKING:
    from agents.agent import State
    from agents.auxiliary.search.autombpo import Config
    from agents.auxiliary.search.hyper_mdp import Log
    from agents.auxiliary.tool import Outcome
    from agents.commands.search import SearchConfig
    from agents.training.trials import Manner, Played, Task
    from envs.contract import EnvSpec

AGENT, PLAIN = "autombpo", "mbpo"


def study(
    search: "SearchConfig", options: dict[str, Any], agent_options: dict[str, Any], env_options: dict[str, Any]
) -> dict[str, Any]:
    """The whole search; its report as plain JSON.

    Args:
      search: the command's options.
      options: AutoMBPO's.
      agent_options: those of the agents `autombpo` and, as far as it has them, `mbpo`.
      env_options: the environment's.
    """
    from agents.auxiliary.search import autombpo
    from agents.config import build
    from agents.training import search as loop
    from agents.training.config import TrainConfig
    from agents.training.setup import prepare
    from agents.training.trials import require_ray, trials

    prepare(TrainConfig())
    if search.workers > 1:
        require_ray()
    method = autombpo.make(**options)
    config, _ = autombpo.resolve(build(autombpo.Config, options))
    task, plain, spec = tasks(search, config, agent_options, env_options)
    notes = {"search": "autombpo", "options": options, "agent": task.options, "plain": plain.options}
    notes |= {name: getattr(search, name) for name in ("env", "backend", "steps", "runs", "base", "base_runs", "seed")}
    free = ("stages", "workers")
    folder = loop.claim(search.out or f"runs/search/autombpo-{search.env}", notes | {"env_options": env_options}, free)

    base = base_returns(search, plain, folder)
    autombpo.check_base(config, tuple(base.mean(0)), task.steps - task.options["warmup"])
    task = task._replace(options={**task.options, "base": tuple(base.mean(0).tolist())})
    state = loop.search(
        method,
        trials(task, controlled(), workers=search.workers, stages=search.stages, quiet=search.quiet),
        folder,
        stages=search.stages,
        runs=search.runs,
        budget=search.steps,
        seed=search.seed,
    )
    best = int(state.best_stage)
    autombpo.save(state.best, config, folder / "controller")
    return _report(search, config, task, spec, folder, base, best)


# ----------------------------------------------------------------------------------------------------------- RUNS


def tasks(
    search: "SearchConfig", config: "Config", given: dict[str, Any], env_options: dict[str, Any]
) -> tuple["Task", "Task", "EnvSpec"]:
    """The runs under a controller, those of plain MBPO with what is given for both, and the environment's spec."""
    import agents
    import envs
    from agents import presets, registry
    from agents.auxiliary.search.autombpo import decisions
    from agents.auxiliary.search.controller import Design
    from agents.config import fields
    from agents.training.trials import Task

    spec = envs.make(search.env, backend=search.backend, **env_options).spec
    known = {field.name for field in fields(registry.load("agent", PLAIN).Config)}
    common = {"epoch": config.epoch, **given}
    both = {name: value for name, value in common.items() if "." in name or name in known}
    plain = agents.make(PLAIN, spec, **presets.resolve(PLAIN, search.preset, spec.id, both)).config
    design = {f"{AGENT}.{field.name}": getattr(config, field.name) for field in fields(Design)}
    own = {**common, **design, "decisions": decisions(config, max(1, search.steps - plain["warmup"]))}
    # Made here too: a mistake is told before plain MBPO has run for an hour.
    scheduled = agents.make(AGENT, spec, **presets.resolve(AGENT, search.preset, spec.id, own)).config
    where = (search.env, search.backend, env_options, search.steps, config.epoch)
    return Task(AGENT, scheduled, *where), Task(PLAIN, plain, *where), spec


def controlled() -> "Manner":
    """Runs under a controller, scored by the sum of their rewards."""
    from agents.autombpo import log_of
    from agents.training.trials import Manner

    return Manner(lend, log_of, hyper_return)


def lend(state: "State", proposal: dict[str, Any]) -> "State":
    """The agent's first state under a proposal's controller."""
    import jax
    import jax.numpy as jnp

    from agents.autombpo import controlled

    return controlled(state, jax.tree.map(jnp.asarray, proposal["params"]), proposal["explore"])


def hyper_return(played: "Played") -> "Outcome":
    """The undiscounted sum of a run's rewards, with its log."""
    from agents.auxiliary.tool import Outcome

    log: Log = played.kept
    return Outcome(float(log.reward[: int(log.size)].sum()), {**log._asdict(), "returns": played.returns})


def base_returns(search: "SearchConfig", plain: "Task", folder: Path) -> np.ndarray:
    """What plain MBPO returns at each epoch, `[runs, E]`: read if it is known, else run.

    Raises:
      UsageError: where the file that is named holds none.
    """
    from agents.auxiliary.tool import Outcome, Search
    from agents.training import search as loop
    from agents.training.provenance import write_json
    from agents.training.trials import Manner, trials

    file = Path(search.base or folder / "base.json")
    if search.base or file.exists():
        return _read_base(file)
    nothing = Search(
        PLAIN,
        init=lambda key: {"done": np.zeros((), np.int32)},
        ask=lambda key, state, n: (state, [{} for _ in range(n)]),
        tell=lambda key, state, proposals, outcomes: {"done": state["done"] + np.int32(1)},
        best=lambda state: {},
    )
    manner = Manner(_as_it_is, _nothing, _mean_return)
    made = trials(plain, manner, workers=search.workers, stages=0, quiet=search.quiet)
    kept = loop.claim(folder / "base", {"runs": search.base_runs})
    loop.search(nothing, made, kept, stages=1, runs=search.base_runs, budget=search.steps, seed=search.seed)
    outcomes: list[Outcome] = [each for each in loop.history(kept)[0] if math.isfinite(each.score)]
    if not outcomes:
        raise UsageError(f"no episode of plain MBPO ended within {search.steps:,} steps: give the search more --steps.")
    returns = np.stack([each.log["returns"] for each in outcomes])
    write_json(file, {"agent": PLAIN, "options": plain.options, "returns": returns})
    return returns


def _as_it_is(state: "State", proposal: dict[str, Any]) -> "State":
    return state


def _nothing(state: "State") -> tuple[()]:
    return ()


def _mean_return(played: "Played") -> "Outcome":
    from agents.auxiliary.tool import Outcome

    return Outcome(float(played.returns.mean()), {"returns": played.returns})


def _read_base(file: Path) -> np.ndarray:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        returns = np.asarray(found["returns"] if isinstance(found, dict) else found, np.float32)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{file} cannot be read as the returns of plain MBPO: {error}.") from error
    returns = returns[None] if returns.ndim == 1 else returns
    if returns.ndim != 2 or not returns.size or not np.isfinite(returns).all():
        raise UsageError(f"{file} must hold a list of returns, one for each epoch, or one such list for each run.")
    return returns


# --------------------------------------------------------------------------------------------------------- REPORT


def _report(
    search: "SearchConfig",
    config: "Config",
    task: "Task",
    spec: "EnvSpec",
    folder: Path,
    base: np.ndarray,
    best: int,
) -> dict[str, Any]:
    """Writes schedule, pictures and RESULT.json."""
    import dataclasses

    from agents.auxiliary.search.autombpo import explored
    from agents.commands.schedule_pictures import draw, exported, knobs
    from agents.training import search as loop
    from agents.training.provenance import plain, provenance, write_json

    stages = [[each for each in stage if math.isfinite(each.score)] for stage in loop.history(folder)]
    turned = knobs(config, task, stages[best])
    write_json(folder / "schedule.json", exported(config, task, turned))
    pictures = draw(folder, config, task, stages, best, base, turned)
    rows = []
    for index, stage in enumerate(stages):
        scores, returns = [each.score for each in stage], [float(each.log["returns"].mean()) for each in stage]
        row = {"stage": index + 1, "explored": explored(config, index), "failed": search.runs - len(stage)}
        rows.append(row | _spread("hyper_return", scores) | _spread("return", returns))
    report = {
        "search": "autombpo",
        "env": spec.id,
        "out": str(folder),
        "stages": rows,
        "best_stage": best + 1,
        "base": _spread("return", base.mean(1).tolist()),
        "knobs": {
            name: {"first": float(values[:, 0].mean()), "last": float(values[:, -1].mean())}
            for name, values in turned.items()
        },
        "controller": str(folder / "controller"),
        "schedule": str(folder / "schedule.json"),
        "pictures": [str(path) for path in pictures],
        "config": {"search": dataclasses.asdict(search), "autombpo": dataclasses.asdict(config), "agent": task.options},
        "provenance": provenance(search.seed, spec),
    }
    write_json(folder / "RESULT.json", report)
    return plain(report)


def _spread(name: str, values: list[float]) -> dict[str, float]:
    """The mean and its 95% interval over runs."""
    from agents.training.statistics import interval

    low, high = interval(np.asarray(values), np.mean)
    return {name: float(np.mean(values)), f"{name}_low": low, f"{name}_high": high}


def show(report: dict[str, Any]) -> None:
    """Prints a table of the stages and where everything is."""
    rows = []
    for row in [*report["stages"], {"stage": "plain MBPO", **report["base"]}]:
        cells = [_interval(row, name) if name in row else "" for name in ("hyper_return", "return")]
        mark = "best" if row["stage"] == report["best_stage"] else ""
        rows.append([str(row["stage"]), f"{row['explored']:.0%}" if "explored" in row else "", *cells, mark])
    title = f"{report['env']}, means over runs with their 95% intervals"
    table(title, ["stage", "at random", "hyper-return", "return over the run", ""], rows)
    turned = [f"{name} {number(ends['first'])} to {number(ends['last'])}" for name, ends in report["knobs"].items()]
    print(f"The best controller's knobs, from first to last: {', '.join(turned)}.")
    print(f"{report['controller']} holds it, {report['schedule']} what it did; pictures are beside them.")


def _interval(row: dict[str, Any], name: str) -> str:
    return f"{number(row[name])} ({number(row[f'{name}_low'])} to {number(row[f'{name}_high'])})"
