"""What is drawn of a run, as numbers: those of its tables, and no others."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from run_folders import GREEDY, line, make_run, make_training, trial

from workflows import results
from workflows.report import charts, figures, plotly, search_charts
from workflows.report.charts import Chart, Panel
from workflows.results import Run


def search(folder: Path, trials: list[dict[str, Any]], **record: Any) -> Run:
    return results.load(make_run(folder, trials, program="tune_gan", **record))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """The baseline, the best, another one that ran to its end, two that were stopped, one of each other
    kind.
    """
    return search(
        tmp_path / "run",
        [
            trial(0, 9, 8, 7, 6, lr=1, width=32),
            trial(1, 5, 4, 3, 2, lr=2, width=32),
            trial(2, 5, 5, 5, 4, lr=3, width=32),
            trial(3, 5, 1, lr=4, width=64),
            trial(4, 3, lr=5, width=64),
            trial(5, 8, 7.5, status="ERROR", lr=6, width=64),
            trial(6, 9, 8, status="RUNNING", lr=7, width=64),
            trial(7, status="PENDING", lr=8, width=64),
            trial(8, math.nan, math.inf, lr=9, width=64),
        ],
        baseline={"lr": 1, "width": 32},
        preset={"same": 5, "unsearched": 7},
    )


def by_name(drawn: list[Chart]) -> dict[str, Chart]:
    return {chart.name: chart for chart in drawn}


def points(panel: Panel) -> list[tuple[str, Any, float]]:
    return [
        (id_, x, y)
        for series in panel.series
        for id_, x, y in zip(series.trial_ids, series.x, series.y, strict=True)
    ]


# Roles and order


def test_what_became_of_each_trial(run: Run) -> None:
    assert search_charts.roles(run) == {
        "t_00000": "baseline",
        "t_00001": "best",
        "t_00002": "ended",
        "t_00003": "stopped",  # though its last score is the least
        "t_00004": "stopped",
        "t_00005": "failed",
        "t_00006": "running",
        "t_00007": "running",
        "t_00008": "stopped",
    }
    assert set(search_charts.roles(run).values()) == set(charts.ROLES)


def test_a_baseline_that_is_best_is_the_best_and_one_that_failed_has_failed(tmp_path: Path) -> None:
    best = search(tmp_path / "a", [trial(0, 1, lr=1), trial(1, 2, lr=2)], num_reports=1)
    assert search_charts.roles(best) == {"t_00000": "best", "t_00001": "ended"}
    failed = search(tmp_path / "b", [trial(0, 1, status="ERROR", lr=1), trial(1, 2, lr=2)], num_reports=1)
    assert search_charts.roles(failed) == {"t_00000": "failed", "t_00001": "best"}
    running = search(
        tmp_path / "c",
        [trial(0, 1, status="RUNNING", lr=1), trial(1, 2, status="RUNNING", lr=2)],
        num_reports=2,
    )
    assert search_charts.roles(running) == {"t_00000": "baseline", "t_00001": "running"}


def test_a_training_has_no_best_among_its_one_trial(tmp_path: Path) -> None:
    for status, role in (("TERMINATED", "ended"), ("RUNNING", "running"), ("ERROR", "failed")):
        assert list(
            search_charts.roles(
                results.load(make_training(tmp_path / status, [None, 20.0], status=status))
            ).values()
        ) == [role]


def test_the_best_come_first_then_what_failed_then_the_rest_by_score(run: Run) -> None:
    order = [
        "t_00001",
        "t_00000",
        "t_00002",
        "t_00005",
        "t_00003",
        "t_00004",
        "t_00006",
        "t_00007",
        "t_00008",
    ]
    assert search_charts.best_first(run) == order, "and those without a score, NaN or infinite, are the last"


@pytest.mark.parametrize(("mode", "order"), [("min", [1, 3, 2, 0, 4, 5]), ("max", [2, 3, 1, 0, 4, 5])])
def test_the_order_is_by_the_way_that_is_better(tmp_path: Path, mode: str, order: list[int]) -> None:
    trials = [
        trial(i, score, lr=10 + i) for i, score in enumerate([math.nan, 1.0, 3.0, 2.0, math.inf, -math.inf])
    ]
    assert search_charts.best_first(search(tmp_path / "run", trials, mode=mode, num_reports=1)) == [
        f"t_{i:05d}" for i in order
    ]


def test_searched_are_those_that_differ(run: Run, tmp_path: Path) -> None:
    assert search_charts.searched(run) == ["lr", "width"]
    one = search(tmp_path / "one", [trial(0, 9, 8, 7, 6, lr=1)])
    assert search_charts.searched(one) == []
    alike = search(
        tmp_path / "alike",
        [trial(0, 1, lr=1, same=5), trial(1, 1, lr=2, same=5)],
        baseline={"lr": 1, "same": 5, "absent": 0},
    )
    assert search_charts.searched(alike) == ["lr"]
    lists = search(
        tmp_path / "lists",
        [trial(0, 1, lr=[1, 2], k={"a": 1}), trial(1, 1, lr=[1, 2], k={"a": 2})],
        baseline={"lr": 0, "k": 0},
    )
    assert search_charts.searched(lists) == ["k"]


# Curves


def test_a_curve_is_a_trials_reports_that_have_a_number(run: Run) -> None:
    (panel,) = search_charts.curves(run).panels
    curves = {series.label: (series.x, series.y, series.role) for series in panel.series}
    assert curves["t_00001"] == ([10, 20, 30, 40], [5, 4, 3, 2], "best")
    assert curves["t_00006"] == ([10, 20], [9, 8], "running")
    assert set(curves) == {f"t_0000{i}" for i in range(7)}, "a curve of no points is none"
    assert (panel.x_label, panel.y_label, panel.log_y) == ("updates", "fid", False)
    assert "lower is better" in search_charts.curves(run).caption


@pytest.mark.parametrize(
    ("most", "said"),
    [(8, " Only the best 8 of 9 are drawn."), (9, ""), (3, " Only the best 3 of 9 are drawn.")],
)
def test_of_many_curves_the_best_are_drawn_and_the_caption_says_so(
    run: Run, monkeypatch: pytest.MonkeyPatch, most: int, said: str
) -> None:
    monkeypatch.setattr(search_charts, "MAX_CURVES", most)
    chart = search_charts.curves(run)
    assert [series.label for series in chart.panels[0].series] == [
        id_ for id_ in search_charts.best_first(run)[:most] if id_ < "t_00007"
    ]
    assert chart.caption.endswith("at equal updates." + said)


@pytest.mark.parametrize(("least", "is_log"), [(5.0, False), (4.9, True), (0.0, False), (-1.0, False)])
def test_an_axis_is_by_decades_where_scores_are_positive_and_far_apart(
    tmp_path: Path, least: float, is_log: bool
) -> None:
    run = search(tmp_path / "run", [trial(0, 100, least, lr=1), trial(1, 50, 60, lr=2)])
    assert search_charts.curves(run).panels[0].log_y is is_log


def test_a_search_without_a_score_draws_no_curve_and_says_why_nothing_else(tmp_path: Path) -> None:
    for name, score in (("nan", math.nan), ("word", "x"), ("none", None), ("list", [1])):
        run = search(tmp_path / name, [trial(0, score, lr=1), trial(1, score, lr=2)], num_reports=1)
        assert [(chart.name, chart.panels) for chart in figures.charts(run)] == [("curves", [])]
    empty = search(tmp_path / "empty", [trial(0, lr=1), trial(1, status="PENDING", lr=2)])
    assert [(chart.name, chart.panels) for chart in figures.charts(empty)] == [("curves", [])]


def test_a_number_too_great_for_any_axis_is_not_drawn(tmp_path: Path) -> None:
    run = search(
        tmp_path / "run",
        [trial(0, 1.7e308, lr=1), trial(1, -1.7e308, lr=2), trial(2, 3.0, lr=3)],
        num_reports=1,
    )
    assert points(search_charts.curves(run).panels[0]) == [("t_00002", 10, 3.0)]


# Hyperparameters


def test_a_point_of_a_scatter_is_a_trials_last_score_over_its_value(run: Run) -> None:
    drawn = by_name(figures.charts(run))["scatter"]
    by_lr, by_width = drawn.panels
    scored = run.trials[np.isfinite(run.trials["fid"])]
    assert len(scored) == 7
    assert sorted(points(by_lr)) == sorted(
        zip(scored["trial_id"], scored["config/lr"], scored["fid"], strict=True)
    )
    assert sorted(points(by_width)) == sorted(
        zip(scored["trial_id"], scored["config/width"].map(str), scored["fid"], strict=True)
    )
    assert by_width.names == ["32", "64"], "few values are names, whole numbers as they are"
    assert (by_lr.names, by_lr.x_label, by_lr.y_label) == ([], "lr", "fid")
    roles = search_charts.roles(run)
    for series in by_lr.series:
        assert {roles[trial_id] for trial_id in series.trial_ids} == {series.role}
    assert by_lr.series[-1].role == "best", "drawn last, over the others"


def test_an_upright_of_parallel_coordinates_has_a_place_for_every_trial(run: Run) -> None:
    (panel,) = by_name(figures.charts(run))["parallel"].panels
    lr, width, fid = panel.axes
    order = [id_ for id_ in search_charts.best_first(run) if id_ < "t_00007"]
    rows = run.trials.set_index("trial_id").loc[order]
    assert lr.positions == rows["config/lr"].tolist()
    assert [width.ticks[at] for at in width.positions] == rows["config/width"].map(str).tolist()
    assert fid.positions == rows["fid"].tolist()
    assert (lr.label, width.label, fid.label) == ("lr", "width", "fid")
    assert min(fid.ticks) == min(fid.positions)
    assert max(fid.ticks) == max(fid.positions)
    assert fid.ticks[min(fid.ticks)] == "1"


def test_an_upright_by_decades_has_logarithms_for_places_and_values_for_ticks(tmp_path: Path) -> None:
    run = search(tmp_path / "run", [trial(i, 1.0 + i, lr=10.0**-i) for i in range(8)], num_reports=1)
    (panel,) = by_name(figures.charts(run))["parallel"].panels
    assert panel.axes[0].positions == pytest.approx([0, -1, -2, -3, -4, -5, -6, -7])
    assert panel.axes[0].ticks[-7.0] == "1e-07"
    (scatter,) = by_name(figures.charts(run))["scatter"].panels
    assert scatter.log_x
    assert [x for _, x, _ in sorted(points(scatter))] == [10.0**-i for i in range(8)]


@pytest.mark.parametrize(("most", "said"), [(6, " Only the best 6 of 7 are drawn."), (7, "")])
def test_of_many_points_the_best_are_drawn_and_the_captions_say_so(
    run: Run, monkeypatch: pytest.MonkeyPatch, most: int, said: str
) -> None:
    monkeypatch.setattr(search_charts, "MAX_POINTS", most)
    drawn = by_name(figures.charts(run))
    kept = {id_ for id_ in search_charts.best_first(run)[:most]}
    assert {id_ for id_, _, _ in points(drawn["scatter"].panels[0])} == kept
    assert len(drawn["parallel"].panels[0].axes[0].positions) == most
    for name in ("scatter", "parallel"):
        assert drawn[name].caption.endswith("." + said)


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([None, 0.5, 1.0, None], ["0.5", "1", "none"]),
        ([True, False, True, True], ["False", "True"]),
        (["b", "a", "größer 数", "$x^$"], ["$x^$", "a", "b", "größer 数"]),
        ([[64, 64], [64], [64, 64], None], ["[64, 64]", "[64]", "none"]),
        ([10, 9, None, "auto"], ["9", "10", "auto", "none"]),
        ([{"a": 1}, {"a": 2}, 0.5, math.inf], ["0.5", "inf", "{'a': 1}", "{'a': 2}"]),
        ([3, 20, 100, 3], ["3", "20", "100"]),
    ],
    ids=str,
)
def test_what_is_no_number_or_one_of_few_is_a_name(
    tmp_path: Path, values: list[Any], names: list[str]
) -> None:
    run = search(
        tmp_path / "run",
        [trial(i, 1.0 + i, lr=value) for i, value in enumerate(values)],
        num_reports=1,
        baseline={"lr": -1},
    )
    drawn = by_name(figures.charts(run))
    (panel,) = drawn["scatter"].panels
    axis = drawn["parallel"].panels[0].axes[0]
    assert panel.names == names
    assert list(axis.ticks.values()) == names
    assert [axis.ticks[at] for at in axis.positions] == [x for _, x, _ in sorted(points(panel))]
    assert {x for _, x, _ in points(panel)} == set(names)


@pytest.mark.parametrize(("different", "as_names"), [(6, True), (7, False)])
def test_up_to_six_numbers_are_names_and_more_an_axis(tmp_path: Path, different: int, as_names: bool) -> None:
    trials = [trial(i, 1.0 + i, lr=i % different) for i in range(12)]
    drawn = by_name(figures.charts(search(tmp_path / "run", trials, num_reports=1, baseline={"lr": -1})))
    assert bool(drawn["scatter"].panels[0].names) is as_names
    assert drawn["parallel"].panels[0].axes[0].positions == [i % different for i in range(12)]


def test_one_value_that_is_missing_or_infinite_among_many_is_drawn_by_name_too(tmp_path: Path) -> None:
    for odd in (None, math.inf, math.nan):
        trials = [trial(i, 1.0 + i, lr=odd if i == 3 else 0.1 * i) for i in range(12)]
        drawn = by_name(figures.charts(search(tmp_path / str(odd), trials, num_reports=1)))
        assert len(drawn["scatter"].panels[0].names) == 12
        assert len(points(drawn["scatter"].panels[0])) == 12


def test_nothing_is_said_of_hyperparameters_by_one_trial_or_without_any_that_differ(tmp_path: Path) -> None:
    one = search(tmp_path / "one", [trial(0, 1, lr=1), trial(1, lr=2)], num_reports=1)
    alike = search(tmp_path / "alike", [trial(0, 1, lr=1), trial(1, 2, lr=1)], num_reports=1)
    for run in (one, alike):
        assert [chart.name for chart in figures.charts(run)] == ["curves"]


SCORES = st.lists(st.floats(allow_nan=True, allow_infinity=True) | st.integers(-100, 100), max_size=4)
VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-3, 10**6)
    | st.floats()
    | st.sampled_from(["a", "b"])
    | st.lists(st.integers(0, 2))
)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.tuples(SCORES, VALUES, st.sampled_from(["TERMINATED", "ERROR", "RUNNING", "PENDING"])),
        min_size=1,
        max_size=8,
    ),
    st.sampled_from(["min", "max"]),
)
def test_whatever_a_search_left_every_number_drawn_is_one_of_its_tables(
    tmp_path_factory: pytest.TempPathFactory, made: list[tuple[list[float], Any, str]], mode: str
) -> None:
    trials = [trial(i, *scores, status=status, lr=value) for i, (scores, value, status) in enumerate(made)]
    run = search(tmp_path_factory.mktemp("runs") / "run", trials, mode=mode)
    assert sorted(search_charts.best_first(run)) == run.trials["trial_id"].tolist()
    in_history = set(
        zip(run.history["trial_id"], run.history.get("updates", []), run.history.get("fid", []), strict=False)
    )
    in_trials = set(zip(run.trials["trial_id"], run.trials.get("fid", []), strict=False))
    for chart in figures.charts(run):
        json.dumps([[series.x, series.y] for panel in chart.panels for series in panel.series])
        for panel in chart.panels:
            assert all(math.isfinite(y) for series in panel.series for y in series.y)
            if chart.name == "curves":
                assert set(points(panel)) <= in_history
            if chart.name == "scatter":
                assert {(id_, y) for id_, _, y in points(panel)} <= in_trials


# Trainings


def test_a_training_is_drawn_over_environment_steps_as_its_reports_have_it(tmp_path: Path) -> None:
    run = results.load(make_training(tmp_path / "run", [None, 20.0, None, 350.0]))
    drawn = by_name(figures.charts(run))
    assert list(drawn) == ["returns", "throughput", "waiting", "learning"]
    (returns,) = drawn["returns"].panels
    sampled, greedy = returns.series
    assert (sampled.x, sampled.y) == ([2000, 3000, 4000], [20, 30, 40]), (
        "no episode had ended by the first report"
    )
    assert (greedy.x, greedy.y) == ([2000, 4000], [20, 350])
    assert greedy.label == "evaluation, greedy"
    assert returns.x_label == "environment steps"
    assert returns.lines == {"the reference goal": 300}
    assert drawn["returns"].title == "Return on CartPole-v1"
    for name, columns in (
        ("throughput", ["env_steps_per_s", "updates_per_s"]),
        ("waiting", ["learner_idle_share", "env_runners_idle_share", "weights_lag"]),
        ("learning", ["learners/default_policy/total_loss"]),  # and no mere count
    ):
        series = [one for panel in drawn[name].panels for one in panel.series]
        for one, column in zip(series, columns, strict=True):
            assert one.x == run.history["num_env_steps_sampled_lifetime"].tolist()
            assert one.y == run.history[column].tolist()
            assert set(one.trial_ids) == {"t_00000"}


@pytest.mark.parametrize(
    ("program", "env"), [("train_reinforce", "CartPole-v1"), ("train_dqn", "Acrobot-v1")]
)
def test_the_homeworks_goal_is_of_dqn_on_cartpole_only(tmp_path: Path, program: str, env: str) -> None:
    run = results.load(make_training(tmp_path / "run", [20.0, 30.0], program=program, flags={"env": env}))
    assert by_name(figures.charts(run))["returns"].panels[0].lines == {}


def test_a_training_without_a_report_has_nothing_to_draw(tmp_path: Path) -> None:
    assert figures.charts(results.load(make_training(tmp_path / "run", [], status="RUNNING"))) == []


def test_a_training_that_was_never_evaluated_draws_what_there_is(tmp_path: Path) -> None:
    run = results.load(make_training(tmp_path / "run", [None, None], status="RUNNING"))
    assert [series.y for series in by_name(figures.charts(run))["returns"].panels[0].series] == [[20.0]]


# Several runs


def test_runs_of_one_metric_share_a_chart_a_curve_each_of_the_best_trial(run: Run, tmp_path: Path) -> None:
    training = results.load(make_training(tmp_path / "training", [None, 20.0, None, 50.0]))
    other = results.load(make_training(tmp_path / "other", [None, 40.0], status="RUNNING"))
    begun = search(
        tmp_path / "begun", [trial(0, 9, 8, status="RUNNING", lr=1), trial(1, 5, 4, status="RUNNING", lr=2)]
    )
    empty = search(tmp_path / "empty", [trial(0, status="PENDING", lr=1)])
    of_fid, of_return = figures.comparison([run, training, begun, other, empty])
    curves = {
        series.label: (series.x, series.y)
        for chart in (of_fid, of_return)
        for series in chart.panels[0].series
    }
    assert curves == {
        "run": ([10, 20, 30, 40], [5, 4, 3, 2]),
        "begun": ([10, 20], [9, 8]),  # no best yet: its first
        "training": ([2000, 4000], [20, 50]),
        "other": ([2000], [40]),
    }
    assert (of_fid.title, of_return.title) == ("fid", f"{GREEDY} on CartPole-v1")
    assert of_fid.name != of_return.name


def test_runs_of_different_environments_have_charts_of_their_own_and_runs_of_one_name_their_parents(
    tmp_path: Path,
) -> None:
    runs = []
    for folder, env in (("x", "CartPole-v1"), ("y", "CartPole-v1"), ("z", "Acrobot-v1")):
        (tmp_path / folder).mkdir()
        runs.append(results.load(make_training(tmp_path / folder / "run", [None, 50.0], flags={"env": env})))
    first, second = figures.comparison(runs)
    assert [first.title, second.title] == [f"{GREEDY} on CartPole-v1", f"{GREEDY} on Acrobot-v1"]
    assert [series.label for series in first.panels[0].series] == ["x/run", "y/run"]
    assert [series.label for series in second.panels[0].series] == ["z/run"]


def test_no_two_of_twenty_runs_look_alike(tmp_path: Path) -> None:
    runs = [results.load(make_training(tmp_path / str(i), [None, 50.0 + i])) for i in range(20)]
    (chart,) = figures.comparison(runs)
    traces = plotly.figure(chart.panels[0])["data"]
    assert len({(trace["line"]["color"], trace["line"]["dash"]) for trace in traces}) == 20


def test_a_training_of_one_report_is_drawn_as_points(tmp_path: Path) -> None:
    drawn = figures.charts(results.load(make_training(tmp_path / "run", [20.0])))
    series = [one for chart in drawn for panel in chart.panels for one in panel.series]
    assert series
    assert all(one.marks for one in series)


@pytest.mark.parametrize(
    ("metric", "flags", "more"),
    [
        ("fid_mnist", {"num_report_samples": 2000, "num_final_samples": 10_000}, True),
        ("fid_mnist", {"num_report_samples": 2000, "num_final_samples": 2000}, False),
        ("elbo", {"num_report_samples": 2000, "num_final_samples": 10_000}, False),
    ],
)
def test_the_last_score_is_of_more_samples_only_where_it_is(
    tmp_path: Path, metric: str, flags: dict[str, int], more: bool
) -> None:
    reports = line(1, 3.0, **{metric: 3.0, "updates": 10})
    run = search(tmp_path / "run", [trial(0) | {"reports": reports}], metric=metric, flags=flags)
    assert ("more samples" in figures.charts(run)[0].caption) == more


def test_runs_without_a_number_are_compared_by_no_chart(tmp_path: Path) -> None:
    empty = search(tmp_path / "empty", [trial(0, status="PENDING", lr=1)])
    assert figures.comparison([empty]) == []
    late = search(tmp_path / "late", [trial(0, lr=1), trial(1, 5, status="RUNNING", lr=2)])
    assert all(series.x for chart in figures.comparison([late]) for series in chart.panels[0].series)


def test_updates_that_a_report_lacks_do_not_shift_the_others(tmp_path: Path) -> None:
    reports = line(1, 9.0, updates=10) + line(2, 8.0) + line(3, 7.0, updates=30)
    run = search(tmp_path / "run", [trial(0, lr=1) | {"reports": reports}])
    found = points(search_charts.curves(run).panels[0])
    assert [(x, y) for _, x, y in found if not pd.isna(x)] == [(10, 9), (30, 7)]
