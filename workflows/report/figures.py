"""Which charts a run has: its program's figures; and the charts that compare several runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from workflows.report import search_charts, training_charts
from workflows.report.charts import Chart, Panel, Series, with_numbers, x_column, x_label
from workflows.results import Run

CHARTS: dict[str, Callable[[Run], Chart | None]] = {
    "curves": search_charts.curves,
    "parallel": search_charts.parallel,
    "importances": search_charts.importance,
    "scatter": search_charts.scatter,
    "returns": training_charts.returns,
    "throughput": training_charts.throughput,
    "waiting": training_charts.waiting,
    "learning": training_charts.learning,
}
"""name -> the chart of a run, or None where there is nothing to draw."""


def charts(run: Run) -> list[Chart]:
    """Return the charts of a run. A search says why one of its charts is empty; a training leaves it out."""
    drawn = [CHARTS[name](run) for name in run.program.figures]
    return [chart for chart in drawn if chart is not None and (chart.panels or run.is_search)]


def comparison(runs: Sequence[Run]) -> list[Chart]:
    """Return a chart per metric and environment or dataset: a curve per run, of its best or first trial."""
    panels: dict[tuple[str, str, str], Panel] = {}
    names = [run.folder.resolve().name for run in runs]
    for run, name in zip(runs, names, strict=True):
        x = x_column(run)
        of = str(run.flags.get("env") or run.record.get("dataset") or "")
        panel = panels.setdefault((run.metric, x, of), Panel(x_label(run), run.metric))
        best = run.best()
        trial_id = best["trial_id"] if best is not None else next(iter(run.trials["trial_id"]), None)
        rows = with_numbers(run.history[run.history["trial_id"] == trial_id], run.metric)
        if len(rows):
            label = name if names.count(name) == 1 else "/".join(run.folder.resolve().parts[-2:])
            ys, ids = rows[run.metric].tolist(), [str(run.folder)] * len(rows)
            panel.series.append(Series(label, rows[x].tolist(), ys, "", ids, marks=True))
    drawn: list[Chart] = []
    for (metric, _, of), panel in panels.items():
        if panel.series:
            title = f"{metric} on {of}" if of else metric
            caption = "One curve per run: of its best trial, or of its first if none ran to its end."
            drawn.append(Chart(f"comparison-{len(drawn)}", title, caption, [panel]))
    return drawn
