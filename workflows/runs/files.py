"""What is in a run folder, read without Ray, and whole or half-written: half a line, half a file counts as far as it is whole.

run.json                  what was asked for, and with what     <trial_id>/result.json     one line a report
experiment_state-*.json   every trial: status, config           <trial_id>/checkpoint_*/   the last ones
<trial_id>/error.txt      why a trial failed
"""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import Any, get_args

from workflows.runs.metrics import Mode

RUN_FILE = "run.json"
"""In every run folder: what was asked for, and with which versions it was run."""
STATE = "experiment_state-*.json"
"""Tune's record of a run's trials, rewritten in place about every second."""
SAVED = ".saved"
"""Folder with the last whole copies of Tune's state files."""
SAMPLES = "samples"
PICTURE = re.compile(r"([0-9]+)(?:_(.+))?\.png")
_KINDS = {"program": str, "metric": str, "num_reports": int} | dict.fromkeys(
    ("flags", "preset", "baseline", "versions", "hardware"), dict
)


def read_run(run_dir: str | Path) -> dict[str, Any]:
    """Return what the run was asked to do, and with what; see `search.run`. Raises FileNotFoundError or ValueError where it is no run."""
    record = json.loads((Path(run_dir).expanduser() / RUN_FILE).read_text())
    if not isinstance(record, dict):
        raise ValueError(f"{run_dir}: {RUN_FILE} is broken")
    wrong = [name for name, kind in _KINDS.items() if not isinstance(record.get(name, kind()), kind)]
    wrong += ["mode"] * (record.get("mode", "min") not in get_args(Mode))
    if wrong:
        raise ValueError(f"{wrong[0]} is {record[wrong[0]]!r}")
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
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            continue
    return [reports[iteration] for iteration in sorted(reports)]


def read_trials(run_dir: Path) -> list[dict[str, Any]]:
    """Return Tune's own records of the trials, in the order of their numbers, as last saved whole.

    A trial that has a folder by now, but was not in what was last saved, is RUNNING; before anything was saved, all are.
    """
    saved = {str(trial["trial_id"]): trial for trial in _saved_trials(run_dir)}
    for params in run_dir.glob("*/params.json"):
        if params.parent.name not in saved:
            try:
                config = {**json.loads(params.read_text())}
                saved[params.parent.name] = {
                    "trial_id": params.parent.name,
                    "status": "RUNNING",
                    "config": config,
                }
            except (ValueError, TypeError, OSError):
                continue
    return [saved[trial_id] for trial_id in sorted(saved)]


def _saved_trials(run_dir: Path) -> list[dict[str, Any]]:
    states = [*run_dir.glob(STATE), *run_dir.glob(f"{SAVED}/{STATE}")]
    for state in sorted(
        states, key=lambda path: (path.name, path.parent == run_dir), reverse=True
    ):  # the newest session's, or its copy
        try:
            trials = [json.loads(trial) for trial, _ in json.loads(state.read_text())["trial_data"]]
            return [
                {
                    "trial_id": _name(trial["trial_id"]),
                    "status": trial["status"],
                    "config": {**trial["config"]},
                }
                for trial in trials
            ]
        except (
            ValueError,
            KeyError,
            TypeError,
            FileNotFoundError,
        ):  # Tune writes it in place: a kill may have cut it short
            continue
    return []


def _name(trial_id: str) -> str:
    if Path(trial_id).name != trial_id:
        raise ValueError(f"{trial_id} is no folder's name")
    return trial_id


def read_error(trial_dir: Path) -> str:
    """Return the line of error.txt that names the exception: the last that starts as one does, without its module."""
    path = trial_dir / "error.txt"
    lines = (
        [line.rstrip() for line in path.read_text(errors="replace").splitlines() if line.strip()]
        if path.exists()
        else []
    )
    named = [line for line in lines if re.match(r"[A-Za-z_][\w.]*(\(\w+\))?: \S", line)]
    return re.sub(r"^[\w.]*\.(?=\w+(\(\w+\))?: )", "", (named or lines or ["unknown: no error.txt"])[-1])


def read_pictures(trial_dir: Path) -> list[tuple[str, int, Path]]:
    """Return a trial's pictures in the order of their updates: what each is of (samples, …), after how many updates, its path."""
    found = [(PICTURE.fullmatch(path.name), path) for path in (trial_dir / SAMPLES).glob("*.png")]
    return sorted(
        ((name[2] or SAMPLES, int(name[1]), path) for name, path in found if name), key=lambda one: one[1:]
    )


def newest_checkpoint(trial_dir: Path) -> str | None:
    """Return the path of a trial's newest checkpoint, or None if it has none with anything in it."""
    for folder in sorted(trial_dir.glob("checkpoint_*"), reverse=True):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # just being deleted, or a file
            if any(folder.iterdir()):
                return str(folder)
    return None
