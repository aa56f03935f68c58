"""Train a DQN on a Gymnasium environment: `python workflows/train_dqn.py`, on a laptop or on a cluster."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from algorithms.dqn.options import PRESETS, DQNOptions
from workflows.cli.flags import parse, run_main
from workflows.cli.option_flags import apply_flags, flags_of
from workflows.experiment import experiment, training
from workflows.programs import PROGRAMS
from workflows.runs import folder as run_folder

MODEL = flags_of(PRESETS["CartPole-v1"], group="model (defaults for CartPole-v1)")


@dataclass(frozen=True)
class TrainDQNFlags(MODEL, training.TrainingFlags):  # type: ignore[valid-type, misc]
    """Train a DQN. CartPole-v1 and Acrobot-v1 have presets; others start from DQNOptions' defaults."""

    synchronous: bool = False
    """Let the env runners wait while the learner learns: slower, but a seed repeats its numbers."""


def train_dqn(argv: Sequence[str]) -> int:
    """Parse the flags, train, and return the exit code."""
    flags = parse(TrainDQNFlags, argv, smoke=training.SMOKE, saved=run_folder.saved_flags)
    options = apply_flags(PRESETS.get(flags.env, DQNOptions()), flags)
    more = {"synchronous": flags.synchronous}
    return experiment.run(training.Training(PROGRAMS["train_dqn"], flags, options, more))


def main(argv: Sequence[str] | None = None) -> int:
    """Run `train_dqn` with one-line errors."""
    return run_main(train_dqn, "train_dqn.py", argv)


if __name__ == "__main__":
    sys.exit(main())
