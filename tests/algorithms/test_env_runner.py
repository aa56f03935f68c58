"""The env runner by itself: which rows may be learned from, whole episodes, seeds, and what it passes to environments."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import ray

from algorithms.dqn.dqn import DQNConfig
from algorithms.rollouts.env_runner import VectorEnvRunner, seed_sequence


class Counting(gym.Env[np.ndarray, int]):
    """Shows its step; ends after `length` steps, reward 1 each; raises at the steps of the process's life that `raises` names."""

    observation_space = gym.spaces.Box(-1, 1000, (1,), np.float64)
    action_space = gym.spaces.Discrete(2)
    taken = 0

    def __init__(self, env_config: dict[str, Any]) -> None:
        self._length, self._raises = env_config.get("length", 4), env_config.get("raises", ())
        self._step = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        self._step = 0
        return np.zeros(1), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        Counting.taken += 1
        if Counting.taken in self._raises:
            raise OSError("gone")
        self._step += 1
        return np.full(1, float(self._step)), 1.0, self._step >= self._length, False, {}


def runner(env: Any = Counting, num_envs: int = 1, fragment_length: int = 4, seed: int = 0, **env_config: Any) -> VectorEnvRunner:
    Counting.taken = 0
    config = DQNConfig().environment(env, env_config=env_config).debugging(seed=seed)
    return VectorEnvRunner(config=config.env_runners(num_envs_per_env_runner=num_envs, rollout_fragment_length=fragment_length))


def columns_of(collecting: VectorEnvRunner) -> Any:
    rollout = collecting.collect(env_steps=0)
    assert not rollout.error
    return rollout.columns


def test_the_row_after_an_end_is_not_valid_and_floats_are_float32() -> None:
    columns = columns_of(runner(fragment_length=7))
    assert columns.obs[:, 0, 0].tolist() == [0, 1, 2, 3, 4, 0, 1, 2]
    assert columns.valid[:, 0].tolist() == [True, True, True, True, False, True, True]
    assert columns.terminated[:, 0].tolist() == [False, False, False, True, False, False, False]
    assert (columns.obs.dtype, columns.rewards.dtype) == (np.float32, np.float32)
    assert columns.transitions()["new_obs"][:, 0].tolist() == [1, 2, 3, 4, 1, 2]
    assert (columns.episodes.returns.tolist(), columns.episodes.lengths.tolist()) == ([4.0], [4])


def test_the_row_after_an_end_is_not_valid_though_the_end_was_in_the_rollout_before() -> None:
    collecting = runner()
    assert columns_of(collecting).valid.all()
    assert columns_of(collecting).valid[:, 0].tolist() == [False, True, True, True]


def test_it_is_not_valid_either_where_the_environment_fails_later_in_the_rollout() -> None:
    collecting = runner(raises=(6,))
    columns_of(collecting)
    columns = columns_of(collecting)  # the reset, a step, the failure (the sixth call of `step`), a step of new environments
    assert columns.valid[:, 0].tolist() == [False, True, False, True]
    assert columns.dropped[:, 0].tolist() == [False, False, True, False]
    assert columns.episodes.num_lost == 1
    assert len(columns.episodes.returns) == 0


def test_whole_episodes_are_shared_out_beforehand() -> None:
    collecting = runner(num_envs=3)
    (columns,) = collecting.sample(num_episodes=5)
    assert columns.episodes.returns.tolist() == [4.0] * 5
    assert columns.valid.sum(axis=0).tolist() == [8, 8, 4]
    assert columns.env_steps() == columns.agent_steps() == 20


def test_at_least_as_many_steps_as_asked_for() -> None:
    (columns,) = runner(num_envs=3).sample(num_timesteps=10)
    assert columns.actions.shape == (4, 3)


def test_both_units_at_once_are_refused() -> None:
    with pytest.raises(ValueError, match="num_timesteps 1 and num_episodes 1 exclude each other"):
        runner().sample(num_timesteps=1, num_episodes=1)


@pytest.mark.parametrize("env", [Counting, "counting", f"{__name__}.Counting"])
def test_a_class_a_registered_name_and_a_path_get_their_env_config(env: Any) -> None:
    ray.tune.register_env("counting", lambda env_config: Counting(env_config))
    (columns,) = runner(env, length=2).sample(num_episodes=1)
    assert columns.episodes.lengths.tolist() == [2]


def test_epsilon_follows_the_steps_of_all_runners() -> None:
    config = DQNConfig().environment("CartPole-v1").training(epsilon=((0, 1.0), (1000, 0.0))).debugging(seed=0)
    collecting = VectorEnvRunner(config=config.env_runners(num_envs_per_env_runner=4, rollout_fragment_length=50))
    greedy = collecting.module.qf
    for env_steps, explores in ((0, True), (5000, False)):
        columns = collecting.collect(env_steps).columns
        import torch

        with torch.no_grad():
            best = greedy(torch.from_numpy(columns.obs[:-1]).reshape(-1, 4)).argmax(dim=1).numpy().reshape(50, 4)
        assert (columns.actions != best).any() == explores


def test_no_two_runners_share_a_seed() -> None:
    def config(in_evaluation: bool, num_env_runners: int) -> Any:
        asked = DQNConfig().env_runners(num_env_runners=num_env_runners).debugging(seed=7)
        asked.in_evaluation = in_evaluation
        return asked

    local, evaluation = config(False, 0), config(True, 0)
    states = {tuple(seed_sequence(asked, 0).generate_state(4)) for asked in (local, evaluation, config(False, 3))}
    assert len(states) == 3
    assert seed_sequence(local, 0).spawn_key == (0, 1)  # what a lone remote runner has
