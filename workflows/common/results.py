"""A run folder as pandas tables. Reads what Tune wrote and needs no Ray: while a run goes on, after it ended, after it was killed.

experiment_state-*.json   every trial: status, config           <trial_id>/result.json     one line a report
<trial_id>/error.txt      why a trial failed                    <trial_id>/checkpoint_*/   the last ones
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from workflows.common import RUN_FILE, SAVED, STATE

SAMPLES = "samples"
TEST_FILE = "test.json"
_TUNES_OWN = ("done", "date", "pid", "node_ip", "time_since_restore", "iterations_since_restore", "experiment_tag", "trial_id")


def read_run(run_dir: str | Path) -> dict[str, Any]:
    """Return what the run was asked to do, and with what; see `search.run`. Raises FileNotFoundError or ValueError where it is no run."""
    record = json.loads((Path(run_dir).expanduser() / RUN_FILE).read_text())
    if not isinstance(record, dict):
        raise ValueError(f"{run_dir}: {RUN_FILE} is broken")
    return record


def read_reports(trial_dir: str | Path) -> list[dict[str, Any]]:
    """Return a trial's reports in order, as Tune wrote them; empty if it has none.

    A report that was written twice (a resumed trial repeats some) counts as it was written last, and a line that was cut off is left out.
    """
    path = Path(trial_dir) / "result.json"
    reports: dict[int, dict[str, Any]] = {}
    for line in path.read_text(errors="replace").splitlines() if path.exists() else []:
        try:
            report = json.loads(line)
            reports[int(report["training_iteration"])] = report
        except (ValueError, KeyError, TypeError):
            continue
    return [reports[iteration] for iteration in sorted(reports)]


def load_history(run_dir: str | Path) -> pd.DataFrame:
    """Return a row a report: trial_id, iteration, every metric, every `config/…`. What a report lacks is NaN."""
    run_dir = Path(run_dir).expanduser()
    reports = [
        {"trial_id": trial["trial_id"], "iteration": report["training_iteration"]}
        | {key: value for key, value in report.items() if key not in (*_TUNES_OWN, "training_iteration", "config")}
        | {"config": report.get("config", {})}
        for trial in _trials(run_dir)
        for report in read_reports(run_dir / trial["trial_id"])
    ]
    if not reports:
        return pd.DataFrame({"trial_id": pd.Series(dtype=str), "iteration": pd.Series(dtype=int)})
    return pd.json_normalize(reports, sep="/")


def load_trials(run_dir: str | Path) -> pd.DataFrame:
    """Return a row a trial, in the order in which they were made: trial_id, status, error, iteration, metrics, `config/…`, checkpoint.

    The metrics are those of its last report, NaN if it has none; `error` is the reason of a failed one, else None; `checkpoint` the path of
    its newest checkpoint, or None; `config/…` are all hyperparameters, searched or not; `baseline` marks the trial of the preset. Status is
    Tune's (PENDING, RUNNING, TERMINATED, ERROR) when it last saved its state: a killed run's trials are still RUNNING.
    """
    run_dir = Path(run_dir).expanduser()
    run = read_run(run_dir)
    baseline, preset = run.get("baseline"), run.get("preset", {})
    trials = pd.DataFrame(
        [
            {
                "trial_id": trial["trial_id"],
                "status": trial["status"],
                "error": _error(run_dir / trial["trial_id"]) if trial["status"] == "ERROR" else None,
                "checkpoint": _newest_checkpoint(run_dir / trial["trial_id"]),
                "baseline": trial["config"] == baseline,
                **{f"config/{name}": value for name, value in (preset | trial["config"]).items()},
            }
            for trial in _trials(run_dir)
        ],
        columns=None,
    )
    if trials.empty:
        return pd.DataFrame(columns=["trial_id", "status", "error", "iteration", "checkpoint", "baseline"])
    history = load_history(run_dir)
    last = history.drop_duplicates("trial_id", keep="last")
    last = last.drop(columns=[column for column in last if str(column).startswith("config/")])
    table = trials.merge(last, on="trial_id", how="left")
    first = ["trial_id", "status", "error", "iteration"]
    configs = [str(column) for column in table if str(column).startswith("config/")]
    metrics = [str(column) for column in table if column not in (*first, *configs, "checkpoint", "baseline")]
    return table[[*first, *metrics, *configs, "baseline", "checkpoint"]]


def num_ended(run_dir: str | Path) -> int:
    """Return how many trials have ended, in order or not."""
    return int(load_trials(run_dir)["status"].isin(["TERMINATED", "ERROR"]).sum())


def best(run_dir: str | Path, metric: str, mode: Literal["min", "max"]) -> pd.Series | None:
    """Return the best row of `load_trials` among the trials that ran to their end, or None if none did.

    Only those: scores compare at equal training and an equal number of samples scored. A training, which has no such number of reports, ran
    to its end if it terminated.
    """
    trials = load_trials(run_dir)
    if metric not in trials:
        return None
    full_length = read_run(run_dir).get("num_reports") or trials["iteration"]
    finished = trials[(trials["status"] == "TERMINATED") & (trials["iteration"] == full_length) & np.isfinite(trials[metric])]
    if finished.empty:
        return None
    row: pd.Series = finished.sort_values(metric, ascending=mode == "min").iloc[0]
    return row


def best_and_baseline(run_dir: str | Path) -> list[str]:
    """Return the trial_ids of the best trial (if one has run to its end) and of the baseline, each once."""
    run, trials = read_run(run_dir), load_trials(run_dir)
    row = best(run_dir, run["metric"], run["mode"])
    return list(dict.fromkeys([*([] if row is None else [row["trial_id"]]), *trials.loc[trials["baseline"], "trial_id"]]))


def write_tables(run_dir: str | Path) -> None:
    """Write `trials.csv`, `history.csv`, `best.json` (if a trial has run to its end) and `samples/` into the run folder."""
    run_dir = Path(run_dir).expanduser()
    run = read_run(run_dir)
    _write(run_dir / "trials.csv", load_trials(run_dir).to_csv(index=False))
    _write(run_dir / "history.csv", load_history(run_dir).to_csv(index=False))
    row = best(run_dir, run["metric"], run["mode"])
    if row is not None:
        config = {str(name).removeprefix("config/"): _plain(value) for name, value in row.items() if str(name).startswith("config/")}
        record = {
            "trial_id": row["trial_id"],
            "metric": run["metric"],
            "mode": run["mode"],
            "value": float(row[run["metric"]]),
            "config": config,
            "checkpoint": row["checkpoint"],
        }
        _write(run_dir / "best.json", json.dumps(record, indent=2) + "\n")
    for picture in sorted(run_dir.glob(f"*/{SAMPLES}/*.png")):
        copy = run_dir / SAMPLES / f"{picture.parent.parent.name}_{picture.name}"
        copy.parent.mkdir(exist_ok=True)
        shutil.copyfile(picture, copy)


def read_test(run_dir: str | Path) -> dict[str, Any] | None:
    """Return what the best trial got on the test digits (trial_id, checkpoint, metrics), or None where it has not been tested."""
    try:
        record = json.loads((Path(run_dir).expanduser() / TEST_FILE).read_text())
    except (FileNotFoundError, ValueError):
        return None
    return record if isinstance(record, dict) and "trial_id" in record else None


def write_test(run_dir: str | Path, record: dict[str, Any]) -> None:
    """Write what `read_test` reads."""
    _write(Path(run_dir) / TEST_FILE, json.dumps(record, indent=2) + "\n")


def _trials(run_dir: Path) -> list[dict[str, Any]]:
    """Return Tune's own records of the trials, in the order of their numbers, as last saved whole; empty before it first saved them."""
    for state in [*reversed(sorted(run_dir.glob(STATE))), *run_dir.glob(f"{SAVED}/{STATE}")]:
        try:
            trials = [json.loads(trial) for trial, _ in json.loads(state.read_text())["trial_data"]]
        except (ValueError, KeyError, TypeError):  # Tune writes it in place: it may be just being written, or have been when all ended
            continue
        return sorted(trials, key=lambda trial: str(trial["trial_id"]))
    return []


def _error(trial_dir: Path) -> str:
    """Return the line of error.txt that names the exception: the last that starts as one does, without its module."""
    path = trial_dir / "error.txt"
    lines = [line.rstrip() for line in path.read_text().splitlines() if line.strip()] if path.exists() else []
    named = [line for line in lines if re.match(r"[A-Za-z_][\w.]*(\(\w+\))?: \S", line)]
    return re.sub(r"^[\w.]*\.(?=\w+(\(\w+\))?: )", "", (named or lines or ["unknown: no error.txt"])[-1])


def _newest_checkpoint(trial_dir: Path) -> str | None:
    checkpoints = sorted(folder for folder in trial_dir.glob("checkpoint_*") if folder.is_dir() and any(folder.iterdir()))
    return str(checkpoints[-1]) if checkpoints else None


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(text)
    temporary.replace(path)
