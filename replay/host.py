"""Host: pixels in the machine's own memory, each frame stored once; stacks of frames are put together when drawn."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np

from envs.errors import UsageError
from replay import ring, sizes
from replay.buffer import Buffer
from replay.options import build, require

CHECKED = 64  # steps of each environment that must show whether observations are stacks

# ------------------------------------------------------------------------------------------------------- CONFIG


@dataclass(frozen=True)
class Config:
    """Options of the host buffer."""

    capacity: int = 1_000_000
    """Frames that are kept of all environments together; each episode's last frame takes a place beside its steps."""
    envs: int = 1
    """Environments that the steps come from."""
    stack: int = 4
    """Frames of an observation, as `frame_stack` joins them; 1 where it shows a single one."""

    def __post_init__(self):
        require(self.envs >= 1, "envs", self.envs, "at least 1")
        require(1 <= self.stack <= 255, "stack", self.stack, "between 1 and 255")
        least = self.envs * (self.stack + 2)
        require(self.capacity >= least, "capacity", self.capacity, f"at least {least}, a stack of each environment")


# --------------------------------------------------------------------------------------------------------- STATE


class Frames(NamedTuple):
    """What the buffer holds, NumPy arrays all; the frame after a step's own is in the next slot.

    Attributes:
      frames: uint8 `[envs, slots, ..., C]`.
      steps: the records without their observations, `[envs, slots, ...]`.
      age: uint8 `[envs, slots]`, the frames of the same episode before this one, at most `stack - 1`.
      begins: bool `[envs, slots]`, whether a step begins at the frame; none does at an episode's last.
      place: int64 `[envs]`, the slot of the next step's frame.
      size: int64 `[envs]`, the slots in use behind `place`.
      young: uint8 `[envs]`, the age of the next step's frame.
    """

    frames: Any
    steps: Any
    age: Any
    begins: Any
    place: Any
    size: Any
    young: Any


# ---------------------------------------------------------------------------------------------------------- MAKE


def make(**options: Any) -> Buffer:
    """The latest steps of environments that show pixels, drawn uniformly with replacement; all weights are 1.

    Mnih et al., "Human-level control through deep reinforcement learning", 2015. Records are NamedTuples with a `start`
    and a `timestep` (`envs.contract.TimeStep`), whose observation is one uint8 array `[..., stack * C]` with the newest
    frame last, as `frame_stack` makes it: no stack reaches over an episode's start, whose frame stands for those that
    are missing. The first step that is added begins an episode. Observations that no learner asks for are not kept:
    `start.next_obs` comes back as `start.obs`, and `timestep.obs` as `timestep.next_obs`.

    The functions take and give NumPy arrays and are not to be traced; `add` writes into the state it is given. It takes
    steps `[T * envs, ...]`, time first, as `single_steps` makes them of an unroll, where each environment's follow
    those of the last `add`. `index`, int64 `[n]`, is `environment * slots + slot`; `update` changes nothing.

    Raises:
      UsageError: for options that are unknown or out of range, observations of another kind or stacks of another
        number of frames, storage that is larger than the memory that is free, and a number of steps that is no multiple
        of `envs`.
    """
    config = build(Config, options)
    envs, stack, slots = config.envs, config.stack, config.capacity // config.envs

    def init(item: Any) -> Frames:
        obs = item.start.obs
        if not hasattr(obs, "dtype") or obs.dtype != np.uint8 or obs.ndim < 1 or obs.shape[-1] % stack:
            kind = f"{obs.dtype} {obs.shape}" if hasattr(obs, "dtype") else type(obs).__name__
            raise UsageError(f"the host buffer keeps uint8 pixels of {stack} frames on the last axis, not {kind}.")
        frame = (*obs.shape[:-1], obs.shape[-1] // stack)
        rest = _bare(item)
        each = sizes.size_of(rest) + int(np.prod(frame)) + 2
        sizes.require_room(envs * slots * each, host=True)
        return Frames(
            frames=np.zeros((envs, slots, *frame), np.uint8),
            steps=jax.tree.map(lambda leaf: np.zeros((envs, slots, *leaf.shape), leaf.dtype), rest),
            age=np.zeros((envs, slots), np.uint8),
            begins=np.zeros((envs, slots), bool),
            place=np.zeros(envs, np.int64),
            size=np.zeros(envs, np.int64),
            young=np.zeros(envs, np.uint8),
        )

    def add(state: Frames, items: Any) -> Frames:
        count = ring.count(items)
        if count % envs:
            raise UsageError(f"host got {count} steps at once, which are not the same number of {envs} envs.")
        channels = state.frames.shape[-1]
        by_time = jax.tree.map(lambda leaf: np.asarray(leaf).reshape(-1, envs, *leaf.shape[1:]), items)
        if state.size.max() < CHECKED:
            check(by_time.start.obs, by_time.timestep.next_obs, channels)
        rest = _bare(by_time)
        env, oldest = np.arange(envs), stack - 1
        for t in range(count // envs):
            here, after = state.place, (state.place + 1) % slots
            older = np.minimum(state.young + 1, oldest)
            last = by_time.timestep.last[t]
            state.frames[env, here] = by_time.start.obs[t][..., -channels:]
            state.age[env, here], state.begins[env, here] = state.young, True
            jax.tree.map(lambda old, new, here=here, t=t: old.__setitem__((env, here), new[t]), state.steps, rest)
            # Unless the episode ends here, the next step writes this frame once more.
            state.frames[env, after] = by_time.timestep.next_obs[t][..., -channels:]
            state.age[env, after], state.begins[env, after] = older, False
            state = state._replace(
                place=(after + last) % slots,
                size=np.minimum(state.size + 1 + last, slots - 1),
                young=np.where(last, 0, older).astype(np.uint8),
            )
        return state

    def check(obs: Any, next_obs: Any, channels: int) -> None:
        pixels = tuple(range(2, obs.ndim))
        moved = (obs[..., channels:] == next_obs[..., :-channels]).all(pixels)
        if not (moved | (obs == next_obs).all(pixels)).all():  # nothing moves in a step that diverged
            raise UsageError(f"observations are no stacks of {stack} frames: host.stack must be that of frame_stack.")

    def whole(state: Frames, env: Any, back: Any) -> Any:
        """Whether a step begins `back` slots behind the next one, and its stack is all there."""
        slot = (state.place[env] - back) % slots
        return state.begins[env, slot] & (back > 0) & (back + state.age[env, slot] <= state.size[env])

    def sample(key: jax.Array | np.ndarray, state: Frames, n: int, score: Any = None):
        rng = np.random.default_rng(key if isinstance(key, np.ndarray) else np.asarray(jax.random.key_data(key)))
        if score is None:
            env, back = np.zeros(0, np.int64), np.zeros(0, np.int64)
            while len(env) < n:  # a step that is not whole is drawn again, so that the others stay equally likely
                envs_drawn, backs = rng.integers(0, envs, n), rng.integers(1, state.size.max() + 1, n)
                good = whole(state, envs_drawn, backs)
                env, back = np.append(env, envs_drawn[good])[:n], np.append(back, backs[good])[:n]
            slot = (state.place[env] - back) % slots
        else:
            all_envs, all_slots = np.divmod(np.arange(envs * slots), slots)
            backs = (state.place[all_envs] - all_slots) % slots
            chances = np.asarray(score, np.float64) * whole(state, all_envs, backs)
            env, slot = np.divmod(rng.choice(envs * slots, n, p=chances / chances.sum()), slots)
        obs, next_obs = stacked(state, env, slot), stacked(state, env, (slot + 1) % slots)
        steps = jax.tree.map(lambda leaf: leaf[env, slot], state.steps)
        batch = steps._replace(
            start=steps.start._replace(obs=obs, next_obs=obs),
            timestep=steps.timestep._replace(obs=next_obs, next_obs=next_obs),
        )
        return batch, env * slots + slot, np.ones(n, np.float32)

    def stacked(state: Frames, env: Any, slot: Any) -> Any:
        """The observations `[n, ..., stack * C]` whose newest frames are in `slot`."""
        back = np.minimum(np.arange(stack)[::-1], state.age[env, slot][:, None].astype(np.int64))
        frames = np.moveaxis(state.frames[env[:, None], (slot[:, None] - back) % slots], 1, -2)
        return frames.reshape(*frames.shape[:-2], -1)

    def update(state: Frames, index: Any, values: Any) -> Frames:
        return state

    def can_sample(state: Frames, n: int) -> bool:
        # Of each environment the oldest steps may lack frames of their stacks, and one lies in the next step's slot.
        return int(np.count_nonzero(state.begins)) - envs * stack >= n

    return Buffer(init, add, sample, update, can_sample, host=True)


def _bare(item: Any) -> Any:
    """A record without its observations."""
    return item._replace(
        start=item.start._replace(obs=(), next_obs=()), timestep=item.timestep._replace(obs=(), next_obs=())
    )
