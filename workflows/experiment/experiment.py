"""Runs one experiment, a search or a training: flags in, a run folder out.

    flags --> checks --> Ray --> run folder, locked --> Tuner.fit() beside a live view --> report --> summary

Checks that need no Ray come before Ray is started. Nothing is written before all checks have passed.
"""

from __future__ import annotations

import json
import logging
import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workflows.cli.flags import INTERRUPTED
from workflows.cli.terminal import command, error_text, note, say
from workflows.experiment.circumstances import circumstances
from workflows.programs import Mode, Program
from workflows.runs import folder as run_folder
from workflows.runs.files import RUN_FILE

if TYPE_CHECKING:
    from ray import tune

    from workflows.results import Run

CHECKPOINTS_KEPT = 2
"""Per trial. With one, a killed run's saved state could name a checkpoint that was just replaced."""


@dataclass
class Settings:
    """What an experiment adds to the settings of Tune that all experiments share."""

    view: Any
    """The live view, a `LiveView`."""
    stop: Any
    tune: dict[str, Any] = field(default_factory=dict)
    """Arguments of `tune.TuneConfig`."""
    checkpoint: dict[str, Any] = field(default_factory=dict)
    """Arguments of `tune.CheckpointConfig`."""
    space: dict[str, Any] | None = None
    max_failures: int = 0


@dataclass(frozen=True)
class Experiment(ABC):
    """What a search and a training supply; `run` does the rest."""

    program: Program
    flags: Any
    """A `RunFlags`."""
    options: Any
    """The hyperparameters: the preset with the flags applied."""

    @property
    def metric(self) -> str:
        """What the experiment improves."""
        return self.program.metric

    @property
    def mode(self) -> Mode:
        """Whether the least or the greatest value of the metric is its best."""
        return self.program.metrics[self.metric.rpartition("/")[2]]

    @abstractmethod
    def check(self) -> None:
        """Raise UsageError for a mistake that shows without Ray's cluster."""

    @abstractmethod
    def requests(self) -> dict[str, tuple[float, str]]:
        """Return what a trial reserves: CPU or GPU -> how many, and the subject of an error about it."""

    @abstractmethod
    def headline(self) -> str:
        """Return what is going to run, in words."""

    @abstractmethod
    def trainable(self) -> Any:
        """Return what Tune runs."""

    @abstractmethod
    def settings(self) -> Settings:
        """Return the settings of a new run."""

    @abstractmethod
    def record(self) -> dict[str, Any]:
        """Return what run.json holds of this experiment, besides what all experiments write."""

    def after_fit(self, run: Run) -> tuple[Run, int]:
        """Do what follows the trials; return the run and 0, or the exit code of what failed."""
        return run, 0

    @abstractmethod
    def summary(self, run: Run, reported: bool) -> int:
        """Print how the run ended and what to type next; return the exit code."""


def run(experiment: Experiment) -> int:
    """Run or resume an experiment; return 0, 1 if a trial failed, or 130 if it was interrupted.

    Raises UsageError for a mistake in the flags or their surroundings, before anything is written.
    """
    from workflows.experiment import saved_state
    from workflows.experiment.ray_cluster import connected, require_resources, require_shared

    flags = experiment.flags
    run_dir = run_folder.choose(flags, experiment.program.name, experiment.options)
    if flags.resume:
        saved_state.require_recoverable(run_dir)
    experiment.check()
    with connected(flags.address) as cluster:
        for kind, (wanted, subject) in experiment.requests().items():
            note(require_resources(cluster, kind, wanted, subject))
        if flags.resume:
            require_shared(run_dir)
        else:
            run_folder.make(run_dir, require_shared)
        with run_folder.locked(run_dir):
            if exit_code := _fit(experiment, run_dir, cluster.hardware):
                return exit_code
            ended, exit_code, unwritten = _report(experiment, run_dir)
    exit_code = exit_code or experiment.summary(ended, reported=not unwritten)
    if unwritten:
        say(unwritten[1])
    return exit_code or (unwritten[0] if unwritten else 0)


def build_tuner(experiment: Experiment, run_dir: Path) -> tune.Tuner:
    """Return the Tuner of the experiment, or of the run to resume; writes the record of a new run."""
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # with verbose=0, the only way to keep Tune from printing
    # Seconds between saves of the run's state: Ray's 10 would lose more to a kill.
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "1")
    os.environ["TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S"] = "0"
    from ray import tune

    from workflows.experiment.saved_state import StateKeeper
    from workflows.experiment.tensorboard import TensorBoard

    trainable = experiment.trainable()
    if experiment.flags.resume:
        return tune.Tuner.restore(str(run_dir), trainable, resume_errored=True)
    settings = experiment.settings()
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / RUN_FILE).write_text(json.dumps(_record(experiment), indent=2) + "\n")
    tensorboard = TensorBoard(experiment.program.x, experiment.metric)
    return tune.Tuner(
        trainable,
        param_space=settings.space,
        tune_config=tune.TuneConfig(
            trial_name_creator=trial_id, trial_dirname_creator=trial_id, **settings.tune
        ),
        run_config=tune.RunConfig(
            name=run_dir.name,
            storage_path=str(run_dir.parent),
            stop=settings.stop,
            checkpoint_config=tune.CheckpointConfig(num_to_keep=CHECKPOINTS_KEPT, **settings.checkpoint),
            failure_config=tune.FailureConfig(max_failures=settings.max_failures),
            sync_config=tune.SyncConfig(sync_artifacts=True),
            callbacks=[settings.view, StateKeeper(), tensorboard],
            log_to_file=True,
            verbose=0,
        ),
    )


def trial_id(trial: Any) -> str:
    """Return a trial's id, which is also the name of its folder."""
    return str(trial.trial_id)


def _record(experiment: Experiment) -> dict[str, Any]:
    """Return what `--resume` and the analysis need to know of a run."""
    return {
        "program": experiment.program.name,
        "metric": experiment.metric,
        "mode": experiment.mode,
        "flags": asdict(experiment.flags),
        "preset": asdict(experiment.options),
        **experiment.record(),
        **circumstances(),
    }


def _fit(experiment: Experiment, run_dir: Path, hardware: str) -> int:
    """Fit, with the live view beside it; return 0, or the exit code if Tune itself could not end in order."""
    from workflows.experiment import saved_state
    from workflows.experiment.live_views import LiveView
    from workflows.experiment.ray_cluster import log_to_file

    if experiment.flags.resume:
        note(saved_state.recover(run_dir))
    tuner = build_tuner(experiment, run_dir)
    log_to_file(run_dir)
    say(f"{experiment.program.name}: {experiment.headline()}, {hardware}")
    say(f"run folder {run_dir}, with each trial's last {CHECKPOINTS_KEPT} checkpoints")
    on_interrupt = signal.getsignal(signal.SIGINT)
    try:
        with LiveView.shown():
            tuner.fit()
        saved_state.keep(run_dir)
        return 0
    except KeyboardInterrupt:  # the second one: Tune takes the first, and ends in order
        ended, exit_code = "interrupted", INTERRUPTED
    except Exception as error:  # Tune's own, such as a full disk
        logging.getLogger("ray").exception("the run ended")
        ended, exit_code = f"FAILED    {error_text(error)} ({run_dir / 'ray.log'})", 1
    finally:
        signal.signal(signal.SIGINT, on_interrupt)  # Tune's handler would swallow the next Ctrl-C
    say(ended)
    say(f"to go on: {command(experiment.program.name, '--resume', run_dir)}")
    say(f"to see how far it came: {command('analyze', run_dir)}")
    return exit_code


def _report(experiment: Experiment, run_dir: Path) -> tuple[Run, int, tuple[int, str] | None]:
    """Write tables, do what follows the fit, write the report.

    Return the run, the exit code of what follows, and what `written` says of the report.
    """
    from workflows import results
    from workflows.report import write

    run = results.load(run_dir)
    # Tables come first, because what follows may take a while.
    unwritten = written(run_dir, lambda: write.write_tables(run, run_dir))
    run, exit_code = experiment.after_fit(run)
    return run, exit_code, unwritten or written(run_dir, lambda: write.write(run, run_dir))


def written(run_dir: Path, write: Callable[[], None]) -> tuple[int, str] | None:
    """Call `write`, which writes a report; return None, or the exit code and the reason if it failed."""
    again = f"to try again: {command('analyze', run_dir)}"
    try:
        write()
        return None
    except KeyboardInterrupt:
        return INTERRUPTED, f"interrupted before the report was written; {again}"
    except Exception as error:  # such as a full disk
        logging.getLogger("ray").exception("the report was not written")
        return 1, f"FAILED    the report: {error_text(error)} ({run_dir / 'ray.log'}); {again}"
