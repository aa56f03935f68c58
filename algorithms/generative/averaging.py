"""Averaged weights: an exponential moving average over updates, which scores better than the last weights. Polyak & Juditsky 1992."""

import torch
from torch import nn


@torch.no_grad()
def average_into(average: nn.Module, network: nn.Module, decay: float, updates: int) -> None:
    """Move `average` towards `network`: a <- d * a + (1 - d) * n, weights and batch statistics, where d rises to `decay`.

    `updates` is the number of the update, from 1 on. d = min(decay, (1 + updates) / (10 + updates)), so that the initial weights are soon
    forgotten. Decay 0 copies.
    """
    d = min(decay, (1 + updates) / (10 + updates))
    for a, n in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if a.is_floating_point():
            a.lerp_(n, 1 - d)
