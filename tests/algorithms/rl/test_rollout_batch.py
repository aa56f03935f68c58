"""Batches of steps: which rows become transitions, and which episodes count, against simple loops."""

import numpy as np
from hypothesis import given, settings
from rollout_texts import (
    DROPPED,
    TERMINATED,
    TRUNCATED,
    VALID,
    Rollout,
    all_batches,
    batch_of,
    consecutive_rollouts,
    told,
)

from algorithms.rl.rollout_batch import EpisodeCounter, concatenate, finite


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


def test_a_reset_row_is_no_transition_and_no_step_of_an_episode() -> None:
    """1 + 2 + 3 until it terminates. The reset's 77 counts for nothing. 4 + 5 until the time limit."""
    columns = batch_of(["..Tr.L"], [[1], [2], [3], [77], [4], [5]])
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
    columns = batch_of(["..T", ".Lr", "..L"], [[1, 10, 100]] * 3)
    assert told(EpisodeCounter(3).count(columns)) == ([20.0, 3.0, 300.0], [2, 3, 3], 0)


def test_an_episode_goes_on_from_one_rollout_into_the_next() -> None:
    """Environment 0 ends after 1 + 2 | 4. Environment 1 ends after 10 | nothing | 30 + 40."""
    counter = EpisodeCounter(2)
    assert told(counter.count(batch_of(["..", "T."], [[1, 50], [2, 10]]))) == ([50.0], [1], 0)
    assert told(counter.count(batch_of(["T", "."], [[4, 20]]))) == ([7.0], [3], 0)
    assert told(counter.count(batch_of(["r.", ".L"], [[77, 30], [8, 40]]))) == ([100.0], [4], 0)
    assert told(counter.count(batch_of(["T"] * 2, [[16, 0]]))) == ([24.0, 0.0], [2, 1], 0)


def test_a_dropped_row_loses_its_episode_and_no_other() -> None:
    """The NaN of step 1 reaches no sum; the next episode counts. A dropped row loses an open episode, too."""
    counter = EpisodeCounter(1)
    columns = batch_of([".x.Tr.T"], [[1], [np.nan], [3], [4], [0], [5], [6]])
    assert told(counter.count(columns)) == ([11.0], [2], 1)
    assert columns.transitions()["rewards"].tolist() == [1, 3, 4, 5, 6]
    assert columns.env_steps() == 5
    assert told(counter.count(batch_of(["rx"], [[0], [0]]))) == ([], [], 0)
    assert told(counter.count(batch_of(["X"], [[1]]))) == ([], [], 1)
    assert told(counter.count(batch_of(["r.L"], [[0], [2], [3]]))) == ([5.0], [2], 0)


def test_a_failure_breaks_off_every_environments_episode() -> None:
    """Environment 0 loses its episode; 1 was resetting itself and loses none. Both start anew, with no
    reset.
    """
    columns = batch_of(["..F.T", ".Tf.L"], [[1, 1], [2, 2], [0, 0], [3, 3], [4, 4]])
    assert told(EpisodeCounter(2).count(columns)) == ([3.0, 7.0, 7.0], [2, 2, 2], 1)
    assert columns.transitions()["rewards"].tolist() == [1, 1, 2, 2, 3, 3, 4, 4]


@settings(deadline=None)
@given(rollouts=consecutive_rollouts())
def test_episodes_are_those_that_a_slow_loop_counts(rollouts: list[Rollout]) -> None:
    counter = EpisodeCounter(len(rollouts[0][0]))
    assert [told(counter.count(block)) for block in all_batches(rollouts)] == slow_episodes(rollouts)


@settings(deadline=None)
@given(rollouts=consecutive_rollouts())
def test_a_restored_counter_goes_on_where_the_other_stood(rollouts: list[Rollout]) -> None:
    counter, answers = EpisodeCounter(len(rollouts[0][0])), []
    for block in all_batches(rollouts):
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
    """Ordered by time, then environment; each leads from (t, n) to (t + 1, n), and keeps its dtype."""
    for block, (steps, rewards) in zip(all_batches(rollouts), rollouts, strict=True):
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
    blocks = all_batches(rollouts)
    whole = concatenate(blocks)
    num_envs = len(rollouts[0][0])
    together = ["".join(steps[n] for steps, _ in rollouts) for n in range(num_envs)]
    rewards = np.concatenate([rewards for _, rewards in rollouts])
    assert (
        whole.obs.tolist() == batch_of(together, rewards).obs.tolist()
    )  # the rows that two blocks share are there once
    assert [told(EpisodeCounter(num_envs).count(whole))] == slow_episodes([(together, rewards)])
    for name, column in whole.transitions().items():
        assert np.array_equal(column, np.concatenate([block.transitions()[name] for block in blocks])), name
    assert whole.weights_version == blocks[-1].weights_version
    assert told(whole.episodes) == ([], [], 0)


def test_whole_episodes_come_one_after_the_other_without_the_rows_that_reset() -> None:
    """Environment 0 plays 1, 2, 3 and 5, 6. Environment 1 plays 10, 20 and 40 to 60, cut by a time limit."""
    columns = batch_of(["..Tr.T", ".Tr..L"], [[1, 10], [2, 20], [3, 77], [77, 40], [5, 50], [6, 60]])
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
    columns = batch_of([".T"], [[1], [2]])
    columns.truncated[1, 0] = True
    assert columns.whole_episodes()["truncated"].tolist() == [False]


def test_finite_looks_at_every_number_of_a_step() -> None:
    obs = np.zeros((2, 3, 2, 2), np.float32)
    obs[0, 1, 1, 0], obs[1, 2, 0, 1] = np.nan, -np.inf
    assert finite(obs).tolist() == [[True, False, True], [True, True, False]]
    assert finite(np.array([[1.0, np.inf]])[..., None]).tolist() == [[True, False]]
    assert finite(np.zeros((2, 3, 5), np.uint8)).tolist() == [[True] * 3] * 2
