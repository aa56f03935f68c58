"""Environments whose every step a test knows beforehand."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np


class Counting(gym.Env[np.ndarray, int]):
    """Shows its step and ends after `length` steps, with reward 1 a step.

    It raises at the calls of `step` that `raises` lists, counted over the process's life.
    """

    observation_space = gym.spaces.Box(-1, 1000, (1,), np.float64)
    action_space = gym.spaces.Discrete(2)
    taken = 0

    def __init__(self, env_config: dict[str, Any]) -> None:
        self._length, self._raises = env_config.get("length", 4), env_config.get("raises", ())
        self._step = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        self._step = 0
        return np.zeros(1), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        Counting.taken += 1
        if Counting.taken in self._raises:
            raise OSError("gone")
        self._step += 1
        return np.full(1, float(self._step)), 1.0, self._step >= self._length, False, {}


class Script(gym.Env[np.ndarray, int]):
    """Environment i plays episodes of `lengths[i]` steps, over and over, with reward 1 a step.

    It shows (i, number of the episode, step). `nan` lists steps (i, episode, step) with reward NaN, `raises`
    the calls of `step` that fail, counted over all environments.
    """

    observation_space = gym.spaces.Box(-1, 1000, (3,), np.float32)
    action_space = gym.spaces.Discrete(2)
    made = taken = 0
    lengths: tuple[tuple[int, ...], ...] = ()

    def __init__(self, env_config: dict[str, Any]) -> None:
        self._config, self._index = env_config, Script.made % env_config["num_envs"]
        Script.made += 1

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        self._episode = 0 if seed is not None else self._episode + 1  # a seed begins a new batch
        self._step = 0
        return self._shown(), {}

    def _shown(self) -> np.ndarray:
        return np.array([self._index, self._episode, self._step], np.float32)

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        Script.taken += 1
        if Script.taken in self._config.get("raises", ()):
            raise OSError("gone")
        reward = np.nan if (self._index, self._episode, self._step) in self._config.get("nan", ()) else 1.0
        self._step += 1
        lengths = Script.lengths[self._index]
        return self._shown(), reward, self._step >= lengths[self._episode % len(lengths)], False, {}


class Dial(gym.Env[np.ndarray, np.ndarray]):
    """Turn a dial by -10 to 30, which is the reward. The observation is noise; the end comes by chance."""

    observation_space = gym.spaces.Box(-100, 100, (2,), np.float64)
    action_space = gym.spaces.Box(-10, 30, (1,), np.float32)

    def __init__(self, env_config: dict[str, Any]) -> None:
        pass

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        return self.np_random.normal(size=2), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action)
        ends = bool(self.np_random.random() < 0.05)
        return (
            self.np_random.normal(size=2),
            float(action[0]),
            ends,
            not ends and bool(self.np_random.random() < 0.05),
            {},
        )
