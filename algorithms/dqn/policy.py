"""A trained policy as two files that anybody can read: `policy.safetensors`, the weights, and `policy.json`, what network they are of."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from algorithms.dqn.networks import ACTIVATIONS, QNetwork

WEIGHTS_FILE, DESCRIPTION_FILE = "policy.safetensors", "policy.json"


@dataclass(frozen=True)
class Description:
    """What `policy.json` holds."""

    env: str
    """A Gymnasium id, a `module.Class` path, or the name that it was registered under."""
    env_config: dict[str, Any]
    obs_size: int
    num_actions: int
    fcnet_hiddens: tuple[int, ...]
    fcnet_activation: str
    num_env_steps_sampled_lifetime: int
    algorithm: str = field(default="dqn")

    def network(self) -> QNetwork:
        """Return the network, untrained. Raises ValueError for an activation that there is not."""
        if self.fcnet_activation not in ACTIVATIONS:
            raise ValueError(f"fcnet_activation must be one of {', '.join(ACTIVATIONS)}, got {self.fcnet_activation!r}")
        return QNetwork(self.obs_size, self.num_actions, self.fcnet_hiddens, self.fcnet_activation)

    def to_json(self) -> str:
        """Return it as a JSON text."""
        return json.dumps(asdict(self), indent=2, default=str) + "\n"


def load(folder: Path) -> tuple[QNetwork, Description]:
    """Return the network that a checkpoint's two files describe. Raises OSError, ValueError or TypeError where they are none or broken."""
    description = Description(**json.loads((folder / DESCRIPTION_FILE).read_text()))
    if description.algorithm != "dqn":
        raise ValueError(f"{DESCRIPTION_FILE} is of {description.algorithm!r}, not of dqn")
    try:
        network = description.network()
        network.load_state_dict(load_file(folder / WEIGHTS_FILE))
    except (RuntimeError, SafetensorError) as error:  # torch's and safetensors' own words for shapes and files that are wrong
        raise ValueError(" ".join(str(error).split())[:300]) from None
    return network.eval(), description


def greedy(network: QNetwork, obs: torch.Tensor) -> torch.Tensor:
    """Return the actions of the highest values; int64 [N]."""
    with torch.inference_mode():
        actions: torch.Tensor = network(obs).argmax(dim=1)
        return actions
