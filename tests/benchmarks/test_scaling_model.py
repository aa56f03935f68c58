"""The model of docs/scaling.md as a pure function: sums that can be done by hand, and what must hold whatever
things cost."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import scaling_model as model

FREE = model.Costs(
    policy_s=0,
    hand_over_s=0,
    step_s=0,
    answer_s=0,
    runner_s=0,
    pair_s=0,
    iteration_s=0,
    learn_s=0,
    fetch_s=0,
    env_step_s=0,
    update_s=0,
)
SETTING = model.Setting(num_runners=4, num_envs=8, length=10, env_s=0.1, updates_per_env_step=0.1)
"""Rollouts of 80 env steps and 8 updates, of which a runner plays one in a second."""


def test_runners_are_the_limit_where_all_else_is_free() -> None:
    said = model.simulate(FREE, SETTING)
    assert said.env_steps_per_s == pytest.approx(4 * 80, rel=0.02)
    assert said.runners_idle_share == pytest.approx(0.0)
    assert said.learner_idle_share == pytest.approx(1.0)
    assert model.ceilings(replace(FREE, step_s=1e-9, learn_s=1e-9), SETTING)["env runners"] == pytest.approx(
        320
    )


def test_updates_are_the_limit_where_they_take_longer_than_the_runners() -> None:
    said = model.simulate(replace(FREE, update_s=0.1), SETTING)  # ten updates a second, so 100 env steps
    assert said.updates_per_s == pytest.approx(10, rel=0.02)
    assert said.env_steps_per_s == pytest.approx(100, rel=0.02)
    assert said.learner_idle_share == pytest.approx(0.0, abs=0.01)
    assert said.runners_idle_share == pytest.approx(1 - 100 / 320, abs=0.02)


def test_answers_are_the_limit_and_longer_rollouts_move_it() -> None:
    costs = replace(FREE, answer_s=0.5)  # two rollouts a second
    short, long = model.simulate(costs, SETTING), model.simulate(costs, replace(SETTING, length=20))
    assert short.rollouts_per_s == pytest.approx(2, rel=0.02)
    assert short.env_steps_per_s == pytest.approx(160, rel=0.02)
    assert long.env_steps_per_s == pytest.approx(320, rel=0.05)
    assert short.driver_share == pytest.approx(1, abs=0.01)


def test_weights_lag_by_all_that_was_asked_for_before() -> None:
    """A lone runner's answer was asked for two answers ago, and every answer since has made new weights."""
    said = model.simulate(FREE, replace(SETTING, num_runners=1))
    assert said.weights_lag == pytest.approx(2)


def test_what_grows_with_the_square_of_the_runners() -> None:
    assert model.driver_s(
        replace(FREE, step_s=1, answer_s=0.1, runner_s=0.01, pair_s=0.001), num_runners=100, num_answers=5
    ) == pytest.approx(12.5)


positive = st.floats(1e-5, 0.05)
costs = st.builds(model.Costs, *[positive] * 11)
small = st.builds(
    model.Setting,
    num_runners=st.integers(1, 20),
    num_envs=st.integers(1, 64),
    length=st.integers(1, 32),
    env_s=st.floats(1e-3, 0.1),
    updates_per_env_step=st.floats(1e-3, 0.2),
)


@given(costs, small)
@settings(max_examples=50, deadline=None)
def test_no_run_is_faster_than_its_lowest_ceiling(costs: model.Costs, setting: model.Setting) -> None:
    said = model.simulate(costs, setting, num_training_steps=800)
    lowest = min(model.ceilings(costs, setting).values())
    assert said.env_steps_per_s <= lowest * 1.05  # what is counted begins and ends in the midst of a round
    assert 0 <= said.runners_idle_share <= 1
    assert -1e-9 <= said.learner_idle_share <= 1
    assert said.driver_share + (1 - said.learner_idle_share) <= 1 + 1e-9


@given(costs, small)
@settings(max_examples=50, deadline=None)
def test_a_faster_learner_lowers_no_ceiling(costs: model.Costs, setting: model.Setting) -> None:
    slow, fast = (
        model.ceilings(costs, setting),
        model.ceilings(replace(costs, update_s=costs.update_s / 2), setting),
    )
    assert all(fast[name] >= slow[name] for name in slow)


BATCH_COSTS = model.BatchCosts(
    policy_s=0, hand_over_s=0, step_s=0, answer_s=0, pair_s=0, fetch_s=0, env_step_s=0, fit_env_step_s=0
)
BATCH = model.BatchSetting(num_runners=2, num_envs=4, env_s=0.1, num_episodes=16, episode_steps=31)


def test_a_share_is_played_in_rounds_and_blocks() -> None:
    """8 episodes on 4 environments are two rounds: 31 + 1 + 31 steps, which are four blocks of 16."""
    assert model.batch_play_s(BATCH_COSTS, BATCH) == pytest.approx(6.4)
    assert model.batch_rate(BATCH_COSTS, BATCH)["env_steps_per_s"] == pytest.approx(16 * 31 / 6.4)


def test_more_runners_than_episodes_gain_nothing() -> None:
    rates = [
        model.batch_rate(BATCH_COSTS, replace(BATCH, num_runners=number))["env_steps_per_s"]
        for number in (4, 8, 16)
    ]
    assert rates == [pytest.approx(16 * 31 / 3.2)] * 3  # one round, of two blocks


def test_runners_wait_for_a_value_network_that_learns_longer_than_they_play() -> None:
    said = model.batch_rate(
        replace(BATCH_COSTS, fit_env_step_s=12.8 / 496), BATCH
    )  # 12.8 s a batch, twice the play
    assert said["env_steps_per_s"] == pytest.approx(16 * 31 / 12.8)
    assert said["env_runners_idle_share"] == pytest.approx(0.5)


def test_a_head_that_saves_the_state_of_many_trials() -> None:
    costs = model.HeadCosts(report_s=0.01, save_s=0.1, save_trial_s=0.001, keep_s=0.0, keep_trial_s=0.0002)
    assert model.head_share(
        costs, num_trials=500, reports_per_s=10, saves_per_s=0.5, keeps_per_s=1
    ) == pytest.approx(0.1 + 0.3 + 0.1)


def test_fit_finds_the_costs_that_made_the_rows() -> None:
    rows = [
        {"calls": a, "steps": b, "spent_s": 0.5 * a + 0.002 * b} for a, b in ((1, 10), (2, 900), (5, 400))
    ]
    found = model.fit(rows, "spent_s", {"call_s": "calls", "step_s": "steps"})
    assert found == {"call_s": pytest.approx(0.5), "step_s": pytest.approx(0.002)}
