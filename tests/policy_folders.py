"""Checkpoints made by hand, with policies whose returns are known, and an environment that can be drawn."""

import dataclasses
import itertools
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import torch
from safetensors.torch import save_file

from algorithms.rl.policy_files import DESCRIPTION_FILE, WEIGHTS_FILE, PolicyDescription

CARTPOLE = PolicyDescription(
    algorithm="dqn",
    policy="values",
    env="CartPole-v1",
    env_config={},
    obs_size=4,
    num_actions=2,
    fcnet_hiddens=(),
    fcnet_activation="relu",
    num_env_steps_sampled_lifetime=5000,
)


def describe(env: str, **env_config: Any) -> PolicyDescription:
    """Describe a policy for an environment of one number and one action."""
    return dataclasses.replace(CARTPOLE, env=env, env_config=env_config, obs_size=1, num_actions=1)


def save(folder: Path, description: PolicyDescription = CARTPOLE, sign: float = 1.0) -> None:
    """Write the two files of a policy with weights of 0.

    For CartPole it pushes the cart to where it and the pole go, and balances for 500 steps. With `sign` -1 it
    pushes the other way, and the pole falls at once.
    """
    folder.mkdir(parents=True, exist_ok=True)
    network = description.network()
    with torch.no_grad():
        for weight in network.parameters():
            weight.zero_()
        if description.obs_size == 4:
            network.layers[-1].weight[1] = sign * torch.tensor(
                [0.1, 0.5, 2.0, 1.0]
            )  # right iff their sum > 0
    save_file(network.state_dict(), folder / WEIGHTS_FILE)
    (folder / DESCRIPTION_FILE).write_text(description.to_json())


class Uneven(gym.Env[np.ndarray, np.int64]):
    """Every step earns 1. Episodes of the second instance take 100 steps, those of all others 1.

    The first instance is only looked at. A test sets `numbers` back.
    """

    observation_space = gym.spaces.Box(-1, 1, (1,))
    action_space = gym.spaces.Discrete(1)
    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 10}
    numbers = itertools.count()

    def __init__(self, config: dict[str, Any]) -> None:
        self.config, self.render_mode = config, config.get("render_mode")
        self.length = 100 if next(Uneven.numbers) == 1 else 1
        self.steps = 0

    def reset(self, **kwargs: Any) -> tuple[np.ndarray, dict[str, Any]]:
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        if self.config.get("fails"):
            raise OSError("the simulator\nis gone")
        return np.zeros(1, np.float32), 1.0, self.steps == self.length, False, {}

    def render(self) -> Any:
        shape = self.config.get("shape", [31, 41, 3])
        return np.full(shape, 20 * self.steps, np.uint8) if self.render_mode == "rgb_array" else None


def uneven(config: dict[str, Any]) -> gym.Env[Any, Any]:
    """Make it by a function, which play.py refuses to call."""
    return Uneven(config)
