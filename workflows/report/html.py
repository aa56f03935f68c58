"""One page to read of a run, or of several side by side: a file that opens without a network, in any browser.

run --> charts --> Plotly's figures as plain dictionaries ┐
    --> a row a trial, with its details and its pictures  ┴--> page/page.html, with style, script and Plotly inside
"""

from __future__ import annotations

import base64
import json
import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from workflows import results
from workflows.report import charts
from workflows.report import plotly as interactive
from workflows.report.charts import ROLES, Chart
from workflows.results import BEST, Run, plain
from workflows.runs.files import read_pictures

PAGE = Path(__file__).parent / "page"
MOST_ROWS = 1000
PICTURE_BYTES = 11_000_000
"""Pictures in a page, together: the best trials' come first; those of the others stay in the run folder, and the page says where."""
_LEADING = ("updates", "num_env_steps_sampled_lifetime", "time_total_s")


def of_run(run: Run, drawn: Sequence[Chart], ended: str) -> str:
    """Return the page of a run with its charts, as HTML; `ended` says in a sentence how it stands."""
    trials = run.trials
    best = run.best(run.metric, run.mode) if len(trials) else None
    rows = _trial_rows(run)
    failed = trials[trials["status"] == "ERROR"]
    return _page(
        title=f"{run.record.get('program', 'run')}: {run.folder.resolve().name}",
        status=ended,
        failed=list(zip(failed["trial_id"], failed["error"], strict=True)),
        best=None if best is None else _best(run, best),
        charts=drawn,
        columns=_columns(run),
        rows=rows,
        table_title="All trials" if "baseline" in run.record else "The training",
        table_caption="A click on a column's name sorts, one on a trial shows all that is known of it. "
        + (
            f"Here are {len(rows)} of {len(trials)}, the best first; trials.csv has all."
            if len(trials) > MOST_ROWS
            else ""
        ),
        example="stopped, or 0.5",
        facts_title="What was run, with what",
        facts=facts(run),
        details=_asked(run),
    )


def of_runs(runs: Sequence[Run], table: pd.DataFrame, drawn: Sequence[Chart]) -> str:
    """Return a page that compares runs: `results.compare`'s table, and charts."""
    rows = []
    for run, (_, row) in zip(runs, table.iterrows(), strict=True):
        shown = {str(name): plain(value) for name, value in row.items()}
        details = [("Run", list(shown.items())), *_asked(run)]
        rows.append(
            {
                "id": str(run.folder),
                "role": str(row["program"]),
                "cells": list(shown.values()),
                "details": details,
                "pictures": [],
            }
        )
    return _page(
        title=f"{len(runs)} runs",
        status=", ".join(str(name) for name in table["run"]),
        failed=[],
        best=None,
        charts=drawn,
        columns=[str(name) for name in table],
        rows=rows,
        table_title="All runs",
        table_caption="A click on a column's name sorts, one on a run shows what was asked for.",
        example="CartPole",
        facts_title="Where they lie",
        facts=[(run.folder.resolve().name, str(run.folder.resolve())) for run in runs],
        details=[],
    )


def _page(*, charts: Sequence[Chart], columns: list[str], rows: list[dict[str, Any]], **texts: Any) -> str:
    """Fill the template. Every text is escaped; what the script reads is JSON that can't end its element."""
    import jinja2
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    data = {
        "charts": {chart.name: [interactive.figure(panel) for panel in chart.panels] for chart in charts},
        "columns": columns,
        "rows": rows,
    }
    as_json = json.dumps(_finite(data), separators=(",", ":"), default=str).replace("<", "\\u003c")
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(PAGE), autoescape=True)
    parts = {"style": "page.css", "script": "page.js"}
    return environment.get_template("page.html").render(
        charts=charts,
        data=Markup(as_json),
        plotly=Markup(get_plotlyjs()),
        **{name: Markup((PAGE / file).read_text()) for name, file in parts.items()},
        **texts,
    )


# What is said of a run


def facts(run: Run) -> list[tuple[str, str]]:
    """Return when, on what and with which versions a run was made."""
    record, flags = run.record, run.record.get("flags", {})
    times = run.trials["time_total_s"].sum() if "time_total_s" in run.trials else math.nan
    pairs = {
        "run folder": _typed(run.folder),
        "started": record.get("started"),
        "environment": flags.get("env"),
        "dataset": record.get("dataset"),
        "seed": flags.get("seed"),
        "seconds of all trials together": None if math.isnan(times) else f"{times:,.0f}",
        "hardware": ", ".join(_hardware(record.get("hardware", {}))),
        "versions": ", ".join(f"{name} {version}" for name, version in record.get("versions", {}).items()),
    }
    return [(name, str(value)) for name, value in pairs.items() if value not in (None, "")]


def _hardware(found: dict[str, Any]) -> list[str]:
    """Return what `tuning.circumstances` found, in words: numbers with their names, names as they are, nothing of what is not there."""
    one = {
        name: name.removesuffix("s") if value == 1 else name for name, value in found.items()
    }  # 1 node, 2 CPUs
    return [
        f"{value:g} {one[name]}" if isinstance(value, int | float) else str(value)
        for name, value in found.items()
        if value != ""
    ]


def _asked(run: Run) -> list[tuple[str, list[tuple[str, str]]]]:
    fixed = "Hyperparameters that were not searched" if "baseline" in run.record else "Hyperparameters"
    groups = {"Flags": run.record.get("flags", {}), fixed: run.record.get("preset", {})}
    searched = run.record.get("baseline", {})
    shown = {
        name: {key: value for key, value in group.items() if value is not None and key not in searched}
        for name, group in groups.items()
    }
    return [
        (name, [(key, _words(value)) for key, value in group.items()])
        for name, group in shown.items()
        if group
    ]


def _best(run: Run, best: pd.Series) -> dict[str, Any]:
    """Return the best trial's scores beside the baseline's, its searched hyperparameters, and what to type with it."""
    names, training = (
        [run.metric, *(name for name in _scores(run) if name != run.metric)],
        "baseline" not in run.record,
    )
    shown = [("last report" if training else "best", best)]
    if not training:
        rows = run.trials[run.trials["baseline"].astype(bool) & run.ran_to_their_end]
        shown += [("baseline", row) for _, row in rows.iterrows() if row["trial_id"] != best["trial_id"]]
    test = results.read_test(run.folder)
    if test is not None and test["trial_id"] == best["trial_id"]:
        names += [
            name for name, value in test.items() if name not in names and isinstance(value, int | float)
        ]
        shown.append(("on the test digits", pd.Series(test)))
    lines = [
        (f"{label} ({row['trial_id']})", [_words(row.get(name)) for name in names]) for label, row in shown
    ]
    where = _typed(run.folder)
    command = (
        f"python workflows/play.py {where} --video policy.mp4"
        if training
        else f"python workflows/sample.py {where} --output digits.png"
    )
    return {
        "trial_id": best["trial_id"],
        "columns": names,
        "rows": lines,
        "config": []
        if training
        else [(name, _words(best.get(f"config/{name}"))) for name in run.record["baseline"]],
        "commands": [command],
    }


def _typed(folder: Path) -> str:
    """Return a folder as a person would type it in a shell."""
    folder, home = folder.absolute(), Path.home()
    return (
        f"~/{shlex.quote(str(folder.relative_to(home)))}"
        if home in folder.parents
        else shlex.quote(str(folder))
    )


def _scores(run: Run) -> list[str]:
    """Return the metrics that are better high or low."""
    return [str(name).removeprefix(BEST) for name in run.trials if str(name).startswith(BEST)]


def _columns(run: Run) -> list[str]:
    return ["trial", "what became of it", *_shown_columns(run)]


def _shown_columns(run: Run) -> list[str]:
    """Return the columns of `load_trials` in the table of the page."""
    names = [run.metric, BEST + run.metric, *_scores(run), *_LEADING]
    if "baseline" in run.record:
        names += [f"config/{name}" for name in charts.searched(run)]
    return [name for name in dict.fromkeys(names) if name in run.trials]


def _trial_rows(run: Run) -> list[dict[str, Any]]:
    """Return the rows of the page's table, the best first: cells, and what a click shows."""
    role = charts.roles(run) if len(run.trials) else {}
    by_id = run.trials.set_index("trial_id", drop=False)
    columns, left, rows = _shown_columns(run), PICTURE_BYTES, []
    order = charts.best_first(run) if role else []
    for trial_id in [
        *order[:MOST_ROWS],
        *(one for one in order[MOST_ROWS:][:MOST_ROWS] if role[one] == "failed"),
    ]:
        row = by_id.loc[trial_id]
        found = _pictures(run.folder / trial_id)
        size = sum(path.stat().st_size for _, path in found)
        note = f"its pictures are in {run.folder / trial_id / results.SAMPLES}" if size > left else ""
        if note:
            found = []
        else:
            left -= size
        values = {str(name): plain(value) for name, value in row.items()}
        config = {
            name.removeprefix("config/"): _words(value)
            for name, value in values.items()
            if name.startswith("config/")
        }
        known = {
            name: value
            for name, value in values.items()
            if not name.startswith("config/") and name not in ("error", "baseline")
        }
        rows.append(
            {
                "id": trial_id,
                "role": ROLES[role[trial_id]],
                "cells": [trial_id, ROLES[role[trial_id]], *(_cell(values[name]) for name in columns)],
                "error": values["error"],
                "note": note,
                "details": [
                    ("Hyperparameters", list(config.items())),
                    ("At its last report", list(known.items())),
                ],
                "pictures": [_picture(caption, path) for caption, path in found],
            }
        )
    return rows


def _pictures(trial_dir: Path) -> list[tuple[str, Path]]:
    """Return a trial's sample grids in the order of their updates, each with what it shows."""
    found = sorted(read_pictures(trial_dir), key=lambda one: (one[0] != results.SAMPLES, *one[:2]))
    return [(f"{name} after {updates:,} updates", path) for name, updates, path in found]


def _picture(caption: str, path: Path) -> dict[str, Any]:
    blob = path.read_bytes()
    wide = len(blob) > 24 and blob[1:4] == b"PNG" and int.from_bytes(blob[16:20], "big") > 800
    return {
        "caption": caption,
        "src": "data:image/png;base64," + base64.b64encode(blob).decode(),
        "large": wide,
    }


# Values


def _cell(value: Any) -> Any:
    return (
        value
        if value is None or (isinstance(value, int | float) and not isinstance(value, bool))
        else _words(value)
    )


def _words(value: Any) -> str:
    value = plain(value)
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _finite(value: Any) -> Any:
    """Return what JSON can hold: infinities as words."""
    if isinstance(value, dict):
        return {str(key): _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    value = plain(value)
    return str(value) if isinstance(value, float) and math.isinf(value) else value
