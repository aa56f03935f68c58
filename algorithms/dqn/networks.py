"""The Q-network for vectors: Q(s, a) of every action at once. Mnih+ 2015 (doi:10.1038/nature14236), but for vectors, not images.

B batch, S size of an observation, A actions."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "silu": nn.SiLU}


class QNetwork(nn.Module):
    """Fully connected layers from an observation to a value per action."""

    def __init__(self, obs_size: int, num_actions: int, hiddens: Sequence[int], activation: str) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        size = obs_size
        for hidden in hiddens:
            layers += [nn.Linear(size, hidden), ACTIVATIONS[activation]()]
            size = hidden
        self.layers = nn.Sequential(*layers, nn.Linear(size, num_actions))

    def forward(self, obs_BS: Tensor) -> Tensor:
        """Return Q(s, a); [B, A]. Observations of any shape count as vectors, bytes as fractions of 255."""
        obs_BS = obs_BS.flatten(1)
        obs_BS = obs_BS.float() / 255 if obs_BS.dtype == torch.uint8 else obs_BS.float()
        q_BA: Tensor = self.layers(obs_BS)
        return q_BA
