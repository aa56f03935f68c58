"""The Trainable, inside a real Tune experiment on a real cluster."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from algorithms import mnist


@dataclass(frozen=True)
class RecordingOptions:
    step: int = 1


class RecordingTrainer:
    """Trains nothing, and reports where it lives and what it was given."""

    precision = "fp32"

    def __init__(self, options: RecordingOptions, data: mnist.MNIST, device: str, seed: int) -> None:
        self.options, self.updates, self._data, self._seed = options, 0, data, seed

    def train(self, num_updates: int) -> dict[str, float]:
        self.updates += num_updates
        return {"mean_update": self.updates - (num_updates - 1) / 2}  # the mean of the numbers of its updates

    def evaluate(self, num_samples: int) -> dict[str, Any]:
        import os

        address = self._data.train_images.ctypes.data
        with open("/proc/self/maps") as maps:
            mapping = next(
                line
                for line in maps
                if int(line.split("-")[0], 16) <= address < int(line.split("-")[1].split()[0], 16)
            )
        return {
            "score": self.options.step * self.updates,
            "scored": num_samples,
            "memory": mapping.split(maxsplit=5)[-1].strip(),
            "writeable": self._data.train_images.flags.writeable,
            "sum": int(self._data.train_images.sum()),
            "threads": torch.get_num_threads(),
            "process": os.getpid(),
            "seed": self._seed,
        }

    def pictures(self) -> dict[str, np.ndarray]:
        return {
            "samples": np.full((3, 3), self.updates % 256, np.uint8),
            "manifold": np.zeros((2, 2), np.uint8),
        }

    def state_dict(self) -> dict[str, Any]:
        return {"updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.updates = state["updates"]


@pytest.fixture(scope="module")
def reports(
    ray_address: str, digits: mnist.MNIST, tmp_path_factory: pytest.TempPathFactory
) -> dict[int, list[dict[str, Any]]]:
    """The reports of two trials in a row, by the value of `step`, each with its trial's folder."""
    from ray import tune

    from algorithms.generative.trainable import Budget, GenerativeTrainable

    results = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(
                GenerativeTrainable,
                trainer_class=RecordingTrainer,
                preset=RecordingOptions(),
                data=digits,
                budget=Budget(
                    max_updates=700, updates_per_report=300, num_report_samples=20, num_final_samples=100
                ),
                seed=7,
            ),
            {"cpu": 2},
        ),
        param_space={"step": tune.grid_search([2, 3])},
        tune_config=tune.TuneConfig(reuse_actors=True, max_concurrent_trials=1),
        run_config=tune.RunConfig(
            storage_path=str(tmp_path_factory.mktemp("trainable")),
            stop={"training_iteration": 3},
            sync_config=tune.SyncConfig(sync_artifacts=True),
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=1),
            verbose=0,
        ),
    ).fit()
    assert not results.errors
    found = {}
    for result in results:
        lines = [json.loads(line) for line in (Path(result.path) / "result.json").read_text().splitlines()]
        found[result.config["step"]] = [line | {"folder": result.path} for line in lines]
    return found


def test_reports_come_every_so_many_updates_and_the_last_is_scored_on_more(
    reports: dict[int, list[dict[str, Any]]],
) -> None:
    assert [report["updates"] for report in reports[2]] == [300, 600, 700]
    assert (
        [report["num_samples_scored"] for report in reports[2]]
        == [report["scored"] for report in reports[2]]
        == [20, 20, 100]
    )
    assert [report["score"] for report in reports[3]] == [900, 1800, 2100]
    assert {report["seed"] for report in reports[2]} == {7}
    assert {report["dataset"] for report in reports[2]} == {"mnist-10k"}


def test_a_report_split_by_a_grid_is_still_the_mean_over_all_its_updates(
    reports: dict[int, list[dict[str, Any]]],
) -> None:
    assert [report["mean_update"] for report in reports[2]] == pytest.approx([150.5, 450.5, 650.5])


def test_digits_are_in_shared_memory_once_and_read_only(
    reports: dict[int, list[dict[str, Any]]], digits: mnist.MNIST
) -> None:
    for report in reports[2] + reports[3]:
        assert "/dev/shm" in report["memory"], "the digits were copied out of the object store"
        assert not report["writeable"]
        assert report["sum"] == int(digits.train_images.sum())


def test_the_second_trial_reuses_the_process_and_starts_from_nothing(
    reports: dict[int, list[dict[str, Any]]],
) -> None:
    assert len({report["process"] for step in (2, 3) for report in reports[step]}) == 1
    assert reports[3][0]["updates"] == 300


def test_threads_are_the_cpus_reserved(reports: dict[int, list[dict[str, Any]]]) -> None:
    assert {report["threads"] for report in reports[2]} == {2}


def test_pictures_are_drawn_at_the_grid_updates_and_at_the_end(
    reports: dict[int, list[dict[str, Any]]],
) -> None:
    for step in (2, 3):
        pictures = sorted(path.name for path in (Path(reports[step][0]["folder"]) / "samples").iterdir())
        assert pictures == [
            f"{update:06d}{name}.png" for update in (0, 250, 500, 700) for name in ("", "_manifold")
        ]
