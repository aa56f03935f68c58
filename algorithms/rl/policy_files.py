"""A trained policy as two files that anybody can read: `policy.safetensors`, the weights, and `policy.json`, what network they are of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from algorithms.rl.mlp import ACTIVATIONS

WEIGHTS_FILE, DESCRIPTION_FILE = "policy.safetensors", "policy.json"


@dataclass(frozen=True, kw_only=True)
class PolicyDescription:
    """What `policy.json` holds of any algorithm's policy; each adds what its network needs."""

    algorithm: str
    env: str
    """A Gymnasium id, a `module.Class` path, or the name that it was registered under."""
    env_config: dict[str, Any]
    obs_size: int
    fcnet_hiddens: tuple[int, ...]
    fcnet_activation: str
    num_env_steps_sampled_lifetime: int

    def network(self) -> nn.Module:
        """Return the network, untrained. Raises ValueError for an activation that there is not."""
        if self.fcnet_activation not in ACTIVATIONS:
            raise ValueError(
                f"fcnet_activation must be one of {', '.join(ACTIVATIONS)}, got {self.fcnet_activation!r}"
            )
        return self._network()

    def _network(self) -> nn.Module:
        raise NotImplementedError

    def to_json(self) -> str:
        """Return it as a JSON text."""
        return json.dumps(asdict(self), indent=2, default=str) + "\n"

    def files(self, weights: Mapping[str, Tensor]) -> dict[str, bytes]:
        """Return the two files' contents by name."""
        return {WEIGHTS_FILE: save(dict(weights)), DESCRIPTION_FILE: self.to_json().encode()}


DescriptionT = TypeVar("DescriptionT", bound=PolicyDescription)


def load_policy(folder: Path, description_class: type[DescriptionT]) -> tuple[nn.Module, DescriptionT]:
    """Return the network that a checkpoint's two files describe. Raises OSError, ValueError or TypeError where they are none or broken."""
    described = json.loads((folder / DESCRIPTION_FILE).read_text())
    wanted = description_class.__dataclass_fields__["algorithm"].default
    if isinstance(described, dict) and described.get("algorithm") != wanted:
        raise ValueError(f"{DESCRIPTION_FILE} is of {described.get('algorithm')!r}, not of {wanted}")
    description = description_class(**described)
    try:
        network = description.network()
        network.load_state_dict(load_file(folder / WEIGHTS_FILE))
    except (
        RuntimeError,
        SafetensorError,
    ) as error:  # torch's and safetensors' own words for shapes and files that are wrong
        raise ValueError(" ".join(str(error).split())[:300]) from None
    return network.eval(), description
