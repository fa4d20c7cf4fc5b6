"""What sets a model-based agent's knobs over a run: constants, a rule of its progress, a log, or a controller.

All are the same kind of thing, a `Schedule`, and all are read anew at every update inside `jit`.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.errors import UsageError, nearest


class Settings(NamedTuple):
    """What a schedule decides.

    Attributes:
      real_ratio: the share of real records in a batch, float32 in 0 to 1.
      updates: updates of the policy for each environment step, float32.
      horizon: steps that the model is followed from a real state, int32, at least 1.
      fit: whether the model is fitted now, bool.
    """

    real_ratio: jax.Array
    updates: jax.Array
    horizon: jax.Array
    fit: jax.Array


class Facts(NamedTuple):
    """What a schedule knows, all scalars.

    Attributes:
      step: environment steps since learning began, int32.
      before: the same at the last decision, -1 or less at the first.
      progress: the share of the run that is done, 0 to 1.
      model_loss: the model's error on records held out, from its last fit.
      critic_loss: the critics' loss, its mean over the last updates.
      shift: how far the policy has moved in the last epoch, on real records; 0 unless the schedule `watches` it.
      returned: the return of the episode that ended last.
    """

    step: jax.Array
    before: jax.Array
    progress: jax.Array
    model_loss: jax.Array
    critic_loss: jax.Array
    shift: jax.Array
    returned: jax.Array


class Schedule(NamedTuple):
    """A schedule as pure functions.

    Attributes:
      init: `(key) -> state`, `()` where there is none.
      decide: `(key, state, facts) -> (state, Settings)`, before every round of updates.
      most_horizon: the longest horizon it will ask for, a static bound of what is kept.
      watches: whether `facts.shift` is to be computed.
    """

    init: Callable[[jax.Array], Any]
    decide: Callable[..., tuple[Any, Settings]]
    most_horizon: int
    watches: bool = False


def due(facts: Facts, every: int) -> jax.Array:
    """Whether a multiple of `every` steps was reached since the last decision; with 0 at the first alone."""
    if every == 0:
        return facts.before < 0
    return facts.step // every > facts.before // every


def stateless(settings: Callable[[Facts], Settings], most_horizon: int) -> Schedule:
    """A schedule that remembers nothing."""
    return Schedule(lambda key: (), lambda key, state, facts: (state, settings(facts)), most_horizon)


def manual(config: Any) -> Schedule:
    """The schedule of an `mbpo.Config`.

    The horizon grows from `horizon[0]` to `horizon[1]` between the epochs `horizon[2]` and `horizon[3]`, rounded down
    (Janner et al., 2019). The share of real records is `real_ratio`, or goes from there to `last_real_ratio` over the
    run where `schedule` is `linear`, or is multiplied by `growth` each epoch up to that where it is `exponential`, as
    the theory of Lai et al., 2021, asks for.
    """
    least, most, since, until = config.horizon

    def settings(facts: Facts) -> Settings:
        epoch = facts.step // config.epoch
        grown = least + (epoch - since) / max(1, until - since) * (most - least)
        ratio, last = jnp.asarray(config.real_ratio), config.last_real_ratio
        if config.schedule == "linear":
            ratio = ratio + facts.progress * (last - ratio)
        elif config.schedule == "exponential":
            ratio = jnp.minimum(last, ratio * config.growth**epoch)
        return Settings(
            real_ratio=ratio.astype(jnp.float32),
            updates=jnp.asarray(config.ratio, jnp.float32),
            # A hair more, or 3 of 10 steps would be 2.9999998.
            horizon=jnp.floor(jnp.clip(grown, least, most) + 1e-4).astype(jnp.int32),
            fit=due(facts, config.fit_every),
        )

    return stateless(settings, most)


def replayed(path: str | Path) -> Schedule:
    """A schedule out of a file: `{"every": STEPS, "knobs": {"real_ratio": [...], "ratio": [...], ...}}`.

    The lists have one value for every `every` environment steps since learning began, and their last one from then on:
    `real_ratio`, `ratio` (updates for each step), `horizon`, and `fit` (0 or 1, read once in every `every` steps).

    Raises:
      UsageError: where the file cannot be read as that.
    """
    try:
        found = json.loads(Path(path).read_text())
        every, knobs = int(found["every"]), {name: np.asarray(found["knobs"][name], np.float32) for name in _KNOBS}
    except OSError:
        raise UsageError(f"there is no schedule {str(path)!r}: {nearest(str(path), NAMES)}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path} is no schedule: it needs every and the knobs {', '.join(_KNOBS)} ({error})."
        ) from None
    ratio, horizon = knobs["real_ratio"], knobs["horizon"]
    if every < 1 or any(values.shape != (ratio.size,) or not ratio.size for values in knobs.values()):
        raise UsageError(f"{path} is no schedule: every must be above 0, and its knobs be lists of one length.")
    if ratio.min() < 0 or ratio.max() > 1 or horizon.min() < 1 or knobs["ratio"].min() <= 0:
        raise UsageError(f"{path} is no schedule: real_ratio is within 0 and 1, horizon at least 1 and ratio above 0.")

    def settings(facts: Facts) -> Settings:
        index = jnp.minimum(facts.step // every, ratio.size - 1)
        value = {name: jnp.asarray(values)[index] for name, values in knobs.items()}
        fit = due(facts, every) & (value["fit"] > 0.5)
        return Settings(value["real_ratio"], value["ratio"], value["horizon"].astype(jnp.int32), fit)

    return stateless(settings, int(horizon.max()))


_KNOBS = ("real_ratio", "ratio", "horizon", "fit")
NAMES = ("constant", "linear", "exponential")


def of(config: Any) -> Schedule:
    """The schedule that a config names: one of `NAMES`, or a file to be `replayed`."""
    return manual(config) if config.schedule in NAMES else replayed(config.schedule)
