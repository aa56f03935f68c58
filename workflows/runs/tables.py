"""A run's files as pandas tables: a row a trial, a row a report."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workflows.programs import Program
from workflows.runs.files import newest_checkpoint, read_error, read_reports

BEST = "best/"
"""Prefix of the columns that hold a metric's best value in any report."""
_TUNES_OWN = (
    "done", "date", "pid", "node_ip", "time_since_restore", "iterations_since_restore", "experiment_tag",
    "trial_id",
)  # fmt: skip
_FIRST = ["trial_id", "status", "error", "iteration"]
_LAST = ["baseline", "checkpoint"]


def history_table(run_dir: Path, found: list[dict[str, Any]]) -> pd.DataFrame:
    """Return a row a report: trial_id, iteration, every metric, every `config/…`; NaN for a missing value."""
    rows = []
    for trial in found:
        for report in read_reports(run_dir / trial["trial_id"]):
            left_out = (*_TUNES_OWN, "iteration", "training_iteration", "config")
            row = {"trial_id": trial["trial_id"], "iteration": int(report["training_iteration"])}
            row |= {name: value for name, value in report.items() if name not in left_out}
            rows.append(dict(_flat(row | {"config": report.get("config", {})})))
    if not rows:
        return pd.DataFrame({"trial_id": pd.Series(dtype=str), "iteration": pd.Series(dtype=int)})
    history = pd.DataFrame(rows)
    for column in history:
        if history[column].dtype == object and not str(column).startswith("config/"):
            history[column] = _as_numbers(history[column])
    return history


def _as_numbers(values: pd.Series) -> pd.Series:
    """Return a column's numbers, NaN for the rest (Tune writes NaN as "null"); a column of words as it is."""
    is_number = [
        isinstance(value, int | float) and not isinstance(value, bool) and value == value for value in values
    ]
    if not any(is_number) and values.notna().any():
        return values
    pairs = zip(values, is_number, strict=True)
    floats = [float(str(value)) if ok else np.nan for value, ok in pairs]  # too many digits become infinity
    return pd.Series(floats, values.index)


def trials_table(
    run_dir: Path,
    record: dict[str, Any],
    program: Program,
    found: list[dict[str, Any]],
    history: pd.DataFrame,
) -> pd.DataFrame:
    """Return a row a trial; see `results.load_trials` for its columns."""
    preset = record.get("preset", {})
    rows = []
    for trial in found:
        folder = run_dir / trial["trial_id"]
        row = {
            "trial_id": trial["trial_id"],
            "status": trial["status"],
            "error": read_error(folder) if trial["status"] == "ERROR" else None,
            "checkpoint": newest_checkpoint(folder),
            "baseline": trial["config"] == record.get("baseline"),
        }
        rows.append(row | {f"config/{name}": value for name, value in (preset | trial["config"]).items()})
    if not rows:
        return pd.DataFrame(columns=[*_FIRST, "checkpoint", "baseline"])
    metrics = history[[column for column in history if not str(column).startswith("config/")]]
    last_reports = metrics.drop_duplicates("trial_id", keep="last")
    suffixes = ("", "_reported")  # for a metric with the name of a column above
    table = pd.DataFrame(rows).merge(last_reports, on="trial_id", how="left", suffixes=suffixes)
    best = _best_values(metrics, record, program)
    table = table.merge(best, on="trial_id", how="left", suffixes=suffixes[::-1])
    configs = [str(column) for column in table if str(column).startswith("config/")]
    others = [str(column) for column in table if column not in (*_FIRST, *configs, *_LAST)]
    return table[[*_FIRST, *others, *configs, *_LAST]]


def _best_values(metrics: pd.DataFrame, record: dict[str, Any], program: Program) -> pd.DataFrame:
    """Return a row a trial: `best/…`, the best finite value of each metric that is better high or low."""
    wanted: dict[str, Any] = {}
    for column in map(str, metrics):
        mode = record.get("mode") if column == record.get("metric") else program.mode_of(column)
        if mode and pd.api.types.is_numeric_dtype(metrics[column]):
            wanted[column] = mode
    finite = metrics[["trial_id", *wanted]].replace([np.inf, -np.inf], np.nan)
    best = finite.groupby("trial_id", as_index=False).agg(wanted)
    return best.rename(columns={column: BEST + column for column in wanted})


def is_finite(column: pd.Series) -> pd.Series:
    """Mark the finite numbers of a column; in a column of words or lists, none."""
    if pd.api.types.is_numeric_dtype(column):
        finite: pd.Series = np.isfinite(column)
        return finite
    return pd.Series(False, column.index)


def plain(value: Any) -> Any:
    """Return a table's value as JSON knows it; None for a missing one."""
    if isinstance(value, np.generic):
        value = value.item()
    is_missing = value is pd.NA or (isinstance(value, float) and math.isnan(value))
    return None if is_missing else value


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield `a/b` and its value for a dictionary in a dictionary."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}/")
        else:
            yield prefix + name, value
