"""One page to read, of a run or of several side by side: one file, for any browser, without a network.

run --> figures.charts --> Plotly's figures as plain dictionaries ┐
    --> page_parts: a row a trial, with details and pictures      ┴--> page/page.html, style, script, Plotly
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from workflows.report import page_parts, plotly
from workflows.report.charts import Chart
from workflows.results import Run
from workflows.runs.tables import plain

PAGE = Path(__file__).parent / "page"


def of_run(run: Run, drawn: Sequence[Chart], ended: str) -> str:
    """Return the page of a run with its charts, as HTML; `ended` says in a sentence how it stands."""
    rows = page_parts.trial_rows(run)
    best = run.best()
    shown = f"These are {len(rows)} of {len(run.trials)}, the best first; trials.csv has all."
    return _page(
        title=f"{run.record.get('program', 'run')}: {run.folder.resolve().name}",
        status=ended,
        failed=list(zip(run.failed["trial_id"], run.failed["error"], strict=True)),
        best=None if best is None else page_parts.best(run, best),
        charts=drawn,
        columns=page_parts.columns(run),
        rows=rows,
        table_title="All trials" if run.is_search else "The training",
        table_caption="Click a column's name to sort, a trial to see all that is known of it. "
        + (shown if len(run.trials) > page_parts.MAX_ROWS else ""),
        example="stopped, or 0.5",
        facts_title="What was run, with what",
        facts=page_parts.facts(run),
        details=page_parts.asked(run),
    )


def of_runs(runs: Sequence[Run], table: pd.DataFrame, drawn: Sequence[Chart]) -> str:
    """Return a page that compares runs: the table of `results.compare`, and charts."""
    rows = []
    for run, (_, row) in zip(runs, table.iterrows(), strict=True):
        shown = {str(name): plain(value) for name, value in row.items()}
        details = [("Run", list(shown.items())), *page_parts.asked(run)]
        cells = list(shown.values())
        rows.append(
            {
                "id": str(run.folder),
                "role": str(row["program"]),
                "cells": cells,
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
        table_caption="Click a column's name to sort, a run to see what was asked for.",
        example="CartPole",
        facts_title="Where they are",
        facts=[(run.folder.resolve().name, str(run.folder.resolve())) for run in runs],
        details=[],
    )


def _page(*, charts: Sequence[Chart], columns: list[str], rows: list[dict[str, Any]], **texts: Any) -> str:
    """Fill the template. Every text is escaped; the script reads JSON that can't end its element."""
    import jinja2
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    data = {
        "charts": {chart.name: [plotly.figure(panel) for panel in chart.panels] for chart in charts},
        "columns": columns,
        "rows": rows,
    }
    as_json = json.dumps(page_parts.finite(data), separators=(",", ":"), default=str).replace("<", "\\u003c")
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(PAGE), autoescape=True)
    parts = {"style": "page.css", "script": "page.js"}
    return environment.get_template("page.html").render(
        charts=charts,
        data=Markup(as_json),
        plotly=Markup(get_plotlyjs()),
        **{name: Markup((PAGE / file).read_text(encoding="utf-8")) for name, file in parts.items()},
        **texts,
    )
