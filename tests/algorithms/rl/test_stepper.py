"""The stepper without Ray: valid rows, whole episodes, environments that fail, its state."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_envs import Counting, Dial, Script

from algorithms.rl.rollout_batch import RolloutBatch
from algorithms.rl.stepper import EnvironmentFailed, Stepper
from algorithms.rl.vector_envs import make_vector_env, to_env_actions


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As in a runner's process. On a busy machine, two threads for three rows take milliseconds a step."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def first_action(obs: torch.Tensor, env_steps: int, generator: torch.Generator) -> torch.Tensor:
    return torch.zeros(len(obs), dtype=torch.int64)


def drawn(obs: torch.Tensor, env_steps: int, generator: torch.Generator) -> torch.Tensor:
    """Return Gaussian actions for Dial, 0 or 1 for CartPole."""
    if obs.shape[1] == 4:
        return torch.randint(2, (len(obs),), generator=generator)
    return torch.randn((len(obs), 1), generator=generator)


def counting(**env_config: Any) -> Stepper:
    Counting.taken = 0
    return Stepper(
        lambda: make_vector_env(Counting, env_config, 1), np.random.SeedSequence(0), num_tolerated_failures=10
    )


def test_the_row_after_an_end_is_not_valid_and_floats_are_float32() -> None:
    batch = counting().fragment(7, first_action)
    assert batch.obs[:, 0, 0].tolist() == [0, 1, 2, 3, 4, 0, 1, 2]
    assert batch.valid[:, 0].tolist() == [True, True, True, True, False, True, True]
    assert batch.terminated[:, 0].tolist() == [False, False, False, True, False, False, False]
    assert (batch.obs.dtype, batch.rewards.dtype) == (np.float32, np.float32)
    assert batch.transitions()["new_obs"][:, 0].tolist() == [1, 2, 3, 4, 1, 2]
    assert (batch.episodes.returns.tolist(), batch.episodes.lengths.tolist()) == ([4.0], [4])


def test_the_row_after_an_end_is_not_valid_though_the_end_was_in_the_rollout_before() -> None:
    stepper = counting()
    assert stepper.fragment(4, first_action).valid.all()
    assert stepper.fragment(4, first_action).valid[:, 0].tolist() == [False, True, True, True]


def test_it_is_not_valid_either_where_the_environment_fails_later_in_the_rollout() -> None:
    """The second rollout: the reset, a step, the failure (sixth call), a step of the new environment."""
    stepper = counting(raises=(6,))
    stepper.fragment(4, first_action)
    batch = stepper.fragment(4, first_action)
    assert batch.valid[:, 0].tolist() == [False, True, False, True]
    assert batch.dropped[:, 0].tolist() == [False, False, True, False]
    assert batch.episodes.num_lost == 1
    assert len(batch.episodes.returns) == 0


# Whole episodes


def scripted(*lengths: tuple[int, ...], num_tolerated_failures: int = 10, **env_config: Any) -> Stepper:
    """Return a stepper of as many environments as there are lengths."""
    Script.made = Script.taken = 0
    Script.lengths = lengths
    num_envs = len(lengths)
    return Stepper(
        lambda: make_vector_env(Script, {"num_envs": num_envs, **env_config}, num_envs),
        np.random.SeedSequence(0),
        "script",
        num_tolerated_failures,
    )


@dataclass
class Played:
    """A batch of whole episodes, and what went wrong on the way."""

    batch: RolloutBatch
    num_failures: int

    @property
    def num_dropped(self) -> int:
        return int(self.batch.dropped.sum())


def play(stepper: Stepper, num_episodes: int, num_env_steps: int = 0, **limits: Any) -> Played:
    stepper.num_failures = 0
    batch = stepper.whole_episodes(num_episodes, first_action, num_env_steps=num_env_steps, **limits)
    return Played(batch, stepper.num_failures)


def episodes_of(played: Played) -> list[tuple[int, int, int]]:
    """Return (environment, number of the episode, length) of each episode; check all its steps."""
    batch, counted = played.batch.whole_episodes(), played.batch.episodes
    cuts = np.flatnonzero(batch["ends"]) + 1
    assert cuts[-1:].tolist() in ([], [len(batch["obs"])])
    last_obs = batch["last_obs"].astype(int).tolist()
    episodes = []
    for steps, (index, which, length) in zip(np.split(batch["obs"], cuts)[:-1], last_obs, strict=True):
        assert steps.tolist() == [[index, which, step] for step in range(length)]
        episodes.append((index, which, length))
    assert played.batch.env_steps() == len(batch["rewards"]) == sum(length for _, _, length in episodes)
    assert sorted(counted.lengths.tolist()) == sorted(length for _, _, length in episodes)
    assert counted.returns.tolist() == counted.lengths.tolist()  # reward 1 a step
    return episodes


@functools.cache
def three_scripts() -> Stepper:
    return scripted((1,), (1,), (1,))


def test_every_environment_plays_its_share_and_not_whoever_ends_first() -> None:
    """Five episodes of three environments: two, two and one. Meanwhile environment 0 ends some twenty."""
    played = play(scripted((1,), (20, 3), (5,)), 5)
    assert episodes_of(played) == [(0, 0, 1), (0, 1, 1), (1, 0, 20), (1, 1, 3), (2, 0, 5)]
    assert played.batch.episodes.num_lost == played.num_dropped == played.num_failures == 0


def test_fewer_episodes_than_environments_are_the_first_ones() -> None:
    assert episodes_of(play(scripted((30,), (2,), (1,)), 2)) == [(0, 0, 30), (1, 0, 2)]


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
    stepper = scripted((1,), (10,))
    assert episodes_of(play(stepper, num_episodes, num_env_steps)) == [
        (i, which, length) for i, length in ((0, 1), (1, 10)) for which in range(shares[i])
    ]


@settings(deadline=None, max_examples=50)
@given(
    lengths=st.tuples(*[st.lists(st.integers(1, 40), min_size=1, max_size=6).map(tuple)] * 3),
    num_episodes=st.integers(0, 9),
    num_env_steps=st.integers(0, 150),
)
def test_batches_are_those_of_a_plain_count(
    lengths: tuple[tuple[int, ...], ...], num_episodes: int, num_env_steps: int
) -> None:
    """One stepper plays all of them, one batch after the other."""
    stepper = three_scripts()
    Script.lengths = lengths
    shares = [num_episodes // 3 + (i < num_episodes % 3) for i in range(3)]
    while True:
        by_hand = [
            (i, which, lengths[i][which % len(lengths[i])]) for i in range(3) for which in range(shares[i])
        ]
        if sum(length for _, _, length in by_hand) >= num_env_steps:
            break
        shares = [share + 1 for share in shares]
    assert episodes_of(play(stepper, num_episodes, num_env_steps)) == by_hand


def test_a_reward_of_nan_loses_its_episode_whole_and_no_other() -> None:
    """The second step of environment 1's first episode; it is one of its two all the same."""
    played = play(scripted((2,), (4, 3), nan=[(1, 0, 1)]), 4)
    assert episodes_of(played) == [(0, 0, 2), (0, 1, 2), (1, 1, 3)]
    assert (played.batch.episodes.num_lost, played.num_dropped, played.num_failures) == (1, 1, 0)


def test_lost_episodes_count_as_steps() -> None:
    """Otherwise a batch would grow with every lost episode. Four steps of each environment make eight."""
    played = play(scripted((4,), (4,), nan=[(0, 0, 3)]), 0, 8)
    assert episodes_of(played) == [(1, 0, 4)]


def test_a_nan_beyond_the_share_loses_no_episode() -> None:
    played = play(scripted((2,), (9,), nan=[(0, 1, 0)]), 2)
    assert episodes_of(played) == [(0, 0, 2), (1, 0, 9)]
    assert (played.batch.episodes.num_lost, played.num_dropped) == (0, 0)


def test_a_batch_of_lost_episodes_is_empty_and_no_error() -> None:
    played = play(scripted((3,), (3,), nan=[(0, 0, 0), (1, 0, 2)]), 2)
    assert episodes_of(played) == []
    assert (played.batch.env_steps(), played.batch.episodes.num_lost, played.num_dropped) == (0, 2, 2)


def test_a_failure_loses_the_episodes_that_it_breaks_off() -> None:
    """The seventh call is environment 0's fourth step: both lose their first episode, and play a second."""
    played = play(scripted((5,), (6,), raises=(7,)), 4)
    assert episodes_of(played) == [(0, 0, 5), (1, 0, 6)]  # after a new seed the environments count from 0 on
    assert (played.batch.episodes.num_lost, played.num_dropped, played.num_failures) == (2, 2, 1)


def test_a_failure_while_another_environment_resets_itself_takes_no_episode_of_its_share() -> None:
    """At the fifth call environment 0 fails in its third step, while 1 resets itself: 0 loses an episode."""
    played = play(scripted((8,), (2,), raises=(5,)), 4)
    assert episodes_of(played) == [(0, 0, 8), (1, 0, 2), (1, 0, 2)]
    assert played.batch.episodes.num_lost == 1


def test_an_environment_that_gives_nothing_costs_the_others_no_episode() -> None:
    """Environment 0 pays NaN only, for an episode of 100 steps; 1 plays its 20 steps meanwhile."""
    nan = list(itertools.product([0], [0], range(100)))
    played = play(scripted((100, 3), (20,), nan=nan), 2)
    assert [length for index, _, length in episodes_of(played) if index == 1] == [20]
    assert played.batch.episodes.num_lost == 1


def test_failures_with_whole_episodes_between_them_are_not_in_a_row() -> None:
    assert play(scripted((4,), raises=(6, 30), num_tolerated_failures=1), 10).num_failures == 2


def test_too_many_failures_in_a_row_are_an_error_that_names_the_environment_and_the_last_failure() -> None:
    stepper = scripted((4,), raises=range(1, 100), num_tolerated_failures=3)
    said = (
        "env 'script' failed 4 times in a row, with no episode played to its end; "
        "the last time: OSError: gone"
    )
    with pytest.raises(EnvironmentFailed, match=re.escape(said)):
        stepper.steps(10, first_action)


@pytest.mark.parametrize("lengths", [(10**9,), (3, 10**9)], ids=["the first", "a later one"])
def test_an_episode_that_does_not_end_is_an_error_that_names_the_environment_and_the_limit(
    lengths: tuple[int, ...],
) -> None:
    said = r"env 'script': an episode had not ended after [0-9]+ steps \(max_episode_steps 100\)"
    with pytest.raises(EnvironmentFailed, match=said):
        play(scripted((2,), lengths), 4, max_episode_steps=100)


def test_an_episode_that_ends_at_the_limit_is_no_error_nor_is_a_longer_one_beyond_the_share() -> None:
    played = play(scripted((16, 100), (2, 1000)), 3, max_episode_steps=100)
    assert episodes_of(played) == [(0, 0, 16), (0, 1, 100), (1, 0, 2)]


def test_the_environment_gets_actions_within_its_bounds_and_the_batch_has_those_that_were_chosen() -> None:
    stepper = Stepper(lambda: make_vector_env(Dial, {}, 4), np.random.SeedSequence(0))
    batch = stepper.whole_episodes(40, drawn).whole_episodes()
    assert (np.abs(batch["actions"]) > 1).any()
    convert = to_env_actions(Dial.action_space)
    assert convert is not None
    assert np.array_equal(batch["rewards"], convert(batch["actions"])[:, 0])
    assert {-10.0, 30.0} <= set(batch["rewards"].tolist())


def test_nothing_of_whole_episodes_is_left_for_the_next_rollout() -> None:
    """Environment 0 is in its second episode when the batch is complete; the next rollout starts new ones."""
    stepper = scripted((5,), (20,))
    play(stepper, 2)
    assert not stepper.has_begun
    batch = stepper.fragment(5, first_action)
    assert batch.obs[0].tolist() == [[0, 0, 0], [1, 0, 0]]
    assert (batch.episodes.returns.tolist(), batch.episodes.num_lost) == ([5.0], 0)


def test_progress_is_told_after_every_block_as_the_episodes_that_count() -> None:
    """Blocks of 16 steps: the first share is played in one, the episode of 20 steps needs two."""
    told: list[int] = []
    scripted((5,), (20,)).whole_episodes(2, first_action, progress=told.append)
    assert told == [1, 2]


def test_a_restored_stepper_goes_on_exactly() -> None:
    """The state is taken in the midst of episodes of Gymnasium's vector CartPole, which pickles."""
    first, second = (
        Stepper(lambda: make_vector_env("CartPole-v1", {}, 3), np.random.SeedSequence(seed))
        for seed in (0, 1)
    )
    first.fragment(20, None)
    second.fragment(7, None)
    second.set_state(first.state())
    ours, theirs = first.fragment(30, drawn), second.fragment(30, drawn)
    for name in ("obs", "actions", "rewards", "valid"):
        assert np.array_equal(getattr(ours, name), getattr(theirs, name)), name
    assert len(ours.episodes.returns) > 0
    assert ours.episodes.returns.tolist() == theirs.episodes.returns.tolist()


def test_environments_that_do_not_pickle_begin_with_new_episodes() -> None:
    first, second = counting(), counting()
    first.envs.held = (number for number in range(3))  # type: ignore[attr-defined]
    first.fragment(2, first_action)
    second.fragment(2, first_action)
    second.set_state(first.state())
    assert not second.has_begun


def test_a_rollout_of_nothing_but_nan_rebuilds_the_environments_and_breaks_their_episodes_off() -> None:
    stepper = scripted((9,), (9,), nan=[(0, 0, step) for step in range(4)])
    batch = stepper.fragment(4, first_action)
    assert batch.dropped.T.tolist() == [[True] * 4, [False, False, False, True]]
    assert batch.truncated[-1].tolist() == [True, True]
    assert (batch.episodes.num_lost, stepper.num_failures) == (2, 1)
    assert stepper.fragment(1, first_action).obs[0].tolist() == [[0, 0, 0], [1, 0, 0]]
