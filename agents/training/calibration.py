"""Calibration of a run's world model: what it predicts along real trajectories, its spread against its real error.

The model is followed from real states under the actions that were really taken, several draws side by side, each from
what it predicted itself. A model that knows what it does not know spreads its draws as widely as it errs.
"""

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from agents import parts, registry
from agents.auxiliary.world_model import WorldModel
from agents.training import actor
from agents.training.evaluation import host_view
from agents.training.saved import Saved, open_run
from envs.contract import HostMaker, PyTree
from envs.errors import UsageError

SHARES = (0.5, 0.95)  # of the predicted draws, in the middle: the intervals that should hold as many real values
QUANTILES = np.linspace(0.0, 1.0, 21)  # of the reliability curve


class Trail(NamedTuple):
    """Episodes as the agent saw them, time first; an outcome is the reward and then the successor's numbers.

    Attributes:
      obs: float32 `[T, B, D]`.
      action: float32 `[T, B, A]`.
      outcome: float32 `[T, B, 1 + D]`.
      last: bool `[T, B]`.
      counted: bool `[T, B]`, the steps of the episodes; what follows them, and a step that diverged, is not.
    """

    obs: np.ndarray
    action: np.ndarray
    outcome: np.ndarray
    last: np.ndarray
    counted: np.ndarray


class Windows(NamedTuple):
    """`N` states and what followed each of them for `H` steps, time first.

    Attributes:
      obs: float32 `[N, D]`.
      action: float32 `[H, N, A]`.
      outcome: float32 `[H, N, 1 + D]`.
      valid: bool `[H, N]`, up to the end of the episode.
    """

    obs: np.ndarray
    action: np.ndarray
    outcome: np.ndarray
    valid: np.ndarray


class Followed(NamedTuple):
    """What the model said of `Windows`, `[H, N, 1 + D]` each but `first` `[N, 1 + D]`.

    Attributes:
      mean: of the draws.
      deviation: of the draws, with one degree of freedom less than draws.
      level: the real value's place among the draws, from 0 to 1.
      first: its place after one step, by the normal that the model believes in where it can say so, else by draws.
    """

    mean: jax.Array
    deviation: jax.Array
    level: jax.Array
    first: jax.Array


class Calibration(NamedTuple):
    """How well a model knows its errors: `[H, 1 + D]` by horizon and number, the reward first.

    Spread and error are in units of each number's standard deviation in the data; all is NaN for a number that is
    always the same there.

    Attributes:
      states: int `[H]`, the states compared.
      spread: root mean variance of the draws.
      error: root mean squared error of the draws' mean.
      covered: `[len(SHARES), H, 1 + D]`, share of real values within the middle of the draws.
      reliability: `[len(QUANTILES), 1 + D]`, share of real values below each predicted quantile after one step.
    """

    states: np.ndarray
    spread: np.ndarray
    error: np.ndarray
    covered: np.ndarray
    reliability: np.ndarray


# -------------------------------------------------------------------------------------------------------------- FOLLOW


def windows(trail: Trail, horizon: int, states: int, seed: int) -> Windows:
    """At most `states` states of the trail, drawn evenly, and the `horizon` steps after each of them.

    Raises:
      UsageError: where no episode lasts so many steps.
    """
    time, place = np.nonzero(trail.counted)
    picked = np.sort(np.random.default_rng(seed).permutation(len(time))[:states])
    time, place = time[picked], place[picked]
    steps = time + np.arange(horizon)[:, None]
    within = steps < len(trail.last)
    at = (np.minimum(steps, len(trail.last) - 1), place)
    ended = np.cumsum(trail.last[at], axis=0) - trail.last[at]  # ends before each step
    valid = within & trail.counted[at] & (ended == 0)
    if not valid.any(axis=1).all():
        raise UsageError(
            f"a horizon of {horizon} is too long: of {len(time)} states none is followed by more than "
            f"{int(valid.any(axis=1).sum())} steps before the episode ends."
        )
    return Windows(trail.obs[time, place], trail.action[at], trail.outcome[at], valid)


def follow(model: WorldModel, draws: int, key: jax.Array, state: PyTree, seen: Windows) -> Followed:
    """Follows the model through the actions of `seen`, `draws` times from each state, open loop."""

    def step(obs: jax.Array, taken: tuple) -> tuple[jax.Array, tuple]:
        number, action, outcome = taken
        predict_key, level_key = jax.random.split(jax.random.fold_in(key, number))
        found = model.predict(predict_key, state, obs, jnp.repeat(action, draws, axis=0))
        drawn = joined(found.reward, found.next_obs).reshape(-1, draws, outcome.shape[-1])
        place = levels(level_key, drawn, outcome)
        return found.next_obs, (drawn.mean(1), drawn.std(1, ddof=1), place)

    steps = (jnp.arange(len(seen.action)), seen.action, seen.outcome)
    _, (mean, deviation, level) = jax.lax.scan(step, jnp.repeat(seen.obs, draws, axis=0), steps)
    first = level[0]
    if model.believe:
        believed = model.believe(state, seen.obs, seen.action[0])
        centre = joined(believed.reward, believed.next_obs)
        spread = joined(believed.reward_deviation, believed.next_obs_deviation)
        first = jax.scipy.stats.norm.cdf((seen.outcome[0] - centre) / spread)
    return Followed(mean, deviation, level, first)


def levels(key: jax.Array, drawn: jax.Array, real: jax.Array) -> jax.Array:
    """The place of `real` `[N, D]` among the draws `[N, K, D]`, from 0 to 1: the randomised probability transform.

    Czado et al., "Predictive Model Assessment for Count Data", 2009. `(below + U (1 + equal)) / (K + 1)` with `U` even
    in `[0, 1]`: evenly distributed, however few draws, where the real value is one more draw.
    """
    below = (drawn < real[:, None]).sum(1)
    equal = (drawn == real[:, None]).sum(1)
    return (below + jax.random.uniform(key, real.shape) * (1 + equal)) / (drawn.shape[1] + 1)


def joined(reward: Any, obs: Any) -> jax.Array:
    """Reward `[N]` and observation `[N, D]` as one outcome `[N, 1 + D]`."""
    return jnp.concatenate([reward[:, None], obs], axis=1)


def judge(followed: Followed, seen: Windows, scale: np.ndarray) -> Calibration:
    """What the model said against what was seen; `scale` `[1 + D]` is each number's deviation in the data."""
    mean, deviation, level, first = (np.asarray(leaf, np.float64) for leaf in followed)
    unit = np.where(scale > 1e-6, scale, np.nan)
    states = seen.valid.sum(1)

    def averaged(values: np.ndarray) -> np.ndarray:
        """Over the states that count: `[H, N, 1 + D]` to `[H, 1 + D]`."""
        return np.where(seen.valid[..., None], values, 0.0).sum(1) / states[:, None] + 0 * unit

    covered = [averaged(np.abs(level - 0.5) <= share / 2) for share in SHARES]
    below = first[seen.valid[0]] <= QUANTILES[:, None, None]
    return Calibration(
        states=states,
        spread=np.sqrt(averaged(np.square(deviation))) / unit,
        error=np.sqrt(averaged(np.square(mean - seen.outcome))) / unit,
        covered=np.stack(covered),
        reliability=below.mean(1) + 0 * unit,
    )


# ---------------------------------------------------------------------------------------------------------------- RUN


def calibrate(
    run: str | Path,
    *,
    episodes: int = 16,
    horizon: int = 10,
    states: int = 1000,
    draws: int = 100,
    seed: int = 1000,
    greedy: bool = False,
    checkpoint: str = "best",
) -> tuple[Saved, Calibration]:
    """Plays a run's policy and judges its model along the way; of several seeds, the first's.

    Args:
      run: the run's folder.
      episodes: how many to play, side by side.
      horizon: steps to follow the model.
      states: states to follow it from, at most.
      draws: of each state's future.
      seed: of the episodes and the draws.
      greedy: take the likeliest action rather than draw one.
      checkpoint: `"best"` or `"last"`.

    Raises:
      UsageError: where there is no run, its agent has no world model or never fitted it, or episodes are too short.
    """
    saved = open_run(run, checkpoint)
    model, state = model_of(saved)
    trail = play(saved, episodes, seed, greedy)
    seen = windows(trail, horizon, states, seed)
    followed = jax.jit(partial(follow, model, draws))(jax.random.key(seed), state, seen)
    return saved, judge(jax.device_get(followed), seen, trail.outcome[trail.counted].std(0))


def model_of(saved: Saved) -> tuple[WorldModel, PyTree]:
    """The world model of a run, and what it had learned.

    Raises:
      UsageError: where there is none, or it was never fitted.
    """
    config, learning = saved.agent.config, saved.state.variables.get("learning")
    if not hasattr(learning, "model"):
        raise UsageError(f"{saved.agent.name} has no world model to calibrate: take a run of mbpo or one like it.")
    if learning.model_loss == 0:
        raise UsageError(
            f"the world model in {saved.path} was never fitted: train for more than warmup={config['warmup']} steps."
        )
    (name,) = registry.parse_names(config["model"], "world model")
    own = {option: value for option, value in config.items() if option.startswith(f"{name}.")}
    (part,) = parts.find("world model", name, saved.wrapper.spec(saved.env.spec), own)
    return part.made, learning.model


def play(saved: Saved, episodes: int, seed: int, greedy: bool) -> Trail:
    """One episode of each of `episodes` environments, with the run's policy."""
    env, agent, wrapper = saved.env, saved.agent, saved.wrapper
    maker = env if isinstance(env, HostMaker) else host_view(env.evaluation or env)
    key = jax.random.key(seed)

    @jax.jit
    def decide(state, step, carry, wrapped, raw):
        act_key, wrap_key = jax.random.split(jax.random.fold_in(key, step))
        wrapped, timestep = wrapper.timestep(wrapped, actor.settled(jnp, raw), True)
        action, carry, _ = agent.act(act_key, state, carry, timestep, greedy)
        wrapped, sent = wrapper.action(wrap_key, wrapped, action)
        return timestep, action, sent, carry, wrapped

    lent = actor.lend(agent, saved.state)
    wrapped = wrapper.init(env.spec, episodes)._replace(shared=saved.wrapper_state.shared)
    carry = agent.begin(lent, episodes)
    rows: list[Trail] = []
    over = np.zeros(episodes, bool)
    engine = maker.open(seed=seed, n=episodes)
    try:
        now, action, sent, carry, wrapped = decide(lent, np.uint32(0), carry, wrapped, engine.reset())
        while not over.all():
            before, done = np.array(now.obs), np.array(action)
            raw = jax.tree.map(np.array, engine.step(np.asarray(sent)))  # an engine may write into its arrays again
            now, action, sent, carry, wrapped = decide(lent, np.uint32(1 + len(rows)), carry, wrapped, raw)
            counted = ~over & ~np.asarray(now.extras["diverged"])
            rows.append(Trail(before, done, np.array(joined(now.reward, now.next_obs)), raw.last, counted))
            over = over | raw.last
    finally:
        engine.close()
    return Trail(*map(np.stack, zip(*rows, strict=True)))
