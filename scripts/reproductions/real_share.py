"""The share of real data that fitted value iteration does best with, as real data grow (Lai et al., 2021, section 3).

Random MDPs with a model that is biased. Every step of value iteration regresses on targets of which the share `beta`
comes from the real transitions and the rest from the model. Scarce real data are noisy, and the model is wrong for
ever: the share that loses least must grow with the data.
"""

from pathlib import Path
from typing import Any

import numpy as np

STATES, ACTIONS, SUCCESSORS, DISCOUNT = 20, 4, 5, 0.9
BIAS = 0.2  # the probability with which the model goes to a successor of its own
SIZES = (100, 300, 1_000, 3_000, 10_000, 30_000)  # real transitions
SHARES = tuple(np.round(np.linspace(0, 1, 21), 2).tolist())
STEPS = 100  # of value iteration


def transitions(rng: np.random.Generator) -> np.ndarray:
    """Probabilities `[S, A, S]`: a few random successors of each action."""
    found = np.zeros((STATES, ACTIONS, STATES))
    for state in range(STATES):
        for action in range(ACTIONS):
            to = rng.choice(STATES, SUCCESSORS, replace=False)
            found[state, action, to] = rng.dirichlet(np.ones(SUCCESSORS))
    return found


def values(reward: np.ndarray, chances: np.ndarray, policy: np.ndarray | None = None) -> np.ndarray:
    """Action values `[S, A]` of a policy `[S]`, or of the best one."""
    q = np.zeros((STATES, ACTIONS))
    for _ in range(2 * STEPS):
        v = q.max(1) if policy is None else q[np.arange(STATES), policy]
        q = reward + DISCOUNT * chances @ v
    return q


def mixed(beta: float, counts: np.ndarray, model: np.ndarray) -> np.ndarray:
    """The successors `[S, A, S]` that least squares sees: `beta` of the records real ones, the rest the model's.

    Real records lie where they were drawn, the model's evenly; where neither is, nothing is known and nothing moves.
    """
    real = counts / counts.sum()
    made = model / (STATES * ACTIONS)
    mass = beta * real + (1 - beta) * made
    total = mass.sum(-1, keepdims=True)
    return np.divide(mass, total, out=np.zeros_like(mass), where=total > 0)


def losses(seed: int) -> np.ndarray:
    """What the greedy policy of each size and share loses of the best return, a share of it: `[sizes, shares]`."""
    rng = np.random.default_rng(seed)
    reward, chances = rng.uniform(size=(STATES, ACTIONS)), transitions(rng)
    model = (1 - BIAS) * chances + BIAS * transitions(rng)
    best = values(reward, chances).max(1).mean()
    flat = chances.reshape(-1, STATES)
    found = np.zeros((len(SIZES), len(SHARES)))
    for row, size in enumerate(SIZES):
        pairs = rng.multinomial(size, np.full(len(flat), 1 / len(flat)))
        counts = np.stack([rng.multinomial(n, p) for n, p in zip(pairs, flat, strict=True)]).reshape(chances.shape)
        for column, beta in enumerate(SHARES):
            policy = values(reward, mixed(beta, counts, model)).argmax(1)
            reached = values(reward, chances, policy)[np.arange(STATES), policy].mean()
            found[row, column] = 1 - reached / best
    return found


def run(seeds: int) -> dict[str, Any]:
    """The mean loss of every share for every size, and the share that is best, its interval over `seeds` MDPs."""
    from agents.training.statistics import interval

    table = np.stack([losses(seed) for seed in range(seeds)])
    least = np.isclose(table, table.min(-1, keepdims=True), rtol=0, atol=1e-9)
    best = (least * np.asarray(SHARES)).sum(-1) / least.sum(-1)  # the middle of those that lose nothing
    rise = best[:, -1] - best[:, 0]
    low, high = interval(rise[:, None], np.mean)
    rows = [
        {
            "real transitions": size,
            "best share": float(best[:, row].mean()),
            "interval": list(interval(best[:, row : row + 1], np.mean)),
            "loss at it": float(table[:, row].min(-1).mean()),
            "loss at 0.05": float(table[:, row, SHARES.index(0.05)].mean()),
            "loss at 1": float(table[:, row, -1].mean()),
        }
        for row, size in enumerate(SIZES)
    ]
    claim = {
        "claim": "The share of real data that loses least rises with the real data",
        "verdict": "held" if low > 0 else "not reproduced",
        "grounds": f"{SIZES[0]:,} to {SIZES[-1]:,} transitions: by {rise.mean():.2f} ({low:.2f} to {high:.2f})",
    }
    return {"rows": rows, "claims": [claim], "best": best.tolist()}


def draw(found: dict[str, Any], path: Path) -> Path:
    """The share that is best over the number of real transitions."""
    from agents.commands.figure import Curve, curves

    each = [Curve(np.asarray(SIZES), np.asarray(best)) for best in found["best"]]
    return curves(
        {"best share": each},
        path,
        x_label="real transitions",
        y_label="share of real data that loses least",
        title="Fitted value iteration with a model that is wrong in 20% of its steps",
        log_x=True,
    )
