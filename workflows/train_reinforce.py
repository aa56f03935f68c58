"""Train REINFORCE on a Gymnasium environment: `python workflows/train_reinforce.py`, on a laptop or with env runners all over a cluster."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from algorithms.reinforce.options import PRESETS, REINFORCEOptions
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
class TrainREINFORCEFlags(flags_of(REINFORCEOptions, "(default: the preset's)"), training.TrainingFlags):  # type: ignore[misc]
    """Train REINFORCE. CartPole-v1, Acrobot-v1 and Pendulum-v1 have presets; others start from REINFORCEOptions' defaults."""


def configure(options: REINFORCEOptions) -> Any:
    """Return RLlib's configuration of REINFORCE with these hyperparameters."""
    from algorithms.reinforce.reinforce import REINFORCEConfig

    return REINFORCEConfig().training(**asdict(options))


def require_spaces(env: str, obs: Any, actions: Any) -> None:
    """Raise ValueError where REINFORCE can't learn on environments of these spaces."""
    from algorithms.rl import vector_envs

    vector_envs.require_discrete_or_box_actions(env, actions)
    vector_envs.require_vector_obs(env, obs)


def train_reinforce(argv: Sequence[str]) -> int:
    """Parse the flags, train, and return the exit code."""
    flags = parse(TrainREINFORCEFlags, argv, smoke=SMOKE, saved=run_folder.saved_flags)
    options = over(PRESETS.get(flags.env, REINFORCEOptions()), flags)
    return training.run(
        flags,
        training.Training(
            program="train_reinforce",
            options=options,
            config=lambda: configure(options),
            require_spaces=require_spaces,
        ),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run `train_reinforce` with one-line errors."""
    return run_main(train_reinforce, "train_reinforce.py", argv)


if __name__ == "__main__":
    sys.exit(main())
