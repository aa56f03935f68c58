"""Draws charts as PNG, by matplotlib."""

from __future__ import annotations

import itertools
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workflows.report.charts import ROLES, Axis, Chart, Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PER_ROW = 3
COLORS = {  # Okabe & Ito's, which the colour-blind can tell apart
    "best": "#D55E00",
    "baseline": "#0072B2",
    "ended": "#009E73",
    "stopped": "#999999",
    "running": "#E69F00",
    "failed": "#CC79A7",
}
QUANTITIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8A8A8A")
_CYCLE = ("-", "--", ":", "-.")
_DASHES = {"stopped": ":", "running": "--", "failed": "-."}
_MARKERS = {"best": "*", "baseline": "s", "ended": "o", "stopped": "o", "running": "^", "failed": "x"}
_PANEL_INCHES = (6.4, 4.0)


def draw(chart: Chart, path: Path) -> None:
    """Draw a chart that has panels as a PNG, three in a row; whole or not at all."""
    from matplotlib.figure import Figure

    columns = min(PER_ROW, len(chart.panels))
    rows = -(-len(chart.panels) // columns)
    width = 11.0 if chart.panels[0].kind == "parallel" else max(_PANEL_INCHES[0], columns * 4.4)
    figure = Figure(figsize=(width, 3.6 * rows + 0.4), layout="constrained", dpi=110)
    figure.suptitle(_text(chart.title))
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for panel, one in itertools.zip_longest(chart.panels, axes):
        if panel is None:
            one.set_axis_off()
        else:
            {"parallel": _parallel, "bars": _bars}.get(panel.kind, _points)(panel, one)
    path.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".figure-") as folder, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a letter that the font has not got is a box
        figure.savefig(Path(folder, path.name))
        Path(folder, path.name).replace(path)


def _points(panel: Panel, axes: Axes) -> None:
    named: set[str] = set()
    if panel.names:
        axes.plot(
            [_text(name) for name in panel.names], [panel.series[0].y[0]] * len(panel.names), alpha=0
        )  # puts them in order
    for i, series in enumerate(panel.series):
        label = ROLES.get(series.role, series.label)
        axes.plot(
            [_text(x) for x in series.x] if panel.names else series.x,
            series.y,
            linestyle=""
            if panel.kind == "points"
            else _DASHES.get(series.role, _CYCLE[0 if series.role else i // len(QUANTITIES) % 4]),
            linewidth=2.2 if series.role in ("best", "baseline") else 1.2,
            marker=_MARKERS.get(series.role, "o") if series.marks else None,
            markersize=9 if series.role == "best" else 4,
            markerfacecolor="none" if series.role == "stopped" else None,
            color=COLORS.get(series.role, QUANTITIES[i % len(QUANTITIES)]),
            zorder=3 if series.role in ("best", "baseline") else 2,
            label=None if label in named or not label else _text(label),
        )
        named.add(label)
    for label, y in panel.lines.items():
        axes.axhline(y, linestyle="--", color="black", linewidth=1, label=_text(label))
    axes.set(xlabel=_text(panel.x_label), ylabel=_text(panel.y_label))
    if panel.log_x:
        axes.set_xscale("log")
    elif not panel.names:
        axes.locator_params(axis="x", nbins=6)
    if panel.log_y:
        axes.set_yscale("log")
    axes.grid(alpha=0.25)
    if named - {""} or panel.lines:
        few = sum(len(series.x) for series in panel.series) < 2000  # looking for the best place takes a while
        axes.legend(fontsize=8, framealpha=0.7, loc="best" if few else "upper right")


def _bars(panel: Panel, axes: Axes) -> None:
    (series,) = panel.series
    axes.barh([_text(name) for name in series.x[::-1]], series.y[::-1], color=QUANTITIES[0])
    axes.set(xlabel=_text(panel.x_label))


def _parallel(panel: Panel, axes: Axes) -> None:
    """Draw a line per trial; every upright runs from its least to its greatest value."""
    import numpy as np
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    heights = np.array([_heights(axis, axis.positions) for axis in panel.axes])
    for trial in np.argsort(heights[-1]):
        axes.plot(
            range(len(panel.axes)),
            heights[:, trial],
            color=colormaps["viridis"](heights[-1, trial]),
            alpha=0.8,
        )
    for x, axis in enumerate(panel.axes):
        axes.axvline(x, color="black", linewidth=0.8)
        for height, text in zip(_heights(axis, list(axis.ticks)), axis.ticks.values(), strict=True):
            axes.annotate(
                _text(text),
                (x, height),
                xytext=(4, 0),
                textcoords="offset points",
                fontsize=8,
                va="center",
                bbox=_PAPER,
            )
    score = panel.axes[-1]
    key = axes.figure.colorbar(
        ScalarMappable(Normalize(0, 1), "viridis"), ax=axes, pad=0.06, aspect=40, label=_text(score.label)
    )
    key.set_ticks(_heights(score, list(score.ticks)), labels=list(score.ticks.values()))
    axes.set_xticks(range(len(panel.axes)), [_text(axis.label) for axis in panel.axes])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.margins(x=0.08)


_PAPER: Any = {"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.5}


def _text(text: str) -> str:
    """Return a text that matplotlib does not take for a formula."""
    return text.replace("$", r"\$")


def _heights(axis: Axis, values: list[float]) -> list[float]:
    low, high = min(axis.positions), max(axis.positions)
    return [(value - low) / (high - low) if high > low else 0.5 for value in values]
