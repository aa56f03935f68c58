"""Train a DQN on a Gymnasium environment: `python workflows/train_dqn.py`, on a laptop or with env runners all over a cluster."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from algorithms.dqn.options import PRESETS, DQNOptions
from workflows.cli.flags import parse, run_main
from workflows.cli.option_flags import flags_of, over
from workflows.experiment import training
from workflows.runs import folder as run_folder

SMOKE: dict[str, Any] = {
    "stop_env_steps": 5000,
    "stop_return": float("inf"),
    "evaluation_interval": 2,
    "checkpoint_frequency": 2,
}


@dataclass(frozen=True)
class TrainDQNFlags(flags_of(DQNOptions, "(default: the preset's)"), training.TrainingFlags):  # type: ignore[misc]
    """Train a DQN. CartPole-v1 and Acrobot-v1 have presets; any other environment starts from DQNOptions' defaults."""

    synchronous: bool = False
    """Let the env runners wait while the learner learns: slower, and the same numbers at every run of one seed."""


def configure(options: DQNOptions, synchronous: bool) -> Any:
    """Return RLlib's configuration of a DQN with these hyperparameters."""
    from algorithms.dqn.dqn import DQNConfig

    return DQNConfig().training(**asdict(options), synchronous=synchronous)


def require_spaces(env: str, obs: Any, actions: Any) -> None:
    """Raise ValueError where a DQN can't learn on environments of these spaces."""
    from algorithms.rl import vector_envs

    vector_envs.require_discrete_actions(env, actions)
    vector_envs.require_vector_obs(env, obs)


def train_dqn(argv: Sequence[str]) -> int:
    """Parse the flags, train, and return the exit code."""
    flags = parse(TrainDQNFlags, argv, smoke=SMOKE, saved=run_folder.saved_flags)
    options = over(PRESETS.get(flags.env, DQNOptions()), flags)
    return training.run(
        flags,
        training.Training(
            program="train_dqn",
            options=options,
            config=lambda: configure(options, flags.synchronous),
            require_spaces=require_spaces,
        ),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run `train_dqn` with one-line errors."""
    return run_main(train_dqn, "train_dqn.py", argv)


if __name__ == "__main__":
    sys.exit(main())
