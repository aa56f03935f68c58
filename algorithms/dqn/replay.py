"""Uniform replay: the last `capacity` transitions, in arrays on the device of the network.

C capacity, K minibatches, B batch. Mnih+ 2015 (doi:10.1038/nature14236)."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

Batch = dict[str, Tensor]
"""Transitions by RLlib's names: obs and new_obs [B, ...], actions [B], rewards [B], terminateds [B]."""


class UniformReplay:
    """A ring of transitions, each of which is equally likely to be drawn."""

    def __init__(
        self,
        capacity: int,
        obs_shape: tuple[int, ...],
        obs_dtype: torch.dtype,
        device: torch.device | str,
        seed: int,
    ) -> None:
        self.capacity = capacity
        self.size = 0
        self._next = 0
        self._device = torch.device(device)
        self._generator = torch.Generator(self._device).manual_seed(seed)
        self._ring: Batch = {
            "obs": torch.zeros((capacity, *obs_shape), dtype=obs_dtype, device=device),
            "new_obs": torch.zeros((capacity, *obs_shape), dtype=obs_dtype, device=device),
            "actions": torch.zeros(capacity, dtype=torch.int64, device=device),
            "rewards": torch.zeros(capacity, dtype=torch.float32, device=device),
            "terminateds": torch.zeros(capacity, dtype=torch.bool, device=device),
        }

    def add(self, transitions: Mapping[str, np.ndarray]) -> None:
        """Add N transitions, numpy arrays [N, ...] by name, in place of the oldest ones.

        If N exceeds the capacity, the last transitions are kept.
        """
        num = len(transitions["rewards"])
        kept = min(num, self.capacity)
        first = min(kept, self.capacity - self._next)  # these fit before the ring's end
        for name, ring in self._ring.items():
            column = torch.from_numpy(transitions[name][num - kept :])
            ring[self._next : self._next + first] = column[:first]
            ring[: kept - first] = column[first:]
        self._next = (self._next + kept) % self.capacity
        self.size = min(self.size + kept, self.capacity)

    def sample(self, num_batches: int, batch_size: int) -> list[Batch]:
        """Draw K minibatches of B transitions, uniformly and with replacement; one gather serves them all."""
        drawn = torch.randint(
            self.size, (num_batches * batch_size,), generator=self._generator, device=self._device
        )
        columns = {
            name: torch.split(ring.index_select(0, drawn), batch_size) for name, ring in self._ring.items()
        }
        return [{name: column[k] for name, column in columns.items()} for k in range(num_batches)]

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return numpy arrays: the transitions, oldest first, the ring's next place, and the random state."""
        order = torch.arange(self._next - self.size, self._next, device=self._device) % self.capacity
        held = {name: ring.index_select(0, order).cpu().numpy() for name, ring in self._ring.items()}
        return held | {"next": np.array(self._next), "generator": self._generator.get_state().numpy()}

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Load what `state_dict` returned, and go on drawing where it stood.

        A ring of another capacity holds the newest that fit. A ring on another kind of device keeps its own
        random numbers.
        """
        full, following = len(state["rewards"]) == self.capacity, int(state["next"])
        self.size = self._next = 0
        self.add({name: np.roll(state[name], following if full else 0, axis=0) for name in self._ring})
        if full:
            self._next = following
        generator = torch.from_numpy(np.array(state["generator"]))
        if generator.shape == self._generator.get_state().shape:
            self._generator.set_state(generator)
