import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from workflows.cli.flags import RunFlags, UsageError, parse, run_main


@dataclass(frozen=True)
class Flags(RunFlags):
    count: int = 8
    kind: Literal["a", "b"] = "a"


def parsed(*argv: str, saved: dict[str, Any] | None = None) -> Flags:
    return parse(
        Flags, argv, smoke={"count": 2}, saved=lambda run_dir: {"count": 5, "name": "old"} | (saved or {})
    )


def test_defaults_smoke_and_what_is_said() -> None:
    assert parsed().count == 8
    assert parsed("--smoke").count == 2
    assert parsed("--smoke", "--count", "3").count == 3


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--kind", "c"], ["'c'", "'a', 'b'", "--kind"]),
        (["--count", "many"], ["--count", "'many'"]),
        (["--cuont", "3"], ["--cuont", "--count"]),
        (["--seed", "-1"], ["--seed", "-1", "at least 0"]),
        (["--name", "a/b"], ["--name", "'a/b'", "slash"]),
        (["--storage-path", "s3://bucket"], ["--storage-path", "s3://bucket"]),
    ],
)
def test_a_wrong_flag_is_one_line_that_names_it(argv: list[str], words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        parsed(*argv)
    text = str(caught.value)
    assert "\n" not in text
    assert not set(text) & set("│╭╮╰╯─")
    for word in words:
        assert word in text


def test_resume_takes_the_runs_own_flags() -> None:
    flags = parsed("--resume", "somewhere")
    assert (flags.count, flags.name, flags.resume) == (5, "old", "somewhere")


def test_resume_refuses_another_value_and_takes_the_same() -> None:
    assert parsed("--resume", "somewhere", "--count", "5").count == 5
    with pytest.raises(
        UsageError, match=r"--count 6 can't be used with --resume: the run goes on under its own --count 5"
    ):
        parsed("--resume", "somewhere", "--count", "6")


def test_resume_of_another_versions_run_is_refused() -> None:
    with pytest.raises(
        UsageError, match=r"--resume 'somewhere' can't be resumed: its flags are not this version's .*unknown"
    ):
        parsed("--resume", "somewhere", saved={"unknown": 1})


def test_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    def wrong(argv: Any) -> int:
        raise UsageError("--count must be at least 1, got 0")

    def interrupted(argv: Any) -> int:
        raise KeyboardInterrupt

    assert run_main(lambda argv: 0, "x.py", []) == 0
    assert run_main(wrong, "x.py", []) == 2
    assert capsys.readouterr().err == "x.py: --count must be at least 1, got 0\n"
    assert run_main(interrupted, "x.py", []) == 130


def test_a_mistake_is_one_plain_line_in_a_terminal_too() -> None:
    """As under `ray exec`, which gives programs a terminal."""
    program = Path(__file__).parents[3] / "workflows" / "tune_gan.py"
    leader, follower = os.openpty()
    try:
        process = subprocess.run(
            [sys.executable, str(program), "--nme", "x"],
            stdin=follower,
            stdout=follower,
            stderr=subprocess.PIPE,
            env=os.environ | {"TERM": "xterm-256color"},
            text=True,
        )
    finally:
        os.close(follower)
        os.close(leader)
    assert process.returncode == 2
    assert len(process.stderr.splitlines()) == 1
    assert "--nme" in process.stderr
    assert not set(process.stderr) & set("\x1b│╭╮╰╯─")
