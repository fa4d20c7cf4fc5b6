"""The interquartile mean of scores with its bootstrap interval, a success rate's interval, and linear probes.

Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice".
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.stats import trim_mean  # type: ignore[import-untyped]

from envs.errors import UsageError

_CHUNK = 4_000_000  # scores resampled at once: 32 MB


def iqm(scores: Any, axis: int | None = None) -> Any:
    """The interquartile mean: the mean of the middle half, a quarter (rounded down) cut at each end.

    Equation, for sorted `x_1 .. x_n` and `k = floor(n / 4)`: `sum(x_{k+1} .. x_{n-k}) / (n - 2k)`. All scores are
    taken together, whatever their shape, unless `axis` is given.
    """
    return trim_mean(np.asarray(scores, np.float64), 0.25, axis=axis)


def interval(
    scores: Any,
    statistic: Callable[..., Any] = iqm,
    confidence: float = 0.95,
    samples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """A percentile interval `(low, high)` of `statistic` by the stratified bootstrap.

    `scores` is `[runs, episodes]`, or `[runs]` with one score each. Every resample draws runs with replacement, for
    another training would have given others, and then, with each drawn run as a stratum, as many episodes of that run
    as it has. With a single run only its episodes vary: the interval then says nothing of other seeds.

    `statistic` takes an array and `axis`, as `numpy.mean` does.

    Raises:
      UsageError: if there are no scores, one is not finite, or `confidence` is not between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise UsageError(f"confidence must lie between 0 and 1, not {confidence}.")
    table = _table(scores)
    runs, episodes = table.shape
    random = np.random.default_rng(seed)
    size = max(1, _CHUNK // table.size)
    values = []
    for start in range(0, samples, size):
        n = min(size, samples - start)
        run = random.integers(runs, size=(n, runs, 1))
        episode = random.integers(episodes, size=(n, runs, episodes))
        values.append(statistic(table[run, episode].reshape(n, -1), axis=-1))
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(values), [tail, 1 - tail])
    return float(low), float(high)


def summary(scores: Any, confidence: float = 0.95, samples: int = 2000, seed: int = 0) -> dict[str, float | int]:
    """`iqm` with its interval `low`, `high`, the `mean`, and the number `n` of scores; arguments as in `interval`."""
    table = _table(scores)
    low, high = interval(table, iqm, confidence, samples, seed)
    return {"iqm": float(iqm(table)), "low": low, "high": high, "mean": float(table.mean()), "n": table.size}


def wilson(successes: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's 95% score interval of a success rate (Wilson, 1927), which holds near 0 and 1 too."""
    rate = successes / n
    centre = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def linear_probe(beliefs: np.ndarray, tasks: np.ndarray, ridge: float = 1.0) -> np.ndarray:
    """How well each task's parameters are told, linearly, from what an agent believes, by those of all other tasks.

    A ridge regression from standardised beliefs is fitted without task `i`; its score is `1 - mean_d e_id^2 / var_d`,
    `e_id` the error in parameter `d` and `var_d` that parameter's variance. The mean over tasks is 1 for parameters
    that can be read off, and 0 or less where the mean of the others is as good a guess.

    Args:
      beliefs: `[N, D]`.
      tasks: `[N, k]`.
      ridge: weight of the squared coefficients.

    Returns:
      Scores `[N]`.
    """
    x, y = np.asarray(beliefs, np.float64), np.asarray(tasks, np.float64)
    x = (x - x.mean(0)) / np.maximum(x.std(0), 1e-9)
    x = np.concatenate([np.ones((len(x), 1)), x], 1)
    penalty = np.full(x.shape[1], ridge)
    penalty[0] = 1e-9
    hat = x @ np.linalg.solve(x.T @ x + np.diag(penalty), x.T)
    # Leaving one out of a ridge regression divides its error by what it does not explain of itself.
    error = (y - hat @ y) / (1.0 - np.diagonal(hat))[:, None]
    return 1.0 - (np.square(error) / np.maximum(y.var(0), 1e-12)).mean(1)


def _table(scores: Any) -> np.ndarray:
    """Scores as float64 `[runs, episodes]`."""
    table = np.asarray(scores, np.float64)
    if table.ndim not in (1, 2) or table.size == 0:
        raise UsageError(f"scores must be [runs] or [runs, episodes] and not empty, but their shape is {table.shape}.")
    if not np.isfinite(table).all():
        raise UsageError("Scores must be finite numbers, but one of them is not.")
    return table.reshape(len(table), -1)
