"""Builds and runs one training of an RL algorithm: flags and a configuration in, a run folder out, as of a search with a single trial.

    flags --> run folder (refused if it exists) --> environment --> Ray --> Tuner.fit(), the live line beside it --> tables, summary

Every check that needs nothing loaded comes before anything is loaded, and nothing is written before all of them have passed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workflows.cli.flags import RunFlags, UsageError, require
from workflows.experiment import experiment as tuning
from workflows.runs import folder as run_folder
from workflows.runs.files import RUN_FILE

if TYPE_CHECKING:
    from ray import tune

CHECKPOINTS_KEPT = 2
RETURN = "env_runners/episode_return_mean"
GREEDY_RETURN = "evaluation/env_runners/episode_return_mean"
ENV_STEPS = "num_env_steps_sampled_lifetime"


@dataclass(frozen=True)
class TrainingFlags(RunFlags):
    """What every training takes besides `RunFlags`."""

    env: str = "CartPole-v1"
    """Gymnasium id of the environment, or `module.Class`."""
    num_env_runners: int = 0
    """Ray actors that step environments; with 0 the algorithm's own process does it, between updates."""
    num_learners: int = 0
    """0: the algorithm's own process learns; 1: a Ray actor does."""
    num_gpus_per_learner: float = 0.0
    """GPUs of the learner; a fraction shares one."""
    stop_return: float | None = None
    """End once the mean return of an evaluation reaches this (default: the environment's own reward_threshold; inf: never)."""
    stop_env_steps: int = 500_000
    """End at the first evaluation after so many environment steps."""
    stop_time_s: float = math.inf
    """End at the first evaluation after so many seconds of training."""
    evaluation_interval: int = 5
    """Reports between evaluations, and so between looks at --stop-return."""
    evaluation_duration: int = 20
    """Episodes per evaluation, without exploration."""
    min_sample_timesteps_per_iteration: int = 1000
    """Environment steps per report, at least."""
    checkpoint_frequency: int = 20
    """Reports between checkpoints; there is one at the end, too."""
    max_failures: int = 2
    """How often a training that failed goes on from its last checkpoint by itself."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for field, least in (
            ("num_env_runners", 0),
            ("stop_env_steps", 1),
            ("evaluation_interval", 1),
            ("evaluation_duration", 1),
            ("min_sample_timesteps_per_iteration", 1),
            ("checkpoint_frequency", 1),
            ("max_failures", 0),
        ):
            require(
                getattr(self, field) >= least,
                "--" + field.replace("_", "-"),
                getattr(self, field),
                f"must be at least {least}",
            )
        require(
            self.num_learners in (0, 1),
            "--num-learners",
            self.num_learners,
            "must be 0 or 1: there is one central learner",
        )
        gpus = self.num_gpus_per_learner
        require(gpus == 0 or 0.01 <= gpus <= 1, "--num-gpus-per-learner", gpus, "must be 0, or 0.01 to 1")
        require(
            not math.isnan(self.stop_return or 0.0),
            "--stop-return",
            self.stop_return,
            "must be a number, or inf",
        )
        require(self.stop_time_s > 0, "--stop-time-s", self.stop_time_s, "must be positive")


@dataclass(frozen=True)
class Training:
    """What is trained."""

    program: str
    """The workflow's name: train_dqn."""
    options: Any
    """The algorithm's hyperparameters: the preset with the flags over it."""
    config: Callable[[], Any]
    """Makes the algorithm's RLlib configuration with these options; called once Ray may be imported."""
    require_spaces: Callable[[str, Any, Any], None]
    """Raises ValueError where the algorithm can't learn on this environment with its observation and action space; needs no Ray."""


def run(flags: TrainingFlags, training: Training) -> int:
    """Run or resume the training and return the exit code: 0, 1 if it failed, 130 if it was interrupted.

    Raises UsageError for whatever is wrong with the flags or their surroundings, before anything is written.
    """
    run_dir = run_folder.choose(flags, training.program, training.options)
    if flags.resume:
        from workflows.experiment import saved_state

        saved_state.require_recoverable(run_dir)
    _require_env(flags.env, training)
    from workflows.experiment import console, training_view
    from workflows.experiment import saved_state as state
    from workflows.experiment.ray_cluster import connected, require_resources, require_shared, several

    with connected(flags.address) as cluster:
        for kind, wanted in _resources(flags).items():
            asked = f"--num-env-runners {flags.num_env_runners}, --num-learners {flags.num_learners} and the algorithm itself"
            console.note(require_resources(cluster, kind, wanted, f"{asked} need {several(wanted, kind)},"))
        if flags.resume:
            require_shared(run_dir)
        else:
            run_folder.make(run_dir, require_shared)
        with run_folder.locked(run_dir):
            if flags.resume:
                console.note(state.recover(run_dir))
            tuner = build_tuner(flags, training, run_dir)
            tuning.keep_rays_log(run_dir)
            console.say(f"{training.program}: {flags.env} until {_goal(flags)}, {tuning.hardware(cluster)}")
            console.say(f"run folder {run_dir}, with the last {CHECKPOINTS_KEPT} checkpoints")
            exit_code = tuning.fit(tuner, training_view.LiveLine.shown(), training.program, run_dir)
            if exit_code:
                return exit_code
            state.keep(run_dir)
            unwritten, why = tuning.analyse(run_dir)
    exit_code = training_view.summary(run_dir, training.program, _stop_return(flags), reported=not unwritten)
    if unwritten:
        console.say(why)
    return exit_code or unwritten


def _require_env(env: str, training: Training) -> None:
    """Raise UsageError where the environment can't be made, or does not suit the algorithm."""
    from algorithms.rl import vector_envs

    try:
        single = vector_envs.make_one(env, {})
        try:
            training.require_spaces(env, single.observation_space, single.action_space)
        finally:
            single.close()  # type: ignore[no-untyped-call]
    except ValueError as error:
        raise UsageError(f"--env: {error}") from None


def _resources(flags: TrainingFlags) -> dict[str, float]:
    """Return what the trial reserves, as RLlib does: a CPU for the algorithm, one a runner, one for a remote learner without a GPU."""
    remote_learner = flags.num_learners and not flags.num_gpus_per_learner
    return {"CPU": 1.0 + flags.num_env_runners + remote_learner, "GPU": flags.num_gpus_per_learner}


def _stop_return(flags: TrainingFlags) -> float:
    """Return the mean return at which the training ends; inf is never."""
    if flags.stop_return is not None:
        return flags.stop_return
    import gymnasium as gym

    threshold = gym.spec(flags.env).reward_threshold if flags.env in gym.registry else None
    return math.inf if threshold is None else threshold


def _goal(flags: TrainingFlags) -> str:
    target = _stop_return(flags)
    goals = [] if target == math.inf else [f"a mean greedy return of {target:g}"]
    goals.append(f"{flags.stop_env_steps:,} steps")
    if flags.stop_time_s < math.inf:
        goals.append(f"{flags.stop_time_s:g} s")
    return " or ".join(goals)


def build_tuner(flags: TrainingFlags, training: Training, run_dir: Path) -> tune.Tuner:
    """Return the Tuner of the training, or of the one to resume, ready to fit; writes the record of a new one."""
    tuning.quiet_tune()
    from ray import tune

    from workflows.experiment import saved_state as state
    from workflows.experiment import tensorboard, training_view

    config = (
        training.config()
        .environment(flags.env)
        .env_runners(num_env_runners=flags.num_env_runners)
        .learners(num_learners=flags.num_learners, num_gpus_per_learner=flags.num_gpus_per_learner)
        .evaluation(
            evaluation_interval=flags.evaluation_interval, evaluation_duration=flags.evaluation_duration
        )
        .reporting(min_sample_timesteps_per_iteration=flags.min_sample_timesteps_per_iteration)
        .debugging(seed=flags.seed)
    )
    config.evaluation_config = dict(config.evaluation_config or {}) | {
        "num_envs_per_env_runner": min(flags.evaluation_duration, 20)
    }
    try:
        config.copy(copy_frozen=False).validate()
    except ValueError as error:
        raise UsageError(str(error)) from None
    trainable = trial_of(config, asdict(training.options))
    if flags.resume:
        return tune.Tuner.restore(str(run_dir), trainable, resume_errored=True)
    record = {
        "program": training.program,
        "metric": GREEDY_RETURN,
        "mode": "max",
        "flags": asdict(flags),
        "preset": asdict(training.options),
        **tuning.circumstances(),
    }
    (run_dir / RUN_FILE).write_text(json.dumps(record, indent=2) + "\n")
    return tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            trial_name_creator=tuning.trial_id, trial_dirname_creator=tuning.trial_id
        ),
        run_config=tune.RunConfig(
            name=run_dir.name,
            storage_path=str(run_dir.parent),
            stop=Stop(_stop_return(flags), flags.stop_env_steps, flags.stop_time_s),
            checkpoint_config=tune.CheckpointConfig(
                checkpoint_frequency=flags.checkpoint_frequency,
                checkpoint_at_end=True,
                num_to_keep=CHECKPOINTS_KEPT,
            ),
            failure_config=tune.FailureConfig(max_failures=flags.max_failures),
            sync_config=tune.SyncConfig(sync_artifacts=True),
            callbacks=[
                training_view.LiveLine(),
                state.StateKeeper(),
                tensorboard.TensorBoard(ENV_STEPS, GREEDY_RETURN),
            ],
            log_to_file=True,
            verbose=0,
        ),
    )


@dataclass
class Stop:
    """Whether a trial has reached its return, or spent its steps or its time; Tune asks it at every report.

    A training ends with a report that evaluated, so that the checkpoint of its end is the policy whose return is in the tables.
    """

    greedy_return: float
    env_steps: int
    time_s: float

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Return whether this report is the last."""
        if "evaluation" not in result:
            return False
        greedy_return = result["evaluation"]["env_runners"].get(
            "episode_return_mean", math.nan
        )  # none if all were lost
        return bool(
            greedy_return >= self.greedy_return
            or result[ENV_STEPS] >= self.env_steps
            or result["time_total_s"] >= self.time_s
        )


def trial_of(configured: Any, hyperparameters: dict[str, Any]) -> type:
    """Return the algorithm of this configuration as a Trainable whose reports name its hyperparameters, and not RLlib's 200 settings."""

    class Trial(configured.algo_class):
        def __init__(self, config: Any = None, **kwargs: Any) -> None:
            files = {
                name: path
                for name, path in (config or {}).items()
                if name in ("__stdout_file__", "__stderr_file__")
            }
            super().__init__(
                configured.copy(copy_frozen=False).update_from_dict(files), **kwargs
            )  # where Tune wants what is printed

        def get_auto_filled_metrics(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
            return super().get_auto_filled_metrics(*args, **kwargs) | {"config": hyperparameters}  # type: ignore[no-any-return]

        @classmethod
        def default_resource_request(cls, config: Any) -> Any:
            return configured.algo_class.default_resource_request(configured.copy(copy_frozen=False))

    return Trial
