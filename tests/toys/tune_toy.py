"""Search the toy's hyperparameters on MNIST."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from toy.options import ToyOptions

from workflows.cli.flags import parse, run_main
from workflows.cli.option_flags import apply_flags, flags_of, not_given
from workflows.experiment import experiment, search
from workflows.programs import OF_SAMPLES, OF_SPEED, PROGRAMS, Program
from workflows.runs import folder as run_folder

PROGRAMS["tune_toy"] = Program(
    name="tune_toy",
    kind="search",
    options="toy.options:ToyOptions",
    trains="toy.trainer:ToyTrainer",
    draws="toy.sampling",
    metric="fid_mnist",
    metrics=OF_SAMPLES | OF_SPEED,
    columns=("fid_mnist", "classifier_score"),
)
"""A real model's row stands in workflows/programs.py."""

SMOKE: dict[str, Any] = search.SMOKE | {"max_updates": 40, "updates_per_report": 20}
PRESET = ToyOptions()
SPACE: dict[str, Any] = {"lr": ("loguniform", 1e-3, 1e-1), "latent_size": ("choice", [4, 8, 16])}
"""The search space: name of an option -> how Tune draws it."""


@dataclass(frozen=True)
class TuneToyFlags(flags_of(PRESET, SPACE), search.SearchFlags):  # type: ignore[misc]
    """Search the hyperparameters of a toy on MNIST."""


def tune_toy(argv: Sequence[str]) -> int:
    """Parse the flags, search, and return the exit code."""
    flags = parse(TuneToyFlags, argv, smoke=SMOKE, saved=run_folder.saved_flags)
    return experiment.run(
        search.Search(
            program=PROGRAMS["tune_toy"],
            flags=flags,
            options=apply_flags(PRESET, flags),
            space=not_given(SPACE, flags, ToyOptions),
        )
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run `tune_toy` with one-line errors."""
    return run_main(tune_toy, "tune_toy.py", argv)


if __name__ == "__main__":
    sys.exit(main())
