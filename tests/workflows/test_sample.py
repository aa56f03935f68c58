"""`sample.py` on run folders made by hand, with the checkpoints of small models in them."""

import importlib
import json
import os
import shutil
import subprocess
import sys
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from run_folders import line, make_run

from algorithms import mnist
from algorithms.cvae.options import CVAEOptions
from algorithms.cvae.sampling import decode, noise, trained_network
from algorithms.cvae.trainer import CVAETrainer
from algorithms.gan.options import GANOptions
from algorithms.gan.trainer import GANTrainer
from algorithms.generative import CHECKPOINT_FILE, images
from workflows import sample
from workflows.programs import PROGRAMS, Program

WHOLE = "".join(line(i, 9 - i) for i in (1, 2, 3, 4))  # fid 5 at its end
BETTER = "".join(line(i, 6 - i) for i in (1, 2, 3, 4))  # fid 2 at its end
STATES: dict[str, Callable[[mnist.MNIST, int], dict[str, Any]]] = {
    "tune_gan": lambda digits, seed: GANTrainer(
        GANOptions(width=4, latent_size=8), digits, seed=seed
    ).state_dict(),
    "tune_cvae": lambda digits, seed: CVAETrainer(CVAEOptions(width=16), digits, seed=seed).state_dict(),
}


def make(folder: Path, program: str, digits: mnist.MNIST) -> Path:
    """Make a run: a_00000 is the baseline, a_00001 the best, a_00002 and a_00003 still run."""
    trials: list[dict[str, Any]] = [
        {"trial_id": "a_00000", "status": "TERMINATED", "config": {"lr": 1}, "reports": WHOLE},
        {"trial_id": "a_00001", "status": "TERMINATED", "config": {"lr": 2}, "reports": BETTER},
        {"trial_id": "a_00002", "status": "RUNNING", "config": {"lr": 3}, "reports": line(1, 7)},
        {"trial_id": "a_00003", "status": "RUNNING", "config": {"lr": 4}},
    ]
    run = make_run(folder, trials)
    edit(run, program=program)
    for seed, checkpoint in enumerate(
        ("a_00000/checkpoint_000000", "a_00001/checkpoint_000002", "a_00001/checkpoint_000003")
    ):
        (run / checkpoint).mkdir()
        torch.save(STATES[program](digits, seed), run / checkpoint / CHECKPOINT_FILE)
    shutil.copytree(run / "a_00000" / "checkpoint_000000", run / "a_00002" / "checkpoint_000000")
    return run


def edit(run: Path, **values: Any) -> None:
    """Set values in run.json, and leave out those that are None."""
    record = json.loads((run / "run.json").read_text()) | values
    (run / "run.json").write_text(
        json.dumps({name: value for name, value in record.items() if value is not None})
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, digits: mnist.MNIST) -> dict[str, Path]:
    """A run of each program, to be read only."""
    folder = tmp_path_factory.mktemp("runs")
    return {program: make(folder / program, program, digits) for program in STATES}


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def drawn(run: Path, *flags: str) -> dict[str, np.ndarray]:
    """Return what sample.py writes as .npz."""
    assert sample.main([str(run), "--output", "out.npz", *flags]) == 0
    with np.load("out.npz") as arrays:
        return dict(arrays)


def test_a_cvae_draws_the_digits_in_turn(runs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    arrays = drawn(runs["tune_cvae"], "--num", "23")
    assert sorted(arrays) == ["images", "labels"]
    assert arrays["images"].dtype == np.uint8
    assert arrays["images"].shape == (23, 28, 28)
    assert arrays["labels"].dtype == np.int64
    assert arrays["labels"].tolist() == [*range(10), *range(10), 0, 1, 2]
    said = capsys.readouterr()
    assert said.out == "23 digits of trial a_00001 (fid 2, checkpoint_000003) in out.npz\n"
    assert said.err == ""
    assert os.listdir() == ["out.npz"], "nothing else is left behind"


def test_a_cvae_draws_one_digit_when_asked_to(runs: dict[str, Path]) -> None:
    assert drawn(runs["tune_cvae"], "--num", "3", "--digit", "7")["labels"].tolist() == [7, 7, 7]
    assert drawn(runs["tune_cvae"], "--num", "1", "--digit", "0")["labels"].tolist() == [0]


def test_a_gan_knows_no_labels(runs: dict[str, Path]) -> None:
    arrays = drawn(runs["tune_gan"], "--num", "5")
    assert list(arrays) == ["images"]
    assert arrays["images"].dtype == np.uint8
    assert arrays["images"].shape == (5, 28, 28)


@pytest.mark.parametrize(
    ("program", "flags"),
    [
        *((program, ["--num", "4"]) for program in STATES),
        *((program, ["--num", "20", "--interpolate"]) for program in STATES),
        ("tune_cvae", ["--num", "20", "--grid"]),
    ],
    ids=str,
)
def test_a_seed_fixes_the_digits(runs: dict[str, Path], program: str, flags: list[str]) -> None:
    first, again, other = (drawn(runs[program], *flags, "--seed", seed)["images"] for seed in ("1", "1", "2"))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("program", STATES)
def test_they_are_of_the_newest_checkpoint_of_the_best_trial_or_of_the_one_asked_for(
    runs: dict[str, Path], program: str, digits: mnist.MNIST
) -> None:
    def expected(seed: int) -> np.ndarray:
        samples = importlib.import_module(PROGRAMS[program].draws).samples
        found: np.ndarray = samples(
            STATES[program](digits, seed), 4, None, 0, "cuda" if torch.cuda.is_available() else "cpu"
        )[0]
        return found

    np.testing.assert_array_equal(drawn(runs[program], "--num", "4")["images"], expected(2))
    for trial in ("a_00000", "00000", "0"):
        np.testing.assert_array_equal(
            drawn(runs[program], "--num", "4", "--trial", trial)["images"], expected(0)
        )


def test_a_run_that_goes_on_can_be_sampled_by_trial(
    runs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    drawn(runs["tune_gan"], "--num", "1", "--trial", "00002")
    assert capsys.readouterr().out == "1 digit of trial a_00002 (fid 7, checkpoint_000000) in out.npz\n"


def test_a_run_that_was_moved_draws_as_before(runs: dict[str, Path], tmp_path: Path) -> None:
    before = drawn(runs["tune_gan"], "--num", "4")["images"]
    shutil.copytree(runs["tune_gan"], tmp_path / "moved")
    np.testing.assert_array_equal(drawn(Path("moved"), "--num", "4")["images"], before)


@pytest.mark.parametrize("name", ["samples.png", "again.PNG"])
def test_a_png_is_a_grid_of_the_same_digits_ten_in_a_row(
    runs: dict[str, Path], tmp_path: Path, name: str
) -> None:
    arrays = drawn(runs["tune_cvae"], "--num", "13")
    (tmp_path / name).write_text("something else, which is replaced")
    assert (
        sample.main(
            [str(runs["tune_cvae"]), "--num", "13", *([] if name == "samples.png" else ["--output", name])]
        )
        == 0
    )
    with Image.open(tmp_path / name) as picture:
        pixels = np.asarray(picture)
    np.testing.assert_array_equal(pixels[::2, ::2], images.grid(arrays["images"], 10))
    assert sorted(os.listdir()) == sorted(["out.npz", name])


def test_a_third_model_is_sampled_by_its_row_alone(
    runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    toy = types.ModuleType("toy_sampling")

    def samples(
        state: dict[str, Any], num: int, digit: int | None, seed: int, device: str, layout: str
    ) -> tuple[np.ndarray, np.ndarray]:
        labels = np.full(num, 3 if digit is None else digit)
        return np.full((num, 28, 28), state["updates"] + seed, np.uint8), labels

    toy.samples = samples  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "toy_sampling", toy)
    row = Program("tune_toy", "search", draws="toy_sampling", metric="fid", metrics={"fid": "min"})
    monkeypatch.setitem(PROGRAMS, "tune_toy", row)
    shutil.copytree(runs["tune_gan"], tmp_path / "toy")
    edit(tmp_path / "toy", program="tune_toy")
    assert (drawn(Path("toy"), "--num", "2", "--seed", "7")["images"] == 7).all()
    assert sample.main(["toy", "--digit", "4"]) == 2
    assert "--digit must be left out for tune_toy, which has no labels" in capsys.readouterr().err
    labelled = replace(row, metrics={"fid": "min", "conditional_accuracy": "max"})
    monkeypatch.setitem(PROGRAMS, "tune_toy", labelled)
    assert drawn(Path("toy"), "--num", "2", "--digit", "4")["labels"].tolist() == [4, 4]


# Rows


def page(run: Path, *flags: str, num_rows: int) -> np.ndarray:
    """Return the digits of the page that sample.py writes as .png; [num_rows, columns, 28, 28]."""
    assert sample.main([str(run), "--output", "page.png", *flags]) == 0
    with Image.open("page.png") as picture:
        pixels = np.asarray(picture)[::2, ::2][1:, 1:]
    return pixels.reshape(num_rows, 29, -1, 29).swapaxes(1, 2)[:, :, :28, :28]


def test_a_grid_has_a_row_a_digit_and_one_draw_of_noise_down_a_column(
    runs: dict[str, Path], digits: mnist.MNIST
) -> None:
    arrays = drawn(runs["tune_cvae"], "--grid", "--num", "30", "--seed", "3")
    assert arrays["labels"].tolist() == [digit for digit in range(10) for _ in range(3)]
    assert (arrays["images"].shape, arrays["labels"].dtype) == ((30, 28, 28), np.int64)

    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = trained_network(STATES["tune_cvae"](digits, 2), device)
    columns = noise(3, network.latent_size, torch.Generator(device).manual_seed(3))
    expected = (
        decode(network, columns.repeat(10, 1), torch.from_numpy(arrays["labels"]).to(device)).cpu().numpy()
    )
    np.testing.assert_array_equal(arrays["images"], expected)
    rows = page(runs["tune_cvae"], "--grid", "--num", "30", "--seed", "3", num_rows=10)
    np.testing.assert_array_equal(rows, expected.reshape(10, 3, 28, 28))


def test_a_grid_is_ten_by_ten_unless_told_otherwise(runs: dict[str, Path]) -> None:
    assert page(runs["tune_cvae"], "--grid", num_rows=10).shape == (10, 10, 28, 28)
    assert page(runs["tune_cvae"], "--grid", "--num", "10", num_rows=10).shape == (10, 1, 28, 28)
    assert page(runs["tune_cvae"], "--grid", "--num", "120", num_rows=10).shape == (10, 12, 28, 28)


def test_an_interpolation_shows_a_digit_a_row_in_turn_or_the_one_asked_for(runs: dict[str, Path]) -> None:
    arrays = drawn(runs["tune_cvae"], "--interpolate", "--num", "120")
    assert arrays["labels"].reshape(12, 10).tolist() == [[row % 10] * 10 for row in range(12)]
    rows = page(runs["tune_cvae"], "--interpolate", "--num", "120", num_rows=12)
    np.testing.assert_array_equal(rows, arrays["images"].reshape(12, 10, 28, 28))
    zeros = drawn(runs["tune_cvae"], "--interpolate", "--num", "120", "--digit", "0")
    assert set(zeros["labels"].tolist()) == {0}
    zeros_again = zeros["images"].reshape(12, 10, 28, 28)[[0, 10]]
    np.testing.assert_array_equal(zeros_again, rows[[0, 10]])  # the noise is the same, whatever the digit


def test_a_gans_interpolation_has_no_labels(runs: dict[str, Path]) -> None:
    arrays = drawn(runs["tune_gan"], "--interpolate", "--num", "20")
    assert list(arrays) == ["images"]
    assert arrays["images"].shape == (20, 28, 28)
    rows = page(runs["tune_gan"], "--interpolate", "--num", "20", num_rows=2)
    np.testing.assert_array_equal(rows, arrays["images"].reshape(2, 10, 28, 28))
    assert (rows[:, 0] != rows[:, -1]).any()


# Wrong input


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory, runs: dict[str, Path]) -> Path:
    """A folder of run folders, each with something wrong."""
    folder = tmp_path_factory.mktemp("wrong")
    (folder / "file").write_text("")
    (folder / "taken.png").mkdir()
    (folder / "empty").mkdir()
    gan = runs["tune_gan"]
    for name in (
        "broken",
        "list",
        "bare",
        "dqn",
        "unfinished",
        "young",
        "stateless",
        "cut",
        "text",
        "hollow",
        "small",
    ):
        shutil.copytree(gan, folder / name, copy_function=os.link)
        for path in (
            *(folder / name).glob("*.json"),
            *(folder / name).glob("a_00001/checkpoint_000003/*"),
        ):  # those that are changed
            path.unlink()
            shutil.copy2(gan / path.relative_to(folder / name), path)
    (folder / "broken" / "run.json").write_text('{"program": "tune_g')
    (folder / "list" / "run.json").write_text("[]")
    edit(folder / "bare", metric=None)
    edit(folder / "dqn", program="train_dqn")
    for name in ("unfinished", "young"):
        edit(folder / name, num_reports=5)
    for checkpoint in (folder / "young").glob("*/checkpoint_*"):
        shutil.rmtree(checkpoint)
    for state in (folder / "stateless").glob("experiment_state-*"):
        state.unlink()
    newest = f"a_00001/checkpoint_000003/{CHECKPOINT_FILE}"
    (folder / "cut" / newest).write_bytes((gan / newest).read_bytes()[:-1000])
    (folder / "text" / newest).write_text("no checkpoint")
    (folder / "hollow" / newest).rename(folder / "hollow" / newest.replace("trainer", "other"))
    state = torch.load(gan / newest, weights_only=True)
    torch.save(state | {"options": state["options"] | {"width": 2}}, folder / "small" / newest)
    return folder


READY = "of the trials with a checkpoint (a_00000, a_00001, a_00002)"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], ["RUN_DIR"]),
        (["{gan}", "--num", "0"], ["--num must be a whole number from 1 to 100000, got 0"]),
        (["{gan}", "--num", "1000000000"], ["--num must be a whole number from 1 to 100000, got 1000000000"]),
        (["{gan}", "--num", "many"], ["--num", "'many'"]),
        (["{gan}", "--seed", "-1"], ["--seed must be at least 0 and below 2**32, got -1"]),
        (["{cvae}", "--digit", "10"], ["--digit must be 0 to 9, got 10"]),
        (["{cvae}", "--digit", "-1"], ["--digit must be 0 to 9, got -1"]),
        (["{gan}", "--digit", "3"], ["--digit must be left out for tune_gan, which has no labels, got 3"]),
        (["{gan}", "--grid"], ["--grid must be left out for tune_gan, which has no labels"]),
        (
            ["{gan}", "--interpolate", "--digit", "0"],
            ["--digit must be left out for tune_gan, which has no labels, got 0"],
        ),
        (
            ["{gan}", "--interpolate", "--num", "5"],
            ["--num must be a multiple of 10 with --grid or --interpolate, got 5"],
        ),
        (
            ["{cvae}", "--interpolate", "--num", "101"],
            ["--num must be a multiple of 10 with --grid or --interpolate, got 101"],
        ),
        (
            ["{cvae}", "--grid", "--num", "23"],
            ["--num must be a multiple of 10 with --grid or --interpolate, got 23"],
        ),
        (["{cvae}", "--grid", "--num", "0"], ["--num must be a whole number from 1 to 100000, got 0"]),
        (["{cvae}", "--grid", "--interpolate"], ["--grid excludes --interpolate"]),
        (
            ["{cvae}", "--grid", "--digit", "0"],
            ["--digit must be left out with --grid, whose rows are all ten digits, got 0"],
        ),
        (["{cvae}", "--grid", "7"], ["7"]),
        (["{gan}", "--banana"], ["--banana"]),
        (["{gan}", "{cvae}"], ["tune_cvae"]),
        (
            ["{gan}", "--output", "digits.jpg"],
            ["--output must be a name that ends in .png or .npz, got 'digits.jpg'"],
        ),
        (
            ["{gan}", "--output", "digits"],
            ["--output must be a name that ends in .png or .npz, got 'digits'"],
        ),
        (["{gan}", "--output", ".npz"], ["--output must be a name that ends in .png or .npz, got '.npz'"]),
        (
            ["{gan}", "--output", "nowhere/a.png"],
            ["--output must be a file in a folder that you may write to", "got 'nowhere/a.png'"],
        ),
        (
            ["{gan}", "--output", "{wrong}/file/a.png"],
            ["--output must be a file in a folder that you may write to", "file/a.png'"],
        ),
        (
            ["{gan}", "--output", "{wrong}/taken.png"],
            ["--output must be a file in a folder that you may write to", "taken.png'"],
        ),
        (["{gan}", "--output", "x" * 300 + ".png"], ["can't be written: File name too long"]),
        (["{wrong}/nowhere"], ["RUN_DIR must be a run folder, with a run.json, got", "nowhere'"]),
        (["{wrong}/file"], ["RUN_DIR must be a run folder, with a run.json, got", "file'"]),
        (["{wrong}/empty"], ["RUN_DIR must be a run folder, with a run.json, got", "empty'"]),
        (["{wrong}/broken"], ["broken' can't be read; is its run.json broken? (JSONDecodeError"]),
        (["{wrong}/list"], ["list' can't be read; is its run.json broken? (ValueError"]),
        (["{wrong}/bare"], ["bare' can't be read; is its run.json broken? (KeyError: 'metric')"]),
        (
            ["{wrong}/dqn"],
            ["dqn is a run of train_dqn, which draws no digits; tune_gan, tune_cvae do"],
        ),
        (["{gan}", "--trial", "00009"], [f"--trial '00009' fits none {READY}"]),
        (["{gan}", "--trial", "a_00003"], [f"--trial 'a_00003' fits none {READY}"]),
        (["{gan}", "--trial", ""], [f"--trial '' fits none {READY}"]),
        (["{wrong}/unfinished"], [f"--trial must be given, as no trial has run to its end yet: one {READY}"]),
        (
            ["{wrong}/young"],
            ["--trial must be given, as no trial has run to its end yet", "(there is none yet)"],
        ),
        (
            ["{wrong}/young", "--trial", "00001"],
            ["--trial '00001' fits none of the trials with a checkpoint (there is none yet)"],
        ),
        (["{wrong}/stateless"], ["RUN_DIR must be a run with a trial; this one has none yet"]),
        (
            ["{wrong}/cut"],
            [
                "a_00001/checkpoint_000003/trainer.pt can't be sampled; broken, or just being written?",
                "RuntimeError",
            ],
        ),
        (["{wrong}/text"], ["a_00001/checkpoint_000003/trainer.pt can't be sampled", "UnpicklingError"]),
        (["{wrong}/hollow"], ["a_00001/checkpoint_000003/trainer.pt can't be sampled", "FileNotFoundError"]),
        (
            ["{wrong}/small"],
            ["a_00001/checkpoint_000003/trainer.pt can't be sampled", "RuntimeError", "size mismatch"],
        ),
    ],
    ids=lambda value: " ".join(value)[:60],
)
def test_wrong_input_is_one_line_exit_code_2_and_nothing_written(
    runs: dict[str, Path], wrong: Path, capsys: pytest.CaptureFixture[str], argv: list[str], words: list[str]
) -> None:
    before = {
        path: path.stat().st_mtime_ns for folder in (wrong, *runs.values()) for path in folder.rglob("*")
    }
    names = {"gan": runs["tune_gan"], "cvae": runs["tune_cvae"], "wrong": wrong}
    assert sample.main([word.format(**names) for word in argv]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("sample.py: ")
    assert said.err.count("\n") == 1
    assert "weights_only" not in said.err, "torch's advice to trust the file is not ours"
    for word in words:
        assert word in said.err
    assert os.listdir() == []
    assert {
        path: path.stat().st_mtime_ns for folder in (wrong, *runs.values()) for path in folder.rglob("*")
    } == before


def test_an_ending_of_two_trials_names_them(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(
        tmp_path / "run",
        [
            {"trial_id": trial_id, "status": "RUNNING", "config": {"lr": 1}}
            for trial_id in ("a_00003", "a_00013")
        ],
    )
    edit(run, program="tune_gan")
    for trial_id in ("a_00003", "a_00013"):
        shutil.copytree(
            runs["tune_gan"] / "a_00000" / "checkpoint_000000", run / trial_id / "checkpoint_000000"
        )
    assert sample.main([str(run), "--trial", "3"]) == 2
    assert "--trial '3' fits 2 of the trials with a checkpoint (a_00003, a_00013)" in capsys.readouterr().err
    assert sample.main([str(run), "--trial", "03"]) == 0
    assert "trial a_00003 (fid nan, checkpoint_000000)" in capsys.readouterr().out


def test_a_folder_that_may_not_be_written_to_is_refused_before_anything_is_loaded(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    assert sample.main(["no run folder, which is looked at later"]) == 2
    assert (
        "--output must be a file in a folder that you may write to, got 'samples.png'"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize("name", ["out.png", "out.npz"])
def test_a_disk_that_is_full_leaves_the_old_file_and_nothing_else(
    runs: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / name).write_text("old")
    monkeypatch.setattr(Path, "replace", full)
    assert sample.main([str(runs["tune_gan"]), "--num", "2", "--output", name]) == 2
    assert (
        capsys.readouterr().err == f"sample.py: --output '{name}' can't be written: No space left on device\n"
    )
    assert os.listdir() == [name]
    assert (tmp_path / name).read_text() == "old"


# What it imports


def test_it_samples_without_ray_and_helps_without_anything_heavy(runs: dict[str, Path]) -> None:
    script = """
        import sys
        from workflows import sample
        try:
            sample.main(["--help"])
        except SystemExit as exit_:
            assert exit_.code == 0
        assert not {"ray", "torch", "pandas", "numpy"} & set(sys.modules)
        assert sample.main(sys.argv[1:]) == 0
        assert "ray" not in sys.modules
    """
    command = [
        sys.executable,
        "-W",
        "error",
        "-c",
        "if True:" + script,
        str(runs["tune_cvae"]),
        "--num",
        "10",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "RUN_DIR" in done.stdout
    assert done.stdout.endswith("10 digits of trial a_00001 (fid 2, checkpoint_000003) in samples.png\n")
    assert os.listdir() == ["samples.png"]
