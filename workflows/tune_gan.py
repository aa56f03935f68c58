"""Search the DCGAN's hyperparameters on MNIST: `python workflows/tune_gan.py`, also on a cluster."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from algorithms.gan.options import GANOptions
from workflows.cli.flags import parse, run_main
from workflows.cli.option_flags import apply_flags, flags_of, not_given
from workflows.experiment import experiment, search
from workflows.programs import PROGRAMS
from workflows.runs import folder as run_folder

SMOKE: dict[str, Any] = search.SMOKE | {"max_updates": 40, "updates_per_report": 10}
PRESET = GANOptions()
SPACE: dict[str, Any] = {
    "generator_lr": ("loguniform", 2e-4, 4e-3),
    "discriminator_lr": ("loguniform", 1e-4, 2e-3),
    "beta1": ("choice", [0.0, 0.25, 0.5]),
    "label_smoothing": ("choice", [0.0, 0.1, 0.2]),
    "ema_decay": ("choice", [0.0, 0.99, 0.998]),
    "latent_size": ("choice", [32, 64, 96]),
    "width": ("choice", [16, 32]),
}
"""The search space: name of an option -> how Tune draws it."""


@dataclass(frozen=True)
class TuneGANFlags(flags_of(PRESET, SPACE), search.SearchFlags):  # type: ignore[misc]
    """Search a DCGAN's hyperparameters on MNIST. The first trial, the baseline, is the reference setting.

    A flag of the model fixes a hyperparameter for all trials; it is not searched then.
    """


def tune_gan(argv: Sequence[str]) -> int:
    """Parse the flags, search, and return the exit code."""
    flags = parse(TuneGANFlags, argv, smoke=SMOKE, saved=run_folder.saved_flags)
    return experiment.run(
        search.Search(
            program=PROGRAMS["tune_gan"],
            flags=flags,
            options=apply_flags(PRESET, flags),
            space=not_given(SPACE, flags, GANOptions),
        )
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run `tune_gan` with one-line errors."""
    return run_main(tune_gan, "tune_gan.py", argv)


if __name__ == "__main__":
    sys.exit(main())
