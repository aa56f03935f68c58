"""The shapes of all charts, as plain numbers: png.py draws them as PNG, plotly.py in the browser.

    run --> Chart --> panels --> series of (x, y), each with a role: best, baseline, stopped, failed, ...

search_charts.py and training_charts.py make them from a run.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd

from workflows.results import Run
from workflows.runs.tables import is_finite

ROLES = {
    "best": "the best",
    "baseline": "the baseline",
    "ended": "ran to the end",
    "stopped": "stopped early",
    "running": "not ended",
    "failed": "failed",
}
"""What became of a trial, in words; the best is one that ran to the end, and may be the baseline."""
X_LABELS = {"updates": "updates", "num_env_steps_sampled_lifetime": "environment steps"}
LARGEST = 1e200
"""Larger values are left out: no axis reaches them."""


@dataclass(frozen=True)
class Series:
    """Points of one trial or one quantity; `y` is never NaN."""

    label: str
    x: list[Any]
    y: list[float]
    role: str = ""
    """One of ROLES; "" for a quantity."""
    trial_ids: list[str] = field(default_factory=list)
    """The trial of each point."""
    marks: bool = False
    """Whether points are marked, not only joined."""


@dataclass(frozen=True)
class Axis:
    """One vertical axis of parallel coordinates: a position per trial, and labels of some positions."""

    label: str
    positions: list[float]
    ticks: dict[float, str]


@dataclass(frozen=True)
class Panel:
    """One pair of axes. A `parallel` panel has several `axes`, and the last one colours the trials."""

    x_label: str
    y_label: str
    series: list[Series] = field(default_factory=list)
    kind: Literal["lines", "points", "bars", "parallel"] = "lines"
    log_x: bool = False
    log_y: bool = False
    lines: dict[str, float] = field(default_factory=dict)
    """Horizontal lines by their names."""
    axes: list[Axis] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    """The values of x in order, where they are names."""


@dataclass(frozen=True)
class Chart:
    """One picture: title, caption and panels; without panels, the caption says why."""

    name: str
    title: str
    caption: str
    panels: list[Panel]


def x_column(run: Run) -> str:
    """Return the column that curves are drawn over."""
    return run.program.x if run.program.x in run.history else "iteration"


def x_label(run: Run) -> str:
    """Return that column in words."""
    column = x_column(run)
    return X_LABELS.get(column, column)


def with_numbers(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return the rows whose value in a column can be drawn."""
    finite = rows[is_finite(rows[column])] if column in rows else rows.iloc[:0]
    return finite[finite[column].abs() < LARGEST] if len(finite) else finite


def is_wide(values: Any) -> bool:
    """Return whether values are positive and span more than a factor of 20, so that they need a log axis."""
    values = np.asarray(values, float)
    return bool(len(values) and values.min() > 0 and values.max() > 20 * values.min())
