"""A search of hyperparameters: many trials of one generative model under Ray Tune."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from workflows.cli.flags import INTERRUPTED, RunFlags, UsageError, checks
from workflows.cli.option_flags import Space, require_space
from workflows.cli.terminal import command, error_text, note, say
from workflows.experiment.experiment import Experiment, Settings
from workflows.programs import attribute
from workflows.runs import folder as run_folder

if TYPE_CHECKING:
    from algorithms.generative.trainable import Budget
    from workflows.results import Run

Progress = Callable[[int, int], None]
SMOKE: dict[str, Any] = {
    "num_samples": 3,
    "num_report_samples": 500,
    "num_final_samples": 1000,
    "dataset": "mnist-10k",
}
"""Defaults under `--smoke`, for every search."""


@dataclass(frozen=True)
class SearchFlags(RunFlags):
    """Flags of every search."""

    GROUP: ClassVar[str] = "search"
    RESOURCES: ClassVar[tuple[str, ...]] = ("max_concurrent", "cpus_per_trial", "gpus_per_trial")

    num_samples: int = 8
    """Trials, the baseline included."""
    max_updates: int = 2000
    """Minibatch updates of a trial that runs to its end."""
    updates_per_report: int = 250
    """Minibatch updates per report, which is one `training_iteration`."""
    num_report_samples: int = 2000
    """Samples scored at every report before the last."""
    num_final_samples: int = 10_000
    """Samples scored at a trial's last report; only scores of the same number compare."""
    scheduler: Literal["asha", "fifo"] = "asha"
    """Early stopping: asha stops the worse half of the trials at reports 1, 2, 4, …; fifo stops none."""
    searcher: Literal["random"] = "random"
    """How hyperparameters are drawn."""
    max_concurrent: int = 0
    """Trials at a time (default: 0, as many as fit). asha counts waiting trials, so it halves fewer."""
    cpus_per_trial: float = 1.0
    """CPUs reserved for a trial, which computes with as many threads."""
    gpus_per_trial: float = 0.0
    """GPUs reserved for a trial; a fraction shares one."""
    dataset: Literal["mnist", "mnist-10k"] = "mnist"
    """All of MNIST, or the 10,000 digits that come with this project."""
    data_dir: str = ""
    """Folder with the four files of MNIST (default: the cache that `make data` fills)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check = checks(self)
        check.whole("num_samples", "max_updates", "updates_per_report", least=1)
        check.whole("num_report_samples", "num_final_samples", least=2)
        check.whole("max_concurrent", least=0)
        check.number("cpus_per_trial", least=0.01, below=1e4)
        gpus = self.gpus_per_trial
        is_share = gpus == 0 or 0.01 <= gpus <= 1
        check.that(is_share or (gpus < 1e4 and gpus == int(gpus)), "gpus_per_trial", "0, 0.01 to 1, or whole")


def load_mnist(flags: SearchFlags) -> Any:
    """Return MNIST as the flags ask for it. Raises UsageError if it can't be had."""
    from algorithms import mnist

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            data = mnist.load(flags.dataset, flags.data_dir or None)
        except (ValueError, OSError) as error:
            raise UsageError(str(error)) from None
    for warning in caught:
        note(str(warning.message))
    return data


@dataclass(frozen=True)
class Search(Experiment):
    """A search; the trial of `options` as they are, the baseline, comes first.

    `load_data(flags)` returns a data set like `algorithms.mnist.MNIST`. The trials share one copy of it.

    name           str, a column of every result
    train_images   uint8 [N, 28, 28], paper 0, ink 255
    train_labels   int64 [N]
    test_images, test_labels   only if there is a `test`
    """

    space: Space
    """What is drawn, by name of an option."""
    improves: str = ""
    """A metric other than the program's."""
    test: Callable[[dict[str, Any], Any, Progress], dict[str, Any]] | None = None
    """Measures the best trial on test data, given its state, the data, and a progress function."""
    load_data: Callable[[SearchFlags], Any] = load_mnist
    reuse_actors: bool = True
    """Let a process serve one trial after another, which saves importing torch."""

    @property
    def metric(self) -> str:
        """What the search improves."""
        return self.improves or self.program.metric

    @cached_property
    def data(self) -> Any:
        """The data set, loaded once."""
        return self.load_data(self.flags)

    @cached_property
    def budget(self) -> Budget:
        """How long a trial trains and how often it is scored."""
        from algorithms.generative.trainable import Budget

        flags = self.flags
        return Budget(
            flags.max_updates, flags.updates_per_report, flags.num_report_samples, flags.num_final_samples
        )

    @property
    def baseline(self) -> dict[str, Any]:
        """The searched hyperparameters' values in `options`."""
        return {name: getattr(self.options, name) for name in self.space}

    def check(self) -> None:
        """Load the data; raise UsageError if it isn't the resumed run's, or some trial would be invalid."""
        resume = self.flags.resume
        if resume and (dataset := run_folder.read_record(resume).get("dataset")) != self.data.name:
            only = f"but only {self.data.name} can be had now; try `make data`"
            raise UsageError(f"--resume {resume!r} was begun on {dataset}, {only}")
        require_space(self.options, self.space, self.flags.num_samples, len(self.data.train_images))

    def requests(self) -> dict[str, tuple[float, str]]:
        """Return the resources of a trial."""
        cpus, gpus = self.flags.cpus_per_trial, self.flags.gpus_per_trial
        return {
            "GPU": (gpus, f"--gpus-per-trial {gpus:g} is"),
            "CPU": (cpus, f"--cpus-per-trial {cpus:g} is"),
        }

    def headline(self) -> str:
        """Return the number of trials, their length and the data."""
        num_trials = self.flags.num_samples
        trials = f"{num_trials} trial{'s' * (num_trials > 1)}"
        return f"{trials} of up to {self.flags.max_updates} updates on {self.data.name}"

    def trainable(self) -> Any:
        """Return the model's trainer as a Trainable, with its data in the object store."""
        from ray import tune

        from algorithms.generative.trainable import GenerativeTrainable

        trainable = tune.with_parameters(
            GenerativeTrainable,
            trainer_class=attribute(self.program.trains),
            preset=self.options,
            data=self.data,
            budget=self.budget,
            seed=self.flags.seed,
        )
        resources = {"cpu": self.flags.cpus_per_trial, "gpu": self.flags.gpus_per_trial}
        return tune.with_resources(trainable, resources)

    def settings(self) -> Settings:
        """Return the searcher, the scheduler, and a checkpoint at every report."""
        from workflows.experiment.live_views import LiveTable
        from workflows.experiment.schedulers import SCHEDULERS
        from workflows.experiment.searchers import SEARCHERS, domains

        flags, baseline, num_reports = self.flags, self.baseline, self.budget.num_reports
        return Settings(
            view=LiveTable(self.metric, flags.max_updates),
            stop={"training_iteration": num_reports},
            tune={
                "metric": self.metric,
                "mode": self.mode,
                "num_samples": flags.num_samples,
                "scheduler": SCHEDULERS[flags.scheduler](baseline, num_reports),
                "search_alg": SEARCHERS[flags.searcher](baseline, flags.seed, flags.max_concurrent),
                "reuse_actors": self.reuse_actors,
            },
            checkpoint={"checkpoint_frequency": 1},
            space=domains(self.space),
        )

    def record(self) -> dict[str, Any]:
        """Return the data's name, the reports of a full trial, and the baseline."""
        folder = self.flags.data_dir
        data_dir = folder and os.path.abspath(os.path.expanduser(folder))
        return {
            "num_reports": self.budget.num_reports,
            "dataset": self.data.name,
            "flags": asdict(self.flags) | {"data_dir": data_dir},
            "baseline": self.baseline,
        }

    def after_fit(self, run: Run) -> tuple[Run, int]:
        """Measure the best trial on the test data, if the search has such a test."""
        if self.test is None:
            return run, 0
        from workflows.experiment import final_test

        try:
            return final_test.tested(run, self.test, self.data), 0
        except KeyboardInterrupt:
            ended, exit_code = "interrupted before the best trial met all test digits", INTERRUPTED
        except Exception as error:  # a missing or broken checkpoint, or too little memory
            ended, exit_code = f"FAILED    the best trial's test: {error_text(error)}", 1
        say(ended)
        say(f"to go on: {command(self.program.name, '--resume', run.folder)}")
        return run, exit_code

    def summary(self, run: Run, reported: bool) -> int:
        """Print the search's summary."""
        from workflows.experiment import summaries

        return summaries.of_search(run, reported)
