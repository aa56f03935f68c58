"""The env runner by itself: which rows may be learned from, whole episodes, seeds, and what it passes to environments."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import ray
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from algorithms.dqn.dqn import DQNConfig
from algorithms.reinforce.reinforce import REINFORCEConfig
from algorithms.rl.env_runner import VectorEnvRunner
from algorithms.rl.rollout_batch import RolloutResult
from algorithms.rl.stepper import EnvironmentFailed
from algorithms.rl.vector_envs import to_env_actions
from algorithms.rl.whole_episodes import EpisodeRequest


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As in a runner's own process; on a machine that is busy, two threads for three rows take milliseconds a step."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Counting(gym.Env[np.ndarray, int]):
    """Shows its step; ends after `length` steps, reward 1 each; raises at the steps of the process's life that `raises` names."""

    observation_space = gym.spaces.Box(-1, 1000, (1,), np.float64)
    action_space = gym.spaces.Discrete(2)
    taken = 0

    def __init__(self, env_config: dict[str, Any]) -> None:
        self._length, self._raises = env_config.get("length", 4), env_config.get("raises", ())
        self._step = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        self._step = 0
        return np.zeros(1), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        Counting.taken += 1
        if Counting.taken in self._raises:
            raise OSError("gone")
        self._step += 1
        return np.full(1, float(self._step)), 1.0, self._step >= self._length, False, {}


def runner(
    env: Any = Counting, num_envs: int = 1, fragment_length: int = 4, seed: int = 0, **env_config: Any
) -> VectorEnvRunner:
    Counting.taken = 0
    config = DQNConfig().environment(env, env_config=env_config).debugging(seed=seed)
    return VectorEnvRunner(
        config=config.env_runners(num_envs_per_env_runner=num_envs, rollout_fragment_length=fragment_length)
    )


def columns_of(collecting: VectorEnvRunner) -> Any:
    rollout = collecting.collect(env_steps=0)
    assert not rollout.error
    return rollout.batch


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
    columns = columns_of(
        collecting
    )  # the reset, a step, the failure (the sixth call of `step`), a step of new environments
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
    config = (
        DQNConfig().environment("CartPole-v1").training(epsilon=((0, 1.0), (1000, 0.0))).debugging(seed=0)
    )
    collecting = VectorEnvRunner(
        config=config.env_runners(num_envs_per_env_runner=4, rollout_fragment_length=50)
    )
    greedy = collecting.module.qf
    for env_steps, explores in ((0, True), (5000, False)):
        columns = collecting.collect(env_steps).batch
        with torch.no_grad():
            best = (
                greedy(torch.from_numpy(columns.obs[:-1]).reshape(-1, 4)).argmax(dim=1).numpy().reshape(50, 4)
            )
        assert (columns.actions != best).any() == explores


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


class Script(gym.Env[np.ndarray, int]):
    """Environment i plays episodes of `lengths[i]` steps, over and over, reward 1 each; it shows (i, which of its batch, step).

    `nan` names steps by (i, which, step) that pay NaN, `raises` the calls of `step`, of all environments together, that fail.
    """

    observation_space = gym.spaces.Box(-1, 1000, (3,), np.float32)
    action_space = gym.spaces.Discrete(2)
    made = taken = 0
    lengths: tuple[tuple[int, ...], ...] = ()

    def __init__(self, env_config: dict[str, Any]) -> None:
        self._config, self._index = env_config, Script.made % env_config["num_envs"]
        Script.made += 1

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        self._episode = 0 if seed is not None else self._episode + 1  # a batch begins with seeds
        self._step = 0
        return self._shown(), {}

    def _shown(self) -> np.ndarray:
        return np.array([self._index, self._episode, self._step], np.float32)

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        Script.taken += 1
        if Script.taken in self._config.get("raises", ()):
            raise OSError("gone")
        reward = np.nan if (self._index, self._episode, self._step) in self._config.get("nan", ()) else 1.0
        self._step += 1
        lengths = Script.lengths[self._index]
        return self._shown(), reward, self._step >= lengths[self._episode % len(lengths)], False, {}


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


def episodes_of(rollout: RolloutResult) -> list[tuple[int, int, int]]:
    """Return (environment, which of its episodes, length) of each, one after the other; check that each is there step by step."""
    assert not rollout.error
    batch = rollout.batch.whole_episodes()  # type: ignore[union-attr]
    cuts = np.flatnonzero(batch["ends"]) + 1
    assert cuts[-1:].tolist() in ([], [len(batch["obs"])])
    episodes = []
    for steps, last in zip(
        np.split(batch["obs"], cuts)[:-1], batch["last_obs"].astype(int).tolist(), strict=True
    ):
        index, which, length = last
        assert steps.tolist() == [[index, which, step] for step in range(length)]
        episodes.append((index, which, length))
    assert rollout.num_env_steps == len(batch["rewards"]) == sum(length for _, _, length in episodes)
    assert sorted(rollout.episodes.lengths.tolist()) == sorted(length for _, _, length in episodes)
    assert rollout.episodes.returns.tolist() == rollout.episodes.lengths.tolist()  # reward 1 each
    return episodes


def test_a_batch_is_everybodys_share_and_not_the_episodes_that_end_first() -> None:
    """Five episodes of three environments: two, two and one. Environment 0 ends some twenty of its episodes meanwhile."""
    rollout = play(script_runner((1,), (20, 3), (5,)), 5)
    assert episodes_of(rollout) == [(0, 0, 1), (0, 1, 1), (1, 0, 20), (1, 1, 3), (2, 0, 5)]
    assert rollout.episodes.num_lost == rollout.num_dropped == rollout.num_failures == 0


def test_fewer_episodes_than_environments_are_the_first_ones() -> None:
    assert episodes_of(play(script_runner((30,), (2,), (1,)), 2)) == [(0, 0, 30), (1, 0, 2)]


@pytest.mark.parametrize(
    ("num_episodes", "num_env_steps", "shares"),
    [
        (0, 1, [1, 1]),  # 11 steps
        (0, 11, [1, 1]),
        (0, 12, [2, 2]),
        (0, 33, [3, 3]),  # 3 * 1 + 3 * 10
        (0, 34, [4, 4]),
        (3, 1, [2, 1]),  # 12 steps, as its episodes alone
        (3, 12, [2, 1]),
        (3, 13, [3, 2]),
        (3, 24, [4, 3]),  # 23 steps with the share before
    ],
)
def test_where_steps_are_too_few_every_share_grows_by_one(
    num_episodes: int, num_env_steps: int, shares: list[int]
) -> None:
    """Episodes of 1 and of 10 steps. By steps alone, environment 0 would play ten times as many."""
    collecting = script_runner((1,), (10,))
    played = episodes_of(play(collecting, num_episodes, num_env_steps))
    assert played == [(i, which, length) for i, length in ((0, 1), (1, 10)) for which in range(shares[i])]


@functools.cache
def three_scripts() -> VectorEnvRunner:
    return script_runner((1,), (1,), (1,))


@settings(deadline=None, max_examples=50)
@given(
    lengths=st.tuples(*[st.lists(st.integers(1, 40), min_size=1, max_size=6).map(tuple)] * 3),
    num_episodes=st.integers(0, 9),
    num_env_steps=st.integers(0, 150),
)
def test_batches_are_those_of_a_plain_count(
    lengths: tuple[tuple[int, ...], ...], num_episodes: int, num_env_steps: int
) -> None:
    """One runner plays them all, one after the other."""
    collecting = three_scripts()
    Script.lengths = lengths
    shares = [num_episodes // 3 + (i < num_episodes % 3) for i in range(3)]
    while True:
        by_hand = [
            (i, which, lengths[i][which % len(lengths[i])]) for i in range(3) for which in range(shares[i])
        ]
        if sum(length for _, _, length in by_hand) >= num_env_steps:
            break
        shares = [share + 1 for share in shares]
    assert episodes_of(play(collecting, num_episodes, num_env_steps)) == by_hand


def test_a_step_that_pays_nan_loses_its_episode_whole_and_no_other() -> None:
    """The second step of environment 1's first episode; it is one of its two all the same."""
    rollout = play(script_runner((2,), (4, 3), env_config={"nan": [(1, 0, 1)]}), 4)
    assert episodes_of(rollout) == [(0, 0, 2), (0, 1, 2), (1, 1, 3)]
    assert (rollout.episodes.num_lost, rollout.num_dropped, rollout.num_failures) == (1, 1, 0)


def test_what_is_lost_has_counted_as_steps() -> None:
    """Else a batch would be the longer, the more is lost: four steps of two environments are enough for seven."""
    rollout = play(script_runner((4,), (4,), env_config={"nan": [(0, 0, 3)]}), 0, 8)
    assert episodes_of(rollout) == [(1, 0, 4)]


def test_a_nan_beyond_the_share_is_nobodys() -> None:
    rollout = play(script_runner((2,), (9,), env_config={"nan": [(0, 1, 0)]}), 2)
    assert episodes_of(rollout) == [(0, 0, 2), (1, 0, 9)]
    assert (rollout.episodes.num_lost, rollout.num_dropped) == (0, 0)


def test_a_batch_of_lost_episodes_is_empty_and_no_error() -> None:
    rollout = play(script_runner((3,), (3,), env_config={"nan": [(0, 0, 0), (1, 0, 2)]}), 2)
    assert episodes_of(rollout) == []
    assert (rollout.num_env_steps, rollout.episodes.num_lost, rollout.num_dropped) == (0, 2, 2)


def test_a_failure_loses_the_episodes_that_it_breaks_off() -> None:
    """The seventh call is environment 0's fourth step: its first episode and that of 1 are lost. They begin anew, and play their second."""
    rollout = play(script_runner((5,), (6,), env_config={"raises": (7,)}), 4)
    assert episodes_of(rollout) == [(0, 0, 5), (1, 0, 6)]  # seeds again, so the environments count from 0 on
    assert (rollout.episodes.num_lost, rollout.num_dropped, rollout.num_failures) == (2, 2, 1)


def test_a_failure_while_another_environment_resets_itself_takes_no_episode_of_its_share() -> None:
    """Environment 1 has played its first, and resets itself when 0 fails with its third step, the fifth call: 0 loses one, 1 none."""
    rollout = play(script_runner((8,), (2,), env_config={"raises": (5,)}), 4)
    assert episodes_of(rollout) == [(0, 0, 8), (1, 0, 2), (1, 0, 2)]
    assert rollout.episodes.num_lost == 1


def test_an_environment_that_gives_nothing_costs_the_others_no_episode() -> None:
    """Environment 0 pays NaN only, for an episode of 100 steps; 1 plays its 20 steps meanwhile."""
    nan = list(itertools.product([0], [0], range(100)))
    rollout = play(script_runner((100, 3), (20,), env_config={"nan": nan}), 2)
    assert [length for index, _, length in episodes_of(rollout) if index == 1] == [20]
    assert rollout.episodes.num_lost == 1


def test_failures_with_whole_episodes_between_them_are_not_in_a_row() -> None:
    collecting = script_runner(
        (4,), env_config={"raises": (6, 30)}, num_consecutive_env_runner_failures_tolerance=1
    )
    rollout = play(collecting, 10)
    assert not rollout.error
    assert rollout.num_failures == 2


@pytest.mark.parametrize("lengths", [(10**9,), (3, 10**9)], ids=["the first", "a later one"])
def test_an_episode_that_does_not_end_is_an_error_that_names_the_environment_and_the_limit(
    lengths: tuple[int, ...],
) -> None:
    said = "env <class 'test_env_runner.Script'>: an episode had not ended after [0-9]+ steps \\(max_episode_steps 100\\)"
    said = said.replace("<class 'test_env_runner.Script'>", re.escape(repr(Script)))
    rollout = play(script_runner((2,), lengths, max_episode_steps=100), 4)
    assert rollout.batch is None
    assert re.fullmatch(said, rollout.error)
    with pytest.raises(EnvironmentFailed, match=said):
        script_runner((2,), lengths, max_episode_steps=100).sample(num_episodes=4)


def test_one_that_ends_at_the_limit_is_none_nor_is_one_that_nobody_asked_for() -> None:
    assert episodes_of(play(script_runner((16, 100), (2, 1000), max_episode_steps=100), 3)) == [
        (0, 0, 16),
        (0, 1, 100),
        (1, 0, 2),
    ]


class Dial(gym.Env[np.ndarray, np.ndarray]):
    """Turn a dial by -10 to 30; it pays what it was turned by, shows noise of its own, and ends by chance."""

    observation_space = gym.spaces.Box(-100, 100, (2,), np.float64)
    action_space = gym.spaces.Box(-10, 30, (1,), np.float32)

    def __init__(self, env_config: dict[str, Any]) -> None:
        pass

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        return self.np_random.normal(size=2), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action)
        ends = bool(self.np_random.random() < 0.05)
        return (
            self.np_random.normal(size=2),
            float(action[0]),
            ends,
            not ends and bool(self.np_random.random() < 0.05),
            {},
        )


def same(one: RolloutResult, other: RolloutResult) -> bool:
    """Return whether these batches are the same, array by array."""
    ours, theirs = (rollout.batch.whole_episodes() for rollout in (one, other))  # type: ignore[union-attr]
    return set(ours) == set(theirs) and all(np.array_equal(ours[name], theirs[name]) for name in ours)


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


def test_the_environment_is_given_actions_within_its_bounds_and_the_learner_those_of_the_policy() -> None:
    batch = play(batch_runner(Dial, 4), 40).batch.whole_episodes()  # type: ignore[union-attr]
    assert (np.abs(batch["actions"]) > 1).any()
    convert = to_env_actions(Dial.action_space)
    assert convert is not None
    assert np.array_equal(batch["rewards"], convert(batch["actions"])[:, 0])
    assert {-10.0, 30.0} <= set(batch["rewards"].tolist())


def test_nothing_of_a_batch_is_left_for_the_next_request() -> None:
    """Environment 0 is in its second episode when the batch is there; the steps that are asked for next begin with new ones."""
    collecting = script_runner((5,), (20,))
    play(collecting, 2)
    assert not collecting.has_begun
    (columns,) = collecting.sample(num_timesteps=10)
    assert columns.obs[0].tolist() == [[0, 0, 0], [1, 0, 0]]
    assert (columns.episodes.returns.tolist(), columns.episodes.num_lost) == ([5.0], 0)
