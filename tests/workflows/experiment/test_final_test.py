"""The test digits: for the best of all trials, once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from run_folders import line, make_run

from algorithms import mnist
from workflows import results
from workflows.experiment import final_test


@pytest.fixture
def run(tmp_path: Path) -> Path:
    trials = [
        {
            "trial_id": f"t_{number}",
            "status": "TERMINATED",
            "config": {"lr": number},
            "reports": "".join(line(i, fid) for i in range(1, 5)),
        }
        for number, fid in enumerate((3.0, 2.0))
    ]
    folder = make_run(tmp_path / "run", trials)
    for trial in ("t_0", "t_1"):
        (folder / trial / "checkpoint_000003").mkdir()
        torch.save({"of": trial}, folder / trial / "checkpoint_000003" / "trainer.pt")
    return folder


def measured(tested: list[str], digits: mnist.MNIST, run: Path, num_trials: int = 2) -> results.Run:
    """Return the run after its final test; what was tested is in `tested`."""

    def measure(state: dict[str, Any], data: Any, progress: Callable[[int, int], None]) -> dict[str, Any]:
        progress(1, 2)
        tested.append(state["of"])
        return {"nll": 80.0}

    loaded = results.load(run)
    loaded.record["flags"] = {"num_samples": num_trials}
    return final_test.tested(loaded, measure, digits)


def test_the_best_is_tested_once(run: Path, digits: mnist.MNIST) -> None:
    tested: list[str] = []
    for _ in range(2):
        after = measured(tested, digits, run)
    assert tested == ["t_1"]
    checkpoint = str(run / "t_1" / "checkpoint_000003")
    test = {"trial_id": "t_1", "checkpoint": checkpoint, "dataset": "mnist-10k", "nll": 80.0}
    assert results.read_test(run) == after.test == test


def test_nothing_is_tested_while_another_trial_may_become_the_best(run: Path, digits: mnist.MNIST) -> None:
    tested: list[str] = []
    measured(tested, digits, run, num_trials=3)
    assert not tested
    assert results.read_test(run) is None


def test_no_second_trial_meets_the_test_digits(
    run: Path, digits: mnist.MNIST, capsys: pytest.CaptureFixture[str]
) -> None:
    """A trial that failed was tried again, and is the best now."""
    tested: list[str] = []
    results.write_test(run, {"trial_id": "t_0", "nll": 81.0})
    measured(tested, digits, run)
    assert not tested
    assert results.read_test(run) == {"trial_id": "t_0", "nll": 81.0}
    assert (
        "the test digits have met trial t_0 and meet no other; the best is t_1 by now"
        in capsys.readouterr().err
    )


def test_a_best_trial_without_a_checkpoint_is_no_silence(run: Path, digits: mnist.MNIST) -> None:
    (run / "t_1" / "checkpoint_000003" / "trainer.pt").unlink()
    with pytest.raises(FileNotFoundError, match="trial t_1 has no checkpoint"):
        measured([], digits, run)


def test_a_broken_record_counts_as_none(run: Path, digits: mnist.MNIST) -> None:
    (run / "test.json").write_text('{"trial_id": "t_1"')
    tested: list[str] = []
    measured(tested, digits, run)
    assert tested == ["t_1"]
