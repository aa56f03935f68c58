"""Lines where the output is no terminal, and what the pictures hold."""

import pickle
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from workflows.experiment.live_views import MOST_ROWS, LiveLine, LiveTable, faults


def trial(number: int, status: str = "RUNNING", **result: Any) -> Any:
    return SimpleNamespace(trial_id=f"a_{number:05d}", status=status, config={}, last_result=result)


def drawn(view: Any) -> str:
    console = Console(width=120)
    with console.capture() as capture:
        console.print(view.picture())
    return capture.get()


def test_a_report_of_a_search_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    view = LiveTable("fid", max_updates=40)
    result = {"fid": 12.345678, "updates": 10, "updates_per_s": 3.21}
    view.on_trial_result(1, [], trial(3), result)
    view.on_trial_error(1, [], trial(4))
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("] trial a_00003: fid 12.35, 10/40 updates, 3.2 updates/s")
    assert second.endswith("] trial a_00004: failed")


def test_a_table_of_many_trials_shows_the_running_ones_and_counts_the_others() -> None:
    view = LiveTable("fid", max_updates=40)
    waiting = [trial(i, "PENDING") for i in range(MOST_ROWS + 5)]
    view.on_step_end(1, [*waiting, trial(99, fid=1.5, updates=10, updates_per_s=2.0)])
    text = drawn(view)
    assert "00099" in text
    assert "1.5" in text
    assert f"{MOST_ROWS + 5} PENDING, 1 RUNNING (6 more not shown)" in text
    assert "0 PENDING" not in drawn(pickle.loads(pickle.dumps(view))), "Tune saves the trials itself"


def test_a_training_is_a_line_with_its_last_evaluation(capsys: pytest.CaptureFixture[str]) -> None:
    view = LiveLine()
    assert "starting" in drawn(view)
    result = {
        "num_env_steps_sampled_lifetime": 12_000,
        "env_runners": {"episode_return_mean": 20.0, "num_episodes_lost": 2},
        "evaluation": {"env_runners": {"episode_return_mean": 33.5}},
        "env_steps_per_s": 1500.0,
        "updates_per_s": 90.0,
        "epsilon": 0.5,
        "learners": {"default_policy": {}},
    }
    view.on_trial_result(1, [], trial(0), result)
    view.on_trial_result(
        2, [], trial(0), {**result, "evaluation": {"env_runners": {}}}
    )  # too soon for a line
    (line,) = capsys.readouterr().out.splitlines()
    words = "12,000 steps  return 20  greedy 33.5  1,500 steps/s  90 updates/s  epsilon 0.50  2 episodes lost"
    assert line.endswith(words)


def test_faults_that_did_not_happen_are_not_named() -> None:
    assert faults({"fault_tolerance": {"num_remote_worker_restarts": 0}, "env_runners": {}}) == []
    assert faults({"fault_tolerance": {"num_remote_worker_restarts": 1}}) == ["1 env runners replaced"]
