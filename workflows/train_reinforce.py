"""Train REINFORCE on a Gymnasium environment: `python workflows/train_reinforce.py`, also on a cluster."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from algorithms.reinforce.options import PRESETS, REINFORCEOptions
from workflows.cli.flags import parse, run_main
from workflows.cli.option_flags import apply_flags, flags_of
from workflows.experiment import experiment, training
from workflows.programs import PROGRAMS
from workflows.runs import folder as run_folder

MODEL = flags_of(PRESETS["CartPole-v1"], group="model (defaults for CartPole-v1)")


@dataclass(frozen=True)
class TrainREINFORCEFlags(MODEL, training.TrainingFlags):  # type: ignore[valid-type, misc]
    """Train REINFORCE. CartPole-v1, Acrobot-v1 and Pendulum-v1 have presets.

    Other environments start from REINFORCEOptions' defaults.
    """


def train_reinforce(argv: Sequence[str]) -> int:
    """Parse the flags, train, and return the exit code."""
    flags = parse(TrainREINFORCEFlags, argv, smoke=training.SMOKE, saved=run_folder.saved_flags)
    options = apply_flags(PRESETS.get(flags.env, REINFORCEOptions()), flags)
    return experiment.run(training.Training(PROGRAMS["train_reinforce"], flags, options))


def main(argv: Sequence[str] | None = None) -> int:
    """Run `train_reinforce` with one-line errors."""
    return run_main(train_reinforce, "train_reinforce.py", argv)


if __name__ == "__main__":
    sys.exit(main())
