"""The rules of time and truth that every host adapter keeps; tests of the adapters call `check_rules`."""

import io
from typing import Any

import numpy as np

from envs.contract import Action, Array, Box, Discrete, EnvSpec, HostEnv, HostMaker, PyTree, TimeStep


def check_rules(
    maker: HostMaker, *, n: int = 2, steps: int = 40, seed: int = 7, ends: bool = True, strict_seed: bool = True
) -> list[TimeStep]:
    """Plays random actions and checks shapes, dtypes, ends, seeds, save and restore.

    Args:
      maker: what `envs.make` returned.
      n: number of environments.
      steps: how many steps to play; with `ends` at least one episode must end within them.
      seed: of the environments and of the actions.
      ends: whether an end is expected (and a restore right after it is checked).
      strict_seed: whether another seed must give other observations.

    Returns:
      The time steps, the first one included.
    """
    spec, actions = maker.spec, random_actions(maker.spec.action, steps, n, seed)
    env = maker.open(seed, n)
    history, saves = [env.reset()], [env.save()]
    copies = [_copied(history[0])]
    for action in actions:
        history.append(env.step(action))
        copies.append(_copied(history[-1]))
        saves.append(env.save())
    env.close()
    for timestep, copy in zip(history, copies, strict=True):
        assert_equal(timestep, copy)  # No array given out may change later.
        check_timestep(spec, timestep, n)
    check_first(spec, history[0])
    first_end = next((t for t, timestep in enumerate(history) if timestep.last.any()), None)
    assert not ends or first_end is not None, "no episode ended"
    for t in {steps // 2, steps // 2 if first_end is None else first_end}:
        check_resume(maker, n, seed, history, actions, on_disk(saves[t]), t)
    if strict_seed:
        other = maker.open(seed + 1, n)
        assert not _same(other.reset().obs, history[0].obs)
        other.close()
    return history


def check_resume(
    maker: HostMaker, n: int, seed: int, history: list[TimeStep], actions: np.ndarray, saved: dict, t: int
) -> None:
    """A fresh engine restored from the save after step `t` gives the rest of `history` bit for bit."""
    env = maker.open(seed, n)
    assert_equal(env.restore(saved), history[t])
    for action, expected in zip(actions[t:], history[t + 1 :], strict=True):
        assert_equal(env.step(action), expected)
    env.close()


def check_timestep(spec: EnvSpec, timestep: TimeStep, n: int) -> None:
    """One step against its spec and against itself."""
    conforms(spec.obs, timestep.obs, n)
    conforms(spec.obs, timestep.next_obs, n)
    conforms(spec.extras, timestep.extras, n)
    conforms({"r": Array((), "float32")}, {"r": timestep.reward}, n)
    conforms({"d": Array((), "float32", 0, 1)}, {"d": timestep.discount}, n)
    conforms({"l": Array((), "bool")}, {"l": timestep.last}, n)
    assert np.isin(timestep.discount, (0.0, 1.0)).all()
    assert timestep.last[timestep.discount == 0].all(), "a termination must end its episode"
    for i in np.flatnonzero(~timestep.last).tolist():
        assert _same(_row(timestep.obs, i), _row(timestep.next_obs, i)), "obs and next_obs differ within an episode"
        for name in (name for name in spec.extras if f"next_{name}" in spec.extras):
            assert np.array_equal(timestep.extras[name][i], timestep.extras[f"next_{name}"][i])


def check_first(spec: EnvSpec, timestep: TimeStep) -> None:
    """At a reset nothing has happened yet."""
    assert not timestep.last.any()
    assert (timestep.reward == 0).all()
    assert (timestep.discount == 1).all()
    assert _same(timestep.obs, timestep.next_obs)


def conforms(spec: PyTree, value: PyTree, n: int) -> None:
    """`value` has the tree, the dtypes, the shapes with a batch axis, and the bounds of `spec`."""
    if isinstance(spec, Array):
        assert isinstance(value, np.ndarray)
        assert value.dtype == spec.dtype
        assert value.shape == (n, *spec.shape)
        assert spec.low is None or (value >= np.float32(spec.low)).all()
        assert spec.high is None or (value <= np.float32(spec.high)).all()
    elif isinstance(spec, dict):
        assert set(spec) == set(value)
        for key in spec:
            conforms(spec[key], value[key], n)
    else:
        assert len(spec) == len(value)
        for part, one in zip(spec, value, strict=True):
            conforms(part, one, n)


def random_actions(action: Action, steps: int, n: int, seed: int) -> np.ndarray:
    """`[steps, n, ...]` actions, uniform over the spec."""
    rng = np.random.default_rng(seed)
    if isinstance(action, Discrete):
        return rng.integers(0, action.n, (steps, n), dtype=np.int32)
    if isinstance(action, Box):
        low, high = np.array(action.low), np.array(action.high)
        return rng.uniform(low, high, (steps, n, len(low))).astype(np.float32)
    return rng.integers(0, action.n, (steps, n, len(action.n)), dtype=np.int32)


def play(env: HostEnv, steps: int, seed: int = 0) -> list[TimeStep]:
    """Random steps after a reset; the environment is closed."""
    history = [env.reset(), *map(env.step, random_actions(env.spec.action, steps, env.n, seed))]
    env.close()
    return history


def on_disk(arrays: dict[str, Any]) -> dict[str, np.ndarray]:
    """The arrays as they come back from a file that cannot hold anything but plain arrays."""
    file = io.BytesIO()
    np.savez(file, **arrays)
    file.seek(0)
    with np.load(file, allow_pickle=False) as loaded:
        return dict(loaded)


def assert_equal(a: TimeStep, b: TimeStep) -> None:
    """Bit for bit, field by field."""
    for name in TimeStep._fields:
        assert _same(getattr(a, name), getattr(b, name)), name


def _same(a: PyTree, b: PyTree) -> bool:
    if isinstance(a, dict):
        return set(a) == set(b) and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, tuple):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def _row(tree: PyTree, i: int) -> PyTree:
    if isinstance(tree, dict):
        return {key: _row(part, i) for key, part in tree.items()}
    return tuple(_row(part, i) for part in tree) if isinstance(tree, tuple) else tree[i]


def _copied(timestep: TimeStep) -> TimeStep:
    def copied(tree: PyTree) -> PyTree:
        if isinstance(tree, dict):
            return {key: copied(part) for key, part in tree.items()}
        return tuple(map(copied, tree)) if isinstance(tree, tuple) else tree.copy()

    return TimeStep(*map(copied, timestep))
