"""A run folder as pandas tables, without Ray: while a run goes on, after it ended, after it was killed."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workflows.programs import Program, program_of
from workflows.runs.files import SAMPLES as SAMPLES
from workflows.runs.files import newest_checkpoint, read_error, read_reports, read_run, read_trials
from workflows.runs.metrics import Mode, mode_of

TEST_FILE = "test.json"
BEST = "best/"
_TUNES_OWN = (
    "done",
    "date",
    "pid",
    "node_ip",
    "time_since_restore",
    "iterations_since_restore",
    "experiment_tag",
    "trial_id",
)


@dataclass(frozen=True)
class Run:
    """What a run folder holds."""

    folder: Path
    record: dict[str, Any]
    """What was asked for, and with what it was run; see `read_run`."""
    trials: pd.DataFrame
    """See `load_trials`."""
    history: pd.DataFrame
    """See `load_history`."""
    test: dict[str, Any] | None = None
    """See `read_test`."""

    @property
    def program(self) -> Program:
        """The row of the program that made the run."""
        return program_of(self.record)

    @property
    def is_search(self) -> bool:
        """Whether the run has many trials, or one training."""
        return self.program.kind == "search"

    @property
    def num_ended(self) -> int:
        """How many trials have ended, also those that failed."""
        return int(self.trials["status"].isin(["TERMINATED", "ERROR"]).sum())

    def with_test(self, record: dict[str, Any]) -> Run:
        """Return the run with what its best trial got on the test digits; nothing is written."""
        return replace(self, test=record)

    @property
    def metric(self) -> str:
        """What the run improves."""
        return str(self.record["metric"])

    @property
    def mode(self) -> Mode:
        """Which way that is better."""
        return "max" if self.record["mode"] == "max" else "min"

    @property
    def ran_to_their_end(self) -> pd.Series:
        """Mark the trials (bool, one each) that have as many reports as a trial may have; a training, which has no limit, if it ended."""
        full_length = self.record.get("num_reports") or self.trials["iteration"]
        return (self.trials["status"] == "TERMINATED") & (self.trials["iteration"] == full_length)

    def best(self, metric: str | None = None, mode: Mode | None = None) -> pd.Series | None:
        """Return the row of the best trial among those that ran to their end, or None if none did; see `best`."""
        metric, mode = metric or self.metric, mode or self.mode
        if metric not in self.trials:
            return None
        finished = self.trials[self.ran_to_their_end & is_finite(self.trials[metric])]
        if finished.empty:
            return None
        row: pd.Series = finished.sort_values(metric, ascending=mode == "min", kind="stable").iloc[0]
        return row


def load(run_dir: str | Path) -> Run:
    """Read a run folder, once. Raises FileNotFoundError or ValueError where it is no run."""
    folder = Path(run_dir).expanduser()
    record, found = (
        read_run(folder),
        read_trials(folder),
    )  # once, and before the reports: a trial that has ended has all of its own
    history = _history_table(folder, found)
    return Run(folder, record, _trials_table(folder, record, found, history), history, read_test(folder))


def load_history(run_dir: str | Path) -> pd.DataFrame:
    """Return a row a report: trial_id, iteration, every metric, every `config/…`. What a report lacks is NaN.

    Raises FileNotFoundError or ValueError where it is no run.
    """
    return load(run_dir).history


def is_finite(column: pd.Series) -> pd.Series:
    """Mark what is a number, and neither NaN nor infinite; in a column of words or lists, nothing is."""
    return np.isfinite(column) if pd.api.types.is_numeric_dtype(column) else pd.Series(False, column.index)


def _history_table(run_dir: Path, found: list[dict[str, Any]]) -> pd.DataFrame:
    reports = [
        {"trial_id": trial["trial_id"], "iteration": int(report["training_iteration"])}
        | {
            key: value
            for key, value in report.items()
            if key not in (*_TUNES_OWN, "iteration", "training_iteration", "config")
        }
        | {"config": report.get("config", {})}
        for trial in found
        for report in read_reports(run_dir / trial["trial_id"])
    ]
    if not reports:
        return pd.DataFrame({"trial_id": pd.Series(dtype=str), "iteration": pd.Series(dtype=int)})
    history = pd.DataFrame([dict(_flat(report)) for report in reports])
    for column in history:
        if history[column].dtype == object and not str(column).startswith("config/"):
            history[column] = _as_numbers(history[column])
    return history


def _as_numbers(values: pd.Series) -> pd.Series:
    """Return numbers, NaN for what else is among them ("null" is Tune's for a NaN of NumPy's); a column without any as it is."""
    is_number = [
        isinstance(value, int | float) and not isinstance(value, bool) and value == value for value in values
    ]
    if not any(is_number) and values.notna().any():
        return values
    floats = [
        float(str(value)) if ok else np.nan for value, ok in zip(values, is_number, strict=True)
    ]  # infinite, if too many digits
    return pd.Series(floats, values.index)


def load_trials(run_dir: str | Path) -> pd.DataFrame:
    """Return a row a trial, in the order in which they were made: trial_id, status, error, iteration, metrics, `config/…`, checkpoint.

    The metrics are those of its last report, NaN if it has none, `time_total_s` among them, the seconds that it took; `best/…` is the best
    value that a metric had in any report, of those that are better high or low (see `metrics`). `error` is the reason of a failed one, else
    None; `checkpoint` the path of its newest checkpoint, or None; `config/…` are all hyperparameters, searched or not; `baseline` marks the
    trial of the preset. Status is Tune's (PENDING, RUNNING, PAUSED, TERMINATED, ERROR) when it last saved its state: a killed run's trials
    are still RUNNING.
    """
    return load(run_dir).trials


def _trials_table(
    run_dir: Path, run: dict[str, Any], found: list[dict[str, Any]], history: pd.DataFrame
) -> pd.DataFrame:
    baseline, preset = run.get("baseline"), run.get("preset", {})
    trials = pd.DataFrame(
        [
            {
                "trial_id": trial["trial_id"],
                "status": trial["status"],
                "error": read_error(run_dir / trial["trial_id"]) if trial["status"] == "ERROR" else None,
                "checkpoint": newest_checkpoint(run_dir / trial["trial_id"]),
                "baseline": trial["config"] == baseline,
                **{f"config/{name}": value for name, value in (preset | trial["config"]).items()},
            }
            for trial in found
        ],
    )
    if trials.empty:
        return pd.DataFrame(columns=["trial_id", "status", "error", "iteration", "checkpoint", "baseline"])
    metrics = history[[column for column in history if not str(column).startswith("config/")]]
    reported = ("", "_reported")  # a metric that is called as a column of ours is
    table = trials.merge(
        metrics.drop_duplicates("trial_id", keep="last"), on="trial_id", how="left", suffixes=reported
    )
    table = table.merge(_best_values(metrics, run), on="trial_id", how="left", suffixes=reported[::-1])
    first, last = ["trial_id", "status", "error", "iteration"], ["baseline", "checkpoint"]
    configs = [str(column) for column in table if str(column).startswith("config/")]
    return table[
        [
            *first,
            *(str(column) for column in table if column not in (*first, *configs, *last)),
            *configs,
            *last,
        ]
    ]


def _best_values(metrics: pd.DataFrame, run: dict[str, Any]) -> pd.DataFrame:
    """Return a row a trial: of every metric that is better high or low, `best/…`, its best finite value in any report."""
    modes = {
        str(column): run.get("mode") if column == run.get("metric") else mode_of(str(column))
        for column in metrics
    }
    numeric = {column for column in metrics if pd.api.types.is_numeric_dtype(metrics[column])}
    wanted = {column: mode for column, mode in modes.items() if mode and column in numeric}
    finite = metrics[["trial_id", *wanted]].replace([np.inf, -np.inf], np.nan)
    return (
        finite.groupby("trial_id", as_index=False)
        .agg(wanted)
        .rename(columns={column: BEST + column for column in wanted})
    )


def num_ended(run_dir: str | Path) -> int:
    """Return how many trials have ended, in order or not."""
    return int(load_trials(run_dir)["status"].isin(["TERMINATED", "ERROR"]).sum())


def best(run_dir: str | Path, metric: str, mode: Mode) -> pd.Series | None:
    """Return the best row of `load_trials` among the trials that ran to their end, or None if none did.

    Only those: scores compare at equal training and an equal number of samples scored. A training, which has no such number of reports, ran
    to its end if it terminated.
    """
    return load(run_dir).best(metric, mode)


def best_and_baseline(run: Run) -> list[str]:
    """Return the trial_ids of the best trial (if one has run to its end) and of the baseline, each once."""
    row = run.best(run.metric, run.mode)
    baselines = run.trials.loc[run.trials["baseline"].astype(bool), "trial_id"]
    return list(dict.fromkeys([*([] if row is None else [row["trial_id"]]), *baselines]))


def compare(run_dirs: Iterable[str | Path | Run]) -> pd.DataFrame:
    """Return a row a run, in the order given: what it was, how many trials ended how, its best trial and that one's score.

    run, program, env or dataset, seed, started, trials, terminated, failed, metric, mode, best_trial, value, baseline_value, iterations and
    time_total_s (of all trials together), run_dir. What a run has not got, as one without a finished trial has no best, is None or NaN.
    """
    return pd.DataFrame([_summary(run if isinstance(run, Run) else load(run)) for run in run_dirs])


def _summary(run: Run) -> dict[str, Any]:
    row, flags, trials = run.best(run.metric, run.mode), run.record.get("flags", {}), run.trials
    baseline = trials.loc[trials["baseline"].astype(bool) & run.ran_to_their_end] if len(trials) else trials
    time_total_s = (
        pd.to_numeric(trials["time_total_s"], errors="coerce").sum(min_count=1)
        if "time_total_s" in trials
        else np.nan
    )
    return {
        "run": run.folder.resolve().name,
        "program": run.record.get("program"),
        "env_or_dataset": flags.get("env") or run.record.get("dataset"),
        "seed": flags.get("seed"),
        "started": run.record.get("started"),
        "trials": len(trials),
        "terminated": int((trials["status"] == "TERMINATED").sum()),
        "failed": int((trials["status"] == "ERROR").sum()),
        "metric": run.metric,
        "mode": run.mode,
        "best_trial": None if row is None else row["trial_id"],
        "value": np.nan if row is None else float(row[run.metric]),
        "baseline_value": float(pd.to_numeric(baseline[run.metric], errors="coerce").iloc[0])
        if len(baseline) and run.metric in baseline
        else np.nan,
        "iterations": int(trials["iteration"].sum()),
        "time_total_s": float(time_total_s),
        "run_dir": str(run.folder),
    }


def read_test(run_dir: str | Path) -> dict[str, Any] | None:
    """Return what the best trial got on the test digits (trial_id, checkpoint, metrics), or None where it has not been tested."""
    try:
        record = json.loads((Path(run_dir).expanduser() / TEST_FILE).read_text())
    except (FileNotFoundError, ValueError):
        return None
    return record if isinstance(record, dict) and "trial_id" in record else None


def write_test(run_dir: str | Path, record: dict[str, Any]) -> None:
    """Write what `read_test` reads."""
    write_whole(Path(run_dir) / TEST_FILE, json.dumps(record, indent=2) + "\n")


def plain(value: Any) -> Any:
    """Return a value of a table as JSON knows it: None for what is missing."""
    if isinstance(value, np.generic):
        value = value.item()
    return None if (isinstance(value, float) and math.isnan(value)) or value is pd.NA else value


def write_whole(path: Path, text: str) -> None:
    """Write a file so that whoever reads it finds the old text or the new one, whole."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield `a/b` and its value for a dictionary in a dictionary."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}/")
        else:
            yield prefix + name, value
