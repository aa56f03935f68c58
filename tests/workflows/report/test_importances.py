"""Searches whose scores are made of known hyperparameters, or of none."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from workflows.report import importances
from workflows.results import Run

NAMES = ["lr", "width", "momentum"]
Score = Callable[[dict[str, Any], np.random.Generator], float]


def make(
    score: Score, num_trials: int = 60, seed: int = 0, mode: str = "min", **more: Callable[[int], Any]
) -> Run:
    """Return a search of a report a trial; `more` gives further hyperparameters by a trial's number."""
    generator = np.random.default_rng(seed)
    configs = [
        {
            "lr": 10 ** generator.uniform(-4, -2),
            "width": generator.choice([16, 32, 64]).item(),
            "momentum": generator.uniform(0, 0.9),
        }
        | {name: value(i) for name, value in more.items()}
        for i in range(num_trials)
    ]
    ids = [f"t_{i:05d}" for i in range(num_trials)]
    columns = pd.DataFrame(configs).add_prefix("config/")
    history = pd.DataFrame(
        {"trial_id": ids, "iteration": 1, "fid": [score(config, generator) for config in configs]}
    )
    record = {"metric": "fid", "mode": mode, "num_reports": 1, "baseline": {}}
    return Run(Path("run"), record, pd.concat([pd.DataFrame({"trial_id": ids}), columns], axis=1), history)


def noise(config: dict[str, Any], generator: np.random.Generator) -> float:
    return generator.normal()


def of_lr(config: dict[str, Any], generator: np.random.Generator) -> float:
    return abs(math.log10(config["lr"]) + 3)


@pytest.mark.parametrize("seed", range(5))
def test_what_alone_makes_the_score_is_first_by_far(seed: int) -> None:
    weights, said = importances.of(make(of_lr, seed=seed), NAMES)
    assert next(iter(weights)) == "lr"
    assert weights["lr"] > 0.5
    assert sum(weights.values()) == pytest.approx(1)
    assert list(weights.values()) == sorted(weights.values(), reverse=True)
    assert set(weights) == set(NAMES)
    assert "60 trials by their score at report 1" in said
    assert "lr" not in said.partition("No greater")[2]


def test_the_others_are_said_to_be_no_greater_than_by_chance() -> None:
    assert importances.of(make(of_lr), NAMES)[1].endswith(
        " Not greater than with 20 shuffles of the scores: width, momentum."
    )


def test_a_choice_that_makes_the_score_is_first_too() -> None:
    weights, said = importances.of(
        make(lambda config, generator: (config["width"] != 32) + generator.normal() / 10), NAMES
    )
    assert next(iter(weights)) == "width"
    assert "width" not in said.partition("No greater")[2]


def test_pure_noise_is_nearly_always_said_to_be_noise() -> None:
    said = [importances.of(make(noise, seed=seed), NAMES) for seed in range(10)]
    nothing = [reason for weights, reason in said if not weights]
    assert len(nothing) >= 8
    assert all(
        reason.startswith("No importance is greater than with 20 shuffles of the scores (60 trials by")
        for reason in nothing
    )


def test_whether_low_or_high_is_better_is_all_the_same_but_for_the_sign() -> None:
    low, _ = importances.of(make(of_lr), NAMES)
    high, _ = importances.of(make(lambda config, generator: -of_lr(config, generator), mode="max"), NAMES)
    assert low == high
    wrong, _ = importances.of(make(of_lr, mode="max"), NAMES)
    assert low != wrong


@pytest.mark.parametrize("num_trials", [0, 1, 29, 30])
def test_too_few_trials_say_how_many_it_takes(num_trials: int) -> None:
    weights, said = importances.of(make(of_lr, num_trials), NAMES)
    if num_trials < 30:
        assert weights == {}
        words = f"{num_trials} trials can be compared; 3 hyperparameters need about 30."
        assert said == f"Too few trials for importances to mean anything: {words}"
    else:
        assert "Too few" not in said


def test_only_numbers_are_compared() -> None:
    run = make(of_lr, 34)
    run.history.loc[:4, "fid"] = [math.nan, math.inf, -math.inf, math.nan, math.nan]
    assert "29 trials can be compared" in importances.of(run, NAMES)[1]
    assert (
        "0 trials can be compared"
        in importances.of(Run(run.folder, run.record | {"metric": "nll"}, run.trials, run.history), NAMES)[1]
    )
    words = run.history.assign(fid="a word")
    assert (
        "0 trials can be compared" in importances.of(Run(run.folder, run.record, run.trials, words), NAMES)[1]
    )


def test_equal_scores_depend_on_nothing() -> None:
    assert importances.of(make(lambda config, generator: 3.0), NAMES) == (
        {}, "All trials have the same score: it depends on no hyperparameter."
    )  # fmt: skip


@pytest.mark.parametrize(("later", "report", "compared"), [(30, 2, 30), (29, 1, 60), (60, 2, 60)])
def test_trials_are_compared_at_the_last_report_that_half_of_them_came_to(
    later: int, report: int, compared: int
) -> None:
    run = make(noise)
    more = run.history[:later].assign(iteration=2)
    more["fid"] = [of_lr({"lr": lr}, np.random.default_rng()) for lr in run.trials["config/lr"][:later]]
    scores, iteration = importances._scores(
        Run(run.folder, run.record, run.trials, pd.concat([run.history, more]))
    )
    assert (iteration, len(scores)) == (report, compared)
    expected = more if report == 2 else run.history
    assert scores.to_dict() == dict(zip(expected["trial_id"], expected["fid"], strict=True))


def test_of_very_many_trials_some_are_looked_at_and_it_says_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importances, "MAX_TRIALS", 40)
    weights, said = importances.of(make(of_lr, 60), NAMES)
    assert next(iter(weights)) == "lr"
    assert "of 40 trials by" in said


ODD: dict[str, Callable[[int], Any]] = {
    "flag": lambda i: i % 2 == 0,
    "none": lambda i: [None, 0.5, 1.0][i % 3],
    "infinite": lambda i: math.inf if i == 3 else i / 60,
    "missing": lambda i: math.nan if i == 3 else i / 60,
    "mixed": lambda i: ["auto", 0.5, None, True][i % 4],
    "layers": lambda i: [[64], [64, 64]][i % 2],
    "word": lambda i: "größer $x^$"[i % 3 :],
    "same": lambda i: 5,
    "huge": lambda i: 10**30 + i,
    "negative": lambda i: -(i + 1),
    "whole": lambda i: 2**i,
}


@pytest.mark.parametrize("name", ODD)
def test_hyperparameters_of_any_kind_do(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    run = make(of_lr, **{name: ODD[name]})
    weights, _ = importances.of(run, ["lr", name])
    assert list(weights) == ["lr", name]
    assert all(math.isfinite(weight) for weight in weights.values())
    assert capfd.readouterr() == ("", "")
