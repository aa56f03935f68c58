"""The summary at the end of a training."""

from pathlib import Path

import pytest
from run_folders import make_training

from workflows import results
from workflows.experiment import summaries


@pytest.mark.parametrize(
    ("returns", "words"),
    [
        ([20.0, 350.0], "greedy 350 (the goal)"),
        ([20.0, None, 350.0, None], "greedy 350 (the goal)"),
        ([350.0, None, 20.0, None, None], "greedy 20"),
        ([None, 299.5], "greedy 299.5"),
        ([None, None], "greedy -"),
    ],
    ids=str,
)
def test_the_greedy_return_is_that_of_the_last_evaluation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], returns: list[float | None], words: str
) -> None:
    run_dir = make_training(tmp_path / "run", returns, flags={"env": "CartPole-v1", "num_env_runners": 2})
    assert summaries.of_training(results.load(run_dir), stop_return=300, reported=False) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("return "))
    assert line.endswith(f", {words}")


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [("ERROR", 1, "FAILED"), ("PAUSED", 130, "interrupted before its first checkpoint; to begin anew: ")],
)
def test_a_training_that_did_not_end_says_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], status: str, code: int, words: str
) -> None:
    run_dir = make_training(
        tmp_path / "run", [20.0], status, flags={"env": "CartPole-v1", "num_env_runners": 2}
    )
    assert summaries.of_training(results.load(run_dir), stop_return=300, reported=False) == code
    said = capsys.readouterr().out
    assert words in said
    assert f"--resume {run_dir}" in said
