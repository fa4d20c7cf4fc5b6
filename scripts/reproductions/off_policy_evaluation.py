"""Off-policy evaluation by a balanced model (Lee et al., 2021): what a policy would return, from another one's data.

A pendulum. Evaluated is a policy that swings it up and holds it; the data are of one with a share of its torque, and
noise. Ensembles that differ in the weight of balancing alone are fitted to the same data.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import envs
from agents.auxiliary.world_model import Records, WorldModel
from agents.auxiliary.world_models import ensemble, evaluation, repb_sde

TASK, STEPS, DISCOUNT = "Pendulum-v1", 200, 0.99
ALPHAS = (0.0, 0.01, 0.1, 1.0)
TRANSITIONS = 5000  # of the data
REPEATS = 20  # rollouts from each start of the data, for the policy and the model draw
SMALL: dict[str, Any] = {"hidden": (64, 64, 64, 64), "members": 5, "elites": 3}
UPRIGHT = 15.0  # the energy of a pendulum that stands, in (rad/s)^2
MEASURES = {"value": "absolute error of the value", "step": "squared error of a step where the policy goes"}


class Played(NamedTuple):
    """Steps of `N` episodes: state, action, reward and successor, `[N, T, ...]`."""

    obs: jax.Array
    action: jax.Array
    reward: jax.Array
    next_obs: jax.Array


def target(key: jax.Array, obs: jax.Array) -> jax.Array:
    """Pumps energy into the pendulum until it nearly stands, and holds it there; `[N, 3]` to `[N, 1]`."""
    cosine, sine, speed = obs.T
    angle = jnp.arctan2(sine, cosine)
    pumped = (UPRIGHT - speed**2 / 2 - UPRIGHT * cosine) * jnp.where(speed < 0, -1.0, 1.0)
    torque = jnp.where(jnp.abs(angle) < 0.3, -10 * angle - 2 * speed, pumped)
    return jnp.clip(torque + 0.1 * jax.random.normal(key, torque.shape), -2, 2)[:, None]


def shifted(share: float, noise: float, key: jax.Array, obs: jax.Array) -> jax.Array:
    """A share of the torque of `target`, and noise in N m."""
    own_key, noise_key = jax.random.split(key)
    return jnp.clip(share * target(own_key, obs) + noise * jax.random.normal(noise_key, (len(obs), 1)), -2, 2)


# What made the data. The first comes up now and then; the second swings and hardly ever does.
SHIFTS: dict[str, evaluation.Policy] = {"mild": partial(shifted, 0.5, 1.0), "strong": partial(shifted, 0.2, 0.5)}


@partial(jax.jit, static_argnums=0)
def play(policy: evaluation.Policy, key: jax.Array, bodies: jax.Array) -> Played:
    """One episode from each of `bodies` `[N, 2]`, angle and angular velocity."""
    env = envs.make(TASK, backend="device")
    assert isinstance(env, envs.Env)
    own = jax.random.split(key, len(bodies))
    states, first = jax.vmap(env.reset)(own, bodies)

    def step(now: Any, key: jax.Array) -> tuple[Any, Played]:
        states, obs = now
        action = policy(key, obs)
        states, found = jax.vmap(env.step)(own, states, action)
        return (states, found.obs), Played(obs, action, found.reward, found.next_obs)

    _, steps = jax.lax.scan(step, (states, first.obs), jax.random.split(key, STEPS))
    return jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), steps)


def flat(steps: Played) -> Records:
    """The steps as records, one episode after the other."""
    obs, action, reward, next_obs = (leaf.reshape(-1, *leaf.shape[2:]) for leaf in steps)
    return Records(obs, action, reward, jnp.ones_like(reward), next_obs, jnp.int32(len(reward)))


def model_of(alpha: float, **options: Any) -> WorldModel:
    """A small ensemble, balanced from its first fit on for the states that follow from the data's starts."""
    own = {"alpha": alpha, "balance_first": True, "init_states": "starts", "discount": DISCOUNT, "doubt": "none"}
    return repb_sde.make(envs.make(TASK, backend="device").spec, **{**SMALL, **own, **options})


@partial(jax.jit, static_argnums=0)
def fit(model: WorldModel, key: jax.Array, records: Records) -> tuple[Any, dict[str, jax.Array]]:
    """A fresh model fitted to the records for `target`."""
    init_key, fit_key = jax.random.split(key)
    return model.fit(fit_key, model.init(init_key), records, target)


@partial(jax.jit, static_argnums=0)
def step_error(model: WorldModel, state: Any, records: Records) -> jax.Array:
    """The mean squared error of reward and change of the state, in units of the data's deviations."""
    assert model.believe is not None
    believed = model.believe(state, records.obs, records.action)
    found = jnp.concatenate([believed.reward[:, None], believed.next_obs - records.obs], -1)
    return jnp.square((found - ensemble.targets_of(records)) / state.ensemble.targets.deviation).mean()


def errors(models: list[WorldModel], shift: str, seed: int, transitions: int) -> list[dict[str, float]]:
    """What each model gets wrong after a fit to the data of this seed."""
    start_key, data_key, true_key, fit_key, value_key = jax.random.split(jax.random.key(seed), 5)
    spread = jnp.array([jnp.pi, 1.0])
    bodies = spread * jax.random.uniform(start_key, (-(-transitions // STEPS), 2), minval=-1.0, maxval=1.0)
    records = flat(play(SHIFTS[shift], data_key, bodies))
    true = play(target, true_key, jnp.repeat(bodies, REPEATS, 0))
    weight = DISCOUNT ** jnp.arange(STEPS)
    value = (true.reward * weight).sum(1).mean()
    seen = flat(jax.tree.map(lambda leaf: leaf[::REPEATS], true))
    found = []
    for model in models:
        state, metrics = fit(model, fit_key, records)
        guessed = evaluation.evaluate(
            value_key, model, state, target, true.obs[:, 0], horizon=STEPS, discount=DISCOUNT
        ).value
        found.append(
            {
                "true": float(value),
                "estimate": float(guessed),
                "value": abs(float(guessed - value)),
                "step": float(step_error(model, state, seen)),
                "held out": float(metrics["loss"]),
                "ipm": float(metrics["ipm"]),
                "epochs": float(metrics["epochs"]),
            }
        )
    return found


def run(
    seeds: int,
    alphas: tuple[float, ...] = ALPHAS,
    shifts: tuple[str, ...] = tuple(SHIFTS),
    transitions: int = TRANSITIONS,
    **options: Any,
) -> dict[str, Any]:
    """Both errors of every weight over `seeds` data sets, and whether a weight above 0 has smaller ones.

    A claim holds if for one of the weights the errors at 0 less its own, pair by pair, have an interval above zero, of
    a confidence that allows for having tried all weights. `alphas` begin with 0; `options` are the model's.
    """
    models = [model_of(alpha, **options) for alpha in alphas]
    confidence = 1 - 0.05 / max(1, len(alphas) - 1)
    rows, claims, tables = [], [], {}
    for shift in shifts:
        found = [errors(models, shift, seed, transitions) for seed in range(seeds)]
        table = {name: np.array([[each[name] for each in seed] for seed in found]) for name in found[0][0]}
        rows += [_row(shift, alpha, column, table) for column, alpha in enumerate(alphas)]
        claims += [_claim(shift, name, alphas, table[name], confidence) for name in MEASURES]
        tables[shift] = {name: values.tolist() for name, values in table.items()}
    return {"rows": rows, "claims": claims, "confidence": confidence, "transitions": transitions, "per seed": tables}


def _row(shift: str, alpha: float, column: int, table: dict[str, np.ndarray]) -> dict[str, Any]:
    from agents.training.statistics import interval

    row: dict[str, Any] = {"data": shift, "alpha": alpha}
    for name, about in MEASURES.items():
        row[about] = float(table[name][:, column].mean())
        row[f"{name} interval"] = list(interval(table[name][:, column], np.mean))
    return row | {name: float(table[name][:, column].mean()) for name in table if name not in MEASURES}


def _claim(shift: str, name: str, alphas: tuple[float, ...], values: np.ndarray, confidence: float) -> dict[str, Any]:
    from agents.training.statistics import interval

    gains = values[:, :1] - values[:, 1:]
    bounds = [interval(gain, np.mean, confidence) for gain in gains.T]
    told = [
        f"alpha {alpha:g}: smaller by {gain:.3g} ({low:.3g} to {high:.3g})"
        for alpha, gain, (low, high) in zip(alphas[1:], gains.mean(0), bounds, strict=True)
    ]
    return {
        "claim": f"Balancing makes the {MEASURES[name]} smaller, {shift} shift",
        "verdict": "held" if any(low > 0 for low, _ in bounds) else "not reproduced",
        "grounds": "; ".join(told),
    }
