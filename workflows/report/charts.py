"""What is drawn of a run, as plain numbers in pandas' hands: `figures.py` draws it as PNG, `report.py` in the browser.

run --> charts(run) --> [Chart --> panels --> series of (x, y), each of a trial's role: best, baseline, stopped, failed, ...]
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd

from workflows.report import importances
from workflows.results import Run, is_finite
from workflows.runs.metrics import OF_SAMPLES

NAMES = ("curves", "parallel", "importances", "scatter", "returns", "throughput", "waiting", "learning")
"""Of all charts that a run may have."""
ROLES = {
    "best": "the best",
    "baseline": "the baseline",
    "ended": "ran to the end",
    "stopped": "stopped early",
    "running": "not ended",
    "failed": "failed",
}
"""What became of a trial, in words; the best is one that ran to the end, and may be the baseline."""
MOST_CURVES = 200
MOST_POINTS = 1000
MOST_NAMES = 6
"""Values of a hyperparameter up to which they are names on an axis, not numbers."""
_X = {"updates": "updates", "num_env_steps_sampled_lifetime": "environment steps"}
_LEARNED = "learners/default_policy/"


@dataclass(frozen=True)
class Series:
    """Points of one trial or one quantity; `y` is never NaN."""

    label: str
    x: list[Any]
    y: list[float]
    role: str = ""
    """One of ROLES, or "" where it is no trial's but a quantity's."""
    trial_ids: list[str] = field(default_factory=list)
    """Whose each point is."""
    marks: bool = False
    """Whether the points are marked, not only joined."""


@dataclass(frozen=True)
class Axis:
    """One upright of parallel coordinates: a position per trial, and what some positions mean."""

    label: str
    positions: list[float]
    ticks: dict[float, str]


@dataclass(frozen=True)
class Panel:
    """One pair of axes; of the kind `parallel` one upright each for `axes`, the last of them the score that colours the trials."""

    x_label: str
    y_label: str
    series: list[Series] = field(default_factory=list)
    kind: Literal["lines", "points", "bars", "parallel"] = "lines"
    log_x: bool = False
    log_y: bool = False
    lines: dict[str, float] = field(default_factory=dict)
    """Horizontal lines by what they mean."""
    axes: list[Axis] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    """What x may be, in order, where it is no number."""


@dataclass(frozen=True)
class Chart:
    """One picture: what it shows, in words, and its panels; without any, the words say why."""

    name: str
    title: str
    caption: str
    panels: list[Panel]


def charts(run: Run) -> list[Chart]:
    """Return what is worth drawing of a run: of a search its trials, of a training its learning."""
    if "baseline" in run.record:
        return [metric_over_updates(run), *_of_hyperparameters(run)]
    return [chart for chart in (returns(run), throughput(run), waiting(run), learning(run)) if chart.panels]


# Searches


def roles(run: Run) -> dict[str, str]:
    """Return by trial_id what became of each trial: a key of ROLES."""
    best, ended = run.best(run.metric, run.mode), run.ran_to_their_end

    def role(trial: Any, to_the_end: bool) -> str:
        if trial.status == "ERROR":
            return "failed"
        if best is not None and trial.trial_id == best["trial_id"] and "baseline" in run.record:
            return "best"
        if trial.baseline:
            return "baseline"
        if trial.status != "TERMINATED":
            return "running"
        return "ended" if to_the_end else "stopped"

    rows = run.trials[["trial_id", "status", "baseline"]].itertuples()
    return {str(row.trial_id): role(row, end) for row, end in zip(rows, ended, strict=True)}


def metric_over_updates(run: Run) -> Chart:
    """Return a curve per trial: the run's metric over what the run counts."""
    role, x = roles(run), _x(run.history)
    shown = best_first(run)[:MOST_CURVES]
    points = _with(run.history, run.metric)
    groups = dict(tuple(points.groupby("trial_id")))
    series = [
        Series(
            trial_id,
            rows[x].tolist(),
            rows[run.metric].tolist(),
            role[trial_id],
            [trial_id] * len(rows),
            marks=True,
        )
        for trial_id, rows in ((trial_id, groups[trial_id]) for trial_id in shown if trial_id in groups)
    ]
    better = "lower" if run.mode == "min" else "higher"
    panel = Panel(
        _X.get(x, x), run.metric, series, log_y=_is_wide([value for one in series for value in one.y])
    )
    flags = run.record.get("flags", {})
    more = run.metric in OF_SAMPLES and flags.get("num_final_samples", 0) > flags.get("num_report_samples", 0)
    caption = f"A curve a trial; {better} is better. Scores compare at equal updates{', and the last is of more samples' if more else ''}."
    caption += _only(MOST_CURVES, len(role))
    if not series:
        return Chart("curves", run.metric, f"No trial has reported a {run.metric} that is a number.", [])
    return Chart("curves", f"{run.metric} over {_X.get(x, x)}", caption, [panel])


def best_first(run: Run) -> list[str]:
    """Return the trial_ids: the best, the baseline, then those that ran to their end by score, the failed, and the rest by score."""
    role, order = roles(run), {"best": 0, "baseline": 1, "ended": 2, "failed": 3}
    scored = _with(run.trials, run.metric)
    scores = (
        dict(zip(scored["trial_id"], scored[run.metric] * (1 if run.mode == "min" else -1), strict=True))
        if len(scored)
        else {}
    )
    return sorted(role, key=lambda trial_id: (order.get(role[trial_id], 4), scores.get(trial_id, math.inf)))


def searched(run: Run) -> list[str]:
    """Return the names of the hyperparameters that were searched and differ between trials."""
    names = [name for name in run.record["baseline"] if f"config/{name}" in run.trials]
    return [name for name in names if run.trials[f"config/{name}"].map(str).nunique() > 1]


def _of_hyperparameters(run: Run) -> list[Chart]:
    names = searched(run)
    scored = _with(run.trials, run.metric)
    if not names or len(scored) < 2:
        return []
    some = _only(MOST_POINTS, len(scored))
    scored = scored.set_index("trial_id", drop=False)
    scored = scored.loc[[trial_id for trial_id in best_first(run) if trial_id in scored.index][:MOST_POINTS]]
    weights, reason = importances.of(run, names)
    bars = (
        [Panel("importance", "", [Series("", list(weights), list(weights.values()))], "bars")]
        if weights
        else []
    )
    return [
        parallel(run, names, scored, some),
        Chart("importances", f"What {run.metric} depends on", reason, bars),
        scatter(run, names, scored, some),
    ]


def parallel(run: Run, names: list[str], scored: pd.DataFrame, some: str) -> Chart:
    """Return parallel coordinates: an upright per hyperparameter, a line per trial, coloured by the metric of its last report."""
    axes = [_axis(name, scored[f"config/{name}"]) for name in names] + [
        _axis(run.metric, scored[run.metric], as_names=False)
    ]
    caption = (
        "A line a trial, coloured by its last score. In the browser, drag along an upright to keep only those that pass there."
        + some
    )
    return Chart(
        "parallel", "Hyperparameters and score", caption, [Panel("", "", kind="parallel", axes=axes)]
    )


def scatter(run: Run, names: list[str], scored: pd.DataFrame, some: str) -> Chart:
    """Return a panel per hyperparameter: a point per trial, its last score over the value that it had."""
    role = roles(run)
    log_y = _is_wide(scored[run.metric])
    panels = []
    for name in names:
        column = scored[f"config/{name}"]
        as_names = _as_names(column)
        names_on_x = _names(column) if as_names else []
        series = []
        for wanted, words in reversed(ROLES.items()):
            rows = scored[[role[trial_id] == wanted for trial_id in scored["trial_id"]]]
            x = (
                [_named(value) for value in rows[f"config/{name}"]]
                if as_names
                else rows[f"config/{name}"].tolist()
            )
            if x:
                series.append(
                    Series(words, x, rows[run.metric].tolist(), wanted, rows["trial_id"].tolist(), marks=True)
                )
        panels.append(
            Panel(
                name,
                run.metric,
                series,
                "points",
                log_x=not as_names and _is_wide(column),
                log_y=log_y,
                names=names_on_x,
            )
        )
    return Chart(
        "scatter",
        f"{run.metric} by hyperparameter",
        "A point a trial: its last score, whatever number of updates it came to." + some,
        panels,
    )


def _only(most: int, of: int) -> str:
    return f" Only the best {most} of {of} are drawn." if of > most else ""


def _axis(label: str, values: pd.Series, as_names: bool | None = None) -> Axis:
    if _as_names(values) if as_names is None else as_names:
        order = _names(values)
        return Axis(
            label,
            [float(order.index(_named(value))) for value in values],
            {float(i): name for i, name in enumerate(order)},
        )
    log = _is_wide(values)
    positions = np.log10(values.astype(float)) if log else values.astype(float)
    low, high = positions.min(), positions.max()
    at = np.linspace(low, high, 5) if high > low else np.array([low])
    return Axis(label, positions.tolist(), {float(p): f"{10**p if log else p:.3g}" for p in at})


def _as_names(values: pd.Series) -> bool:
    """Return whether values are choices rather than draws from a range: words, or few numbers of which some come again."""
    return not is_finite(values).all() or values.nunique() <= min(MOST_NAMES, len(values) - 1)


def _names(values: pd.Series) -> list[str]:
    """Return what stands on an axis of names, each once: numbers in their order, then words."""
    numbers = {_named(value): value for value in values if isinstance(value, int | float) and value == value}
    return [
        *sorted(numbers, key=numbers.__getitem__),
        *sorted({_named(value) for value in values} - numbers.keys()),
    ]


def _named(value: Any) -> str:
    if value is None or value != value:
        return "none"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _is_wide(values: Any) -> bool:
    """Return whether values are positive and more than a factor of 20 apart: a linear axis would not tell the small ones apart."""
    values = np.asarray(values, float)
    return bool(len(values) and values.min() > 0 and values.max() > 20 * values.min())


# Several runs


def comparison(runs: Sequence[Run]) -> list[Chart]:
    """Return a chart per metric and environment or dataset: a curve per run, of its best trial, or of its first where none has a score."""
    panels: dict[tuple[str, str, str], Panel] = {}
    names = [run.folder.resolve().name for run in runs]
    for run, name in zip(runs, names, strict=True):
        best = run.best(run.metric, run.mode)
        trial_id = best["trial_id"] if best is not None else next(iter(run.trials["trial_id"]), None)
        x, of = (
            _x(run.history),
            str(run.record.get("flags", {}).get("env") or run.record.get("dataset") or ""),
        )
        panel = panels.setdefault((run.metric, x, of), Panel(_X.get(x, x), run.metric))
        rows = _with(run.history[run.history["trial_id"] == trial_id], run.metric)
        if len(rows):
            label = name if names.count(name) == 1 else "/".join(run.folder.resolve().parts[-2:])
            panel.series.append(
                Series(
                    label,
                    rows[x].tolist(),
                    rows[run.metric].tolist(),
                    "",
                    [str(run.folder)] * len(rows),
                    marks=True,
                )
            )
    caption = "A curve a run: of its best trial, or of its first where none has run to its end."
    drawn = [
        (f"{metric} on {of}" if of else metric, panel)
        for (metric, _, of), panel in panels.items()
        if panel.series
    ]
    return [Chart(f"comparison-{i}", title, caption, [panel]) for i, (title, panel) in enumerate(drawn)]


# Trainings


def returns(run: Run) -> Chart:
    """Return the learning curve: mean returns over environment steps."""
    env = run.record.get("flags", {}).get("env")
    greedy, sampled = "evaluation/env_runners/episode_return_mean", "env_runners/episode_return_mean"
    lines = (
        {"the homework's goal": 300.0}
        if run.record.get("program") == "train_dqn" and env == "CartPole-v1"
        else {}
    )
    panel = _quantities(
        run,
        {sampled: "the last episodes of training", greedy: "evaluation, greedy"},
        "mean return per episode",
        lines,
    )
    caption = "Mean return of the last episodes that were played to learn from, and of those played greedily at each evaluation."
    return Chart("returns", f"Return on {env}", caption, panel)


def throughput(run: Run) -> Chart:
    """Return how fast the training went."""
    panels = _quantities(run, {"env_steps_per_s": ""}, "environment steps per second") + _quantities(
        run, {"updates_per_s": ""}, "updates per second"
    )
    return Chart(
        "throughput", "Throughput", "Steps played and updates done, per second of each report.", panels
    )


def waiting(run: Run) -> Chart:
    """Return who waits for whom, and how old the weights are that episodes were played with."""
    idle = {"learner_idle_share": "the learner", "env_runners_idle_share": "the env runners"}
    panels = _quantities(run, idle, "share of the time spent waiting") + _quantities(
        run, {"weights_lag": ""}, "weights lag (updates of the weights)"
    )
    caption = "The share of its time that each side waits for the other, and how many versions of the weights behind the learner rollouts are."
    return Chart("waiting", "Waiting and lag", caption, panels)


def learning(run: Run) -> Chart:
    """Return what the learner reports: losses, entropy, values, rates."""
    names = [str(name) for name in run.history if str(name).startswith(_LEARNED)]
    counts = ("num_updates_lifetime", "weights_seq_no", "num_episodes", "replay_size")
    names = [name for name in names if name.removeprefix(_LEARNED) not in counts]
    panels = [panel for name in names for panel in _quantities(run, {name: ""}, name.removeprefix(_LEARNED))]
    return Chart(
        "learning", "Learning", "What the learner reports, as means over each report's updates.", panels
    )


def _quantities(
    run: Run, columns: dict[str, str], y_label: str, lines: dict[str, float] | None = None
) -> list[Panel]:
    """Return a panel with a series per column that has a number anywhere; none where no column has."""
    x = _x(run.history)
    series = []
    for column, label in columns.items():
        rows = _with(run.history, column)
        for trial_id, points in rows.groupby("trial_id"):
            series.append(
                Series(
                    label,
                    points[x].tolist(),
                    points[column].tolist(),
                    trial_ids=[str(trial_id)] * len(points),
                    marks=column.startswith("evaluation") or len(points) == 1,
                )
            )
    return [Panel(_X.get(x, x), y_label, series, lines=lines or {})] if series else []


def _with(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return the rows that have a number in a column which can be drawn: a finite one, and not of the greatest, which no axis reaches."""
    finite = rows[is_finite(rows[column])] if column in rows else rows.iloc[:0]
    return finite[finite[column].abs() < 1e200] if len(finite) else finite


def _x(history: pd.DataFrame) -> str:
    """Return the column that curves are drawn over."""
    return next((name for name in _X if name in history), "iteration")
