"""Reads run folders, of finished and unfinished runs, into pandas: `from workflows import results`.

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

from workflows.cli.flags import UsageError, require
from workflows.programs import Mode, Program, program_of
from workflows.runs.files import RUN_FILE, read_run, read_trials, write_whole
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
    """Read a run folder. Raises OSError or ValueError for a folder that is no run."""
    folder = Path(run_dir).expanduser()
    record = read_run(folder)
    found = read_trials(folder)  # before the reports: a trial that has ended has all of its own
    history = history_table(folder, found)
    trials = trials_table(folder, record, program_of(record), found, history)
    return Run(folder, record, trials, history, read_test(folder))


def open_run(folder: Path) -> Run:
    """Read the run that a command was given. Raises UsageError for one that is broken or has no trial yet."""
    try:
        run = load(folder)
        if not (run.metric and run.mode):
            raise ValueError("it names no metric")
    except OSError as error:
        raise UsageError(f"{str(folder)!r} can't be read: {error}") from None
    except (LookupError, TypeError, ValueError) as error:
        reason = f"is its {RUN_FILE} broken? ({type(error).__name__}: {error})"
        raise UsageError(f"{str(folder)!r} can't be read; {reason}") from None
    rule = "must be a run with a trial; this one has none yet"
    require(len(run.trials) > 0, "RUN_DIR", str(folder), rule)
    return run


def load_history(run_dir: str | Path) -> pd.DataFrame:
    """Return a row per report: trial_id, iteration, every metric, every `config/…`; NaN if missing.

    Raises OSError or ValueError for a folder that is no run.
    """
    return load(run_dir).history


def load_trials(run_dir: str | Path) -> pd.DataFrame:
    """Return a row per trial, in the order of their creation. Raises OSError or ValueError for no run.

    trial_id     Tune's name of the trial                 status      Tune's, when it last saved; see below
    error        the reason of a failure, or None         iteration   the number of reports
    <metric>     of the last report, or NaN               best/…      a metric's best value in any report
    config/…     all hyperparameters                      baseline    whether it has the preset's values
    checkpoint   the path of the newest one, or None

    The status is PENDING, RUNNING, PAUSED, TERMINATED or ERROR. The trials of a killed run stay RUNNING.
    `time_total_s` is a metric: the seconds that the trial took.
    """
    return load(run_dir).trials


def best(run_dir: str | Path, metric: str | None = None, mode: Mode | None = None) -> pd.Series | None:
    """Return the row of the best trial that ran to its end, or None; see `Run.best`."""
    return load(run_dir).best(metric, mode)


def compare(run_dirs: Iterable[str | Path | Run]) -> pd.DataFrame:
    """Return a row per run, in the order given: its program, how its trials ended, the best score.

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
    """Return the best trial's metrics on the test digits, its trial_id and checkpoint; None if not tested."""
    try:
        record = json.loads((Path(run_dir).expanduser() / TEST_FILE).read_text())
    except (FileNotFoundError, ValueError):
        return None
    return record if isinstance(record, dict) and "trial_id" in record else None


def write_test(run_dir: str | Path, record: dict[str, Any]) -> None:
    """Write what `read_test` reads."""
    write_whole(Path(run_dir) / TEST_FILE, json.dumps(record, indent=2) + "\n")
