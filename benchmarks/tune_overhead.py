"""The overhead of a search: 20 trials of one second each on two slots, ideally ten seconds.

The peer is Tune's default, a new process for each trial."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import idle_trainer
from side_by_side import side_by_side

from algorithms import mnist
from workflows.experiment import search
from workflows.experiment.experiment import build_tuner
from workflows.experiment.ray_cluster import connected

NUM_TRIALS, SLOTS = 20, 2


def seconds(data: mnist.MNIST, reuse_actors: bool) -> float:
    """Return the seconds of the search, from `fit()` to its end; Ray is running already."""
    with tempfile.TemporaryDirectory() as folder:
        flags = search.SearchFlags(
            num_samples=NUM_TRIALS, max_updates=1, updates_per_report=1, scheduler="fifo", storage_path=folder
        )
        asked = search.Search(
            idle_trainer.PROGRAM,
            flags,
            idle_trainer.IdleOptions(seconds_per_update=1.0),
            space=idle_trainer.SPACE,
            load_data=lambda flags: data,
            reuse_actors=reuse_actors,
        )
        tuner = build_tuner(asked, Path(folder) / "run")
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
        cloudpickle.register_pickle_by_value(idle_trainer)
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
