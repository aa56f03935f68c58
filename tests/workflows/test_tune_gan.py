"""`tune_gan.py` as a person runs it: wrong flags, a short search, a stopped one, failing trials."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import urllib.request
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock
from PIL import Image
from processes import DEADLINE_S, finish, start_workflow

from workflows import results, tune_gan
from workflows.cli.flags import UsageError
from workflows.experiment import ray_cluster
from workflows.experiment import saved_state as state
from workflows.experiment.ray_cluster import Cluster, require_resources

start = partial(start_workflow, tune_gan)


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert process.poll() is None, f"it ended before its time: {process.communicate()}"
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.02)


def saved_trials(run_dir: Path) -> dict[str, tuple[dict[str, Any], int]]:
    """Return the saved state: each trial's config, and the report of its newest checkpoint (0: none)."""
    from ray import cloudpickle

    states = sorted(run_dir.glob("experiment_state-*.json"))
    if not states:
        return {}
    try:
        saved = [
            (json.loads(trial), json.loads(data))
            for trial, data in json.loads(states[-1].read_text())["trial_data"]
        ]
    except ValueError:  # just being written
        return {}
    found = {}
    for trial, data in saved:
        checkpoints = cloudpickle.loads(bytes.fromhex(data["checkpoint_manager"]["value"]))
        newest = checkpoints.latest_checkpoint_result
        found[trial["trial_id"]] = (trial["config"], newest.metrics["training_iteration"] if newest else 0)
    return found


# Wrong input


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--num-samples", "0"], ["--num-samples must be a whole number of at least 1, got 0"]),
        (["--max-updates", "-5"], ["--max-updates must be a whole number of at least 1, got -5"]),
        (["--updates-per-report", "0"], ["--updates-per-report must be a whole number of at least 1, got 0"]),
        (["--num-final-samples", "1"], ["--num-final-samples must be a whole number of at least 2, got 1"]),
        (["--max-concurrent", "-1"], ["--max-concurrent must be a whole number of at least 0, got -1"]),
        (["--cpus-per-trial", "0"], ["--cpus-per-trial must be at least 0.01 and below 10000, got 0.0"]),
        (["--gpus-per-trial", "-0.5"], ["--gpus-per-trial must be 0, 0.01 to 1, or whole, got -0.5"]),
        (["--gpus-per-trial", "1.5"], ["--gpus-per-trial must be 0, 0.01 to 1, or whole, got 1.5"]),
        (["--name", "x" * 300], ["--name must be a folder's name", "200 bytes"]),
        (["--name", " "], ["--name must be a folder's name"]),
        (["--name", "dangling"], ["--name 'dangling' exists"]),
        (["--resume="], ["--resume must name a run folder, got ''"]),
        (["--resume", ""], ["--resume must name a run folder, got ''"]),
        (["--address", "nonsense"], ["--address 'nonsense' must be HOST:PORT"]),
        (["--address", "127.0.0.1:1"], ["--address '127.0.0.1:1' can't be reached"]),
        (["--address", "ray://127.0.0.1:1"], ["--address 'ray://127.0.0.1:1' must be HOST:PORT"]),
        (["--scheduler", "hope"], ["'hope'", "'asha', 'fifo'"]),
        (["--precision", "fp8"], ["'fp8'", "auto, bf16, fp32"]),
        (["--label-smoothing", "0.7"], ["--label-smoothing must be at least 0 and below 0.5, got 0.7"]),
        (
            ["--batch-size", "70000"],
            ["--batch-size must be at most the number of ", "), got 70000"],
        ),
        (["--dataset", "cifar"], ["'cifar'", "'mnist', 'mnist-10k'"]),
        (["--banana"], ["--banana"]),
        (["--resume", "{tmp}/nowhere"], ["nowhere' is no run folder", "run.json"]),
        (["--name", "taken"], ["--name 'taken' exists", "--resume"]),
        (["--storage-path", "{tmp}/file"], ["--storage-path", "/file'", "can't be written"]),
        (["--data-dir", "{tmp}/nowhere"], ["nowhere"]),
        (["--data-dir", "{tmp}/corrupt"], ["train-images-idx3-ubyte"]),
    ],
    ids=" ".join,
)
def test_wrong_input_is_one_line_exit_code_2_and_nothing_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], words: list[str]
) -> None:
    (tmp_path / "runs" / "taken").mkdir(parents=True)
    (tmp_path / "file").write_text("")
    (tmp_path / "runs" / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "corrupt").mkdir()
    for name in (
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    ):
        (tmp_path / "corrupt" / name).write_bytes(b"no digits")
    before = sorted(tmp_path.rglob("*"))
    argv = [flag.format(tmp=tmp_path) for flag in flags]
    if "--storage-path" not in argv:
        argv += ["--storage-path", str(tmp_path / "runs")]
    if "--address" in argv:
        argv += ["--dataset", "mnist-10k"]
    assert tune_gan.main(argv) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert said.err.startswith("tune_gan.py: ")
    for word in words:
        assert word in said.err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    assert tune_gan.main(["--storage-path", str(tmp_path / "locked")]) == 2
    assert "can't be written" in capsys.readouterr().err


def test_a_gpu_that_is_not_there_is_refused_at_once_and_one_that_may_come_is_waited_for() -> None:
    two_cpus, growing = Cluster({"CPU": 2}, is_local=True), Cluster({"CPU": 2}, is_local=False)
    with pytest.raises(UsageError, match="--gpus-per-trial 1 is more than the 0 GPUs that are there"):
        require_resources(two_cpus, "GPU", 1, "--gpus-per-trial 1 is")
    with pytest.raises(UsageError, match="--cpus-per-trial 3 is more than the 2 CPUs that are there"):
        require_resources(two_cpus, "CPU", 3, "--cpus-per-trial 3 is")
    assert "wait until the cluster grows" in require_resources(growing, "GPU", 0.5, "--gpus-per-trial 0.5 is")
    assert (
        require_resources(Cluster({"CPU": 2, "GPU": 1}, is_local=True), "GPU", 0.5, "--gpus-per-trial 0.5 is")
        == ""
    )


def test_a_gpu_too_many_leaves_nothing_behind(tmp_path: Path) -> None:
    code, out, err = finish(
        start("--smoke", "--gpus-per-trial", "999", "--address", "local", "--storage-path", tmp_path)
    )
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert "--gpus-per-trial 999 is more than the" in err
    assert not list(tmp_path.iterdir())


def test_help_needs_nothing_heavy() -> None:
    script = """
        import sys
        from workflows import tune_gan
        try:
            tune_gan.main(["--help"])
        except SystemExit as exit_:
            assert exit_.code == 0
        assert not {"ray", "torch", "pandas", "numpy", "torchvision"} & set(sys.modules)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], check=True, capture_output=True, text=True
    )
    assert "--updates-per-report" in done.stdout


# A whole search

SHORT = ("--smoke", "--precision", "fp32")


def test_smoke_leaves_tables_pictures_and_the_best_trial(gan_search: tuple[Path, str]) -> None:
    run_dir, _ = gan_search
    trials, history = pd.read_csv(run_dir / "trials.csv"), pd.read_csv(run_dir / "history.csv")
    assert len(trials) == 3
    assert list(trials["status"]) == ["TERMINATED"] * 3
    assert trials["error"].isna().all()
    assert list(trials["dataset"]) == ["mnist-10k"] * 3
    assert set(trials["precision"]) <= {"bf16", "fp32"}
    assert trials["fid_mnist"].notna().all()
    assert set(history["trial_id"]) == set(trials["trial_id"])
    assert (history.groupby("trial_id")["iteration"].diff().dropna() == 1).all()

    baseline = trials[trials["baseline"]]
    assert list(baseline["trial_id"]) == [trials["trial_id"][0]], "the homework's setting is the first trial"
    assert baseline["config/generator_lr"].item() == 1e-3
    assert baseline["iteration"].item() == 4, "and it runs to its end"
    finished = trials[trials["iteration"] == 4]
    best = json.loads((run_dir / "best.json").read_text())
    assert best["value"] == finished["fid_mnist"].min()
    assert Path(best["checkpoint"]).is_dir()
    assert set(finished["num_samples_scored"]) == {1000}

    for trial_id in trials["trial_id"]:
        assert (run_dir / "samples" / f"{trial_id}_000000.png").exists()
    with Image.open(run_dir / "samples" / f"{best['trial_id']}_000040.png") as picture:
        assert np.asarray(picture).std() > 10
        size = picture.size
    for trial_id in {best["trial_id"], baseline["trial_id"].item()}:
        with Image.open(run_dir / "samples" / f"{trial_id}_progress.png") as picture:
            assert picture.width > size[0], "two grids, at half their size each, and the space between them"


def test_the_console_says_what_came_of_it_and_nothing_else(gan_search: tuple[Path, str]) -> None:
    run_dir, out = gan_search
    for word in (
        "best trial",
        "baseline",
        "floor: 10,000 real test digits",
        f"{run_dir}/trials.csv",
        "next",
        f"picture   {run_dir}/samples/",
    ):
        assert word in out
    for noise in ("Warning", "WARNING", "deprecat", "INFO", "pid=", "Traceback"):
        assert noise not in out


def test_tensorboard_shows_its_curves_hyperparameters_and_pictures(
    gan_search: tuple[Path, str], tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard")
    run_dir, _ = gan_search
    open_url = urllib.request.build_opener(urllib.request.ProxyHandler({})).open

    def ask(path: str, **question: Any) -> bytes:
        body = json.dumps(question).encode() if question else None
        request = urllib.request.Request(
            f"{url}data/plugin/{path}", body, {"Content-Type": "application/json"}
        )
        with open_url(request, timeout=DEADLINE_S) as answer:
            return bytes(answer.read())

    log = tmp_path / "tensorboard.log"
    command = [
        sys.executable,
        "-m",
        "tensorboard.main",
        "--logdir",
        str(run_dir),
        "--host",
        "localhost",
        "--port",
        "0",
    ]
    with (
        log.open("w") as output,
        subprocess.Popen(command, stdout=output, stderr=output, text=True) as server,
    ):
        try:
            wait_for(lambda: "(Press CTRL+C to quit)" in log.read_text(), server)
            url = re.findall(r"http://localhost:\d+/", log.read_text())[-1]
            history = results.load_history(run_dir)
            reports = {trial_id: list(rows["updates"]) for trial_id, rows in history.groupby("trial_id")}
            wait_for(lambda: set(json.loads(ask("images/tags"))) == set(reports), server)
            ended = {
                "sliceSize": 9,
                "allowedStatuses": ["STATUS_SUCCESS"],
                "colParams": [],
            }  # which is the last that is in a file
            wait_for(
                lambda: (
                    len(json.loads(ask("hparams/session_groups", **ended))["sessionGroups"]) == len(reports)
                ),
                server,
            )
            assert "ray/tune/updates_per_s" in json.loads(ask("scalars/tags"))[min(reports)]
            for trial_id, updates in reports.items():
                curve = json.loads(ask(f"scalars/scalars?run={trial_id}&tag=ray/tune/fid_mnist"))
                assert [step for _, step, _ in curve] == updates
                pictures = json.loads(ask(f"images/images?run={trial_id}&tag=samples&sample=0"))
                drawn = {
                    int(path.stem): path.read_bytes()
                    for path in (run_dir / trial_id / "samples").glob("*.png")
                }
                assert {
                    picture["step"]: ask(f"images/individualImage?{picture['query']}") for picture in pictures
                } == drawn
            experiment = json.loads(ask("hparams/experiment", experimentName=""))
            groups = json.loads(ask("hparams/session_groups", **ended))["sessionGroups"]
        finally:
            server.terminate()
    assert [metric["name"]["tag"] for metric in experiment["metricInfos"]] == ["ray/tune/fid_mnist"]
    last = history.drop_duplicates("trial_id", keep="last").set_index("trial_id")
    names = [info["name"] for info in experiment["hparamInfos"]]
    assert sorted(f"config/{name}" for name in names) == sorted(
        name for name in last if name.startswith("config/")
    )
    for group in groups:
        row = last.loc[group["name"]]
        assert group["hparams"] == pytest.approx({name: row[f"config/{name}"] for name in names})
        assert group["metricValues"][0]["value"] == pytest.approx(row["fid_mnist"])


def test_its_name_is_taken_now(gan_search: tuple[Path, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert tune_gan.main(["--name", "smoke", "--storage-path", str(gan_search[0].parent)]) == 2
    assert "--name 'smoke' exists" in capsys.readouterr().err


def test_resuming_a_finished_search_changes_nothing(gan_search: tuple[Path, str], ray_address: str) -> None:
    run_dir, _ = gan_search
    before = pd.read_csv(run_dir / "trials.csv")
    code, out, err = finish(start("--resume", run_dir, "--address", ray_address))
    assert (code, err) == (0, "")
    assert "best trial" in out
    pd.testing.assert_frame_equal(pd.read_csv(run_dir / "trials.csv"), before)


FULL = """
    import sys
    from workflows import tune_gan
    from workflows.report import html as report

    def of_run(*args):
        raise OSError(28, "No space left on device")

    report.of_run = of_run
    sys.exit(tune_gan.main(sys.argv[1:]))
"""


def test_a_report_that_can_not_be_written_costs_no_summary(
    gan_search: tuple[Path, str], ray_address: str, tmp_path: Path
) -> None:
    run = shutil.copytree(gan_search[0], tmp_path / "run")
    command = [sys.executable, "-c", textwrap.dedent(FULL), "--resume", str(run), "--address", ray_address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 1, done
    assert "FAILED    the report: OSError" in done.stdout
    assert "best trial" in done.stdout
    assert "tables    " in done.stdout
    assert "report    " not in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "name", ["run.json", "experiment_state-*.json", "basic-variant-state-*.json", "tuner.pkl"]
)
@pytest.mark.parametrize("damage", ["cut short", "gone"])
def test_a_broken_run_is_refused_not_started_over(
    gan_search: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, damage: str
) -> None:
    for file in gan_search[0].glob("*"):
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    for file in tmp_path.glob(name):
        if damage == "gone":
            file.unlink()
        else:
            file.write_bytes(file.read_bytes()[:-100])
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert ".saved" not in before
    assert tune_gan.main(["--resume", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert str(tmp_path) in said
    assert "version" not in said
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.parametrize("name", ["experiment_state-*.json", "basic-variant-state-*.json", "tuner.pkl"])
def test_a_state_file_cut_short_is_replaced_by_its_copy(
    gan_search: tuple[Path, str], tmp_path: Path, name: str
) -> None:
    run = shutil.copytree(gan_search[0], tmp_path / "run", ignore=shutil.ignore_patterns("checkpoint_*"))
    assert state.recover(run) == ""
    broken = max(run.glob(name))  # the newest; each resumption writes its own
    broken.write_bytes(broken.read_bytes()[:-100])
    said = state.recover(run)
    assert f"{broken.name} is broken" in said
    assert state.recover(run) == ""
    pd.testing.assert_frame_equal(
        results.load_trials(run)[["trial_id", "status"]],
        results.load_trials(gan_search[0])[["trial_id", "status"]],
    )


def test_a_run_that_is_still_running_is_left_alone(
    gan_search: tuple[Path, str],
    ray_address: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    two_cpus = Cluster({"CPU": 2}, is_local=False)
    monkeypatch.setattr(ray_cluster, "connected", lambda address: nullcontext(two_cpus))
    with FileLock(gan_search[0] / ".lock"):
        assert tune_gan.main(["--resume", str(gan_search[0])]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "is still running" in said.err
    assert said.err.count("\n") == 1


def test_a_run_is_not_resumed_on_other_digits(
    gan_search: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(gan_search[0], tmp_path / "run", ignore=shutil.ignore_patterns("checkpoint_*"))
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | {"dataset": "mnist"}))
    assert tune_gan.main(["--resume", str(run)]) == 2
    assert "was begun on mnist, but only mnist-10k can be had" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "scheduler"),
    [
        pytest.param(signal.SIGKILL, "fifo", id="killed"),
        pytest.param(signal.SIGKILL, "asha", id="killed asha"),
        pytest.param(signal.SIGINT, "asha", id="interrupted"),
    ],
)
def test_a_search_that_was_stopped_goes_on_where_it_was(
    ray_address: str, tmp_path: Path, how: signal.Signals, scheduler: str
) -> None:
    run_dir = tmp_path / "run"
    search = (*SHORT, "--num-samples", "4", "--scheduler", scheduler, "--address", ray_address)
    process = start(*search, "--storage-path", tmp_path, "--name", "run")
    wait_for(lambda: any(reports >= 2 for _, reports in saved_trials(run_dir).values()), process)
    process.send_signal(how)
    code, out, _ = finish(process)
    if how == signal.SIGINT:
        assert code == 130
        assert f"--resume {run_dir}" in out
    stopped_at = time.time()
    at_stop = saved_trials(run_dir)
    assert any(0 < reports < 4 for _, reports in at_stop.values()), "it was stopped half-way"

    code, out, err = finish(start("--resume", run_dir, "--address", ray_address))
    assert (code, err) == (0, ""), out
    trials = pd.read_csv(run_dir / "trials.csv").set_index("trial_id")
    assert set(at_stop) <= set(trials.index)
    assert len(trials) == 4
    assert list(trials["status"]) == ["TERMINATED"] * 4
    assert trials.loc[trials["baseline"], "updates"].item() == 40
    if scheduler == "fifo":
        assert list(trials["updates"]) == [40] * 4
    for trial_id, (config, reports) in at_stop.items():
        assert {name: trials.loc[trial_id, f"config/{name}"] for name in config} == pytest.approx(config)
        lines = [json.loads(line) for line in (run_dir / trial_id / "result.json").read_text().splitlines()]
        after = [line["training_iteration"] for line in lines if line["timestamp"] > stopped_at]
        assert after == list(range(reports + 1, reports + 1 + len(after))), (
            "it went on from its checkpoint, not from zero"
        )


@pytest.mark.slow
def test_no_more_trials_at_a_time_than_asked_for(ray_address: str, tmp_path: Path) -> None:
    flags = (
        *SHORT,
        "--num-samples",
        "3",
        "--max-concurrent",
        "1",
        "--address",
        ray_address,
        "--storage-path",
        tmp_path,
        "--name",
        "run",
    )
    code, out, err = finish(start(*flags))
    assert (code, err) == (0, ""), out
    order = list(results.load_history(tmp_path / "run").sort_values("timestamp", kind="stable")["trial_id"])
    assert order == sorted(order), "a trial reported before the one before it had ended"
    assert len(set(order)) == 3


def test_failed_trials_are_listed_with_their_reason_and_the_exit_code_is_1(
    failed_gan_search: tuple[Path, int, str],
) -> None:
    run_dir, code, out = failed_gan_search
    assert code == 1, out
    trials: Any = pd.read_csv(run_dir / "trials.csv")
    assert list(trials["status"]) == ["TERMINATED", "ERROR"]
    failed = trials["trial_id"][1]
    assert f"FAILED    {failed}: TrainingDiverged: " in out
    assert " became " in trials["error"][1]
    assert "1 of 2 trials failed" in out
    assert "Traceback" not in out
