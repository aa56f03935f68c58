"""Reads a run folder without Ray. Files that a kill cut short count as far as they are whole.

run.json                  what was asked for, and with what     <trial_id>/result.json     one line a report
experiment_state-*.json   every trial: status, config           <trial_id>/checkpoint_*/   the last ones
<trial_id>/error.txt      why a trial failed                    <trial_id>/samples/*.png   its pictures
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from pathlib import Path
from typing import Any, get_args

from workflows.programs import Mode

RUN_FILE = "run.json"
"""The record of a run: what was asked for, and the versions and hardware that ran it."""
STATE = "experiment_state-*.json"
"""Tune's record of the trials; Tune rewrites it in place about every second."""
SAVED = ".saved"
"""Folder with the last whole copies of Tune's state files."""
SAMPLES = "samples"
"""Folder of pictures, in a trial's folder and in the run folder."""
PICTURE = re.compile(r"([0-9]+)(?:_(.+))?\.png")
_KINDS = {"program": str, "metric": str, "num_reports": int} | dict.fromkeys(
    ("flags", "preset", "baseline", "versions", "hardware"), dict
)


def read_run(run_dir: str | Path) -> dict[str, Any]:
    """Return the record of a run. Raises OSError where there is none, ValueError where it is broken."""
    record = json.loads((Path(run_dir).expanduser() / RUN_FILE).read_text(encoding="utf-8"))
    if not isinstance(record, dict):
        raise ValueError(f"{run_dir}: {RUN_FILE} is broken")
    wrong = [name for name, kind in _KINDS.items() if not isinstance(record.get(name, kind()), kind)]
    wrong += ["mode"] * (record.get("mode", "min") not in get_args(Mode))
    if wrong:
        raise ValueError(f"{wrong[0]} is {record[wrong[0]]!r}")
    return record


def read_reports(trial_dir: str | Path) -> list[dict[str, Any]]:
    """Return a trial's reports in order, as Tune wrote them.

    A resumed trial repeats some; the last report of an iteration counts. Lines that were cut short do not.
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
    """Return Tune's records of the trials (trial_id, status, config), in the order of their numbers.

    They are of the last whole save. A trial that has a folder but no record yet is RUNNING.
    """
    trials = {trial["trial_id"]: trial for trial in _saved_trials(run_dir)}
    for params in run_dir.glob("*/params.json"):
        trial_id = params.parent.name
        if trial_id not in trials:
            with contextlib.suppress(ValueError, TypeError, OSError):  # cut short
                trials[trial_id] = _trial(trial_id, "RUNNING", json.loads(params.read_text()))
    return [trials[trial_id] for trial_id in sorted(trials)]


def _saved_trials(run_dir: Path) -> list[dict[str, Any]]:
    """Return the trials of the newest whole state file. Tune writes in place, so a kill cuts one short."""
    states = [*run_dir.glob(STATE), *run_dir.glob(f"{SAVED}/{STATE}")]
    for state in sorted(states, key=lambda path: (path.name, path.parent == run_dir), reverse=True):
        try:
            trials = [json.loads(trial) for trial, _ in json.loads(state.read_text())["trial_data"]]
            return [_trial(trial["trial_id"], trial["status"], trial["config"]) for trial in trials]
        except (ValueError, KeyError, TypeError, FileNotFoundError):
            continue
    return []


def _trial(trial_id: str, status: str, config: dict[str, Any]) -> dict[str, Any]:
    if Path(trial_id).name != trial_id:
        raise ValueError(f"{trial_id} is no folder's name")
    return {"trial_id": trial_id, "status": status, "config": {**config}}


def read_error(trial_dir: Path) -> str:
    """Return the last line of error.txt that names an exception, without its module."""
    path = trial_dir / "error.txt"
    text = path.read_text(errors="replace") if path.exists() else ""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"[A-Za-z_][\w.]*(\(\w+\))?: \S", line)]
    return re.sub(r"^[\w.]*\.(?=\w+(\(\w+\))?: )", "", (named or lines or ["unknown: no error.txt"])[-1])


def read_pictures(trial_dir: Path) -> list[tuple[str, int, Path]]:
    """Return a trial's pictures in order: their name (samples, …), the number of updates, the path."""
    pictures = []
    for path in (trial_dir / SAMPLES).glob("*.png"):
        if name := PICTURE.fullmatch(path.name):
            pictures.append((name[2] or SAMPLES, int(name[1]), path))
    return sorted(pictures, key=lambda picture: picture[1:])


def newest_checkpoint(trial_dir: Path) -> str | None:
    """Return the path of a trial's newest checkpoint that is not empty, or None."""
    for folder in sorted(trial_dir.glob("checkpoint_*"), reverse=True):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # just being deleted, or a file
            if any(folder.iterdir()):
                return str(folder)
    return None


def write_whole(path: Path, text: str) -> None:
    """Write a file so that a reader finds either the old text or the whole new one."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
