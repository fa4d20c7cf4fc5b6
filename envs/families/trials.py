"""Which task an environment of a family plays when, and what its steps say of it; NumPy alone, for worker processes.

A family is many tasks under one spec. An environment plays `trial` episodes in a row with one task, which an agent has
to find out, and goes on to another. Steps of all families have the extras

- `task_id`, int32 `[]`: the task in which the step was taken, 0 to `tasks - 1`;
- `task`, float32 `[k]`: the parameters of this task, which no observation shows;
- `trial_last`, bool `[]`: whether the step ended the last episode with this task.

At a reset they are those of the task to be played. Training and evaluation have tasks of their own, drawn once from a
seed. In training they are dealt like cards from a shuffled deck, so that all are played equally often; in evaluation
environment `i` of `n` plays task `i`, then `i + n` and so on.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from envs.contract import Array, EnvSpec
from envs.errors import UsageError, nearest

SPLITS = ("train", "test")


class Deck(NamedTuple):
    """The tasks of one split and how they are dealt to `n` environments.

    Attributes:
      table: the parameters of each task, float32 `[T, k]`.
      trial: episodes in a row with one task.
      shuffled: whether they are dealt in a random order, else in theirs.
      seed: of that order.
      n: environments that are dealt to.
    """

    table: np.ndarray
    trial: int
    shuffled: bool
    seed: int = 0
    n: int = 1

    def task(self, place: int, episode: int) -> int:
        """The task of environment `place` in its `episode`, counted from 0."""
        turn, card = divmod(episode // self.trial * self.n + place, len(self.table))
        if not self.shuffled:
            return card
        return int(np.random.default_rng((self.seed, turn)).permutation(len(self.table))[card])

    def tasks(self, episodes: np.ndarray) -> np.ndarray:
        """The tasks of all environments in their `episodes` `[n]`: int32 `[n]`."""
        return np.array([self.task(place, int(episode)) for place, episode in enumerate(episodes)], np.int32)

    def ends_trial(self, episodes: np.ndarray) -> np.ndarray:
        """Whether these are the last episodes with their tasks, elementwise."""
        return (np.asarray(episodes) + 1) % self.trial == 0


def spec_of(spec: EnvSpec, deck: Deck) -> EnvSpec:
    """The spec of one environment as that of a family: its extras, its trials."""
    count, size = deck.table.shape
    extras = {
        "task_id": Array((), "int32", 0, count - 1),
        "task": Array((size,), "float32"),
        "trial_last": Array((), "bool"),
    }
    return replace(spec, extras={**spec.extras, **extras}, tasks=Array((size,), "float32"), trial=deck.trial)


def assigned(env: Any, deck: Deck, set_task: Any) -> Any:
    """A Gymnasium environment in a worker process that is given its task at every reset.

    `envs.vector` says in the reset's options which episode of which environment begins, and fills in `trial_last`.

    Args:
      env: the environment.
      deck: the tasks.
      set_task: `(task_id) -> None`, called before the reset.
    """
    import gymnasium

    class Assigned(gymnasium.Wrapper):
        def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
            assert options is not None
            self.task = deck.task(options["place"], options["episode"])
            set_task(self.task)
            obs, info = self.env.reset(seed=seed)
            return obs, self._told(info)

        def step(self, action: Any) -> tuple[Any, Any, bool, bool, Any]:
            obs, reward, terminated, truncated, info = self.env.step(action)
            return obs, reward, terminated, truncated, self._told(info)

        def _told(self, info: dict[str, Any]) -> dict[str, Any]:
            return {**info, "task_id": self.task, "task": deck.table[self.task], "trial_last": False}

    return Assigned(env)


def check(id: str, split: str, trial: int, tasks: int, test_tasks: int, task_seed: int) -> None:
    """Raises UsageError where an option of a family makes no sense."""
    if split not in SPLITS:
        raise UsageError(f"{id}: split cannot be {split!r}: {nearest(split, SPLITS)}")
    for name, value in (("trial", trial), ("tasks", tasks), ("test_tasks", test_tasks), ("task_seed", task_seed)):
        lowest = 0 if name == "task_seed" else 1
        if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
            raise UsageError(f"{id}: {name} must be an integer of at least {lowest}, not {value!r}.")
