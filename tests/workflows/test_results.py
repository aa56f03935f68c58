"""Run folders made by hand, whole and broken, as tables."""

import json
import math
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from run_folders import GREEDY, STATE, line, make_run, make_training, state, trial

from workflows import results
from workflows.programs import PROGRAMS, program_of
from workflows.report import write as analysis
from workflows.runs import files


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = make_run(
        tmp_path / "run",
        [
            {
                "trial_id": "t_1",
                "status": "TERMINATED",
                "config": {"lr": 3},
                "reports": line(1, 9) + line(2, 1.0),
            },
            {
                "trial_id": "t_0",
                "status": "TERMINATED",
                "config": {"lr": 1},
                "reports": "".join(line(i, 9 - i) for i in (1, 2, 3, 4)),
            },
            {"trial_id": "t_2", "status": "ERROR", "config": {"lr": 5}, "reports": line(1, 8)},
            {
                "trial_id": "t_3",
                "status": "RUNNING",
                "config": {"lr": 7},
                "reports": line(1, 7) + line(2, 5) + line(2, 6) + '{"training_iter',
            },
            {"trial_id": "t_4", "status": "PENDING", "config": {"lr": 8}},
            {
                "trial_id": "t_5",
                "status": "TERMINATED",
                "config": {"lr": 9},
                "reports": "".join(line(i, 6 - i) for i in (1, 2, 3, 4)),
            },
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
    assert (
        trials.loc["t_3", "fid"] == 6
    )  # the report that was written last counts, and the one cut off does not
    assert np.isnan(trials.loc["t_4", "fid"])
    assert np.isnan(trials.loc["t_4", "iteration"])
    assert trials.loc["t_5", "checkpoint"] == str(
        run / "t_5" / "checkpoint_000009"
    )  # an empty folder is no checkpoint
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
    analysis.write_tables(results.load(run), run)
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
    run = make_run(
        tmp_path / "run",
        [{"trial_id": "t_0", "status": "RUNNING", "config": {"lr": 1}, "reports": line(1, 3)}],
    )
    analysis.write_tables(results.load(run), run)
    assert not (run / "best.json").exists()
    assert len(pd.read_csv(run / "trials.csv")) == 1


def test_a_run_that_never_started_has_empty_tables(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [])
    assert results.load_trials(run).empty
    assert results.load_history(run).empty
    (run / "experiment_state-2026-01-01_00-00-00.json").unlink()
    assert results.load_trials(run).empty


# Half-written and broken files


@pytest.mark.parametrize(
    "garbage",
    [
        b"[]",
        b"5",
        b"null",
        b'"training_iteration"',
        b'{"fid": 3}',
        b'{"training_iteration": null, "fid": 3}',
        b'{"training_iteration": "many", "fid": 3}',
        b'{"training_iteration": Infinity, "fid": 3}',
        b'{"training_iteration": NaN, "fid": 3}',
        b'{"training_iteration": 3, "fid": 3',
        b'{"training_iteration": 3, "fid": 1' + b"0" * 5000 + b"}",
        b"[" * 100_000,
        b"\xff\xfe\x00\x01\x80",
        bytes(range(256)),
        b"\n\n",
    ],
    ids=lambda garbage: repr(garbage[:40]),
)
@pytest.mark.parametrize("where", ["before", "between", "after"])
def test_a_line_that_is_no_report_is_left_out_and_the_others_stay(
    tmp_path: Path, garbage: bytes, where: str
) -> None:
    run = make_run(tmp_path / "run", [trial(0, lr=1)])
    good = [line(1, 9.0).encode().rstrip(), line(2, 8.0).encode().rstrip()]
    good.insert({"before": 0, "between": 1, "after": 2}[where], garbage)
    (run / "t_00000" / "result.json").write_bytes(b"\n".join(good) + b"\n")
    history = results.load_history(run)
    assert list(history["iteration"]) == [1, 2]
    assert list(history["fid"]) == [9, 8]
    assert results.load_trials(run)["fid"].item() == 8


def test_a_result_file_of_nothing_but_garbage_is_a_trial_without_a_report(tmp_path: Path) -> None:
    run = make_run(
        tmp_path / "run", [trial(0, 3, lr=1), trial(1, 4, lr=2), trial(2, lr=3), trial(3, 1, lr=4)]
    )
    (run / "t_00000" / "result.json").write_bytes(bytes(range(256)) * 40)
    (run / "t_00002" / "result.json").unlink()
    shutil.rmtree(run / "t_00003")
    trials = results.load_trials(run)
    np.testing.assert_array_equal(trials["fid"], [np.nan, 4, np.nan, np.nan])
    np.testing.assert_array_equal(trials["iteration"], [np.nan, 1, np.nan, np.nan])
    np.testing.assert_array_equal(trials["time_total_s"], [np.nan, 2, np.nan, np.nan])
    assert list(results.load_history(run)["trial_id"]) == ["t_00001"]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (None, "unknown: no error.txt"),
        (b"", "unknown: no error.txt"),
        (b"  \n\n", "unknown: no error.txt"),
        (b"it just ended\n", "it just ended"),
        (
            b"Traceback\n  File x\nValueError: first\n\nray.exceptions.RayTaskError(Oops): ray::x()\na.b.Oops: second\n",
            "Oops: second",
        ),
        (b"ray.exceptions.OutOfMemoryError: Task was killed\n", "OutOfMemoryError: Task was killed"),
        (b"a.b.Oops: its message\n  goes on in a second line\n", "Oops: its message"),
        ("ValueError: größer als 数\n".encode(), "ValueError: größer als 数"),
        (b"ValueError: \xff\xfe\n", "ValueError: \ufffd\ufffd"),
    ],
    ids=repr,
)
def test_the_reason_of_a_failed_trial_is_the_line_that_names_the_exception(
    tmp_path: Path, text: bytes | None, error: str
) -> None:
    run = make_run(tmp_path / "run", [trial(0, 5, status="ERROR", lr=1), trial(1, 5, lr=1)])
    for name in ("t_00000", "t_00001"):
        if text is not None:
            (run / name / "error.txt").write_bytes(text)
    trials = results.load_trials(run)
    assert trials["error"][0] == error
    assert pd.isna(trials["error"][1]), "a trial that went on after a failure has none"


def test_a_trial_that_began_after_the_last_save_is_running(tmp_path: Path) -> None:
    trials = [
        trial(0, 5, 4, 3, 2, lr=1),
        trial(1, 7, lr=2) | {"saved": False},
        trial(2, lr=3) | {"saved": False},
    ]
    table = results.load_trials(make_run(tmp_path / "run", trials))
    assert list(table["status"]) == ["TERMINATED", "RUNNING", "RUNNING"]
    assert list(table["config/lr"]) == [1, 2, 3]
    np.testing.assert_array_equal(table["fid"], [2, 7, np.nan])


@pytest.mark.parametrize(
    "params", [b"", b'{"lr": 0.', b"[]", b"5", b"null", b'"lr"', b"\xff\x00\x80", b'[["lr", 1]]'], ids=repr
)
def test_a_trial_of_which_nothing_is_known_but_a_broken_params_file_is_left_out(
    tmp_path: Path, params: bytes
) -> None:
    run = make_run(tmp_path / "run", [trial(0, 5, lr=1), trial(1, 7, lr=2) | {"saved": False}])
    (run / "t_00001" / "params.json").write_bytes(params)
    assert list(results.load_trials(run)["trial_id"]) == ["t_00000"]
    assert list(results.load_history(run)["trial_id"]) == ["t_00000"]


BROKEN = {
    "gone": None,
    "empty": b"",
    "cut short": b'{"trial_data": [["{\\"trial_id\\": ',
    "binary": bytes(range(256)),
    "a list": b"[]",
    "without trials": b"{}",
    "trials of another kind": b'{"trial_data": [1, 2]}',
    "trials cut short": b'{"trial_data": [["{", ""]]}',
    "trials without a status": json.dumps(
        {"trial_data": [[json.dumps({"trial_id": "t_00000", "config": {}}), ""]]}
    ).encode(),
    "trials without a config": json.dumps(
        {"trial_data": [[json.dumps({"trial_id": "t", "status": "ERROR", "config": None}), ""]]}
    ).encode(),
    "trials outside the folder": json.dumps(
        {"trial_data": [[json.dumps({"trial_id": "../t", "status": "ERROR", "config": {}}), ""]]}
    ).encode(),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_without_a_whole_state_every_trial_with_a_folder_is_running(tmp_path: Path, broken: str) -> None:
    run = make_run(
        tmp_path / "run",
        [trial(0, 5, 4, 3, 2, lr=1) | {"saved": False}, trial(1, 7, lr=2) | {"saved": False}],
    )
    (run / STATE).unlink()
    if (blob := BROKEN[broken]) is not None:
        (run / STATE).write_bytes(blob)
    trials = results.load_trials(run)
    assert list(trials["status"]) == ["RUNNING", "RUNNING"]
    assert list(trials["config/lr"]) == [1, 2]
    assert list(trials["iteration"]) == [4, 1]
    assert results.best(run, "fid", "min") is None, "nobody knows of one that it ended"


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_state_is_read_from_its_saved_copy(tmp_path: Path, broken: str) -> None:
    made = [trial(0, 5, 4, 3, 2, lr=1), trial(1, 7, status="ERROR", lr=2)]
    run = make_run(tmp_path / "run", made)
    (run / ".saved").mkdir()
    (run / STATE).rename(run / ".saved" / STATE)
    if (blob := BROKEN[broken]) is not None:
        (run / STATE).write_bytes(blob)
    assert list(results.load_trials(run)["status"]) == ["TERMINATED", "ERROR"]


def test_the_newest_state_counts_and_then_its_copy_before_the_state_of_an_earlier_session(
    tmp_path: Path,
) -> None:
    newer = STATE.replace("2026-01-01", "2026-01-02")
    old, new, newest = (
        [trial(0, 5, 4, 3, 2, status=status, lr=1)] for status in ("PENDING", "RUNNING", "TERMINATED")
    )
    run = make_run(tmp_path / "run", old)
    (run / ".saved").mkdir()
    (run / ".saved" / newer).write_text(state(new))
    (run / newer).write_text(state(newest))
    assert results.load_trials(run)["status"].item() == "TERMINATED"
    (run / newer).write_text(state(newest)[:-9])
    assert results.load_trials(run)["status"].item() == "RUNNING"
    (run / ".saved" / newer).write_text("")
    assert results.load_trials(run)["status"].item() == "PENDING"


def test_a_checkpoint_that_is_deleted_while_it_is_looked_for_is_not_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run", [trial(0, 5, lr=1)])
    for number in (1, 2):
        (run / "t_00000" / f"checkpoint_{number:06d}").mkdir()
        (run / "t_00000" / f"checkpoint_{number:06d}" / "trainer.pt").write_text("x")
    (run / "t_00000" / "checkpoint_000003").write_text("a file")
    (run / "t_00000" / "checkpoint_000004").symlink_to("nowhere")
    look = Path.iterdir

    def meanwhile(folder: Path) -> Any:
        if folder.name == "checkpoint_000002":
            raise FileNotFoundError(2, "No such file or directory")
        return look(folder)

    assert results.load_trials(run)["checkpoint"].item() == str(run / "t_00000" / "checkpoint_000002")
    monkeypatch.setattr(Path, "iterdir", meanwhile)
    assert results.load_trials(run)["checkpoint"].item() == str(run / "t_00000" / "checkpoint_000001")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "5",
        "null",
        *(
            json.dumps({name: 7.5})
            for name in ("flags", "preset", "baseline", "metric", "mode", "num_reports")
        ),
    ],
)
def test_a_folder_whose_record_is_no_record_is_no_run(tmp_path: Path, text: str) -> None:
    run = make_run(tmp_path / "run", [trial(0, 5, lr=1)])
    (run / "run.json").write_text(text)
    for load in (results.load_trials, results.load_history, results.load):
        with pytest.raises(ValueError):
            load(run)
    (run / "run.json").unlink()
    for load in (results.load_trials, results.load_history, results.load):
        with pytest.raises(FileNotFoundError):
            load(run)


# Figures and their kinds


NUMBERS = (
    st.floats(allow_nan=True, allow_infinity=True)
    | st.integers(-(10**6), 10**6)
    | st.none()
    | st.just("null")
    | st.just("absent")
)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(1, 6), NUMBERS), max_size=12), st.sampled_from(["min", "max"]))
def test_the_last_value_is_of_the_last_report_and_the_best_is_the_least_or_greatest_finite_one(
    tmp_path_factory: pytest.TempPathFactory, written: list[tuple[int, Any]], mode: str
) -> None:
    texts = [
        json.dumps(
            {"training_iteration": iteration, "config": {}} | ({} if value == "absent" else {"fid": value})
        )
        + "\n"
        for iteration, value in written
    ]
    whole = {
        "trial_id": "t_00001",
        "status": "TERMINATED",
        "config": {},
        "reports": line(1, 1.0),
    }  # so that there is such a metric
    one = {"trial_id": "t_00000", "status": "RUNNING", "config": {}, "reports": "".join(texts)}
    run = results.load(make_run(tmp_path_factory.mktemp("runs") / "run", [one, whole], mode=mode))

    reports = dict(written)  # the one that was written last counts
    numbers = {
        iteration: float(value) if isinstance(value, int | float) else math.nan
        for iteration, value in reports.items()
    }
    history = run.history[run.history["trial_id"] == "t_00000"]
    assert list(history["iteration"]) == sorted(numbers)
    np.testing.assert_array_equal(history["fid"], [numbers[iteration] for iteration in sorted(numbers)])
    row = run.trials.iloc[0]
    last = max(numbers, default=None)
    np.testing.assert_array_equal(row["fid"], math.nan if last is None else numbers[last])
    np.testing.assert_array_equal(row["iteration"], math.nan if last is None else last)
    finite = [value for value in numbers.values() if math.isfinite(value)]
    np.testing.assert_array_equal(row["best/fid"], (min if mode == "min" else max)(finite, default=math.nan))


def test_columns_of_numbers_are_numbers_and_the_others_are_what_they_were(tmp_path: Path) -> None:
    more = {
        "whole": 3,
        "flag": True,
        "word": "größer 数",
        "seldom": None,
        "pair": [1, 2],
        "deep": {"er": {"loss": 0.5}},
        "never": None,
    }
    later = more | {"whole": 4, "seldom": 7.5, "pair": [3], "mixed": "null", "huge": 10**400, "late": [5]}
    reports = line(1, 9.0, **more, mixed=2, huge=1) + line(2, 8.0, **later)
    config = {"lr": 0.5, "layers": [64, 64], "name": "数", "on": True, "off": None, "grad_clip": math.inf}
    run = make_run(
        tmp_path / "run",
        [{"trial_id": "t_00000", "status": "TERMINATED", "config": config, "reports": reports}],
    )
    history, trials = results.load_history(run), results.load_trials(run)
    for table in (history, trials):
        for name in (
            "iteration",
            "fid",
            "whole",
            "seldom",
            "deep/er/loss",
            "never",
            "mixed",
            "huge",
            "flag",
            "config/lr",
        ):
            assert pd.api.types.is_numeric_dtype(table[name]), name
    assert history["whole"].dtype == np.int64
    np.testing.assert_array_equal(history["seldom"], [np.nan, 7.5])
    np.testing.assert_array_equal(history["mixed"], [2, np.nan])  # Tune writes "null" for a NaN of NumPy's
    np.testing.assert_array_equal(history["huge"], [1, np.inf])
    assert history["never"].isna().all()
    assert list(history["word"]) == ["größer 数"] * 2
    assert list(history["pair"]) == [[1, 2], [3]]
    assert history["late"][1] == [5]
    assert pd.isna(history["late"][0])
    assert trials["config/layers"].item() == [64, 64]
    assert trials["config/name"].item() == "数"
    assert bool(trials["config/on"].item()) is True
    assert pd.isna(trials["config/off"].item())
    assert trials["config/grad_clip"].item() == math.inf
    assert "config/lr" in history
    assert trials["baseline"].dtype == bool


def test_a_metric_that_only_later_reports_have_is_missing_before_not_zero(tmp_path: Path) -> None:
    run = make_training(tmp_path / "run", [None, 20.0, None, 50.0, None], status="RUNNING")
    history, row = results.load_history(run), results.load_trials(run).iloc[0]
    np.testing.assert_array_equal(history[GREEDY], [np.nan, 20, np.nan, 50, np.nan])
    assert np.isnan(row[GREEDY]), "its last report has none"
    assert row["best/" + GREEDY] == 50
    assert row["best/env_runners/episode_return_mean"] == 50
    assert row["time_total_s"] == 2.5


def test_reports_in_any_order_and_written_twice_count_once_each_as_written_last(tmp_path: Path) -> None:
    reports = line(3, 3.0) + line(1, 1.0) + line(2, 7.0) + line(3, 4.0) + line(2, 2.0)
    run = make_run(tmp_path / "run", [trial(0, lr=1) | {"reports": reports}])
    assert list(results.load_history(run)["fid"]) == [1, 2, 4]
    assert results.load_trials(run)["fid"].item() == 4


def test_a_config_that_changed_on_the_way_is_the_last_in_the_trials_and_the_reports_own_in_the_history(
    tmp_path: Path,
) -> None:
    reports = line(1, 9.0, config={"lr": 0.1}) + line(2, 8.0, config={"lr": 0.2})
    run = make_run(
        tmp_path / "run",
        [{"trial_id": "t_00000", "status": "RUNNING", "config": {"lr": 0.3}, "reports": reports}],
    )
    assert list(results.load_history(run)["config/lr"]) == [0.1, 0.2]
    assert results.load_trials(run)["config/lr"].item() == 0.3


def test_hyperparameters_are_the_presets_where_they_were_not_searched(tmp_path: Path) -> None:
    trials = [trial(0, 3, lr=1), trial(1, 2, lr=2)]
    table = results.load_trials(make_run(tmp_path / "run", trials, preset={"lr": 7, "width": 32}))
    assert list(table["config/lr"]) == [1, 2]
    assert list(table["config/width"]) == [32, 32]
    bare = results.load_trials(make_run(tmp_path / "bare", trials, preset={}))
    assert [column for column in bare if column.startswith("config/")] == ["config/lr"]


def test_a_metric_that_is_called_as_one_of_our_columns_gets_a_name_of_its_own(tmp_path: Path) -> None:
    named = {
        "status": "fine",
        "error": 0.5,
        "checkpoint": 3,
        "baseline": 2.0,
        "iteration": 99,
        "best/fid": 8.0,
    }
    run = make_run(
        tmp_path / "run",
        [
            trial(0, lr=1)
            | {"reports": json.dumps({"training_iteration": 1, "fid": 4.0, "config": {}, **named})}
        ],
    )
    row = results.load_trials(run).iloc[0]
    assert (row["status"], row["iteration"], row["fid"], row["best/fid"]) == ("TERMINATED", 1, 4, 4)
    assert pd.isna(row["error"])
    assert (row["error_reported"], row["baseline_reported"], row["best/fid_reported"]) == (0.5, 2, 8)


# The best


def test_of_equal_scores_the_first_trial_is_the_best_whichever_way_is_better(tmp_path: Path) -> None:
    run = make_run(
        tmp_path / "run",
        [trial(0, 5, lr=1), trial(1, 3, lr=2), trial(2, 3, lr=3), trial(3, 5, lr=4)],
        max_updates=10,
    )
    least, greatest = results.best(run, "fid", "min"), results.best(run, "fid", "max")
    assert least is not None
    assert greatest is not None
    assert (least["trial_id"], greatest["trial_id"]) == ("t_00001", "t_00000")


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_score_that_is_no_finite_number_is_never_the_best(tmp_path: Path, score: float, mode: Any) -> None:
    run = make_run(
        tmp_path / "run",
        [trial(0, score, lr=1), trial(1, 3, lr=2), trial(2, score, lr=3)],
        max_updates=10,
        mode=mode,
    )
    best = results.best(run, "fid", mode)
    assert best is not None
    assert best["trial_id"] == "t_00001"
    assert results.load_trials(run)["best/fid"].notna().sum() == 1
    shutil.rmtree(run / "t_00001")
    assert results.best(run, "fid", mode) is None


@pytest.mark.parametrize("score", ["a word", [1, 2], {"a": 1}, None, "null"], ids=repr)
def test_a_metric_that_is_no_number_has_no_best(tmp_path: Path, score: Any) -> None:
    run = make_run(tmp_path / "run", [trial(0, score, lr=1), trial(1, score, lr=2)], max_updates=10)
    assert results.best(run, "fid", "min") is None
    assert results.compare([run])["best_trial"].item() is None
    assert results.best(run, "trial_id", "min") is None


def test_a_trial_that_was_stopped_or_failed_at_full_length_or_still_runs_is_not_the_best(
    tmp_path: Path,
) -> None:
    made = [
        trial(0, 9, 8, 7, 6, lr=1),
        trial(1, 4, 3, 2, lr=2),
        trial(2, 4, 3, 2, 1, status="ERROR", lr=3),
        trial(3, 4, 3, 2, 1, status="RUNNING", lr=4),
        trial(4, 4, 3, 2, 1, status="PAUSED", lr=5),
        trial(5, 4, 3, 2, 1, 1, lr=6),  # more reports than a trial may have: of another run's length
    ]
    run = results.load(make_run(tmp_path / "run", made))
    assert list(run.ran_to_their_end) == [True, False, False, False, False, False]
    best = run.best("fid", "min")
    assert best is not None
    assert best["trial_id"] == "t_00000"
    assert run.trials["best/fid"].tolist() == [6, 2, 1, 1, 1, 1]


def test_a_training_ran_to_its_end_if_it_ended(tmp_path: Path) -> None:
    ended, running = (
        make_training(tmp_path / "a", [None, 20.0]),
        make_training(tmp_path / "b", [None, 20.0], status="RUNNING"),
    )
    best = results.best(ended, GREEDY, "max")
    assert best is not None
    assert best[GREEDY] == 20
    assert results.best(running, GREEDY, "max") is None


def test_every_trial_failed(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [trial(0, status="ERROR", lr=1), trial(1, status="ERROR", lr=2)])
    assert results.load_trials(run)["iteration"].isna().all()
    assert results.best(run, "fid", "min") is None
    assert results.load(run).num_ended == 2


@pytest.mark.parametrize(
    ("column", "mode"),
    [
        ("fid_mnist", "min"),
        ("classifier_score", "max"),
        (GREEDY, "max"),
        ("env_runners/episode_return_mean", "max"),
        ("nll", "min"),
        ("elbo", "max"),
        ("generator_loss", None),
        ("time_total_s", None),
        ("episode_return_mean/of", None),
    ],
)
def test_a_metric_is_better_high_or_low_or_neither(column: str, mode: str | None) -> None:
    assert program_of({"program": "mine", "metric": "none"}).mode_of(column) == mode
    assert {program.mode_of(column) for program in PROGRAMS.values()} <= {mode, None}, "programs agree"


def test_the_best_of_every_metric_that_is_better_high_or_low_and_of_no_other(tmp_path: Path) -> None:
    reports = line(1, 9.0, nll=3.0, elbo=-5.0, loss=1.0) + line(2, 8.0, nll=4.0, elbo=-6.0, loss=0.5)
    row = results.load_trials(make_run(tmp_path / "run", [trial(0, lr=1) | {"reports": reports}])).iloc[0]
    assert {name: row[name] for name in row.index if str(name).startswith("best/")} == {
        "best/fid": 8,
        "best/nll": 3,
        "best/elbo": -5,
    }


# Several runs


def test_runs_compare_by_what_came_of_them_and_what_is_missing_is_missing(tmp_path: Path) -> None:
    search = make_run(
        tmp_path / "search",
        [trial(0, 9, 8, 7, 6, lr=1), trial(1, 5, 4, 3, 2, lr=2), trial(2, 5, status="ERROR", lr=3), trial(3, status="PENDING", lr=4)],
        program="tune_gan", dataset="mnist", flags={"seed": 5, "num_samples": 4}, started="2026-01-01T00:00:00+0000",
    )  # fmt: skip
    training = make_training(tmp_path / "training", [None, 20.0, None, 50.0])
    begun = make_run(tmp_path / "begun", [trial(0, status="RUNNING", lr=1)])
    empty = make_run(tmp_path / "empty", [])
    timeless = make_run(
        tmp_path / "timeless", [trial(0, status="RUNNING", lr=1) | {"reports": line(1, 3, time_total_s=None)}]
    )
    table = results.compare([search, results.load(training), str(begun), empty, timeless]).set_index("run")
    assert list(table.index) == ["search", "training", "begun", "empty", "timeless"]
    assert np.isnan(table.loc["timeless", "time_total_s"])
    of_search = table.loc["search"]
    assert of_search[["program", "env_or_dataset", "seed", "metric", "mode"]].tolist() == [
        "tune_gan",
        "mnist",
        5,
        "fid",
        "min",
    ]
    assert of_search[["trials", "terminated", "failed"]].tolist() == [4, 2, 1]
    assert of_search[["best_trial", "value", "baseline_value"]].tolist() == ["t_00001", 2, 6]
    assert of_search[["iterations", "time_total_s"]].tolist() == [9, 8 + 8 + 2]
    assert table.loc["training", ["program", "env_or_dataset", "value", "mode"]].tolist() == [
        "train_dqn",
        "CartPole-v1",
        50,
        "max",
    ]
    assert np.isnan(table.loc["training", "baseline_value"]), "a training has none"
    for name in ("begun", "empty"):
        assert table.loc[name, ["value", "baseline_value", "time_total_s", "best_trial"]].isna().all(), (
            "not zero"
        )
        assert table.loc[name, ["terminated", "failed", "iterations"]].tolist() == [0, 0, 0]
    for name in ("value", "baseline_value", "time_total_s", "trials", "iterations"):
        assert pd.api.types.is_numeric_dtype(table[name])


def test_the_baselines_score_is_missing_until_it_ran_to_its_end(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [trial(0, 9, 8, status="RUNNING", lr=1), trial(1, 5, 4, 3, 2, lr=2)])
    assert np.isnan(results.compare([run])["baseline_value"].item())


# Files


def test_a_disk_that_is_full_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "trials.csv").write_text("old")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", full)
        with pytest.raises(OSError, match="No space left"):
            files.write_whole(tmp_path / "trials.csv", "new")
    assert (tmp_path / "trials.csv").read_text() == "old"
    assert list(tmp_path.iterdir()) == [tmp_path / "trials.csv"]
    files.write_whole(tmp_path / "trials.csv", "größer\n")
    assert (tmp_path / "trials.csv").read_bytes() == "größer\n".encode()


def test_unicode_and_lists_survive_the_tables(tmp_path: Path) -> None:
    run = make_run(tmp_path / "größer 数 'q\" \n", [trial(0, 3, lr=1, name='a "数", b\nc', layers=[1, 2])])
    analysis.write_tables(results.load(run), run)
    for name in ("trials.csv", "history.csv"):
        assert pd.read_csv(run / name)["config/name"].item() == 'a "数", b\nc'
        assert pd.read_csv(run / name)["config/layers"].item() == "[1, 2]"


def test_the_best_trials_config_is_as_it_was(tmp_path: Path) -> None:
    config = {"lr": 0.5, "layers": [64, 64], "name": "数", "on": True, "off": None, "whole": 3}
    run = make_run(
        tmp_path / "run", [trial(0, 3, **config), trial(1, 4, **config | {"off": 0.5})], max_updates=10
    )
    analysis.write_tables(results.load(run), run)
    best = json.loads((run / "best.json").read_text())
    assert best["config"] == config
    assert isinstance(best["config"]["whole"], int)


@pytest.mark.slow
def test_ten_thousand_trials_load_in_seconds(tmp_path: Path) -> None:
    run = make_run(
        tmp_path / "run", [trial(i, 9, 8, 7, 6, lr=i / 10_000, name="x" * 100) for i in range(10_000)]
    )
    start = time.process_time()
    loaded = results.load(run)
    assert time.process_time() - start < 10
    shutil.rmtree(run)
    assert len(loaded.trials) == 10_000
    assert len(loaded.history) == 40_000
