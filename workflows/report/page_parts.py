"""What the page of a run shows besides its charts: facts, the best trial, a row a trial."""

from __future__ import annotations

import base64
import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from workflows.report import search_charts
from workflows.report.charts import ROLES
from workflows.results import Run
from workflows.runs.files import SAMPLES, read_pictures
from workflows.runs.tables import BEST, plain

MAX_ROWS = 1000
PICTURE_BYTES = 11_000_000
"""Most bytes of pictures in a page. The best trials' come first; the page says where the others are."""
_LEADING = ("updates", "num_env_steps_sampled_lifetime", "time_total_s")
_NOT_SHOWN = ("error", "baseline")


def facts(run: Run) -> list[tuple[str, str]]:
    """Return when, on what hardware and with which versions a run was made."""
    record = run.record
    seconds = run.trials["time_total_s"].sum() if "time_total_s" in run.trials else math.nan
    versions = [f"{name} {version}" for name, version in record.get("versions", {}).items()]
    pairs = {
        "run folder": _typed(run.folder),
        "started": record.get("started"),
        "environment": run.flags.get("env"),
        "dataset": record.get("dataset"),
        "seed": run.flags.get("seed"),
        "seconds of all trials together": None if math.isnan(seconds) else f"{seconds:,.0f}",
        "hardware": ", ".join(_hardware(record.get("hardware", {}))),
        "versions": ", ".join(versions),
    }
    return [(name, str(value)) for name, value in pairs.items() if value not in (None, "")]


def _hardware(found: dict[str, Any]) -> list[str]:
    """Return the record's hardware in words: numbers with their names (1 node, 2 CPUs), names as they are."""
    words = []
    for name, value in found.items():
        if isinstance(value, int | float):
            words.append(f"{value:g} {name.removesuffix('s') if value == 1 else name}")
        elif value:
            words.append(str(value))
    return words


def asked(run: Run) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the flags and the hyperparameters that were not searched, as titled lists."""
    fixed = "Hyperparameters that were not searched" if run.is_search else "Hyperparameters"
    groups = []
    for title, values in (("Flags", run.flags), (fixed, run.record.get("preset", {}))):
        shown = [
            (name, words(value))
            for name, value in values.items()
            if value is not None and name not in run.searched
        ]
        if shown:
            groups.append((title, shown))
    return groups


def best(run: Run, row: pd.Series) -> dict[str, Any]:
    """Return the scores of best trial and baseline, the best hyperparameters, and the next command."""
    names = list(dict.fromkeys([run.metric, *_scores(run)]))
    shown = [("best" if run.is_search else "last report", row)]
    if run.is_search:
        finished = run.finished_baselines
        shown += [
            ("baseline", other) for _, other in finished.iterrows() if other["trial_id"] != row["trial_id"]
        ]
    if run.test is not None and run.test["trial_id"] == row["trial_id"]:
        names += [
            name for name, value in run.test.items() if name not in names and isinstance(value, int | float)
        ]
        shown.append(("on the test digits", pd.Series(run.test)))
    where = _typed(run.folder)
    draw = f"python workflows/sample.py {where} --output digits.png"
    play = f"python workflows/play.py {where} --video policy.mp4"
    return {
        "trial_id": row["trial_id"],
        "columns": names,
        "rows": [
            (f"{label} ({one['trial_id']})", [words(one.get(name)) for name in names]) for label, one in shown
        ],
        "config": [(name, words(row.get(f"config/{name}"))) for name in run.searched]
        if run.is_search
        else [],
        "commands": [draw if run.is_search else play],
    }


def columns(run: Run) -> list[str]:
    """Return the names of the columns of the page's table."""
    return ["trial", "what became of it", *_shown_columns(run)]


def _shown_columns(run: Run) -> list[str]:
    names = [run.metric, BEST + run.metric, *_scores(run), *_LEADING]
    names += [f"config/{name}" for name in search_charts.searched(run)]
    return [name for name in dict.fromkeys(names) if name in run.trials]


def _scores(run: Run) -> list[str]:
    """Return the metrics that are better high or low."""
    return [str(name).removeprefix(BEST) for name in run.trials if str(name).startswith(BEST)]


def trial_rows(run: Run) -> list[dict[str, Any]]:
    """Return the rows of the page's table, the best first: their cells, and what a click shows."""
    if not len(run.trials):
        return []
    role = search_charts.roles(run)
    order = search_charts.best_first(run)
    failed_too = [trial_id for trial_id in order[MAX_ROWS:] if role[trial_id] == "failed"]
    by_id = run.trials.set_index("trial_id", drop=False)
    names, budget, rows = _shown_columns(run), PICTURE_BYTES, []
    for trial_id in [*order[:MAX_ROWS], *failed_too[:MAX_ROWS]]:
        pictures = _pictures(run.folder / trial_id)
        size = sum(path.stat().st_size for _, path in pictures)
        fits = size <= budget
        budget -= size if fits else 0
        note = "" if fits else f"its pictures are in {run.folder / trial_id / SAMPLES}"
        values = {str(name): plain(value) for name, value in by_id.loc[trial_id].items()}
        rows.append(_trial_row(values, ROLES[role[trial_id]], names, note, pictures if fits else []))
    return rows


def _trial_row(
    values: dict[str, Any], role: str, names: Sequence[str], note: str, pictures: list[tuple[str, Path]]
) -> dict[str, Any]:
    config, known = [], []
    for name, value in values.items():
        if name.startswith("config/"):
            config.append((name.removeprefix("config/"), words(value)))
        elif name not in _NOT_SHOWN:
            known.append((name, value))
    return {
        "id": values["trial_id"],
        "role": role,
        "cells": [values["trial_id"], role, *(_cell(values[name]) for name in names)],
        "error": values["error"],
        "note": note,
        "details": [("Hyperparameters", config), ("At its last report", known)],
        "pictures": [_picture(caption, path) for caption, path in pictures],
    }


def _pictures(trial_dir: Path) -> list[tuple[str, Path]]:
    """Return a trial's pictures with captions, sample grids first, each kind in the order of updates."""
    found = sorted(read_pictures(trial_dir), key=lambda picture: (picture[0] != SAMPLES, *picture[:2]))
    return [(f"{name} after {updates:,} updates", path) for name, updates, path in found]


def _picture(caption: str, path: Path) -> dict[str, Any]:
    blob = path.read_bytes()
    wide = len(blob) > 24 and blob[1:4] == b"PNG" and int.from_bytes(blob[16:20], "big") > 800
    source = "data:image/png;base64," + base64.b64encode(blob).decode()
    return {"caption": caption, "src": source, "large": wide}


def _typed(folder: Path) -> str:
    """Return a folder as a person would type it in a shell."""
    folder, home = folder.absolute(), Path.home()
    if home in folder.parents:
        return f"~/{shlex.quote(str(folder.relative_to(home)))}"
    return shlex.quote(str(folder))


def _cell(value: Any) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if value is None or is_number else words(value)


def words(value: Any) -> str:
    """Return a value as the page shows it: floats with four digits, a dash for a missing one."""
    value = plain(value)
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def finite(value: Any) -> Any:
    """Return the value as JSON can hold it: infinities as words."""
    if isinstance(value, dict):
        return {str(key): finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    value = plain(value)
    return str(value) if isinstance(value, float) and math.isinf(value) else value
