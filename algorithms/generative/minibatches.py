"""Digits where they are used, and shuffled minibatches of their indices; there is no DataLoader because there is nothing to load."""

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor


class Minibatches:
    """An endless stream of minibatches: every index at most once per epoch, a fresh shuffle each epoch, the incomplete last batch left out.

    Its state is two small things (the random state before this epoch's shuffle and the position in it), so a checkpoint continues exactly.
    """

    def __init__(self, num_items: int, batch_size: int, device: torch.device, seed: int) -> None:
        assert batch_size <= num_items
        self._num_items = num_items
        self._batch_size = batch_size
        self._generator = torch.Generator(device).manual_seed(seed)
        self._shuffle()

    def _shuffle(self) -> None:
        self._epoch_state = self._generator.get_state()
        self._order = torch.randperm(
            self._num_items, generator=self._generator, device=self._generator.device
        )
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
    """Return the array on the device; on a processor the very same memory, even where it is read-only (Ray's object store)."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="The given NumPy array is not writable"
        )  # it is only ever read
        return torch.from_numpy(array).to(device)
