"""Train the toy on a Gymnasium environment."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from toy_rl.options import PRESETS, ToyOptions

from workflows.cli.flags import parse, run_main
from workflows.cli.option_flags import apply_flags, flags_of
from workflows.experiment import experiment, training
from workflows.programs import (
    ENV_STEPS,
    GREEDY_RETURN,
    OF_SPEED,
    OF_TRAININGS,
    PROGRAMS,
    TRAINING_FIGURES,
    Program,
)
from workflows.runs import folder as run_folder

PROGRAMS["train_toy_rl"] = Program(
    name="train_toy_rl",
    kind="training",
    options="toy_rl.options:ToyOptions",
    trains="toy_rl:ToyConfig",
    metric=GREEDY_RETURN,
    metrics=OF_TRAININGS | OF_SPEED,
    x=ENV_STEPS,
    figures=TRAINING_FIGURES,
)
"""A real algorithm's row stands in workflows/programs.py."""

MODEL = flags_of(PRESETS["CartPole-v1"], group="model (defaults for CartPole-v1)")


@dataclass(frozen=True)
class TrainToyFlags(MODEL, training.TrainingFlags):  # type: ignore[valid-type, misc]
    """Train the toy."""


def train_toy_rl(argv: Sequence[str]) -> int:
    """Parse the flags, train, and return the exit code."""
    flags = parse(TrainToyFlags, argv, smoke=training.SMOKE, saved=run_folder.saved_flags)
    options = apply_flags(PRESETS.get(flags.env, ToyOptions()), flags)
    return experiment.run(training.Training(PROGRAMS["train_toy_rl"], flags, options))


def main(argv: Sequence[str] | None = None) -> int:
    """Run `train_toy_rl` with one-line errors."""
    return run_main(train_toy_rl, "train_toy_rl.py", argv)


if __name__ == "__main__":
    sys.exit(main())
