"""DQN as an RLlib algorithm: the same numbers everywhere, exact checkpoints, and options that all work."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import ray
import torch
from ray.rllib.callbacks.callbacks import RLlibCallback

from algorithms.dqn.dqn import DQN, DQNConfig
from algorithms.rl import policy_files as policy

SMALL: dict[str, Any] = {
    "num_steps_sampled_before_learning_starts": 200, "train_batch_size_per_learner": 32,
    "training_intensity": 4, "fcnet_hiddens": (16,),
    "epsilon": ((0, 1.0), (1000, 0.1)), "target_network_update_freq": 64,
}  # fmt: skip


def config(
    num_env_runners: int = 0, num_learners: int = 0, env: Any = "CartPole-v1", seed: int = 7, **options: Any
) -> DQNConfig:
    return (
        DQNConfig()
        .environment(env)
        .env_runners(num_env_runners=num_env_runners, num_envs_per_env_runner=4, rollout_fragment_length=16)
        .learners(num_learners=num_learners)
        .training(**(SMALL | options))
        .reporting(min_sample_timesteps_per_iteration=200)
        .debugging(seed=seed)
    )


def metrics(result: dict[str, Any]) -> dict[str, float]:
    """Return what must be the same at every run: all but times and speeds."""
    names = (
        "episode_return_mean",
        "episode_len_mean",
        "num_episodes_lifetime",
        "num_env_steps_sampled_lifetime",
    )
    return (
        {name: result["env_runners"].get(name) for name in names}
        | result["learners"]["default_policy"]
        | {"epsilon": result["epsilon"]}
    )


@pytest.fixture(scope="module")
def curve(ray_address: str) -> list[dict[str, float]]:
    """What five iterations report with one env runner and the learner in this process."""
    algorithm = config().build_algo()
    reports = [metrics(algorithm.train()) for _ in range(5)]
    algorithm.stop()
    shutil.rmtree(algorithm.logdir, ignore_errors=True)
    return reports


def test_the_first_updates_come_when_learning_starts(curve: list[dict[str, float]]) -> None:
    assert curve[0]["num_updates_lifetime"] > 0
    assert [report["num_env_steps_sampled_lifetime"] >= 200 * (i + 1) for i, report in enumerate(curve)] == [
        True
    ] * 5


def test_same_seed_same_metrics_and_another_seed_others(built: Any, curve: list[dict[str, float]]) -> None:
    same, other = built(config()), built(config(seed=8))
    assert [metrics(same.train()) for _ in range(5)] == curve
    assert metrics(other.train()) != curve[0]


@pytest.mark.parametrize(("num_env_runners", "num_learners"), [(1, 0), (0, 1)])
def test_one_synchronous_remote_runner_or_a_remote_learner_gives_the_same_metrics(
    built: Any, curve: list[dict[str, float]], num_env_runners: int, num_learners: int
) -> None:
    algorithm = built(config(num_env_runners, num_learners, synchronous=True))
    reports = [metrics(algorithm.train()) for _ in range(5)]
    for report, expected in zip(reports, curve, strict=True):
        assert report == pytest.approx(
            expected, rel=1e-4
        )  # another process adds up in another order, perhaps


@pytest.mark.parametrize(
    ("num_env_runners", "num_learners"), [(0, 0), (1, 0), pytest.param(0, 1, marks=pytest.mark.slow)]
)
def test_a_checkpoint_goes_on_exactly(
    built: Any, curve: list[dict[str, float]], tmp_path: Path, num_env_runners: int, num_learners: int
) -> None:
    first = built(config(num_env_runners, num_learners, synchronous=True))
    for _ in range(2):
        first.train()
    saved = first.save_to_path(tmp_path / "checkpoint")
    first.stop()
    second = built(config(num_env_runners, num_learners, synchronous=True, seed=99))
    second.restore_from_path(saved)
    assert [metrics(second.train()) for _ in range(3)] == [
        pytest.approx(expected, rel=1e-4) for expected in curve[2:]
    ]
    assert second.iteration == 5


def test_a_checkpoint_without_the_replay_fills_it_anew(built: Any, tmp_path: Path) -> None:
    first = built(config(store_buffer_in_checkpoints=False))
    first.train()
    saved = Path(first.save_to_path(tmp_path / "checkpoint"))
    assert not (saved / "learner_group/learner/replay").exists()
    second = built(config(store_buffer_in_checkpoints=False))
    second.restore_from_path(saved)
    report = second.train()
    assert report["learners"]["default_policy"]["replay_size"] < report["num_env_steps_sampled_lifetime"]


class Unpicklable(gym.Env[np.ndarray, int]):
    """Ends after ten steps; holds what can't be pickled."""

    observation_space = gym.spaces.Box(0, 10, (2,), np.float32)
    action_space = gym.spaces.Discrete(3)

    def __init__(self, env_config: dict[str, Any] | None = None) -> None:
        self._held = (number for number in range(3))
        self._step = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        self._step = 0
        return np.zeros(2, np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._step += 1
        return np.full(2, self._step, np.float32), float(action == 1), self._step == 10, False, {}


def test_environments_that_do_not_pickle_begin_with_new_episodes_and_that_is_counted(
    built: Any, tmp_path: Path
) -> None:
    first = built(config(env=Unpicklable))
    first.train()
    second = built(config(env=Unpicklable))
    second.restore_from_path(first.save_to_path(tmp_path / "checkpoint"))
    report = second.train()
    assert report["env_runners"]["num_env_runners_reset_on_restore"] == 1
    assert report["num_env_steps_sampled_lifetime"] >= 400


def test_uint8_observations_stay_uint8_as_far_as_the_replay(built: Any) -> None:
    algorithm = built(config(env="tests_bytes"))
    algorithm.train()
    assert algorithm.learner_group._learner.replay.sample(1, 4)[0]["obs"].dtype == torch.uint8


class Bytes(Unpicklable):
    """The same with bytes for observations, and an `env_config`."""

    observation_space = gym.spaces.Box(0, 255, (2,), np.uint8)

    def __init__(self, env_config: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.length = dict(env_config or {}).get("length")

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        return super().reset()[0].astype(np.uint8), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        obs, reward, terminated, truncated, info = super().step(action)
        return obs.astype(np.uint8), reward, terminated, truncated, info


ray.tune.register_env("tests_bytes", lambda env_config: Bytes(env_config))


def test_an_update_rule_by_hand(built: Any) -> None:
    """One update of the target network of tau 0.25: a quarter of the way."""
    learner = built(config(tau=0.25, target_network_update_freq=1_000_000)).learner_group._learner
    online, target = learner.policy_module.qf.state_dict(), learner.policy_module.target_qf.state_dict()
    for parameter in learner._online:
        parameter.data += 4.0
    before = {name: value.clone() for name, value in target.items()}
    learner._update_target()
    for name in online:
        torch.testing.assert_close(target[name], before[name] + 1.0)


@pytest.mark.parametrize(
    "options",
    [
        {"gamma": 0.5},
        {"lr": 0.01},
        {"lr": ((0, 1e-3), (400, 1e-2))},
        {"adam_epsilon": 0.1},
        {"grad_clip": 0.01},
        {"train_batch_size_per_learner": 16},
        {"training_intensity": 8},
        {"double_q": False},
        {"td_error_loss_fn": "mse"},
        {"target_network_update_freq": 128},
        {"tau": 0.5},
        {"epsilon": 0.5},
        {"replay_buffer_config": {"capacity": 200}},
        {"num_steps_sampled_before_learning_starts": 300},
        {"fcnet_hiddens": (16, 16)},
        {"fcnet_activation": "tanh"},
    ],
    ids=lambda options: "-".join(options),
)
def test_every_option_changes_what_is_learned(
    built: Any, curve: list[dict[str, float]], options: dict[str, Any]
) -> None:
    algorithm = built(config(**options))
    assert [metrics(algorithm.train()) for _ in range(4)] != curve[:4]


def test_a_schedule_of_the_step_size_is_followed(built: Any) -> None:
    algorithm = built(config(lr=[[0, 1e-3], [1000, 0.0]]))
    rates = [algorithm.train()["learners"]["default_policy"]["lr"] for _ in range(5)]
    assert rates[0] == pytest.approx(1e-3 * (1 - 256 / 1000), rel=0.1)
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("intensity", [2.0, 16.0])
def test_the_ratio_of_trained_to_sampled_steps_is_held(built: Any, intensity: float) -> None:
    algorithm = built(config(training_intensity=intensity))
    algorithm.train()
    for _ in range(3):
        assert algorithm.train()["trained_per_sampled"] == pytest.approx(intensity, rel=0.1)


@pytest.mark.parametrize("num_env_runners", [0, 1])
def test_evaluation_plays_whole_greedy_episodes_in_rllibs_way(built: Any, num_env_runners: int) -> None:
    algorithm = built(
        config().evaluation(
            evaluation_interval=2, evaluation_duration=7, evaluation_num_env_runners=num_env_runners
        )
    )
    assert "evaluation" not in algorithm.train()
    evaluated = algorithm.train()["evaluation"]["env_runners"]
    assert evaluated["num_episodes"] == 7
    assert (
        evaluated["episode_return_min"] <= evaluated["episode_return_mean"] <= evaluated["episode_return_max"]
    )
    assert "evaluation" not in algorithm.train()


def test_asynchronous_runners_are_kept_busy_and_the_lag_is_reported(built: Any) -> None:
    algorithm = built(config(num_env_runners=2))
    reports = [algorithm.train() for _ in range(6)]
    assert algorithm.env_runner_group.num_in_flight_async_reqs() == 4
    assert 0 < max(report["weights_lag"] for report in reports) < 10
    for name in ("learner_idle_share", "env_runners_idle_share"):
        assert all(0 <= report[name] <= 1 for report in reports)


def test_every_checkpoint_has_the_policy_as_files(built: Any, tmp_path: Path) -> None:
    algorithm = built(config())
    algorithm.train()
    saved = Path(algorithm.save_to_path(tmp_path / "checkpoint"))
    network, description = policy.load(saved)
    obs = torch.randn(5, 4)
    torch.testing.assert_close(network(obs), algorithm.learner_group._learner.policy_module.qf(obs))
    assert description.env == "CartPole-v1"


def test_a_users_loss_is_used(built: Any) -> None:
    from algorithms.dqn.learner import DQNLearner

    class Zero(DQNLearner):
        def compute_loss_for_module(self, **kwargs: Any) -> torch.Tensor:
            return 0.0 * super().compute_loss_for_module(**kwargs)

    algorithm = built(config(learner_class=Zero))
    before = [parameter.clone() for parameter in algorithm.learner_group._learner._online]
    assert algorithm.train()["learners"]["default_policy"]["total_loss"] == 0
    assert all(
        torch.equal(*pair) for pair in zip(before, algorithm.learner_group._learner._online, strict=True)
    )


class EpisodeCallback(RLlibCallback):
    def on_episode_end(self, **kwargs: Any) -> None: ...


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.training(gamma=1.5), "gamma must be from 0 to 1, got 1.5"),
        (lambda c: c.training(n_step=3), "n_step must be 1 .*got 3"),
        (lambda c: c.training(num_atoms=51), "num_atoms must be 1 .*got 51"),
        (lambda c: c.training(noisy=True), "noisy must be False .*got True"),
        (
            lambda c: c.training(replay_buffer_config={"type": "PrioritizedEpisodeReplayBuffer"}),
            "replay_buffer_config must be",
        ),
        (lambda c: c.learners(num_learners=2), "num_learners must be 0 or 1, got 2"),
        (lambda c: c.training(grad_clip_by="value"), "grad_clip_by must be 'global_norm', got 'value'"),
        (lambda c: c.callbacks(EpisodeCallback), "callback on_episode_end must be left out"),
        (
            lambda c: c.env_runners(env_to_module_connector=lambda env: None),
            "env_to_module_connector must be left out",
        ),
        (
            lambda c: c.env_runners(create_local_env_runner=False),
            "create_local_env_runner must be True, got False",
        ),
        (lambda c: c.training(minibatch_size=8), "minibatch_size must be None, got 8"),
        (lambda c: c.rl_module(model_config={"use_lstm": True}), "model_config use_lstm must be left out"),
        (lambda c: c.rl_module(model_config={"fcnet_activation": "elu"}), "fcnet_activation must be one of"),
        (lambda c: c.evaluation(evaluation_config={"explore": True}), "explore must be False, got True"),
        (lambda c: c.environment("NoSuchEnv-v0"), "NoSuchEnv"),
        (lambda c: c.environment("Pendulum-v1"), "'Pendulum-v1' must have discrete actions"),
        (lambda c: c.env_runners(num_env_runners=50), "num_env_runners 50.* need 50 CPUs, and Ray has 2"),
        (lambda c: c.learners(num_learners=1, num_gpus_per_learner=1), "need 1 GPUs, and Ray has 0"),
    ],
)
def test_what_is_wrong_is_named_before_anything_starts(ray_address: str, change: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        change(config()).build_algo()
    assert not [
        actor for actor in ray.util.list_named_actors(all_namespaces=True) if "EnvRunner" in actor["name"]
    ]


@pytest.mark.slow
def test_more_runners_than_fit_are_refused_in_a_process_that_has_not_begun_with_ray() -> None:
    script = """
        from algorithms.dqn.dqn import DQNConfig
        try:
            DQNConfig().environment("CartPole-v1").env_runners(num_env_runners=4000).build_algo()
        except ValueError as error:
            print(error)
    """
    environ = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=120,
        env=environ,
    )
    assert "num_env_runners 4000, evaluation_num_env_runners 0, num_learners 0 need 4000 CPUs" in done.stdout


@pytest.mark.parametrize("num_env_runners", [0, 1])
def test_the_module_that_rllib_hands_out_has_the_newest_weights(built: Any, num_env_runners: int) -> None:
    algorithm = built(config(num_env_runners))
    algorithm.train()
    obs = torch.randn(3, 4)
    torch.testing.assert_close(
        algorithm.get_module().qf(obs), algorithm.learner_group._learner.policy_module.qf(obs)
    )


def test_restoring_forgets_what_came_after(built: Any, tmp_path: Path) -> None:
    algorithm = built(config())
    algorithm.train()
    saved = algorithm.save_to_path(tmp_path / "checkpoint")
    after = [metrics(algorithm.train()) for _ in range(2)]
    algorithm.restore_from_path(saved)
    assert [metrics(algorithm.train()) for _ in range(2)] == after


def test_an_option_that_nobody_knows_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="gama"):
        DQNConfig().training(gama=0.9)


def test_rllibs_own_dqn_stays_what_it_is() -> None:
    from ray.tune.experiment import Experiment

    assert Experiment.get_trainable_name(DQN) == "ray-training-workflows-DQN"
