"""`tune_cvae.py` as a person runs it. What it shares with `tune_gan.py` is tested there."""

import itertools
import json
import shutil
import signal
import subprocess
import sys
import textwrap
from functools import partial
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from processes import finish, start_workflow

from algorithms import mnist
from algorithms.cvae.likelihood import measure
from algorithms.cvae.options import PRESETS, CVAEOptions
from workflows import results, sample, tune_cvae
from workflows.experiment.searchers import domains
from workflows.programs import PROGRAMS

start = partial(start_workflow, tune_cvae)
DIGITS = ("--dataset", "mnist-10k")
SEARCHED = {
    "architecture": "mlp", "width": 9, "depth": 1, "latent-size": 2, "prior": "learned",
    "binarisation": "none", "batch-size": 9, "lr": 1e-3, "ema-decay": 0,
}  # fmt: skip
EVERYTHING = [*DIGITS, *(f"--{name}={value}" for name, value in SEARCHED.items())]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--beta", "-0.5"], ["--beta must be at least 0 and finite, got -0.5"]),
        (["--latent-size", "0"], ["--latent-size must be a whole number of at least 1, got 0"]),
        (["--latent-size", "many"], ["--latent-size", "'many'"]),
        (["--binarisation", "static"], ["--binarisation", "must be one of dynamic, none, got 'static'"]),
        (["--architecture", "vit"], ["--architecture", "must be one of mlp, conv, got 'vit'"]),
        (["--prior", "None"], ["--prior", "must be one of standard, learned, flow, got 'None'"]),
        (
            ["--architecture", "conv", "--width", "8"],
            ["--width must be a whole number of at least 16 (conv), got 8"],
        ),
        (
            ["--num-importance-samples", "5", "--beta", "2"],
            ["--num-importance-samples 5 excludes --beta 2", "leave them at 1 and 0"],
        ),
        (
            ["--num-importance-samples", "5", "--beta-warmup-updates", "9"],
            ["excludes --beta 1 and --beta-warmup-updates 9"],
        ),
        (
            ["--batch-size", "9999", *DIGITS],
            ["--batch-size must be at most the number of", "(9167), got 9999"],
        ),
        (["--num-train-digits", "9999", *DIGITS], ["--num-train-digits must be at most 9167", "got 9999"]),
        (["--num-nll-digits", "900", *DIGITS], ["--num-nll-digits must be at most 833", "got 900"]),
        (["--width", "8", *DIGITS], ["--width must be a whole number of at least 16 (conv), got 8"]),
        (
            ["--num-train-digits", "100", *DIGITS],
            ["--batch-size must be at most the number of", "(100), got 128"],
        ),
        (["--latent-size", "1", *DIGITS], ["--prior flow excludes --latent-size 1"]),
        (EVERYTHING, ["--num-samples must be 1 when every searched hyperparameter is given, got 8"]),
        (["--num-test-samples", "0"], ["--num-test-samples must be a whole number of at least 1, got 0"]),
        (["--num-test-digits", "-1"], ["--num-test-digits must be 0, or 2 to 10000, got -1"]),
        (["--metric", "hope"], ["'hope'", "'elbo'"]),
        (["--preset", "best"], ["'best'", "'homework'"]),
        (["--resume", "{tmp}/nowhere"], ["nowhere' is no run folder"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_wrong_input_is_one_line_exit_code_2_and_nothing_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], words: list[str]
) -> None:
    argv = [*(flag.format(tmp=tmp_path) for flag in flags), "--storage-path", str(tmp_path / "runs")]
    assert tune_cvae.main(argv) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert said.err.startswith("tune_cvae.py: ")
    for word in words:
        assert word in said.err
    assert not list(tmp_path.iterdir())


def test_help_needs_nothing_heavy_and_explains_every_hyperparameter() -> None:
    script = """
        import sys
        from workflows import tune_cvae
        try:
            tune_cvae.main(["--help"])
        except SystemExit as exit_:
            assert exit_.code == 0
        assert not {"ray", "torch", "pandas", "numpy", "torchvision"} & set(sys.modules)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], check=True, capture_output=True, text=True
    )
    for word in (
        "--latent-size INT",
        "Size of the latent vector z.",
        "--prior {standard,learned,flow}",
        "--beta-warmup-updates INT",
    ):
        assert word in done.stdout
    assert "{None}" not in done.stdout


def test_every_trial_of_the_space_is_valid_and_every_metric_has_a_direction() -> None:
    space = domains(tune_cvae.SPACE)
    for _ in range(20):
        CVAEOptions(**{name: domain.sample() for name, domain in space.items()})
    assert set(PROGRAMS["tune_cvae"].metrics) >= set(
        get_args(get_type_hints(tune_cvae.TuneCVAEFlags)["metric"])
    )


def test_smoke_leaves_tables_pictures_and_the_best_trial(cvae_search: tuple[Path, str]) -> None:
    run_dir, _ = cvae_search
    trials, history = pd.read_csv(run_dir / "trials.csv"), pd.read_csv(run_dir / "history.csv")
    assert list(trials["status"]) == ["TERMINATED"] * 3
    assert list(trials["config/binarisation"]) == ["none", "dynamic", "dynamic"], (
        "the homework's is the first trial's, and a column"
    )
    baseline = trials[trials["baseline"]]
    assert list(baseline["trial_id"]) == [trials["trial_id"][0]]
    assert baseline["config/lr"].item() == 1e-3
    assert baseline["config/batch_size"].item() == 32
    assert baseline["updates"].item() == 120, "it runs to its end"
    for metric in PROGRAMS["tune_cvae"].columns:
        assert history[metric].notna().all()
    finished = trials[trials["updates"] == 120]
    best = json.loads((run_dir / "best.json").read_text())
    assert best["value"] == finished["elbo"].max()
    for picture in ("000000.png", "000120.png", "000120_manifold.png", "progress.png"):
        with Image.open(run_dir / "samples" / f"{best['trial_id']}_{picture}") as image:
            assert np.asarray(image).std() > 5


def test_a_hyperparameter_given_as_a_flag_holds_for_every_trial(cvae_search: tuple[Path, str]) -> None:
    run_dir, _ = cvae_search
    assert "latent_size" not in json.loads((run_dir / "run.json").read_text())["baseline"], (
        "it is not searched"
    )
    assert set(pd.read_csv(run_dir / "trials.csv")["config/latent_size"]) == {2}, "and a column all the same"
    assert json.loads((run_dir / "best.json").read_text())["config"]["latent_size"] == 2
    for checkpoint in pd.read_csv(run_dir / "trials.csv")["checkpoint"]:
        options = torch.load(Path(checkpoint) / "trainer.pt", weights_only=True)["options"]
        assert (options["latent_size"], options["prior"]) == (2, "learned")


def test_the_best_trial_alone_meets_the_test_digits(
    cvae_search: tuple[Path, str], digits: mnist.MNIST
) -> None:
    run_dir, out = cvae_search
    best, test = (
        json.loads((run_dir / "best.json").read_text()),
        json.loads((run_dir / "test.json").read_text()),
    )
    assert (test["trial_id"], test["checkpoint"]) == (best["trial_id"], best["checkpoint"])
    assert (test["num_nll_samples"], test["num_digits"], test["dataset"]) == (100, 500, "mnist-10k")
    state = torch.load(Path(best["checkpoint"]) / "trainer.pt", weights_only=True)
    again = measure(state, digits.test_images[:500], digits.test_labels[:500], 100, seed=0)
    assert test["nll"] == pytest.approx(
        again["nll"], rel=1e-3
    )  # another number of threads may round differently
    assert test["elbo"] == pytest.approx(again["elbo"], rel=1e-3)
    assert f"nll {test['nll']:.4g}" in out
    assert "trials are done; now the best one's likelihood on the test digits" in out


def test_ctrl_c_during_the_test_ends_it_at_once_and_says_how_to_go_on(
    ray_address: str, tmp_path: Path
) -> None:
    search = ("--smoke", "--architecture", "mlp", "--num-samples", "1", "--num-test-samples", "10000000")
    process = start(*search, "--address", ray_address, "--storage-path", tmp_path, "--name", "run")
    assert process.stdout is not None
    lines = list(itertools.takewhile(lambda line: "now the best one's" not in line, process.stdout))
    assert process.poll() is None, lines
    process.send_signal(signal.SIGINT)
    code, out, err = finish(process)
    assert (code, err) == (130, "")
    assert "interrupted before the best trial met all test digits" in out
    assert f"--resume {tmp_path / 'run'}" in out
    assert results.read_test(tmp_path / "run") is None


def test_resuming_a_finished_search_tests_it_no_second_time(
    cvae_search: tuple[Path, str], ray_address: str
) -> None:
    run_dir, _ = cvae_search
    before = json.loads((run_dir / "test.json").read_text())
    results.write_test(run_dir, before | {"nll": 1.0})  # what a second test would correct
    code, out, err = finish(start("--resume", run_dir, "--address", ray_address))
    assert (code, err) == (0, "")
    assert "now the best one's" not in out
    assert results.read_test(run_dir) == before | {"nll": 1.0}
    results.write_test(run_dir, before)


def test_a_search_that_was_stopped_before_the_test_has_it_at_resume(
    cvae_search: tuple[Path, str], ray_address: str, tmp_path: Path
) -> None:
    run_dir = shutil.copytree(cvae_search[0], tmp_path / "run")
    was = json.loads((run_dir / "test.json").read_text())
    (run_dir / "test.json").unlink()
    code, out, err = finish(start("--resume", run_dir, "--address", ray_address))
    assert (code, err) == (0, ""), out
    assert results.read_test(run_dir) == was | {
        "checkpoint": was["checkpoint"].replace(str(cvae_search[0]), str(run_dir))
    }


def test_a_resumed_search_keeps_its_hyperparameters(
    cvae_search: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert tune_cvae.main(["--resume", str(cvae_search[0]), "--latent-size", "3"]) == 2
    assert (
        "--latent-size 3 can't be used with --resume: the run goes on under its own --latent-size 2"
        in capsys.readouterr().err
    )


def test_any_digit_can_be_drawn_from_it(cvae_search: tuple[Path, str], tmp_path: Path) -> None:
    assert (
        sample.main(
            [str(cvae_search[0]), "--num", "7", "--digit", "3", "--output", str(tmp_path / "threes.npz")]
        )
        == 0
    )
    with np.load(tmp_path / "threes.npz") as arrays:
        assert arrays["images"].shape == (7, 28, 28)
        assert arrays["labels"].tolist() == [3] * 7


def test_the_presets_are_valid_and_the_first_is_the_homeworks() -> None:
    homework = PRESETS["homework"]
    assert (homework.latent_size, homework.width, homework.depth, homework.batch_size, homework.lr) == (
        20,
        400,
        2,
        32,
        1e-3,
    )
    assert (homework.architecture, homework.prior, homework.binarisation, homework.beta) == (
        "mlp",
        "standard",
        "none",
        1.0,
    )
