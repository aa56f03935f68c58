"""What the search itself costs: 20 trials of one second each on two slots, ideally ten seconds.

The peer is Tune's default, a process a trial."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from side_by_side import side_by_side

from algorithms import mnist
from workflows.common import search
from workflows.common.cluster import connected

NUM_TRIALS, SLOTS = 20, 2


@dataclass(frozen=True)
class SleepOptions:
    number: float = 0.0


class SleepingTrainer:
    """Takes a second for an update; everything else is as for a real trainer."""

    precision = "fp32"

    def __init__(self, options: SleepOptions, data: mnist.MNIST, device: str, seed: int) -> None:
        self.updates = 0

    def train(self, num_updates: int) -> dict[str, float]:
        time.sleep(1.0)
        self.updates += num_updates
        return {"loss": 0.0}

    def evaluate(self, num_samples: int) -> dict[str, float]:
        return {"score": 0.0}

    def pictures(self) -> dict[str, np.ndarray]:
        return {"samples": np.zeros((28, 28), np.uint8)}

    def state_dict(self) -> dict[str, Any]:
        return {"updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.updates = state["updates"]


def space() -> dict[str, Any]:
    from ray import tune

    return {"number": tune.uniform(0, 1)}


def seconds(data: mnist.MNIST, reuse_actors: bool) -> float:
    """Return how long the search takes, from `fit()` to its end; Ray is up already."""
    mode: Literal["min"] = "min"
    spec = search.Search(
        program="tune_overhead",
        trainer=f"{__name__}:SleepingTrainer",
        preset=SleepOptions(),
        space=space,
        metric="score",
        mode=mode,
        columns=("score",),
    )
    with tempfile.TemporaryDirectory() as folder:
        flags = search.SearchFlags(num_samples=NUM_TRIALS, max_updates=1, updates_per_report=1, scheduler="fifo", storage_path=folder)
        tuner = search.build_tuner(flags, spec, data, Path(folder) / "run", reuse_actors=reuse_actors)
        began = time.perf_counter()
        results = tuner.fit()
        took = time.perf_counter() - began
    assert len(results) == NUM_TRIALS
    assert not results.errors
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    flags = parser.parse_args()
    data = mnist.load("mnist-10k")
    with connected("local") as cluster:
        from ray import cloudpickle

        assert cluster.resources["CPU"] == SLOTS, f"this benchmark is for {SLOTS} CPUs"
        cloudpickle.register_pickle_by_value(sys.modules[__name__])
        side_by_side(
            lambda: seconds(data, reuse_actors=True),
            lambda: seconds(data, reuse_actors=False),
            rounds=flags.rounds,
            unit="s",
            goal=f"ours within 1.2 times the ideal {NUM_TRIALS / SLOTS:g} s",
            higher_is_better=False,
            notes={"ideal_s": NUM_TRIALS / SLOTS},
        )


if __name__ == "__main__":
    main()
