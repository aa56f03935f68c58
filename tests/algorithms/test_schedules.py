"""Schedules: straight lines between corners, RLlib's lists, and what is refused."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from algorithms.schedules import as_schedule, value_at, values

VALUES = st.floats(-1e6, 1e6)


@st.composite
def corners(draw: st.DrawFn, min_size: int = 1) -> tuple[tuple[int, float], ...]:
    """Draw pairs of (env_steps, value) whose steps rise from 0."""
    gaps = draw(st.lists(st.integers(1, 10_000), min_size=min_size - 1, max_size=5))
    steps = [0]
    for gap in gaps:
        steps.append(steps[-1] + gap)
    return tuple((step, draw(VALUES)) for step in steps)


def test_the_line_between_two_corners_by_hand() -> None:
    """From 1.0 to 0.2 within 400 steps it falls by 0.002 a step."""
    schedule = ((0, 1.0), (400, 0.2))
    assert value_at(schedule, 0) == 1.0
    assert value_at(schedule, 100) == pytest.approx(0.8)
    assert value_at(schedule, 399) == pytest.approx(0.202)
    assert value_at(schedule, 400) == value_at(schedule, 1_000_000) == 0.2


def test_each_stretch_has_its_own_slope() -> None:
    """Up by 1 a step, level, down by 3 a step; steps may be fractions."""
    schedule = ((0, 0.0), (10, 10.0), (20, 10.0), (22, 4.0))
    assert [value_at(schedule, step) for step in (3, 10, 15, 20, 21, 21.5, 23)] == [
        3.0,
        10.0,
        10.0,
        10.0,
        7.0,
        5.5,
        4.0,
    ]


@given(value=VALUES, env_steps=st.integers(0, 10**9))
def test_a_number_stays_the_same(value: float, env_steps: int) -> None:
    assert value_at(as_schedule(value), env_steps) == value
    assert value_at(as_schedule([[0, value]]), env_steps) == value


@given(schedule=corners())
def test_the_corners_are_hit_exactly(schedule: tuple[tuple[int, float], ...]) -> None:
    for step, value in schedule:
        assert value_at(schedule, step) == value
    assert value_at(schedule, schedule[-1][0] + 1) == schedule[-1][1]


@given(schedule=corners(), env_steps=st.integers(0, 60_000))
def test_a_schedule_never_leaves_the_range_of_its_corners(
    schedule: tuple[tuple[int, float], ...], env_steps: int
) -> None:
    assert values(schedule) == tuple(value for _, value in schedule)
    slack = 1e-9 * max(map(abs, values(schedule)))  # rounding errors
    assert min(values(schedule)) - slack <= value_at(schedule, env_steps) <= max(values(schedule)) + slack


@given(schedule=corners(min_size=2), data=st.data())
def test_halfway_between_corners_is_the_mean_of_both(
    schedule: tuple[tuple[int, float], ...], data: st.DataObject
) -> None:
    i = data.draw(st.integers(0, len(schedule) - 2))
    (step, value), (next_step, next_value) = schedule[i : i + 2]
    assert value_at(schedule, (step + next_step) / 2) == pytest.approx((value + next_value) / 2, abs=1e-6)


def test_the_values_of_a_number_are_that_number() -> None:
    assert values(0.5) == (0.5,)


@given(schedule=corners())
def test_rllibs_lists_become_tuples_and_tuples_stay(schedule: tuple[tuple[int, float], ...]) -> None:
    assert as_schedule([list(point) for point in schedule]) == schedule
    assert as_schedule(schedule) == schedule
    hash(as_schedule([list(point) for point in schedule]))  # a frozen dataclass holds it


def test_whole_numbers_become_floats() -> None:
    for schedule in (
        as_schedule(1),
        value_at(as_schedule([[0, 1], [10, 3]]), 0),
        value_at(as_schedule([[0, 1], [10, 3]]), 99),
    ):
        assert isinstance(schedule, float)


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        True,
        "0.1",
        "abc",
        [],
        (),
        [0.1, 0.2],
        [[0, 0.1, 0.2]],
        [[1, 0.1]],  # the beginning is missing
        [[5, 0.1], [0, 0.2]],
        [[0, 0.1], [0, 0.2]],  # two values at once
        [[0, 0.1], [20, 0.2], [10, 0.3]],
        [[-1, 0.1], [10, 0.2]],
        [[0, 0.1], [float("inf"), 0.2]],
        [[0, "much"]],
        [[None, 0.1]],
        [[0, float("nan")]],
        [[0, 0.1], [10, float("inf")]],
    ],
    ids=repr,
)
def test_what_is_no_schedule_is_refused(wrong: object) -> None:
    with pytest.raises(
        ValueError, match=re.escape("must be a number or (env_steps, value) pairs whose steps rise from 0")
    ):
        as_schedule(wrong)
