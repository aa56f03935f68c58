"""The Q-network for vectors: Q(s, a) of every action at once. Mnih+ 2015 (doi:10.1038/nature14236), but for vectors, not images.

B batch, S size of an observation, A actions."""

from collections.abc import Sequence

from torch import Tensor, nn

from algorithms.rl.mlp import as_vectors, mlp


class QNetwork(nn.Module):
    """Fully connected layers from an observation to a value per action."""

    def __init__(self, obs_size: int, num_actions: int, hiddens: Sequence[int], activation: str) -> None:
        super().__init__()
        self.layers = mlp(obs_size, hiddens, num_actions, activation)

    def forward(self, obs_BS: Tensor) -> Tensor:
        """Return Q(s, a); [B, A]. Observations of any shape count as vectors, bytes as fractions of 255."""
        q_BA: Tensor = self.layers(as_vectors(obs_BS))
        return q_BA
