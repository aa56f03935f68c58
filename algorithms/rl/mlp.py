"""Fully connected layers, as every network for vectors here begins."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "silu": nn.SiLU}


def mlp(input_size: int, hiddens: Sequence[int], output_size: int, activation: str) -> nn.Sequential:
    """Return layers of these sizes, with the nonlinearity between them and none at the end."""
    layers: list[nn.Module] = []
    size = input_size
    for hidden in hiddens:
        layers += [nn.Linear(size, hidden), ACTIVATIONS[activation]()]
        size = hidden
    return nn.Sequential(*layers, nn.Linear(size, output_size))


def as_vectors(obs: Tensor) -> Tensor:
    """Return observations [B, ...] as float vectors [B, S]: of any shape, bytes as fractions of 255."""
    obs = obs.reshape(len(obs), -1)
    return obs.float() / 255 if obs.dtype == torch.uint8 else obs.float()
