"""A panel as Plotly draws it in a browser: plain dictionaries, made without Plotly."""

from __future__ import annotations

from typing import Any

from workflows.report.charts import ROLES, Panel, Series
from workflows.report.png import COLORS, QUANTITIES

_DASHES = {"stopped": "dot", "running": "dash", "failed": "dashdot"}
_CYCLE = ("solid", "dash", "dot", "dashdot")
_SYMBOLS = {
    "best": "star",
    "baseline": "square",
    "ended": "circle",
    "stopped": "circle-open",
    "running": "triangle-up",
    "failed": "x",
}


def figure(panel: Panel) -> dict[str, Any]:
    """Return a panel as Plotly's `data` and `layout`."""
    if panel.kind == "parallel":
        return _parallel(panel)
    layout = _layout(panel)
    if panel.kind == "bars":
        (series,) = panel.series
        layout["yaxis"] |= {"type": "category", "autorange": "reversed"}
        bars = {
            "type": "bar",
            "orientation": "h",
            "x": series.y,
            "y": series.x,
            "marker": {"color": QUANTITIES[0]},
        }
        return {"data": [bars], "layout": layout}
    named: set[str] = set()
    data = []
    for i, series in enumerate(panel.series):
        label = ROLES.get(series.role, series.label)
        data.append(_trace(series, panel, label, label not in named, i))
        named.add(label)
    return {"data": data, "layout": layout}


def _layout(panel: Panel) -> dict[str, Any]:
    """Return the layout of axes, legend and named lines."""
    x_scale = _scale(panel.log_x)
    if panel.names:
        x_scale = {"type": "category", "categoryorder": "array", "categoryarray": panel.names}
    right = {"xref": "paper", "x": 1, "xanchor": "right", "yanchor": "bottom", "showarrow": False}
    across = {"type": "line", "xref": "paper", "x0": 0, "x1": 1}
    return {
        "margin": {"l": 55, "r": 15, "t": 10, "b": 45},
        "height": 360,
        "hovermode": "closest",
        "xaxis": {"title": {"text": panel.x_label}} | x_scale,
        "yaxis": {"title": {"text": panel.y_label}} | _scale(panel.log_y),
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom"},
        "showlegend": any(series.label for series in panel.series) and panel.kind != "bars",
        "shapes": [across | {"y0": y, "y1": y} for y in panel.lines.values()],
        "annotations": [right | {"y": y, "text": label} for label, y in panel.lines.items()],
    }


def _scale(log: bool) -> dict[str, Any]:
    """Return an axis's type; one by decades says 1, 2 and 5 of each, and not every digit."""
    return {"type": "log", "dtick": "D2"} if log else {"type": "-"}


def _trace(series: Series, panel: Panel, label: str, first: bool, i: int) -> dict[str, Any]:
    """Return a series as a trace. Quantity `i` has a colour of its own, or a dash where colours repeat."""
    color = COLORS.get(series.role, QUANTITIES[i % len(QUANTITIES)])
    dash = _DASHES.get(series.role, _CYCLE[0 if series.role else i // len(QUANTITIES) % len(_CYCLE)])
    important = series.role in ("best", "baseline")
    return {
        "type": "scatter",
        "mode": "markers" if panel.kind == "points" else "lines+markers" if series.marks else "lines",
        "x": series.x,
        "y": series.y,
        "name": label,
        "legendgroup": label,
        "showlegend": first and bool(label),
        "customdata": series.trial_ids,
        "zorder": {"best": 2, "baseline": 1}.get(series.role, 0),
        "hovertemplate": "%{customdata}<br>%{x}: %{y}<extra></extra>",
        "line": {"color": color, "width": 3 if important else 1.5, "dash": dash},
        "marker": {
            "color": color,
            "symbol": _SYMBOLS.get(series.role, "circle"),
            "size": 12 if series.role == "best" else 7,
        },
    }


def _parallel(panel: Panel) -> dict[str, Any]:
    score = panel.axes[-1]
    dimensions = [
        {
            "label": axis.label,
            "values": axis.positions,
            "tickvals": list(axis.ticks),
            "ticktext": list(axis.ticks.values()),
        }
        for axis in panel.axes
    ]
    line = {"color": score.positions, "colorscale": "Viridis", "showscale": False}
    layout = {"margin": {"l": 70, "r": 70, "t": 45, "b": 25}, "height": 380}
    data = [{"type": "parcoords", "dimensions": dimensions, "line": line, "labelfont": {"size": 14}}]
    return {"data": data, "layout": layout, "min_width": 130 * len(panel.axes)}
