"""Faults of whole episodes: environments that raise, give NaN, hang or never end, killed processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from faulty_envs import Endless, Flaky, Hanging, KillsItself, Nan, NanAtTheEnd, Once
from ray.rllib.callbacks.callbacks import RLlibCallback

from algorithms.reinforce.reinforce import REINFORCEConfig
from algorithms.rl.stepper import EnvironmentFailed
from workflows import train_reinforce
from workflows.experiment import experiment, training
from workflows.programs import PROGRAMS
from workflows.results import load_history, load_trials

DEADLINE_S = 120


def config(
    env: Any, num_env_runners: int = 0, env_config: dict[str, Any] | None = None, **options: Any
) -> REINFORCEConfig:
    return (
        REINFORCEConfig()
        .environment(env, env_config=env_config or {})
        .env_runners(num_env_runners=num_env_runners, num_envs_per_env_runner=2)
        .training(**({"num_episodes_per_train_batch": 8, "fcnet_hiddens": (16,)} | options))
        .reporting(min_sample_timesteps_per_iteration=200)
        .debugging(seed=3)
    )


def until(condition: Callable[[], bool], what: str) -> None:
    """Do `condition` until it holds."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, what


def curve(result: dict[str, Any]) -> tuple[float, ...]:
    """Return what must be the same whatever happened to the runners."""
    learned = result["learners"]["default_policy"]
    return (
        result["env_runners"]["episode_return_mean"],
        learned["total_loss"],
        learned["num_episodes"],
        learned["num_updates_lifetime"],
    )


@pytest.mark.parametrize("num_env_runners", [0, 1])
@pytest.mark.parametrize(("env", "share"), [(Flaky, 0.002), (Nan, 0.001)])
def test_episodes_with_a_failed_step_are_lost_whole_and_counted(
    built: Any, num_env_runners: int, env: type, share: float
) -> None:
    algorithm = built(config(env, num_env_runners, {"share": share}))
    results = [algorithm.train()]
    until(
        lambda: results.append(algorithm.train()) or results[-1]["env_runners"]["num_episodes_lost"] > 2,
        "no episode is lost",
    )
    result = results[-1]
    counts, learned = result["env_runners"], result["learners"]["default_policy"]
    assert counts["num_dropped_env_steps"] > 0
    assert (counts["num_env_failures"] > 0) == (env is Flaky)
    # A batch that lost all eight would be no update; at these shares an episode in ten is lost.
    assert (
        counts["num_episodes_lifetime"] + counts["num_episodes_lost"] == 8 * learned["num_updates_lifetime"]
    )
    assert all(
        parameter.isfinite().all()
        for parameter in algorithm.learner_group._learner.policy_module.parameters()
    )


def test_batches_without_an_episode_to_learn_from_end_the_training(built: Any) -> None:
    algorithm = built(config(NanAtTheEnd))
    with pytest.raises(
        EnvironmentFailed,
        match=r"NanAtTheEnd.*in each of the last 10 batches, every episode had a step that failed",
    ):
        algorithm.train()
    assert algorithm._stats.faults["num_episodes_lost"] == 80


def test_an_environment_that_keeps_failing_ends_the_training_with_its_own_error(built: Any) -> None:
    algorithm = built(
        config(Flaky, 0, {"share": 1.0}).fault_tolerance(num_consecutive_env_runner_failures_tolerance=3)
    )
    with pytest.raises(EnvironmentFailed, match=r"Flaky.*failed 4 times in a row.*the emulator is gone"):
        algorithm.train()


@pytest.mark.parametrize("num_env_runners", [0, 1])
def test_an_environment_whose_episodes_never_end_is_an_error_and_no_hang(
    built: Any, num_env_runners: int
) -> None:
    algorithm = built(config(Endless, num_env_runners, max_episode_steps=300))
    with pytest.raises(
        EnvironmentFailed,
        match=r"Endless.*an episode had not ended after 3.. steps \(max_episode_steps 300\)",
    ):
        algorithm.train()


@pytest.mark.parametrize(
    ("env", "fault"),
    [
        (KillsItself, "num_rollouts_lost"),
        pytest.param(Hanging, "num_env_runners_hung", marks=pytest.mark.slow),
    ],
)
def test_a_runner_lost_in_the_middle_of_a_batch_costs_no_episode_and_changes_no_number(
    built: Any, tmp_path: Path, env: type, fault: str
) -> None:
    (tmp_path / "unharmed").touch()
    unharmed = built(config(Once, 2, {"marker": str(tmp_path / "unharmed")}))
    expected = [curve(unharmed.train()) for _ in range(4)]
    unharmed.stop()
    algorithm = built(config(env, 2, {"marker": str(tmp_path / "marker")}).env_runners(sample_timeout_s=5))
    results = [algorithm.train() for _ in range(4)]
    assert (tmp_path / "marker").exists()
    assert [curve(result) for result in results] == expected
    assert results[-1]["env_runners"][fault] == 1
    assert results[-1]["env_runners"]["num_rollouts_lost"] == 1
    assert results[-1]["env_runners"]["num_episodes_lost"] == 0
    until(
        lambda: algorithm.train()["fault_tolerance"]["num_remote_worker_restarts"] == 1,
        "it did not come back",
    )


class Owner:
    """Puts something into the object store."""

    def put(self) -> list[Any]:
        return [ray.put(np.zeros(100_000))]


def is_lost(ref: Any) -> bool:
    try:
        ray.get(ref, timeout=1)
    except ray.exceptions.GetTimeoutError:
        return False
    except (ray.exceptions.OwnerDiedError, ray.exceptions.ObjectLostError):
        return True
    return False


def test_a_rollout_that_is_lost_before_the_learner_has_it_is_counted_and_its_batch_played_again(
    built: Any,
) -> None:
    unharmed = built(config("CartPole-v1", 2))
    expected = [curve(unharmed.train()) for _ in range(3)]
    unharmed.stop()
    algorithm = built(config("CartPole-v1", 2))
    results = [algorithm.train()]
    collect = algorithm._sampler.collect
    owner = ray.remote(num_cpus=0)(Owner).remote()
    (lost,) = ray.get(owner.put.remote())
    ray.kill(owner)
    until(lambda: is_lost(lost), "an object whose owner was killed is still there")

    def collect_and_lose(requests: Any) -> Any:
        algorithm._sampler.collect = collect
        first, *others = collect(requests)
        return [replace(first, batch=lost), *others]

    algorithm._sampler.collect = collect_and_lose
    results += [algorithm.train() for _ in range(2)]
    assert results[-1]["env_runners"]["num_rollouts_lost"] == 1
    assert [curve(result) for result in results] == expected


def test_a_batch_that_was_interrupted_is_asked_for_again(built: Any) -> None:
    algorithm = built(config("CartPole-v1", 2))
    algorithm.train()
    hear = algorithm._pool.hear

    def interrupt() -> Any:
        algorithm._pool.hear = hear
        hear()
        raise KeyboardInterrupt

    algorithm._pool.hear = interrupt
    with pytest.raises(KeyboardInterrupt):
        algorithm.train()
    updates = algorithm.train()["learners"]["default_policy"]["num_updates_lifetime"]
    assert algorithm.train()["learners"]["default_policy"]["num_updates_lifetime"] > updates


class KillsTheLearnerOnce(RLlibCallback):
    """Kills the learner's process after the sixth report of a training that was not restored."""

    def on_train_result(self, *, algorithm: Any, result: dict[str, Any], **kwargs: Any) -> None:
        if result["training_iteration"] == 6 and not result["iterations_since_restore"] < 6:
            (answer,) = algorithm.learner_group.foreach_learner(lambda learner: os.getpid())
            os.kill(answer.get(), signal.SIGKILL)


@pytest.mark.slow
def test_a_killed_learner_restarts_the_trial_from_its_last_checkpoint_and_the_curve_goes_on(
    ray_address: str, tmp_path: Path
) -> None:
    flags = train_reinforce.TrainREINFORCEFlags(
        num_learners=1,
        stop_env_steps=2000,
        stop_return=float("inf"),
        min_sample_timesteps_per_iteration=200,
        checkpoint_frequency=4,
    )
    options = train_reinforce.REINFORCEOptions(num_episodes_per_train_batch=4)
    histories = []
    for name, callbacks in (("killed", KillsTheLearnerOnce), ("unharmed", RLlibCallback)):
        asked = training.Training(PROGRAMS["train_reinforce"], flags, options)
        asked.config.callbacks(callbacks)
        run_dir = tmp_path / name
        run_dir.mkdir()
        results = experiment.build_tuner(asked, run_dir).fit()
        assert not results.errors
        (row,) = load_trials(run_dir).to_dict("records")
        assert row["status"] == "TERMINATED"
        histories.append(load_history(run_dir))
    killed, unharmed = histories
    assert killed["iteration"].tolist() == list(range(1, len(unharmed) + 1))
    names = [
        "num_env_steps_sampled_lifetime",
        "env_runners/episode_return_mean",
        "learners/default_policy/entropy",
    ]
    assert killed[names].to_numpy() == pytest.approx(unharmed[names].to_numpy(), rel=1e-4)


@pytest.mark.slow
def test_a_run_whose_runner_was_killed_still_solves_cartpole(built: Any) -> None:
    configured = (
        REINFORCEConfig()
        .training(**asdict(train_reinforce.PRESETS["CartPole-v1"]))
        .environment("CartPole-v1")
        .env_runners(num_env_runners=2)
    )
    algorithm = built(configured.evaluation(evaluation_interval=2, evaluation_duration=20).debugging(seed=0))
    for _ in range(3):
        algorithm.train()
    os.kill(
        algorithm.env_runner_group.foreach_env_runner(lambda runner: os.getpid(), local_env_runner=False)[0],
        signal.SIGKILL,
    )
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
