"""Writes all that can be made of a run folder: tables, figures, one page."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from workflows.report import figures, html, png, sample_grids
from workflows.results import Run, compare
from workflows.runs.files import SAMPLES, write_whole
from workflows.runs.tables import plain

FIGURES = "figures"


def write(run: Run, output: Path, running: bool = False) -> None:
    """Write all that can be made of a run, in any state, into `output` (the run folder, or another).

    trials.csv, history.csv, best.json (if a trial ran to its end), samples/, figures/, report.html.
    """
    output.mkdir(parents=True, exist_ok=True)
    write_tables(run, output)
    if run.is_search:
        for trial_id in run.best_and_baseline():
            sample_grids.progress(run.folder, trial_id, output / SAMPLES)
    drawn = figures.charts(run)
    with_panels = {chart.name: chart for chart in drawn if chart.panels}
    for name in figures.CHARTS:
        if name in with_panels:
            png.draw(with_panels[name], output / FIGURES / f"{name}.png")
        else:  # an earlier analysis may have drawn it
            (output / FIGURES / f"{name}.png").unlink(missing_ok=True)
    write_whole(output / "report.html", html.of_run(run, drawn, state(run, running)))


def write_tables(run: Run, output: Path) -> None:
    """Write `trials.csv`, `history.csv`, `best.json` (if a trial has run to its end) and `samples/`."""
    write_whole(output / "trials.csv", run.trials.to_csv(index=False))
    write_whole(output / "history.csv", run.history.to_csv(index=False))
    if (record := _best_record(run)) is not None:
        write_whole(output / "best.json", json.dumps(record, indent=2) + "\n")
    else:
        (output / "best.json").unlink(missing_ok=True)
    for trial_id in run.trials["trial_id"]:
        for picture in sorted((run.folder / trial_id / SAMPLES).glob("*.png")):
            copy = output / SAMPLES / f"{trial_id}_{picture.name}"
            copy.parent.mkdir(exist_ok=True)
            shutil.copyfile(picture, copy)


def _best_record(run: Run) -> dict[str, object] | None:
    row = run.best()
    if row is None:
        return None
    config = {}
    for name, value in row.items():
        if str(name).startswith("config/"):
            config[str(name).removeprefix("config/")] = plain(value)
    return {
        "trial_id": row["trial_id"],
        "metric": run.metric,
        "mode": run.mode,
        "value": float(row[run.metric]),
        "config": config,
        "checkpoint": row["checkpoint"],
    }


def write_comparison(runs: Sequence[Run], output: Path) -> None:
    """Write comparison.csv, comparison.html and a comparison PNG per metric: a row and a curve per run."""
    output.mkdir(parents=True, exist_ok=True)
    table, drawn = compare(runs), figures.comparison(runs)
    for chart in drawn:
        png.draw(chart, output / f"{chart.name}.png")
    write_whole(output / "comparison.csv", table.to_csv(index=False))
    write_whole(output / "comparison.html", html.of_runs(runs, table, drawn))


def state(run: Run, running: bool) -> str:
    """Return in a sentence how a run stands."""
    num_ended, num_failed = run.num_ended, len(run.failed)
    num_samples = run.flags.get("num_samples")
    num_asked = max(num_samples if isinstance(num_samples, int) else 1, len(run.trials))
    if run.is_search:
        failed = f", {num_failed} of them failed" if num_failed else ""
        what = f"{num_ended} of {num_asked} trials have ended{failed}"
    else:
        what = f"The training {'failed' if num_failed else 'has ended' if num_ended else 'has not ended'}"
    if num_ended >= num_asked:
        return what + "."
    return what + ("; it is running." if running else "; it was interrupted, or killed.")
