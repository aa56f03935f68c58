"""Speeds and shares over one iteration, which may be several training steps."""

from __future__ import annotations

import time
from collections import Counter


class Iteration:
    """Adds up what happens until the iteration's number changes."""

    def __init__(self) -> None:
        self._number = -1
        self._began = 0.0
        self._sums: Counter[str] = Counter()

    def begin_step(self, number: int) -> None:
        """Begin a training step of this iteration."""
        if number != self._number:
            self._number = number
            self._sums.clear()
        self._began = time.perf_counter()

    def end_step(self, **amounts: float) -> None:
        """End the training step, in which these amounts came up."""
        for name, amount in amounts.items():
            self._sums[name] += amount  # type: ignore[assignment]
        self._sums["elapsed_s"] += time.perf_counter() - self._began  # type: ignore[assignment]

    def per(self, amount: str, other: str = "elapsed_s") -> float:
        """Return the iteration's `amount` per `other`; 0 where there was none."""
        return self._sums[amount] / self._sums[other] if self._sums[other] else 0.0
