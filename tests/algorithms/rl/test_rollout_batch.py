"""RolloutBatch of steps: which rows become transitions, and which episodes are counted, against loops that anybody can check."""

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from algorithms.rl.rollout_batch import (
    EpisodeCounter,
    Episodes,
    RolloutBatch,
    concatenate,
    finite,
)
from algorithms.rl.whole_episodes import episode_numbers, keep_first_episodes

# A rollout is written down as one text per environment, a letter per step:
#     .  goes on          r  resets itself, the step after an end (NEXT_STEP)     F  all environments failed: dropped, and broken off
#     T  terminates       x  dropped: a number that is none                       f  they failed while this one reset itself
#     L  time limit       X  dropped, and terminates
VALID, DROPPED, TERMINATED, TRUNCATED = ".TL", "xXF", "TX", "LFf"

Rollout = tuple[list[str], np.ndarray]
"""Texts by environment, and rewards [T, N]."""


def columns_of(steps: list[str], rewards: np.ndarray | list[list[float]], first_row: int = 0) -> RolloutBatch:
    """Return the columns of such texts; row t of environment n shows (first_row + t, n) and takes action 10 (first_row + t) + n."""
    letters = np.array([list(text) for text in steps]).T
    row, env = np.mgrid[first_row : first_row + len(letters) + 1, : len(steps)]
    is_in = {name: np.isin(letters, list(kinds)) for name, kinds in (("valid", VALID), ("dropped", DROPPED))}
    ended = {"terminated": np.isin(letters, list(TERMINATED)), "truncated": np.isin(letters, list(TRUNCATED))}
    obs, actions = np.stack([row, env], axis=2).astype(np.float32), (10 * row + env)[:-1]
    return RolloutBatch(
        obs=obs,
        actions=actions,
        rewards=np.array(rewards, np.float32),
        weights_version=first_row,
        **is_in,
        **ended,
    )


def told(episodes: Episodes) -> tuple[list[float], list[int], int]:
    """Return the episodes as plain Python."""
    assert episodes.returns.dtype == np.float64
    assert episodes.lengths.dtype == np.int64
    return episodes.returns.tolist(), episodes.lengths.tolist(), episodes.num_lost


def slow_episodes(rollouts: list[Rollout]) -> list[tuple[list[float], list[int], int]]:
    """Return what each rollout's episodes should be, counted step by step and environment by environment."""
    num_envs = len(rollouts[0][0])
    totals, lengths, dropped = [0.0] * num_envs, [0] * num_envs, [0] * num_envs
    answers = []
    for steps, rewards in rollouts:
        returns_ended: list[float] = []
        lengths_ended: list[int] = []
        num_lost = 0
        for t in range(len(rewards)):
            for n in range(num_envs):
                letter = steps[n][t]
                if letter in VALID:
                    totals[n] += float(rewards[t, n])
                    lengths[n] += 1
                if letter in DROPPED:
                    dropped[n] += 1
                if letter in TERMINATED + TRUNCATED:
                    if dropped[n]:
                        num_lost += 1
                    elif lengths[n]:
                        returns_ended.append(totals[n])
                        lengths_ended.append(lengths[n])
                    totals[n], lengths[n], dropped[n] = 0.0, 0, 0
        answers.append((returns_ended, lengths_ended, num_lost))
    return answers


@st.composite
def consecutive_rollouts(draw: st.DrawFn) -> list[Rollout]:
    """Draw up to four rollouts of up to four environments: resets come after ends, also into the next rollout, and rewards are whole."""
    num_envs = draw(st.integers(1, 4))
    resetting = [False] * num_envs
    rollouts = []
    for num_steps in draw(st.lists(st.integers(1, 8), min_size=1, max_size=4)):
        texts = [""] * num_envs
        for _ in range(num_steps):
            fails = draw(st.integers(0, 9)) == 9
            for n in range(num_envs):
                if fails:
                    letter = "f" if resetting[n] else "F"
                else:
                    letter = "r" if resetting[n] else draw(st.sampled_from("....TTLxX"))
                texts[n] += letter
                resetting[n] = letter in "TLX"  # after a failure the environments are new
        rewards = draw(
            st.lists(
                st.lists(st.integers(-9, 9), min_size=num_envs, max_size=num_envs),
                min_size=num_steps,
                max_size=num_steps,
            )
        )
        rollouts.append((texts, np.array(rewards, np.float32)))
    return rollouts


def all_columns(rollouts: list[Rollout]) -> list[RolloutBatch]:
    """Return their columns, the rows numbered on; rewards of dropped rows are NaN."""
    blocks: list[RolloutBatch] = []
    for steps, rewards in rollouts:
        block = columns_of(steps, rewards, first_row=sum(len(block.rewards) for block in blocks))
        block.rewards[block.dropped] = np.nan
        blocks.append(block)
    return blocks


def test_a_reset_row_is_no_transition_and_no_step_of_an_episode() -> None:
    """1 + 2 + 3 until it terminates; the reset's 77 counts for nothing; 4 + 5 until the time limit, which is not terminated."""
    columns = columns_of(["..Tr.L"], [[1], [2], [3], [77], [4], [5]])
    assert told(EpisodeCounter(1).count(columns)) == ([6.0, 9.0], [3, 2], 0)
    transitions = columns.transitions()
    assert transitions["obs"][:, 0].tolist() == [0, 1, 2, 4, 5]
    assert transitions["new_obs"][:, 0].tolist() == [1, 2, 3, 5, 6]
    assert transitions["actions"].tolist() == [0, 10, 20, 40, 50]
    assert transitions["rewards"].tolist() == [1, 2, 3, 4, 5]
    assert transitions["terminateds"].tolist() == [False, False, True, False, False]
    assert columns.env_steps() == columns.agent_steps() == 5


def test_episodes_come_in_the_order_of_their_ends() -> None:
    """Environment 1 ends first, at step 1; at step 2 both end, and environment 0 comes first."""
    columns = columns_of(["..T", ".Lr", "..L"], [[1, 10, 100]] * 3)
    assert told(EpisodeCounter(3).count(columns)) == ([20.0, 3.0, 300.0], [2, 3, 3], 0)


def test_an_episode_goes_on_from_one_rollout_into_the_next() -> None:
    """Environment 0 ends after 1 + 2 | 4, environment 1 after 10 | nothing in the second | 30 + 40, and resets across a border."""
    counter = EpisodeCounter(2)
    assert told(counter.count(columns_of(["..", "T."], [[1, 50], [2, 10]]))) == ([50.0], [1], 0)
    assert told(counter.count(columns_of(["T", "."], [[4, 20]]))) == ([7.0], [3], 0)
    assert told(counter.count(columns_of(["r.", ".L"], [[77, 30], [8, 40]]))) == ([100.0], [4], 0)
    assert told(counter.count(columns_of(["T"] * 2, [[16, 0]]))) == ([24.0, 0.0], [2, 1], 0)


def test_a_dropped_row_loses_its_episode_and_no_other() -> None:
    """The NaN of step 1 reaches nothing; the episode after it counts; a dropped row of a rollout before still loses the episode."""
    counter = EpisodeCounter(1)
    columns = columns_of([".x.Tr.T"], [[1], [np.nan], [3], [4], [0], [5], [6]])
    assert told(counter.count(columns)) == ([11.0], [2], 1)
    assert columns.transitions()["rewards"].tolist() == [1, 3, 4, 5, 6]
    assert columns.env_steps() == 5
    assert told(counter.count(columns_of(["rx"], [[0], [0]]))) == ([], [], 0)
    assert told(counter.count(columns_of(["X"], [[1]]))) == ([], [], 1)
    assert told(counter.count(columns_of(["r.L"], [[0], [2], [3]]))) == ([5.0], [2], 0)


def test_a_failure_breaks_off_every_environments_episode() -> None:
    """Environment 0 is in an episode, which is lost; 1 resets itself, so none is; then both start anew, without a reset row."""
    columns = columns_of(["..F.T", ".Tf.L"], [[1, 1], [2, 2], [0, 0], [3, 3], [4, 4]])
    assert told(EpisodeCounter(2).count(columns)) == ([3.0, 7.0, 7.0], [2, 2, 2], 1)
    assert columns.transitions()["rewards"].tolist() == [1, 1, 2, 2, 3, 3, 4, 4]


@settings(deadline=None)
@given(rollouts=consecutive_rollouts())
def test_episodes_are_those_that_a_slow_loop_counts(rollouts: list[Rollout]) -> None:
    counter = EpisodeCounter(len(rollouts[0][0]))
    assert [told(counter.count(block)) for block in all_columns(rollouts)] == slow_episodes(rollouts)


@settings(deadline=None)
@given(rollouts=consecutive_rollouts())
def test_a_restored_counter_goes_on_where_the_other_stood(rollouts: list[Rollout]) -> None:
    counter, answers = EpisodeCounter(len(rollouts[0][0])), []
    for block in all_columns(rollouts):
        state = counter.state()
        restored = EpisodeCounter(len(rollouts[0][0]))
        restored.set_state(state)
        counter.count(block)  # must change neither the state handed out nor the one who took it
        answers.append(told(restored.count(block)))
        counter = restored
    assert answers == slow_episodes(rollouts)


@settings(deadline=None)
@given(rollouts=consecutive_rollouts())
def test_transitions_are_those_that_a_slow_loop_finds(rollouts: list[Rollout]) -> None:
    """Time by time, environment by environment; each leads from (t, n) to (t + 1, n), and is of its column's dtype."""
    for block, (steps, rewards) in zip(all_columns(rollouts), rollouts, strict=True):
        found = [(t, n) for t in range(len(rewards)) for n in range(len(steps)) if steps[n][t] in VALID]
        transitions = block.transitions()
        assert set(transitions) == {"obs", "new_obs", "actions", "rewards", "terminateds"}
        for i, (t, n) in enumerate(found):
            row = block.weights_version + t
            assert transitions["obs"][i].tolist() == [row, n]
            assert transitions["new_obs"][i].tolist() == [row + 1, n]
            assert transitions["actions"][i] == 10 * row + n
            assert transitions["rewards"][i] == rewards[t, n]
            assert transitions["terminateds"][i] == (steps[n][t] == "T")
        assert {len(column) for column in transitions.values()} == {len(found)} == {block.env_steps()}
        assert [transitions[name].dtype for name in ("obs", "rewards", "terminateds")] == [
            np.float32,
            np.float32,
            bool,
        ]


@settings(deadline=None)
@given(rollouts=consecutive_rollouts())
def test_concatenated_rollouts_are_one_long_rollout(rollouts: list[Rollout]) -> None:
    blocks = all_columns(rollouts)
    whole = concatenate(blocks)
    num_envs = len(rollouts[0][0])
    together = ["".join(steps[n] for steps, _ in rollouts) for n in range(num_envs)]
    rewards = np.concatenate([rewards for _, rewards in rollouts])
    assert (
        whole.obs.tolist() == columns_of(together, rewards).obs.tolist()
    )  # the rows that two blocks share are there once
    assert [told(EpisodeCounter(num_envs).count(whole))] == slow_episodes([(together, rewards)])
    for name, column in whole.transitions().items():
        assert np.array_equal(column, np.concatenate([block.transitions()[name] for block in blocks])), name
    assert whole.weights_version == blocks[-1].weights_version
    assert told(whole.episodes) == ([], [], 0)


# Whole episodes

EPISODE_ENDS = "TLFX"
"""Not the f: a reset that is broken off is no episode."""


def slow_whole_episodes(steps: list[str], quota: list[int]) -> tuple[list[list[tuple[int, int]]], int]:
    """Return the steps (t, n) of each of the first `quota` episodes of every environment, and how many others of them are lost."""
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
    """The row after an end, which resets, is the next episode's; after a failure there is none, and all environments' episodes ended."""
    numbers = episode_numbers(columns_of(["..Tr.L", "..F..T"], [[0, 0]] * 6))
    assert numbers.T.tolist() == [[0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 1]]
    assert numbers.dtype == np.int64
    assert episode_numbers(columns_of(["....", "TrTr", "TrX."], [[0, 0, 0]] * 4)).T.tolist() == [
        [0, 0, 0, 0],
        [0, 1, 1, 2],
        [0, 1, 1, 2],
    ]


def test_whole_episodes_come_one_after_the_other_without_the_rows_that_reset() -> None:
    """Environment 0 plays 1, 2, 3 and 5, 6; environment 1 plays 10, 20 and 40 to 60, which a time limit cuts."""
    columns = columns_of(["..Tr.T", ".Tr..L"], [[1, 10], [2, 20], [3, 77], [77, 40], [5, 50], [6, 60]])
    batch = columns.whole_episodes()
    assert set(batch) == {"obs", "actions", "rewards", "ends", "truncated", "last_obs"}
    assert batch["rewards"].tolist() == [1, 2, 3, 5, 6, 10, 20, 40, 50, 60]
    assert batch["obs"].tolist() == [[t, 0] for t in (0, 1, 2, 4, 5)] + [[t, 1] for t in (0, 1, 3, 4, 5)]
    assert batch["actions"].tolist() == [0, 10, 20, 40, 50, 1, 11, 31, 41, 51]
    assert np.flatnonzero(batch["ends"]).tolist() == [2, 4, 6, 9]
    assert batch["truncated"].tolist() == [False, False, False, True]
    assert batch["last_obs"].tolist() == [[3, 0], [6, 0], [2, 1], [6, 1]]  # what the last step led to
    assert [batch[name].dtype for name in ("obs", "rewards", "ends", "truncated", "last_obs")] == [
        np.float32,
        np.float32,
        bool,
        bool,
        np.float32,
    ]


def test_an_episode_that_terminates_in_its_last_step_allowed_is_not_truncated() -> None:
    columns = columns_of([".T"], [[1], [2]])
    columns.truncated[1, 0] = True
    assert columns.whole_episodes()["truncated"].tolist() == [False]


def test_only_the_first_episodes_are_kept_and_no_row_after_the_last_of_them() -> None:
    """One of environment 0 and two of environment 1. The former goes on with a second, in which a step was dropped: it isn't lost."""
    columns = columns_of(
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
        columns_of(["Tr.T", ".T.."], [[1, 10], [2, 20], [3, 30], [4, 40]]), np.array([0, 1])
    )
    assert kept.whole_episodes()["rewards"].tolist() == [10, 20]


def test_an_episode_with_a_dropped_step_is_left_out_whole_and_counts_as_one() -> None:
    """The first of environment 0 is lost, by a step in its midst; the failure ends the second, and the first of environment 1."""
    columns = columns_of([".x.Tr.F..T", "......F.Tr"], [[t, 10 * t] for t in range(10)])
    kept = keep_first_episodes(columns, np.array([3, 2]))
    assert kept.whole_episodes()["rewards"].tolist() == [7, 8, 9, 70, 80]
    assert int(kept.dropped.sum()) == 3
    assert told(EpisodeCounter(2).count(kept)) == ([150.0, 24.0], [2, 3], 3)
    assert keep_first_episodes(columns, np.array([2, 1])).env_steps() == 0


def test_a_reset_that_is_broken_off_is_no_episode() -> None:
    """Environment 1 ends after 1 + 2 and is resetting itself when environment 0 fails: its second episode is the one after that."""
    columns = columns_of(["..F.T", ".Tf.T"], [[10, 1], [20, 2], [0, 0], [30, 4], [40, 5]])
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
    columns = concatenate(all_columns(rollouts))
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


def test_finite_looks_at_every_number_of_a_step() -> None:
    obs = np.zeros((2, 3, 2, 2), np.float32)
    obs[0, 1, 1, 0], obs[1, 2, 0, 1] = np.nan, -np.inf
    assert finite(obs).tolist() == [[True, False, True], [True, True, False]]
    assert finite(np.array([[1.0, np.inf]])[..., None]).tolist() == [[True, False]]
    assert finite(np.zeros((2, 3, 5), np.uint8)).tolist() == [[True] * 3] * 2
