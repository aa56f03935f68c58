"""A trained policy as two files that need neither Ray nor pickle: `policy.safetensors` and `policy.json`.

The JSON file describes the network and the environment. One description fits every algorithm: a policy takes
the action of the highest value, or draws from a distribution (categorical or Gaussian)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from algorithms.rl import vector_envs
from algorithms.rl.networks import ACTIVATIONS, CategoricalPolicy, GaussianPolicy, QNetwork

WEIGHTS_FILE, DESCRIPTION_FILE = "policy.safetensors", "policy.json"
PolicyKind = Literal["values", "distribution"]


@dataclass(frozen=True, kw_only=True)
class PolicyDescription:
    """The content of `policy.json`."""

    algorithm: str
    policy: PolicyKind
    """values: the action of the highest value; distribution: actions are drawn, or the most likely is taken.

    The file does not hold it: a file with `action_size` is of a distribution, one without is of values.
    """
    env: str
    """A Gymnasium id, a `module.Class` path, or the name under which it was registered."""
    env_config: dict[str, Any]
    obs_size: int
    fcnet_hiddens: tuple[int, ...]
    fcnet_activation: str
    num_env_steps_sampled_lifetime: int
    num_actions: int | None
    """Number of discrete actions; None for a Gaussian policy."""
    action_size: int | None = None
    """Size of a Gaussian action, whose range of -1 to 1 stands for the environment's bounds; else None."""

    def network(self) -> QNetwork | CategoricalPolicy | GaussianPolicy:
        """Return the network, untrained. Raises ValueError for a description that fits no network."""
        if self.fcnet_activation not in ACTIVATIONS:
            names = ", ".join(ACTIVATIONS)
            raise ValueError(f"fcnet_activation must be one of {names}, got {self.fcnet_activation!r}")
        if (self.num_actions is None) == (self.action_size is None):
            sizes = f"{self.num_actions!r} and {self.action_size!r}"
            raise ValueError(f"either num_actions or action_size must be given, got {sizes}")
        layers = self.fcnet_hiddens, self.fcnet_activation
        if self.action_size is not None:
            return GaussianPolicy(self.obs_size, self.action_size, *layers)
        assert self.num_actions is not None
        network = QNetwork if self.policy == "values" else CategoricalPolicy
        return network(self.obs_size, self.num_actions, *layers)

    def require_spaces(self, obs: Any, actions: Any) -> None:
        """Raise ValueError unless the policy is for environments with these spaces."""
        vector_envs.require_vector_obs(self.env, obs)
        if self.policy == "values":
            vector_envs.require_discrete_actions(self.env, actions)
        vector_envs.require_discrete_or_box_actions(self.env, actions)
        sizes = (math.prod(obs.shape), *action_sizes(actions))
        if sizes != (self.obs_size, self.num_actions, self.action_size):
            gaussian = f"actions of {self.action_size} numbers"
            kind = gaussian if self.num_actions is None else f"{self.num_actions} actions"
            suits = f"but the policy is for {self.obs_size} numbers and {kind}"
            raise ValueError(f"env {self.env!r} has {obs} and {actions}, {suits}")

    def to_json(self) -> str:
        """Return the description as JSON."""
        described = asdict(self)
        del described["policy"]
        if self.policy == "values":
            del described["action_size"]
        return json.dumps(described, indent=2, default=str) + "\n"

    def files(self, weights: Mapping[str, Tensor]) -> dict[str, bytes]:
        """Return the contents of both files by name."""
        return {WEIGHTS_FILE: save(dict(weights)), DESCRIPTION_FILE: self.to_json().encode()}


def action_sizes(space: Any) -> tuple[int | None, int | None]:
    """Return (num_actions, action_size), one of which is None."""
    if isinstance(space, gym.spaces.Discrete):
        return int(space.n), None
    return None, math.prod(space.shape)


def load(folder: Path) -> tuple[nn.Module, PolicyDescription]:
    """Return the network that a checkpoint's two files describe.

    Raises OSError, ValueError or TypeError for files that are missing or broken.
    """
    described = json.loads((folder / DESCRIPTION_FILE).read_text())
    if not isinstance(described, dict):
        raise ValueError(f"{DESCRIPTION_FILE} must hold an object, got {described!r:.100}")
    kind: PolicyKind = "distribution" if "action_size" in described else "values"
    description = PolicyDescription(policy=kind, **described)
    try:
        network = description.network()
        network.load_state_dict(load_file(folder / WEIGHTS_FILE))
    except (RuntimeError, SafetensorError) as error:  # wrong shapes, a broken file
        raise ValueError(" ".join(str(error).split())[:300]) from None
    return network.eval(), description
