"""`train_dqn.py` as a person runs it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from processes import finish, start_workflow

from algorithms.dqn.options import DQNOptions
from workflows import play, results, train_dqn
from workflows.cli.option_flags import apply_flags
from workflows.experiment import ray_cluster
from workflows.experiment.ray_cluster import Cluster
from workflows.experiment.training import StopRule
from workflows.programs import GREEDY_RETURN

start = partial(start_workflow, train_dqn)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--env", "CartPoel-v1"], ["--env", "'CartPoel-v1'", "no environment that Gymnasium knows"]),
        (["--env", "Pendulum-v1"], ["--env", "'Pendulum-v1' must have discrete actions"]),
        (["--env", "tests.no.such:Env-v0"], ["--env", "tests.no.such:Env-v0"]),
        (["--gamma", "1.5"], ["--gamma must be from 0 to 1, got 1.5"]),
        (["--lr", "0"], ["--lr must be positive somewhere, got 0.0"]),
        (["--epsilon", "5:0.1"], ["--epsilon", "5:0.1"]),
        (["--epsilon", "0:1,100:2"], ["--epsilon must be from 0 to 1"]),
        (["--fcnet-hiddens", "64,many"], ["--fcnet-hiddens", "64,many"]),
        (["--fcnet-hiddens", "64,0"], ["--fcnet-hiddens must be whole numbers of at least 1, got (64, 0)"]),
        (["--double-q", "perhaps"], ["--double-q", "must be one of true, false, got 'perhaps'"]),
        (["--td-error-loss-fn", "l1"], ["--td-error-loss-fn", "must be one of huber, mse, got 'l1'"]),
        (
            ["--replay-buffer-capacity", "10"],
            ["--replay-buffer-capacity must be at least --num-steps-sampled-before-learning-starts"],
        ),
        (["--num-learners", "2"], ["--num-learners must be 0 or 1: there is one central learner, got 2"]),
        (["--num-env-runners", "-1"], ["--num-env-runners must be a whole number of at least 0, got -1"]),
        (["--num-gpus-per-learner", "2"], ["--num-gpus-per-learner must be 0, or 0.01 to 1, got 2.0"]),
        (["--stop-return", "nan"], ["--stop-return must be a number, or inf, got nan"]),
        (["--stop-time-s", "0"], ["--stop-time-s must be a positive number, or inf, got 0.0"]),
        (["--resume", "{tmp}/nowhere"], ["nowhere' is no run folder"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_wrong_input_is_one_line_exit_code_2_and_nothing_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], words: list[str]
) -> None:
    argv = [*(flag.format(tmp=tmp_path) for flag in flags), "--storage-path", str(tmp_path / "runs")]
    assert train_dqn.main(argv) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert said.err.startswith("train_dqn.py: ")
    for word in words:
        assert word in said.err
    assert not list(tmp_path.iterdir())


def test_more_runners_than_the_machine_can_hold_are_refused_with_the_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    two_cpus = Cluster({"CPU": 2}, is_local=True)
    monkeypatch.setattr(ray_cluster, "connected", lambda address: nullcontext(two_cpus))
    flags = ["--num-env-runners", "4000", "--num-learners", "1", "--storage-path", str(tmp_path / "runs")]
    assert train_dqn.main(flags) == 2
    asked = "--num-env-runners 4000, --num-learners 1 and the algorithm itself need 4002 CPUs"
    rule = f"{asked}, more than the 2 CPUs that are there"
    assert capsys.readouterr().err == f"train_dqn.py: {rule}\n"
    assert not list(tmp_path.iterdir())


def test_help_needs_nothing_heavy_and_explains_every_hyperparameter() -> None:
    script = """
        import sys
        from workflows import train_dqn
        try:
            train_dqn.main(["--help"])
        except SystemExit:
            pass
        print(sorted({"ray", "torch", "pandas", "gymnasium"} & set(sys.modules)))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
    for flag in (
        "--target-network-update-freq INT",
        "--epsilon FLOAT|STEPS:FLOAT,…",
        "--fcnet-hiddens INT,…",
        "--double-q {true,false}",
    ):
        assert flag in done.stdout
    assert "Transitions trained on per environment step" in done.stdout


def test_hyperparameters_are_read_in_every_form() -> None:
    argv = [
        "--epsilon",
        "0:1.0,500:0.02",
        "--lr",
        "0.01",
        "--fcnet-hiddens",
        "32,16",
        "--double-q",
        "false",
        "--grad-clip",
        "inf",
    ]
    flags = train_dqn.parse(train_dqn.TrainDQNFlags, argv, smoke={}, saved=lambda run_dir: {})
    options = apply_flags(DQNOptions(), flags)
    assert options == DQNOptions(
        epsilon=((0, 1.0), (500, 0.02)),
        lr=0.01,
        fcnet_hiddens=(32, 16),
        double_q=False,
        grad_clip=float("inf"),
    )


def test_it_stops_at_an_evaluation_and_at_no_other_report() -> None:
    stop = StopRule(greedy_return=475, env_steps=1000, time_s=60)

    def report(steps: int, time_s: float, greedy: float | None) -> dict[str, object]:
        evaluation = (
            {} if greedy is None else {"evaluation": {"env_runners": {"episode_return_mean": greedy}}}
        )
        return {"num_env_steps_sampled_lifetime": steps, "time_total_s": time_s, **evaluation}

    assert not stop("t", report(5000, 90, None))
    assert not stop("t", report(500, 30, 474.0))
    assert stop("t", report(500, 30, 475.0))
    assert stop("t", report(1000, 30, 9.0))
    assert stop("t", report(500, 60, 9.0))


def test_smoke_walks_the_whole_path_and_its_policy_plays(
    dqn_training: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir, out = dqn_training
    assert out.splitlines()[0].startswith("train_dqn: CartPole-v1 until 5,000 steps")
    assert f"run folder {run_dir}" in out
    assert f"workflows/play.py {run_dir}" in out
    assert "faults" not in out
    trials, history = pd.read_csv(run_dir / "trials.csv"), pd.read_csv(run_dir / "history.csv")
    assert trials.loc[0, "num_env_steps_sampled_lifetime"] >= 5000
    assert trials.loc[0, "config/double_q"]
    assert len([column for column in trials if column.startswith("config/")]) == len(
        DQNOptions.__dataclass_fields__
    )
    assert {
        "env_steps_per_s",
        "updates_per_s",
        "weights_lag",
        "learner_idle_share",
        "env_runners_idle_share",
        "epsilon",
    } <= set(history)
    best = json.loads((run_dir / "best.json").read_text())
    assert best["value"] == trials.loc[0, GREEDY_RETURN]
    assert list(run_dir.glob("*/stderr"))  # what the trial printed
    assert len(list(run_dir.glob("*/checkpoint_*"))) == 2
    assert play.main([str(run_dir), "--episodes", "3"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("episodes=3")
    assert (
        train_dqn.main(["--name", "smoke", "--storage-path", str(run_dir.parent)]) == 2
    )  # a second run of the same name
    assert "exists" in capsys.readouterr().err


def test_tensorboard_has_its_curves_over_environment_steps_and_all_its_hyperparameters(
    dqn_training: tuple[Path, str],
) -> None:
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    metadata = pytest.importorskip("tensorboard.plugins.hparams.metadata")
    run_dir, _ = dqn_training
    (events,) = run_dir.glob("*/events.out.tfevents.*")
    found = event_accumulator.EventAccumulator(str(events)).Reload()
    history = results.load_history(run_dir).set_index("num_env_steps_sampled_lifetime")
    for metric in (GREEDY_RETURN, "learners/default_policy/total_loss", "env_steps_per_s"):
        curve = {event.step: event.value for event in found.Scalars(f"ray/tune/{metric}")}
        assert curve == pytest.approx(history[metric].dropna().to_dict())  # not every report evaluates
    content = found.PluginTagToContent("hparams")
    experiment = metadata.parse_experiment_plugin_data(content[metadata.EXPERIMENT_TAG])
    assert [info.name.tag for info in experiment.metric_infos] == [f"ray/tune/{GREEDY_RETURN}"]
    hyperparameters = metadata.parse_session_start_info_plugin_data(
        content[metadata.SESSION_START_INFO_TAG]
    ).hparams
    assert (
        set(hyperparameters)
        == {info.name for info in experiment.hparam_infos}
        == set(DQNOptions.__dataclass_fields__)
    )
    assert (hyperparameters["double_q"].bool_value, hyperparameters["grad_clip"].string_value) == (
        True,
        "inf",
    )


@pytest.mark.slow
def test_a_training_that_was_interrupted_goes_on_where_its_last_checkpoint_was(tmp_path: Path) -> None:
    asked = (
        "--stop-return",
        "inf",
        "--stop-env-steps",
        "30000",
        "--checkpoint-frequency",
        "2",
        "--training-intensity",
        "1",
    )
    process = start(*asked, "--storage-path", tmp_path, "--name", "i", "--address", "local")
    assert process.stdout is not None
    assert any("steps/s" in line for line in process.stdout)  # the first report
    process.send_signal(signal.SIGINT)
    code, out, err = finish(process)
    run_dir = tmp_path / "i"
    assert (code, err) == (130, "")
    assert (
        f"interrupted; to go on: {sys.executable}" in out.replace(results.__name__, "") or "--resume" in out
    )
    before = results.load_history(run_dir)
    assert not (run_dir / "best.json").exists()
    code, out, err = finish(start("--resume", run_dir))
    assert code == 0, out + err
    after = results.load_history(run_dir)
    steps = after["num_env_steps_sampled_lifetime"]
    assert after["iteration"].tolist() == list(range(1, len(after) + 1))
    assert steps.is_monotonic_increasing
    assert steps.iloc[-1] >= 30_000
    assert len(after) > len(before)
    replay = after["learners/default_policy/replay_size"]
    assert (replay == steps).all()  # never lost
    other = train_dqn.main(["--resume", str(run_dir), "--gamma", "0.5"])
    assert other == 2
