"""`--help`: flags in groups, each with its default and its searched range, at any width."""

import dataclasses
import re

import pytest

from workflows import train_dqn, train_reinforce, tune_cvae, tune_gan
from workflows.cli.flags import parse
from workflows.cli.help import as_flag, in_words, print_help

FLAGS = {
    tune_gan.TuneGANFlags: ["run", "search", "resources", "model"],
    tune_cvae.TuneCVAEFlags: ["run", "search", "resources", "model (defaults of --preset homework)"],
    train_dqn.TrainDQNFlags: ["run", "training", "resources", "model (defaults for CartPole-v1)"],
    train_reinforce.TrainREINFORCEFlags: ["run", "training", "resources", "model (defaults for CartPole-v1)"],
}
HIDDEN = {"searcher", "loss"}
"""Flags with one choice."""


@pytest.fixture(params=list(FLAGS))
def flags_class(request: pytest.FixtureRequest) -> type:
    return request.param  # type: ignore[no-any-return]


def printed(
    flags_class: type, width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> str:
    """Return the help on a terminal of this width."""
    monkeypatch.setenv("COLUMNS", str(width))
    print_help(flags_class)
    return capsys.readouterr().out


@pytest.mark.parametrize(("width", "widest"), [(20, 60), (80, 80), (120, 120), (500, 120)])
def test_no_line_is_wider_than_the_terminal_and_none_wider_than_120(
    flags_class: type,
    width: int,
    widest: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = printed(flags_class, width, monkeypatch, capsys).splitlines()
    assert max(map(len, lines)) <= widest


def test_every_flag_with_a_choice_is_listed_once(
    flags_class: type, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = re.findall(r"^  (--[\w-]+)", printed(flags_class, 120, monkeypatch, capsys), re.MULTILINE)
    names = {as_flag(field.name) for field in dataclasses.fields(flags_class) if field.name not in HIDDEN}
    assert sorted(listed) == sorted(names)


def test_groups_come_in_the_same_order(
    flags_class: type, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed(flags_class, 120, monkeypatch, capsys)
    assert re.findall(r"^(\w.*):$", text, re.MULTILINE) == FLAGS[flags_class]


def test_a_searched_hyperparameter_shows_its_default_and_its_range(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = " ".join(printed(tune_gan.TuneGANFlags, 120, monkeypatch, capsys).split())
    assert "(default: 0.001; searched: 0.0002 to 0.004 on a log scale)" in text
    assert "(default: 96; searched: 32, 64, 96)" in text
    assert "(default: 128)" in text  # the batch size is not searched


def test_domains_in_words() -> None:
    assert in_words(("loguniform", 1e-4, 0.01)) == "0.0001 to 0.01 on a log scale"
    assert in_words(("uniform", 0, 1)) == "0 to 1"
    assert in_words(("choice", [1, "a"])) == "1, a"


def test_a_hidden_flag_is_accepted() -> None:
    argv = ["--searcher", "random", "--loss", "non_saturating"]
    flags = parse(tune_gan.TuneGANFlags, argv, smoke={}, saved=lambda run_dir: {})
    assert flags.searcher == "random"
