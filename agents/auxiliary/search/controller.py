"""The controller of a run's knobs: one small net for each, sampled inside the agent's update, and kept on disk.

FOLDER/controller.npz     the weights, by knob and layer
FOLDER/controller.json    the decision process that it was trained in
"""

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from agents.auxiliary.search.hyper_mdp import CHOICES, KNOBS, NEUTRAL, Rules, acting, columns, groups
from agents.config import build, fields, require
from envs.contract import PyTree
from envs.errors import UsageError

FORMAT = "auxin controller 1"
NAME = "controller"


@dataclass(frozen=True)
class Design(Rules):
    """Options of the decision process and of the nets that decide."""

    hidden: int = 256
    """Units of the hidden layer of each knob's net."""
    spread: float = 0.0
    """Standard deviation of the first weights; 0 takes LeCun's."""

    def __post_init__(self):
        super().__post_init__()
        require(self.hidden > 0, "hidden", self.hidden, "above 0")
        require(self.spread >= 0, "spread", self.spread, "at least 0")


class Net(nn.Module):
    """`[..., S]` to the logits of one knob's actions: a tanh layer and a linear one."""

    hidden: int
    choices: int
    spread: float

    @nn.compact
    def __call__(self, obs: jax.Array) -> jax.Array:
        first = nn.initializers.normal(self.spread) if self.spread else nn.initializers.lecun_normal()
        x = jnp.tanh(nn.Dense(self.hidden, kernel_init=first, name="hidden")(obs))
        return nn.Dense(self.choices, kernel_init=first, name="logits")(x)


def _net(design: Design, knob: str) -> Net:
    return Net(design.hidden, CHOICES[KNOBS.index(knob)], design.spread)


def init(design: Design, key: jax.Array) -> dict[str, PyTree]:
    """Fresh weights of every knob that acts, by its name."""
    return {
        knob: _net(design, knob).init(
            jax.random.fold_in(key, KNOBS.index(knob)), jnp.zeros(len(columns(design, knob)))
        )["params"]
        for knob in acting(design)
    }


def log_probabilities(design: Design, params: PyTree, obs: jax.Array) -> dict[str, jax.Array]:
    """`log pi(. | obs)` of each knob that acts: `obs` `[..., S]` to `[..., 2 or 3]`, in nats."""
    found = {}
    for knob in acting(design):
        logits: Any = _net(design, knob).apply({"params": params[knob]}, obs[..., jnp.asarray(columns(design, knob))])
        found[knob] = jax.nn.log_softmax(logits)
    return found


def log_probability(design: Design, params: PyTree, obs: jax.Array, action: jax.Array) -> jax.Array:
    """`log pi_k(a_k | obs)` for every knob, 0 for one that does not act: `obs` `[..., S]`, `action` `[..., 4]`."""
    every = log_probabilities(design, params, obs)
    return jnp.stack(
        [
            jnp.take_along_axis(every[knob], action[..., at, None], -1)[..., 0]
            if knob in every
            else jnp.zeros(action.shape[:-1])
            for at, knob in enumerate(KNOBS)
        ],
        -1,
    )


def sample(
    design: Design, params: PyTree, key: jax.Array, obs: jax.Array, explore: jax.Array, greedy: bool = False
) -> tuple[jax.Array, jax.Array]:
    """Draws a decision.

    With probability `explore` the knobs that are being learned turn at random instead, all of them; the log-probability
    is the controller's own either way. A knob that does not act gives its neutral action.

    Args:
      design: the controller.
      params: its weights.
      key: a key.
      obs: `[S]`.
      explore: `[]`, 0 to 1.
      greedy: take the likeliest actions, and never explore.

    Returns:
      `(action, logp)`, int32 and float32 `[4]`.
    """
    every = log_probabilities(design, params, obs)
    coin, draw, random = jax.random.split(key, 3)
    at_random = jax.random.uniform(coin) < explore
    action = []
    for at, knob in enumerate(KNOBS):
        if knob not in every:
            action.append(jnp.int32(NEUTRAL[at]))
        elif greedy:
            action.append(every[knob].argmax().astype(jnp.int32))
        else:
            own = jax.random.categorical(jax.random.fold_in(draw, at), every[knob]).astype(jnp.int32)
            other = jax.random.randint(jax.random.fold_in(random, at), (), 0, CHOICES[at])
            action.append(jnp.where(at_random, other, own) if knob in groups(design)[-1] else own)
    taken = jnp.stack(action)
    return taken, log_probability(design, params, obs, taken)


# -------------------------------------------------------------------------------------------------------- ON DISK


def save(params: PyTree, design: Design, folder: str | os.PathLike[str]) -> Path:
    """Writes a controller into a folder and returns it; `load` needs nothing else."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {name: np.asarray(value) for name, value in flatten_dict(params, sep="/").items()}
    notes = {field.name: getattr(design, field.name) for field in fields(Design)}
    for suffix in (".npz", ".json"):  # each is moved into place once it is whole
        temporary = folder / f"{NAME}.tmp{suffix}"
        if suffix == ".npz":
            np.savez(temporary, **arrays)  # type: ignore[arg-type]
        else:
            temporary.write_text(json.dumps({"format": FORMAT, "design": notes}, indent=2) + "\n", encoding="utf-8")
        os.replace(temporary, folder / f"{NAME}{suffix}")
    return folder


def load(path: str | os.PathLike[str], knobs: str = "") -> tuple[PyTree, Design]:
    """The weights and the design of a controller.

    Args:
      path: its folder, the folder of the search that made it, or one of its two files.
      knobs: the knobs that it must turn, joined by `+`, in any order; empty takes whatever it turns.

    Raises:
      UsageError: where there is no controller, its files are damaged, or it turns other knobs.
    """
    folder = Path(path).parent if Path(path).suffix in (".npz", ".json") else Path(path)
    if not (folder / f"{NAME}.json").exists() and (folder / NAME).is_dir():
        folder = folder / NAME
    try:
        notes = json.loads((folder / f"{NAME}.json").read_text(encoding="utf-8"))
        with np.load(folder / f"{NAME}.npz", allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except OSError as error:
        raise UsageError(f"{path} holds no controller: {error.filename} cannot be read, {error.strerror}.") from error
    except Exception as error:  # zip files fail in many ways
        raise UsageError(f"{folder} holds a damaged controller: {error}.") from error
    if not isinstance(notes, dict) or notes.get("format") != FORMAT:
        raise UsageError(f"{folder / NAME}.json is not a controller of this version, {FORMAT!r}.")
    design = build(Design, notes["design"])
    _check_knobs(folder, design, knobs)
    like = flatten_dict(jax.eval_shape(lambda: init(design, jax.random.key(0))), sep="/")
    found = {name: (array.shape, str(array.dtype)) for name, array in arrays.items()}
    if found != {name: (leaf.shape, str(leaf.dtype)) for name, leaf in like.items()}:
        raise UsageError(f"{folder / NAME}.npz does not hold the weights that {NAME}.json beside it describes.")
    return unflatten_dict({name: jnp.asarray(array) for name, array in arrays.items()}, sep="/"), design


def _check_knobs(folder: Path, design: Design, knobs: str) -> None:
    wanted = acting(Rules(knobs=knobs)) if knobs else acting(design)
    if wanted != acting(design):
        raise UsageError(
            f"the controller in {folder} turns {'+'.join(acting(design))}, but one of {'+'.join(wanted)} is asked for."
        )


def follow(design: Design, path: str) -> tuple[PyTree, str]:
    """What a controller brings along where others go on from it: its weights, and all knobs in their groups.

    Raises:
      UsageError: where it sees or turns the knobs of another process than `design`, or one that `design` learns.
    """
    params, frozen = load(path)
    for field in dataclasses.fields(Design):
        was, now = getattr(frozen, field.name), getattr(design, field.name)
        if field.name not in ("knobs", "spread") and was != now:
            raise UsageError(f"the frozen controller in {path} was trained with {field.name} {was}, not {now}.")
    for knob in acting(design):
        if knob in acting(frozen):
            raise UsageError(f"the frozen controller in {path} turns {knob} already: learn other knobs.")
    return params, f"{frozen.knobs},{design.knobs}"
