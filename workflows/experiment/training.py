"""A training of an RL algorithm: one trial of an RLlib algorithm under Ray Tune."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from workflows.cli.flags import RunFlags, UsageError, checks
from workflows.cli.terminal import several
from workflows.experiment.experiment import Experiment, Settings
from workflows.programs import ENV_STEPS, attribute

if TYPE_CHECKING:
    from workflows.results import Run

SMOKE: dict[str, Any] = {
    "stop_env_steps": 5000,
    "stop_return": math.inf,
    "evaluation_interval": 2,
    "checkpoint_frequency": 2,
}
"""Defaults under `--smoke`."""


@dataclass(frozen=True)
class TrainingFlags(RunFlags):
    """Flags of every training."""

    GROUP: ClassVar[str] = "training"
    RESOURCES: ClassVar[tuple[str, ...]] = ("num_env_runners", "num_learners", "num_gpus_per_learner")

    env: str = "CartPole-v1"
    """Gymnasium id of the environment, or `module.Class`."""
    num_env_runners: int = 0
    """Ray actors that step environments; with 0 the algorithm's own process steps them, between updates."""
    num_learners: int = 0
    """0: the algorithm's own process learns; 1: a Ray actor learns."""
    num_gpus_per_learner: float = 0.0
    """GPUs of the learner; a fraction shares one."""
    stop_return: float | None = None
    """Stop at an evaluation with this mean return (default: the environment's own threshold; inf: never)."""
    stop_env_steps: int = 500_000
    """Stop at the first evaluation after this number of environment steps."""
    stop_time_s: float = math.inf
    """Stop at the first evaluation after this number of seconds of training."""
    evaluation_interval: int = 5
    """Reports between evaluations; --stop-return is compared at evaluations only."""
    evaluation_duration: int = 20
    """Episodes per evaluation, without exploration."""
    min_sample_timesteps_per_iteration: int = 1000
    """Least number of environment steps per report."""
    checkpoint_frequency: int = 20
    """Reports between checkpoints; the end has one, too."""
    max_failures: int = 2
    """How many failures a training survives by going on from its last checkpoint."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check = checks(self)
        check.whole("num_env_runners", "max_failures", least=0).whole("stop_env_steps", least=1)
        check.whole("evaluation_interval", "evaluation_duration", "checkpoint_frequency", least=1)
        check.whole("min_sample_timesteps_per_iteration", least=1)
        check.that(self.num_learners in (0, 1), "num_learners", "0 or 1: there is one central learner")
        gpus = self.num_gpus_per_learner
        check.that(gpus == 0 or 0.01 <= gpus <= 1, "num_gpus_per_learner", "0, or 0.01 to 1")
        check.that(not math.isnan(self.stop_return or 0.0), "stop_return", "a number, or inf")
        check.number("stop_time_s", above=0, infinite=True)


@dataclass(frozen=True)
class Training(Experiment):
    """A training with `options` as its hyperparameters."""

    more: dict[str, Any] = field(default_factory=dict)
    """Arguments of the configuration's `training` besides the options."""

    @cached_property
    def config(self) -> Any:
        """The algorithm's RLlib configuration."""
        flags = self.flags
        config = attribute(self.program.trains)().training(**asdict(self.options), **self.more)
        config.environment(flags.env)
        config.env_runners(num_env_runners=flags.num_env_runners)
        config.learners(num_learners=flags.num_learners, num_gpus_per_learner=flags.num_gpus_per_learner)
        config.evaluation(
            evaluation_interval=flags.evaluation_interval, evaluation_duration=flags.evaluation_duration
        )
        config.reporting(min_sample_timesteps_per_iteration=flags.min_sample_timesteps_per_iteration)
        config.debugging(seed=flags.seed)
        num_envs = min(flags.evaluation_duration, 20)
        config.evaluation_config = {**(config.evaluation_config or {}), "num_envs_per_env_runner": num_envs}
        return config

    @cached_property
    def stop_return(self) -> float:
        """The mean return at which the training ends; inf is never."""
        if self.flags.stop_return is not None:
            return float(self.flags.stop_return)
        import gymnasium as gym

        env = self.flags.env
        threshold = gym.spec(env).reward_threshold if env in gym.registry else None
        return math.inf if threshold is None else threshold

    def check(self) -> None:
        """Make the environment once; raise UsageError if that fails or the algorithm can't learn on it."""
        from algorithms.rl import vector_envs

        try:
            env = vector_envs.make_one(self.flags.env, {})
            try:
                self.config.require_spaces(env.observation_space, env.action_space)
            finally:
                env.close()  # type: ignore[no-untyped-call]
        except ValueError as error:
            raise UsageError(f"--env: {error}") from None

    def requests(self) -> dict[str, tuple[float, str]]:
        """Return the trial's resources, as RLlib counts them.

        A CPU for the algorithm, one for each runner, one for a remote learner without a GPU.
        """
        flags = self.flags
        asked = f"--num-env-runners {flags.num_env_runners}, --num-learners {flags.num_learners}"
        remote_learner = flags.num_learners and not flags.num_gpus_per_learner
        wanted = {"CPU": 1.0 + flags.num_env_runners + remote_learner, "GPU": flags.num_gpus_per_learner}
        subject = f"{asked} and the algorithm itself need"
        return {kind: (count, f"{subject} {several(count, kind)},") for kind, count in wanted.items()}

    def headline(self) -> str:
        """Return the environment and what ends the training."""
        goals = [] if self.stop_return == math.inf else [f"a mean greedy return of {self.stop_return:g}"]
        goals.append(f"{self.flags.stop_env_steps:,} steps")
        if self.flags.stop_time_s < math.inf:
            goals.append(f"{self.flags.stop_time_s:g} s")
        return f"{self.flags.env} until {' or '.join(goals)}"

    def trainable(self) -> type:
        """Return the algorithm with its configuration. Raises UsageError if the configuration is invalid."""
        try:
            self.config.copy(copy_frozen=False).validate()
        except ValueError as error:
            raise UsageError(str(error)) from None
        return trial_of(self.config, asdict(self.options))

    def settings(self) -> Settings:
        """Return when it stops, and its checkpoints."""
        from workflows.experiment.live_views import LiveLine

        flags = self.flags
        return Settings(
            view=LiveLine(),
            stop=StopRule(self.stop_return, flags.stop_env_steps, flags.stop_time_s),
            checkpoint={"checkpoint_frequency": flags.checkpoint_frequency, "checkpoint_at_end": True},
            max_failures=flags.max_failures,
        )

    def record(self) -> dict[str, Any]:
        """Return nothing: the flags say it all."""
        return {}

    def summary(self, run: Run, reported: bool) -> int:
        """Print the training's summary."""
        from workflows.experiment import summaries

        return summaries.of_training(run, self.stop_return, reported)


@dataclass
class StopRule:
    """Whether a trial has reached its return, its steps or its time; Tune asks at every report.

    A training stops at an evaluation, so its last checkpoint is the policy whose return is in the tables.
    """

    greedy_return: float
    env_steps: int
    time_s: float

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Return whether this report is the last."""
        if "evaluation" not in result:
            return False
        # An evaluation that lost all its episodes has no return.
        greedy_return = result["evaluation"]["env_runners"].get("episode_return_mean", math.nan)
        has_learned = greedy_return >= self.greedy_return
        return bool(
            has_learned or result[ENV_STEPS] >= self.env_steps or result["time_total_s"] >= self.time_s
        )


def trial_of(configured: Any, hyperparameters: dict[str, Any]) -> type:
    """Return the algorithm as a Trainable that reports its hyperparameters, not RLlib's 200 settings."""

    class Trial(configured.algo_class):
        def __init__(self, config: Any = None, **kwargs: Any) -> None:
            # Tune passes files for what is printed in its own way.
            names = ("__stdout_file__", "__stderr_file__")
            files = {name: path for name, path in (config or {}).items() if name in names}
            super().__init__(configured.copy(copy_frozen=False).update_from_dict(files), **kwargs)

        def get_auto_filled_metrics(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
            metrics: dict[str, Any] = super().get_auto_filled_metrics(*args, **kwargs)
            return metrics | {"config": hyperparameters}

        @classmethod
        def default_resource_request(cls, config: Any) -> Any:
            return configured.algo_class.default_resource_request(configured.copy(copy_frozen=False))

    return Trial
