"""A trained REINFORCE policy: its files (../policy_files.py), and the actions it takes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch

from algorithms.reinforce.networks import CategoricalPolicy, GaussianPolicy
from algorithms.rl import vector_envs
from algorithms.rl.policy_files import PolicyDescription, load_policy


@dataclass(frozen=True, kw_only=True)
class Description(PolicyDescription):
    """What `policy.json` holds."""

    algorithm: str = "reinforce"
    num_actions: int | None
    """Of a categorical policy."""
    action_size: int | None
    """Of a Gaussian one, whose actions from -1 to 1 stand for the bounds of the environment's."""

    def _network(self) -> CategoricalPolicy | GaussianPolicy:
        if (self.num_actions is None) == (self.action_size is None):
            raise ValueError(
                f"num_actions or action_size must be given, got {self.num_actions!r} and {self.action_size!r}"
            )
        if self.num_actions is not None:
            return CategoricalPolicy(
                self.obs_size, self.num_actions, self.fcnet_hiddens, self.fcnet_activation
            )
        assert self.action_size is not None
        return GaussianPolicy(self.obs_size, self.action_size, self.fcnet_hiddens, self.fcnet_activation)

    def require_spaces(self, obs: Any, actions: Any) -> None:
        """Raise ValueError unless the policy is for environments of these spaces."""
        vector_envs.require_vector_obs(self.env, obs)
        vector_envs.require_discrete_or_box_actions(self.env, actions)
        if (math.prod(obs.shape), *action_sizes(actions)) != (
            self.obs_size,
            self.num_actions,
            self.action_size,
        ):
            kind = (
                f"{self.num_actions} actions"
                if self.num_actions is not None
                else f"actions of {self.action_size} numbers"
            )
            raise ValueError(
                f"env {self.env!r} has {obs} and {actions}, and the policy is for {self.obs_size} numbers and {kind}"
            )


def action_sizes(space: Any) -> tuple[int | None, int | None]:
    """Return (num_actions, action_size), of which one is None."""
    return (int(space.n), None) if isinstance(space, gym.spaces.Discrete) else (None, math.prod(space.shape))


def load(folder: Path) -> tuple[torch.nn.Module, Description]:
    """Return the network that a checkpoint's two files describe. Raises OSError, ValueError or TypeError where they are none or broken."""
    return load_policy(folder, Description)


def greedy(network: Any, obs: torch.Tensor) -> torch.Tensor:
    """Return the likeliest actions; int64 [N], or float [N, A] from -1 to 1."""
    with torch.inference_mode():
        actions: torch.Tensor = network.greedy(obs)
        return actions


def sampled(network: Any, obs: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return actions drawn from the policy; int64 [N], or float [N, A], where -1 to 1 are the environment's bounds."""
    with torch.inference_mode():
        actions: torch.Tensor = network.sample(obs, generator)
        return actions
