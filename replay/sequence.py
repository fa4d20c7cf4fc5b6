"""Sequence: stretches of consecutive steps, for agents with memory and for world models."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from envs.errors import UsageError
from replay import priorities, ring, sizes, sum_tree
from replay.buffer import Buffer
from replay.options import build, require

# ------------------------------------------------------------------------------------------------------- CONFIG


@dataclass(frozen=True)
class Config:
    """Options of the sequence buffer."""

    capacity: int = 1_000_000
    """Steps that are kept of all environments together; rounded down to a multiple of stride for each."""
    envs: int = 1
    """Environments that the steps come from."""
    length: int = 80
    """Steps of a sequence."""
    stride: int = 40
    """Steps from one sequence's start to the next one's: less than length overlaps, 1 begins anywhere."""
    alpha: float = 0.0
    """Power of the priorities: 0 draws uniformly, 1 in proportion to them."""
    beta: float = 0.6
    """Power of the importance weights, where alpha is not 0."""

    def __post_init__(self):
        require(self.envs >= 1, "envs", self.envs, "at least 1")
        require(self.length >= 1, "length", self.length, "at least 1")
        require(self.stride >= 1, "stride", self.stride, "at least 1")
        require(self.alpha >= 0, "alpha", self.alpha, "at least 0")
        require(0 <= self.beta <= 1, "beta", self.beta, "between 0 and 1")
        least = self.envs * max(self.stride, self.stride * -(-self.length // self.stride))
        require(self.capacity >= least, "capacity", self.capacity, f"at least {least}, a sequence of each environment")

    @property
    def steps(self) -> int:
        """Steps that are kept of each environment."""
        return self.capacity // self.envs // self.stride * self.stride


# --------------------------------------------------------------------------------------------------------- STATE


class Sequences(NamedTuple):
    """What the buffer holds; time runs along the second axis, the newest step in the place of the oldest.

    Attributes:
      items: PyTree of `[envs, steps, ...]`.
      place: int32, where the next step goes.
      size: int32, the steps in use of each environment.
      chances: `p ** alpha` of the sequence that begins at each multiple of `stride`, float32 `[envs, steps / stride]`.
      largest: float32, the largest of them so far, 1 before the first.
    """

    items: Any
    place: jax.Array
    size: jax.Array
    chances: jax.Array
    largest: jax.Array


# ---------------------------------------------------------------------------------------------------------- MAKE


def make(**options: Any) -> Buffer:
    """Sequences of `length` consecutive steps of one environment, each that is held whole as likely as any other.

    They begin at every `stride`-th step of an environment's stream and may run over the ends of episodes, which the
    steps' `last` tells; none has steps from both sides of the place where the next step goes. With `alpha` above 0 they
    are drawn in proportion to `p ** alpha`, as in `prioritised` (Kapturowski et al., "Recurrent Experience Replay in
    Distributed Reinforcement Learning", 2019), in time proportional to the sequences held.

    `add` takes steps `[T * envs, ...]`, time first, as `single_steps` makes them of an unroll, where each environment's
    follow those of the last `add`. A sample is `[n, length, ...]`; `index`, int32 `[n]`, is
    `(environment * steps + first step) / stride`.

    Raises:
      UsageError: for options that are unknown or out of range, and where `add` gets more steps than are kept, or a
        number that is no multiple of `envs`.
    """
    config = build(Config, options)
    envs, steps, length, stride = config.envs, config.steps, config.length, config.stride

    def init(item: Any) -> Sequences:
        def stored(leaf: Any) -> jax.Array:
            return jnp.zeros((envs, steps, *jnp.shape(leaf)), jnp.result_type(leaf))

        zero = jnp.zeros((), jnp.int32)
        return Sequences(jax.tree.map(stored, item), zero, zero, jnp.ones((envs, steps // stride)), jnp.ones(()))

    def add(state: Sequences, items: Any) -> Sequences:
        count = ring.count(items)
        t = count // envs
        if count % envs or t > steps:
            raise UsageError(
                f"sequence got {count} steps at once: it takes as many of each of {envs} envs, and at most {steps}."
            )
        places = (state.place + jnp.arange(t)) % steps

        def write(old: jax.Array, new: jax.Array) -> jax.Array:
            return old.at[:, places].set(jnp.swapaxes(new.reshape(t, envs, *new.shape[1:]), 0, 1).astype(old.dtype))

        begun = jnp.where(places % stride == 0, places // stride, steps)
        return Sequences(
            items=jax.tree.map(write, state.items, items),
            place=(state.place + t) % steps,
            size=jnp.minimum(state.size + t, steps),
            chances=state.chances.at[:, begun].set(state.largest, mode="drop"),
            largest=state.largest,
        )

    def starts(state: Sequences) -> tuple[jax.Array, jax.Array]:
        """The age of the oldest step at which a sequence may begin, from the oldest held, and how many begin in all."""
        oldest = (state.place - state.size) % steps
        first = -oldest % stride
        return first, jnp.maximum(0, (state.size - length - first) // stride + 1)

    def sample(key: jax.Array, state: Sequences, n: int, score: jax.Array | None = None):
        first, held = starts(state)
        oldest = (state.place - state.size) % steps
        if config.alpha == 0 and score is None:
            env_key, start_key = jax.random.split(key)
            env = jax.random.randint(env_key, (n,), 0, envs)
            start = (oldest + first + stride * jax.random.randint(start_key, (n,), 0, held)) % steps
            index = (env * steps + start) // stride
        else:
            begin = stride * jnp.arange(steps // stride)
            whole = (begin - oldest) % steps + length <= state.size
            chances = jnp.where(whole, state.chances, 0.0).reshape(-1)
            tree = sum_tree.build(chances if score is None else chances * score)
            index, _ = sum_tree.draw(key, tree, chances.size, n)
            env, start = jnp.divmod(index * stride, steps)
        weight = priorities.weights(state.chances.reshape(-1)[index], config.beta)
        times = (start[:, None] + jnp.arange(length)) % steps
        return jax.tree.map(lambda leaf: leaf[env[:, None], times], state.items), index, weight

    def update(state: Sequences, index: jax.Array, values: jax.Array) -> Sequences:
        if config.alpha == 0:
            return state
        chance, largest = priorities.chances(values, config.alpha, state.largest)
        flat = priorities.write(state.chances.reshape(-1), index, chance)
        return state._replace(chances=flat.reshape(envs, -1), largest=largest)

    def can_sample(state: Sequences, n: int) -> jax.Array:
        return envs * starts(state)[1] >= n

    return Buffer(sizes.checked(init), add, sample, update, can_sample)
