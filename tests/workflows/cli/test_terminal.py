"""Values in words, and commands that a person can copy."""

import os
import shlex
import sys
from pathlib import Path

import pytest

from workflows.cli import terminal


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.123456, "0.1235"),
        (12345.6, "1.235e+04"),
        (7, "7"),
        ("mlp", "mlp"),
        (None, "-"),
        (float("nan"), "-"),
    ],
)
def test_a_number_has_four_digits_and_nothing_is_a_dash(value: object, words: str) -> None:
    assert terminal.number(value) == words


def test_a_command_works_from_the_current_folder_and_quotes_its_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    python, script, *arguments = shlex.split(terminal.command("analyze", tmp_path / "a run"))
    assert os.path.samefile(python, sys.executable)
    assert os.path.samefile(script, Path(terminal.__file__).parents[1] / "analyze.py")
    assert arguments == [str(tmp_path / "a run")]


def test_a_note_goes_to_stderr_and_an_empty_one_nowhere(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.note("")
    terminal.note("the run will wait")
    terminal.say("12 CPUs")
    said = capsys.readouterr()
    assert (said.out, said.err) == ("12 CPUs\n", "note: the run will wait\n")


def test_disk_counts_checkpoints_apart(tmp_path: Path) -> None:
    (tmp_path / "trial" / "checkpoint_000000").mkdir(parents=True)
    (tmp_path / "trial" / "checkpoint_000000" / "trainer.pt").write_bytes(bytes(3_000_000))
    (tmp_path / "history.csv").write_bytes(bytes(1_000_000))
    assert terminal.disk(tmp_path) == "4 MB, 3 MB of it checkpoints"


def test_an_error_is_one_line_of_bounded_length() -> None:
    assert terminal.error_text(OSError("no\n  space")) == "OSError: no space"
    assert len(terminal.error_text(ValueError("x" * 999))) < 320
