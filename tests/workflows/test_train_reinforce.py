"""`train_reinforce.py` as a person runs it; what it shares with `train_dqn.py` is tested there."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from processes import finish, start_workflow

from algorithms.reinforce.options import REINFORCEOptions
from workflows import play, results, train_reinforce
from workflows.programs import GREEDY_RETURN

start = partial(start_workflow, train_reinforce)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--env", "CartPoel-v1"], ["--env", "'CartPoel-v1'", "no environment that Gymnasium knows"]),
        (["--env", "Blackjack-v1"], ["--env", "'Blackjack-v1' must have observations of a Box"]),
        (
            ["--num-episodes-per-train-batch", "0"],
            ["--num-episodes-per-train-batch must be a whole number of at least 1, got 0"],
        ),
        (["--estimator", "gae"], ["--estimator", "must be one of total_return, reward_to_go, got 'gae'"]),
        (["--baseline", "critic"], ["--baseline", "must be one of none, running_mean, value, got 'critic'"]),
        (
            ["--bootstrap-truncated", "true", "--baseline", "none"],
            ["--bootstrap-truncated must be False unless"],
        ),
        (["--max-episode-steps", "0"], ["--max-episode-steps must be a whole number of at least 1, got 0"]),
        (["--epsilon", "0.1"], ["--epsilon"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_wrong_input_is_one_line_exit_code_2_and_nothing_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], words: list[str]
) -> None:
    assert train_reinforce.main([*flags, "--storage-path", str(tmp_path / "runs")]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert said.err.startswith("train_reinforce.py: ")
    for word in words:
        assert word in said.err
    assert not list(tmp_path.iterdir())


def test_help_needs_nothing_heavy_and_explains_every_hyperparameter() -> None:
    script = """
        import sys
        from workflows import train_reinforce
        try:
            train_reinforce.main(["--help"])
        except SystemExit:
            pass
        print(sorted({"ray", "torch", "pandas", "gymnasium"} & set(sys.modules)))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
    for flag in (
        "--estimator {total_return,reward_to_go}",
        "--baseline {none,running_mean,value}",
        "--lr FLOAT|STEPS:FLOAT,…",
    ):
        assert flag in done.stdout
    assert "Whole episodes per update, at least." in done.stdout


def test_smoke_walks_the_whole_path_and_its_policy_plays(
    ray_address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = finish(
        start(
            "--smoke",
            "--num-env-runners",
            "1",
            "--storage-path",
            tmp_path,
            "--name",
            "s",
            "--address",
            ray_address,
        )
    )
    assert code == 0, out + err
    run_dir = tmp_path / "s"
    assert out.splitlines()[0].startswith("train_reinforce: CartPole-v1 until 5,000 steps")
    assert f"workflows/play.py {run_dir}" in out
    assert "faults" not in out
    trials, history = pd.read_csv(run_dir / "trials.csv"), pd.read_csv(run_dir / "history.csv")
    assert trials.loc[0, "num_env_steps_sampled_lifetime"] >= 5000
    assert len([column for column in trials if column.startswith("config/")]) == len(
        REINFORCEOptions.__dataclass_fields__
    )
    assert {"env_steps_per_s", "updates_per_s", "learner_idle_share", "env_runners_idle_share"} <= set(
        history
    )
    assert (history["weights_lag"] == 0).all()
    assert json.loads((run_dir / "best.json").read_text())["value"] == trials.loc[0, GREEDY_RETURN]
    lines = []
    for flags in ([], [], ["--greedy"]):
        assert play.main([str(run_dir), "--episodes", "5", *flags]) == 0
        lines.append(capsys.readouterr().out.splitlines())
    assert lines[0] == lines[1]
    assert lines[0][0].endswith("sampled")
    assert lines[2][0].endswith("greedy")
    assert lines[2][-1] != lines[0][-1]


@pytest.mark.slow
def test_continuous_actions_are_trained_and_played(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("--env", "Pendulum-v1", "--stop-env-steps", "3200", "--evaluation-interval", "1", "--name", "p")
    code, out, err = finish(start(*asked, "--storage-path", tmp_path, "--address", "local"))
    assert code == 0, out + err
    assert play.main([str(tmp_path / "p"), "--episodes", "2"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("mean_return=-")


@pytest.mark.slow
def test_a_training_that_was_interrupted_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    asked = (
        "--stop-return",
        "inf",
        "--stop-env-steps",
        "40000",
        "--checkpoint-frequency",
        "2",
        "--storage-path",
        tmp_path,
    )
    process = start(*asked, "--name", "i", "--address", "local")
    assert process.stdout is not None
    assert any("steps/s" in line for line in process.stdout)  # the first report
    process.send_signal(signal.SIGINT)
    code, out, err = finish(process)
    assert (code, err) == (130, "")
    assert "--resume" in out
    code, out, err = finish(start("--resume", tmp_path / "i"))
    assert code == 0, out + err
    code, out, err = finish(start(*asked, "--name", "whole", "--address", "local"))
    assert code == 0, out + err
    resumed, whole = (results.load_history(tmp_path / name) for name in ("i", "whole"))
    assert resumed["iteration"].tolist() == list(range(1, len(whole) + 1))
    names = [
        "num_env_steps_sampled_lifetime",
        "env_runners/episode_return_mean",
        "learners/default_policy/total_loss",
    ]
    assert resumed[names].to_numpy() == pytest.approx(whole[names].to_numpy(), rel=1e-4)
    assert train_reinforce.main(["--resume", str(tmp_path / "i"), "--gamma", "0.5"]) == 2
