"""N-step: folds the next n steps of each environment into one record, before another buffer stores it."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from envs.errors import UsageError, nearest
from replay import ring, sizes
from replay.buffer import Buffer
from replay.options import build, require

# ------------------------------------------------------------------------------------------------------- CONFIG


@dataclass(frozen=True)
class Config:
    """Options of n-step records."""

    n: int = 5
    """Steps that are folded into one record; fewer where the episode ends."""
    discount: float = 0.99
    """Discount of each further step."""
    envs: int = 1
    """Environments that the records come from."""
    summed: tuple[str, ...] = ()
    """Extras of a step that are summed like the reward, such as costs."""

    def __post_init__(self):
        require(self.n >= 1, "n", self.n, "at least 1")
        require(0 <= self.discount <= 1, "discount", self.discount, "between 0 and 1")
        require(self.envs >= 1, "envs", self.envs, "at least 1")


# --------------------------------------------------------------------------------------------------------- STATE


class Folding(NamedTuple):
    """What lies between the steps and the buffer.

    Attributes:
      inner: the state of the buffer behind.
      waiting: the latest `n - 1` steps of each environment, `[n - 1, envs, ...]`.
      seen: int32, how many of these there are.
    """

    inner: Any
    waiting: Any
    seen: jax.Array


# ---------------------------------------------------------------------------------------------------------- MAKE


def make(inner: Buffer, **options: Any) -> Buffer:
    """Stores n-step records in `inner`, one for each step, as soon as what it needs of the future is known.

    Sutton, "Learning to Predict by the Methods of Temporal Differences", 1988. A record is a NamedTuple with a
    `timestep` (`envs.contract.TimeStep`), the one that its action led to. With `g` the discount and `m` the first of
    `n` steps at which the episode ends, or `n`, the record of step `t` is that step's own, but for its `timestep`,
    which is that of step `t + m - 1` with

        reward   = sum_{k < m} (prod_{j < k} g discount_{t+j}) reward_{t+k}
        discount = g^{m-1} prod_{k < m} discount_{t+k}

    and the extras named in `summed` like the reward. So the target stays what it was for a single step,
    `reward + g * discount * value(next_obs)`, whatever `m` is, and `n=1` changes nothing: a truncated episode
    bootstraps from its last `next_obs`, and after a termination `discount` is 0.

    `add` takes steps `[T * envs, ...]`, time first, as `single_steps` makes them of an unroll, where each environment's
    follow those of the last `add`. The last `n - 1` steps of each wait in the state until their future has come.

    Args:
      inner: a buffer of single records, whose `add` takes `keep`.
      **options: fields of `Config`.

    Raises:
      UsageError: for options that are unknown or out of range, an extra that there is not, and a number of steps that
        is no multiple of `envs`.
    """
    config = build(Config, options)
    n = config.n

    def init(item: Any) -> Folding:
        for name in config.summed:
            if name not in item.timestep.extras:
                raise UsageError(f"n_step is to sum the extra {name!r}: {nearest(name, item.timestep.extras)}")
        waiting = jax.tree.map(
            lambda leaf: jnp.zeros((n - 1, config.envs, *jnp.shape(leaf)), jnp.result_type(leaf)), item
        )
        return Folding(inner.init(item), waiting, jnp.zeros((), jnp.int32))

    def add(state: Folding, items: Any) -> Folding:
        count = ring.count(items)
        if count % config.envs:
            raise UsageError(f"n_step got {count} steps at once, which are not the same number of {config.envs} envs.")
        length = count // config.envs
        fresh = jax.tree.map(lambda leaf: leaf.reshape(length, config.envs, *leaf.shape[1:]), items)
        steps = jax.tree.map(lambda old, new: jnp.concatenate([old, new]), state.waiting, fresh)
        folded = fold(steps, n, config.discount, config.summed)
        flat = jax.tree.map(lambda leaf: leaf.reshape(count, *leaf.shape[2:]), folded)
        # Until n - 1 steps have come, what waits before them is nobody's.
        whole = jnp.arange(length) >= n - 1 - state.seen
        return Folding(
            inner=inner.add(state.inner, flat, jnp.repeat(whole, config.envs)),
            waiting=jax.tree.map(lambda leaf: leaf[length:], steps),
            seen=jnp.minimum(state.seen + length, n - 1),
        )

    def sample(key: jax.Array, state: Folding, n: int, score: jax.Array | None = None):
        return inner.sample(key, state.inner, n, score)

    def update(state: Folding, index: jax.Array, values: Any) -> Folding:
        return state._replace(inner=inner.update(state.inner, index, values))

    return Buffer(sizes.checked(init), add, sample, update, lambda state, n: inner.can_sample(state.inner, n))


def fold(steps: Any, n: int, discount: float, summed: tuple[str, ...] = ()) -> Any:
    """The records of the first `T` of steps `[T + n - 1, B, ...]`: `[T, B, ...]`."""
    length = ring.count(steps) - n + 1
    first, timestep = jax.tree.map(lambda leaf: leaf[:length], steps), steps.timestep
    going, ends = jnp.ones_like(first.timestep.last), jnp.zeros(first.timestep.last.shape, jnp.int32)
    factor = product = jnp.ones_like(first.timestep.discount)
    sums = {name: jnp.zeros_like(leaf) for name, leaf in _summed(first.timestep, summed).items()}
    for k in range(n):
        step = jax.tree.map(lambda leaf, k=k: leaf[k : k + length], timestep)
        # Chosen, not multiplied by 0: what a later episode holds must not matter, even if it is not finite.
        for name, leaf in _summed(step, summed).items():
            sums[name] += jnp.where(going, factor * leaf, 0.0).astype(leaf.dtype)
        ends = jnp.where(going, k, ends)
        product = jnp.where(going, factor * step.discount, product)
        going, factor = going & ~step.last, discount * product
    final = jax.tree.map(lambda leaf: leaf[jnp.arange(length)[:, None] + ends, jnp.arange(ends.shape[1])], timestep)
    reward = sums.pop("")
    return first._replace(timestep=final._replace(reward=reward, discount=product, extras={**final.extras, **sums}))


def _summed(timestep: Any, names: tuple[str, ...]) -> dict[str, jax.Array]:
    """What is summed, by name; the reward has none."""
    return {"": timestep.reward, **{name: timestep.extras[name] for name in names}}
