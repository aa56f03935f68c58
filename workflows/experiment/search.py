"""Builds and runs one search: flags and a model in, a run folder out.

    flags --> run folder (refused if it exists) --> digits --> Ray --> Tuner.fit(), the live table beside it --> tables, pictures, summary

Every check that needs nothing loaded comes before anything is loaded, and nothing is written before all of them have passed.
"""

from __future__ import annotations

import importlib
import json
import os
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from workflows.cli.flags import INTERRUPTED, RunFlags, UsageError, require
from workflows.cli.option_flags import require_space
from workflows.experiment import experiment as tuning
from workflows.runs import folder as run_folder
from workflows.runs.files import RUN_FILE

if TYPE_CHECKING:
    from ray import tune

    from algorithms.mnist import MNIST

CHECKPOINTS_KEPT = 2
"""Per trial: with one, the last saved state of a killed search could name a checkpoint that its successor has just replaced."""
SMOKE_SCORING = {"num_report_samples": 500, "num_final_samples": 1000}


@dataclass(frozen=True)
class SearchFlags(RunFlags):
    """What every search takes besides `RunFlags`."""

    num_samples: int = 8
    """Trials, the baseline included."""
    max_updates: int = 2000
    """Minibatch updates of a trial that runs to its end."""
    updates_per_report: int = 250
    """Minibatch updates per report, which is one `training_iteration`."""
    num_report_samples: int = 2000
    """Samples scored at every report before the last."""
    num_final_samples: int = 10_000
    """Samples scored at a trial's last report; scores of different numbers do not compare."""
    scheduler: Literal["asha", "fifo"] = "asha"
    """Which trials stop early: asha stops the worse half at reports 1, 2, 4, …; fifo none."""
    searcher: Literal["random"] = "random"
    """How hyperparameters are drawn."""
    max_concurrent: int = 0
    """Trials at a time (0: as many as the cluster holds); under asha those that wait count too, so it searches more coarsely."""
    cpus_per_trial: float = 1.0
    """CPUs reserved for a trial, and the threads it computes with."""
    gpus_per_trial: float = 0.0
    """GPUs reserved for a trial; a fraction shares one."""
    dataset: Literal["mnist", "mnist-10k"] = "mnist"
    """All of MNIST, or its bundled first 10,000 digits."""
    data_dir: str = ""
    """Folder with the four files of MNIST (default: the cache that `make data` fills)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in ("num_samples", "max_updates", "updates_per_report"):
            require(
                getattr(self, field) >= 1,
                "--" + field.replace("_", "-"),
                getattr(self, field),
                "must be at least 1",
            )
        for field in ("num_report_samples", "num_final_samples"):
            require(
                getattr(self, field) >= 2,
                "--" + field.replace("_", "-"),
                getattr(self, field),
                "must be at least 2",
            )
        require(self.max_concurrent >= 0, "--max-concurrent", self.max_concurrent, "must be at least 0")
        cpus, gpus = self.cpus_per_trial, self.gpus_per_trial
        require(0.01 <= cpus < 1e4, "--cpus-per-trial", cpus, "must be at least 0.01")
        require(
            gpus == 0 or 0.01 <= gpus <= 1 or (gpus < 1e4 and gpus == int(gpus)),
            "--gpus-per-trial",
            gpus,
            "must be 0, 0.01 to 1, or whole",
        )


@dataclass(frozen=True)
class Search:
    """What is searched."""

    program: str
    """The workflow's name: tune_gan."""
    trainer: str
    """`module:class` of a `algorithms.generative.trainable.Trainer`."""
    preset: Any
    """The model's options: the baseline, and what the search space leaves alone; `num_train(num_digits)` says how many train it."""
    space: Callable[[], dict[str, Any]]
    """Makes the search space, names of the preset's fields to Tune's domains; called once Ray may be imported."""
    metric: str
    mode: Literal["min", "max"]
    columns: tuple[str, ...]
    """Metrics in the summary's table."""
    test: Callable[[dict[str, Any], MNIST, Callable[[int, int], None]], dict[str, Any]] | None = None
    """Measures a trainer's state on the test digits, telling how many are done; for the best trial only."""


def run(flags: SearchFlags, search: Search) -> int:
    """Run or resume the search and return the exit code: 0, 1 if a trial failed, 130 if it was interrupted.

    Raises UsageError for whatever is wrong with the flags or their surroundings, before anything is written.
    """
    run_dir = run_folder.choose(flags, search.program, search.preset)
    if flags.resume:
        from workflows.experiment import saved_state

        saved_state.require_recoverable(run_dir)
    data = _load(flags)
    if flags.resume and (dataset := run_folder.read_record(flags.resume).get("dataset")) != data.name:
        raise UsageError(
            f"--resume {flags.resume!r} was begun on {dataset}, but only {data.name} can be had now; try `make data`"
        )
    from workflows.experiment import console
    from workflows.experiment import saved_state as state
    from workflows.experiment.ray_cluster import connected, require_resources, require_shared

    require_space(search.preset, search.space(), flags.num_samples, data)
    with connected(flags.address) as cluster:
        for kind, flag, wanted in (
            ("GPU", "--gpus-per-trial", flags.gpus_per_trial),
            ("CPU", "--cpus-per-trial", flags.cpus_per_trial),
        ):
            console.note(require_resources(cluster, kind, wanted, f"{flag} {wanted:g} is"))
        if flags.resume:
            require_shared(run_dir)
        else:
            run_folder.make(run_dir, require_shared)
        with run_folder.locked(run_dir):
            if flags.resume:
                console.note(state.recover(run_dir))
            tuner = build_tuner(flags, search, data, run_dir)
            tuning.keep_rays_log(run_dir)
            work = f"{flags.num_samples} trial{'s' * (flags.num_samples > 1)} of up to {flags.max_updates} updates on {data.name}"
            console.say(f"{search.program}: {work}, {tuning.hardware(cluster)}")
            console.say(f"run folder {run_dir}, with the last {CHECKPOINTS_KEPT} checkpoints of every trial")
            exit_code = tuning.fit(tuner, console.LiveTable.shown(), search.program, run_dir)
            if exit_code:
                return exit_code
            state.keep(run_dir)
            unwritten, why = tuning.analyse(run_dir, tables_only=True)  # at once: what follows takes a while
            tested = _test(run_dir, search, data, flags.num_samples)
            if not unwritten:
                unwritten, why = tuning.analyse(run_dir)
    exit_code = tested or console.summary(run_dir, search, flags.num_samples, reported=not unwritten)
    if unwritten:
        console.say(why)
    return exit_code or unwritten


def _test(run_dir: Path, search: Search, data: MNIST, num_samples: int) -> int:
    """Test the best trial; return 0, or the exit code where that could not be done."""
    from workflows.experiment import console, final_test

    try:
        final_test.run(run_dir, search, data, num_samples)
        return 0
    except KeyboardInterrupt:
        ended, exit_code = "interrupted before the best trial met all test digits", INTERRUPTED
    except Exception as error:  # a checkpoint that is gone or cut short, memory that ran out
        ended, exit_code = (
            f"FAILED    the best trial's test: {type(error).__name__}: {' '.join(str(error).split())[:300]}",
            1,
        )
    console.say(ended)
    console.say(f"to go on: {console.resume_command(search.program, run_dir)}")
    return exit_code


def _load(flags: SearchFlags) -> MNIST:
    from algorithms import mnist
    from workflows.experiment import console

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            data = mnist.load(flags.dataset, flags.data_dir or None)
        except (ValueError, OSError) as error:
            raise UsageError(str(error)) from None
    for warning in caught:
        console.note(str(warning.message))
    return data


def build_tuner(
    flags: SearchFlags, search: Search, data: MNIST, run_dir: Path, reuse_actors: bool = True
) -> tune.Tuner:
    """Return the Tuner of the search, or of the run to resume, ready to fit; makes the folder of a new one."""
    tuning.quiet_tune()
    from ray import tune

    from algorithms.generative.trainable import Budget, GenerativeTrainable
    from workflows.experiment import console, tensorboard
    from workflows.experiment import saved_state as state
    from workflows.experiment.schedulers import SCHEDULERS
    from workflows.experiment.searchers import SEARCHERS

    module, class_name = search.trainer.split(":")
    budget = Budget(
        flags.max_updates, flags.updates_per_report, flags.num_report_samples, flags.num_final_samples
    )
    trainable = tune.with_resources(
        tune.with_parameters(
            GenerativeTrainable,
            trainer_class=getattr(importlib.import_module(module), class_name),
            preset=search.preset,
            data=data,
            budget=budget,
            seed=flags.seed,
        ),
        {"cpu": flags.cpus_per_trial, "gpu": flags.gpus_per_trial},
    )
    if flags.resume:
        return tune.Tuner.restore(str(run_dir), trainable, resume_errored=True)

    space = search.space()
    baseline = {name: getattr(search.preset, name) for name in space}
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / RUN_FILE).write_text(
        json.dumps(_record(flags, search, baseline, budget.num_reports, data), indent=2) + "\n"
    )
    return tune.Tuner(
        trainable,
        param_space=space,
        tune_config=tune.TuneConfig(
            metric=search.metric,
            mode=search.mode,
            num_samples=flags.num_samples,
            scheduler=SCHEDULERS[flags.scheduler](baseline, budget.num_reports),
            search_alg=SEARCHERS[flags.searcher](baseline, flags.seed, flags.max_concurrent),
            reuse_actors=reuse_actors,
            trial_name_creator=tuning.trial_id,
            trial_dirname_creator=tuning.trial_id,
        ),
        run_config=tune.RunConfig(
            name=run_dir.name,
            storage_path=str(run_dir.parent),
            stop={"training_iteration": budget.num_reports},
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=1, num_to_keep=CHECKPOINTS_KEPT),
            sync_config=tune.SyncConfig(sync_artifacts=True),
            callbacks=[
                console.LiveTable(search.metric, flags.max_updates),
                state.StateKeeper(),
                tensorboard.TensorBoard("updates", search.metric),
            ],
            log_to_file=True,
            verbose=0,
        ),
    )


def _record(
    flags: SearchFlags, search: Search, baseline: dict[str, Any], num_reports: int, data: MNIST
) -> dict[str, Any]:
    """Return what `--resume` and the analysis need to know of a run: what was asked for, and with what it was run."""
    return {
        "program": search.program,
        "metric": search.metric,
        "mode": search.mode,
        "num_reports": num_reports,
        "dataset": data.name,
        "flags": asdict(flags)
        | {"data_dir": flags.data_dir and os.path.abspath(os.path.expanduser(flags.data_dir))},
        "preset": asdict(search.preset),
        "baseline": baseline,
        **tuning.circumstances(),
    }
