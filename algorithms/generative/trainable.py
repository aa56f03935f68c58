"""Any trainer of a generative model as a `tune.Trainable` class, so that Ray Tune can search its hyperparameters.

    driver: mnist.load() --> object store --(zero-copy)--> setup() --> Trainer, digits resident on its device
    step(): train updates_per_report updates --> evaluate --> metrics to Tune     (pictures at GRID_UPDATES go to the trial's folder)

An actor is reused from trial to trial (`reset_config`): a fresh process would spend seconds importing torch.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from ray import tune

from algorithms.generative.images import save_png
from algorithms.mnist import MNIST

GRID_UPDATES = (0, 250, 500, 1000, 2000, 3000)
"""Updates after which pictures are drawn, those within the budget, as in the homework; and once more at the budget's end."""
CHECKPOINT_FILE = "trainer.pt"


class Trainer(Protocol):
    """What a generative model's trainer offers; `algorithms.gan.trainer.Trainer` is one."""

    updates: int
    precision: str

    def __init__(self, options: Any, data: MNIST, device: str, seed: int) -> None: ...

    def train(self, num_updates: int) -> dict[str, float]:
        """Do that many minibatch updates; return metrics, each its mean over them. Raises TrainingDiverged."""
        ...

    def evaluate(self, num_samples: int) -> dict[str, float]:
        """Score the model as it is, on that many samples."""
        ...

    def pictures(self) -> dict[str, np.ndarray]:
        """Draw uint8 pictures [H, W] by name, from the same noise at every call; every model has `samples`."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return all it takes to continue exactly: tensors, numbers, strings."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken."""
        ...


@dataclass(frozen=True)
class Budget:
    """How long every trial of a search trains, how often and how precisely it is scored: the same for all, or scores would not compare."""

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
    """One trial: `preset` with the trial's `config` put over it, trained and scored under `budget`."""

    def setup(
        self,
        config: dict[str, Any],
        *,
        trainer_class: type[Trainer],
        preset: Any,
        data: MNIST,
        budget: Budget,
        seed: int,
    ) -> None:
        """Build the trainer; the keyword arguments come from `tune.with_parameters` and are the same for every trial."""
        resources = self.trial_resources.required_resources if self.trial_resources else {}
        torch.set_num_threads(max(1, int(resources.get("CPU", 1))))
        self._device = "cuda" if resources.get("GPU") else "cpu"
        if self._device == "cuda" and not torch.cuda.is_available():
            raise RuntimeError("this trial was given a GPU, but torch finds none on its machine")
        self._trainer_class, self._preset, self._data, self._budget, self._seed = (
            trainer_class,
            preset,
            data,
            budget,
            seed,
        )
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Start over with other hyperparameters, in the same process."""
        self._trainer = self._trainer_class(
            replace(self._preset, **new_config), self._data, self._device, self._seed
        )
        return True

    def step(self) -> dict[str, Any]:
        """Train up to the next report, drawing the pictures that are due on the way; return the metrics."""
        start, end = (
            self._trainer.updates,
            min(self._trainer.updates + self._budget.updates_per_report, self._budget.max_updates),
        )
        if start == 0:
            self._draw_pictures()
        due = {update for update in (*GRID_UPDATES, self._budget.max_updates) if start < update <= end}
        sums: Counter[str] = Counter()
        train_time_s = 0.0
        for stop in sorted({*due, end}):
            num_updates, began = stop - self._trainer.updates, time.perf_counter()
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
        """Write everything the trainer needs to continue exactly."""
        torch.save(self._trainer.state_dict(), Path(checkpoint_dir) / CHECKPOINT_FILE)

    def load_checkpoint(self, checkpoint: dict[str, Any] | str | None) -> None:
        """Continue from a folder that `save_checkpoint` wrote; it is loaded without running any code that it may hold."""
        assert isinstance(checkpoint, str)
        self._trainer.load_state_dict(
            torch.load(Path(checkpoint) / CHECKPOINT_FILE, map_location="cpu", weights_only=True)
        )
