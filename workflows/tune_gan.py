"""Search the DCGAN's hyperparameters on MNIST with Ray Tune: `python workflows/tune_gan.py`, on a laptop or on a cluster."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from algorithms.gan.options import GANOptions
from workflows.cli.flags import parse, run_main
from workflows.cli.option_flags import flags_of, left_out, over
from workflows.experiment import search
from workflows.runs import folder as run_folder

SMOKE: dict[str, Any] = {
    "num_samples": 3,
    "max_updates": 40,
    "updates_per_report": 10,
    "dataset": "mnist-10k",
} | search.SMOKE_SCORING


COLUMNS = ("fid_mnist", "classifier_score", "class_balance", "confidence")


@dataclass(frozen=True)
class TuneGANFlags(flags_of(GANOptions), search.SearchFlags):  # type: ignore[misc]
    """Search the hyperparameters of a DCGAN on MNIST. The first trial is the homework's setting, run to the end."""


def space() -> dict[str, Any]:
    """Return the search space: names of GANOptions, and where Tune draws their values from."""
    from ray import tune

    return {
        "generator_lr": tune.loguniform(2e-4, 4e-3),
        "discriminator_lr": tune.loguniform(1e-4, 2e-3),
        "beta1": tune.choice([0.0, 0.25, 0.5]),
        "label_smoothing": tune.choice([0.0, 0.1, 0.2]),
        "ema_decay": tune.choice([0.0, 0.99, 0.998]),
        "latent_size": tune.choice([32, 64, 96]),
        "width": tune.choice([16, 32]),
    }


def tune_gan(argv: Sequence[str]) -> int:
    """Parse the flags, search, and return the exit code."""
    flags = parse(TuneGANFlags, argv, smoke=SMOKE, saved=run_folder.saved_flags)
    preset = over(GANOptions(), flags)
    return search.run(
        flags,
        search.Search(
            program="tune_gan",
            trainer="algorithms.gan.trainer:GANTrainer",
            preset=preset,
            space=lambda: left_out(space(), flags, GANOptions),
            metric="fid_mnist",
            mode="min",
            columns=COLUMNS,
        ),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run `tune_gan` with one-line errors."""
    return run_main(tune_gan, "tune_gan.py", argv)


if __name__ == "__main__":
    sys.exit(main())
