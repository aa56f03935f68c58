"""A trainer that learns nothing, so that the time of a search is the overhead of the search."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from algorithms import mnist
from workflows.programs import Program


@dataclass(frozen=True)
class IdleOptions:
    number: float = 0.0
    """What is searched; also the score."""
    seconds_per_update: float = 0.0


class IdleTrainer:
    """Sleeps for each update; everything else is as in a real trainer."""

    precision = "fp32"

    def __init__(self, options: IdleOptions, data: mnist.MNIST, device: str, seed: int) -> None:
        self.updates, self._options = 0, options

    def train(self, num_updates: int) -> dict[str, float]:
        time.sleep(num_updates * self._options.seconds_per_update)
        self.updates += num_updates
        return {"loss": 0.0}

    def evaluate(self, num_samples: int) -> dict[str, float]:
        return {"score": self._options.number}

    def pictures(self) -> dict[str, np.ndarray]:
        return {"samples": np.zeros((28, 28), np.uint8)}

    def state_dict(self) -> dict[str, Any]:
        return {"updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.updates = state["updates"]


PROGRAM = Program(
    "idle",
    "search",
    trains="idle_trainer:IdleTrainer",
    metric="score",
    metrics={"score": "min"},
    columns=("score",),
)
SPACE = {"number": ("uniform", 0, 1)}
