"""The public door to run folders, in whatever state they are: `from workflows import results`.

    run = results.load("~/ray_results/NAME")    # run.trials, run.history: pandas tables
    run.best()                                  # the row of the best trial

Neither Ray nor torch is needed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workflows.programs import Mode, Program, program_of
from workflows.runs.files import read_run, read_trials, write_whole
from workflows.runs.tables import history_table, is_finite, trials_table

TEST_FILE = "test.json"


@dataclass(frozen=True)
class Run:
    """The content of a run folder, as of when it was read."""

    folder: Path
    record: dict[str, Any]
    """What was asked for, and the versions and hardware that ran it; see `runs.files.read_run`."""
    trials: pd.DataFrame
    """See `load_trials`."""
    history: pd.DataFrame
    """See `load_history`."""
    test: dict[str, Any] | None = None
    """See `read_test`."""

    @cached_property
    def program(self) -> Program:
        """The row of the program that wrote the run."""
        return program_of(self.record)

    @property
    def is_search(self) -> bool:
        """Whether it is a search; else it is a training, with one trial."""
        return self.program.kind == "search"

    @property
    def metric(self) -> str:
        """What the run improves."""
        return str(self.record["metric"])

    @property
    def mode(self) -> Mode:
        """Whether the least or the greatest value of the metric is its best."""
        return "max" if self.record["mode"] == "max" else "min"

    @property
    def flags(self) -> dict[str, Any]:
        """The flags that the run was started with."""
        flags: dict[str, Any] = self.record.get("flags", {})
        return flags

    @property
    def searched(self) -> list[str]:
        """The names of the hyperparameters in the search space; empty for a training."""
        return list(self.record.get("baseline", {}))

    @property
    def ran_to_their_end(self) -> pd.Series:
        """Mark the trials (bool) with all reports of a full trial; a training must only have ended."""
        full_length = self.record.get("num_reports") or self.trials["iteration"]
        return (self.trials["status"] == "TERMINATED") & (self.trials["iteration"] == full_length)

    @property
    def num_ended(self) -> int:
        """The number of trials that have ended, failed ones included."""
        return int(self.trials["status"].isin(["TERMINATED", "ERROR"]).sum())

    @property
    def failed(self) -> pd.DataFrame:
        """The rows of the failed trials."""
        return self.trials[self.trials["status"] == "ERROR"]

    @property
    def finished_baselines(self) -> pd.DataFrame:
        """The rows of the trials with the preset's values that ran to their end."""
        return self.trials[self.trials["baseline"].astype(bool) & self.ran_to_their_end]

    def best(self, metric: str | None = None, mode: Mode | None = None) -> pd.Series | None:
        """Return the row of the best trial, by the run's own metric or another; None if none ran to its end.

        Only those count: scores compare at equal training and equal numbers of samples.
        """
        metric, mode = metric or self.metric, mode or self.mode
        if metric not in self.trials:
            return None
        finished = self.trials[self.ran_to_their_end & is_finite(self.trials[metric])]
        if finished.empty:
            return None
        row: pd.Series = finished.sort_values(metric, ascending=mode == "min", kind="stable").iloc[0]
        return row

    def best_and_baseline(self) -> list[str]:
        """Return the trial_ids of the best trial (if there is one) and of the baseline, each once."""
        row = self.best()
        best = [] if row is None else [row["trial_id"]]
        baselines = self.trials.loc[self.trials["baseline"].astype(bool), "trial_id"]
        return list(dict.fromkeys([*best, *baselines]))

    def with_test(self, record: dict[str, Any]) -> Run:
        """Return the run with the record of its test."""
        return replace(self, test=record)


def load(run_dir: str | Path) -> Run:
    """Read a run folder. Raises OSError or ValueError where it is no run."""
    folder = Path(run_dir).expanduser()
    record = read_run(folder)
    found = read_trials(folder)  # before the reports: a trial that has ended has all of its own
    history = history_table(folder, found)
    trials = trials_table(folder, record, program_of(record), found, history)
    return Run(folder, record, trials, history, read_test(folder))


def load_history(run_dir: str | Path) -> pd.DataFrame:
    """Return a row a report: trial_id, iteration, every metric, every `config/…`; NaN for a missing value.

    Raises OSError or ValueError where it is no run.
    """
    return load(run_dir).history


def load_trials(run_dir: str | Path) -> pd.DataFrame:
    """Return a row a trial, in the order in which they were made. Raises OSError or ValueError for no run.

    Metrics are those of the last report, NaN without one; `time_total_s` is the seconds it took. `best/…` is
    a metric's best value in any report. `error` is the reason of a failure, else None. `config/…` are all
    hyperparameters. `baseline` marks the trial with the preset's values. `checkpoint` is the path of the
    newest one, or None. Status is Tune's at its last save (PENDING, RUNNING, PAUSED, TERMINATED, ERROR).
    Trials of a killed run stay RUNNING.
    """
    return load(run_dir).trials


def best(run_dir: str | Path, metric: str | None = None, mode: Mode | None = None) -> pd.Series | None:
    """Return the row of the best trial that ran to its end, or None if none did; see `Run.best`."""
    return load(run_dir).best(metric, mode)


def compare(run_dirs: Iterable[str | Path | Run]) -> pd.DataFrame:
    """Return a row a run, in the order given: what it was, how its trials ended, the best one and its score.

    A missing value is None or NaN. `iterations` and `time_total_s` are sums over all trials.
    """
    return pd.DataFrame([_summary(run if isinstance(run, Run) else load(run)) for run in run_dirs])


def _summary(run: Run) -> dict[str, Any]:
    row, trials = run.best(), run.trials
    seconds = pd.to_numeric(trials.get("time_total_s", pd.Series(dtype=float)), errors="coerce")
    return {
        "run": run.folder.resolve().name,
        "program": run.record.get("program"),
        "env_or_dataset": run.flags.get("env") or run.record.get("dataset"),
        "seed": run.flags.get("seed"),
        "started": run.record.get("started"),
        "trials": len(trials),
        "terminated": int((trials["status"] == "TERMINATED").sum()),
        "failed": len(run.failed),
        "metric": run.metric,
        "mode": run.mode,
        "best_trial": None if row is None else row["trial_id"],
        "value": np.nan if row is None else float(row[run.metric]),
        "baseline_value": _first_number(run.finished_baselines, run.metric),
        "iterations": int(trials["iteration"].sum()),
        "time_total_s": float(seconds.sum(min_count=1)),
        "run_dir": str(run.folder),
    }


def _first_number(rows: pd.DataFrame, column: str) -> float:
    if rows.empty or column not in rows:
        return float("nan")
    return float(pd.to_numeric(rows[column], errors="coerce").iloc[0])


def read_test(run_dir: str | Path) -> dict[str, Any] | None:
    """Return the best trial's record of the test digits (trial_id, checkpoint, metrics), or None."""
    try:
        record = json.loads((Path(run_dir).expanduser() / TEST_FILE).read_text())
    except (FileNotFoundError, ValueError):
        return None
    return record if isinstance(record, dict) and "trial_id" in record else None


def write_test(run_dir: str | Path, record: dict[str, Any]) -> None:
    """Write what `read_test` reads."""
    write_whole(Path(run_dir) / TEST_FILE, json.dumps(record, indent=2) + "\n")
