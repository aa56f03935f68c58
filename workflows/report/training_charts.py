"""The charts of a training: returns, speed, who waits for whom, and what the learner reports."""

from __future__ import annotations

from workflows.programs import GREEDY_RETURN, RETURN
from workflows.report.charts import Chart, Panel, Series, with_numbers, x_column, x_label
from workflows.results import Run

LEARNER = "learners/default_policy/"
"""Prefix of what the learner reports."""
COUNTS = ("num_updates_lifetime", "weights_seq_no", "num_episodes", "replay_size")


def returns(run: Run) -> Chart:
    """Return the learning curve: mean returns over environment steps."""
    env = run.flags.get("env")
    goals = dict([run.program.goals[env]]) if env in run.program.goals else {}
    columns = {RETURN: "the last episodes of training", GREEDY_RETURN: "evaluation, greedy"}
    panels = _quantities(run, columns, "mean return per episode", goals)
    caption = "Mean return of the last training episodes, and of the greedy episodes of each evaluation."
    return Chart("returns", f"Return on {env}", caption, panels)


def throughput(run: Run) -> Chart:
    """Return how fast the training went."""
    panels = _quantities(run, {"env_steps_per_s": ""}, "environment steps per second")
    panels += _quantities(run, {"updates_per_s": ""}, "updates per second")
    return Chart(
        "throughput", "Throughput", "Environment steps and updates per second of each report.", panels
    )


def waiting(run: Run) -> Chart:
    """Return who waits for whom, and how old the weights of the rollouts are."""
    idle = {"learner_idle_share": "the learner", "env_runners_idle_share": "the env runners"}
    panels = _quantities(run, idle, "share of the time spent waiting")
    panels += _quantities(run, {"weights_lag": ""}, "weights lag (updates of the weights)")
    caption = (
        "The share of its time that each side waits, and how many weights versions the rollouts lag behind."
    )
    return Chart("waiting", "Waiting and lag", caption, panels)


def learning(run: Run) -> Chart:
    """Return what the learner reports: losses, entropy, values, rates."""
    panels: list[Panel] = []
    for column in map(str, run.history):
        name = column.removeprefix(LEARNER)
        if column.startswith(LEARNER) and name not in COUNTS:
            panels += _quantities(run, {column: ""}, name)
    return Chart(
        "learning", "Learning", "What the learner reports, as means over each report's updates.", panels
    )


def _quantities(
    run: Run, columns: dict[str, str], y_label: str, lines: dict[str, float] | None = None
) -> list[Panel]:
    """Return one panel with a series for each column that has numbers; none if no column has."""
    x = x_column(run)
    series = []
    for column, label in columns.items():
        for trial_id, points in with_numbers(run.history, column).groupby("trial_id"):
            ids = [str(trial_id)] * len(points)
            marks = column.startswith("evaluation") or len(points) == 1
            xs, ys = points[x].tolist(), points[column].tolist()
            series.append(Series(label, xs, ys, trial_ids=ids, marks=marks))
    return [Panel(x_label(run), y_label, series, lines=lines or {})] if series else []
