"""Faults in real processes: environments that raise, give NaN or hang, killed runners and learners."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faulty_envs import Deadly, Endless, Flaky, Hanging, Nan
from ray.rllib.callbacks.callbacks import RLlibCallback

from algorithms.dqn.dqn import DQN, DQNConfig
from algorithms.rl.stepper import EnvironmentFailed
from workflows import train_dqn
from workflows.experiment import experiment, training
from workflows.programs import PROGRAMS
from workflows.results import load_history, load_trials

DEADLINE_S = 120


def config(
    env: Any, num_env_runners: int = 0, env_config: dict[str, Any] | None = None, **faults: Any
) -> DQNConfig:
    return (
        DQNConfig()
        .environment(env, env_config=env_config or {})
        .env_runners(num_env_runners=num_env_runners, num_envs_per_env_runner=2, rollout_fragment_length=16)
        .training(
            num_steps_sampled_before_learning_starts=100, train_batch_size_per_learner=16, fcnet_hiddens=(16,)
        )
        .reporting(min_sample_timesteps_per_iteration=200)
        .fault_tolerance(**faults)
        .debugging(seed=3)
    )


@pytest.mark.parametrize("num_env_runners", [0, 1])
def test_an_environment_that_raises_now_and_then_is_made_anew_and_counted(
    built: Any, num_env_runners: int
) -> None:
    algorithm = built(config(Flaky, num_env_runners))
    for _ in range(4):
        counts = algorithm.train()["env_runners"]
    assert counts["num_env_failures"] > 0
    assert counts["num_dropped_env_steps"] >= counts["num_env_failures"]
    assert counts["num_episodes_lost"] > 0
    assert counts["num_episodes_lifetime"] > 5


@pytest.mark.parametrize("num_env_runners", [0, 1])
def test_steps_with_nan_are_dropped_and_counted_and_never_learned_from(
    built: Any, num_env_runners: int
) -> None:
    algorithm = built(config(Nan, num_env_runners))
    for _ in range(4):
        report = algorithm.train()
    assert report["env_runners"]["num_dropped_env_steps"] > 10
    assert report["env_runners"]["num_episodes_lost"] > 0
    assert report["learners"]["default_policy"]["replay_size"] == report["num_env_steps_sampled_lifetime"]
    for column in algorithm.learner_group._learner.replay.state_dict().values():
        assert np.isfinite(column).all()
    assert np.isfinite(report["learners"]["default_policy"]["total_loss"])


@pytest.mark.parametrize(
    ("num_env_runners", "env", "said"),
    [(0, Flaky, "the emulator is gone"), (1, Flaky, "gone"), (0, Nan, "was NaN")],
)
def test_an_environment_that_keeps_failing_ends_the_training_with_its_own_error(
    built: Any, num_env_runners: int, env: type, said: str
) -> None:
    algorithm = built(
        config(env, num_env_runners, {"share": 1.0}, num_consecutive_env_runner_failures_tolerance=3)
    )
    with pytest.raises(EnvironmentFailed, match=f"{env.__name__}.*failed 4 times in a row.*{said}"):
        algorithm.train()


def test_an_evaluation_whose_episodes_never_end_is_an_error(built: Any) -> None:
    algorithm = built(config(Endless).training(max_episode_steps=200).evaluation(evaluation_interval=1))
    with pytest.raises(
        EnvironmentFailed,
        match=r"Endless.*an episode had not ended after 2.. steps \(max_episode_steps 200\)",
    ):
        algorithm.train()


def test_failures_are_not_tolerated_where_that_was_asked_for(built: Any) -> None:
    algorithm = built(config(Flaky, 0, {"share": 1.0}, restart_failed_sub_environments=False))
    with pytest.raises(EnvironmentFailed, match="failed 1 times"):
        algorithm.train()


def until(condition: Callable[[], bool], what: str) -> None:
    """Do `condition` until it holds."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, what


@pytest.mark.parametrize("synchronous", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_runner_that_hangs_is_replaced(built: Any, tmp_path: Path, synchronous: bool) -> None:
    configured = config(Hanging, 2, {"marker": str(tmp_path / "marker")}).env_runners(sample_timeout_s=3)
    algorithm = built(configured.training(synchronous=synchronous))
    if not synchronous:
        algorithm.train()
        algorithm.save_to_path(tmp_path / "checkpoint")  # does not wait for the one that hangs
    until(
        lambda: algorithm.train()["env_runners"]["num_env_runners_hung"] == 1,
        "the hanging runner was not noticed",
    )
    until(
        lambda: algorithm.train()["fault_tolerance"]["num_remote_worker_restarts"] == 1,
        "it did not come back",
    )


def test_a_pause_of_the_driver_is_no_hang_of_the_runners(built: Any) -> None:
    algorithm = built(config("CartPole-v1", 1).env_runners(sample_timeout_s=1))
    algorithm.train()
    time.sleep(1.5)  # a person at a notebook; the answers lie ready meanwhile
    assert algorithm.train()["env_runners"]["num_env_runners_hung"] == 0


@pytest.mark.slow
def test_runners_that_die_at_every_rollout_end_the_training(built: Any) -> None:
    algorithm = built(config(Deadly, 1))
    with pytest.raises(EnvironmentFailed, match=r"Deadly.*its runners died"):
        algorithm.train()


@pytest.mark.parametrize("synchronous", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_killed_runner_is_replaced_while_training_goes_on(built: Any, synchronous: bool) -> None:
    algorithm = built(config("CartPole-v1", 2).training(synchronous=synchronous))
    algorithm.train()
    pids = algorithm.env_runner_group.foreach_env_runner(_pid, local_env_runner=False)
    os.kill(pids[0], signal.SIGKILL)
    steps = [algorithm.train()["num_env_steps_sampled_lifetime"] for _ in range(3)]
    assert steps == sorted(set(steps))  # while it is away
    until(
        lambda: algorithm.train()["fault_tolerance"]["num_remote_worker_restarts"] == 1,
        "it did not come back",
    )
    until(lambda: algorithm.train()["fault_tolerance"]["num_healthy_workers"] == 2, "it is not healthy")
    after = algorithm.env_runner_group.foreach_env_runner(_pid, local_env_runner=False)
    assert pids[0] not in after
    assert pids[1] in after
    versions = algorithm.env_runner_group.foreach_env_runner(_weights_version, local_env_runner=False)
    until(
        lambda: algorithm.train() is not None and min(versions_of(algorithm)) > max(versions),
        "it does not get new weights",
    )


def versions_of(algorithm: DQN) -> list[int]:
    return algorithm.env_runner_group.foreach_env_runner(_weights_version, local_env_runner=False)  # type: ignore[no-any-return]


def _pid(worker: Any) -> int:
    return os.getpid()


def _weights_version(runner: Any) -> int:
    return runner._weights_version  # type: ignore[no-any-return]


def test_a_killed_learner_is_said_to_be_lost_and_no_checkpoint_is_pretended(
    built: Any, tmp_path: Path
) -> None:
    algorithm = built(config("CartPole-v1").learners(num_learners=1))
    algorithm.train()
    (answer,) = algorithm.learner_group.foreach_learner(_pid)
    os.kill(answer.get(), signal.SIGKILL)
    with pytest.raises(RuntimeError, match="the learner is lost"):
        algorithm.train()
    with pytest.raises((RuntimeError, IndexError)):
        algorithm.save_to_path(tmp_path / "checkpoint")


class KillsTheLearnerOnce(RLlibCallback):
    """Kills the learner's process after the sixth report of a training that was not restored."""

    def on_train_result(self, *, algorithm: Any, result: dict[str, Any], **kwargs: Any) -> None:
        if result["training_iteration"] == 6 and not result["iterations_since_restore"] < 6:
            (answer,) = algorithm.learner_group.foreach_learner(_pid)
            os.kill(answer.get(), signal.SIGKILL)


@pytest.mark.slow
def test_a_killed_learner_restarts_the_trial_from_its_last_checkpoint_replay_included(
    ray_address: str, tmp_path: Path
) -> None:
    flags = train_dqn.TrainDQNFlags(
        num_learners=1,
        stop_env_steps=2000,
        stop_return=float("inf"),
        min_sample_timesteps_per_iteration=200,
        checkpoint_frequency=4,
    )
    options = train_dqn.DQNOptions(num_steps_sampled_before_learning_starts=100)
    asked = training.Training(PROGRAMS["train_dqn"], flags, options)
    asked.config.callbacks(KillsTheLearnerOnce)
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    results = experiment.build_tuner(asked, run_dir).fit()
    assert not results.errors
    (row,) = load_trials(run_dir).to_dict("records")
    assert row["status"] == "TERMINATED"
    history = load_history(run_dir)
    assert history["iteration"].tolist() == list(range(1, len(history) + 1))
    assert row["num_env_steps_sampled_lifetime"] >= 2000
    assert (
        row["learners/default_policy/replay_size"] == row["num_env_steps_sampled_lifetime"]
    )  # that of the checkpoint among them


@pytest.mark.slow
def test_a_run_whose_runner_was_killed_still_solves_cartpole(built: Any) -> None:
    options = train_dqn.PRESETS["CartPole-v1"]
    configured = (
        DQNConfig().training(**asdict(options)).environment("CartPole-v1").env_runners(num_env_runners=2)
    )
    algorithm = built(configured.evaluation(evaluation_interval=2, evaluation_duration=20).debugging(seed=0))
    for _ in range(3):
        algorithm.train()
    os.kill(algorithm.env_runner_group.foreach_env_runner(_pid, local_env_runner=False)[0], signal.SIGKILL)
    until(
        lambda: (
            algorithm.train().get("evaluation", {}).get("env_runners", {}).get("episode_return_mean", 0)
            >= 475
        ),
        "CartPole is not solved",
    )
    until(
        lambda: algorithm.train()["fault_tolerance"]["num_remote_worker_restarts"] == 1,
        "it did not come back",
    )
