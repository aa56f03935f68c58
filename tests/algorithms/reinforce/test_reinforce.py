"""REINFORCE as an RLlib algorithm: the same numbers everywhere, exact checkpoints, options that all work."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import ray
import torch
from faulty_envs import Flaky

from algorithms.reinforce.reinforce import REINFORCE, REINFORCEConfig
from algorithms.rl import policy_files as policy
from algorithms.rl.whole_episodes import EpisodeRequest

SMALL: dict[str, Any] = {
    "num_episodes_per_train_batch": 6,
    "fcnet_hiddens": (16,),
    "lr": 0.01,
    "num_vf_updates": 2,
}


def config(
    num_env_runners: int = 0, num_learners: int = 0, env: Any = "CartPole-v1", seed: int = 7, **options: Any
) -> REINFORCEConfig:
    return (
        REINFORCEConfig()
        .environment(env)
        .env_runners(num_env_runners=num_env_runners, num_envs_per_env_runner=4)
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
    return {name: result["env_runners"].get(name) for name in names} | result["learners"]["default_policy"]


def reports(algorithm: REINFORCE, num: int) -> list[dict[str, float]]:
    return [metrics(algorithm.train()) for _ in range(num)]


class Quiet(Flaky):
    """Does not fail; several of them step one after the other, and can't be pickled."""

    def __init__(self, env_config: dict[str, Any]) -> None:
        super().__init__({"share": 0.0})
        self._held = (number for number in range(3))


@pytest.fixture(scope="module")
def curve(ray_address: str) -> list[dict[str, float]]:
    """What five iterations report with one env runner and the learner in this process."""
    algorithm = config().build_algo()
    reported = reports(algorithm, 5)
    algorithm.stop()
    shutil.rmtree(algorithm.logdir, ignore_errors=True)
    return reported


def test_a_batch_is_as_many_whole_episodes_as_were_asked_for(
    built: Any, curve: list[dict[str, float]]
) -> None:
    assert all(report["num_episodes"] == 6 for report in curve)
    assert all(report["num_episodes_lifetime"] == 6 * report["num_updates_lifetime"] for report in curve)
    by_steps = reports(built(config(num_episodes_per_train_batch=1, train_batch_size_per_learner=300)), 3)
    for before, after in zip(
        [{"num_env_steps_sampled_lifetime": 0, "num_episodes_lifetime": 0}, *by_steps], by_steps, strict=False
    ):
        assert after["num_env_steps_sampled_lifetime"] - before["num_env_steps_sampled_lifetime"] >= 300
        assert (after["num_episodes_lifetime"] - before["num_episodes_lifetime"]) % 4 in (
            0,
            1,
        )  # one, or rounds of all environments


def test_same_seed_same_metrics_and_another_seed_others(built: Any, curve: list[dict[str, float]]) -> None:
    assert reports(built(config()), 5) == curve
    assert reports(built(config(seed=8)), 1) != curve[:1]


@pytest.mark.parametrize(("num_env_runners", "num_learners"), [(1, 0), (0, 1)])
def test_one_remote_runner_or_a_remote_learner_gives_the_same_metrics(
    built: Any, curve: list[dict[str, float]], num_env_runners: int, num_learners: int
) -> None:
    for report, expected in zip(reports(built(config(num_env_runners, num_learners)), 5), curve, strict=True):
        assert report == pytest.approx(
            expected, rel=1e-4
        )  # another process adds up in another order, perhaps


def test_two_runners_give_the_same_metrics_at_every_run(built: Any) -> None:
    first = built(config(2))
    reported = reports(first, 4)
    first.stop()
    assert reports(built(config(2)), 4) == reported


@pytest.mark.parametrize(
    ("num_env_runners", "num_learners", "env"),
    [(0, 0, Quiet), (2, 0, "CartPole-v1"), pytest.param(0, 1, "CartPole-v1", marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("baseline", ["value", pytest.param("running_mean", marks=pytest.mark.slow)])
def test_a_checkpoint_goes_on_exactly(
    built: Any, tmp_path: Path, num_env_runners: int, num_learners: int, env: Any, baseline: str
) -> None:
    first = built(config(num_env_runners, num_learners, env, baseline=baseline))
    reports(first, 2)
    saved = first.save_to_path(tmp_path / "checkpoint")
    expected = reports(first, 3)
    first.stop()
    second = built(config(num_env_runners, num_learners, env, seed=99, baseline=baseline))
    second.restore_from_path(saved)
    assert reports(second, 3) == [pytest.approx(report, rel=1e-4) for report in expected]
    assert second.iteration == 5
    assert second.train()["env_runners"]["num_env_runners_reset_on_restore"] == 0


def test_restoring_forgets_what_came_after(built: Any, tmp_path: Path) -> None:
    algorithm = built(config(1))
    reports(algorithm, 1)
    saved = algorithm.save_to_path(tmp_path / "checkpoint")
    after = reports(algorithm, 2)
    algorithm.restore_from_path(saved)
    assert reports(algorithm, 2) == after


def test_every_step_was_made_with_the_weights_that_are_updated_and_the_runners_wait_for_little_else(
    built: Any,
) -> None:
    algorithm = built(config(2))
    results = [algorithm.train() for _ in range(6)]
    assert [result["weights_lag"] for result in results] == [0.0] * 6
    assert algorithm.env_runner_group.num_in_flight_async_reqs() == 2  # they play the next batch already
    versions = algorithm.env_runner_group.foreach_env_runner(
        lambda runner: runner._weights_version, local_env_runner=False
    )
    assert versions == [results[-1]["learners"]["default_policy"]["weights_seq_no"]] * 2
    for name in ("learner_idle_share", "env_runners_idle_share"):
        assert all(0 <= result[name] <= 1 for result in results)


def test_a_rollout_of_older_weights_is_never_learned_from(built: Any) -> None:
    algorithm = built(config())
    algorithm.train()
    learner, runner = algorithm.learner_group._learner, algorithm.env_runner_group.local_env_runner
    rollout = runner.collect(0, None, -1, EpisodeRequest(2, 0, (3, 99, 0)))
    rollout.batch.weights_version -= 1
    with pytest.raises(AssertionError, match="other weights"):
        learner.learn([rollout], 0)


@pytest.mark.parametrize("num_env_runners", [1, 2, 4, 7])
def test_requests_are_fixed_beforehand_and_make_up_the_batch(num_env_runners: int) -> None:
    asked = config(num_env_runners, num_episodes_per_train_batch=5, train_batch_size_per_learner=1001)
    requests = asked.requests(batch=3, entropy=0)
    assert sum(request.num_episodes for request in requests) == 5
    assert (
        max(request.num_episodes for request in requests) - min(request.num_episodes for request in requests)
        <= 1
    )
    assert 1001 <= sum(request.num_env_steps for request in requests) < 1001 + num_env_runners
    keys = [request.spawn_key for batch in (3, 4) for request in asked.requests(batch, 0)]
    assert len(set(keys)) == len(keys)
    asked.training(train_batch_size_per_learner=0)
    assert [request.num_episodes for request in asked.requests(3, 0)] == [
        request.num_episodes for request in requests if request.num_episodes
    ]


@pytest.mark.parametrize(
    "options",
    [
        {"gamma": 0.5},
        {"estimator": "total_return"},
        {"discount_from_start": True},
        {"baseline": "none"},
        {"baseline": "running_mean"},
        {"normalize_advantages": True},
        {"num_episodes_per_train_batch": 8},
        {"train_batch_size_per_learner": 300},
        {"lr": 0.02},
        {"lr": ((0, 1e-2), (400, 1e-3))},
        {"adam_epsilon": 0.1},
        {"grad_clip": 0.01, "adam_epsilon": 0.1},
        {"entropy_coeff": 0.1},
        {"entropy_coeff": ((0, 0.0), (400, 0.1))},
        {"vf_lr": 0.1},
        {"vf_lr": ((0, 1e-2), (400, 1e-3))},
        {"num_vf_updates": 3},
        {"fcnet_hiddens": (16, 16)},
        {"fcnet_activation": "relu"},
        {"num_envs_per_env_runner": 3},
    ],
    ids=lambda options: "-".join(options),
)
def test_every_option_changes_what_is_learned(
    built: Any, curve: list[dict[str, float]], options: dict[str, Any]
) -> None:
    assert reports(built(config(**options).env_runners(**_runners(options))), 4) != curve[:4]


def _runners(options: dict[str, Any]) -> dict[str, Any]:
    return {name: options[name] for name in options if name == "num_envs_per_env_runner"}


class Cut(gym.Env[np.ndarray, np.ndarray]):
    """Cut off after `length` steps; pays how far the action is from 0.5, and remembers what it was told."""

    observation_space = gym.spaces.Box(0, 10, (1,), np.float32)
    action_space = gym.spaces.Box(np.array([-2.0, 0.0], np.float32), np.array([2.0, 1.0], np.float32))
    taken: list[np.ndarray] = []  # noqa: RUF012

    def __init__(self, env_config: dict[str, Any] | None = None) -> None:
        self._length = dict(env_config or {}).get("length", 5)
        self._step = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        self._step = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._step += 1
        Cut.taken.append(np.asarray(action))
        return (
            np.full(1, self._step, np.float32),
            -float(abs(action - 0.5).sum()),
            False,
            self._step == self._length,
            {},
        )


@pytest.mark.parametrize(
    "options",
    [{"bootstrap_truncated": True}, {"initial_log_std": -1.0}],
    ids=lambda options: "-".join(options),
)
def test_options_of_cut_episodes_and_of_gaussian_policies_change_what_is_learned(
    built: Any, options: dict[str, Any]
) -> None:
    assert reports(built(config(env=Cut, **options)), 3) != reports(built(config(env=Cut)), 3)


def test_the_running_mean_is_used_before_it_is_fitted(built: Any) -> None:
    """All returns are 1: the first batch has no baseline yet, the second has that of the first, 1."""
    algorithm = built(
        config(env=Ones, baseline="running_mean", gamma=0.0, running_mean_decay=0.5).debugging(seed=1)
    )
    first, second = (algorithm.training_step() or algorithm.learner_group._learner for _ in range(2))
    assert first is second
    learner = algorithm.learner_group._learner
    assert learner._running_mean == 1.0
    assert learner.policy_module is not None
    algorithm.train()
    rollout = algorithm.env_runner_group.local_env_runner.collect(
        0, None, -1, EpisodeRequest(2, 0, (3, 99, 0))
    )
    rollout.batch.weights_version = learner._weights_seq_no
    learner.learn([rollout], 0)
    assert learner._batch["baseline"].tolist() == [1.0] * 6
    assert learner._batch["advantages"].tolist() == [0.0] * 6


class Ones(Cut):
    """Pays 1 a step, for three steps."""

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        obs, _, _, _, info = super().step(action)
        return obs, 1.0, self._step == 3, False, info


def test_a_gaussian_policys_actions_keep_to_the_bounds_of_the_environment(built: Any) -> None:
    Cut.taken.clear()
    algorithm = built(config(env=Cut, initial_log_std=1.0))
    algorithm.train()
    taken = np.array(Cut.taken)
    assert (taken.min(axis=0) == [-2.0, 0.0]).all()
    assert (taken.max(axis=0) == [2.0, 1.0]).all()
    batch = algorithm.env_runner_group.local_env_runner.collect(
        0, None, -1, EpisodeRequest(4, 0, (3, 0, 0))
    ).batch.whole_episodes()
    assert (
        abs(batch["actions"]).max() > 1
    )  # the loss sees what the policy drew, not what the bounds made of it


def test_schedules_are_followed(built: Any) -> None:
    algorithm = built(config(lr=[[0, 1e-2], [1000, 0.0]]))
    rates = [report["lr"] for report in reports(algorithm, 5)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > 0.005
    assert rates[-1] == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("num_env_runners", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_state_can_be_handed_from_one_algorithm_to_another(built: Any, num_env_runners: int) -> None:
    first, second = built(config(num_env_runners)), built(config(num_env_runners, seed=99))
    reports(first, 2)
    second.set_state(first.get_state())
    assert reports(second, 2) == reports(first, 2)


def test_an_evaluation_may_be_of_so_many_steps(built: Any) -> None:
    asked = config().evaluation(
        evaluation_interval=1, evaluation_duration=100, evaluation_duration_unit="timesteps"
    )
    assert built(asked).train()["evaluation"]["env_runners"]["num_env_steps_sampled"] >= 100


@pytest.mark.parametrize("num_env_runners", [0, 1])
def test_evaluation_plays_whole_greedy_episodes_in_rllibs_way(built: Any, num_env_runners: int) -> None:
    asked = config().evaluation(
        evaluation_interval=2, evaluation_duration=7, evaluation_num_env_runners=num_env_runners
    )
    algorithm = built(asked)
    assert "evaluation" not in algorithm.train()
    evaluated = algorithm.train()["evaluation"]["env_runners"]
    assert evaluated["num_episodes"] == 7
    assert (
        evaluated["episode_return_min"] <= evaluated["episode_return_mean"] <= evaluated["episode_return_max"]
    )
    assert "evaluation" not in algorithm.train()


def test_an_evaluation_may_draw_its_actions(built: Any) -> None:
    asked = config(env=Cut).evaluation(evaluation_interval=1, evaluation_duration=8)
    greedy = built(asked).train()["evaluation"]["env_runners"]
    assert greedy["episode_return_min"] == greedy["episode_return_max"]
    drawn = built(asked.copy(copy_frozen=False).evaluation(evaluation_config={"explore": True})).train()[
        "evaluation"
    ]["env_runners"]
    assert drawn["episode_return_min"] < drawn["episode_return_max"]


@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
def test_every_checkpoint_has_the_policy_as_files(built: Any, tmp_path: Path, env: str) -> None:
    algorithm = built(config(env=env))
    algorithm.train()
    saved = Path(algorithm.save_to_path(tmp_path / "checkpoint"))
    network, description = policy.load(saved)
    obs = torch.randn(5, description.obs_size)
    torch.testing.assert_close(network(obs), algorithm.learner_group._learner.policy_module.pi(obs))
    assert (description.env, description.num_actions, description.action_size) in [
        ("CartPole-v1", 2, None),
        ("Pendulum-v1", None, 1),
    ]


def test_a_users_loss_is_used(built: Any) -> None:
    from algorithms.reinforce.learner import REINFORCELearner

    class Zero(REINFORCELearner):
        def compute_loss_for_module(self, **kwargs: Any) -> torch.Tensor:
            return 0.0 * super().compute_loss_for_module(**kwargs)

    algorithm = built(config(learner_class=Zero))
    parameters = list(algorithm.learner_group._learner.policy_module.pi.parameters())
    before = [parameter.clone() for parameter in parameters]
    assert algorithm.train()["learners"]["default_policy"]["total_loss"] == 0
    assert all(torch.equal(*pair) for pair in zip(before, parameters, strict=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.training(gamma=1.5), "gamma must be from 0 to 1, got 1.5"),
        (
            lambda c: c.training(num_episodes_per_train_batch=0),
            "num_episodes_per_train_batch must be a whole number of at least 1, got 0",
        ),
        (
            lambda c: c.training(baseline="critic"),
            "baseline must be one of none, running_mean, value, got 'critic'",
        ),
        (
            lambda c: c.training(estimator="total_return", bootstrap_truncated=True),
            "bootstrap_truncated must be False unless",
        ),
        (lambda c: c.learners(num_learners=2), "num_learners must be 0 or 1, got 2"),
        (lambda c: c.training(num_epochs=3), "num_epochs must be 1, got 3"),
        (lambda c: c.env_runners(batch_mode="truncate_episodes"), "batch_mode must be 'complete_episodes'"),
        (lambda c: c.env_runners(rollout_fragment_length=50), "rollout_fragment_length must be 'auto' or"),
        (lambda c: c.env_runners(explore=False), "explore must be True, got False"),
        (lambda c: c.environment(normalize_actions=False), "normalize_actions must be True, got False"),
        (
            lambda c: c.rl_module(model_config={"baseline": "none"}),
            "model_config baseline must be left out: it is the option baseline",
        ),
        (lambda c: c.environment("NoSuchEnv-v0"), "NoSuchEnv"),
        (
            lambda c: c.environment(Wordy),
            "'Wordy' must have discrete actions from 0 on, or vectors of real numbers",
        ),
        (lambda c: c.env_runners(num_env_runners=50), "num_env_runners 50.* need 50 CPUs, and Ray has 2"),
    ],
)
def test_what_is_wrong_is_named_before_anything_starts(ray_address: str, change: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        change(config()).build_algo()
    assert not [
        actor for actor in ray.util.list_named_actors(all_namespaces=True) if "EnvRunner" in actor["name"]
    ]


class Wordy(Cut):
    """Wants two switches."""

    action_space = gym.spaces.MultiBinary(2)


@pytest.mark.parametrize("num_env_runners", [0, 1])
def test_the_module_that_rllib_hands_out_has_the_newest_weights(built: Any, num_env_runners: int) -> None:
    algorithm = built(config(num_env_runners))
    algorithm.train()
    obs = torch.randn(3, 4)
    torch.testing.assert_close(
        algorithm.get_module().pi(obs), algorithm.learner_group._learner.policy_module.pi(obs)
    )
