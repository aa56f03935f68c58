"""CartPoles that fail: they raise, give NaN, hang, kill their process, or never end an episode."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.classic_control import CartPoleEnv
from gymnasium.wrappers import TimeLimit


class Flaky(gym.Wrapper[np.ndarray, int, np.ndarray, int]):
    """Raises in a `share` of its steps."""

    def __init__(self, env_config: dict[str, Any]) -> None:
        super().__init__(TimeLimit(CartPoleEnv(), 100))
        self._rng, self._share = np.random.default_rng(), env_config.get("share", 0.01)

    def step(self, action: int) -> Any:
        if self._rng.random() < self._share:
            raise OSError("the emulator is gone")
        return super().step(action)


class Nan(Flaky):
    """Gives NaN: in an observation, in a reward."""

    def step(self, action: int) -> Any:
        obs, reward, *rest = gym.Wrapper.step(self, action)
        draw = self._rng.random()
        return (
            obs * (np.nan if draw < self._share else 1),
            reward * (np.nan if draw > 1 - self._share else 1),
            *rest,
        )


class NanAtTheEnd(Flaky):
    """The last reward of every episode is NaN."""

    def step(self, action: int) -> Any:
        obs, reward, terminated, truncated, info = gym.Wrapper.step(self, action)
        return obs, np.nan if terminated or truncated else reward, terminated, truncated, info


class Once(Flaky):
    """Fails once: in the first process whose episode reaches step 5. The file `marker` says that it has."""

    def __init__(self, env_config: dict[str, Any]) -> None:
        super().__init__(env_config)
        self._marker, self._steps = Path(env_config["marker"]), 0

    def reset(self, **kwargs: Any) -> Any:
        self._steps = 0
        return super().reset(**kwargs)

    def step(self, action: int) -> Any:
        self._steps += 1
        if self._steps == 5 and not self._marker.exists():
            try:
                self._marker.touch(exist_ok=False)
            except FileExistsError:
                return gym.Wrapper.step(self, action)
            self.fail()
        return gym.Wrapper.step(self, action)

    def fail(self) -> None:
        """Nothing fails here."""


class Hanging(Once):
    """Hangs once."""

    def fail(self) -> None:
        while True:
            time.sleep(1)


class KillsItself(Once):
    """Takes its process with it, once."""

    def fail(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class Deadly(Flaky):
    """Takes its process with it, always."""

    def step(self, action: int) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)


class Endless(gym.Env[np.ndarray, int]):
    """Never ends an episode."""

    observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, env_config: dict[str, Any] | None = None) -> None: ...

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        return np.zeros(2, np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        return np.zeros(2, np.float32), 1.0, False, False, {}
