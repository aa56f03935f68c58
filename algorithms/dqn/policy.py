"""A trained DQN policy: its files (../policy_files.py), and the action it takes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from algorithms.dqn.networks import QNetwork
from algorithms.rl import vector_envs
from algorithms.rl.policy_files import PolicyDescription, load_policy


@dataclass(frozen=True, kw_only=True)
class Description(PolicyDescription):
    """What `policy.json` holds."""

    algorithm: str = "dqn"
    num_actions: int

    def _network(self) -> QNetwork:
        return QNetwork(self.obs_size, self.num_actions, self.fcnet_hiddens, self.fcnet_activation)

    def require_spaces(self, obs: Any, actions: Any) -> None:
        """Raise ValueError unless the policy is for environments of these spaces."""
        vector_envs.require_vector_obs(self.env, obs)
        vector_envs.require_discrete_actions(self.env, actions)
        if (math.prod(obs.shape), actions.n) != (self.obs_size, self.num_actions):
            fits = f"{self.obs_size} numbers and {self.num_actions} actions"
            raise ValueError(f"env {self.env!r} has {obs} and {actions}, and the policy is for {fits}")


def load(folder: Path) -> tuple[torch.nn.Module, Description]:
    """Return the network that a checkpoint's two files describe. Raises OSError, ValueError or TypeError where they are none or broken."""
    return load_policy(folder, Description)


def greedy(network: torch.nn.Module, obs: torch.Tensor) -> torch.Tensor:
    """Return the actions of the highest values; int64 [N]."""
    with torch.inference_mode():
        actions: torch.Tensor = network(obs).argmax(dim=1)
        return actions
