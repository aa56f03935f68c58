"""Quotas of whole episodes, against loops that are easy to check."""

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from rollout_texts import (
    DROPPED,
    TRUNCATED,
    VALID,
    Rollout,
    all_batches,
    batch_of,
    consecutive_rollouts,
    told,
)

from algorithms.rl.rollout_batch import EpisodeCounter, concatenate
from algorithms.rl.whole_episodes import EpisodeQuota, episode_numbers, keep_first_episodes, split_evenly

EPISODE_ENDS = "TLFX"
"""Not the f: a reset that is broken off is no episode."""


def slow_whole_episodes(steps: list[str], quota: list[int]) -> tuple[list[list[tuple[int, int]]], int]:
    """Return the steps (t, n) of the first `quota` episodes per environment, and how many are lost."""
    kept: list[list[tuple[int, int]]] = []
    num_lost = 0
    for n, text in enumerate(steps):
        episode: list[tuple[int, int]] = []
        number = num_dropped = 0
        for t, letter in enumerate(text):
            if letter in VALID and number < quota[n]:
                episode.append((t, n))
            num_dropped += letter in DROPPED
            if letter in EPISODE_ENDS:
                if number < quota[n]:
                    kept += [] if num_dropped else [episode]
                    num_lost += num_dropped > 0
                episode, number, num_dropped = [], number + 1, 0
    return kept, num_lost


def test_episode_numbers_by_hand() -> None:
    """The reset after an end belongs to the next episode. A failure ends all episodes, without a reset."""
    numbers = episode_numbers(batch_of(["..Tr.L", "..F..T"], [[0, 0]] * 6))
    assert numbers.T.tolist() == [[0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 1]]
    assert numbers.dtype == np.int64
    assert episode_numbers(batch_of(["....", "TrTr", "TrX."], [[0, 0, 0]] * 4)).T.tolist() == [
        [0, 0, 0, 0],
        [0, 1, 1, 2],
        [0, 1, 1, 2],
    ]


def test_only_the_first_episodes_are_kept_and_no_row_after_the_last_of_them() -> None:
    """One of environment 0, two of environment 1. The dropped step in the next episode of 0 loses nothing."""
    columns = batch_of(
        ["..Tr.X..", ".Tr.Tr.T"], [[1, 10], [2, 20], [3, 77], [77, 40], [5, 50], [6, 77], [7, 70], [8, 80]]
    )
    kept = keep_first_episodes(columns, np.array([1, 2]))
    assert kept.valid.T.tolist() == [[True, True, True, False, False], [True, True, False, True, True]]
    assert kept.whole_episodes()["rewards"].tolist() == [1, 2, 3, 10, 20, 40, 50]
    assert kept.whole_episodes()["last_obs"].tolist() == [[3, 0], [2, 1], [5, 1]]
    assert (len(kept.obs), kept.env_steps(), int(kept.dropped.sum())) == (6, 7, 0)
    assert told(EpisodeCounter(2).count(kept)) == ([30.0, 6.0, 90.0], [2, 3, 2], 0)
    assert columns.env_steps() == 12  # as before


def test_an_environment_may_have_no_share() -> None:
    kept = keep_first_episodes(
        batch_of(["Tr.T", ".T.."], [[1, 10], [2, 20], [3, 30], [4, 40]]), np.array([0, 1])
    )
    assert kept.whole_episodes()["rewards"].tolist() == [10, 20]


def test_an_episode_with_a_dropped_step_is_left_out_whole_and_counts_as_one() -> None:
    """A dropped step loses the first episode of 0. The failure ends its second, and the first of 1."""
    columns = batch_of([".x.Tr.F..T", "......F.Tr"], [[t, 10 * t] for t in range(10)])
    kept = keep_first_episodes(columns, np.array([3, 2]))
    assert kept.whole_episodes()["rewards"].tolist() == [7, 8, 9, 70, 80]
    assert int(kept.dropped.sum()) == 3
    assert told(EpisodeCounter(2).count(kept)) == ([150.0, 24.0], [2, 3], 3)
    assert keep_first_episodes(columns, np.array([2, 1])).env_steps() == 0


def test_a_reset_that_is_broken_off_is_no_episode() -> None:
    """Environment 1 ends after 1 + 2, and resets itself when 0 fails: its second episode comes after that."""
    columns = batch_of(["..F.T", ".Tf.T"], [[10, 1], [20, 2], [0, 0], [30, 4], [40, 5]])
    assert episode_numbers(columns)[:, 1].tolist() == [0, 0, 1, 1, 1]
    assert told(EpisodeCounter(2).count(keep_first_episodes(columns, np.array([1, 2])))) == (
        [3.0, 9.0],
        [2, 2],
        1,
    )


@settings(deadline=None)
@given(rollouts=consecutive_rollouts(), data=st.data())
def test_the_episodes_kept_are_those_that_a_slow_loop_keeps(
    rollouts: list[Rollout], data: st.DataObject
) -> None:
    columns = concatenate(all_batches(rollouts))
    steps = ["".join(steps[n] for steps, _ in rollouts) for n in range(len(rollouts[0][0]))]
    quota = [data.draw(st.integers(0, sum(text.count(letter) for letter in EPISODE_ENDS))) for text in steps]
    assume(any(quota))
    episodes, num_lost = slow_whole_episodes(steps, quota)
    kept = keep_first_episodes(columns, np.array(quota))
    batch = kept.whole_episodes()
    rows = [row for episode in episodes for row in episode]
    assert batch["obs"].tolist() == [[t, n] for t, n in rows]
    assert batch["actions"].tolist() == [10 * t + n for t, n in rows]
    assert batch["rewards"].tolist() == [columns.rewards[t, n] for t, n in rows]
    assert batch["ends"].tolist() == [row == episode[-1] for episode in episodes for row in episode]
    assert batch["truncated"].tolist() == [
        steps[n][t] in TRUNCATED for t, n in (episode[-1] for episode in episodes)
    ]
    assert batch["last_obs"].tolist() == [[t + 1, n] for t, n in (episode[-1] for episode in episodes)]
    counted = EpisodeCounter(len(steps)).count(kept)
    assert (sorted(counted.lengths.tolist()), counted.num_lost) == (sorted(map(len, episodes)), num_lost)
    assert kept.env_steps() == len(rows)
    assert kept.weights_version == columns.weights_version
    assert len(kept.obs) == len(kept.actions) + 1


# The quota, before and while it is played


@given(num=st.integers(0, 1000), num_parts=st.integers(1, 50))
def test_an_even_split_adds_up_and_its_parts_differ_by_one_at_most(num: int, num_parts: int) -> None:
    parts = split_evenly(num, num_parts)
    assert (len(parts), sum(parts)) == (num_parts, num)
    assert parts == sorted(parts, reverse=True)
    assert max(parts) - min(parts) <= 1


def slow_shares(lengths: list[list[int]], num_episodes: int, num_env_steps: int) -> list[int]:
    """Return the shares of environments that play episodes of these lengths, over and over."""
    num_envs = len(lengths)
    shares = [num_episodes // num_envs + (n < num_episodes % num_envs) for n in range(num_envs)]
    while True:
        steps = 0
        for n in range(num_envs):
            for episode in range(shares[n]):
                steps += lengths[n][episode % len(lengths[n])]
        if steps >= num_env_steps:
            return shares
        shares = [share + 1 for share in shares]


def endless_text(lengths: list[int], num_steps: int) -> str:
    """Return the first steps of an environment that plays episodes of these lengths, over and over."""
    text = ""
    while len(text) < num_steps:
        text += "".join("." * (length - 1) + "Tr" for length in lengths)
    return text[:num_steps]


@settings(deadline=None)
@given(
    lengths=st.lists(st.lists(st.integers(1, 20), min_size=1, max_size=5), min_size=1, max_size=4),
    num_episodes=st.integers(1, 9),
    num_env_steps=st.integers(0, 100),
    block_steps=st.integers(1, 20),
)
def test_a_quota_is_met_after_the_shares_that_a_slow_loop_finds(
    lengths: list[list[int]], num_episodes: int, num_env_steps: int, block_steps: int
) -> None:
    """For any size of blocks, it is met in the first block after which all shares are played."""
    num_envs = len(lengths)
    shares = slow_shares(lengths, num_episodes, num_env_steps)
    last_steps = [
        sum(lengths[n][episode % len(lengths[n])] + 1 for episode in range(shares[n])) - 1
        for n in range(num_envs)
    ]
    num_blocks = -(-max(last_steps) // block_steps)
    texts = [endless_text(one, num_blocks * block_steps) for one in lengths]
    quota = EpisodeQuota(num_envs, num_episodes, num_env_steps)
    for block in range(num_blocks):
        assert not quota.is_met()
        steps = [text[block * block_steps : (block + 1) * block_steps] for text in texts]
        quota.add(batch_of(steps, np.zeros((block_steps, num_envs))))
    assert quota.is_met()
    assert quota.shares.tolist() == shares
    assert quota.num_counted() == sum(shares)
    assert quota.longest_open() == 0


def test_shares_grow_once_they_are_played_and_have_too_few_steps() -> None:
    """One episode of each environment gives 2 + 4 steps of the 7 that are wanted, so each plays another."""
    quota = EpisodeQuota(num_envs=2, num_episodes=2, num_env_steps=7)
    quota.add(batch_of([".Tr.", "...T"], [[0, 0]] * 4))
    assert not quota.is_met()
    assert quota.shares.tolist() == [2, 2]
    assert quota.longest_open() == 2  # environment 0: its reset, and a step
    quota.add(batch_of(["Tr.T", "r.T."], [[0, 0]] * 4))
    assert quota.is_met()
    assert quota.num_counted() == 4


def test_only_an_episode_of_a_share_can_be_too_long() -> None:
    quota = EpisodeQuota(num_envs=2, num_episodes=1)
    for _ in range(3):
        quota.add(batch_of(["...", "..."], [[0, 0]] * 3))
    assert quota.longest_open() == 9  # of environment 0; environment 1 has no share
    quota.add(batch_of(["T", "."], [[0, 0]]))
    assert (quota.longest_open(), quota.is_met()) == (0, True)


def test_an_episode_with_a_dropped_step_counts_for_the_quota_with_all_its_steps() -> None:
    quota = EpisodeQuota(num_envs=1, num_episodes=1, num_env_steps=3)
    quota.add(batch_of([".xT"], [[0], [0], [0]]))
    assert quota.is_met()
