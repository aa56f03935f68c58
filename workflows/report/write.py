"""Everything that can be made of a run folder: tables, figures, one page. Never runs anything, and needs no Ray."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from workflows import results
from workflows.report import charts
from workflows.report import html as report
from workflows.report import png as figures
from workflows.results import Run, plain, write_whole

FIGURES = "figures"


def write(run: Run, output: Path, running: bool = False) -> None:
    """Write into `output` (the run folder, or another) all that can be made of a run, in whatever state it is.

    trials.csv, history.csv, best.json (if a trial ran to its end), samples/, figures/, report.html.
    """
    output.mkdir(parents=True, exist_ok=True)
    write_tables(run, output)
    if "baseline" in run.record:
        for trial_id in results.best_and_baseline(run):
            figures.progress(run.folder, trial_id, output / results.SAMPLES)
    drawn = charts.charts(run)
    with_panels = {chart.name: chart for chart in drawn if chart.panels}
    for name in charts.NAMES:
        if name in with_panels:
            figures.draw(with_panels[name], output / FIGURES / f"{name}.png")
        else:  # an earlier analysis may have had enough for one
            (output / FIGURES / f"{name}.png").unlink(missing_ok=True)
    write_whole(output / "report.html", report.of_run(run, drawn, state(run, running)))


def write_tables(run: Run, output: Path) -> None:
    """Write `trials.csv`, `history.csv`, `best.json` (if a trial has run to its end) and `samples/`."""
    write_whole(output / "trials.csv", run.trials.to_csv(index=False))
    write_whole(output / "history.csv", run.history.to_csv(index=False))
    row = run.best(run.metric, run.mode)
    if row is not None:
        config = {
            str(name).removeprefix("config/"): plain(value)
            for name, value in row.items()
            if str(name).startswith("config/")
        }
        record = {
            "trial_id": row["trial_id"],
            "metric": run.metric,
            "mode": run.mode,
            "value": float(row[run.metric]),
            "config": config,
            "checkpoint": row["checkpoint"],
        }
        write_whole(output / "best.json", json.dumps(record, indent=2) + "\n")
    else:
        (output / "best.json").unlink(missing_ok=True)
    for picture in (
        one
        for trial_id in run.trials["trial_id"]
        for one in sorted((run.folder / trial_id / results.SAMPLES).glob("*.png"))
    ):
        copy = output / results.SAMPLES / f"{picture.parent.parent.name}_{picture.name}"
        copy.parent.mkdir(exist_ok=True)
        shutil.copyfile(picture, copy)


def write_comparison(runs: Sequence[Run], output: Path) -> None:
    """Write comparison.csv, comparison.html and a comparison PNG per metric: a row a run, and a curve for each."""
    output.mkdir(parents=True, exist_ok=True)
    table, drawn = results.compare(runs), charts.comparison(runs)
    for chart in drawn:
        figures.draw(chart, output / f"{chart.name}.png")
    write_whole(output / "comparison.csv", table.to_csv(index=False))
    write_whole(output / "comparison.html", report.of_runs(runs, table, drawn))


def state(run: Run, running: bool) -> str:
    """Return in a sentence how a run stands."""
    ended = int(run.trials["status"].isin(["TERMINATED", "ERROR"]).sum())
    failed = int((run.trials["status"] == "ERROR").sum())
    num_samples = run.record.get("flags", {}).get("num_samples")
    asked = max(num_samples if isinstance(num_samples, int) else 1, len(run.trials))
    if "baseline" in run.record:
        what = f"{ended} of {asked} trials have ended" + (f", {failed} of them failed" if failed else "")
    else:
        what = f"The training {'failed' if failed else 'has ended' if ended else 'has not ended'}"
    if ended >= asked:
        return what + "."
    return what + ("; it is running." if running else "; it was interrupted, or killed.")
