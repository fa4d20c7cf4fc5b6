"""On what share of a box of observations a policy takes a forbidden decision: sound bounds, and boxes split in two.

Corsi, Marchesini and Farinelli, "Formal Verification of Neural Networks for Safety-Critical Tasks in Deep Reinforcement
Learning", 2021 (differences of outputs are bounded, not outputs), with the linear relaxations of `bounds.py`. A box is
`safe` where the policy takes no forbidden decision anywhere in it, `violated` where it takes one everywhere, else it is
split, and what is left at the end is `unknown`. A box that was made by `d` splits weighs `2^-d`.

What is proved holds for the decisions of the stored float32 weights as they are computed in float32, in whatever order
sums are made, on a processor whose float32 `tanh` and `expm1` are off by at most 2^-20 and whose products are not
shortened (bfloat16, TF32). Bounds of observations are taken as float32.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from agents.auxiliary.tool import Subject, Tool
from agents.auxiliary.verification import properties as data
from agents.auxiliary.verification.bounds import Box, bounds, evaluate
from agents.auxiliary.verification.network import Network, trace
from agents.auxiliary.verification.options import Options
from agents.auxiliary.verification.properties import Property
from agents.config import build
from envs.errors import UsageError

SAFE, VIOLATED, UNKNOWN = 0, 1, 2
_MOST_AT_ONCE = 1024  # boxes of one call
_NUMBERS = 2**20  # of the largest array of one call, which should stay in the processor's cache

# -------------------------------------------------------------------------------------------------------- CONFIG


@dataclass(frozen=True)
class Config(Options):
    """Options of the verification."""


class Result(NamedTuple):
    """What was found of one property; the shares are sums of powers of two and add up to exactly 1.

    Attributes:
      safe: share of the box in which no decision is forbidden.
      violated: share in which every decision is.
      unknown: what is left.
      counter_example: an observation with a forbidden decision, float32 `[D]`, or None.
      tested: boxes looked at.
      cycles: rounds of splitting.
      boxes: lower and upper bounds of the boxes that were decided or left, float64 `[N, 2, D]`; empty unless kept.
      status: of each, `SAFE`, `VIOLATED` or `UNKNOWN`.
    """

    safe: float
    violated: float
    unknown: float
    counter_example: np.ndarray | None
    tested: int
    cycles: int
    boxes: np.ndarray
    status: np.ndarray

    @property
    def verdict(self) -> str:
        """`violated` if anything is, `safe` if all is, else `unknown`."""
        return "violated" if self.violated else "unknown" if self.unknown else "safe"


# --------------------------------------------------------------------------------------------------------------- JUDGE


class Question(NamedTuple):
    """Differences of outputs, `rows @ outputs + offset`, `[A, B]` of them.

    A decision is forbidden where for some `a` all `[a, b]` are above 0, and is not where for every `a` some is below.
    """

    rows: Any
    offset: Any


def question(network: Network, property: Property) -> Question:
    """The differences that decide about a property: a forbidden choice against an allowed one, or a number its limit.

    Raises:
      UsageError: where the property forbids choices and the policy gives numbers, or the reverse.
    """
    outputs = len(network.output.bias)
    one = np.eye(outputs)
    limits = [each for each in property.forbidden if isinstance(each, data.Limit)]
    choices = [each for each in property.forbidden if not isinstance(each, data.Limit)]
    if bool(limits) == network.chosen:
        raise UsageError(f"the property {property.name!r} and the policy do not speak of the same kind of action.")
    if not network.chosen:
        signs = [(each, 1.0 if each.side == "above" else -1.0) for each in limits]
        rows = np.stack([sign * one[each.action] for each, sign in signs])
        return Question(rows[:, None], np.array([[-sign * each.at] for each, sign in signs]))
    allowed = [each for each in range(outputs) if each not in choices]
    rows = np.stack([one[a] - one[allowed] for a in choices])
    return Question(rows, np.zeros(rows.shape[:2]))


@partial(jax.jit, static_argnames=("method", "split", "samples"))
def judge(
    key: jax.Array,
    network: Network,
    asked: Question,
    boxes: jax.Array,
    least: jax.Array,
    *,
    method: str,
    split: str,
    samples: int,
) -> tuple[jax.Array, jax.Array]:
    """The status of every box `[N, 2, D]` and the input to split it along, -1 if none is wider than `least` `[D]`."""
    shape = asked.rows.shape
    rows, offset = asked.rows.reshape(-1, shape[-1]), asked.offset.reshape(-1)

    def one(key: jax.Array, box: jax.Array) -> tuple[jax.Array, jax.Array]:
        low, high = box
        if method == "sample":
            points = low + (high - low) * jax.random.uniform(key, (samples, len(low)))
            found = jax.vmap(partial(evaluate, network))(points) @ rows.T + offset
            known, slopes = Box(found.min(0), found.max(0)), jnp.zeros((len(rows), len(low)))
        else:
            known, slopes = bounds(network, rows, offset, Box(low, high), linear=method == "linear")
        never = (known.high < 0).reshape(shape[:2]).any(1).all()
        always = (known.low > 0).reshape(shape[:2]).all(1).any()
        width = jnp.where(least > 0, (high - low) / jnp.where(least > 0, least, 1.0), 0.0)
        # Only differences that are not decided speak; widths among equals.
        open_rows = (known.low <= 0) & (known.high >= 0)
        moves = jnp.where(open_rows[:, None], jnp.abs(slopes), 0.0).sum(0) * (high - low)
        moves = moves / jnp.maximum(moves.sum(), 1e-30) if split == "influence" else jnp.zeros_like(moves)
        score = jnp.where(width > 1, moves + 1e-2 * width / jnp.maximum(width.max(), 1e-30), -1.0)
        axis = jnp.where(score.max() < 0, -1, jnp.argmax(score))
        return jnp.where(never, SAFE, jnp.where(always, VIOLATED, UNKNOWN)), axis

    return jax.vmap(one)(jax.random.split(key, len(boxes)), boxes)


# -------------------------------------------------------------------------------------------------------------- VERIFY


def verify(
    network: Network, property: Property, config: Config | None = None, *, key: Any = None, keep: bool = False
) -> Result:
    """Splits the property's box until every part is decided, or a limit of the config is met.

    Args:
      network: from `trace`.
      property: of as many inputs.
      config: see `Config`.
      key: for samples.
      keep: hand back the boxes.

    Raises:
      UsageError: where the property does not fit the network.
    """
    config = config or Config()
    if len(property.low) != network.inputs:
        raise UsageError(f"the property {property.name!r} bounds {len(property.low)} inputs, not {network.inputs}.")
    asked = question(network, property)
    frontier = np.stack([property.low, property.high]).astype(np.float64)[None]
    least = config.precision * (frontier[0, 1] - frontier[0, 0])
    shares, tested, cycle, example = np.zeros(3), 0, 0, None
    kept: list[tuple[np.ndarray, np.ndarray]] = []
    judged = _judged(network, asked, least, config, jax.random.key(0) if key is None else key)
    while True:
        status, axis = judged(frontier, cycle)
        tested += len(frontier)
        weight = 2.0**-cycle
        if example is None:
            example = _inside(frontier[status == VIOLATED])
        unknown = (status == UNKNOWN) & (axis >= 0)
        waiting = int(unknown.sum())
        if cycle == config.cycles or tested + 2 * waiting > config.boxes or waiting * weight <= config.unchecked:
            unknown[:] = False
        done = ~unknown
        shares += weight * np.bincount(status[done], minlength=3)
        if keep:
            kept.append((frontier[done], status[done]))
        if not unknown.any():
            break
        frontier, cycle = halves(frontier[unknown], axis[unknown]), cycle + 1
    boxes = np.concatenate([each for each, _ in kept]) if keep else np.zeros((0, 2, network.inputs))
    statuses = np.concatenate([each for _, each in kept]) if keep else np.zeros(0, int)
    safe, violated, left = map(float, shares)
    return Result(safe, violated, left, example, tested, cycle, boxes, statuses)


def halves(boxes: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """Every box `[N, 2, D]` cut in two along its `axis` `[N]`: `[2 N, 2, D]`."""
    at = np.arange(len(boxes))
    middle = boxes[at, :, axis].mean(1)
    lower, upper = boxes.copy(), boxes.copy()
    lower[at, 1, axis] = upper[at, 0, axis] = middle
    return np.concatenate([lower, upper])


def _judged(network: Network, asked: Question, least: np.ndarray, config: Config, key: jax.Array):
    """`(boxes, cycle) -> (status, axis)`, in calls of a fixed number of boxes."""
    widest = max([len(layer.bias) for layer in network.layers] + [network.inputs])
    at_once = max(8, min(_MOST_AT_ONCE, _NUMBERS // (2 * widest * widest)))
    how: dict[str, Any] = {"method": config.method, "split": config.split, "samples": config.samples}

    def judged(boxes: np.ndarray, cycle: int) -> tuple[np.ndarray, np.ndarray]:
        found = []
        with jax.enable_x64(True):
            for number, start in enumerate(range(0, len(boxes), at_once)):
                part = boxes[start : start + at_once]
                padded = np.concatenate([part, np.repeat(part[-1:], at_once - len(part), axis=0)])
                own = jax.random.fold_in(jax.random.fold_in(key, cycle), number)
                status, axis = judge(own, network, asked, padded, least, **how)
                found.append((np.asarray(status)[: len(part)], np.asarray(axis)[: len(part)]))
        status, axis = (np.concatenate(each) for each in zip(*found, strict=True))
        return status, axis

    return judged


def _inside(boxes: np.ndarray) -> np.ndarray | None:
    """The middle of the first box as float32, where that is still within it."""
    for low, high in boxes[:1000]:
        middle = ((low + high) / 2).astype(np.float32)
        if (middle >= low).all() and (middle <= high).all():
            return middle
    return None


# ---------------------------------------------------------------------------------------------------------- MAKE


def make(**options: Any) -> Tool:
    """A tool that verifies properties of a policy's greedy decisions.

    It reads `policy(params, obs [1, D], carry, first) -> action [1, ...]` of its subject, with `()` for the carry. The
    report holds each property by name: its shares, verdict, counter-example and what the policy does there; the
    artefacts are the counter-examples.

    Raises:
      UsageError: for an option out of range; from `init` for a property that does not fit; from `run` for a policy that
        is no feed-forward network.
    """
    config = build(Config, options)
    if not config.property:
        raise UsageError("verification needs a property: a file of one, or cartpole, hopper or navigation.")

    def init(key: jax.Array, subject: Subject) -> list[Property]:
        found = [each for name in config.property for each in data.read(name, subject.spec)]
        names = [each.name for each in found]
        for name in names:
            if names.count(name) > 1:
                raise UsageError(f"two properties are called {name!r}: name them apart.")
        return found

    def run(key: jax.Array, state: list[Property], subject: Subject) -> tuple[dict[str, Any], dict[str, Any]]:
        policy, network = policy_of(subject)
        report: dict[str, Any] = {}
        artefacts: dict[str, Any] = {}
        for number, property in enumerate(state):
            found = verify(network, property, config, key=jax.random.fold_in(key, number))
            report[property.name] = told(property, found, config, policy)
            if found.counter_example is not None:
                artefacts[property.name] = found.counter_example
        return report, artefacts

    return Tool("intervals", (), init, run)


def policy_of(subject: Subject) -> tuple[Callable[[jax.Array], jax.Array], Network]:
    """A subject's policy, from one observation `[D]` to its greedy action, and what `trace` reads in it.

    Raises:
      UsageError: where observations are no vector, or the policy is no feed-forward network.
    """

    def policy(obs: jax.Array) -> jax.Array:
        return subject.policy(subject.params, obs[None], (), jnp.ones(1, bool))[0]

    return policy, trace(policy, data.vector(subject.spec).shape[0])


def told(property: Property, result: Result, config: Config, policy: Any) -> dict[str, Any]:
    """A result as plain data; the counter-example is given to the policy itself.

    Raises:
      UsageError: where a proof and the policy disagree, which a processor with shortened products can bring about.
    """
    found: dict[str, Any] = {
        "sentence": property.sentence,
        "violated": result.violated,
        "safe": result.safe,
        "unknown": result.unknown,
        "verdict": result.verdict,
        "formal": config.method != "sample",
        "tested": result.tested,
        "cycles": result.cycles,
        "counter_example": None,
    }
    if result.counter_example is not None:
        action = np.asarray(policy(jnp.asarray(result.counter_example)))
        confirmed = forbidden(property, action)
        if found["formal"] and not confirmed:
            raise UsageError(
                f"the policy takes an allowed decision where {property.name!r} was proved violated: does it compute "
                "with full float32 products? Run with JAX_DEFAULT_MATMUL_PRECISION=highest."
            )
        found["counter_example"] = {
            "obs": result.counter_example.tolist(),
            "action": action.tolist(),
            "confirmed": bool(confirmed),
        }
    return found


def forbidden(property: Property, action: Any) -> Any:
    """Whether actions, int `[...]` or float `[..., A]`, are forbidden: bool `[...]`."""
    action = np.asarray(action)
    found: Any = False
    for each in property.forbidden:
        if isinstance(each, data.Limit):
            number = action[..., each.action]
            found |= number > each.at if each.side == "above" else number < each.at
        else:
            found |= action == each
    return found
