"""The charts of a search: a curve per trial, and what its hyperparameters have to do with its score."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from workflows.programs import OF_LABELLED_SAMPLES
from workflows.report import importances
from workflows.report.charts import (
    ROLES,
    Axis,
    Chart,
    Panel,
    Series,
    is_wide,
    with_numbers,
    x_column,
    x_label,
)
from workflows.results import Run
from workflows.runs.tables import is_finite

MAX_CURVES = 200
MAX_POINTS = 1000
MAX_NAMES = 6
"""A hyperparameter with up to so many different values has names on its axis, not numbers."""


def roles(run: Run) -> dict[str, str]:
    """Return what became of each trial, by trial_id: a key of ROLES."""
    best = run.best()
    best_id = best["trial_id"] if best is not None and run.is_search else None
    found = {}
    rows = run.trials[["trial_id", "status", "baseline"]].itertuples()
    for row, ran_to_its_end in zip(rows, run.ran_to_their_end, strict=True):
        if row.status == "ERROR":
            role = "failed"
        elif row.trial_id == best_id:
            role = "best"
        elif row.baseline:
            role = "baseline"
        elif row.status != "TERMINATED":
            role = "running"
        else:
            role = "ended" if ran_to_its_end else "stopped"
        found[str(row.trial_id)] = role
    return found


def best_first(run: Run) -> list[str]:
    """Return the trial_ids: best, baseline, those with a full run by score, failed, the rest by score."""
    role = roles(run)
    order = {"best": 0, "baseline": 1, "ended": 2, "failed": 3}
    scored = with_numbers(run.trials, run.metric)
    scores: dict[str, float] = {}
    if len(scored):
        sign = 1 if run.mode == "min" else -1
        scores = dict(zip(scored["trial_id"], scored[run.metric] * sign, strict=True))
    return sorted(role, key=lambda trial_id: (order.get(role[trial_id], 4), scores.get(trial_id, math.inf)))


def searched(run: Run) -> list[str]:
    """Return the searched hyperparameters whose values differ between trials."""
    names = [name for name in run.searched if f"config/{name}" in run.trials]
    return [name for name in names if run.trials[f"config/{name}"].map(str).nunique() > 1]


def curves(run: Run) -> Chart:
    """Return a curve per trial: the run's metric over its updates."""
    role, x = roles(run), x_column(run)
    groups = dict(tuple(with_numbers(run.history, run.metric).groupby("trial_id")))
    series = []
    for trial_id in best_first(run)[:MAX_CURVES]:
        if trial_id in groups:
            rows = groups[trial_id]
            ys, ids = rows[run.metric].tolist(), [trial_id] * len(rows)
            series.append(Series(trial_id, rows[x].tolist(), ys, role[trial_id], ids, marks=True))
    if not series:
        return Chart("curves", run.metric, f"No trial has reported a finite {run.metric}.", [])
    caption = f"One curve per trial; {'lower' if run.mode == 'min' else 'higher'} is better."
    caption += " Scores compare at equal updates"
    last_has_more = run.flags.get("num_final_samples", 0) > run.flags.get("num_report_samples", 0)
    if run.metric in OF_LABELLED_SAMPLES and last_has_more:
        caption += ", and the last one is of more samples"
    log_y = is_wide([value for one in series for value in one.y])
    panel = Panel(x_label(run), run.metric, series, log_y=log_y)
    return Chart(
        "curves", f"{run.metric} over {x_label(run)}", caption + "." + _only(MAX_CURVES, len(role)), [panel]
    )


@dataclass(frozen=True)
class Scores:
    """The trials with a last score, and the hyperparameters that may explain it."""

    run: Run

    @cached_property
    def names(self) -> list[str]:
        """The hyperparameters that differ."""
        return searched(self.run)

    @cached_property
    def rows(self) -> pd.DataFrame:
        """The rows of the trials that are drawn, the best first."""
        scored = with_numbers(self.run.trials, self.run.metric).set_index("trial_id", drop=False)
        shown = [trial_id for trial_id in best_first(self.run) if trial_id in scored.index]
        return scored.loc[shown[:MAX_POINTS]]

    @property
    def are_enough(self) -> bool:
        """Whether there is something to draw."""
        return bool(self.names) and len(self.rows) >= 2

    @property
    def only(self) -> str:
        """The caption's note on trials that are not drawn."""
        return _only(MAX_POINTS, len(with_numbers(self.run.trials, self.run.metric)))


def parallel(run: Run) -> Chart | None:
    """Return parallel coordinates: an axis per hyperparameter, a line per trial, coloured by its score."""
    scores = Scores(run)
    if not scores.are_enough:
        return None
    axes = [_axis(name, scores.rows[f"config/{name}"]) for name in scores.names]
    axes.append(_axis(run.metric, scores.rows[run.metric], as_names=False))
    caption = (
        "One line per trial, coloured by its last score. In the browser, drag along an axis to select trials."
    )
    panel = Panel("", "", kind="parallel", axes=axes)
    return Chart("parallel", "Hyperparameters and score", caption + scores.only, [panel])


def importance(run: Run) -> Chart | None:
    """Return a bar per hyperparameter: how much the score depends on it."""
    scores = Scores(run)
    if not scores.are_enough:
        return None
    weights, reason = importances.of(run, scores.names)
    bars = Series("", list(weights), list(weights.values()))
    panels = [Panel("importance", "", [bars], "bars")] if weights else []
    return Chart("importances", f"What {run.metric} depends on", reason, panels)


def scatter(run: Run) -> Chart | None:
    """Return a panel per hyperparameter: a point per trial, its last score over its value."""
    scores = Scores(run)
    if not scores.are_enough:
        return None
    caption = "One point per trial: its last score, whatever number of updates it reached." + scores.only
    panels = [_scatter_panel(run, name, scores.rows) for name in scores.names]
    return Chart("scatter", f"{run.metric} by hyperparameter", caption, panels)


def _scatter_panel(run: Run, name: str, scored: pd.DataFrame) -> Panel:
    role = roles(run)
    column = scored[f"config/{name}"]
    as_names = _as_names(column)
    series = []
    for wanted, words in reversed(ROLES.items()):
        rows = scored[[role[trial_id] == wanted for trial_id in scored["trial_id"]]]
        values = rows[f"config/{name}"].tolist()
        x = [_named(value) for value in values] if as_names else values
        if x:
            ys, ids = rows[run.metric].tolist(), rows["trial_id"].tolist()
            series.append(Series(words, x, ys, wanted, ids, marks=True))
    log_x = not as_names and is_wide(column)
    names = _names(column) if as_names else []
    return Panel(name, run.metric, series, "points", log_x, is_wide(scored[run.metric]), names=names)


def _only(most: int, of: int) -> str:
    return f" Only the best {most} of {of} are drawn." if of > most else ""


def _axis(label: str, values: pd.Series, as_names: bool | None = None) -> Axis:
    if _as_names(values) if as_names is None else as_names:
        order = _names(values)
        positions = [float(order.index(_named(value))) for value in values]
        return Axis(label, positions, {float(i): name for i, name in enumerate(order)})
    log = is_wide(values)
    numbers = np.log10(values.astype(float)) if log else values.astype(float)
    low, high = numbers.min(), numbers.max()
    at = np.linspace(low, high, 5) if high > low else np.array([low])
    return Axis(label, numbers.tolist(), {float(p): f"{10**p if log else p:.3g}" for p in at})


def _as_names(values: pd.Series) -> bool:
    """Return whether values are choices rather than draws from a range: words, or few numbers that repeat."""
    return not is_finite(values).all() or values.nunique() <= min(MAX_NAMES, len(values) - 1)


def _names(values: pd.Series) -> list[str]:
    """Return the different values as names: numbers in their order, then words."""
    numbers = {_named(value): value for value in values if isinstance(value, int | float) and value == value}
    words = {_named(value) for value in values} - numbers.keys()
    return [*sorted(numbers, key=numbers.__getitem__), *sorted(words)]


def _named(value: Any) -> str:
    if value is None or value != value:
        return "none"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
