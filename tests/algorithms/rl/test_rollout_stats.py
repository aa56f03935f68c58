"""Counts of a run and totals of an iteration, by hand."""

import time

import numpy as np
import pytest

from algorithms.rl.rollout_batch import Episodes, RolloutResult
from algorithms.rl.rollout_stats import FAULTS, IterationTotals, RolloutStats


def result(returns: list[float], num_env_steps: int = 10, num_lost: int = 0) -> RolloutResult:
    lengths = np.full(len(returns), 4)
    episodes = Episodes(np.array(returns, np.float64), lengths, num_lost)
    return RolloutResult(None, num_env_steps, episodes, num_dropped=num_lost, num_failures=2 * num_lost)


def test_steps_episodes_and_faults_add_up_over_the_run() -> None:
    stats = RolloutStats(window=3)
    stats.count([result([1.0, 2.0]), result([3.0, 6.0], num_lost=1)])
    second = [result([]), result([9.0], num_env_steps=5)]
    stats.count(second)
    assert (stats.env_steps, stats.num_episodes) == (35, 5)
    report = stats.report(second)
    assert report["num_env_steps_sampled"] == (15, "sum")
    assert report["num_episodes"] == (1, "sum")
    assert report["num_episodes_lifetime"] == (5, "item")
    assert report["episode_return_mean"] == (6.0, "item")  # of the last three: 3, 6 and 9
    assert (report["episode_return_min"][0], report["episode_return_max"][0]) == (3.0, 9.0)
    assert report["episode_len_mean"] == (4.0, "item")
    faults = {name: report[name][0] for name in FAULTS if report[name][0]}
    assert faults == {"num_dropped_env_steps": 1, "num_episodes_lost": 1, "num_env_failures": 2}


def test_there_is_no_mean_return_before_the_first_episode() -> None:
    assert "episode_return_mean" not in RolloutStats(window=3).report([result([])])


def test_restored_counts_go_on_where_the_others_stood() -> None:
    first, second = RolloutStats(window=2), RolloutStats(window=2)
    first.count([result([1.0, 2.0, 3.0], num_lost=2)])
    second.count([result([7.0])])
    second.set_state(first.state())
    for stats in (first, second):
        stats.count([result([5.0])])
    assert first.report([]) == second.report([])
    assert first.state() == second.state()


def test_totals_are_of_all_steps_of_an_iteration_and_of_no_other() -> None:
    totals = IterationTotals()
    for iteration, updates in ((1, 100), (2, 3), (2, 4)):
        totals.begin_step(iteration)
        time.sleep(0.01)
        totals.end_step(updates=updates, loss=2.0 * updates)
    assert totals.per("loss", "updates") == pytest.approx(2.0)
    assert 7 / 0.5 < totals.per("updates") < 7 / 0.02  # per second of two steps of 10 ms
    assert totals.per("updates", "nothing") == 0
