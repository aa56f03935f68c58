"""Shuffled minibatches of indices. Data lies on the device, so there is nothing for a DataLoader to load."""

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor


class Minibatches:
    """An endless stream of minibatches. Each epoch is shuffled anew, without its incomplete last batch.

    A checkpoint holds the random state before this epoch's shuffle and the position in the epoch.
    """

    def __init__(self, num_items: int, batch_size: int, device: torch.device, seed: int) -> None:
        assert batch_size <= num_items
        self._num_items = num_items
        self._batch_size = batch_size
        self._generator = torch.Generator(device).manual_seed(seed)
        self._shuffle()

    def _shuffle(self) -> None:
        self._epoch_state = self._generator.get_state()
        device = self._generator.device
        self._order = torch.randperm(self._num_items, generator=self._generator, device=device)
        self._position = 0

    def next(self) -> Tensor:
        """Return the next indices; int64 [batch_size], on the device."""
        if self._position + self._batch_size > self._num_items:
            self._shuffle()
        start = self._position
        self._position += self._batch_size
        return self._order[start : self._position]

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` needs to continue with the very next batch."""
        return {"epoch_state": self._epoch_state, "position": self._position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to the position of a stream over the same number of items."""
        self._generator.set_state(state["epoch_state"].cpu())
        self._shuffle()
        self._position = state["position"]


def resident(array: np.ndarray, device: torch.device) -> Tensor:
    """Return the array on the device; on a processor in the same memory, which may be read-only (Ray's)."""
    with warnings.catch_warnings():
        # torch warns of writing to the array, and nothing writes to it.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array).to(device)
