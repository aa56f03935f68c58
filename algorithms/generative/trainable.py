"""Any generative trainer as a `tune.Trainable` class, so that Ray Tune can search its hyperparameters.

    driver: mnist.load() --> object store --(zero-copy)--> setup() --> trainer, digits resident on its device
    step(): train updates_per_report updates --> evaluate --> metrics to Tune
            pictures at GRID_UPDATES --> the trial's folder

An actor is reused from trial to trial (`reset_config`): a fresh process would spend seconds importing torch.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from ray import tune

from algorithms.generative import CHECKPOINT_FILE
from algorithms.generative.images import save_png
from algorithms.generative.trainer import GenerativeTrainer, TrainingData

GRID_UPDATES = (0, 250, 500, 1000, 2000, 3000)
"""Updates after which pictures are drawn. The end of the budget is one more."""


@dataclass(frozen=True)
class Budget:
    """How long each trial trains, how often it is scored, and on how many samples.

    It is the same for all trials of a search, or their scores would not compare.
    """

    max_updates: int
    updates_per_report: int
    num_report_samples: int
    """Samples scored at every report before the last."""
    num_final_samples: int
    """Samples scored at the last report."""

    @property
    def num_reports(self) -> int:
        """Reports (Tune's iterations) of a trial that runs to its end; the last may cover fewer updates."""
        return -(-self.max_updates // self.updates_per_report)


class GenerativeTrainable(tune.Trainable):
    """One trial: trains under `budget`, with `preset` as options where the trial's `config` has no value."""

    def setup(
        self,
        config: dict[str, Any],
        *,
        trainer_class: type[GenerativeTrainer[Any, Any]],
        preset: Any,
        data: TrainingData,
        budget: Budget,
        seed: int,
    ) -> None:
        """Build the trainer. `tune.with_parameters` gives the keyword arguments, the same to all trials."""
        resources = self.trial_resources.required_resources if self.trial_resources else {}
        torch.set_num_threads(max(1, int(resources.get("CPU", 1))))
        self._device = "cuda" if resources.get("GPU") else "cpu"
        if self._device == "cuda" and not torch.cuda.is_available():
            raise RuntimeError("this trial was given a GPU, but torch finds none on its machine")
        self._trainer_class = trainer_class
        self._preset = preset
        self._data = data
        self._budget = budget
        self._seed = seed
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Start over with other hyperparameters, in the same process."""
        options = replace(self._preset, **new_config)
        self._trainer = self._trainer_class(options, self._data, self._device, self._seed)
        return True

    def step(self) -> dict[str, Any]:
        """Train up to the next report, draw the pictures that are due on the way, and return the metrics."""
        start = self._trainer.updates
        end = min(start + self._budget.updates_per_report, self._budget.max_updates)
        if start == 0:
            self._draw_pictures()
        due = {update for update in (*GRID_UPDATES, self._budget.max_updates) if start < update <= end}
        sums: Counter[str] = Counter()
        train_time_s = 0.0
        for stop in sorted({*due, end}):
            num_updates = stop - self._trainer.updates
            began = time.perf_counter()
            for name, mean in self._trainer.train(num_updates).items():
                sums[name] += mean * num_updates  # type: ignore[assignment]
            train_time_s += time.perf_counter() - began
            if stop in due:
                self._draw_pictures()

        final = end == self._budget.max_updates
        num_samples = self._budget.num_final_samples if final else self._budget.num_report_samples
        return {
            **{name: total / (end - start) for name, total in sums.items()},
            **self._trainer.evaluate(num_samples),
            "num_samples_scored": num_samples,
            "updates": end,
            "updates_per_s": (end - start) / train_time_s,
            "precision": self._trainer.precision,
            "device": self._device,
            "dataset": self._data.name,
        }

    def _draw_pictures(self) -> None:
        for name, picture in self._trainer.pictures().items():
            suffix = "" if name == "samples" else f"_{name}"
            save_png(picture, Path(self.logdir) / "samples" / f"{self._trainer.updates:06d}{suffix}.png")

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write everything that the trainer needs to continue exactly."""
        torch.save(self._trainer.state_dict(), Path(checkpoint_dir) / CHECKPOINT_FILE)

    def load_checkpoint(self, checkpoint: dict[str, Any] | str | None) -> None:
        """Continue from a folder that `save_checkpoint` wrote, without running code that it may hold."""
        assert isinstance(checkpoint, str)
        path = Path(checkpoint) / CHECKPOINT_FILE
        self._trainer.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
