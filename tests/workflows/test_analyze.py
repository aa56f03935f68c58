"""`analyze.py` as a person runs it: on runs made by hand, on real ones while they go on and once they were
killed."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock
from PIL import Image
from processes import DEADLINE_S, finish, start_workflow
from run_folders import GREEDY, STATE, line, make_run, make_training, trial

from workflows import analyze, results, tune_gan
from workflows.experiment import experiment as tuning

TABLES = {"trials.csv", "history.csv", "report.html", "figures"}


def make_search(folder: Path, trials: list[dict[str, Any]] | None = None, **record: Any) -> Path:
    """Make a search of the baseline, the best, one stopped, one failed, one not ended."""
    made = [
        trial(0, 9, 8, 7, 6, lr=1, width=32),
        trial(1, 5, 4, 3, 2, lr=2, width=32),
        trial(2, 5, 1, lr=3, width=64),
        trial(3, 8, 7.5, status="ERROR", lr=4, width=64),
        trial(4, 9, status="RUNNING", lr=5, width=64),
    ]
    asked = {
        "program": "tune_gan",
        "baseline": {"lr": 1, "width": 32},
        "flags": {"num_samples": 5, "seed": 0},
        "dataset": "mnist-10k",
    }
    run = make_run(folder, made if trials is None else trials, **asked | record)
    if (run / "t_00003").exists():
        (run / "t_00003" / "error.txt").write_text(
            "Traceback\n  File x\nalgorithms.generative.trainable.TrainingDiverged: loss became nan\n"
        )
    return run


def analyzed(capsys: pytest.CaptureFixture[str], *argv: str | Path) -> str:
    """Run it, and return what it says."""
    capsys.readouterr()
    assert analyze.main([str(word) for word in argv]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    return said.out


def written(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def page(folder: Path) -> str:
    return (folder / "report.html").read_text()


def of_page(folder: Path, name: str = "report.html") -> Any:
    """Return the data in a page."""
    text = (folder / name).read_text()
    return json.loads(
        text.partition('<script type="application/json" id="data">')[2].partition("</script>")[0]
    )


# What it writes


def test_a_search_becomes_tables_figures_and_a_page_in_its_own_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_search(tmp_path / "run")
    before = written(run)
    samples = run / "t_00001" / "samples"
    samples.mkdir()
    for name in ("000000", "000040"):
        Image.effect_noise((40, 40), 50).save(samples / f"{name}.png")
    out = analyzed(capsys, run)
    assert written(run) - before == {*TABLES, "best.json", "samples"}
    assert written(run / "samples") == {"t_00001_000000.png", "t_00001_000040.png", "t_00001_progress.png"}
    assert (run / "samples" / "t_00001_000040.png").read_bytes() == (samples / "000040.png").read_bytes()
    trials = pd.read_csv(run / "trials.csv").set_index("trial_id")
    assert list(trials["status"]) == ["TERMINATED", "TERMINATED", "TERMINATED", "ERROR", "RUNNING"]
    assert list(trials["fid"]) == [6, 2, 1, 7.5, 9]
    assert list(trials["best/fid"]) == [6, 2, 1, 7.5, 9]
    assert trials.loc["t_00003", "error"] == "TrainingDiverged: loss became nan"
    assert len(pd.read_csv(run / "history.csv")) == 4 + 4 + 2 + 2 + 1
    assert json.loads((run / "best.json").read_text())["trial_id"] == "t_00001"
    assert written(run / "figures") == {"curves.png", "parallel.png", "scatter.png"}, (
        "too few trials for importances"
    )
    for picture in (run / "figures").iterdir():
        with Image.open(picture) as opened:
            opened.load()
    assert "best      t_00001: fid 2\n" in out
    assert f"report    {run}/report.html" in out
    assert "tune_gan run: 4 of 5 trials have ended, 1 of them failed; it was interrupted, or killed.\n" in out
    text = page(run)
    for words in (
        "4 of 5 trials have ended, 1 of them failed",
        "TrainingDiverged: loss became nan",
        "Too few trials for importances",
    ):
        assert words in text
    data = of_page(run)
    assert list(data["charts"]) == ["curves", "parallel", "importances", "scatter"]
    assert [row["id"] for row in data["rows"]] == ["t_00001", "t_00000", "t_00003", "t_00002", "t_00004"]


def test_what_it_writes_again_is_the_same_and_of_an_old_state_nothing_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_search(tmp_path / "run")
    analyzed(capsys, run)
    first = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    analyzed(capsys, run)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == first
    assert not [path for path in run.rglob("*") if "part" in path.name or ".figure" in path.name]


def test_of_another_state_no_best_and_no_figure_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As where an ended run is resumed and killed, or where the folder had another run's."""
    output = tmp_path / "out"
    analyzed(capsys, make_search(tmp_path / "ended"), "--output", output)
    assert {"best.json", "figures"} <= written(output)
    assert "scatter.png" in written(output / "figures")
    analyzed(capsys, make_training(tmp_path / "killed", [None, None], status="RUNNING"), "--output", output)
    assert "best.json" not in written(output)
    assert written(output / "figures") == {"returns.png", "throughput.png", "waiting.png", "learning.png"}


def test_an_output_within_the_run_is_no_trial_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_search(tmp_path / "run")
    (run / "t_00000" / "samples").mkdir(exist_ok=True)
    Image.new("L", (64, 64)).save(run / "t_00000" / "samples" / "000010.png")
    pictures = []
    for _ in range(3):
        analyzed(capsys, run, "--output", run / "analysis")
        pictures.append(written(run / "analysis" / "samples"))
    assert pictures[0] == pictures[1] == pictures[2]
    assert "t_00000_000010.png" in pictures[0]


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (OSError(28, "No space left"), 1, "FAILED    the report: OSError"),
        (KeyboardInterrupt(), 130, "interrupted before the report was written"),
    ],
)
def test_a_workflow_whose_report_can_not_be_written_says_so_and_how_to_try_again(
    tmp_path: Path,
    error: BaseException,
    code: int,
    said: str,
) -> None:
    def fails() -> None:
        raise error

    run = make_search(tmp_path / "run")
    failed = tuning.written(run, fails)
    assert failed is not None
    exit_code, why = failed
    assert exit_code == code
    assert why.startswith(said)
    assert why.endswith(f"workflows/analyze.py {run}")


@pytest.mark.parametrize("program", ["train_dqn", "train_reinforce"])
def test_a_training_becomes_tables_figures_and_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], program: str
) -> None:
    run = make_training(tmp_path / "run", [None, 20.0, None, 350.0], program=program)
    out = analyzed(capsys, run)
    assert written(run) >= {*TABLES, "best.json"}
    assert written(run / "figures") == {"returns.png", "throughput.png", "waiting.png", "learning.png"}
    assert f"{program} run: The training has ended.\nbest      t_00000: {GREEDY} 350\n" in out
    best = json.loads((run / "best.json").read_text())
    assert (best["value"], best["config"]) == (350, {"lr": 0.001})
    assert "The training has ended." in page(run)
    returns = of_page(run)["charts"]["returns"][0]["data"]
    assert [trace["y"] for trace in returns] == [[20, 30, 40], [20, 350]]


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        ("TERMINATED", "The training has ended."),
        ("ERROR", "The training failed."),
        ("RUNNING", "The training has not ended; it was interrupted, or killed."),
        ("PENDING", "The training has not ended; it was interrupted, or killed."),
    ],
)
def test_a_training_says_how_it_stands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], status: str, sentence: str
) -> None:
    run = make_training(tmp_path / "run", [None, 20.0], status=status)
    assert f"train_dqn run: {sentence}\n" in analyzed(capsys, run)
    assert sentence in page(run)
    assert ("best.json" in written(run)) == (status == "TERMINATED")


@pytest.mark.parametrize(
    ("statuses", "asked", "sentence"),
    [
        (["TERMINATED"] * 3, 3, "3 of 3 trials have ended."),
        (["TERMINATED", "ERROR", "ERROR"], 3, "3 of 3 trials have ended, 2 of them failed."),
        (["ERROR"] * 3, 3, "3 of 3 trials have ended, 3 of them failed."),
        (["TERMINATED"] * 3, 4, "3 of 4 trials have ended; it was interrupted, or killed."),
        (["TERMINATED", "RUNNING", "PENDING"], 3, "1 of 3 trials have ended; it was interrupted, or killed."),
        (["PAUSED"] * 3, 3, "0 of 3 trials have ended; it was interrupted, or killed."),
        (["TERMINATED"] * 3, 1, "3 of 3 trials have ended."),
        (["TERMINATED"] * 3, None, "3 of 3 trials have ended."),
    ],
)
def test_a_search_says_how_it_stands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], statuses: list[str], asked: int | None, sentence: str
) -> None:
    trials = [trial(i, 9, 8, 7, 6 + i, status=status, lr=i, width=32) for i, status in enumerate(statuses)]
    run = make_search(tmp_path / "run", trials, flags={"num_samples": asked})
    assert f"tune_gan run: {sentence}\n" in analyzed(capsys, run)
    assert sentence in page(run)


def test_a_run_that_goes_on_says_so_and_one_that_ends_meanwhile_was_not_interrupted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_search(tmp_path / "run")
    lock = FileLock(run / ".lock")
    with lock:
        assert "have ended, 1 of them failed; it is running.\n" in analyzed(capsys, run)
        assert "it is running." in page(run)
    assert "; it was interrupted, or killed.\n" in analyzed(capsys, run)
    load = results.load

    def ends_meanwhile(folder: Path) -> results.Run:
        found = load(folder)
        lock.release()
        return found

    lock.acquire()
    monkeypatch.setattr(results, "load", ends_meanwhile)
    assert "; it is running.\n" in analyzed(capsys, run)


@pytest.mark.parametrize(
    "trials",
    [
        [trial(0, status="PENDING", lr=1, width=1)],
        [trial(0, 5, status="RUNNING", lr=1, width=1), trial(1, status="PENDING", lr=2, width=1)],
        [trial(i, 5, 4, status="ERROR", lr=i, width=1) for i in range(3)],
        [trial(i, 5, 4, lr=i, width=1) for i in range(3)],
        [trial(i, *[float("nan")] * 4, lr=i, width=1) for i in range(3)],
        [trial(i, lr=i, width=1) | {"reports": line(1, 3).replace("fid", "nll")} for i in range(3)],
    ],
    ids=["nothing yet", "just begun", "all failed", "all stopped", "no score", "another metric"],
)
def test_a_run_without_a_best_trial_is_analysed_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], trials: list[dict[str, Any]]
) -> None:
    run = make_search(tmp_path / "run", trials)
    assert "best      none: no trial ran to its end with a finite fid\n" in analyzed(capsys, run)
    assert "best.json" not in written(run)
    assert len(pd.read_csv(run / "trials.csv")) == len(trials)
    assert "have ended" in page(run)


def test_one_trial_is_a_run_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_search(tmp_path / "run", [trial(0, 9, 8, 7, 6, lr=1, width=32)], flags={"num_samples": 1})
    assert "1 of 1 trials have ended.\nbest      t_00000: fid 6\n" in analyzed(capsys, run)
    assert written(run / "figures") == {"curves.png"}


def test_enough_trials_have_importances(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trials = [trial(i, i / 40, lr=i / 40, width=32 if i < 20 else 64) for i in range(40)]
    run = make_search(tmp_path / "run", trials, num_reports=1)
    analyzed(capsys, run)
    assert "importances.png" in written(run / "figures")
    (bars,) = of_page(run)["charts"]["importances"][0]["data"]
    assert sum(bars["x"]) == pytest.approx(1)


# Where it writes


def test_output_is_a_folder_that_is_made_and_the_run_is_left_as_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_search(tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in (run, *run.rglob("*"))}
    out = analyzed(capsys, run, "--output", tmp_path / "not" / "yet")
    assert written(tmp_path / "not" / "yet") == {*TABLES, "best.json"}
    assert f"tables    {tmp_path}/not/yet/trials.csv" in out
    assert {path: path.stat().st_mtime_ns for path in (run, *run.rglob("*"))} == before
    assert json.loads((tmp_path / "not" / "yet" / "best.json").read_text())["trial_id"] == "t_00001"


def test_paths_may_be_relative_of_the_home_folder_or_links(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_search(tmp_path / "run")
    (tmp_path / "link").symlink_to(run)
    (run / "loop").symlink_to(run)
    (run / "dangling").symlink_to("nowhere")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(run)
    for i, given in enumerate(("~/run", ".", "../run/", "../link", "../link/../run")):
        analyzed(capsys, given, "--output", f"~/out{i}")
        assert len(pd.read_csv(tmp_path / f"out{i}" / "trials.csv")) == 5
    assert "tune_gan run:" in analyzed(capsys, ".", "--output", "~/out")


def test_several_runs_are_each_written_to_their_own_and_compared_beside_the_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other").mkdir()
    first, second = (
        make_search(tmp_path / "a"),
        make_search(tmp_path / "b", [trial(0, 5, 4, 3, 1.5, lr=1, width=1)]),
    )
    third, begun = (
        make_training(tmp_path / "other" / "c", [None, 50.0]),
        make_search(tmp_path / "d", [trial(0, status="PENDING", lr=1)]),
    )
    out = analyzed(capsys, first, second, third, begun)
    for run in (first, second, third, begun):
        assert written(run) >= TABLES - {"figures"}
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {
        "comparison.csv",
        "comparison.html",
        "comparison-0.png",
        "comparison-1.png",
    }
    table = pd.read_csv(tmp_path / "comparison.csv")
    assert list(table["run"]) == ["a", "b", "c", "d"]
    np.testing.assert_array_equal(table["value"], [2, 1.5, 50, np.nan])
    assert list(table["failed"]) == [1, 0, 0, 0]
    assert f"together  {tmp_path}/comparison.html  comparison.csv" in out
    data = of_page(tmp_path, "comparison.html")
    assert [row["cells"][0] for row in data["rows"]] == ["a", "b", "c", "d"]
    curves = {
        trace["name"]: trace["y"]
        for panels in data["charts"].values()
        for panel in panels
        for trace in panel["data"]
    }
    assert curves == {"a": [5, 4, 3, 2], "b": [5, 4, 3, 1.5], "c": [50]}


def test_several_runs_with_an_output_have_a_folder_each_in_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [make_search(tmp_path / "a"), make_training(tmp_path / "b", [None, 50.0])]
    before = [written(run) for run in runs]
    analyzed(capsys, *runs, "--output", tmp_path / "out")
    assert written(tmp_path / "out") == {
        "a",
        "b",
        "comparison.csv",
        "comparison.html",
        "comparison-0.png",
        "comparison-1.png",
    }
    assert written(tmp_path / "out" / "a") == written(tmp_path / "out" / "b") == {*TABLES, "best.json"}
    assert [written(run) for run in runs] == before


@pytest.mark.parametrize(
    "name",
    [
        "with blanks",
        'quo\'te "s"',
        "new\nline",
        "größer 数",
        "$x^$ <b>&amp;",
        "-dash",
        "{braces} %s",
        "x" * 200,
    ],
)
def test_a_folder_may_be_called_anything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    run = make_search(tmp_path / name)
    assert "best      t_00001: fid 2\n" in analyzed(capsys, run)
    assert len(pd.read_csv(run / "trials.csv")) == 5
    assert "<b>" not in page(run).partition("<script")[0].replace("<b>1</b>", "").replace(
        "<b>2</b>", ""
    ).replace("<b>32</b>", "")


# Wrong input


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folders, a good one and others each with something wrong."""
    folder = tmp_path_factory.mktemp("wrong")
    (folder / "file").write_text("")
    (folder / "file").chmod(0o755)
    (folder / "empty").mkdir()
    (folder / "dangling").symlink_to("nowhere")
    (folder / "loop").symlink_to("loop")
    (folder / "elsewhere").mkdir()
    for name in (
        "good",
        "elsewhere/good",
        "cut",
        "list",
        "binary",
        "bare",
        "flags",
        "mode",
        "taken",
        "state",
        "result",
    ):
        make_search(folder / name)
    (folder / "link").symlink_to("good")
    (folder / "cut" / "run.json").write_text('{"program": "tune_g')
    (folder / "list" / "run.json").write_text("[]")
    (folder / "binary" / "run.json").write_bytes(bytes(range(256)))
    (folder / "bare" / "run.json").write_text("{}")
    for name, value in (("flags", None), ("mode", "best")):
        record = json.loads((folder / name / "run.json").read_text())
        (folder / name / "run.json").write_text(json.dumps(record | {name: value}))
    make_search(folder / "trialless", [])
    make_search(folder / "stateless")
    (folder / "stateless" / STATE).unlink()
    (folder / "taken" / "trials.csv").mkdir()
    for path in (folder / "state" / STATE, folder / "result" / "t_00000" / "result.json"):
        path.unlink()
        path.mkdir()
    return folder


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], ["RUN_DIR"]),
        (["--output", "out"], ["RUN_DIR"]),
        (["{wrong}/good", "--banana"], ["--banana"]),
        (["{wrong}/nowhere"], ["RUN_DIR must be a run folder, with a run.json, got", "nowhere'"]),
        (["{wrong}/file"], ["RUN_DIR must be a run folder, with a run.json, got", "file'"]),
        (["{wrong}/dangling"], ["RUN_DIR must be a run folder, with a run.json, got", "dangling'"]),
        (["{wrong}/loop"], ["RUN_DIR must be a run folder, with a run.json, got", "loop'"]),
        (["{wrong}/empty"], ["RUN_DIR must be a run folder, with a run.json, got", "empty'"]),
        (["{wrong}/good/t_00000"], ["RUN_DIR must be a run folder, with a run.json, got", "t_00000'"]),
        (["x" * 300], ["RUN_DIR must be a run folder, with a run.json, got", "xxx'"]),
        (["no\nsuch"], ["RUN_DIR must be a run folder, with a run.json, got 'no\\nsuch'"]),
        (["no\udcffsuch"], ["RUN_DIR must be a name in UTF-8, got 'no\\udcffsuch'"]),
        (
            ["{wrong}/good", "--output", "no\udcffsuch"],
            ["--output must be a name in UTF-8, got 'no\\udcffsuch'"],
        ),
        (["{wrong}/cut"], ["cut' can't be read; is its run.json broken? (JSONDecodeError"]),
        (["{wrong}/list"], ["list' can't be read; is its run.json broken? (ValueError"]),
        (["{wrong}/binary"], ["binary' can't be read; is its run.json broken? (UnicodeDecodeError"]),
        (["{wrong}/bare"], ["bare' can't be read; is its run.json broken? (KeyError: 'metric')"]),
        (["{wrong}/flags"], ["flags' can't be read; is its run.json broken? (ValueError: flags is None)"]),
        (["{wrong}/mode"], ["mode' can't be read; is its run.json broken? (ValueError: mode is 'best')"]),
        (
            ["{wrong}/trialless"],
            ["RUN_DIR must be a run with a trial; this one has none yet, got", "trialless'"],
        ),
        (
            ["{wrong}/stateless"],
            ["RUN_DIR must be a run with a trial; this one has none yet, got", "stateless'"],
        ),
        (["{wrong}/state"], ["state' can't be read", "Is a directory", STATE]),
        (["{wrong}/result"], ["result' can't be read", "Is a directory", "t_00000/result.json"]),
        (["{wrong}/good", "{wrong}/empty"], ["RUN_DIR must be a run folder, with a run.json, got", "empty'"]),
        (
            ["{wrong}/good", "{wrong}/trialless"],
            ["RUN_DIR must be a run with a trial; this one has none yet"],
        ),
        (["{wrong}/good", "{wrong}/cut"], ["cut' can't be read"]),
        (["{wrong}/good", "{wrong}/good"], ["RUN_DIR must name each run once"]),
        (["{wrong}/good", "{wrong}/link"], ["RUN_DIR must name each run once"]),
        (["{wrong}/good", "{wrong}/../wrong0/good/"], ["RUN_DIR must name each run once"]),
        (
            ["{wrong}/good", "{wrong}/elsewhere/good", "--output", "out"],
            ["--output must be left out for runs of the same name, got 'out'"],
        ),
        (
            ["{wrong}/good", "--output", "{wrong}/file"],
            ["--output must be a folder that you may write to, got", "file'"],
        ),
        (
            ["{wrong}/good", "--output", "{wrong}/file/out"],
            ["--output must be a folder that you may write to, got", "file/out'"],
        ),
        (
            ["{wrong}/good", "--output", "{wrong}/dangling"],
            ["--output must be a folder that you may write to, got", "dangling'"],
        ),
        (
            ["{wrong}/good", "--output", "{wrong}/loop"],
            ["--output must be a folder that you may write to, got", "loop'"],
        ),
        (
            ["{wrong}/good", "--output", "{wrong}/dangling/out"],
            ["--output must be a folder that you may write to, got", "dangling/out'"],
        ),
        (["{wrong}/good", "--output", "x" * 300], ["can't be written: File name too long"]),
        (["{wrong}/taken"], ["taken' can't be written: Is a directory"]),
    ],
    ids=lambda value: " ".join(value)[:60].encode("ascii", "backslashreplace").decode(),
)
def test_wrong_input_is_one_line_exit_code_2_and_nothing_written(
    wrong: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    argv: list[str],
    words: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    before = {path: path.lstat().st_mtime_ns for path in wrong.rglob("*") if path.name != "taken"}
    assert analyze.main([word.format(wrong=wrong) for word in argv]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("analyze.py: ")
    assert said.err.count("\n") == 1
    for word in words:
        assert word in said.err
    assert os.listdir() == []
    assert {path: path.lstat().st_mtime_ns for path in wrong.rglob("*") if path.name != "taken"} == before


def test_a_folder_that_may_not_be_written_to_is_refused_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, other = make_search(tmp_path / "run"), make_search(tmp_path / "other")
    before = written(run)
    for argv, folder in (
        ([run], run),
        ([run, "--output", tmp_path / "out"], tmp_path / "out"),
        ([other, run], run),
    ):
        with monkeypatch.context() as patched:
            may = os.access
            shut = tmp_path if folder.name == "out" else folder
            patched.setattr(
                os, "access", lambda path, mode, shut=shut, may=may: Path(path) != shut and may(path, mode)
            )  # root may write
            patched.setattr(results, "load", None)
            assert analyze.main([str(word) for word in argv]) == 2
        said = capsys.readouterr()
        assert (said.out, said.err) == (
            "",
            f"analyze.py: --output must be a folder that you may write to, got {str(folder)!r}\n",
        )
    assert written(run) == before
    assert not (tmp_path / "out").exists()


def test_a_folder_of_runs_that_may_not_be_written_to_has_no_comparison(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [make_search(tmp_path / "a"), make_search(tmp_path / "b")]
    may = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path and may(path, mode))
    assert "best " in analyzed(capsys, runs[0])
    assert analyze.main([str(run) for run in runs]) == 2
    assert (
        f"--output must be a folder that you may write to, got {str(tmp_path)!r}" in capsys.readouterr().err
    )


def test_a_disk_that_is_full_is_one_line_and_what_was_there_is_still_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    run = make_search(tmp_path / "run")
    analyzed(capsys, run)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    monkeypatch.setattr(Path, "replace", full)
    assert analyze.main([str(run)]) == 2
    assert capsys.readouterr().err == f"analyze.py: {str(run)!r} can't be written: No space left on device\n"
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


# What it imports


def test_help_is_instant() -> None:
    script = """
        import sys
        from workflows import analyze
        try:
            analyze.main(["--help"])
        except SystemExit as exit_:
            assert exit_.code == 0
        assert not {"ray", "torch", "pandas", "numpy", "matplotlib", "PIL", "optuna", "plotly", "jinja2"} & set(sys.modules)
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], check=True, capture_output=True, text=True
    )
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 1
    assert "RUN_DIR" in done.stdout
    assert "--output" in done.stdout


def test_it_needs_neither_ray_nor_torch(tmp_path: Path) -> None:
    trials = [trial(i, 40 - i, lr=i / 40, width=32 if i < 20 else 64) for i in range(40)]
    runs = [make_search(tmp_path / "a", trials, num_reports=1), make_training(tmp_path / "b", [None, 50.0])]
    script = """
        import sys

        class NotInstalled:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] in ("ray", "torch"):
                    raise ModuleNotFoundError(name)

        sys.meta_path.insert(0, NotInstalled())
        from workflows import analyze
        from workflows.report import write as analysis
        from workflows.report import charts
        from workflows.report import png as figures
        from workflows.report import importances
        from workflows.report import html as report
        from workflows import results
        sys.exit(analyze.main(sys.argv[1:]))
    """
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(script), *map(str, runs)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "importances.png" in written(runs[0] / "figures")
    assert (tmp_path / "comparison.html").exists()


# Real runs


def wait_for_reports(run_dir: Path, num_reports: int, process: subprocess.Popen[str]) -> None:
    """Wait until some trial has so many reports, and Tune has saved that it runs."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        assert process.poll() is None, f"it ended before its time: {process.communicate()}"
        assert time.monotonic() < deadline, "it took too long"
        if (run_dir / "run.json").exists() and list(run_dir.glob(STATE[:17] + "*")):
            trials = results.load_trials(run_dir)
            if ((trials["iteration"] >= num_reports) & (trials["status"] == "RUNNING")).any():
                return
        time.sleep(0.05)


def test_a_search_is_analysed_while_it_goes_on_and_once_it_was_killed(
    ray_address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, flags = (
        tmp_path / "run",
        ("--smoke", "--precision", "fp32", "--num-samples", "4", "--scheduler", "fifo"),
    )
    search = (
        *flags,
        "--updates-per-report",
        "2",
        "--address",
        ray_address,
        "--storage-path",
        tmp_path,
        "--name",
        "run",
    )
    process = start_workflow(tune_gan, *search)
    try:
        wait_for_reports(run, 2, process)
        os.kill(process.pid, signal.SIGSTOP)  # so that it does not end meanwhile
        out = analyzed(capsys, run, "--output", tmp_path / "going")
        assert "of 4 trials have ended; it is running.\n" in out
        assert "it is running." in page(tmp_path / "going")
        going = pd.read_csv(tmp_path / "going" / "trials.csv")
    finally:
        process.kill()
        finish(process)
    assert "RUNNING" in set(going["status"])

    out = analyzed(capsys, run)
    assert "of 4 trials have ended; it was interrupted, or killed.\n" in out
    assert "it was interrupted, or killed." in page(run)
    trials, history = pd.read_csv(run / "trials.csv"), pd.read_csv(run / "history.csv")
    running = trials[trials["status"] == "RUNNING"]
    assert len(running) > 0
    assert trials["error"].isna().all()
    assert set(going["trial_id"]) <= set(trials["trial_id"])
    assert trials["config/generator_lr"].notna().all()
    last = history.groupby("trial_id").last()
    reported = trials.dropna(subset="iteration").set_index("trial_id")
    assert set(last.index) == set(reported.index)
    for name in ("iteration", "fid_mnist", "updates", "time_total_s"):
        pd.testing.assert_series_equal(reported[name], last[name].loc[reported.index], check_dtype=False)
    lines = {id_: (run / id_ / "result.json").read_text().count("\n") for id_ in reported.index}
    assert reported["iteration"].to_dict() == lines
    best = history.groupby("trial_id")["fid_mnist"].min()
    assert reported["best/fid_mnist"].to_dict() == pytest.approx(best.to_dict())
    assert {row["id"] for row in of_page(run)["rows"]} == set(trials["trial_id"])


def test_a_search_with_a_failed_trial_has_its_reason_in_the_tables_and_the_page(
    failed_gan_search: tuple[Path, int, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(failed_gan_search[0], tmp_path / "copy")
    for name in ("trials.csv", "report.html"):
        (tmp_path / "copy" / name).unlink()
    out = analyzed(capsys, tmp_path / "copy")
    assert "2 of 2 trials have ended, 1 of them failed.\n" in out
    trials = pd.read_csv(tmp_path / "copy" / "trials.csv")
    assert list(trials["status"]) == ["TERMINATED", "ERROR"]
    assert trials["error"][1].startswith("TrainingDiverged: ")
    assert trials["error"].isna().tolist() == [True, False]
    assert trials["fid_mnist"].notna()[0]
    assert "TrainingDiverged: " in page(tmp_path / "copy")
    assert json.loads((tmp_path / "copy" / "best.json").read_text())["trial_id"] == trials["trial_id"][0]
