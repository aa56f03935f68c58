"""RLlib's face of the stepper: requests and samples, seeds, weights, and what it passes to environments."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import ray
import torch
from scripted_envs import Counting, Dial, Script

from algorithms.dqn.dqn import DQNConfig
from algorithms.reinforce.reinforce import REINFORCEConfig
from algorithms.rl.env_runner import VectorEnvRunner
from algorithms.rl.rollout_batch import RolloutResult
from algorithms.rl.stepper import EnvironmentFailed
from algorithms.rl.whole_episodes import EpisodeRequest


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As in a runner's process. On a busy machine, two threads for three rows take milliseconds a step."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def runner(
    env: Any = Counting, num_envs: int = 1, fragment_length: int = 4, seed: int = 0, **env_config: Any
) -> VectorEnvRunner:
    Counting.taken = 0
    config = DQNConfig().environment(env, env_config=env_config).debugging(seed=seed)
    return VectorEnvRunner(
        config=config.env_runners(num_envs_per_env_runner=num_envs, rollout_fragment_length=fragment_length)
    )


def test_whole_episodes_are_shared_out_beforehand() -> None:
    collecting = runner(num_envs=3)
    (batch,) = collecting.sample(num_episodes=5)
    assert batch.episodes.returns.tolist() == [4.0] * 5
    assert batch.valid.sum(axis=0).tolist() == [8, 8, 4]
    assert batch.env_steps() == batch.agent_steps() == 20


def test_at_least_as_many_steps_as_asked_for() -> None:
    (batch,) = runner(num_envs=3).sample(num_timesteps=10)
    assert batch.actions.shape == (4, 3)


def test_both_units_at_once_are_refused() -> None:
    with pytest.raises(ValueError, match=r"give num_timesteps \(1\) or num_episodes \(1\), not both"):
        runner().sample(num_timesteps=1, num_episodes=1)


@pytest.mark.parametrize("env", [Counting, "counting", "scripted_envs.Counting"])
def test_a_class_a_registered_name_and_a_path_get_their_env_config(env: Any) -> None:
    ray.tune.register_env("counting", lambda env_config: Counting(env_config))
    (batch,) = runner(env, length=2).sample(num_episodes=1)
    assert batch.episodes.lengths.tolist() == [2]


def test_epsilon_follows_the_steps_of_all_runners() -> None:
    config = (
        DQNConfig().environment("CartPole-v1").training(epsilon=((0, 1.0), (1000, 0.0))).debugging(seed=0)
    )
    collecting = VectorEnvRunner(
        config=config.env_runners(num_envs_per_env_runner=4, rollout_fragment_length=50)
    )
    greedy = collecting.module.qf
    for env_steps, explores in ((0, True), (5000, False)):
        batch = collecting.collect(env_steps).batch
        with torch.no_grad():
            best = (
                greedy(torch.from_numpy(batch.obs[:-1]).reshape(-1, 4)).argmax(dim=1).numpy().reshape(50, 4)
            )
        assert (batch.actions != best).any() == explores


def test_no_two_runners_share_a_seed() -> None:
    def config(in_evaluation: bool, num_env_runners: int) -> Any:
        asked = DQNConfig().env_runners(num_env_runners=num_env_runners).debugging(seed=7)
        asked.in_evaluation = in_evaluation
        return asked

    local, evaluation = config(False, 0), config(True, 0)
    states = {
        tuple(asked.seed_sequence(0).generate_state(4)) for asked in (local, evaluation, config(False, 3))
    }
    assert len(states) == 3
    assert local.seed_sequence(0).spawn_key == (0, 1)  # what a lone remote runner has


# Batches of whole episodes, as REINFORCE asks for


def batch_runner(env: Any, num_envs: int, **changes: Any) -> VectorEnvRunner:
    config = (
        REINFORCEConfig()
        .environment(env, env_config=changes.pop("env_config", {}))
        .debugging(seed=changes.pop("seed", 0))
    )
    for name, value in changes.items():
        assert hasattr(config, name)
        setattr(config, name, value)
    return VectorEnvRunner(config=config.env_runners(num_envs_per_env_runner=num_envs))


def script_runner(
    *lengths: tuple[int, ...], env_config: dict[str, Any] | None = None, **changes: Any
) -> VectorEnvRunner:
    """Return a runner of as many environments as there are lengths."""
    Script.made = Script.taken = 0
    Script.lengths = lengths
    return batch_runner(
        Script, len(lengths), env_config={"num_envs": len(lengths), **(env_config or {})}, **changes
    )


def play(
    collecting: VectorEnvRunner,
    num_episodes: int,
    num_env_steps: int = 0,
    spawn_key: tuple[int, ...] = (3, 0, 0),
) -> RolloutResult:
    return collecting.collect(env_steps=0, request=EpisodeRequest(num_episodes, num_env_steps, spawn_key))


def same(one: RolloutResult, other: RolloutResult) -> bool:
    """Return whether these batches are the same, array by array."""
    ours, theirs = (rollout.batch.whole_episodes() for rollout in (one, other))  # type: ignore[union-attr]
    return set(ours) == set(theirs) and all(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_a_request_is_answered_with_whole_episodes_and_what_was_lost() -> None:
    """Four episodes of two environments. NaN in the second step of environment 1 loses its first episode."""
    rollout = play(script_runner((2,), (4, 3), env_config={"nan": [(1, 0, 1)]}), 4)
    assert sorted(rollout.episodes.lengths.tolist()) == [2, 2, 3]
    assert rollout.num_env_steps == rollout.batch.env_steps() == 7
    assert (rollout.episodes.num_lost, rollout.num_dropped, rollout.num_failures) == (1, 1, 0)


def test_an_episode_that_does_not_end_is_the_answer_of_a_request_and_an_error_of_a_sample() -> None:
    said = f"env {Script!r}: an episode had not ended after [0-9]+ steps \\(max_episode_steps 100\\)"
    endless = (10**9,)
    rollout = play(script_runner((2,), endless, max_episode_steps=100), 4)
    assert rollout.batch is None
    assert re.fullmatch(said, rollout.error)
    with pytest.raises(EnvironmentFailed, match=said):
        script_runner((2,), endless, max_episode_steps=100).sample(num_episodes=4)


def test_failures_are_counted_anew_for_every_request() -> None:
    collecting = script_runner((4,), env_config={"raises": (6, 7)})
    assert [play(collecting, 3).num_failures for _ in range(2)] == [2, 0]


@pytest.mark.parametrize("env", ["CartPole-v1", Dial])
def test_a_batch_is_the_same_whoever_plays_it_and_whatever_they_played_before(env: Any) -> None:
    """CartPole is a vector environment of Gymnasium's, the dial one of ours, whose policy is a Gaussian."""
    first, other = (
        batch_runner(env, 3),
        batch_runner(env, 3, in_evaluation=True),
    )  # their own random numbers are not the same
    weights = first.module.get_state()

    def batch_of(collecting: VectorEnvRunner, spawn_key: tuple[int, ...]) -> RolloutResult:
        return collecting.collect(0, weights, 1, EpisodeRequest(7, 150, spawn_key))

    rollout = batch_of(first, (3, 5, 0))
    other.sample(num_timesteps=7)  # it is in the midst of episodes
    torch.rand(7)  # nor does the global generator matter
    assert same(batch_of(other, (3, 5, 0)), rollout)
    for collecting in (other, first):
        others = [batch_of(collecting, spawn_key) for spawn_key in ((3, 6, 0), (3, 5, 1), (2, 5, 0))]
        assert same(batch_of(collecting, (3, 5, 0)), rollout)
        assert not any(same(one, two) for one, two in itertools.combinations([*others, rollout], 2))
    again = batch_of(first, (3, 5, 0))
    for name in ("returns", "lengths"):
        assert np.array_equal(getattr(again.episodes, name), getattr(rollout.episodes, name))
    assert not same(batch_of(batch_runner(env, 3, seed=1), (3, 5, 0)), rollout)


def test_every_batch_has_its_own_starts_and_its_own_choices() -> None:
    """Where CartPole begins, and which actions are drawn in the script, whose states are always the same."""
    pole, script = batch_runner("CartPole-v1", 3), script_runner((40,))
    weights = script.module.get_state()
    starts, choices = [], []
    for spawn_key in ((3, 0, 0), (3, 1, 0), (3, 0, 1), (2, 0, 0)):
        starts += [obs.tobytes() for obs in play(pole, 3, spawn_key=spawn_key).batch.obs[0]]  # type: ignore[union-attr]
        rollout = script.collect(0, weights, 1, EpisodeRequest(1, 0, spawn_key))
        choices.append(rollout.batch.whole_episodes()["actions"].tobytes())  # type: ignore[union-attr]
    assert len(set(starts)) == 12
    assert len(set(choices)) == 4


def test_a_batch_is_played_with_the_weights_that_come_with_it_and_says_which() -> None:
    collecting = script_runner((4,), (4,))
    for version, always in ((7, 1), (8, 0), (9, 1)):
        weights = {name: np.zeros_like(weight) for name, weight in collecting.module.get_state().items()}
        weights["pi.layers.2.bias"][always] = 100.0
        rollout = collecting.collect(0, weights, version, EpisodeRequest(4, 0, (3, version, 0)))
        assert rollout.weights_version == rollout.batch.weights_version == version  # type: ignore[union-attr]
        assert set(rollout.batch.whole_episodes()["actions"].tolist()) == {always}  # type: ignore[union-attr]
    assert play(collecting, 1).weights_version == 9  # those that it has
