"""Run folders made by hand, whole and broken, as tables."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from run_folders import line, make_run

from workflows.common import results


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = make_run(
        tmp_path / "run",
        [
            {"trial_id": "t_1", "status": "TERMINATED", "config": {"lr": 3}, "reports": line(1, 9) + line(2, 1.0)},
            {"trial_id": "t_0", "status": "TERMINATED", "config": {"lr": 1}, "reports": "".join(line(i, 9 - i) for i in (1, 2, 3, 4))},
            {"trial_id": "t_2", "status": "ERROR", "config": {"lr": 5}, "reports": line(1, 8)},
            {
                "trial_id": "t_3",
                "status": "RUNNING",
                "config": {"lr": 7},
                "reports": line(1, 7) + line(2, 5) + line(2, 6) + '{"training_iter',
            },
            {"trial_id": "t_4", "status": "PENDING", "config": {"lr": 8}},
            {"trial_id": "t_5", "status": "TERMINATED", "config": {"lr": 9}, "reports": "".join(line(i, 6 - i) for i in (1, 2, 3, 4))},
        ],
    )
    (folder / "t_2" / "error.txt").write_text(
        "Failure # 1\nray.exceptions.RayTaskError(Oops): ray::x()\n  File\nmy.module.Oops: loss is nan\n"
    )
    for number in (2, 9, 10):
        (folder / "t_5" / f"checkpoint_{number:06d}").mkdir()
    (folder / "t_5" / "checkpoint_000009" / "trainer.pt").write_text("x")
    return folder


def test_trials_are_a_row_each_in_their_order_with_the_truth_where_nothing_is_known(run: Path) -> None:
    trials = results.load_trials(run).set_index("trial_id")
    assert list(trials.index) == ["t_0", "t_1", "t_2", "t_3", "t_4", "t_5"]
    assert list(trials["status"]) == ["TERMINATED", "TERMINATED", "ERROR", "RUNNING", "PENDING", "TERMINATED"]
    assert trials.loc["t_2", "error"] == "Oops: loss is nan"
    assert trials["error"].isna().sum() == 5
    assert list(trials["config/lr"]) == [1, 3, 5, 7, 8, 9]
    assert list(trials["baseline"]) == [True, False, False, False, False, False]
    assert trials.loc["t_3", "fid"] == 6  # the report that was written last counts, and the one cut off does not
    assert np.isnan(trials.loc["t_4", "fid"])
    assert np.isnan(trials.loc["t_4", "iteration"])
    assert trials.loc["t_5", "checkpoint"] == str(run / "t_5" / "checkpoint_000009")  # an empty folder is no checkpoint
    assert pd.isna(trials.loc["t_0", "checkpoint"])
    assert pd.api.types.is_numeric_dtype(trials["fid"])
    assert "pid" not in trials


def test_history_is_a_row_a_report(run: Path) -> None:
    history = results.load_history(run)
    assert len(history) == 4 + 2 + 1 + 2 + 4
    assert list(history[history["trial_id"] == "t_3"]["iteration"]) == [1, 2]


def test_best_is_among_those_that_ran_to_their_end(run: Path) -> None:
    best = results.best(run, "fid", "min")
    assert best is not None
    assert best["trial_id"] == "t_5"  # t_1 has a lower fid, from half the training
    worst = results.best(run, "fid", "max")
    assert worst is not None
    assert worst["trial_id"] == "t_0"
    assert results.best(run, "no such metric", "min") is None


def test_tables_are_written_and_read_back(run: Path) -> None:
    (run / "t_5" / "samples").mkdir()
    (run / "t_5" / "samples" / "000250.png").write_bytes(b"png")
    results.write_tables(run)
    pd.testing.assert_series_equal(pd.read_csv(run / "trials.csv")["fid"], results.load_trials(run)["fid"])
    assert len(pd.read_csv(run / "history.csv")) == 13
    best = json.loads((run / "best.json").read_text())
    assert best == {
        "trial_id": "t_5", "metric": "fid", "mode": "min", "value": 2.0, "config": {"lr": 9},
        "checkpoint": str(run / "t_5" / "checkpoint_000009"),
    }  # fmt: skip
    assert (run / "samples" / "t_5_000250.png").read_bytes() == b"png"
    assert not list(run.glob("*.part"))


def test_a_run_without_a_finished_trial_has_no_best(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [{"trial_id": "t_0", "status": "RUNNING", "config": {"lr": 1}, "reports": line(1, 3)}])
    results.write_tables(run)
    assert not (run / "best.json").exists()
    assert len(pd.read_csv(run / "trials.csv")) == 1


def test_a_run_that_never_started_has_empty_tables(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [])
    assert results.load_trials(run).empty
    assert results.load_history(run).empty
    (run / "experiment_state-2026-01-01_00-00-00.json").unlink()
    assert results.load_trials(run).empty
