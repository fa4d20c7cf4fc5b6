"""MiniGrid through Farama's `minigrid`: the reference, and the engine of the tasks that EnvPool draws differently."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from envs.minigrid.grid_key import full_key
from envs.minigrid.mission import LENGTH, WORDS, tokens
from envs.minigrid.tasks import TASKS, Task

EMPTY, AGENT = (1, 0, 0), 10  # how MiniGrid encodes an empty cell, and the agent's kind


def create(task: Task, **options: Any) -> Any:
    """Farama's environment of a task, unwrapped."""
    import minigrid  # noqa: F401  (registers its ids)
    from gymnasium.envs.registration import load_env_creator
    from minigrid.envs import MultiRoomEnv

    if task.rooms:
        number, size = task.rooms
        return MultiRoomEnv(minNumRooms=number, maxNumRooms=number, maxRoomSize=size, **options)
    registered = gymnasium.registry[task.id]
    return load_env_creator(str(registered.entry_point))(**{**registered.kwargs, **options})


class FaramaGrid(gymnasium.Env):
    """One task with the observations and extras of its spec.

    `info` carries `grid_key` and `position` of the present state, and `success` of the step just taken.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 (Gymnasium's name)

    def __init__(self, id: str, limit: int, render_mode: str | None = None):
        self.task = TASKS[id]
        self.render_mode = render_mode
        self.env = create(self.task, render_mode=render_mode)
        self.env.max_steps = limit
        self.action_space = self.env.action_space
        self.observation_space = spaces.Dict(
            {
                "image": spaces.Box(0, 10, (7, 7, 3), np.uint8),
                "direction": spaces.Box(0, 3, (), np.int32),
                "mission": spaces.Box(0, len(WORDS), (LENGTH,), np.int32),
            }
        )
        self.grid = np.zeros((0, 0, 3), np.uint8)  # the whole grid as MiniGrid encodes it, without the agent

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        obs, _ = self.env.reset(seed=seed)
        self.grid = self.env.grid.encode()
        return self._obs(obs), {"grid_key": self._key(), "position": self._place(), "success": False}

    def step(self, action):
        obs, reward, terminated, truncated, _ = self.env.step(int(action))
        self._look()
        info = {"grid_key": self._key(), "position": self._place(), "success": terminated and reward > 0}
        return self._obs(obs), reward, terminated, truncated, info

    def render(self):
        return self.env.render()

    def close(self):
        self.env.close()

    def _obs(self, obs: dict[str, Any]) -> dict[str, Any]:
        direction = np.array(obs["direction"], np.int32)
        return {"image": obs["image"], "direction": direction, "mission": tokens(obs["mission"])}

    def _look(self) -> None:
        """Keeps `grid` up: encoding all of it at every step would cost more than the step."""
        if self.task.moving:
            self.grid = self.env.grid.encode()
            return
        x, y = self.env.front_pos
        cell = self.env.grid.get(x, y)
        self.grid[x, y] = EMPTY if cell is None else cell.encode()

    def _place(self) -> np.ndarray:
        return np.array(self.env.agent_pos, np.int32)

    def _key(self) -> np.ndarray:
        grid = self.grid.copy()
        x, y = self.env.agent_pos
        grid[x, y] = (AGENT, 0, self.env.agent_dir)
        return full_key(grid)
