"""Totals of an iteration and of a run: steps, episodes, faults and speeds. The names are RLlib's."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from algorithms.rl.rollout_batch import RolloutBatch, RolloutResult

FAULTS = (
    "num_dropped_env_steps",
    "num_episodes_lost",
    "num_env_failures",
    "num_env_runners_hung",
    "num_rollouts_lost",
    "num_env_runners_reset_on_restore",
)
"""Faults that are counted from the start of the run, and reported under `env_runners`."""

Reduction = Literal["sum", "lifetime_sum", "item"]
"""How RLlib's logger combines the values of an iteration; "item" keeps the last."""


class RolloutStats:
    """Counts steps, episodes and faults of all runners since the run began."""

    def __init__(self, window: int) -> None:
        self.env_steps = 0
        """Valid steps of all runners."""
        self.num_episodes = 0
        self.faults = dict.fromkeys(FAULTS, 0)
        self._returns: deque[float] = deque(maxlen=window)
        self._lengths: deque[int] = deque(maxlen=window)

    def count(self, results: Sequence[RolloutResult]) -> None:
        """Add the steps, episodes and faults of these rollouts."""
        for result in results:
            self.env_steps += result.num_env_steps
            self.num_episodes += len(result.episodes.returns)
            self._returns.extend(result.episodes.returns.tolist())
            self._lengths.extend(result.episodes.lengths.tolist())
            self.faults["num_dropped_env_steps"] += result.num_dropped
            self.faults["num_episodes_lost"] += result.episodes.num_lost
            self.faults["num_env_failures"] += result.num_failures

    def report(self, results: Sequence[RolloutResult]) -> dict[str, tuple[float, Reduction]]:
        """Return the metrics after these rollouts, each with its reduction; means are of `window`."""
        num_env_steps = sum(result.num_env_steps for result in results)
        items: dict[str, float] = {"num_episodes_lifetime": self.num_episodes, **self.faults}
        if self._returns:
            items |= {
                "episode_return_mean": float(np.mean(self._returns)),
                "episode_return_min": min(self._returns),
                "episode_return_max": max(self._returns),
                "episode_len_mean": float(np.mean(self._lengths)),
            }
        return {
            "num_env_steps_sampled": (num_env_steps, "sum"),
            "num_env_steps_sampled_lifetime": (num_env_steps, "lifetime_sum"),
            "num_episodes": (sum(len(result.episodes.returns) for result in results), "sum"),
            **{name: (value, "item") for name, value in items.items()},
        }

    def state(self) -> dict[str, Any]:
        """Return all counts."""
        return {
            "env_steps": self.env_steps,
            "num_episodes": self.num_episodes,
            "faults": dict(self.faults),
            "returns": list(self._returns),
            "lengths": list(self._lengths),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        self.env_steps, self.num_episodes = state["env_steps"], state["num_episodes"]
        self.faults = dict(state["faults"])
        self._returns = deque(state["returns"], maxlen=self._returns.maxlen)
        self._lengths = deque(state["lengths"], maxlen=self._lengths.maxlen)


class IterationTotals:
    """Adds up the training steps of an iteration; starts again when the iteration's number changes."""

    def __init__(self) -> None:
        self._number = -1
        self._began = 0.0
        self._sums: Counter[str] = Counter()

    def begin_step(self, number: int) -> None:
        """Begin a training step of the iteration `number`."""
        if number != self._number:
            self._number = number
            self._sums.clear()
        self._began = time.perf_counter()

    def end_step(self, **amounts: float) -> None:
        """End the training step, and add its amounts."""
        for name, amount in amounts.items():
            self._sums[name] += amount  # type: ignore[assignment]
        self._sums["elapsed_s"] += time.perf_counter() - self._began  # type: ignore[assignment]

    def per(self, amount: str, other: str = "elapsed_s") -> float:
        """Return the iteration's `amount` per `other`; 0 where there was none."""
        return self._sums[amount] / self._sums[other] if self._sums[other] else 0.0


def log_episodes(metrics: Any, batch: RolloutBatch, num_failures: int, window: int) -> None:
    """Log the episodes and faults of one batch with RLlib's logger; means are of `window` episodes."""
    episodes = batch.episodes
    for total, length in zip(episodes.returns[-window:], episodes.lengths[-window:], strict=True):
        metrics.log_value("episode_return_mean", total, window=window)
        metrics.log_value("episode_len_mean", length, window=window)
        metrics.log_value("episode_return_min", total, reduce="min", window=window)
        metrics.log_value("episode_return_max", total, reduce="max", window=window)
    sums = {
        "num_episodes": len(episodes.returns),
        "num_env_steps_sampled": batch.env_steps(),
        "num_episodes_lost": episodes.num_lost,
        "num_dropped_env_steps": int(batch.dropped.sum()),
        "num_env_failures": num_failures,
    }
    for name, amount in sums.items():
        metrics.log_value(name, amount, reduce="sum")
